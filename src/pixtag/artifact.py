"""The bundle on disk: a folder with everything that a prediction needs, and nobody's ids.

    BUNDLE/
    |-- manifest.json        format, versions, config, what it was trained on, SHA-256 of the rest
    |-- vocabulary.json      the tags that the pixel head knows
    |-- weights.safetensors  network and pixel head, by flat names
    |-- prior.safetensors    anonymous untimed posts and what was counted over the training log
    |-- prior.json           the tags of the prior
    |-- seen.safetensors     hashes of the post ids that training saw, for the leak check
    |-- encoder.onnx         only when it is not the packaged default
    `-- card.md              for a person: what it is, what it was trained on, its limits

Reading takes each file's bytes once and hashes those same bytes, so what was verified is what is
used. Writing happens in a folder beside the target that takes its place in one rename.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, ValidationError
from safetensors import SafetensorError

from pixtag.encoder import Encoder, load_encoder
from pixtag.errors import InputError, ModelError
from pixtag.types import Bools, PostLog

FORMAT = 1
"""Version of the layout above; a bundle with a higher one is refused."""

MANIFEST = "manifest.json"
VOCABULARY = "vocabulary.json"
WEIGHTS = "weights.safetensors"
PRIOR = "prior.safetensors"
PRIOR_TAGS = "prior.json"
SEEN = "seen.safetensors"
ENCODER = "encoder.onnx"
CARD = "card.md"
REQUIRED = (VOCABULARY, WEIGHTS, PRIOR, PRIOR_TAGS, SEEN, CARD)

PRIOR_ID = "\0prior "
"""How the names of a prior's posts begin."""

Arrays = Mapping[str, NDArray[Any]]
Hashes = NDArray[np.uint64]

_TRAIN_HINT = "train a new one with `pixtag train`, or leave --bundle out for the shipped one"
_COPY_HINT = "copy the bundle again from where it came, or " + _TRAIN_HINT


