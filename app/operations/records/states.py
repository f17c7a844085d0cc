"""States: variables that outlive a task, under /v1/states (contract section 18).

A task created with `stateful: true` gets one. What a State holds is small and is read and written whole. Changing its
variables is checked against the version that was read, if the caller sends it.
"""

from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.db import Encoded, Query
from app.db.phrases import moment
from app.errors import Contended, EtagMismatch, InvalidInput, StateNotFound, TaskReadOnly
from app.ids import new_id, uuid_or_none
from app.operations.runs.run import RUN_VISIBLE, RUN_WRITABLE, sees_all
from app.rpc import (
    IN_PATH,
    Answer,
    Context,
    IfMatch,
    Outcome,
    RecordRequest,
    RecordWrite,
    etag_of,
    given,
    operation,
    versions_in,
)
from app.types import NO_NUL, Id, Markdown, Timestamp
from app.writes.write import Write, one

LABELS_MAX: Final = 200  # groups or tags of a State
VARIABLES_MAX: Final = 500  # of a State; it is read and written whole
LABEL_CHARACTERS_MAX: Final = 500

Name = Annotated[str, Meta(min_length=1, max_length=LABEL_CHARACTERS_MAX, extra_json_schema=NO_NUL)]


class StateScope(Answer):
    """A scope of a State. There is one: the root."""

    id: Annotated[str, Meta(description="Its id.")]
    title: Annotated[str, Meta(description="Its title.")]
    parent_ids: Annotated[list[str], Meta(description="The scopes above it; always empty here.")]


class StateLabel(Answer):
    """A group or tag of a State."""

    id: Annotated[str, Meta(description="Its id.")]
    title: Annotated[str, Meta(description="Its title.")]
    description: Annotated[str | None, Meta(description="What it means.")]


class StateVariable(Answer):
    """A variable of a State."""

    id: Annotated[str, Meta(description="Its id.")]
    state_id: Annotated[str, Meta(description="The State it belongs to.")]
    scope_id: Annotated[str, Meta(description="The scope it belongs to.")]
    name: Annotated[str, Meta(description="Its name, unique in the State.")]
    description: Annotated[str | None, Meta(description="What it means.")]
    schema: Annotated[Any, Meta(description="What its value looks like; any JSON.")]
    value: Annotated[Any, Meta(description="Its value; any JSON.")]
    group_ids: Annotated[list[str], Meta(description="The groups it is in.")]
    tags: Annotated[list[str], Meta(description="Its tags.")]
    created_at: Annotated[Timestamp, Meta(description="When it was first written.")]
    updated_at: Annotated[Timestamp, Meta(description="When it last changed.")]


class State(Answer):
    """Variables that outlive a task."""

    id: Annotated[str, Meta(description="Its id.")]
    name: Annotated[str, Meta(description="Its name.")]
    organization_id: Annotated[str, Meta(description="The organization, which is the workspace.")]
    root_id: Annotated[str, Meta(description="Its root scope.")]
    root: Annotated[StateScope, Meta(description="Its root scope.")]
    scopes: Annotated[dict[str, StateScope], Meta(description="Its scopes by id.")]
    groups: Annotated[dict[str, StateLabel], Meta(description="Its groups by id.")]
    tags: Annotated[dict[str, StateLabel], Meta(description="Its tags by id.")]
    variables: Annotated[
        list[StateVariable], Meta(description="Its variables, in the order they were first written.")
    ]
    created_at: Annotated[Timestamp, Meta(description="When it was created.")]
    updated_at: Annotated[Timestamp, Meta(description="When it last changed.")]


_LABELS_JSON: Final = """
    (SELECT ('{' || coalesce(string_agg(to_json(l->>'id') || ':' || row_to_json((SELECT w FROM (SELECT
                l->>'id' AS id, l->>'title' AS title, l->>'description' AS description) w)), ','), '') || '}')::json
       FROM jsonb_array_elements(labels) AS l)"""

