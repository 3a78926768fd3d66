"""What the store answers with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AddResult:
    """What became of the posts that were given.

    Attributes:
        added: Posts that the store did not know.
        updated: Posts that it knew otherwise; the new form holds.
        unchanged: Posts that it knew as they are.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0


@dataclass(frozen=True, slots=True)
class Summary:
    """What a store holds.

    Attributes:
        n_posts: Posts.
        n_people: People with at least one post.
        n_tags: Different tags in use.
        n_tag_uses: Uses of tags.
        n_photos: Different readable photos.
        n_embeddings: Embeddings, over all encoders.
        n_untimed: Posts without a time.
        first_at: Earliest time, Unix seconds UTC, or None.
        last_at: Latest time, Unix seconds UTC, or None.
        posts_per_person: Person and posts, most first, ties by name.
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
    """A photo that could not be used.

    Attributes:
        target: Its digest, or its path where the file itself was out of reach.
        kind: Short name of what is wrong.
        message: What was said about it.
    """

    target: str
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class BundleRecord:
    """A bundle that was trained on this store.

    Attributes:
        path: Where it was written.
        bundle_digest: Digest of the bundle.
        trained_until: Time of the last post it was fitted on, Unix seconds UTC, or None.
    """

    path: str
    bundle_digest: str
    trained_until: float | None


@dataclass(frozen=True, slots=True)
class ForgetResult:
    """What was removed for a person, and what remains elsewhere.

    Attributes:
        posts: Posts removed.
        tag_uses: Uses of tags removed.
        photos: Photos of theirs that nobody else's post shows.
        embeddings: Embeddings removed.
        files: Copies of photos and derived files removed beside the store.
        bytes_before: Size of the store's files before.
        bytes_after: Size of the store's files after.
        bundles: Bundles that were trained on the person. They are not changed.
        is_compacted: False when another process or a full disk kept the file from shrinking; the
            next opening for writing tries again.
        had_lists: Whether the person had lists of tags, which went too.
    """

    posts: int
    tag_uses: int
    photos: int
    embeddings: int
    files: int
    bytes_before: int
    bytes_after: int
    bundles: tuple[BundleRecord, ...]
    is_compacted: bool
    had_lists: bool = False
