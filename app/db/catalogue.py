"""What is in a database, as its catalogue tells: to compare two databases, and to recognise one.

An object is a table, an index, a function, a sequence, a type or a view of ours; its definition is a few lines of text, sorted,
so that the order in which columns were added does not show. What only an operator may tune (fillfactor, comments)
is left out of the fingerprint, and so is what somebody has added beside ours.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import psycopg

NEWEST_TRIED: Final = 18  # the newest Postgres of which we know how it spells a catalogue
HASH_CHARACTERS: Final = 16  # 64 bits: nobody forges their own database

_CATALOGUE: Final = """
WITH home AS (
    SELECT n.oid, format('%I.', n.nspname) AS prefix
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.oid = 'baton_schema'::regclass
), borrowed AS (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
), relations AS (
    SELECT c.oid, c.relname, c.relkind, c.reloptions, c.relacl, c.relrowsecurity, c.relpersistence, home.prefix
      FROM pg_class c JOIN home ON c.relnamespace = home.oid
     WHERE NOT EXISTS (SELECT FROM borrowed b WHERE b.classid = 'pg_class'::regclass AND b.objid = c.oid)
), tables AS (
    SELECT *, 'table ' || relname AS object FROM relations WHERE relkind IN ('r', 'p')
)
SELECT t.object, 'column ' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
       || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END
       || CASE WHEN a.attcollation <> y.typcollation THEN ' collate ' || a.attcollation::regcollation ELSE '' END
       || CASE WHEN a.attidentity <> '' THEN ' identity ' || a.attidentity::text ELSE '' END
       || CASE WHEN a.attgenerated <> '' THEN ' generated ' || a.attgenerated::text ELSE '' END
       || coalesce(' = ' || pg_get_expr(d.adbin, d.adrelid), ''), true
  FROM tables t
  JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_type y ON y.oid = a.atttypid
  LEFT JOIN pg_attrdef d ON d.adrelid = t.oid AND d.adnum = a.attnum
UNION ALL
SELECT t.object, 'constraint ' || c.conname || ' ' || replace(pg_get_constraintdef(c.oid), t.prefix, ''), true
  FROM tables t JOIN pg_constraint c ON c.conrelid = t.oid AND c.contype IN ('c', 'f', 'p', 'u', 'x')  -- 'n' came with 18
UNION ALL
SELECT t.object, 'trigger ' || replace(pg_get_triggerdef(g.oid), t.prefix, '') || ' ' || g.tgenabled::text, true
  FROM tables t JOIN pg_trigger g ON g.tgrelid = t.oid AND NOT g.tgisinternal
UNION ALL
SELECT t.object, 'policy ' || p.polname || ' ' || coalesce(pg_get_expr(p.polqual, p.polrelid), ''), true
  FROM tables t JOIN pg_policy p ON p.polrelid = t.oid
UNION ALL
SELECT t.object, 'kind ' || t.relkind::text || t.relpersistence::text || ' row security ' || t.relrowsecurity, true FROM tables t
UNION ALL
SELECT 'index ' || r.relname, replace(pg_get_indexdef(i.indexrelid), r.prefix, '')
       || CASE WHEN i.indisvalid AND i.indisready THEN '' ELSE ' invalid' END, true
  FROM relations r JOIN pg_index i ON i.indexrelid = r.oid
UNION ALL
SELECT 'view ' || r.relname, replace(pg_get_viewdef(r.oid), r.prefix, ''), true FROM relations r WHERE r.relkind IN ('v', 'm')
UNION ALL
SELECT 'sequence ' || r.relname,
       format('%s from %s by %s in %s to %s cache %s cycle %s', s.seqtypid::regtype, s.seqstart, s.seqincrement,
              s.seqmin, s.seqmax, s.seqcache, s.seqcycle), true
  FROM relations r JOIN pg_sequence s ON s.seqrelid = r.oid
UNION ALL
SELECT 'function ' || f.proname || '(' || pg_get_function_identity_arguments(f.oid) || ')',
       replace(pg_get_functiondef(f.oid), home.prefix, ''), true
  FROM pg_proc f JOIN home ON f.pronamespace = home.oid AND f.prokind IN ('f', 'p')
 WHERE NOT EXISTS (SELECT FROM borrowed b WHERE b.classid = 'pg_proc'::regclass AND b.objid = f.oid)
UNION ALL
SELECT 'type ' || y.typname,
       coalesce((SELECT string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = y.oid), '')
       || coalesce((SELECT string_agg(pg_get_constraintdef(c.oid), ', ' ORDER BY c.conname)
                      FROM pg_constraint c WHERE c.contypid = y.oid AND c.contype = 'c'), ''), true
  FROM pg_type y JOIN home ON y.typnamespace = home.oid AND y.typtype IN ('e', 'd')
 WHERE NOT EXISTS (SELECT FROM borrowed b WHERE b.classid = 'pg_type'::regclass AND b.objid = y.oid)
UNION ALL
SELECT CASE WHEN r.relkind = 'i' THEN 'index ' WHEN r.relkind = 'S' THEN 'sequence ' ELSE 'table ' END || r.relname,
       'option ' || option, false
  FROM relations r, unnest(r.reloptions) option WHERE r.relkind IN ('r', 'p', 'i')
UNION ALL
SELECT 'table ' || r.relname, 'granted ' || r.relacl::text, false
  FROM relations r WHERE r.relkind IN ('r', 'p') AND r.relacl IS NOT NULL
UNION ALL
SELECT 'table ' || r.relname, 'comment ' || d.objsubid || ' ' || d.description, false
  FROM relations r JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = r.oid
 WHERE r.relkind IN ('r', 'p')
UNION ALL
SELECT 'extension ' || e.extname, '', false FROM pg_extension e
"""


class Line(NamedTuple):
    """One line of a definition, and whether Baton depends on it."""

    object: str
    text: str
    essential: bool


def lines(connection: psycopg.Connection) -> list[Line]:
    """The whole catalogue of the schema that baton_schema stands in, sorted."""
    return sorted(Line(*row) for row in connection.execute(_CATALOGUE).fetchall())


def fingerprints(connection: psycopg.Connection) -> dict[str, str]:
    """A hash of each object, of what Baton depends on. The books of the migrations are no part of it."""
    texts: defaultdict[str, list[str]] = defaultdict(list)
    for line in lines(connection):
        if line.essential and line.object != "table baton_schema":
            texts[line.object].append(line.text)
    return {name: _hash(told) for name, told in sorted(texts.items())}


def fingerprint(objects: Mapping[str, str]) -> str:
    """One hash of them all."""
    return _hash(f"{name} {hashed}" for name, hashed in sorted(objects.items()))


def differing(expected: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """The objects that are missing or different, tables first. Whatever is there besides is somebody else's."""
    odd = [name for name, hashed in expected.items() if found.get(name) != hashed]
    return sorted(odd, key=lambda name: (not name.startswith("table "), name))


def is_conclusive(connection: psycopg.Connection) -> bool:
    """Whether we know how this server spells its catalogue."""
    return connection.info.server_version // 10_000 <= NEWEST_TRIED


def _hash(texts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:HASH_CHARACTERS]
