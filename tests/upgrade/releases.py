"""Releases of the past: their code out of git, and the database that each has left here."""

import io
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from app.embedded import ROLE
from tests.conftest import Server, drop_database

ROOT = Path(__file__).parents[2]
COMMITS = {"0.1.0": "b8b9d17"}  # where each release stands in git
DIRECTORY = Path(__file__).parent / "releases"


@contextmanager
def checked_out(commit: str) -> Generator[Path]:
    """The files of a commit."""
    with tempfile.TemporaryDirectory(prefix="baton-release-") as directory:
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(directory, filter="data")
        yield Path(directory)


@contextmanager
def serving(checkout: Path, dsn: str, **settings: str) -> Generator[str]:
    """A server of that code. It runs with the packages of this one, which are pinned and move slowly."""
    server = Server(dsn, checkout, **settings)
    try:
        yield server.url
    finally:
        server.stop()
        server.close()


@contextmanager
def database_of(release: str, postgres: str) -> Generator[str]:
    """A database as that release left it, with a little of everything in it."""
    name = f"baton_release_{os.getpid()}"
    drop_database(postgres, name)
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {} OWNER {}").format(Identifier(name), Identifier(ROLE)))
    dsn = make_conninfo(postgres, dbname=name, user=ROLE)
    with psycopg.connect(dsn) as connection:
        connection.execute((DIRECTORY / f"{release}.sql").read_bytes())
    yield dsn
    drop_database(postgres, name)