class Trained(BaseModel):
    """What a bundle has learned from.

    Attributes:
        n_posts: Posts that fitting and calibration read.
        first_at: Time of the earliest one, Unix seconds UTC; None when none has a time.
        until_at: Time of the last post that was fitted on, Unix seconds UTC.
        calibrated_until: Time of the last post that choices and calibration were made on.
        posts_digest: `posts_digest` of the ids of all of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_posts: Annotated[int, Field(ge=0)]
    first_at: float | None = None
    until_at: float | None = None
    calibrated_until: float | None = None
    posts_digest: str = ""


class Manifest(BaseModel):
    """manifest.json: what this bundle is.

    Attributes:
        format: Version of the layout.
        pixtag: Version of Pixtag that wrote it.
        size: Size dial that it was trained with.
        config: Every setting that made it.
        encoder_digest: Encoder whose embeddings it understands.
        encoder_width: Width D of those embeddings.
        trained: What it learned from.
        created_at: When it was written.
        files: SHA-256 in hex of every other file. Filled in by `save_bundle`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Annotated[int, Field(ge=1)] = FORMAT
    pixtag: str
    size: str
    config: dict[str, JsonValue] = Field(default_factory=dict)
    encoder_digest: str
    encoder_width: Annotated[int, Field(ge=0)]
    trained: Trained
    created_at: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))
    files: dict[str, str] = Field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 in hex of what the bundle holds; the moment of writing does not count."""
        held = self.model_dump(mode="json", exclude={"created_at"})
        return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()

    @property
    def trained_until(self) -> float | None:
        """Unix seconds UTC after which it has read nothing, calibration included."""
        ends = [t for t in (self.trained.until_at, self.trained.calibrated_until) if t is not None]
        return max(ends, default=None)

    @property
    def posts_digest(self) -> str:
        """Digest over the ids of the posts that it has seen."""
        return self.trained.posts_digest


@dataclass(frozen=True)
class Bundle:
    """A trained model, ready to predict.

    Attributes:
        manifest: What it is and what made it.
        vocabulary: Tags that the pixel head was fitted on.
        weights: Network and pixel head, by flat names.
        prior: Anonymous posts without a time, for strangers; its embeddings may be projected.
        extras: Further arrays of the prior: counts, co-occurrence, the bridge from classes to tags.
        seen: Hashes of the post ids that training read (`hash_post_ids`).
        card: The model card, Markdown.
        encoder_path: Encoder to put into the bundle, or the one inside it; None for the default.
        folder: Where it was read from; None before it is saved.
    """

    manifest: Manifest
    vocabulary: list[str]
    weights: Arrays
    prior: PostLog
    extras: Arrays = field(default_factory=dict)
    seen: Hashes = field(default_factory=lambda: np.zeros(0, np.uint64))
    card: str = ""
    encoder_path: Path | None = None
    folder: Path | None = None

    def has_seen(self, post_ids: Iterable[str]) -> Bools:
        """Tell which posts training has read, also after they were imported again elsewhere.

        Args:
            post_ids: Names of posts, N of them.

        Returns:
            `[N]`; all False when the bundle kept no hashes.
        """
        return np.isin(hash_post_ids(post_ids), self.seen)

    def load_encoder(self) -> Encoder:
        """Start the encoder that the bundle was trained with: its own, or the shipped one."""
        encoder = load_encoder(self.encoder_path)
        self.check_encoder(encoder.digest, encoder.width)
        return encoder

    def check_features(self, names: Mapping[str, Sequence[str]]) -> None:
        """Raise `ModelError` where the network reads another number of inputs than `names`."""
        read = {
            "features": len(self.weights["norm/mean"]),
            "context": len(self.weights["norm/context_mean"]),
            "own_keys": len(self.weights["own/keys"]),
            "near_keys": len(self.weights["near/keys"]),
        }
        for group, n in read.items():
            if n != len(names[group]):
                raise ModelError(
                    f"this bundle was made by Pixtag {self.manifest.pixtag}, whose signals were "
                    f"others ({n} {group}, here {len(names[group])})",
                    hint=_TRAIN_HINT,
                )

    def check_encoder(self, digest: str, width: int) -> None:
        """Refuse an encoder whose embeddings this bundle does not understand.

        Args:
            digest: The encoder's digest.
            width: Width of its embeddings.

        Raises:
            ModelError: The bundle was trained with another encoder.
        """
        wanted = self.manifest
        if (digest, width) != (wanted.encoder_digest, wanted.encoder_width):
            raise ModelError(
                f"this bundle needs the encoder {wanted.encoder_digest[:12]} "
                f"({wanted.encoder_width} wide), not {digest[:12]} ({width} wide)",
                hint="use the encoder that it was trained with, or " + _TRAIN_HINT,
            )


def hash_post_ids(post_ids: Iterable[str]) -> Hashes:
    """Hash post ids to 64 bits each, so that a bundle can know them without holding them.

    Args:
        post_ids: Names of posts, N of them.

    Returns:
        First 8 bytes of each id's SHA-256, `[N]`, in the given order.
    """
    raw = b"".join(hashlib.sha256(_utf8(p)).digest()[:8] for p in post_ids)
    return np.frombuffer(raw, "<u8").astype(np.uint64)


def posts_digest(post_ids: Iterable[str]) -> str:
    """Digest a set of posts by their ids, whatever their order.

    >>> posts_digest(["b", "a"]) == posts_digest(["a", "b", "a"])
    True
    """
    each = sorted({hashlib.sha256(_utf8(p)).digest() for p in post_ids})
    return hashlib.sha256(b"".join(each)).hexdigest()


def anonymous_log(
    tags: Sequence[str],
    tag_lists: Sequence[Sequence[int]],
    embeddings: NDArray[Any],
    has_photo: NDArray[np.bool_] | None = None,
) -> PostLog:
    """Make a log of posts of nobody and of no time, as a prior holds them.

    Shapes:
        N: posts. D: embedding width.

    Args:
        tags: Every tag.
        tag_lists: For each post, indices into `tags`.
        embeddings: One row a post, `[N, D]`; kept as fp16.
        has_photo: Which rows are real, `[N]`; all when D > 0 by default.
    """
    n = len(tag_lists)
    lengths = np.fromiter((len(t) for t in tag_lists), np.int64, n)
    known = has_photo if has_photo is not None else np.full(n, embeddings.shape[1] > 0)
    return _prior_log(
        list(tags),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.fromiter((t for row in tag_lists for t in row), np.int64, int(lengths.sum())),
        np.asarray(known, np.bool_),
        embeddings,
    )


def default_bundle_path() -> Path:
    """Where the bundle that ships in the package lies (a source checkout may lack it)."""
    return Path(__file__).parent / "data" / "bundle"


def save_bundle(folder: Path, bundle: Bundle) -> Bundle:
    """Write a bundle so that nobody ever meets half of one.

    Everything is written and synced in a folder beside `folder`, which then takes its place. An
    older bundle there is replaced; anything else there is left alone.

    Args:
        folder: Where the bundle will lie; its parents are made.
        bundle: What to write. `prior` must be of nobody and without times.

    Returns:
        The bundle with its final manifest and `folder`.

    Raises:
        InputError: `folder` holds something that is not a bundle.
        ModelError: The prior names people or times; the disk is full or not writable.
    """
    folder = folder.absolute()
    _check_replaceable(folder)
    if bundle.prior.users or bundle.prior.n_untimed != len(bundle.prior):
        raise ModelError(
            "the prior of a bundle must not hold people or times",
            hint="build it with pixtag.artifact.anonymous_log",
        )
    staging: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.new-", dir=folder.parent))
        staging.chmod(0o755)
        files = _serialised(bundle)
        manifest = bundle.manifest.model_copy(
            update={
                "format": FORMAT,
                "files": {n: hashlib.sha256(b).hexdigest() for n, b in sorted(files.items())},
            }
        )
        for name, content in files.items():
            _write_synced(staging / name, content)
        text = json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False)
        _write_synced(staging / MANIFEST, (text + "\n").encode())
        _sync_folder(staging)
        _swap_in(staging, folder)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise ModelError(
            f"cannot write the bundle {folder}: {error.strerror or error}",
            hint="make room and run again" if full else "choose a folder that you can write to",
        ) from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
    inside = folder / ENCODER if ENCODER in files else None
    seen = np.unique(bundle.seen)
    return replace(bundle, manifest=manifest, seen=seen, folder=folder, encoder_path=inside)


def load_bundle(path: Path | None = None, *, verify: bool = True) -> Bundle:
    """Read a bundle.

    Args:
        path: Its folder; None for the one in the package.
        verify: Whether to check every file against its SHA-256.

    Returns:
        The bundle; its arrays are read-only.

    Raises:
        ModelError: Not a bundle, a file is missing or damaged, or its format is newer.
    """
    if path is None and not default_bundle_path().is_dir():
        raise ModelError(
            "no bundle came with this installation",
            hint="train one with `pixtag train --store FILE --out FOLDER` and give it by --bundle",
        )
    folder = _existing(default_bundle_path() if path is None else path)
    manifest = _read_manifest(folder)
    missing = [n for n in REQUIRED if n not in manifest.files]
    if missing:
        raise ModelError(f"the bundle {folder} lists no {missing[0]}", hint=_COPY_HINT)
    raw: dict[str, bytes] = {}
    for name, digest in manifest.files.items():
        if name != Path(name).name:
            raise ModelError(f"the bundle {folder} points outside itself: {name}", hint=_COPY_HINT)
        raw[name] = _read(folder, name)
        if verify and hashlib.sha256(raw[name]).hexdigest() != digest:
            raise ModelError(
                f"the bundle {folder} is damaged: {name} is not what was written", hint=_COPY_HINT
            )
    try:
        prior = safetensors.numpy.load(raw[PRIOR])
        log = _prior_log(
            [str(t) for t in _json_list(raw[PRIOR_TAGS])],
            *(prior.pop(f"log.{n}") for n in ("tag_start", "tag_ids", "has_photo", "embeddings")),
        )
        return Bundle(
            manifest=manifest,
            vocabulary=[str(t) for t in _json_list(raw[VOCABULARY])],
            weights=safetensors.numpy.load(raw[WEIGHTS]),
            prior=log,
            extras={name.removeprefix("extra."): array for name, array in prior.items()},
            seen=np.asarray(safetensors.numpy.load(raw[SEEN])["hashes"], np.uint64),
            card=raw[CARD].decode(),
            encoder_path=folder / ENCODER if ENCODER in raw else None,
            folder=folder,
        )
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ModelError(f"the bundle {folder} cannot be read: {error}", hint=_COPY_HINT) from error


def _serialised(bundle: Bundle) -> dict[str, bytes]:
    log = bundle.prior
    prior: dict[str, NDArray[Any]] = {
        "log.tag_start": log.tag_start,
        "log.tag_ids": log.tag_ids.astype(np.int32),
        "log.has_photo": log.has_photo,
        "log.embeddings": log.embeddings,
    } | {f"extra.{name}": array for name, array in bundle.extras.items()}
    files = {
        VOCABULARY: _json_bytes(bundle.vocabulary),
        WEIGHTS: _tensor_bytes(bundle.weights),
        PRIOR: _tensor_bytes(prior),
        PRIOR_TAGS: _json_bytes(log.tags),
        SEEN: _tensor_bytes({"hashes": np.unique(bundle.seen)}),
        CARD: bundle.card.encode(),
    }
    if bundle.encoder_path is not None:
        files[ENCODER] = bundle.encoder_path.read_bytes()
    return files


def _tensor_bytes(arrays: Arrays) -> bytes:
    # safetensors writes an array's buffer as it lies, so a transposed view must be made whole.
    return safetensors.numpy.save({n: np.ascontiguousarray(a) for n, a in sorted(arrays.items())})


def _prior_log(
    tags: list[str],
    tag_start: NDArray[Any],
    tag_ids: NDArray[Any],
    has_photo: NDArray[Any],
    embeddings: NDArray[Any],
) -> PostLog:
    n = len(tag_start) - 1
    fits = (
        n >= 0
        and len(has_photo) == len(embeddings) == n
        and embeddings.ndim == 2
        and int(tag_start[0]) == 0
        and int(tag_start[-1]) == len(tag_ids)
        and bool((np.diff(tag_start) >= 0).all())
        and (not len(tag_ids) or 0 <= int(tag_ids.min()) <= int(tag_ids.max()) < len(tags))
    )
    if not fits:
        raise ValueError("the arrays of its prior do not fit together")
    return PostLog(
        # No store takes a NUL in a name, so these never meet the id of a real post.
        post_ids=[f"{PRIOR_ID}{i}" for i in range(n)],
        users=[],
        tags=tags,
        user_of_post=np.zeros(n, np.int64),
        at=np.full(n, -np.inf),
        tag_start=tag_start.astype(np.int64),
        tag_ids=tag_ids.astype(np.int64),
        has_photo=has_photo.astype(np.bool_),
        embeddings=embeddings.astype(np.float16, copy=False),
    )


def _existing(path: Path) -> Path:
    # Between the two renames of _swap_in the target is absent; its predecessor is whole.
    if path.is_dir():
        return path
    previous = _previous(path.absolute())
    if not path.exists() and (previous / MANIFEST).is_file():
        return previous
    what = "is not a folder" if path.exists() else "does not exist"
    raise ModelError(f"no bundle at {path}: it {what}", hint=_TRAIN_HINT)


def _read_manifest(folder: Path) -> Manifest:
    if not (folder / MANIFEST).is_file():
        raise ModelError(
            f"{folder} is not a bundle: it has no {MANIFEST}",
            hint="give the folder that `pixtag train --out` made, or leave --bundle out",
        )
    try:
        content: object = json.loads(_read(folder, MANIFEST))
    except ValueError as error:
        raise ModelError(f"{folder / MANIFEST} is damaged: {error}", hint=_COPY_HINT) from error
    if isinstance(content, dict):
        # A newer layout may have any shape, so its version is looked at before the rest.
        version = cast("dict[str, object]", content).get("format")
        if isinstance(version, int) and version > FORMAT:
            raise ModelError(
                f"the bundle {folder} has format {version}; this Pixtag reads up to {FORMAT}",
                hint="update Pixtag (`pip install -U pixtag`), or " + _TRAIN_HINT,
            )
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "it"
        raise ModelError(
            f"{folder / MANIFEST} is damaged: {where}: {first['msg']}", hint=_COPY_HINT
        ) from error


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except FileNotFoundError as error:
        raise ModelError(f"the bundle {folder} lacks its {name}", hint=_COPY_HINT) from error
    except OSError as error:
        raise ModelError(
            f"cannot read {folder / name}: {error.strerror or error}",
            hint="check the permissions of the file and its folder",
        ) from error


def _check_replaceable(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder} is a file", hint="name a folder for the bundle")
    if any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise InputError(
            f"{folder} holds something that is not a bundle",
            hint="name a new or empty folder, or one that holds an older bundle",
        )


def _previous(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.previous"


def _swap_in(staging: Path, folder: Path) -> None:
    previous = _previous(folder)
    if folder.exists():
        shutil.rmtree(previous, ignore_errors=True)
        folder.rename(previous)
    staging.rename(folder)
    _sync_folder(folder.parent)
    shutil.rmtree(previous, ignore_errors=True)


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _json_bytes(value: list[str]) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=0) + "\n").encode()


def _json_list(raw: bytes) -> list[object]:
    value: object = json.loads(raw)
    if not isinstance(value, list):
        raise TypeError("a list was expected")
    return cast("list[object]", value)


def _utf8(text: str) -> bytes:
    # An archive may hold lone surrogates; they must hash, not fail.
    return text.encode("utf-8", "surrogatepass")
