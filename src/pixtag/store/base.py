"""`Store`: what every store can do, and what does not depend on the engine behind it."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from pixtag.errors import InputError, StoreError, extra_hint
from pixtag.lists import ListName, Lists
from pixtag.places import is_server, printable
from pixtag.store import rows
from pixtag.store.batches import LEAST_POSTS, batches
from pixtag.store.rows import BundleRecord, Database, ForgetResult, is_safe, safe_text
from pixtag.store.schema import MEMORY
from pixtag.types import Halfs, Photo, Post, PostLog, microseconds

_READ_POSTS = 1000  # that are read at once

WRONG_LENGTH = (
    "SELECT embeddings.digest FROM embeddings JOIN encoders ON encoders.id = encoder "
    "WHERE length(vector) != 2 * width LIMIT 20",
    "the embedding of photo {0} has the wrong length",
)  # a query that finds damage in a store, and a sentence for each row

Cursor: TypeAlias = int | str
"""How far a reader has followed a store's changes; to be given back to that store as it is."""


@dataclass(frozen=True, slots=True)
class AddResult:
    """How many of the given posts were new, known otherwise (the new form holds), or known."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0


@dataclass(frozen=True, slots=True)
class Changes:
    """What a reader who was up to date at some cursor has to do to be so again."""

    last_seq: Cursor  # the cursor that this leads to; ask for the changes since then next
    changed: tuple[str, ...]  # posts to read again: new, replaced, or with other embeddings
    gone: tuple[str, ...]  # posts of the reader's that the store no longer has


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of what a store holds: different people, tags and readable photos; all embeddings.

    First and last time are Unix seconds UTC, or None; people come with the most posts first.
    """

    n_posts: int
    n_people: int
    n_tags: int
    n_tag_uses: int
    n_photos: int
    n_embeddings: int
    n_untimed: int
    first_at: float | None
    last_at: float | None
    posts_per_person: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """A photo, by its digest or (out of reach) by its path, that could not be used, and why."""

    target: str
    kind: str
    message: str


