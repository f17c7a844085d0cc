"""A short round, as a part of the tests: `make soak` runs long ones."""

from collections.abc import Iterator

import pytest

from tests.conftest import drop_database, new_database
from tests.soak.proxy import FAULTS
from tests.soak.run import Round, run_round

SEED = 20_261_121
SECONDS = 12.0
CALLERS = 8


@pytest.fixture(scope="module")
def own_dsn(postgres: str) -> Iterator[str]:
    """A database whose backends may be ended without anybody else noticing."""
    yield new_database(postgres, "baton_test_soak")
    drop_database(postgres, "baton_test_soak")


async def test_whatever_is_lost_on_the_way_some_legal_order_explains_every_answer(own_dsn: str) -> None:
    result: Round = await run_round(own_dsn, SEED, callers=CALLERS, seconds=SECONDS)
    assert result.complaints == [], "\n".join(map(str, (result, *result.complaints)))
    for answer in ("lost", "merged", "replayed", "409"):
        assert result.answers[answer] > 0, result
    for fault in (*FAULTS, "backends terminated"):
        assert result.faults[fault] > 0, result
    assert result.counts["messages"] > 0, result
