"""`python -m tests.upgrade.fingerprints` writes app/db/migrations/fingerprints.json, after schema.sql or a migration changed.

It keeps how each object looks in the databases that this code may meet: one of the release before, the same once it
is prepared, and one that is complete. How a release looked stays as it is.
"""

import json
import os
import tempfile
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from app.db import catalogue, schema
from app.embedded import SUPERUSER, EmbeddedPostgres
from tests.conftest import drop_database, new_database
from tests.upgrade.releases import database_of

FILE = Path(schema.__file__).parent / "migrations" / "fingerprints.json"


def fingerprints(postgres: str) -> dict[str, dict[str, str]]:
    """How the databases look that this code may meet."""
    ladder = schema.LADDER
    found = {
        name: known for name, known in ladder.known.items() if name.isdigit() and int(name) in ladder.released
    }
    ladder.known.clear()  # what it says is being found out
    if ladder.version != ladder.previous:
        with database_of(ladder.released[ladder.previous], postgres) as dsn:
            schema.apply(dsn, ["pre"])
            found[f"{ladder.previous}-{ladder.version}"] = look(dsn)
    name = f"baton_fingerprints_{os.getpid()}"
    found[str(ladder.version)] = look(new_database(postgres, name))
    drop_database(postgres, name)
    ladder.known.update(found)
    return found


def look(dsn: str) -> dict[str, str]:
    """The objects of a database, each with its hash."""
    with psycopg.connect(dsn) as connection:
        return catalogue.fingerprints(connection)


def main() -> None:
    """Write the file."""
    configured = os.environ.get("POSTGRES_BIN")
    with (
        tempfile.TemporaryDirectory(prefix="baton-fingerprints-") as directory,
        EmbeddedPostgres(Path(directory), Path(configured) if configured else None).use() as postgres,
    ):
        found = fingerprints(make_conninfo(postgres, user=SUPERUSER))
        FILE.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
