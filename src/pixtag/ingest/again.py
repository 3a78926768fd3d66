"""Archives of one account, asked for at different times: one person, one post.

Services rename accounts and, from one archive to the next, the files of media; then ids that are
made of names differ. A post comes again when it is of the same service and second and shows a
photo of the same bytes (or, without photos, has the same person and tags). A person comes again
when most of what they posted does, as somebody else's, and that is most of what the other posted
in that time: photos that two people share do not make them one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from pixtag.ingest.context import NOBODY, ImportReport
from pixtag.store import Store
from pixtag.store.history import posts_at, rename_person, user_of
from pixtag.types import Post

SERVICES = {"instagram": True, "instaloader": True, "activitypub": False, "flickr": False}
"""Kinds of archives of an account, and whether ids of posts are made of names."""

_Names = tuple[str, str]


class Again:
    """Notes what is read of one kind of service, and joins it with what the store had before."""

    def __init__(self, store: Store, kind: str) -> None:
        self._store, self._kind = store, kind
        self._read: dict[str, Post] = {}
        self._renamed: Counter[_Names] = Counter()  # of posts whose ids don't hold names

    def note(self, post: Post) -> None:
        """Note a post before it is written."""
        _, before = user_of(self._store, post.post_id)
        if before and post.user_id and before != post.user_id:
            self._renamed[before, post.user_id] += 1
        self._read[post.post_id] = post

    def settle(self, report: ImportReport) -> None:
        """Join posts and people that came again, once all is written, and tell it."""
        twins = list(self._twins())
        n_twins = Counter((old.user_id, new.user_id) for old, new in twins)
        renamed: dict[_Names, str] = {}
        for old, new in {*n_twins, *self._renamed}:
            n = n_twins[old, new] + self._renamed[old or "", new or ""]
            if old and new and old != new and self._is_most(n, old, new):
                renamed[old, new] = self._kept_name(old, new)
        gone = {
            old.post_id
            for old, new in twins
            if old.user_id == new.user_id or (old.user_id, new.user_id) in renamed
        }
        if gone:
            self._store.remove_posts(gone)
            report.added, report.updated = report.added - len(gone), report.updated + len(gone)
            what = "post known from an earlier archive, under another name"
            report.add(what, next(iter(gone)), len(gone))
        for (old, new), kept in renamed.items():
            other = old if kept == new else new
            rename_person(self._store, other, kept)
            report.rename(other, kept)
            report.add(f"account renamed: {other} is {kept} now", f"{other} -> {kept}")

    def _twins(self) -> Iterator[tuple[Post, Post]]:
        if not SERVICES[self._kind]:
            return
        by_time: dict[float, list[Post]] = defaultdict(list)
        for post in self._read.values():
            if post.posted_at is not None:
                by_time[post.posted_at].append(post)
        for old in posts_at(self._store, by_time, kind=self._kind):
            if old.post_id not in self._read:
                same = (new for new in by_time[old.posted_at or 0.0] if _is_same(old, new))
                yield from ((old, new) for new in list(same)[:1])

    def _is_most(self, n_again: int, old: str, new: str) -> bool:
        """Whether most posts of both came again, as far as their times overlap.

        An archive holds all from the account's beginning, so only what is later has no match.
        """
        before = (p for p in self._store.posts(user_id=old) if p.post_id not in self._read)
        theirs = [post for post in before if post.post_id.startswith(f"{self._kind}-")]
        ours = [post for post in self._read.values() if post.user_id == new]
        last_old, last_new = (
            max((post.posted_at or 0.0 for post in some), default=0.0) for some in (theirs, ours)
        )
        n_by_id = self._renamed[old, new]  # were of the old name, and are already of the new one
        n_old = n_by_id + sum((post.posted_at or 0.0) <= last_new for post in theirs)
        n_new = sum((post.posted_at or 0.0) <= last_old for post in ours)
        return 2 * n_again > max(n_old, n_new)

    def _kept_name(self, old: str, new: str) -> str:
        """The name under which the later posts are; an older archive may be read again."""

        def last(name: str) -> float:
            return max((p.posted_at or 0.0 for p in self._store.posts(user_id=name)), default=0.0)

        return old if new == NOBODY or last(old) > last(new) else new


def _is_same(old: Post, new: Post) -> bool:
    mine, theirs = ({one.digest for one in post.photos} - {""} for post in (old, new))
    if mine and theirs:
        return bool(mine & theirs)
    return old.user_id == new.user_id and old.tags == new.tags
