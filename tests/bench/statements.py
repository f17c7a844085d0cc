"""The race of statements: the texts of an older commit against those of this one, on one Postgres, in turns A B A B.

    mkdir -p .cache/old && git archive <commit> app schema.sql | tar x -C .cache/old
    python -m tests.bench.statements "host=… user=postgres dbname=race" .cache/old .

Both make the same calls: update-task, claim-task, comment-on-task and send-message; plain, with an idempotency key,
under a claim; 1, 16 and 64 in a batch. Each batch runs in a transaction that is rolled back, so that all of them find the
same rows, and only the statement is timed. The fastest tenth of the batches counts: whatever else a machine does only ever
makes one slower. Printed are microseconds of one call, and what the new text takes of the old one.
"""

import json
import subprocess
import sys
import time
import uuid
from typing import Any, Final

import psycopg

SETTINGS: Final = "-c plan_cache_mode=force_generic_plan -c enable_hashjoin=off -c enable_mergejoin=off -c enable_seqscan=off"
CALLS: Final = ("update", "claim", "comment", "send")
FORMS: Final = ("plain", "keyed", "claimed")
SIZES: Final = (1, 16, 64)
ROUNDS: Final = 6
BATCHES: Final = {1: 200, 16: 60, 64: 30}

WORKSPACE: Final = uuid.UUID(int=1 << 64)
AGENT: Final = uuid.UUID(int=2 << 64)
CHANNEL: Final = uuid.UUID(int=3 << 64)
TASKS: Final = 64

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


def main(dsn: str, old: str, new: str) -> None:
    """Race two trees against each other, and print the table."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in SEED.split(";\n"):
            connection.execute(statement.encode(), {"w": WORKSPACE, "a": AGENT, "c": CHANNEL})
        connection.execute("VACUUM ANALYZE")
        racers = [
            subprocess.Popen(
                [sys.executable, __file__, "--racer", dsn],
                cwd=tree,
                env={"PYTHONPATH": tree, "PATH": ""},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for tree in (old, new)
        ]
        print("| call | form | in a batch | before, µs | now, µs | of it |\n|---|---|---|---|---|---|")
        for call in CALLS:
            for form in FORMS:
                for size in SIZES:
                    times: list[list[float]] = [[], []]
                    for _ in range(ROUNDS):
                        for racer, mine in zip(racers, times, strict=True):
                            assert racer.stdin is not None and racer.stdout is not None
                            racer.stdin.write(f"{call} {form} {size}\n")
                            racer.stdin.flush()
                            mine += json.loads(racer.stdout.readline())
                        connection.execute("VACUUM")
                    before, now = (fastest(mine) / size * 1e6 for mine in times)
                    print(f"| {call} | {form} | {size} | {before:.1f} | {now:.1f} | {now / before:.3f} |", flush=True)
        for racer in racers:
            racer.communicate()


def fastest(times: list[float]) -> float:
    """The mean of the fastest tenth."""
    best = sorted(times)[: max(1, len(times) // 10)]
    return sum(best) / len(best)


def race(dsn: str) -> None:
    """Run what is asked for on standard input, with the statements of the tree in which this process stands."""
    with psycopg.connect(dsn, options=SETTINGS, autocommit=True) as connection:
        postgres, prepared = connection.pgconn, set[str]()
        for line in sys.stdin:
            call, form, count = line.split()
            name = f"{call}-{form}"
            sql = statement(call, form)
            if name not in prepared:
                prepared.add(name)
                assert not postgres.prepare(name.encode(), sql.encode()).error_message
            times: list[float] = []
            for batch in range(BATCHES[int(count)] + 3):
                items = json.dumps([item(call, form, n) for n in range(int(count))], default=str).encode()
                postgres.exec_(b"BEGIN")
                begun = time.perf_counter()
                result = postgres.exec_prepared(name.encode(), [items])
                if batch >= 3:  # the first ones plan it
                    times.append(time.perf_counter() - begun)
                assert result.ntuples == int(count), (name, result.ntuples, result.error_message)
                postgres.exec_(b"ROLLBACK")
            print(json.dumps(times), flush=True)


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


def item(call: str, form: str, n: int) -> dict[str, object]:
    """One call, in the words of both trees: each takes those that it knows."""
    which = task(n + 1 if call != "claim" else n + 65)
    receipt = {
        "key": str(uuid.uuid4()),
        "operation": call,
        "status": 200,
        "fingerprint": "00" * 32,
        "answeredAt": "2026-01-01T00:00:00.000Z",
        "answered_at": "2026-01-01T00:00:00.000Z",
    }
    changes = {"status": "in_review", "priority": 3}
    both: dict[str, object] = {
        "workspaceId": WORKSPACE,
        "actorId": AGENT,
        "actorKind": "agent",
        "requestId": "race-1",
        "taskId": which,
        "messageId": uuid.uuid4(),
        "newRunId": uuid.uuid4(),
        "leaseSeconds": 300,
        "version": None if call == "claim" else 1,
        "kind": "updated" if call == "update" else "text",
        "changes": changes,
        "channelId": CHANNEL,
        "content": "Said in passing.",
        "metadata": {},
        "mentions": [],
        "comment": {"id": uuid.uuid4(), "body": "Said in passing.", "mentions": []} if call == "comment" else None,
        "id": uuid.uuid4(),
    }
    if form == "keyed":
        both |= {"keep": receipt, "receipt": receipt}
    if form == "claimed":
        both |= {"runId": task(n + 1), "claimId": task(n + 1)}
    snake = {"".join(f"_{c.lower()}" if c.isupper() else c for c in name): value for name, value in both.items()}
    if call == "update":
        snake["channel_id"] = None  # what it would move the task to
    if "app.writes.write" in sys.modules:
        return snake
    return both


if __name__ == "__main__":
    race(sys.argv[2]) if sys.argv[1] == "--racer" else main(*sys.argv[1:])
