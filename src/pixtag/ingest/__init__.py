"""Reading posts from files, folders and archives, and writing them back.

with Store.open("my.sqlite", create=True) as store:
    report = import_posts(find_sources(["archive.zip"]), store, user_id="ana")
"""

from pixtag.ingest.records import export_posts
from pixtag.ingest.report import ImportReport, Problems
from pixtag.ingest.run import KINDS, READERS, Reader, Source, find_sources, import_posts

__all__ = [
    "KINDS",
    "READERS",
    "ImportReport",
    "Problems",
    "Reader",
    "Source",
    "export_posts",
    "find_sources",
    "import_posts",
]
