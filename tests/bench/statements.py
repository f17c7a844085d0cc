"""The race of statements: the texts of an older commit against those of this one, on one Postgres, in turns A B A B.

    mkdir -p .cache/old && git archive <commit> app schema.sql | tar x -C .cache/old
    python -m tests.bench.statements "host=… user=postgres dbname=race" .cache/old .

Both make the same calls: update-task, claim-task, comment-on-task and send-message; plain, with an idempotency key,
under a claim; 1, 16 and 64 in a batch. They take turns batch by batch, each in a transaction that is rolled back, so that
all find the same rows; only the statement is timed. The fastest tenth of the batches counts: whatever else a machine does
only ever makes one slower. Printed are microseconds of one call, and what the new text takes of the old one.
"""

import json
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import pq

SETTINGS: Final = "-c plan_cache_mode=force_generic_plan -c enable_hashjoin=off -c enable_mergejoin=off -c enable_seqscan=off"
CALLS: Final = ("update", "claim", "comment", "send")
FORMS: Final = ("plain", "keyed", "claimed")
SIZES: Final = (1, 16, 64)
BATCHES: Final = {1: 1000, 16: 400, 64: 200}
TEXT: Final = "Waiting for the review of the parser change; without it the numbers would be wrong."

WORKSPACE: Final = uuid.UUID(int=1 << 64)
AGENT: Final = uuid.UUID(int=2 << 64)
CHANNEL: Final = uuid.UUID(int=3 << 64)
SEED: Final = """
INSERT INTO workspaces (id, slug, name) VALUES (%(w)s, 'race', 'Race');
INSERT INTO task_counters (workspace_id, last_number) VALUES (%(w)s, 1000);
INSERT INTO identities (workspace_id, id, kind, handle, name) VALUES (%(w)s, %(a)s, 'agent', 'racer', 'Racer');
INSERT INTO channels (workspace_id, id, name, kind) VALUES (%(w)s, %(c)s, 'race', 'public');
INSERT INTO channel_members (workspace_id, channel_id, identity_id, role) VALUES (%(w)s, %(c)s, %(a)s, 'poster');
INSERT INTO tasks (workspace_id, id, number, title, status, priority, created_by_id, created_by_kind, assignee_id,
                   assignee_kind, channel_id)
SELECT %(w)s, ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, n, 'Task ' || n,
       CASE WHEN n <= 64 THEN 'in_progress' ELSE 'todo' END, 2, %(a)s, 'agent',
       CASE WHEN n <= 64 THEN %(a)s::uuid END, CASE WHEN n <= 64 THEN 'agent' END, CASE WHEN n %% 2 = 0 THEN %(c)s::uuid END
  FROM generate_series(1, 1000) AS n;
INSERT INTO task_search (workspace_id, task_id, words) SELECT workspace_id, id, lower(title) FROM tasks;
INSERT INTO task_participants (workspace_id, identity_id, task_id) SELECT workspace_id, %(a)s, id FROM tasks;
INSERT INTO runs (workspace_id, id, kind, status, work_item_id, author_id, author_kind, holder_id, holder_kind, attempt,
                  lease_seconds, lease_expires_at, lease_check_at)
SELECT workspace_id, id, 'claim', 'running', id, %(a)s, 'agent', %(a)s, 'agent', 1, 3600, now() + interval '1 day',
       now() + interval '1 day'
  FROM tasks WHERE number <= 64;
UPDATE tasks SET run_id = id WHERE number <= 64
"""


def task(n: int) -> uuid.UUID:
    """The task of this number."""
    return uuid.UUID(f"00000000-0000-7000-8000-{n:012x}")


def main(dsn: str, old: str, new: str, *calls: str) -> None:
    """Race two trees against each other, and print the table."""
    trees = [texts(old), texts(new)]
    with psycopg.connect(dsn, options=SETTINGS, autocommit=True) as connection:
        if not connection.execute("SELECT FROM workspaces").fetchall():
            for statement in SEED.split(";\n"):
                connection.execute(statement.encode(), {"w": WORKSPACE, "a": AGENT, "c": CHANNEL})
        postgres = connection.pgconn
        print("| call | form | in a batch | before, µs | now, µs | of it |\n|---|---|---|---|---|---|")
        for call in calls or CALLS:
            for form in FORMS:
                for tree, sqls in enumerate(trees):
                    done = postgres.prepare(f"{call}-{form}-{tree}".encode(), sqls[f"{call}-{form}"].encode())
                    assert not done.error_message, done.error_message
                for size in SIZES:
                    connection.execute("VACUUM ANALYZE")
                    times: tuple[list[float], list[float]] = ([], [])
                    for batch in range(BATCHES[size] + 3):
                        for tree in (0, 1) if batch % 2 else (1, 0):
                            snake = "recordset" in trees[tree][f"{call}-{form}"]
                            items = [item(call, form, n, snake=snake) for n in range(size)]
                            seconds = run(postgres, f"{call}-{form}-{tree}", items)
                            if batch >= 3:  # the first ones plan it
                                times[tree].append(seconds)
                    before, now = (fastest(taken) / size * 1e6 for taken in times)
                    print(
                        f"| {call} | {form} | {size} | {before:.1f} | {now:.1f} | {now / before:.3f} |",
                        flush=True,
                    )


