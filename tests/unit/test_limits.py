"""Buckets and counts: what a caller may ask for, and what is said to who asks for more."""

import asyncio
import gc
import re
import time
from pathlib import Path
from uuid import uuid4

import pytest

from app.config import Config
from app.errors import CallsLimited, WaitsLimited
from app.operations import OPERATIONS
from app.rpc import Allowance, Bucket, Limits, Rate, Waits
from app.rpc.limits import FORGET_FROM, UNLIMITED, pause_seconds
from app.transports import envelope

HARDLY = 1e-6  # a second: nothing comes again while a test runs


def allowance(key: Rate = UNLIMITED, workspace: Rate = UNLIMITED) -> Allowance:
    return Allowance(Bucket(key), Bucket(workspace))


def taken(held: Allowance, cost: int = 1, at_most: int = 1000) -> int:
    """How many calls of a cost are let through."""
    return next((n for n in range(at_most) if held.refusal(cost) is not None), at_most)


def headers(error: CallsLimited | WaitsLimited) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in envelope.headers(error)}


def test_a_bucket_holds_what_may_be_asked_for_at_once() -> None:
    assert taken(allowance(Rate(HARDLY, 7))) == 7
    assert taken(allowance(Rate(HARDLY, 7)), cost=3) == 2


def test_a_bucket_fills_again_with_time() -> None:
    held = allowance(Rate(1e6, 3))
    assert taken(held) >= 3
    deadline = time.monotonic() + 10
    while held.refusal(3) is not None:
        assert time.monotonic() < deadline


def test_who_rests_for_long_has_no_more_than_all() -> None:
    bucket = Bucket(Rate(HARDLY, 5))
    bucket.full_at = time.monotonic() - 1e9
    assert taken(Allowance(bucket, Bucket(UNLIMITED))) == 5


def test_what_costs_more_than_all_passes_when_nothing_is_missing_and_then_nothing_does() -> None:
    held = allowance(Rate(HARDLY, 5))
    assert held.refusal(50) is None
    assert held.refusal(1) is not None


def test_a_refusal_takes_nothing() -> None:
    held = allowance(Rate(HARDLY, 5))
    assert held.refusal(3) is None
    for _ in range(10):
        assert held.refusal(3) is not None
    assert held.refusal(2) is None


def test_what_the_workspace_refuses_takes_nothing_from_the_key_and_the_other_way_round() -> None:
    key, workspace = Bucket(Rate(HARDLY, 5)), Bucket(Rate(HARDLY, 2))
    held = Allowance(key, workspace)
    assert taken(held) == 2
    assert taken(Allowance(key, Bucket(UNLIMITED))) == 3
    other = Allowance(Bucket(Rate(HARDLY, 1)), shared := Bucket(Rate(HARDLY, 9)))
    assert taken(other) == 1
    assert taken(Allowance(Bucket(UNLIMITED), shared)) == 8


def test_the_keys_of_a_workspace_share_its_bucket_and_no_other_workspace_does() -> None:
    limits = Limits(Rate(HARDLY, 4), Rate(HARDLY, 6))
    one, two = uuid4(), uuid4()
    held = [limits.allowance(one, uuid4()), limits.allowance(one, uuid4()), limits.allowance(two, uuid4())]
    assert [taken(each) for each in held] == [4, 2, 4]
    last = held[1].refusal(1)
    assert last is not None
    assert last.policy == "workspace"


def test_a_rate_of_nothing_a_second_limits_nothing() -> None:
    assert taken(allowance(), at_most=5000) == 5000
    assert taken(Limits(Rate(HARDLY, 1)).allowance(uuid4(), uuid4(), Rate(0, 1)), at_most=5000) == 5000


def test_a_key_has_the_rate_that_an_operator_gave_it() -> None:
    limits, workspace, key = Limits(Rate(HARDLY, 9)), uuid4(), uuid4()
    held = limits.allowance(workspace, key, Rate(HARDLY, 2))
    assert taken(held) == 2
    assert limits.allowance(workspace, key, Rate(HARDLY, 2)).refusal(1) is not None, "looked up again"
    assert taken(limits.allowance(workspace, key)) == 9, "and given another"


def test_a_bucket_that_nobody_holds_is_kept_until_it_is_full_again_and_then_forgotten() -> None:
    limits, workspace, spent = Limits(Rate(HARDLY, 1), Rate(HARDLY, 10**6)), uuid4(), uuid4()
    assert taken(limits.allowance(workspace, spent)) == 1
    held = [limits.allowance(workspace, uuid4()) for _ in range(10)]
    for _ in range(20 * FORGET_FROM):
        limits.allowance(uuid4(), uuid4())
    gc.collect()
    for buckets in (limits.keys, limits.workspaces):
        assert len(buckets) <= 2 * FORGET_FROM
    assert limits.allowance(workspace, spent).refusal(1) is not None
    assert [taken(each) for each in held] == [1] * 10