STATE_JSON: Final = f"""
    row_to_json((SELECT w FROM (SELECT
        s.id, s.name, s.workspace_id AS "organizationId", s.root_id AS "rootId", root.scope AS root,
        ('{{' || to_json(s.root_id) || ':' || root.scope || '}}')::json AS scopes, g.labels AS groups, k.labels AS tags,
        (SELECT coalesce(array_to_json(array_agg(row_to_json((SELECT w FROM (SELECT
                    v->>'id' AS id, s.id AS "stateId", s.root_id AS "scopeId", v->>'name' AS name,
                    v->>'description' AS description, v->'schema' AS "schema", v->'value' AS "value",
                    v->'groupIds' AS "groupIds", v->'tags' AS "tags",
                    v->>'createdAt' AS "createdAt", v->>'updatedAt' AS "updatedAt") w)) ORDER BY place)), '[]')
           FROM jsonb_array_elements(s.variables) WITH ORDINALITY AS e (v, place)) AS variables,
        {moment("s.created_at")} AS "createdAt",
        {moment("s.updated_at")} AS "updatedAt"
        FROM (SELECT row_to_json((SELECT w FROM (SELECT
                     s.root_id AS id, s.name AS title, '[]'::json AS "parentIds") w)) AS scope) root
       CROSS JOIN LATERAL (SELECT {_LABELS_JSON} AS labels FROM (SELECT s.groups AS labels) l) g
       CROSS JOIN LATERAL (SELECT {_LABELS_JSON} AS labels FROM (SELECT s.tags AS labels) l) k) w))"""

# Whose a State is: with a run, that run's; by itself its author's, and theirs who answer for them. One that 0.1.0 made by
# itself, without noting for whom, is everybody's in the workspace, as it was then.
_WITH_RUN: Final = """EXISTS (
        SELECT FROM runs r WHERE r.workspace_id = s.workspace_id AND r.state_id = s.id)"""
_OWN: Final = """(
        s.author_id IS NULL OR s.author_id = i.actor_id OR i.sees_all
        OR EXISTS (SELECT FROM identities a
                    WHERE a.workspace_id = i.workspace_id AND a.id = s.author_id AND a.owner_id = i.actor_id))"""
_VISIBLE: Final = f"""(CASE WHEN NOT {_WITH_RUN} THEN {_OWN} ELSE EXISTS (
        SELECT FROM runs r WHERE r.workspace_id = s.workspace_id AND r.state_id = s.id AND {RUN_VISIBLE}) END)"""
_WRITABLE: Final = f"""(CASE WHEN NOT {_WITH_RUN} THEN {_OWN} ELSE EXISTS (
        SELECT FROM runs o WHERE o.workspace_id = s.workspace_id AND o.state_id = s.id AND {RUN_WRITABLE}) END)"""

CREATE_STATE = Write[State](
    takes="state_id uuid, root_id uuid, name text, groups jsonb, tags jsonb",
    does="""
    s AS (
        INSERT INTO states (workspace_id, id, name, root_id, groups, tags, author_id)
        SELECT workspace_id, state_id, name, root_id, groups, tags, actor_id FROM i
        RETURNING *
    )""",
    answers=f"SELECT i.ord, {STATE_JSON} AS answer, s.version FROM s JOIN i ON i.state_id = s.id",
    versioned=True,
    locks="state_id",
)