def run(postgres: pq.abc.PGconn, name: str, items: list[dict[str, object]]) -> float:
    """Run one batch, take its effect back, and say how many seconds the statement took."""
    sent = [json.dumps(items, default=str).encode()]
    postgres.exec_(b"BEGIN")
    begun = time.perf_counter()
    result = postgres.exec_prepared(name.encode(), sent)
    seconds = time.perf_counter() - begun
    assert result.ntuples == len(items), (name, result.ntuples, result.error_message)
    postgres.exec_(b"ROLLBACK")
    return seconds


def texts(tree: str) -> dict[str, str]:
    """The texts of all statements of a tree, in a process of its own: their modules have the same names."""
    done = subprocess.run(
        [sys.executable, Path(__file__).resolve(), "--texts"],
        cwd=tree,
        env={"PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def fastest(times: list[float]) -> float:
    """The mean of the fastest tenth."""
    best = sorted(times)[: max(1, len(times) // 10)]
    return sum(best) / len(best)


def statement(call: str, form: str) -> str:
    """The text of a statement, in whichever way its tree holds it."""
    from app.operations.messages import say  # noqa: PLC0415 - of the tree that races
    from app.operations.runs import claim  # noqa: PLC0415
    from app.operations.tasks import change, comment  # noqa: PLC0415

    writes: dict[str, Any] = {
        "update": change.CHANGE,
        "claim": claim.CLAIM_TASK,
        "comment": comment.ADD_COMMENT,
        "send": say.SEND,
    }
    write = writes[call]
    if not hasattr(write, "forms"):  # of 0.1.0
        if form == "claimed" and call in {"update", "claim"}:
            write = {"update": change, "claim": claim}[call].__dict__[
                {"update": "CHANGE_UNDER_RUN", "claim": "CLAIM_TASK_UNDER_RUN"}[call]
            ]
        return (write.keeping if form == "keyed" else write.plain).numbered_sql
    return write.form(keyed=form == "keyed", claimed=form == "claimed").numbered_sql


def item(call: str, form: str, n: int, *, snake: bool) -> dict[str, object]:
    """One call, as `Context.write` sends it, or as it was sent before there was that."""
    which = task(n + 1 if call != "claim" else n + 65)
    fields: dict[str, object]
    match call:
        case "update":
            changes = {"status": "in_review", "priority": 3}
            fields = {
                "taskId": which,
                "messageId": uuid.uuid4(),
                "version": 1,
                "kind": "updated",
                "changes": changes,
            }
            if not snake:
                fields["comment"] = None
        case "claim":
            fields = {
                "taskId": which,
                "messageId": uuid.uuid4(),
                "newRunId": uuid.uuid4(),
                "leaseSeconds": 300,
            }
            fields |= {"version": None}
        case "comment":
            fields = {"taskId": which, "comment": {"id": uuid.uuid4(), "body": TEXT, "mentions": []}}
        case _:
            fields = {
                "channelId": CHANNEL,
                "threadId": None,
                "id": uuid.uuid4(),
                "kind": "text",
                "content": TEXT,
            }
            fields |= {"metadata": {}, "mentions": []}
    fields |= {"workspaceId": WORKSPACE, "actorId": AGENT, "actorKind": "agent", "requestId": "race-1"}
    if form == "keyed":
        at, fingerprint = "2026-01-01T00:00:00.000Z", "00" * 32
        receipt = {"key": str(uuid.uuid4()), "operation": call, "status": 200, "fingerprint": fingerprint}
        fields["receipt" if snake else "keep"] = {**receipt, "answered_at" if snake else "answeredAt": at}
    if form == "claimed" or (not snake and call != "claim"):
        fields["claimId" if snake else "runId"] = task(n + 1) if form == "claimed" else None
    if not snake:
        return fields
    return {
        "".join(f"_{c.lower()}" if c.isupper() else c for c in name): value for name, value in fields.items()
    }


if __name__ == "__main__":
    if sys.argv[1] == "--texts":
        print(json.dumps({f"{call}-{form}": statement(call, form) for call in CALLS for form in FORMS}))
    else:
        main(*sys.argv[1:])
