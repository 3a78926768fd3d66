"""The store: posts, tag uses, photos, embeddings and lists in one SQLite file.

Beside the file lie, where they were made, `FILE.photos/` (kept copies of photos) and
`FILE.snapshot*` (derived data that can be made again).
"""

from pixtag.store.core import AddResult, Changes, Failure, Store, Summary
from pixtag.store.rows import BundleRecord, ForgetResult

__all__ = ["AddResult", "BundleRecord", "Changes", "Failure", "ForgetResult", "Store", "Summary"]
