"""The trained model on disk: one safetensors file, without code and without anybody's ids.

tensors    weights/*   network, calibration, pixel head and topics
           prior/*     anonymous untimed posts; extras/* what was counted over the training log
           seen/*      salted hashes of the post ids that training read, for the leak check
           encoder/*   the ONNX encoder's bytes, when it is not the shipped one
metadata   JSON: manifest, vocabulary, tags of the prior, model card
"""

from __future__ import annotations

import errno
import hashlib
import json
import secrets
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_safetensors

from pixtag.encoder import OnnxEncoder, load_encoder
from pixtag.errors import UPDATE, InputError, ModelError
from pixtag.outputs import replacing
from pixtag.types import Bools, PostLog

FORMAT = 2  # version of the layout above; 1 was a folder
PRIOR_ID = "\0prior "  # start of the post ids of a prior; no store takes a NUL in an id
Array = NDArray[Any]
Arrays = Mapping[str, Array]
Hashes = NDArray[np.uint64]

_KEY = "pixtag"
_START = b'{"__metadata__":{"pixtag":'
_TRAIN_HINT = "train a new one with `pixtag train`, or leave --model out for the shipped one"
_COPY_HINT = "copy the model again from where it came, or " + _TRAIN_HINT


@dataclass(frozen=True, slots=True)
class Trained:
    """What a model learned from; times are Unix seconds UTC, None when no post has one."""

    n_posts: int
    first_at: float | None = None
    until_at: float | None = None
    calibrated_until: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a model is and what made it.

    Attributes:
        config: Every setting that made it.
        feature_names: Names of the network's inputs in order, by group: features, context, ...
        encoder_digest: Encoder whose embeddings, D = `encoder_width` wide, it understands.
        salt: Hex, goes before every post id that is hashed, so that hashes of two models share
            nothing and no table can be made ahead. Who holds the file can still test an id.
        digests: SHA-256 in hex of each part of the file, filled in by `save_bundle`.
    """

    format: int = FORMAT
    pixtag: str
    size: str
    config: dict[str, Any] = field(default_factory=dict[str, Any])
    feature_names: dict[str, tuple[str, ...]]
    encoder_digest: str
    encoder_width: int
    trained: Trained
    salt: str = field(default_factory=lambda: secrets.token_hex(16))
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    digests: dict[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def of(cls, held: dict[str, Any]) -> Manifest:
        """Read what `as_json` gave; TypeError, KeyError or ValueError for anything else."""
        names = {group: tuple(given) for group, given in held["feature_names"].items()}
        trained = Trained(**held["trained"])
        made_at = datetime.fromisoformat(held["created_at"])
        read: dict[str, Any] = {"feature_names": names, "trained": trained, "created_at": made_at}
        made = cls(**{**held, **read})
        times = (trained.first_at, trained.until_at, trained.calibrated_until)
        _check_kind(int, made.format, made.encoder_width, trained.n_posts)
        _check_kind(float, *(float(at) for at in times if at is not None))
        _check_kind(str, made.pixtag, made.size, made.encoder_digest, made.salt)
        _check_kind(str, *chain.from_iterable(names.values()), *made.digests.values())
        _check_kind(dict, made.config, made.digests)
        bytes.fromhex(made.salt)
        if min(made.encoder_width, trained.n_posts) < 0:
            raise ValueError("a number of its manifest is negative")
        return made

    def as_json(self) -> dict[str, Any]:
        """Plain values, as the file holds them."""
        names = {group: list(given) for group, given in self.feature_names.items()}
        made_at = self.created_at.isoformat().replace("+00:00", "Z")
        return {**asdict(self), "feature_names": names, "created_at": made_at}

    @property
    def digest(self) -> str:
        """SHA-256 in hex of what was learned, the same for two files of the same training."""
        digests = {part: digest for part, digest in self.digests.items() if part != "seen"}
        held = {**self.as_json(), "digests": digests}
        return _digest_of_json({k: v for k, v in held.items() if k not in {"created_at", "salt"}})

    @property
    def trained_until(self) -> float | None:
        """Unix seconds UTC after which it has read nothing, calibration included."""
        ends = (self.trained.until_at, self.trained.calibrated_until)
        return max((end for end in ends if end is not None), default=None)


@dataclass(frozen=True)
class Bundle:
    """A trained model as its file holds it."""

    manifest: Manifest
    vocabulary: list[str]  # tags that the pixel head was fitted on, `[V]`
    weights: Arrays  # network, calibration, pixel head and topics, by flat names
    prior: PostLog  # anonymous posts without a time; embeddings in the joint space
    extras: Arrays = field(default_factory=dict)  # people behind the prior, class-to-tag matrices
    seen: Hashes = field(default_factory=lambda: np.zeros(0, np.uint64))  # `hash_post_ids` of all
    card: str = ""  # the model card, Markdown
    encoder: bytes | None = None  # ONNX, of the encoder it was trained with; None: the shipped one

    def group(self, name: str) -> dict[str, Array]:
        """Arrays of the weights and extras whose names begin with `NAME/`, without that."""
        start, both = f"{name}/", {**self.weights, **self.extras}.items()
        return {k.removeprefix(start): a for k, a in both if k.startswith(start)}

    def has_seen(self, post_ids: Iterable[str]) -> Bools:
        """Tell which posts training has read, `[N]`; all False when no hashes were kept."""
        hashes = hash_post_ids(post_ids, salt=self.manifest.salt)
        if not len(self.seen):
            return np.zeros(len(hashes), np.bool_)
        place = np.searchsorted(self._sorted, hashes)
        return self._sorted[np.minimum(place, len(self.seen) - 1)] == hashes

    @cached_property
    def _sorted(self) -> Hashes:
        """`seen` in order: a follower asks several times a second about a few of millions."""
        return np.sort(self.seen)

    def load_encoder(self, *, n_threads: int | None = None) -> OnnxEncoder:
        """Start the encoder that the model was trained with: its own, or the shipped one."""
        encoder = load_encoder(self.encoder, n_threads=n_threads)
        self.check_encoder(encoder.digest, encoder.width)
        return encoder

    def check_encoder(self, digest: str, width: int) -> None:
        """Raise `ModelError` for an encoder whose embeddings this model does not understand."""
        wanted = self.manifest
        if (digest, width) != (wanted.encoder_digest, wanted.encoder_width):
            needed = f"{wanted.encoder_digest[:12]} ({wanted.encoder_width} wide)"
            what = f"this model needs the encoder {needed}, not {digest[:12]} ({width} wide)"
            hint = "use the encoder that it was trained with, or " + _TRAIN_HINT
            raise ModelError(what, hint=hint)

    def check_features(self, names: Mapping[str, Sequence[str]]) -> None:
        """Raise `ModelError`, naming some, for other network inputs (by group) than `names`."""
        theirs = self.manifest.feature_names
        for group in {**theirs, **names}:
            pairs = zip_longest(theirs.get(group, ()), names.get(group, ()), fillvalue="nothing")
            differing = [f"{there} (here {here})" for there, here in pairs if there != here]
            if differing:
                more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
                what = f"its {group.replace('_', ' ')} have {', '.join(differing[:3])}{more}"
                made = f"this model was made by Pixtag {self.manifest.pixtag}"
                raise ModelError(f"{made}, whose signals were others; {what}", hint=_TRAIN_HINT)


def hash_post_ids(post_ids: Iterable[str], *, salt: str) -> Hashes:
    """Hash post ids to 64 bits each, `[N]`: the start of SHA-256 of the salt (hex) and the id."""
    start = bytes.fromhex(salt)
    # An archive may hold lone surrogates; they must hash, not fail.
    ids = (post_id.encode("utf-8", "surrogatepass") for post_id in post_ids)
    raw = b"".join(hashlib.sha256(start + one).digest()[:8] for one in ids)
    return np.frombuffer(raw, "<u8").astype(np.uint64)


def anonymous_log(
    tags: Sequence[str],
    tag_lists: Sequence[Sequence[int]],
    embeddings: Array,
    has_photo: NDArray[np.bool_] | None = None,
) -> PostLog:
    """Make a log of N posts of nobody and of no time, as a prior holds them.

    A post's list in `tag_lists` holds indices into `tags`. Embeddings `[N, D]` are kept as fp16;
    `has_photo` says which are real, by default all when D > 0.
    """
    lengths = [len(tag_ids) for tag_ids in tag_lists]
    if has_photo is None:
        has_photo = np.full(len(tag_lists), embeddings.shape[1] > 0)
    tag_ids = np.fromiter(chain.from_iterable(tag_lists), np.int64)
    return _prior_log(list(tags), np.cumsum([0, *lengths]), tag_ids, has_photo, embeddings)


@contextmanager
def fitting() -> Generator[None]:
    """Turn the errors of parts that do not fit together, under sums that are right, into ours."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ModelError(f"this model does not fit together: {error}", hint=_COPY_HINT) from error