def test_of_very_many_calls_that_are_refused_at_once_each_waits_longer_but_not_for_ever() -> None:
    pauses = [pause_seconds(pausing) for pausing in (1, 100, 1000, 2000, 10**6)]
    assert pauses == [0.25, 0.25, 2, 4, 5]


async def test_a_refusal_whose_caller_has_gone_is_no_longer_counted() -> None:
    bucket = Bucket(Rate(HARDLY, 1))
    held = Allowance(bucket, Bucket(UNLIMITED))
    assert held.refusal(1) is None
    calls = [asyncio.create_task(held.pay(1)) for _ in range(100)]
    await asyncio.sleep(0)
    assert bucket.pausing == 100
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    assert bucket.pausing == 0


@pytest.mark.parametrize(
    "rate, cost, used, seconds, policy",
    [
        (Rate(100, 200), 1, 200, 1, '"key";q=200;w=2'),
        (Rate(1, 10), 5, 10, 5, '"key";q=10;w=10'),
        (Rate(1, 10), 50, 7, 7, '"key";q=10;w=10'),
        (Rate(0.01, 3), 1, 3, 30, '"key";q=3;w=300'),
    ],
)
def test_a_refusal_says_in_whole_seconds_when_to_come_again(
    rate: Rate, cost: int, used: int, seconds: int, policy: str
) -> None:
    error = CallsLimited("key", per_second=rate.per_second, burst=rate.burst, used=used, cost=cost)
    assert error.details == {"policy": "key", "limit": rate.burst, "cost": cost, "retryAfterSeconds": seconds}
    left = max(rate.burst - used, 0)
    assert headers(error) == {
        "retry-after": str(seconds),
        "ratelimit-policy": policy,
        "ratelimit": f'"key";r={left};t={seconds}',
    }


def test_so_many_calls_may_wait_of_a_key_and_in_all() -> None:
    waits, keys = Waits(2, 5), [uuid4() for _ in range(4)]
    for key in keys[:2]:
        waits.enter(key)
        waits.enter(key)
    with pytest.raises(WaitsLimited) as of_key:
        waits.enter(keys[0])
    waits.enter(keys[2])
    with pytest.raises(WaitsLimited) as of_all:
        waits.enter(keys[3])
    assert [error.value.policy for error in (of_key, of_all)] == ["waiting-key", "waiting"]
    assert headers(of_key.value) == {
        "retry-after": "5",
        "ratelimit-policy": '"waiting-key";q=2;qu="concurrent-requests"',
        "ratelimit": '"waiting-key";r=0;t=5',
    }
    waits.leave(keys[0])
    waits.enter(keys[3])


def test_what_is_dear_is_worth_more_than_what_is_cheap() -> None:
    ops = {op.name: op for op in OPERATIONS}

    def cost(name: str, body: bytes = b"{}") -> int:
        return ops[name].costs(ops[name].decoder.read(body)[0])

    assert cost("get-task", b'{"taskId": "T-1"}') == 1
    assert cost("search-tasks", b'{"query": "x"}') == cost("search-messages", b'{"query": "x"}') == 20
    assert cost("create-tasks-bulk", b'{"tasks": [{"title": "a"}, {"title": "b"}]}') == 4
    for op in OPERATIONS:
        if "includeTotal" in op.request.__struct_encode_fields__:
            assert cost(op.name, b'{"includeTotal": true}') == cost(op.name) + 20


def test_no_call_is_for_nothing() -> None:
    assert all(op.cost > 0 for op in OPERATIONS)


ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operating" / "limits.md").read_text()


def test_the_page_for_operators_says_what_calls_are_worth() -> None:
    table = re.findall(r"^\| (.+) \| (\d+) \|$", PAGE, re.MULTILINE)
    ops = {op.name: op for op in OPERATIONS}
    for words, worth in table:
        for name in re.findall(r"`([a-z-]+)`", words):
            if name in ops and not words.startswith("more"):
                assert ops[name].cost == int(worth), name
    special = {"get-inbox", "claim-next-task", "search-tasks", "search-messages"}
    usual = {op.name for op in OPERATIONS if op.cost == (2 if not op.read_only else 3 if op.paged else 1)}
    assert {op.name for op in OPERATIONS} - usual == special


def test_the_page_for_operators_says_what_is_spared() -> None:
    sentence = PAGE.partition("**A limit never costs a lease.**")[2].partition("With an empty bucket")[0]
    assert {op.name for op in OPERATIONS if op.spared is not False} == set(
        re.findall(r"`([a-z]+-[a-z-]+)`", sentence)
    )


def test_the_page_for_operators_names_the_settings_with_their_defaults() -> None:
    usual = Config()
    for name in Config.__struct_encode_fields__:
        if name.startswith(("RATE_", "WAITING_")) or name == "CONNECTIONS_MAX":
            assert re.search(rf"`{name}` (\| |\()0*{int(getattr(usual, name.lower()))}\b", PAGE), name
