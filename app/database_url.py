"""Where the database is: where DATABASE_URL says, or else in the embedded Postgres, which is started or borrowed."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from app import COMMAND
from app.config import Config, forget_libpq
from app.db import Unreachable
from app.embedded import EmbeddedPostgres, EmbeddedPostgresError


class Found(NamedTuple):
    """A database that can be reached, and what its owner does before its schema changes."""

    dsn: str
    is_ours: bool
    dump: Callable[[], object]  # of somebody else's Postgres nothing: that is for them to do


@contextmanager
def owned(config: Config, settings: Mapping[str, str]) -> Generator[Found]:
    """The database for a server, which owns the embedded Postgres for the block."""
    if config.database_url:
        yield Found(config.database_url, is_ours=False, dump=_nothing)
        return
    forget_libpq()
    postgres = EmbeddedPostgres(config.data_dir, config.postgres_bin_dir, settings)
    dsn = postgres.start()
    try:
        with _named(postgres):
            yield Found(dsn, is_ours=True, dump=lambda: postgres.dump(dsn))
    finally:
        postgres.stop()


@contextmanager
def borrowed(config: Config, *, creates: bool = False) -> Generator[Found]:
    """The database for a command, which borrows the running Postgres or owns one for the block.

    Only what may be the first command of all `creates` one. Any other on a directory without a database is in the wrong
    directory, and is told so instead of working on an empty world.
    """
    if config.database_url:
        yield Found(config.database_url, is_ours=False, dump=_nothing)
        return
    forget_libpq()
    postgres = EmbeddedPostgres(config.data_dir, config.postgres_bin_dir)
    if not creates and not postgres.exists():
        raise EmbeddedPostgresError(
            f"There is no database in {postgres.data_dir}. Set DATA_DIR or DATABASE_URL as the service has it, or make "
            f"the first workspace there: `{COMMAND} workspace create SLUG`."
        )
    with postgres.use() as dsn, _named(postgres):
        yield Found(dsn, is_ours=True, dump=lambda: postgres.dump(dsn))


def _nothing() -> None:
    pass


@contextmanager
def _named(postgres: EmbeddedPostgres) -> Generator[None]:
    """Say whose Postgres cannot be reached, where no DATABASE_URL is to blame."""
    try:
        yield
    except Unreachable as e:
        told = postgres.diagnosis(e.said)
        raise EmbeddedPostgresError(f"The Postgres in {postgres.cluster} cannot be reached: {told}") from None