class Store(AbstractContextManager["Store"]):
    """Posts, photos and embeddings in an SQLite file or a PostgreSQL database; see `Store.open`.

    One object may be shared by threads. Reads see what was committed when they began.

    Attributes:
        address: Names the store for people: its path, or its URL without a password.
        path: Files made beside the store have names that begin with this one: the file itself,
            or for a database one in the user's data folder. There may be no such file.
        photos_folder: Of kept copies of photos, on this machine; may not exist.
        poll_s: A reader need not ask for changes more often than this.
    """

    poll_s = 0.0
    is_in_memory = False
    _most_at_once = LEAST_POSTS  # posts of a commit

    def __init__(self, address: str, path: Path, *, read_only: bool) -> None:
        self.address, self.path, self.is_read_only = address, path, read_only
        self.photos_folder = path.with_name(path.name + ".photos")

    @staticmethod
    def open(
        address: str | Path,
        *,
        create: bool = False,
        read_only: bool = False,
        busy_timeout_s: float = 5.0,
    ) -> Store:
        """Open a store, made when missing if `create`; an older one is brought up to date.

        The address is a file's path or `postgresql://USER@HOST/DATABASE`, in which another
        program's tables may lie too. A database itself is not made.

        StoreError: it is missing, no store, newer, damaged, cannot be opened or reached, or another
        process held it for longer than `busy_timeout_s`.
        """
        if is_server(address):
            if not str(address).lower().startswith(("postgres://", "postgresql://")):
                what = f"{printable(address)} is no store that is known"
                raise StoreError(what, hint="name a file, or postgresql://USER@HOST/DATABASE")
            try:
                from pixtag.store.postgres import PostgresStore
            except ModuleNotFoundError as error:
                what = f"a PostgreSQL store needs {error.name}, which is not installed"
                raise StoreError(what, hint=extra_hint("postgres")) from error

            return PostgresStore(
                str(address), create=create, read_only=read_only, busy_timeout_s=busy_timeout_s
            )
        from pixtag.store.sqlite import SqliteStore

        return SqliteStore(
            Path(address), create=create, read_only=read_only, busy_timeout_s=busy_timeout_s
        )

    @staticmethod
    def in_memory() -> Store:
        """Make an empty store that is in no file and goes with the object."""
        from pixtag.store.sqlite import SqliteStore

        return SqliteStore(MEMORY, create=True)

    def __exit__(self, *error: object) -> None:
        self.close()

    # What each engine does in its own way

    @abstractmethod
    def close(self) -> None:
        """Close the store. Nothing is lost by not calling it."""

    @abstractmethod
    def known_posts(self, post_ids: Collection[str]) -> dict[str, Post]:
        """Read those of some posts that the store has."""

    @abstractmethod
    def reading(self) -> AbstractContextManager[Database]:
        """Hold one state of the store over several queries; for the modules of this package."""

    @abstractmethod
    def writing(self) -> AbstractContextManager[Database]:
        """Run one transaction, durable when it ends: all of it is kept or nothing.

        What is written inside it by this store's other methods belongs to it.
        """

    @property
    def mark(self) -> object:
        """Stays equal while nothing at all changes in the store; None where nobody can tell."""
        return None

    @property
    @abstractmethod
    def revision(self) -> int:
        """Grows with every change of posts or embeddings: the number of the last one.

        Who wants to miss none of several at once follows `cursor`.
        """

    @property
    @abstractmethod
    def last_removal(self) -> int:
        """The revision at which posts were last removed; 0 when none ever were."""

    @property
    @abstractmethod
    def cursor(self) -> Cursor:
        """Where a reader stands who reads everything now; begin with it, then read `log`."""

    @abstractmethod
    def changes_since(self, seq: Cursor, known: Iterable[str] = ()) -> Changes:
        """Tell a reader which posts changed since a cursor, and which of theirs were removed.

        Nothing is kept of a removed post, not even its name: the `known` posts of the reader are
        compared with the store's. After a backup was restored (the store is behind `seq`) all
        posts are changed. However many write at once, each change is told, and told once.
        """

    @abstractmethod
    def log(
        self,
        encoder_digest: str | None = None,
        post_ids: Collection[str] | None = None,
        *,
        seen_before: float | None = None,
    ) -> PostLog:
        """Read all posts, or those of `post_ids` that are there, as columns in a log's order.

        Embeddings are the encoder's, a post's the mean over its photos; without one D = 0. With
        `seen_before` (Unix seconds UTC) only posts that the store had learned of before that.
        """

    @abstractmethod
    def logs(self, encoder_digest: str | None = None, *, n_posts: int) -> Generator[PostLog]:
        """Read what `log` gives in parts of so many posts; all of one state of the store.

        Until the last one was taken or it was closed, this thread can write nothing.
        """

    @abstractmethod
    def find_post_by_digest(self, digest: str) -> Post | None:
        """Find the latest post with the photo whose bytes have this SHA-256, hex."""

    @abstractmethod
    def missing_photos(self, encoder_digest: str) -> list[Photo]:
        """List readable photos without embedding or failure, each digest once, in posts' order."""

    @abstractmethod
    def snapshot_file(self, key: str) -> Path | None:
        """Where evidence that was derived from this store may be kept; None for nowhere."""

    @abstractmethod
    def _meta(self, name: str) -> Any:  # noqa: ANN401 - a number or a text
        """Read one of the store's own values."""

    @abstractmethod
    def _all(self, query: str, *values: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401
        """Run one query."""

    @abstractmethod
    def _load(self, ids: list[int]) -> list[Post]:
        """Read whole posts by their row, without those that are gone."""

    @abstractmethod
    def _add_batch(self, batch: list[Post], seen_at: Mapping[str, int]) -> Counter[str]:
        """Write posts inside a transaction and count as `AddResult` does."""

    @abstractmethod
    def _write_vectors(self, encoder_digest: str, digests: Sequence[str], vectors: Halfs) -> None:
        """Keep embeddings inside a transaction; posts that show the photos count as changed."""

    @abstractmethod
    def _remove(self, *, user_id: str | None, post_ids: Collection[str]) -> ForgetResult:
        """Remove posts, or a person's posts, lists and records, with all that derives from them."""

    @abstractmethod
    def _path_key(self, path: str) -> str | bytes:
        """A path as the store keeps it."""

    @abstractmethod
    def seen_at(self, post_ids: list[str]) -> dict[str, int]:
        """When the store learned of posts, microseconds UTC, for those where that is known."""

    def _write(self, work: Callable[[], Counter[str] | None]) -> Counter[str] | None:
        """Do some work in one transaction; an engine may do it again when others got between."""
        with self.writing():
            return work()

    def _loading(self) -> AbstractContextManager[object]:
        """Prepare for many batches one after the other."""
        return nullcontext()

    # What is the same for all

    def reader(self) -> Store:
        """Give a store for another thread to read from while this one is busy; maybe itself."""
        return self

    def writer(self) -> Store:
        """Give a store for another thread to write to while this one is busy; maybe itself."""
        return self

    @property
    def identity(self) -> str:
        """Random name that the store got when it was made; two stores never share it."""
        return str(self._meta("identity"))

    @property
    def secret(self) -> bytes:
        """Random bytes that servers of this store sign with; never shown."""
        return bytes.fromhex(str(self._meta("secret")))

    @property
    def outside_revision(self) -> int:
        """Grows with every change of the counts from outside."""
        return int(self._meta("outside"))

    def add_posts(
        self,
        posts: Iterable[Post],
        *,
        encoder_digest: str | None = None,
        embeddings: Mapping[str, Halfs] | None = None,
        on_progress: Callable[[int], None] | None = None,
        seen_at: Callable[[list[str]], dict[str, int]] = lambda _: {},
    ) -> AddResult:
        """Add posts, or bring known ones up to date, in batches; the last of a post_id holds.

        The encoder's `embeddings`, `[D]` by digest of a photo, go in the commit of their posts;
        `on_progress` is told the number of posts taken so far. `seen_at` gives for some post_ids
        when they were learned of (microseconds UTC) where that is not now.

        InputError: a name is no valid Unicode, a time is out of range (1698 to 2242), embeddings
        as for `put_embeddings`. StoreError: the store cannot be written; earlier batches stay.
        """
        known = embeddings or {}
        if known and encoder_digest is None:
            raise InputError("embeddings without their encoder", hint="give encoder_digest too")
        counts: Counter[str] = Counter()
        with ExitStack() as at_the_end:
            cut = batches(posts, most=self._most_at_once, on_progress=on_progress)
            for n_before, batch in enumerate(cut):
                if n_before == 1:
                    at_the_end.enter_context(self._loading())
                learned = seen_at([post.post_id for post in batch])
                counts += self._kept(batch, learned, encoder_digest, known)
        return AddResult(**counts)

    def _kept(
        self,
        batch: list[Post],
        seen_at: Mapping[str, int],
        encoder_digest: str | None,
        known: Mapping[str, Halfs],
    ) -> Counter[str]:
        """Keep posts, and what is known of their photos, in one transaction."""
        photos = (photo.digest for post in batch for photo in post.photos)
        shown = list(dict.fromkeys(digest for digest in photos if digest in known))
        vectors = rows.checked_vectors(shown, [known[d] for d in shown]) if shown else None

        def write() -> Counter[str]:
            found = self._add_batch(batch, seen_at)
            if vectors is not None:
                self._write_vectors(str(encoder_digest), shown, vectors)
            return found

        return self._write(write) or Counter()

    def posts(self, *, user_id: str | None = None) -> Iterator[Post]:
        """Read a person's or all posts in time order, ties by post_id, untimed ones first."""
        whose, values = "", []
        if user_id is not None:
            whose = "WHERE posts.user = (SELECT id FROM users WHERE name = ?)"
            values = [safe_text(user_id)]
        query = f"SELECT id FROM posts {whose} ORDER BY posted_at_us NULLS FIRST, post_id"  # noqa: S608
        ids = [row for (row,) in self._all(query, *values)]
        for start in range(0, len(ids), _READ_POSTS):
            yield from self._load(ids[start : start + _READ_POSTS])

    def summary(self) -> Summary:
        """Count what the store holds."""
        with self.reading() as db:
            first, last, *counts = db.execute(
                """SELECT min(posted_at_us), max(posted_at_us), count(*),
                    count(DISTINCT posts.user), (SELECT count(DISTINCT tag) FROM tag_uses),
                    (SELECT count(*) FROM tag_uses),
                    (SELECT count(DISTINCT digest) FROM photos WHERE digest != ''),
                    (SELECT count(*) FROM embeddings), count(*) - count(posted_at_us) FROM posts"""
            ).fetchone()
            query = """SELECT name, count(*) FROM posts JOIN users ON users.id = posts.user
                GROUP BY users.id ORDER BY count(*) DESC, name"""
            people = tuple(db.execute(query))
            span = {"first_at": rows.seconds(first), "last_at": rows.seconds(last)}
            return Summary(*counts, **span, posts_per_person=people)

    def people(self, *, at_most: int) -> list[str]:
        """Name people with posts, by name, but not more than a few of many."""
        query = """SELECT name FROM users
            WHERE EXISTS (SELECT 1 FROM posts WHERE posts.user = users.id) ORDER BY name LIMIT ?"""
        return [name for (name,) in self._all(query, at_most)]

    def damage(self) -> list[str]:
        """Check what holds the posts, and say in words what is broken. StoreError: it cannot."""
        query, sentence = WRONG_LENGTH
        return [sentence.format(*row) for row in self._all(query)]

    def put_embeddings(
        self, encoder_digest: str, digests: Sequence[str], embeddings: Halfs
    ) -> None:
        """Keep embeddings `[M, D]` (fp16) of photos `[M]`; a known one is replaced.

        ShapeError: not one row a photo, or D differs from what this encoder gave before.
        InputError: a number is not finite.
        """
        vectors = rows.checked_vectors(digests, embeddings)
        if len(digests):
            self._write(lambda: self._write_vectors(encoder_digest, digests, vectors))

    def record_failure(self, target: str, kind: str, message: str) -> None:
        """Note that a photo, by digest or by a path out of reach, is not to be tried for now.

        Importing a post that shows it readable again clears a path's note.
        """
        with self.writing() as db:
            row = self._path_key(target), safe_text(kind), safe_text(message)
            query = """INSERT INTO failures VALUES (?, ?, ?) ON CONFLICT (target)
                DO UPDATE SET kind = excluded.kind, message = excluded.message"""
            db.execute(query, row)

    def failures(self) -> list[Failure]:
        """List the photos that cannot be used, by target."""
        found = self._all("SELECT target, kind, message FROM failures ORDER BY target")
        return [Failure(rows.path_from_db(target), kind, why) for target, kind, why in found]

    def clear_failures(self) -> None:
        """Let every failed photo be tried again."""
        with self.writing() as db:
            db.execute("DELETE FROM failures")

    def record_bundle(
        self, path: str | Path, digest: str, trained_until: float | None, user_ids: Iterable[str]
    ) -> None:
        """Note that a model was trained on these people's posts; replaces a note of its path.

        `trained_until` is the time of the last post it was fitted on, Unix seconds UTC, or None.
        """
        key = self._path_key(os.path.abspath(path))  # noqa: PTH100 - a bundle may be a link
        until_us = None if trained_until is None else microseconds(trained_until)
        with self.writing() as db:
            old = "(SELECT id FROM bundles WHERE path = ?)"
            db.execute(f"DELETE FROM bundle_users WHERE bundle IN {old}", (key,))  # noqa: S608
            db.execute("DELETE FROM bundles WHERE path = ?", (key,))
            query = "INSERT INTO bundles (path, bundle_digest, trained_until_us) VALUES (?, ?, ?)"
            (made,) = db.execute(f"{query} RETURNING id", (key, digest, until_us)).fetchone()
            users = dict.fromkeys(safe_text(user) for user in user_ids)
            query = "INSERT INTO bundle_users VALUES (?, ?)"
            db.executemany(query, [(made, user) for user in users])

    def bundles_trained_on(self, user_id: str) -> list[BundleRecord]:
        """List the models that were trained on a person's posts, by path."""
        query = """SELECT path, bundle_digest, trained_until_us FROM bundles
            JOIN bundle_users ON bundle = bundles.id WHERE user_name = ? ORDER BY path"""
        found = self._all(query, safe_text(user_id))
        return [BundleRecord(rows.path_from_db(p), d, rows.seconds(t)) for p, d, t in found]

    def forget(self, user_id: str) -> ForgetResult:
        """Remove a person: posts, tag uses, embeddings, lists, kept copies, derived files.

        Photos that somebody else's post shows too stay, as does what lies elsewhere: the person's
        own files and the models that were trained on them.
        """
        bundles = tuple(self.bundles_trained_on(user_id))
        return replace(self._remove(user_id=user_id, post_ids=()), bundles=bundles)

    def remove_posts(self, post_ids: Collection[str]) -> int:
        """Remove posts in the way of `forget` and say how many; unknown ones are ignored."""
        return self._remove(user_id=None, post_ids=post_ids).posts

    def lists(self, user_id: str | None = None) -> Lists:
        """Give a person's lists of tags; those of everybody in this store for None."""
        query = "SELECT list, tag FROM lists WHERE user_name = ? ORDER BY id"
        return self._lists_of(self._all(query, safe_text(user_id or "")))

    def _lists_of(self, entries: list[tuple[Any, ...]]) -> Lists:
        return Lists().with_entries(entries)

    def edit_lists(
        self, name: ListName, tags: Iterable[str], *, user_id: str | None, remove: bool
    ) -> list[str]:
        """Change a list of a person's, or of everybody's in this store for None, as `Lists.edited`.

        InputError: a tag or the person's name is none.
        """
        if user_id is not None and not (user_id and is_safe(user_id)):
            what = f"{user_id!r} is no name of a person"
            raise InputError(what, hint="give a name in valid Unicode")
        whose = user_id or ""
        with self.writing() as db:
            after, changed = self.lists(user_id).edited(name, tags, remove=remove)
            db.execute("DELETE FROM lists WHERE user_name = ?", (whose,))
            entries = [(whose, name, tag) for name, tag in after.entries()]
            query = "INSERT INTO lists (user_name, list, tag) VALUES (?, ?, ?)"
            db.executemany(query, entries)
        return changed

    def _require_writable(self) -> None:
        if self.is_read_only:
            what = f"{self.address} was opened for reading only"
            raise StoreError(what, hint="open it without read_only")