# Variables are matched by name: one that was there keeps its id and the time it was first written, and what is not
# named is left alone, unless `replace` says that these are all.
UPDATE_STATE = Write[State](
    takes="state_id uuid, sees_all boolean, versions jsonb, variables jsonb, removed jsonb, count_max int",
    does=f"""
    s AS (
        UPDATE states s
           SET variables = n.variables, version = s.version + 1, updated_at = now()
          FROM i
          JOIN states o ON o.workspace_id = i.workspace_id AND o.id = i.state_id
         CROSS JOIN LATERAL (SELECT to_jsonb({moment("now()")}) AS at) t
         CROSS JOIN LATERAL (
               SELECT coalesce(jsonb_agg(merged.variable ORDER BY merged.place), '[]') AS variables
                 FROM (SELECT coalesce(was.place, 1000000 + sent.place) AS place,
                              CASE WHEN sent.v IS NULL THEN was.v
                                   WHEN was.v IS NULL
                                   THEN '{{"description": null, "schema": null, "value": null}}'::jsonb
                                        || '{{"groupIds": [], "tags": []}}'::jsonb
                                        || sent.v || jsonb_build_object('createdAt', t.at, 'updatedAt', t.at)
                                   ELSE was.v || (sent.v - 'id') || jsonb_build_object('updatedAt', t.at) END AS variable
                         FROM jsonb_array_elements(o.variables) WITH ORDINALITY AS was (v, place)
                         FULL JOIN jsonb_array_elements(i.variables) WITH ORDINALITY AS sent (v, place)
                           ON sent.v->>'name' = was.v->>'name'
                        WHERE sent.v IS NOT NULL OR NOT i.removed ? (was.v->>'name')) merged) n
         WHERE s.workspace_id = i.workspace_id AND s.id = i.state_id AND s.version = o.version AND {_WRITABLE}
           AND (i.versions IS NULL OR i.versions @> to_jsonb(o.version))
           AND jsonb_array_length(n.variables) <= i.count_max
        RETURNING s.*
    )""",
    answers=f"SELECT i.ord, {STATE_JSON} AS answer, s.version FROM s JOIN i ON i.state_id = s.id",
    versioned=True,
    locks="state_id",
    one_per=one("state_id"),
)


class FoundRow(msgspec.Struct):
    """A State that the caller sees."""

    ord: int
    state: Encoded[State]
    version: int
    writable: bool


GET_STATE = Query(
    FoundRow,
    f"""
    WITH i AS (
        SELECT %(workspace_id)s::uuid AS workspace_id, %(actor_id)s::uuid AS actor_id, %(sees_all)s::boolean AS sees_all
    )
    SELECT 0, {STATE_JSON}, s.version, {_WRITABLE}
      FROM i
      JOIN states s ON s.workspace_id = i.workspace_id AND s.id = %(state_id)s::uuid
     WHERE {_VISIBLE}
    """,
    pipelined=True,
)


class NewLabel(msgspec.Struct, rename="camel"):
    """A group or tag to create."""

    title: Annotated[Name, Meta(description="Its title.")]
    id: Annotated[Name | None | UnsetType, Meta(description="Its id; one is made unless told.")] = UNSET
    description: Annotated[Markdown | None | UnsetType, Meta(description="What it means.")] = UNSET


class NewVariable(msgspec.Struct, rename="camel"):
    """A variable to write."""

    name: Annotated[Name, Meta(description="Its name: one that is there is changed, another is added.")]
    value: Annotated[Any | UnsetType, Meta(description="Its value; any JSON. As it was unless told.")] = UNSET
    schema: Annotated[Any | UnsetType, Meta(description="What its value looks like; any JSON.")] = UNSET
    description: Annotated[
        Markdown | None | UnsetType, Meta(description="What it means; null clears it.")
    ] = UNSET
    group_ids: Annotated[
        Annotated[list[Name], Meta(max_length=LABELS_MAX)] | UnsetType,
        Meta(description="The groups it is in."),
    ] = UNSET
    tags: Annotated[
        Annotated[list[Name], Meta(max_length=LABELS_MAX)] | UnsetType, Meta(description="Its tags.")
    ] = UNSET


Labels = Annotated[list[NewLabel], Meta(max_length=LABELS_MAX)]


class CreateState(RecordWrite, kw_only=True):
    """The State to create."""

    name: Annotated[Name, Meta(description="Its name.")]
    groups: Annotated[Labels | None | UnsetType, Meta(description="Its groups; at most 200.")] = UNSET
    tags: Annotated[Labels | None | UnsetType, Meta(description="Its tags; at most 200.")] = UNSET


class GetState(RecordRequest):
    """Which State."""

    state_id: Annotated[Id, Meta(description="The State.", extra=IN_PATH)]


class UpdateState(RecordWrite, kw_only=True):
    """The variables to change."""

    state_id: Annotated[Id, Meta(description="The State.", extra=IN_PATH)]
    if_match: IfMatch = UNSET
    variables: Annotated[
        Annotated[list[NewVariable], Meta(max_length=VARIABLES_MAX)] | None | UnsetType,
        Meta(
            description="Variables to add or change, by name: of two with one name the last counts. Others stay."
        ),
    ] = UNSET
    removed: Annotated[
        Annotated[list[Name], Meta(max_length=VARIABLES_MAX)] | None | UnsetType,
        Meta(description="Names of variables to remove, unless they are written too."),
    ] = UNSET


