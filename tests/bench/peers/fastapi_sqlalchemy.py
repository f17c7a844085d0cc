"""update-task with FastAPI, pydantic and SQLAlchemy's async ORM, as their documentation shows it."""

import hashlib
import os
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from sqlalchemy import URL, ForeignKeyConstraint, select
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.orm.exc import StaleDataError

url = URL.create(
    "postgresql+asyncpg",
    username=os.environ["PGUSER"],
    database=os.environ["PGDATABASE"],
    query={"host": os.environ["PGHOST"], "port": os.environ["PGPORT"]},
)
engine = create_async_engine(url, pool_size=20, max_overflow=0)
Session = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    type_annotation_map = {datetime: TIMESTAMP(timezone=True), dict[str, Any]: JSONB}


class Identity(Base):
    __tablename__ = "identities"
    workspace_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    kind: Mapped[str]


class ApiKey(Base):
    __tablename__ = "api_keys"
    __table_args__ = (
        ForeignKeyConstraint(["workspace_id", "identity_id"], ["identities.workspace_id", "identities.id"]),
    )
    workspace_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    identity_id: Mapped[uuid.UUID]
    hash: Mapped[bytes]
    revoked_at: Mapped[datetime | None]
    identity: Mapped[Identity] = relationship(lazy="joined", innerjoin=True)


class Task(Base):
    __tablename__ = "tasks"
    workspace_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    number: Mapped[int]
    version: Mapped[int] = mapped_column()
    title: Mapped[str]
    description: Mapped[str | None]
    status: Mapped[str]
    priority: Mapped[int]
    due_at: Mapped[datetime | None]
    assignee_id: Mapped[uuid.UUID | None]
    assignee_kind: Mapped[str | None]
    created_by_id: Mapped[uuid.UUID]
    created_by_kind: Mapped[str]
    parent_task_id: Mapped[uuid.UUID | None]
    channel_id: Mapped[uuid.UUID | None]
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    __mapper_args__ = {"version_id_col": version}


class TaskEvent(Base):
    __tablename__ = "task_events"
    workspace_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    task_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    actor_id: Mapped[uuid.UUID]
    actor_kind: Mapped[str]
    request_id: Mapped[str]
    changes: Mapped[dict[str, Any]]


class Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, from_attributes=True)


Status = Literal["triage", "backlog", "todo", "in_progress", "blocked", "in_review", "done", "cancelled"]
Priority = Literal["none", "low", "medium", "high", "urgent"]
PRIORITIES: list[Priority] = ["none", "low", "medium", "high", "urgent"]


class TaskUpdate(Model):
    task_id: uuid.UUID
    version: int
    title: str | None = None
    description: str | None = None
    status: Status | None = None
    priority: Priority | None = None


class TaskOut(Model):
    id: uuid.UUID
    identifier: str
    workspace_id: uuid.UUID
    title: str
    description: str | None
    status: Status
    priority: Priority
    version: int
    due_at: datetime | None
    assignee_user_id: uuid.UUID | None
    assignee_agent_id: uuid.UUID | None
    created_by_user_id: uuid.UUID | None
    created_by_agent_id: uuid.UUID | None
    parent_task_id: uuid.UUID | None
    channel_id: uuid.UUID | None
    origin_message_id: None = None
    origin_extraction_id: None = None
    started_at: datetime | None
    completed_at: datetime | None
    cancelled_at: datetime | None
    archived_at: None = None
    created_at: datetime
    updated_at: datetime
    deleted_at: None = None

    @classmethod
    def of(cls, task: Task) -> "TaskOut":
        return cls(
            id=task.id,
            identifier=f"T-{task.number}",
            workspace_id=task.workspace_id,
            title=task.title,
            description=task.description,
            status=task.status,
            priority=PRIORITIES[task.priority],
            version=task.version,
            due_at=task.due_at,
            assignee_user_id=task.assignee_id if task.assignee_kind == "user" else None,
            assignee_agent_id=task.assignee_id if task.assignee_kind == "agent" else None,
            created_by_user_id=task.created_by_id if task.created_by_kind == "user" else None,
            created_by_agent_id=task.created_by_id if task.created_by_kind == "agent" else None,
            parent_task_id=task.parent_task_id,
            channel_id=task.channel_id,
            started_at=task.started_at,
            completed_at=task.completed_at,
            cancelled_at=task.cancelled_at,
            created_at=task.created_at,
            updated_at=task.updated_at,
        )


class Meta(Model):
    request_id: str
    timestamp: datetime


class TaskAnswer(Model):
    success: bool = True
    data: TaskOut
    meta: Meta


app = FastAPI()
bearer = HTTPBearer()


async def get_session() -> AsyncIterator[AsyncSession]:
    async with Session() as session:
        yield session


SessionDep = Annotated[AsyncSession, Depends(get_session)]


async def get_actor(session: SessionDep, credentials: Annotated[HTTPAuthorizationCredentials, Depends(bearer)]) -> Identity:
    digest = hashlib.sha256(credentials.credentials.encode()).digest()
    key = await session.scalar(select(ApiKey).where(ApiKey.hash == digest, ApiKey.revoked_at.is_(None)))
    if key is None:
        raise HTTPException(401, "Invalid API key")
    return key.identity


@app.post("/v1/agent/update-task")
async def update_task(body: TaskUpdate, session: SessionDep, actor: Annotated[Identity, Depends(get_actor)]) -> TaskAnswer:
    task = await session.get(Task, (actor.workspace_id, body.task_id))
    if task is None or actor.id not in (task.created_by_id, task.assignee_id):
        raise HTTPException(404, "No such task")
    if task.version != body.version:
        raise HTTPException(409, "The task has changed")
    now, request_id = datetime.now(UTC), uuid.uuid4().hex
    changes = body.model_dump(exclude_unset=True, exclude={"task_id", "version"})
    for name, value in changes.items():
        setattr(task, name, PRIORITIES.index(value) if name == "priority" else value)
    if task.status == "in_progress" and task.started_at is None:
        task.started_at = now
    elif task.status == "done":
        task.completed_at = now
    elif task.status == "cancelled":
        task.cancelled_at = now
    task.updated_at = now
    session.add(
        TaskEvent(
            workspace_id=task.workspace_id,
            task_id=task.id,
            version=body.version + 1,
            kind="updated",
            actor_id=actor.id,
            actor_kind=actor.kind,
            request_id=request_id,
            changes=changes,
        )
    )
    try:
        await session.commit()
    except StaleDataError:
        raise HTTPException(409, "The task has changed") from None
    return TaskAnswer(data=TaskOut.of(task), meta=Meta(request_id=request_id, timestamp=now))