def default_bundle_path() -> Path:
    """Where the model that ships in the package lies (a source checkout may lack it)."""
    return Path(__file__).parent / "data" / "model.safetensors"


def check_replaceable(path: Path) -> None:
    """Raise `InputError` for a folder, or a file that is no model; an older one may go."""
    if path.is_dir():
        raise InputError(f"{path} is a folder", hint="name a file for the model, or remove it")
    if path.exists() and not _is_model(path):
        raise InputError(f"{path} holds something that is not a model", hint="name a new file")


def save_bundle(path: Path, bundle: Bundle) -> Bundle:
    """Write a model, replacing an older one whole, and return it with its final manifest.

    InputError: `path` holds something that is not a model. ModelError: the prior names people or
    times; the disk is full or not writable.
    """
    path = path.absolute()
    check_replaceable(path)
    prior = bundle.prior
    if prior.users or prior.n_untimed != len(prior):
        what = "the prior of a model must not hold people or times"
        raise ModelError(what, hint="build it with pixtag.bundle.anonymous_log")
    log = {name: getattr(prior, name) for name in ("tag_start", "has_photo")}
    log["tag_ids"] = prior.tag_ids.astype(np.int32)
    log["embeddings"] = prior.embeddings[prior.has_photo]
    seen = {"hashes": np.unique(bundle.seen)}
    parts = {"weights": bundle.weights, "extras": bundle.extras, "prior": log, "seen": seen}
    if bundle.encoder is not None:
        parts["encoder"] = {"onnx": np.frombuffer(bundle.encoder, np.uint8)}
    # A transposed view must be made whole; 0-d arrays stay as they are.
    arrays = {
        f"{p}/{n}": np.asarray(a, order="C") for p, own in parts.items() for n, a in own.items()
    }
    texts = {"vocabulary": bundle.vocabulary, "prior_tags": prior.tags, "card": bundle.card}
    digests = _digests(arrays, texts)
    manifest = replace(bundle.manifest, format=FORMAT, digests=digests)
    held = manifest.as_json()
    document = {"manifest": held, "sha256": _digest_of_json(held), **texts}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, to_safetensors(arrays, {_KEY: json.dumps(document)}))
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = "make room and run again" if is_full else "choose a folder that you can write to"
        what = f"cannot write the model {path}: {error.strerror or error}"
        raise ModelError(what, hint=hint) from error
    return replace(bundle, manifest=manifest, seen=seen["hashes"])


