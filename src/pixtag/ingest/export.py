"""Writing a store's posts back in the form that import reads."""

from __future__ import annotations

import json
from typing import IO, TYPE_CHECKING

from pixtag.times import iso_time

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pixtag.store import Store
    from pixtag.types import Post


def export_posts(
    store: Store,
    out: Path,
    *,
    user_id: str | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> int:
    """Write posts as JSON Lines. Importing the file gives the same posts again.

    Args:
        store: Where the posts are.
        out: The file; replaced at once when all is written. A name in .gz is compressed.
        user_id: Only this person's posts; everybody's when None.
        on_progress: Called with the number of posts written so far.

    Returns:
        How many posts were written.
    """
    part = out.with_name(out.name + ".part")
    n_posts = 0
    try:
        with _opened(part, is_gzip=out.suffix == ".gz") as file:
            for n_posts, post in enumerate(store.posts(user_id=user_id), start=1):
                file.write(post_line(post))
                if on_progress is not None:
                    on_progress(n_posts)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return n_posts


def post_line(post: Post) -> bytes:
    """Write one post as one line of JSON with its line break.

    Args:
        post: The post. Its photos stand as absolute paths: none as "", several as a list.
    """
    paths = [photo.path for photo in post.photos]
    record = {
        "post_id": post.post_id,
        "user_id": post.user_id,
        "posted_at": iso_time(post.posted_at),
        "image": "" if not paths else paths[0] if len(paths) == 1 else paths,
        "tags": list(post.tags),
    }
    try:
        return json.dumps(record, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # a path that is no valid Unicode: escaped, it reads back the same
        return json.dumps(record).encode() + b"\n"


def _opened(path: Path, *, is_gzip: bool) -> IO[bytes]:
    if not is_gzip:
        return path.open("wb")
    from gzip import GzipFile

    return GzipFile(path, "wb", mtime=0)  # pyright: ignore[reportReturnType]
