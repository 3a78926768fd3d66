"""Reading posts from files, folders and archives, and writing them back.

with Store.open("my.sqlite", create=True) as store:
    report = import_posts(find_sources(["archive.zip"]), store, user_id="ana")
"""

from pixtag.ingest.context import ImportReport
from pixtag.ingest.records import export_posts
from pixtag.ingest.run import KINDS, READERS, Reader, find_sources, import_posts

__all__ = ["KINDS", "READERS", "ImportReport", "Reader", "export_posts", "find_sources"]
__all__ += ["import_posts"]