def load_bundle(path: Path | None = None) -> Bundle:
    """Read a model (the shipped one by default), its arrays read-only, and check its digests.

    ModelError: not a model, damaged, of another format, or not readable.
    """
    if path is None and not default_bundle_path().is_file():
        hint = "train one with `pixtag train --store FILE --out FILE` and give it by --model"
        raise ModelError("no model came with this installation", hint=hint)
    path = path or default_bundle_path()
    try:
        if not _is_model(path):
            raise ModelError(f"{path} is not a model", hint=_TRAIN_HINT)
    except OSError as error:
        what = "it is a folder, and older versions wrote such" if path.is_dir() else error.strerror
        raise ModelError(f"no model at {path}: {what}", hint=_TRAIN_HINT) from error
    try:
        with safe_open(path, framework="numpy") as file:
            document = json.loads(file.metadata()[_KEY])
            manifest = _manifest(path, document)
            arrays: dict[str, Array] = {n: file.get_tensor(n) for n in file.keys()}  # noqa: SIM118
        texts = {name: document[name] for name in ("vocabulary", "prior_tags", "card")}
        _check_digests(_digests(arrays, texts), manifest.digests)
        _check_kind(str, *texts["vocabulary"], *texts["prior_tags"], texts["card"])
        _check_kind(list, texts["vocabulary"], texts["prior_tags"])
        _check_numbers(arrays)
        parts: dict[str, dict[str, Array]] = {"weights": {}, "extras": {}}
        for name, array in arrays.items():
            array.flags.writeable = False
            part, _, rest = name.partition("/")
            parts.setdefault(part, {})[rest] = array
        return Bundle(
            manifest=manifest,
            vocabulary=texts["vocabulary"],
            weights=parts["weights"],
            prior=_prior_log(texts["prior_tags"], **parts["prior"]),
            extras=parts["extras"],
            seen=parts["seen"]["hashes"],
            card=texts["card"],
            encoder=parts["encoder"]["onnx"].tobytes() if "encoder" in parts else None,
        )
    except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
        raise ModelError(f"the model {path} is damaged: {error}", hint=_COPY_HINT) from error


