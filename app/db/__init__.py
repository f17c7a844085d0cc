"""The database layer, and the only place that imports psycopg.

`Query` and `BatchQuery` (query.py) are static statements with typed rows; `Database` (database.py) runs them.
A result that Postgres already wrote as JSON stays bytes until it leaves: `Encoded`.
"""

from app.db.address import Unreachable
from app.db.database import Database, Duplicate, Transaction
from app.db.encoded import Encoded, array
from app.db.query import ITEMS, BatchQuery, Query
from app.db.rows import Answered, Listed, One
from app.db.turns import Whose

__all__ = [
    "ITEMS",
    "Answered",
    "BatchQuery",
    "Database",
    "Duplicate",
    "Encoded",
    "Listed",
    "One",
    "Query",
    "Transaction",
    "Unreachable",
    "Whose",
    "array",
]
