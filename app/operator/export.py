"""A workspace as a file that anything can read: JSON lines, all of one moment, while the service goes on.

The first line says what it is, then comes a line for each row, `{"table": …, "row": {…}}`, and the last line says how many
there were: a file without it is not whole. Keys are listed, but nothing in the file lets anybody in.
"""

import logging
import os
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec

from app import version
from app.clock import timestamp
from app.config import Config
from app.database_url import borrowed
from app.db import Encoded, Query, schema
from app.db.snapshot import Snapshot, snapshot
from app.errors import AlreadyExists, NotFound
from app.operator.names import Made
from app.operator.tenants import TENANTS

logger = logging.getLogger("baton.export")

FORMAT: Final = 1  # raised when what reads the file would have to change


class Export(Made):
    """A file that holds a workspace."""

    file: str
    workspace_slug: str
    bytes: int
    rows: int


class Found(msgspec.Struct):
    """The workspace to export."""

    id: UUID
    row: Encoded[dict[str, object]]


EXPORT_WORKSPACE = Query(
    Found,
    """
    SELECT w.id, (to_jsonb(w) - '{swept_xid,swept_seq}'::text[])::json FROM workspaces w WHERE w.slug = %(slug)s
    """,
    everywhere=True,
)


def write(config: Config, slug: str, file: Path) -> Export:
    """Write all of a workspace to a file that only its owner can read; nothing may be there yet."""
    if file.exists():
        raise AlreadyExists("file", str(file))
    growing = file.with_name(f"{file.name}.new")
    with borrowed(config) as found:
        schema.ready(found.dsn)
        with snapshot(found.dsn) as seen:
            workspace = seen.one(EXPORT_WORKSPACE, slug=slug)
            if workspace is None:
                raise NotFound(f"There is no workspace `{slug}`.")
            growing.unlink(missing_ok=True)
            try:
                rows = _write(seen, slug, workspace, growing)
                os.link(growing, file)  # which replaces nothing
            finally:
                growing.unlink(missing_ok=True)
    return Export(file=str(file), workspace_slug=slug, bytes=file.stat().st_size, rows=rows)


def _write(seen: Snapshot, slug: str, workspace: Found, file: Path) -> int:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as written:
        head = {
            "format": FORMAT,
            "baton": version(),
            "schemaVersion": schema.VERSION,
            "workspace": slug,
            "exportedAt": timestamp().decode(),
        }
        written.write(msgspec.json.encode(head) + b"\n")
        written.write(b'{"table":"workspaces","row":%b}\n' % workspace.row.raw)
        rows = 1
        for name, tenant in TENANTS.items():
            if tenant.rows is None:
                continue
            here = 0
            for row in seen.each(tenant.rows, workspace_id=workspace.id):
                written.write(b'{"table":"%b","row":%b}\n' % (name.encode(), row.value.raw))
                here += 1
            if here:
                logger.info("%s: %d rows", name, here)
            rows += here
        written.write(msgspec.json.encode({"end": True, "rows": rows}) + b"\n")
        written.flush()
        os.fsync(written.fileno())
    return rows
