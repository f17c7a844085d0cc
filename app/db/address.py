"""Where the database is: DATABASE_URL as libpq reads it, and what to say when it cannot be used.

libpq's own words about a URL that it cannot read repeat all of it, the password too. So what is wrong with one is found
here first, and named without the rest.
"""

import re
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

KEYWORDS: Final = frozenset(option.keyword.decode() for option in pq.Conninfo.get_defaults())
ELSEWHERE: Final = {
    "schema": "it is Prisma's; Baton needs a database of its own and keeps to its schema `public`",
    "currentSchema": "it is JDBC's; Baton needs a database of its own and keeps to its schema `public`",
    "pgbouncer": "it is Prisma's; set DATABASE_POOLER=true instead",
    "prepared_statements": "set DATABASE_POOLER=true instead",
    "prepare_threshold": "set DATABASE_POOLER=true instead",
    "statement_cache_size": "it is asyncpg's and Prisma's; set DATABASE_POOLER=true instead",
    "prepared_statement_cache_size": "it is SQLAlchemy's; set DATABASE_POOLER=true instead",
    "connection_limit": "it is Prisma's; set DATABASE_CONNECTIONS instead",
    "pool_size": "set DATABASE_CONNECTIONS instead",
    "pool_timeout": "Baton has a limit of its own",
    "max_overflow": "set DATABASE_CONNECTIONS instead",
    "socket_timeout": "set STATEMENT_TIMEOUT_SECONDS instead",
    "statement_timeout": "set STATEMENT_TIMEOUT_SECONDS instead",
    "command_timeout": "set STATEMENT_TIMEOUT_SECONDS instead",
    "sslaccept": "it is Prisma's; write `sslmode=verify-full` or `sslmode=require` instead",
    "sslidentity": "it is Prisma's; write `sslcert=` and `sslkey=` instead",
    "async_fallback": "it is SQLAlchemy's; leave it out",
}
"""Parameters that other programs have in their URLs, and what to do here instead."""

SPELLED: Final = "It is spelled postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
POOLED: Final = re.compile("unsupported startup parameter|prepared statement .* (?:does not|already) exist")
POOLER: Final = (
    "That is a connection pooler: set DATABASE_POOLER=true (README.md, Behind a connection pooler)."
)


class Unreachable(Exception):
    """There is no database to talk to; the message says why, and `said` is what the driver had to say."""

    def __init__(self, said: str) -> None:
        self.said = " ".join(said.split())
        hint = f" {POOLER}" if POOLED.search(self.said) else ""
        super().__init__(f"The database cannot be reached. Check DATABASE_URL: {self.said}{hint}")


def address(url: str) -> str:
    """A URL or a string of keywords as we connect with it; Unreachable if it is none, with what is wrong about it."""
    if wrong := _what_is_wrong_with(url):
        raise Unreachable(wrong)
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError as e:
        keyword = re.search(r'invalid (?:connection option|URI query parameter):? "(\w+)"', str(e))
        about = f"it has the unknown parameter `{keyword[1]}`" if keyword else "libpq cannot read it"
        raise Unreachable(
            f"{about}. {SPELLED}, with `%40` for an `@` in a password, or as libpq's keywords."
        ) from None
    if "@" in str(given.get("host", "")):
        raise Unreachable(f"its password has an `@` in it; write `%40` for it. {SPELLED}")
    # Text travels as UTF-8, whatever PGCLIENTENCODING or the URL has to say.
    return make_conninfo(url, client_encoding="utf8")


def without_password(url: str) -> tuple[str, str]:
    """The same as keywords, and the password apart: for programs, whose arguments others on the machine can read."""
    given = conninfo_to_dict(address(url))
    password = given.pop("password", "")
    return make_conninfo("", **given), str(password)


def _what_is_wrong_with(url: str) -> str:
    """What other programs write into a URL, and libpq does not know; empty if there is nothing of the kind."""
    scheme, separator, _ = url.partition("://")
    if not separator or " " in scheme:
        return ""
    if scheme not in {"postgresql", "postgres"}:
        if re.fullmatch(r"(jdbc:)?postgres(ql)?([+:.][\w+]+)?", scheme):
            return (
                f"it begins with `{scheme}://`, as other programs have it. Baton's begins with postgresql://"
            )
        return f"it begins with `{scheme}://`. {SPELLED}"
    for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True):
        if name in ELSEWHERE and name not in KEYWORDS:
            return f"take the parameter `{name}` out of it: {ELSEWHERE[name]}"
        if name not in KEYWORDS and name != "ssl":  # which libpq knows as JDBC has it
            return f"take the parameter `{name}` out of it: libpq does not know it"
    return ""
