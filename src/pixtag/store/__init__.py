"""The store: posts, tag uses, photos and embeddings in one SQLite file.

    with Store.open("my.sqlite", create=True) as store:
        store.add_posts(posts)
        log = store.log(encoder_digest)

Beside the file lie, where they were made, `FILE.photos/` (kept copies of photos) and
`FILE.snapshot*` (derived data that can be made again).
"""

from pixtag.store.core import Store
from pixtag.store.results import AddResult, BundleRecord, Failure, ForgetResult, Summary

__all__ = ["AddResult", "BundleRecord", "Failure", "ForgetResult", "Store", "Summary"]