@operation(
    scope="task-write",
    path="states",
    method="POST",
    status=201,
    errors=(Contended,),
)
async def create_state(ctx: Context, req: CreateState) -> Outcome[State]:
    """Create a State: variables that outlive a task.

    A task that is created with `stateful: true` gets one by itself.
    """

    async def otherwise() -> None:
        """There is nothing that stands in the way of a new State."""

    return await ctx.settle(
        CREATE_STATE,
        otherwise,
        state_id=new_id(),
        root_id=new_id(),
        name=req.name,
        groups=_labels(given(req.groups) or []),
        tags=_labels(given(req.tags) or []),
    )


@operation(scope="task-read", path="states/{stateId}", method="GET", read_only=True, errors=(StateNotFound,))
async def get_state(ctx: Context, req: GetState) -> Outcome[State]:
    """Read a State with its variables."""
    row = await _state(ctx, _state_id(req.state_id))
    return Outcome(row.state, version=row.version)


@operation(
    scope="task-write",
    path="states/{stateId}",
    method="PUT",
    errors=(InvalidInput, StateNotFound, TaskReadOnly, EtagMismatch, Contended),
)
async def update_state(ctx: Context, req: UpdateState) -> Outcome[State]:
    """Add, change and remove variables of a State.

    Send the ETag you read as `If-Match`: if the State was changed since, nothing is written and you get a 409. Without
    it the last write wins, variable by variable.
    """
    id = _state_id(req.state_id)
    variables = list({variable.name: variable for variable in given(req.variables) or ()}.values())
    removed = sorted(set(given(req.removed) or ()) - {variable.name for variable in variables})
    versions = versions_in(req.if_match)

    async def otherwise() -> Outcome[State] | None:
        now = await _state(ctx, id)
        if not now.writable:
            raise TaskReadOnly
        if versions is not None and now.version not in versions:
            raise EtagMismatch(etag_of(now.version))
        if not (variables or removed):
            return Outcome(now.state, version=now.version, wrote=False)
        names = {variable.name for variable in now.state.decode(State).variables}
        if len(names | {v.name for v in variables} - set(removed)) > VARIABLES_MAX:
            message = f"A State holds {VARIABLES_MAX} variables at most. Remove some first."
            raise InvalidInput(message, field="variables")
        return None

    if not (variables or removed):
        await ctx.unless_late()
        if (unchanged := await otherwise()) is not None:
            return unchanged
    return await ctx.settle(
        UPDATE_STATE,
        otherwise,
        state_id=id,
        sees_all=sees_all(ctx),
        versions=versions,
        variables=[_variable(variable) for variable in variables],
        removed=removed,
        count_max=VARIABLES_MAX,
    )


async def _state(ctx: Context, id: UUID) -> FoundRow:
    row = await ctx.one(
        GET_STATE,
        sees_all=sees_all(ctx),
        state_id=id,
    )
    if row is None:
        raise StateNotFound(str(id))
    return row


def _state_id(sent: str) -> UUID:
    if (id := uuid_or_none(sent)) is None:
        raise StateNotFound(sent)
    return id


def _labels(labels: list[NewLabel]) -> list[dict[str, object]]:
    """What was said of labels. Of two with the same id the last counts."""
    made: list[dict[str, object]] = [
        {
            "id": given(label.id) or str(new_id()),
            "title": label.title,
            "description": given(label.description),
        }
        for label in labels
    ]
    return list({label["id"]: label for label in made}.values())


def _variable(variable: NewVariable) -> dict[str, object]:
    """What was said of a variable. What was not is left out: it stays, or is empty in a new one."""
    sent = {
        "name": variable.name,
        "value": variable.value,
        "schema": variable.schema,
        "description": variable.description,
        "groupIds": variable.group_ids,
        "tags": variable.tags,
    }
    return {"id": new_id(), **{name: value for name, value in sent.items() if value is not UNSET}}
