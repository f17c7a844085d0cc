"""The database layer, and the only place that imports psycopg.

`Query`, `Command` and their batches (query.py) are static statements with typed rows; `Database` (database.py) runs them.
A result that Postgres already wrote as JSON stays bytes until it leaves: `Encoded`.
"""

from app.db.address import Unreachable
from app.db.database import Database, Duplicate, Referred, Transaction
from app.db.encoded import Encoded, array
from app.db.query import BatchCommand, BatchQuery, Command, Item, Query
from app.db.rows import Answered, Listed, One
from app.db.turns import Whose

__all__ = [
    "Answered",
    "BatchCommand",
    "BatchQuery",
    "Command",
    "Database",
    "Duplicate",
    "Encoded",
    "Item",
    "Listed",
    "One",
    "Query",
    "Referred",
    "Transaction",
    "Unreachable",
    "Whose",
    "array",
]
