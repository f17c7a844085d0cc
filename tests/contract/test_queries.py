"""Every statement in the code is true: it fits the schema and its struct, stays in its workspace and reads indexes.

Statements are found by walking the modules, so a new one is tested from the day it stands there.
"""

import importlib
import json
import pkgutil
import re
import typing
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final, Literal, NamedTuple, get_args, get_origin
from uuid import UUID

import msgspec
import psycopg
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import pq
from psycopg.sql import SQL
from psycopg.sql import Literal as Value

import app
from app.db import BatchCommand, BatchQuery, Database, Encoded, Query, schema
from app.db.encoded import as_json
from app.db.query import TENANT
from app.operations import (
    block_task,
    cancel_task,
    comment_on_task,
    complete_task,
    create_task,
    create_tasks_bulk,
    get_inbox,
    get_task,
    list_comments,
    list_my_activity,
    list_my_tasks,
    list_runs,
    list_task_history,
    list_tasks,
    release_task,
    search_tasks,
    update_task,
)
from app.operations.tasks.listing import RARE_ROWS_MAX
from app.operations.tasks.task import ASKERS_TASK_JSON, Task
from app.operator import administration as admin
from app.rpc import Context, Operation, execute
from app.types import PAGE_ROWS_DEFAULT, shows_something
from app.writes.write import Write
from tests.conftest import Caller, World, drop_database, new_database


def statements() -> dict[str, Query[Any]]:
    """Every Query and BatchQuery of the code, by the name it has where it stands."""
    found: dict[int, tuple[str, Query[Any]]] = {}
    for module in pkgutil.walk_packages(app.__path__, "app."):
        if module.name == "app.__main__":  # runs the command line
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            forms: dict[str, object] = {name: value}
            if isinstance(value, dict):  # one for each of something
                forms = {
                    f"{name}, {key}, {nth}": each
                    for key, row in value.items()
                    if isinstance(row, tuple)
                    for nth, each in enumerate(row)
                }
            if isinstance(value, Write):
                forms = {f"{name}, {form}": query for form, query in value.forms().items()}
            for form, query in forms.items():
                if isinstance(query, Query):
                    found.setdefault(id(query), (f"{module.name.removeprefix('app.')}.{form}", query))
    return dict(found.values())


STATEMENTS: Final = statements()


def test_statements_are_found_in_every_corner() -> None:
    corners = {name.rpartition(".")[0] for name in STATEMENTS}
    assert {"auth", "operator.keys", "operations.workspace", "operations.tasks.change"} <= corners
    assert any(isinstance(query, BatchQuery) for query in STATEMENTS.values())


# --- each fits the schema


FITS: Final[dict[str, frozenset[object]]] = {
    "uuid": frozenset({UUID}),
    "int2": frozenset({int}),
    "int4": frozenset({int}),
    "int8": frozenset({int}),
    "float8": frozenset({float}),
    "bool": frozenset({bool}),
    "text": frozenset({str}),
    "bytea": frozenset({bytes}),
    "json": frozenset({Encoded}),
    "jsonb": frozenset({list, dict}),
    "_text": frozenset({list[str]}),
}
"""Postgres types, as the catalogue names them, and what a column of each becomes."""


