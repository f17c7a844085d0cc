"""The yardstick: pgbench running the very statement an operation runs, one call per statement.

The text is the operation's own, from its module; only the parameter is written as an expression over pgbench's
variables, which makes each transaction another call, the way load.lua does it: every client has its own tasks.
"""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any, Final, NamedTuple

from app.db import Query
from app.ids import FIRST_ID
from app.operations.tasks.change import CHANGE, CHANGE_AND_COMMENT
from app.operations.tasks.comment import ADD_COMMENT
from app.operations.tasks.mine import LIST_MINE, URGENCY_MAX
from app.operations.tasks.reading import GET_TASK
from tests.bench.load import Failed, Kind, cpu_seconds_of_children
from tests.bench.world import LISTED, ONCE, READERS, UPDATED, WORKERS, Pool

CLIENTS: Final = 16

# As on the connections our batches travel on.
SETTINGS: Final = "-c plan_cache_mode=force_generic_plan -c enable_hashjoin=off -c enable_mergejoin=off -c enable_seqscan=off"

AnyQuery = Query[Any]  # Any: rows are pgbench's to throw away

REASON: Final = (
    "Waiting for the review of the parser change; without it the numbers in the report would be wrong."
)
WORKSPACE: Final = "00000000-0000-7000-9000-000000000000"
TASK: Final = "00000000-0000-7000-8000-<task>"
AGENT: Final = "00000000-0000-7000-a000-<agent>"

# What stands for what in an item: SQL over pgbench's variables, spliced into the JSON text.
EXPRESSIONS: Final = {
    "<task>": "lpad((:k)::text, 12, '0')",
    "<agent>": "lpad((:a)::text, 12, '0')",
    "<uuid>": "gen_random_uuid()",
    '"<version>"': "(:v)::text",
    "<status>": "CASE WHEN :v % 2 = 0 THEN 'in_review' ELSE 'in_progress' END",
}
VARIABLES: Final = frozenset("kav")

WHO: Final = {
    "workspace_id": WORKSPACE,
    "actor_id": AGENT,
    "actor_kind": "agent",
    "request_id": "bench-1",
}
CHANGED: Final = {**WHO, "task_id": TASK, "version": None, "comment": None}
COMMENT: Final = {"id": "<uuid>", "body": REASON, "mentions": []}


class Tps(NamedTuple):
    """What one run of pgbench saw."""

    transactions: int
    per_second: float
    latency_ms: float  # the mean: pgbench keeps no percentiles
    cpu_seconds: float


def script(kind: Kind, clients: int = CLIENTS) -> str:
    """A pgbench script that makes the calls of a kind: number n of a client picks task k, caller a and version v."""
    match kind:
        case "update":
            changes = {"status": "<status>", "priority": 3}
            item = {**CHANGED, "kind": "updated", "version": "<version>", "changes": changes}
            return _again_and_again(UPDATED, clients) + _statement(CHANGE.plain, items=_json(item))
        case "complete":
            item = {**CHANGED, "kind": "completed", "changes": {"status": "done"}}
            return _once_each(ONCE, clients) + _statement(CHANGE.plain, items=_json(item))
        case "block":
            item = {**CHANGED, "kind": "blocked", "changes": {"status": "blocked"}, "comment": COMMENT}
            return _once_each(ONCE, clients) + _statement(CHANGE_AND_COMMENT.plain, items=_json(item))
        case "comment":
            item = {**WHO, "task_id": TASK, "comment": COMMENT}
            return _again_and_again(UPDATED, clients) + _statement(ADD_COMMENT.plain, items=_json(item))
        case "get":
            item = {"workspace_id": WORKSPACE, "actor_id": AGENT, "task_id": TASK}
            return _again_and_again(LISTED, clients) + _statement(GET_TASK, items=_json(item))
        case "list":
            return f"\\set a random({READERS.first}, {READERS.first + READERS.size - 1})\n" + _statement(
                LIST_MINE,
                workspace_id=f"'{WORKSPACE}'",
                actor_id=_json(AGENT).replace('"', ""),
                statuses="NULL",
                urgency_min="0",
                urgency_max=str(URGENCY_MAX),
                after_urgency="0",
                after_id=f"'{FIRST_ID}'",
                limit="50",
            )
        case _:
            message = f"pgbench has no script for {kind}"
            raise ValueError(message)


def run(program: Path, dsn: str, kind: Kind, *, seconds: int, directory: Path, clients: int = CLIENTS) -> Tps:
    """Run pgbench for some seconds."""
    file = directory / f"{kind}-{clients}.sql"
    file.write_text(script(kind, clients))
    command = [
        program, "-n", "-M", "prepared", "-c", str(clients), "-j", "1", "-T", str(seconds), "-D", "n=-1", "-f", file, dsn,
    ]  # fmt: skip
    before = cpu_seconds_of_children()
    environment = {"PATH": os.defpath, "PGOPTIONS": SETTINGS}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        message = f"pgbench {kind} failed: {done.stderr[-2000:]}"
        raise Failed(message)
    return parse(done.stdout, cpu_seconds=cpu_seconds_of_children() - before)


def parse(output: str, *, cpu_seconds: float) -> Tps:
    """The numbers in pgbench's report."""
    found = {
        name: re.search(pattern, output)
        for name, pattern in {
            "transactions": r"actually processed: (\d+)",
            "failed": r"failed transactions: (\d+)",
            "latency": r"latency average = ([\d.]+) ms",
            "tps": r"tps = ([\d.]+)",
        }.items()
    }
    values = {name: float(match[1]) for name, match in found.items() if match is not None}
    if values.keys() != found.keys() or values["failed"]:
        message = f"pgbench did not do what it should:\n{output}"
        raise Failed(message)
    return Tps(int(values["transactions"]), values["tps"], values["latency"], cpu_seconds)


def _again_and_again(pool: Pool, clients: int) -> str:
    each = pool.size // clients
    return (
        f"\\set n :n + 1\n\\set k {pool.first} + :client_id * {each} + :n % {each}\n\\set v 1 + :n / {each}\n"
        f"\\set a :k % {WORKERS.size}\n"
    )


def _once_each(pool: Pool, clients: int) -> str:
    each = pool.size // clients
    return f"\\set n :n + 1\n\\set k {pool.first} + :client_id * {each} + :n\n\\set a :k % {WORKERS.size}\n"


def _statement(query: AnyQuery, **parameters: str) -> str:
    """The text of a query with expressions for its parameters, such that pgbench takes nothing in it for a variable."""
    sql = re.sub(r"--.*", "", query.sql)
    sql = re.sub(r"%\((\w+)\)s", lambda match: f"({parameters[match[1]]})", sql).replace("%%", "%")
    sql = sql.replace("HH24:MI:SS", 'HH24":"MI":"SS')  # pgbench looks for variables in literals too
    taken = set(re.findall(r"(?<!:):([A-Za-z_]\w*)", sql))
    if not taken <= VARIABLES:
        message = f"pgbench would take :{', :'.join(sorted(taken - VARIABLES))} for variables; write the colon otherwise"
        raise ValueError(message)
    return " ".join(sql.split()) + ";\n"


def _json(item: object) -> str:
    """An item as an SQL expression: its JSON text with the expressions spliced in."""
    text = json.dumps([item] if isinstance(item, dict) else item)
    assert "'" not in text, "no quote needs doubling"
    for placeholder, expression in EXPRESSIONS.items():
        text = text.replace(placeholder, f"' || {expression} || '")
    return f"'{text}'"
