"""The store: posts, photos, embeddings, lists and what a server keeps, behind one class, `Store`.

`Store.open` takes an address: the path of an SQLite file (`sqlite`), or that of a PostgreSQL
database, `postgresql://USER@HOST/DATABASE` (`postgres`).
"""

from pixtag.store.base import AddResult, Changes, Cursor, Failure, Store, Summary
from pixtag.store.rows import BundleRecord, Database, ForgetResult

__all__ = [
    "AddResult", "BundleRecord", "Changes", "Cursor", "Database", "Failure", "ForgetResult",
    "Store", "Summary",
]  # fmt: skip