@pytest.fixture(scope="module")
def connection(dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_prepares_and_its_columns_fit_its_struct(
    connection: psycopg.Connection, name: str
) -> None:
    query = STATEMENTS[name]
    prepared = connection.pgconn.prepare(b"", query.numbered_sql.encode())
    assert prepared.status == pq.ExecStatus.COMMAND_OK, prepared.error_message.decode()
    described = connection.pgconn.describe_prepared(b"")
    columns = [type_name(connection, described.ftype(column)) for column in range(described.nfields)]
    fields = columns_of(query.row)
    needed = sum(field.required for field in msgspec.structs.fields(query.row))
    assert needed <= len(columns) <= len(fields), f"{name} has {len(columns)} columns for {list(fields)}"
    for (field, hint), column in zip(fields.items(), columns, strict=False):
        assert python_type(hint) in FITS[column], f"{name}: {field} is {hint}, its column {column}"


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statements_type_says_whether_it_writes(connection: psycopg.Connection, name: str) -> None:
    query = STATEMENTS[name]
    connection.execute(b"SET plan_cache_mode = force_generic_plan")
    connection.execute(b"PREPARE statement AS " + query.numbered_sql.encode())
    nothing = f"({', '.join('NULL' for _ in query.parameters)})" if query.parameters else ""
    try:
        [[plans]] = connection.execute(
            f"EXPLAIN (FORMAT JSON) EXECUTE statement {nothing}".encode()
        ).fetchall()
    finally:
        connection.execute("DEALLOCATE statement")
    assert any(node["Node Type"] == "ModifyTable" for node in nodes(plans[0]["Plan"])) is query.writes


def nodes(top: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every node of a plan."""
    yield top
    for below in top.get("Plans", []):
        yield from nodes(below)


def columns_of(row: Any) -> dict[str, Any]:
    """The columns that a struct stands for, with their types; of a generic one as it is named."""
    struct = get_origin(row) or row
    named = dict(zip(getattr(struct, "__parameters__", ()), get_args(row), strict=True))
    return {name: named.get(hint, hint) for name, hint in typing.get_type_hints(struct).items()}


def type_name(connection: psycopg.Connection, oid: int) -> str:
    row = connection.execute("SELECT typname FROM pg_type WHERE oid = %s", (oid,)).fetchone()
    assert row is not None
    return row[0]


def python_type(hint: Any) -> object:
    """What a hint comes down to: without `| None`, a Literal as the type of its values, a struct's list as a list."""
    if type(None) in get_args(hint):
        [hint] = [part for part in get_args(hint) if part is not type(None)]
    origin = get_origin(hint)
    if origin is Literal:
        [kind] = {type(value) for value in get_args(hint)}
        return kind
    if origin is list and hint != list[str]:
        return list
    return hint if hint == list[str] else origin or hint


# --- each stays in its workspace


TABLES: Final = dict(
    re.findall(r"^CREATE TABLE (\w+) \((.*?)^\)", schema.FILE.read_text(), re.DOTALL | re.MULTILINE)
)
TENANT_TABLES: Final = [
    name for name, columns in TABLES.items() if re.search(r"^ +workspace_id\b", columns, re.MULTILINE)
]
ACROSS_WORKSPACES: Final = {
    "auth.FIND_KEY": "the hash of a key is unique in all of them, and says which workspace its bearer is in",
    "auth.CHANGED_LATELY": "every process forgets the keys of every workspace",
    "operator.welcome.NEVER_ENTERED": "the first key is the first of all workspaces",
    "jobs.leases.PUT_OFF": "one job looks after the leases of all",
    "jobs.idempotency.REAP": "idempotency keys grow old in every workspace alike",
}
"""What touches a tenant's table and is bound to no workspace."""

EVERYWHERE: Final = {
    *ACROSS_WORKSPACES,
    "jobs.leases.EXPIRE",  # the same job
    "auth.KEYS_NOW",  # of all who wait in this process
    "auth.MARK_USED",  # of all who called this process
    "operator.workspaces.CREATE_WORKSPACE",
    "operator.workspaces.FIND_WORKSPACE",
    "operator.workspaces.LIST_WORKSPACES",
    "jobs.retention.KEEPING",  # one job serves all that do not keep everything
    "operator.export.EXPORT_WORKSPACE",
    "operator.welcome.ANY_WORKSPACE",
    "operator.welcome.FIRST_START_LOCK",
    "operations.inbox.sections.HORIZON",  # what is seen of the log, whoever wrote it
    "operations.runs.bell.COUNTER",  # the log's counter
    "transports.pages.ALIVE",
    "transports.pages.SCHEMA",
    "db.announcement.TOLD",
    "server.metrics.gauges.WORKSPACES",  # what an operator sees is of all of them
    "server.metrics.gauges.EXPIRING_KEYS",
    "server.metrics.gauges.DATABASE",
    "server.metrics.gauges.TABLES",
}
"""What does not say before it is sent which workspace it serves."""


def test_a_statement_knows_the_workspace_it_serves_but_for_a_few() -> None:
    assert {name for name, query in STATEMENTS.items() if query.everywhere} == EVERYWHERE


def test_all_the_others_read_it_off_what_is_sent_with_them() -> None:
    workspace = UUID(int=1)
    served = {name: query.workspace_in({TENANT: workspace}) for name, query in STATEMENTS.items()}
    assert {name for name, found in served.items() if found is None} == EVERYWHERE
    assert set(served.values()) == {None, workspace}
    for name in served.keys() - EVERYWHERE:
        with pytest.raises(KeyError, match=TENANT):
            STATEMENTS[name].workspace_in({})


def test_every_table_belongs_to_a_workspace_but_two() -> None:
    assert set(TABLES) - set(TENANT_TABLES) == {"baton_schema", "workspaces"}


def test_every_key_of_a_tenants_table_leads_with_the_workspace(connection: psycopg.Connection) -> None:
    rows = connection.execute(
        """
        SELECT c.conname, a.attname
          FROM pg_constraint c
          JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
         WHERE c.contype IN ('p', 'u', 'f') AND c.conrelid::regclass::text = ANY(%s)
        """,
        (TENANT_TABLES,),
    ).fetchall()
    assert {(name, column) for name, column in rows if column != "workspace_id"} == {
        ("api_keys_hash_key", "hash")
    }


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_names_the_workspace_of_every_tenants_table_it_touches(name: str) -> None:
    missing = set(unbound(STATEMENTS[name].sql))
    if name in ACROSS_WORKSPACES:
        assert missing, f"{name} needs no exception any more"
    else:
        assert missing == set()


def unbound(sql: str) -> Iterator[str]:
    """The tenants' tables in a statement that nothing ties to a workspace: neither a parameter nor an input does.

    A table is tied by `alias.workspace_id = …`: to a parameter, to a CTE, or to a table that is tied itself.
    """
    table = rf"\b(INSERT INTO|UPDATE|DELETE FROM|FROM|JOIN)\s+({'|'.join(TENANT_TABLES)})\b(?:\s+(?:AS\s+)?([a-z_]+)\b)?"
    found = re.findall(table, sql)
    aliases = {alias for _, _, alias in found if alias}
    equal = re.findall(r"\b([a-z_]+)\.workspace_id = (?:([a-z_]+)\.)?", sql)
    tied = {left for left, right in equal if right not in aliases} | {
        right for left, right in equal if left not in aliases
    }
    tied |= set(re.findall(r"INSERT INTO \w+ AS (\w+) \(workspace_id", sql))
    while more := {alias for pair in equal for alias in pair if tied & set(pair)} - tied:
        tied |= more
    for verb, name, alias in found:
        if verb == "INSERT INTO":
            is_tied = re.search(rf"INSERT INTO {name}(?: AS \w+)? \(workspace_id", sql) is not None
        elif alias:
            is_tied = alias in tied
        else:
            is_tied = re.search(r"[^.]\bworkspace_id = %\(", sql) is not None
        if not is_tied:
            yield f"{name} {alias}".strip()


def test_a_table_without_its_workspace_is_noticed() -> None:
    assert list(unbound("SELECT FROM tasks t WHERE t.workspace_id = i.workspace_id")) == []
    assert list(unbound("SELECT FROM tasks t WHERE t.id = i.id")) == ["tasks t"]
    assert list(
        unbound("SELECT FROM i JOIN tasks t ON t.workspace_id = i.w JOIN channels c ON c.id = t.c")
    ) == ["channels c"]
    assert list(unbound("SELECT FROM api_keys k JOIN identities a ON a.workspace_id = k.workspace_id")) == [
        "api_keys k",
        "identities a",
    ]
    assert list(unbound("SELECT FROM tasks WHERE workspace_id = %(workspace_id)s")) == []
    assert list(unbound("INSERT INTO messages (id) SELECT 1")) == ["messages"]
    assert list(unbound("UPDATE tasks SET title = ''")) == ["tasks"]
    assert list(unbound("DELETE FROM messages WHERE id = 1")) == ["messages"]


# --- lists read indexes


TASKS: Final = 20_000
MINE: Final = 200  # of them: those the caller takes part in, and as many again in their channel

SEED = """
INSERT INTO identities (workspace_id, id, kind, handle, name)
SELECT %(workspace)s, make_id(-n), 'agent', 'crowd-' || n, 'Crowd' FROM generate_series(1, 100) AS n;
INSERT INTO tasks (workspace_id, id, number, title, description, status, priority, created_by_id, created_by_kind,
                   assignee_id, assignee_kind, parent_task_id, channel_id)
SELECT %(workspace)s, make_id(n), n, 'Task ' || n || ' about ' || md5(n::text), md5((-n)::text),
       (ARRAY['todo', 'in_progress', 'blocked', 'done'])[n %% 4 + 1], n %% 5, make_id(-1 - n %% 100), 'agent',
       CASE n %% 100 WHEN 0 THEN %(caller)s::uuid WHEN 1 THEN %(stranger)s END, CASE WHEN n %% 100 < 2 THEN 'agent' END,
       CASE WHEN n > 10 AND n %% 50 = 3 THEN make_id(n %% 10) END,
       CASE n %% 100 WHEN 2 THEN %(channel)s::uuid WHEN 3 THEN %(foreign)s END
  FROM generate_series(1, %(tasks)s) AS n;
INSERT INTO task_participants (workspace_id, identity_id, task_id)
SELECT workspace_id, p.id, tasks.id FROM tasks CROSS JOIN LATERAL (VALUES (assignee_id), (created_by_id)) AS p (id)
 WHERE p.id IS NOT NULL ON CONFLICT DO NOTHING;
INSERT INTO task_participants (workspace_id, identity_id, task_id) VALUES (%(workspace)s, %(caller)s, make_id(3));
INSERT INTO task_search (workspace_id, task_id, words)
SELECT workspace_id, id, lower(title || chr(10) || description) FROM tasks;
INSERT INTO task_comments (workspace_id, task_id, id, author_id, author_kind, body)
SELECT workspace_id, id, make_id(n), created_by_id, created_by_kind, 'remark ' || n
  FROM tasks CROSS JOIN generate_series(1, 3) AS n;
INSERT INTO task_events (workspace_id, task_id, version, kind, actor_id, actor_kind, request_id)
SELECT workspace_id, id, 1, 'created', created_by_id, created_by_kind, 'seed' FROM tasks;
INSERT INTO runs (workspace_id, id, kind, status, work_item_id, author_id, author_kind, holder_id, holder_kind, attempt,
                  lease_seconds, lease_expires_at, lease_check_at, ended_at, end_reason)
SELECT workspace_id, tasks.id, 'claim', 'running', tasks.id, p.id, 'agent', p.id, 'agent', 1,
       300, now() + interval '1 day', now() + interval '1 day', CASE WHEN NOT p.live THEN now() END,
       CASE WHEN NOT p.live THEN 'completed' END
  FROM tasks CROSS JOIN LATERAL (VALUES (
       CASE number %% 100 WHEN 0 THEN %(caller)s::uuid ELSE created_by_id END,
       number %% 20 = 1 OR number %% 1000 = 0)) AS p (id, live);
"""
MAKE_ID = """
CREATE FUNCTION make_id(n integer) RETURNS uuid IMMUTABLE LANGUAGE sql
AS $$ SELECT ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid $$
"""


class RecordingDatabase(Database):
    """A database that remembers what it was asked, with which parameters."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn, connections_max=2, statement_timeout_seconds=30, pooler=False)
        self.asked: list[tuple[Query[Any], dict[str, object]]] = []

    async def all(self, query: Query[Any], **parameters: object) -> list[Any]:
        self.asked.append((query, parameters))
        return await super().all(query, **parameters)

    async def ask(self, batch: BatchQuery[Any], item: Any) -> Any:
        self.asked.append((batch, one_item(item)))
        return await super().ask(batch, item)

    async def write(self, batch: BatchCommand[Any], item: Any) -> Any:
        self.asked.append((batch, one_item(item)))
        return await super().write(batch, item)


def one_item(item: dict[str, object]) -> dict[str, object]:
    """The parameters of a batch of one."""
    return {"items": msgspec.json.encode([item], enc_hook=as_json).decode()}


class LargeWorld:
    """A workspace of twenty thousand tasks, of which the caller sees four hundred."""

    def __init__(
        self, db: RecordingDatabase, connection: psycopg.Connection, caller: Caller, ids: dict[str, str]
    ) -> None:
        self.db = db
        self.connection = connection
        self.context = Context(db, caller.context.actor, caller.context.request_id)
        self.ids = ids

    async def asks(
        self, op: Operation, fields: dict[str, object]
    ) -> list[tuple[Query[Any], dict[str, object]]]:
        """The statements of a real call, with its parameters."""
        named = {
            key: value.format(**self.ids) if isinstance(value, str) else value
            for key, value in fields.items()
        }
        self.db.asked.clear()
        await execute(op, self.context, body=msgspec.json.encode(named))
        assert self.db.asked
        return list(self.db.asked)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def large(postgres: str) -> AsyncIterator[LargeWorld]:
    dsn = new_database(postgres, "baton_test_large")
    db = RecordingDatabase(dsn)
    await db.open()
    world = World(db, await admin.create_workspace(db, "large"))
    caller, stranger = await world.agent("caller", channels=[]), await world.agent("stranger", channels=[])
    channel, foreign = await world.channel("builds", caller), await world.channel("foreign", stranger)
    ids = {
        "workspace": world.id,
        "caller": caller.id,
        "stranger": stranger.id,
        "channel": channel,
        "foreign": foreign,
    }
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(MAKE_ID)
        for statement in SEED.split(";\n")[:-1]:
            connection.execute(
                statement.encode(), {**ids, "tasks": TASKS}
            )  # bytes: it is no LiteralString any more
        connection.execute("UPDATE task_counters SET last_number = %s", (TASKS,))
        connection.execute("VACUUM ANALYZE")
        yield LargeWorld(db, connection, caller, ids)
    await db.close()
    drop_database(postgres, "baton_test_large")


class Listing(NamedTuple):
    """A list that is asked for, the indexes that must answer it, and how many rows it may look at on the way."""

    name: str
    op: Operation
    fields: dict[str, object]
    indexes: set[str]
    rows_max: int = 3 * MINE


PAGE: Final = 2 * (PAGE_ROWS_DEFAULT + 1)  # as much from each of two sides, with one to spare
LATE: Final = "01900000-0000-7000-8000-000000000100"  # one of the oldest ids
WALKED: Final = {"task_participants_pkey", "tasks_channel"}
LISTINGS: Final = [
    Listing("plain", list_tasks, {}, WALKED, PAGE),
    Listing("on a later page", list_tasks, {"cursor": LATE}, WALKED, PAGE),
    Listing("open", list_tasks, {"status": "open"}, WALKED, 2 * PAGE),
    Listing("filtered", list_tasks, {"status": "done", "priority": "high", "createdByMe": True}, WALKED),
    Listing("of a channel", list_tasks, {"channelId": "{channel}"}, {"tasks_channel"}),
    Listing("with rare words", list_tasks, {"query": "about 4a"}, {"task_search_words"}),
    Listing("with words nobody used", list_tasks, {"query": "xylophone"}, {"task_search_words"}),
    Listing(
        "with common words", list_tasks, {"query": "about"}, {"task_search_words", *WALKED}, RARE_ROWS_MAX + 1
    ),
    Listing("with a letter", list_tasks, {"query": "a"}, WALKED),
    Listing("by identifier", list_tasks, {"query": "T-1234"}, {"tasks_number_key"}),
    Listing(
        "by the start of many identifiers",
        list_tasks,
        {"query": "T-1"},
        {"tasks_number_key"},
        RARE_ROWS_MAX + 1,
    ),
    Listing("of an assignee", list_tasks, {"assigneeAgentId": "{caller}"}, {"tasks_assignee"}),
    Listing("of a parent", list_tasks, {"parentTaskId": "T-3"}, {"tasks_parent"}),
    Listing("of my own", list_my_tasks, {}, {"tasks_assignee"}, PAGE),
    Listing("of my own that are open", list_my_tasks, {"status": "open"}, {"tasks_assignee"}, PAGE),
    Listing("of comments", list_comments, {"taskId": "T-100"}, {"task_comments_pkey", "tasks_pkey"}, PAGE),
    Listing("of what happened", list_task_history, {"taskId": "T-100"}, {"task_events_pkey"}, PAGE),
    Listing("of what I did", list_my_activity, {}, {"task_events_actor"}),
    Listing("of what waits for me", get_inbox, {}, {"tasks_assignee", "tasks_creator", "runs_live"}),
    Listing("of what I hold", list_runs, {"mine": True, "live": True}, {"runs_live"}),
    Listing("of the best fits", search_tasks, {"query": "1234 or 4321"}, {"task_search_terms"}),
    Listing("of one", get_task, {"taskId": "T-100"}, {"tasks_pkey", "tasks_number_key"}, 10),
    Listing("of one as it was", get_task, {"taskId": "T-100", "atVersion": 1}, {"tasks_pkey"}, 10),
]


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("listing", LISTINGS, ids=lambda listing: listing.name)
async def test_a_list_reads_its_indexes_and_costs_what_the_caller_sees(
    large: LargeWorld, listing: Listing, mode: str
) -> None:
    used: set[str] = set()
    for query, parameters in await large.asks(listing.op, listing.fields):
        for node in plan(large.connection, query, parameters, mode):
            assert not scans_tasks(node), f"{query} scans a table in\n{node}"
            used.add(node.get("Index Name", ""))
            removed = sum(count for what, count in node.items() if what.startswith("Rows Removed by"))
            read = node["Actual Loops"] * (node["Actual Rows"] + removed)
            if node["Node Type"] != "Bitmap Index Scan":  # that reads no rows, only where they are
                assert read <= listing.rows_max, f"{query} reads {read} rows in\n{node}"
    assert listing.indexes <= used


WRITES: Final[list[tuple[Operation, dict[str, object]]]] = [
    (
        create_task,
        {"title": "x", "assigneeAgentId": "{stranger}", "channelId": "{channel}", "parentTaskId": "T-100"},
    ),
    (create_tasks_bulk, {"tasks": [{"title": "x"}] * 50, "summaryChannelId": "{channel}"}),
    (
        update_task,
        {
            "taskId": "T-202",
            "version": 1,
            "title": "y",
            "assigneeAgentId": "{stranger}",
            "channelId": "{channel}",
        },
    ),
    (block_task, {"taskId": "T-300", "reason": "waiting for @stranger"}),
    (cancel_task, {"taskId": "T-400"}),
    (complete_task, {"taskId": "T-500"}),
    (complete_task, {"taskId": "T-500"}),
    (release_task, {"taskId": "T-600"}),
    (comment_on_task, {"taskId": "T-700", "body": "@stranger", "mentions": [{"id": "x"}][:0]}),
]


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("op, fields", WRITES, ids=lambda part: getattr(part, "name", ""))
async def test_a_write_reads_no_table_of_tasks_from_end_to_end(
    large: LargeWorld, op: Operation, fields: dict[str, object], mode: str
) -> None:
    if op is update_task:
        fields = {**fields, "version": 1 if mode == "force_custom_plan" else 2, "title": mode}
    if op is release_task:
        fields = {**fields, "taskId": "T-600" if mode == "force_custom_plan" else "T-800"}
    for query, parameters in await large.asks(op, fields):
        for node in plan(large.connection, query, parameters, mode, run=False):
            assert not scans_tasks(node), f"{query} scans a table in\n{node}"


GROWING_TABLES: Final = {"tasks", "task_participants", "task_search", "task_comments", "task_events", "runs"}


def scans_tasks(node: dict[str, Any]) -> bool:
    """Whether this part of a plan reads a table that grows with the tasks, from one end to the other."""
    return node["Node Type"] == "Seq Scan" and node["Relation Name"] in GROWING_TABLES


def plan(
    connection: psycopg.Connection,
    query: Query[Any],
    parameters: dict[str, object],
    mode: str,
    *,
    run: bool = True,
) -> Iterator[dict[str, Any]]:
    """Every node of the plan that the statement gets; if it is run, with what the node really read."""
    values = SQL("({})").format(SQL(", ").join(Value(parameters[name]) for name in query.parameters))
    connection.execute(f"SET plan_cache_mode = {mode}".encode())
    connection.execute(b"PREPARE statement AS " + query.numbered_sql.encode())
    explain = SQL(
        "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) EXECUTE statement {}"
        if run
        else "EXPLAIN (FORMAT JSON) EXECUTE statement {}"
    )
    try:
        [[plans]] = connection.execute(explain.format(values if query.parameters else SQL(""))).fetchall()
    finally:
        connection.execute("DEALLOCATE statement")
    yield from nodes(plans[0]["Plan"])


# --- what a task looks like


def test_the_code_and_the_schema_agree_on_its_version() -> None:
    written = re.findall(r"INSERT INTO baton_schema \(version\) VALUES \((\d+)\)", schema.FILE.read_text())
    assert written == [str(schema.VERSION)]


async def test_a_task_is_written_with_the_documented_keys_in_their_order(workspace: World) -> None:
    bot = await workspace.agent()
    await bot(create_task, title="x")
    [row] = await workspace.db.all(
        Query(Written, f"SELECT {ASKERS_TASK_JSON} FROM tasks t WHERE t.workspace_id = %(workspace_id)s"),
        workspace_id=workspace.info.id,
        actor_id=bot.id,
    )
    assert list(json.loads(row.task.raw)) == list(Task.__struct_encode_fields__)


class Written(msgspec.Struct):
    """A task as Postgres wrote it."""

    task: Encoded[Task]


TEXTS = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
        st.sampled_from("\"\\/\b\f\n\r\t\x01\x1f\x7f\u2028\u2029\ufeff\ufffd\U0010ffff<>&'{}%_"),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(title=TEXTS.filter(lambda title: shows_something(f"x{title}x")), description=TEXTS)
async def test_a_task_decodes_and_encodes_to_the_same_bytes(
    workspace: World, title: str, description: str
) -> None:
    bot = await task_writer(workspace)
    task: Any = await execute(
        create_task,
        bot.context,
        body=msgspec.json.encode({"title": f"x{title}x", "description": description}),
    )
    decoded = task.result.decode(Task)
    assert (decoded.title, decoded.description) == (f"x{title}x", description)
    assert msgspec.json.encode(decoded) == task.result.raw


_writers: dict[str, Caller] = {}


async def task_writer(workspace: World) -> Caller:
    """The one agent of a workspace, for a test that runs many times in it."""
    if workspace.id not in _writers:
        _writers[workspace.id] = await workspace.agent("writer")
    return _writers[workspace.id]