def _manifest(path: Path, document: dict[str, Any]) -> Manifest:
    held = document["manifest"]
    version = held["format"]
    if isinstance(version, int) and version != FORMAT:
        # Another layout may have any shape, so its version is looked at before the rest.
        hint = f"{UPDATE}, or " if version > FORMAT else ""
        what = f"the model {path} has format {version}; this Pixtag reads {FORMAT}"
        raise ModelError(what, hint=hint + _TRAIN_HINT)
    _check_digests({"manifest": _digest_of_json(held)}, {"manifest": document["sha256"]})
    return Manifest.of(held)


def _prior_log(
    tags: list[str], tag_start: Array, tag_ids: Array, has_photo: Array, embeddings: Array
) -> PostLog:
    n, of_photos = len(has_photo), embeddings.astype(np.float16, copy=False)
    ends = np.concatenate([tag_start, [len(tag_ids)]])
    fits = len(tag_start) == n + 1 and ends[0] == 0 and ends[-2] == ends[-1]
    if not fits or (np.diff(ends) < 0).any() or not ((tag_ids >= 0) & (tag_ids < len(tags))).all():
        raise ValueError("the tags of its prior do not belong to its posts")
    if len(of_photos) != n:  # a file keeps those of posts with a photo alone
        of_photos = np.zeros((n, embeddings.shape[1]), np.float16)
        of_photos[has_photo.astype(np.bool_)] = embeddings
    return PostLog(
        [f"{PRIOR_ID}{i}" for i in range(n)],
        users=[],
        tags=tags,
        user_of_post=np.zeros(n, np.int64),
        at=np.full(n, -np.inf),
        tag_start=tag_start.astype(np.int64),
        tag_ids=tag_ids.astype(np.int64),
        has_photo=has_photo.astype(np.bool_),
        embeddings=of_photos,
    )


def _is_model(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(8 + len(_START))[8:] == _START


def _digests(arrays: Arrays, texts: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 in hex of each part: arrays by the start of their names, texts by theirs."""
    running = {name: hashlib.sha256(json.dumps(text).encode()) for name, text in texts.items()}
    for name, array in sorted(arrays.items()):
        one = running.setdefault(name.partition("/")[0], hashlib.sha256())
        one.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        one.update(array.reshape(-1).view(np.uint8).data)
    return {name: one.hexdigest() for name, one in running.items()}


def _check_digests(found: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    wrong = [part for part in {**wanted, **found} if found.get(part) != wanted.get(part)]
    if wrong:
        raise ValueError(f"its part {wrong[0]} is not what was written")


def _check_kind(kind: type, *values: object) -> None:
    if odd := [one for one in values if not isinstance(one, kind) or isinstance(one, bool)]:
        raise TypeError(f"{odd[0]!r:.60} where a {kind.__name__} belongs")


def _check_numbers(arrays: Arrays) -> None:
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"not all of {name} are numbers")


def _digest_of_json(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def replace_file(path: Path, content: bytes) -> None:
    """Write a file that is whole or not there, as `outputs.replacing`."""
    with replacing(path) as file:
        file.write(content)
