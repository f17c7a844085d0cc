"""A short round, as a part of the tests: `make soak` runs long ones."""

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.conftest import drop_database, new_database
from tests.soak.proxy import FAULTS
from tests.soak.run import Round, run_round

SEED = 20_261_121
SECONDS = 12.0
CALLERS = 8
ROUNDS_MAX = 3  # one is enough, but for a machine so busy that a second has hardly any calls
WANTED = (*FAULTS, "backends terminated", "lost", "merged", "replayed", "409", "messages")


@pytest.fixture(scope="module")
def own_dsn(postgres: str) -> Iterator[str]:
    """A database whose backends may be ended without anybody else noticing."""
    yield new_database(postgres, "baton_test_soak")
    drop_database(postgres, "baton_test_soak")


async def test_whatever_is_lost_on_the_way_some_legal_order_explains_every_answer(own_dsn: str) -> None:
    seen: Counter[str] = Counter()
    for seed in range(SEED, SEED + ROUNDS_MAX):
        result: Round = await run_round(own_dsn, seed, callers=CALLERS, seconds=SECONDS)
        assert result.complaints == [], "\n".join(map(str, (result, *result.complaints)))
        seen += result.counts + result.answers + result.faults
        if all(seen[what] for what in WANTED):
            return
    raise AssertionError(f"of {WANTED} only {seen} happened")
