"""Nothing that is stored moves the cursor of a terminal in which a command prints it."""

import re
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from tests.conftest import new_database
from tests.installation import Installation

NASTY = "Ada\x1b[2J\x1b]0;owned\x07\r\x08\x9b31m\x7f\u202eevil\u2028"
TERMINAL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
COMMANDS = [
    ("workspace", "list"),
    ("key", "list", "--workspace", "acme"),
    ("key", "create", "ada", "--workspace", "acme"),
    ("key", "create", "bot", "--workspace", "acme"),
    ("channel", "create", "news", "--workspace", "acme"),
    ("user", "create", "bob", "--workspace", "acme", "--name", NASTY),
    ("user", "create", NASTY.replace("\x00", ""), "--workspace", "acme"),
    ("workspace", "create", NASTY),
    ("key", "revoke", NASTY, "--workspace", "acme"),
    ("channel", "join", NASTY, "ada", "--workspace", "acme"),
]


def test_no_command_prints_what_moves_a_cursor(postgres: str, tmp_path: Path) -> None:
    dsn = new_database(postgres, "baton_escapes")
    used = Installation(tmp_path / "data", DATABASE_URL=dsn)
    used.ask("workspace", "create", "acme")
    used.ask("user", "create", "ada", "--workspace", "acme", "--email", "ada@example.test")
    used.ask("agent", "create", "bot", "--workspace", "acme")
    with psycopg.connect(
        make_conninfo(dsn), autocommit=True
    ) as connection:  # as an older release let them in
        connection.execute("UPDATE identities SET name = %s", (NASTY,))
        connection.execute("UPDATE workspaces SET name = %s", (NASTY,))
        connection.execute("UPDATE api_keys SET prefix = left(%s, 8) || prefix", (NASTY,))
    for command in COMMANDS:
        for told in (used.run(*command), used.run(*command, "--json")):
            assert TERMINAL.findall(told.stdout + told.stderr) == [], command
