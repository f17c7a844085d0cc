"""New ids: UUIDv7, in order of creation within a process, made here so that they work on every Postgres we support."""

from uuid import UUID

import uuid_utils.compat


def new_id() -> UUID:
    """A new UUIDv7."""
    return uuid_utils.compat.uuid7()
