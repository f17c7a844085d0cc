"""The default Postgres: a private server that Baton starts, watches and stops when no DATABASE_URL is given.

Only the binaries come from elsewhere. Everything else lies in one directory:

    DATA_DIR/postgres        the cluster, mode 0700, with the Unix socket in it; there is no TCP port
    DATA_DIR/postgres.log    what the server says
    DATA_DIR/dumps           what was there before the schema last changed, in the format of pg_restore
    DATA_DIR/postgres-15     the cluster of an older major version, kept until it is discarded (majors.py)
    DATA_DIR/owner.lock      held by the one process whose server runs; the file names it
    DATA_DIR/users.lock      shared by the processes that borrow that server
    DATA_DIR/socket          where the socket is, if the path of the cluster is too long for one

The service owns the server from `start()` to `stop()`. A command calls `use()`: it borrows the running
server, or owns one for as long as it takes. Nothing has to be tidied up after a kill -9: both locks are
flocks, which the kernel releases, and Linux tells the server when its owner is gone. Elsewhere the next
owner stops what it finds.

`server` owns it from its start to its end. `cluster` makes its files, `dumps` copies what is in them, `postmaster`
looks at it from outside, `programs` finds the binaries and somebody who can run them, `role` makes the ordinary role
that Baton connects as, and `locks` says who owns what. `majors` moves it all to another version of Postgres.

Any of these files may be empty or torn after a power cut. The next start mends what it can know, and names the rest.

Nothing here imports anything else of ours but the words by which a command is run. All of it blocks: call it from a
thread where that matters.
"""

from app.embedded.programs import EmbeddedPostgresError, find_binaries
from app.embedded.role import ROLE, SUPERUSER
from app.embedded.server import DEFAULT_SETTINGS, EmbeddedPostgres

__all__ = [
    "DEFAULT_SETTINGS",
    "ROLE",
    "SUPERUSER",
    "EmbeddedPostgres",
    "EmbeddedPostgresError",
    "find_binaries",
]
