"""The role that serves: it owns the database and everything in it, and has no power over the server or its machine.

initdb makes one user, a superuser, who may read any file of the server's and run any program as it. Whatever reaches
the service's connections has no need of that. So the service is an ordinary role. A cluster gets it while nobody else
can be there: `postgres --single` serves only who starts it.
"""

from pathlib import Path
from typing import Final

from app.embedded.programs import Programs

SUPERUSER: Final = (
    "postgres"  # as initdb makes it; an operator who may enter the socket's directory may use it
)
ROLE: Final = "baton"
DATABASE: Final = "postgres"
MARK: Final = "baton.role"  # a file in the cluster that says it has been done; doing it again does no harm

# A line is a statement here. Tables before sequences: a sequence that belongs to a column follows its table.
STATEMENTS: Final = (
    f"""
    DO $$ BEGIN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{ROLE}') THEN CREATE ROLE {ROLE}; END IF;
    END $$
    """,
    f"ALTER ROLE {ROLE} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS",
    f"ALTER DATABASE {DATABASE} OWNER TO {ROLE}",
    f"""
    DO $$ DECLARE change text; BEGIN
        FOR change IN
            SELECT format('ALTER TABLE %s OWNER TO {ROLE}', c.oid::regclass)
              FROM pg_class c
             WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.oid >= 16384
               AND c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'pg_toast'::regnamespace)
               AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
        LOOP EXECUTE change; END LOOP;
        FOR change IN
            SELECT format('ALTER SEQUENCE %s OWNER TO {ROLE}', c.oid::regclass)
              FROM pg_class c
             WHERE c.relkind = 'S' AND c.oid >= 16384 AND c.relowner <> '{ROLE}'::regrole
               AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
        LOOP EXECUTE change; END LOOP;
        FOR change IN
            SELECT format('ALTER ROUTINE %s OWNER TO {ROLE}', p.oid::regprocedure)
              FROM pg_proc p
             WHERE p.oid >= 16384 AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
        LOOP EXECUTE change; END LOOP;
        FOR change IN
            SELECT format('ALTER TYPE %s OWNER TO {ROLE}', t.oid::regtype)
              FROM pg_type t
              LEFT JOIN pg_class c ON c.oid = t.typrelid
             WHERE t.oid >= 16384 AND (t.typtype IN ('e', 'd') OR (t.typtype = 'c' AND c.relkind = 'c'))
               AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = t.oid AND d.deptype = 'e')
        LOOP EXECUTE change; END LOOP;
    END $$
    """,
)


def has_role(cluster: Path) -> bool:
    """Whether the role was made and given everything."""
    return (cluster / MARK).exists()


def make_role(cluster: Path, programs: Programs, deadline: float) -> None:
    """Make the role and give it the database with all that is in it. No server may run on the cluster."""
    statements = "".join(f"{' '.join(statement.split())}\n" for statement in STATEMENTS)
    alone = ["--single", "-D", str(cluster), "-c", "exit_on_error=on", "-c", "log_checkpoints=off", DATABASE]
    programs.run(deadline, "postgres", *alone, typed=statements)
    (cluster / MARK).write_text(f"{ROLE} owns the database {DATABASE} and what is in it\n")
    (cluster / MARK).chmod(0o600)
    programs.give(cluster / MARK)
