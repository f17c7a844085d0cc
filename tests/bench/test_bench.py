"""The harness, never a time: what it parses, what it divides, and that pgbench is given what the operations run."""

import re
from pathlib import Path
from typing import get_args

import pytest

from tests.bench import chart, compare, load, pgbench, processes, profiling, report, table
from tests.bench.figures import FIGURES, Figure, Measurement, results, verdict

WRK = 'Running 1s test\nRESULT {"calls":500,"microseconds":2000000,"p50_us":1500,"p99_us":9000,"refused":%d,"broken":%d,"wins":%d,"double_wins":%d,"conflicts":%d,"others":0}\n'  # fmt: skip # noqa: E501
PGBENCH = """\
number of transactions actually processed: 30123
number of failed transactions: %d (0.000%%)
latency average = 1.593 ms
initial connection time = 41.5 ms
tps = 10041.254 (without initial connection time)
"""


NEWER = {"p99 while a key of another workspace floods ÷ while none does"}
"""Figures that the run which is quoted does not have yet."""


def measured(name: str, *per_round: float) -> list[Measurement]:
    return [Measurement(round=n, name=name, per_second=value) for n, value in enumerate(per_round)]


def test_the_load_counts_calls_over_the_time_they_took() -> None:
    seen = load.parse(WRK % (0, 0, 0, 0, 0), cpu_seconds=0.5)
    assert (seen.calls_per_second, seen.p50_ms, seen.p99_ms, seen.cpu_seconds) == (250, 1.5, 9, 0.5)


@pytest.mark.parametrize("refused, broken", [(1, 0), (0, 1)])
def test_a_single_refused_or_broken_call_fails_the_run(refused: int, broken: int) -> None:
    with pytest.raises(load.Failed):
        load.check(load.parse(WRK % (refused, broken, 0, 0, 0), cpu_seconds=0), "update")


def test_in_a_race_a_conflict_is_an_answer_but_a_second_winner_fails_the_run() -> None:
    load.check(load.parse(WRK % (31, 0, 1, 0, 31), cpu_seconds=0), "race")
    with pytest.raises(load.Failed):
        load.check(load.parse(WRK % (30, 0, 2, 1, 30), cpu_seconds=0), "race")
    with pytest.raises(load.Failed):
        load.check(load.parse(WRK % (32, 0, 1, 0, 31), cpu_seconds=0), "race")


def test_output_without_a_result_fails_the_run() -> None:
    with pytest.raises(load.Failed):
        load.parse("unable to connect to 127.0.0.1", cpu_seconds=0)


def test_the_report_of_pgbench_is_read_and_failed_transactions_fail_the_run() -> None:
    seen = pgbench.parse(PGBENCH % 0, cpu_seconds=0)
    assert (seen.transactions, seen.per_second, seen.latency_ms) == (30123, 10041.254, 1.593)
    with pytest.raises(load.Failed):
        pgbench.parse(PGBENCH % 3, cpu_seconds=0)


@pytest.mark.parametrize("kind", compare.KINDS)
def test_pgbench_gets_the_statement_of_the_operation_with_nothing_left_to_fill_in(kind: load.Kind) -> None:
    script = pgbench.script(kind)
    statement = script.splitlines()[-1]
    assert "%(" not in statement and "<" not in re.sub(r"[<>]=|<>|[a-z. ]+ [<>] ", "", statement)
    assert set(re.findall(r"(?<!:):([A-Za-z_]\w*)", statement)) <= pgbench.VARIABLES


def test_a_ratio_is_taken_within_a_round_and_the_figure_is_the_median_of_the_rounds() -> None:
    noisy = [*measured("ours", 100, 50, 300), *measured("theirs", 50, 50, 100)]
    [figure] = results(noisy, [Figure("ours ÷ theirs", "ours", "theirs", must=1.5, goal=3)])
    assert (figure.median, figure.low, figure.high, figure.verdict) == (2, 1, 3, "must")


def test_a_figure_without_measurements_is_left_out() -> None:
    assert results(measured("ours", 1), [Figure("ours ÷ theirs", "ours", "theirs")]) == []


@pytest.mark.parametrize(
    "median, less_is_better, expected",
    [
        (0.9, False, "goal"),
        (0.7, False, "must"),
        (0.5, False, "missed"),
        (0.5, True, "goal"),
        (0.9, True, "missed"),
    ],
)
def test_a_figure_is_held_against_its_targets(median: float, less_is_better: bool, expected: str) -> None:
    must, goal = (0.8, 0.6) if less_is_better else (0.6, 0.8)
    assert verdict(median, must, goal, less_is_better=less_is_better) == expected


def test_cpu_of_a_process_is_read_whatever_its_name_is() -> None:
    fields = "S 7 1 1 0 -1 0 0 0 0 0 11 22 33 44 20 0"
    assert processes.parse_stat(f"123 (a ) name 9 (9) {fields}") == (7, 11 + 22 + 33 + 44)


def test_the_processors_are_busy_with_all_but_idling_and_waiting() -> None:
    assert processes.parse_busy("cpu  1 2 4 1000 1000 8 16 32 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\n") == 63


def test_a_small_ratio_is_said_as_a_fraction() -> None:
    assert [table.ratio(value) for value in (1 / 60, 0.123, 2.5, 31.7)] == ["1/60", "0.12", "2.50", "32"]


def test_every_kind_of_call_is_known_to_the_load() -> None:
    script = (Path(load.__file__).parent / "load.lua").read_text()
    assert all(f"   {kind} = function" in script for kind in get_args(load.Kind))


def test_a_profile_is_summed_by_the_part_of_the_program_that_had_the_processor() -> None:
    stacks = "main (a.py:1);send (/x/app/db/pipeline.py:9) 3\nmain (a.py:1);run (/x/site-packages/uvicorn/a.py:2) 1\n"
    assert profiling.summary(stacks).splitlines()[:2] == [" 75.0%  app/db/pipeline.py", " 25.0%  uvicorn"]


def test_the_document_quotes_the_runs_that_lie_beside_it() -> None:
    run, growth = report.kept()
    document = report.DOCUMENT.read_text()
    assert report.quoted(document, run, growth) == document
    assert report.CHART.read_text() == chart.svg(run.measurements, report.caption(run))
    quoted = {result.name for result in results(run.measurements)}
    assert {figure.name for figure in FIGURES} == quoted | NEWER
    assert not quoted & NEWER, "the run has it now"
