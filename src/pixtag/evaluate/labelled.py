"""Labelled photos: what a stranger is answered, and whether a history makes that worse."""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pixtag.answering import answered
from pixtag.bundle import Bundle
from pixtag.choose import Wishes
from pixtag.encoder import SHIPPED_DIGEST, class_synonyms, classifier
from pixtag.errors import InputError, LeakError, PixtagError
from pixtag.evaluate.metrics import Bootstrap, OnProgress
from pixtag.evaluate.tables import ALL, Figures, Row, Values, mean_rows
from pixtag.model import model_of
from pixtag.photos import BATCH, PhotoReader
from pixtag.predictor import DAY_S
from pixtag.tags import normalise_tag
from pixtag.types import Floats, Post, PostLog

AT = 1_780_000_000.0  # when photos are asked about: a fixed moment, so that figures repeat
THING, FITS = "the thing", "fitting of five"
OF_STRANGER, SIGNED, FIRST = "of a stranger's", "signature", "typed first"
OUT_OF_PLACE = "out of place"  # own tags of the five that don't fit


@dataclass(frozen=True)
class LabelledPhoto:
    """A photo by path or embedding, what it shows, and fitting tags, the thing's plain name first.

    A model may have learned from it as one of `post_ids`.
    """

    concept: str
    tags: tuple[str, ...]
    post_ids: tuple[str, ...]
    path: Path = Path()
    embedding: Floats | None = None

    @property
    def names(self) -> set[str]:
        """The plain name, and the same in the other number."""
        return {t for t in self.tags if t.rstrip("s") == self.tags[0].rstrip("s")}


def unpack(codes: np.ndarray, step: Floats, floor: Floats) -> Floats:
    """Embeddings from bytes, `[N, D]`: floor + (step * code) ** 2, as `tools` pack them."""
    return (codes * step) ** 2 + floor


def read_packed(folder: Path) -> tuple[str, Floats]:
    """Digest of the encoder and embeddings `[N, D]` of a folder's embeddings.npz; or InputError."""
    path = folder / "embeddings.npz"
    if not path.exists():
        raise InputError(f"{folder} holds no embeddings.npz", hint="check out the repository again")
    with np.load(path) as packed:
        return str(packed["encoder"]), unpack(packed["codes"], packed["step"], packed["floor"])


def read_photos(folder: Path, tags_file: Path | None, bundle: Bundle) -> list[LabelledPhoto]:
    """Read labelled photos from a folder with a `manifest.csv`: file, concept, tags.

    Instead of a `file` a line may name the `row` of its embedding in the folder's embeddings.npz
    and the `posts` that show it. `tags_file` lists the tags of each concept, in place of the
    column: TOML with a table `tags`, or CSV with topic and hashtags. A line with several `topics`,
    split by `;`, has the first for its concept and the tags of all.

    Raises:
        InputError: The manifest or the file of tags is missing or lacks something.
        ModelError: The embeddings are of another encoder than the model's.
    """
    manifest = folder / "manifest.csv"
    hint = "a folder of photos with manifest.csv: file,concept,tags (or --photo-tags FILE)"
    try:
        with manifest.open(encoding="utf-8", newline="") as file:
            records = list(csv.DictReader(file))
        listed = {} if tags_file is None else tags_by_concept(tags_file)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError) as error:
        raise InputError(f"cannot read the labelled photos: {error}", hint=hint) from error
    embeddings = np.zeros((0, 0), np.float32)
    if any(record.get("row") for record in records):
        digest, embeddings = read_packed(folder)
        bundle.check_encoder(digest, embeddings.shape[1])
    photos: list[LabelledPhoto] = []
    for number, record in enumerate(records, 2):
        name, row, concept = (record.get(key) or "" for key in ("file", "row", "concept"))
        topics = [concept] if concept else (record.get("topics") or "").split(";")
        concept, found = topics[0], [tag for topic in topics for tag in listed.get(topic, ())]
        tags = tuple(dict.fromkeys(found or (record.get("tags") or "").split()))
        known_row = row.isdecimal() and int(row) < len(embeddings)
        if not (name or known_row) or not concept or not tags:
            raise InputError(f"{manifest}, line {number} lacks file, concept or tags", hint=hint)
        posts = (record.get("posts") or f"photo-{concept}-{Path(name).stem or row}").split(" ")
        seen = embeddings[int(row)] if known_row else None
        photos.append(LabelledPhoto(concept, tags, tuple(posts), folder / name, seen))
    if not photos:
        raise InputError(f"{manifest} lists no photo", hint=hint)
    return photos


def tags_by_concept(path: Path) -> dict[str, list[str]]:
    """Tags of each concept: CSV with topic and hashtags, or TOML with a table `tags`."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".csv":
        return {r["topic"]: r["hashtags"].split() for r in csv.DictReader(text.splitlines())}
    return tomllib.loads(text)["tags"]


def _are_seen(bundle: Bundle, photos: Sequence[LabelledPhoto]) -> list[bool]:
    """Which photos the model learned from, under any name."""
    seen = bundle.has_seen([post for photo in photos for post in photo.post_ids])
    start = np.cumsum([0, *(len(photo.post_ids) for photo in photos[:-1])])
    return np.logical_or.reduceat(seen, start).tolist()


class Asker:
    """Answers photos as `Predictor.suggest` does, each question with a past of its own."""

    def __init__(self, bundle: Bundle, photos: Sequence[LabelledPhoto]) -> None:
        self._model = model_of(bundle)
        reader = PhotoReader(bundle, None)
        paths = [photo.path for photo in photos if photo.embedding is None]
        batches = (paths[start : start + BATCH] for start in range(0, len(paths), BATCH))
        looked = (found for batch in batches for found in reader.look_at(batch))
        self.embeddings: list[Floats] = []
        for photo in photos:
            found = next(looked) if photo.embedding is None else photo.embedding
            if isinstance(found, PixtagError):
                raise found
            self.embeddings.append(found)
        reader.close()

    def fives(
        self, places: Sequence[int], past: PostLog | None = None, typed: Sequence[str] = ()
    ) -> list[list[str]]:
        """The five suggestions for photos by their places, asked by the person of the past."""
        seen = np.array([self.embeddings[place] for place in places], np.float32)
        view, n = self._model.evidence(past).view(), len(seen)
        wishes = [Wishes.of(5, user=ME, history=typed)] * n
        found = answered(self._model, view, [AT] * n, [True] * n, seen, wishes)
        return [[suggestion.tag for suggestion in five] for five, _ in found]


# ------------------------------------------------------------------ strangers' photos


def evaluate_strangers(bundle: Bundle, photos: Sequence[LabelledPhoto]) -> Figures:
    """Ask about photos with no store, no person and no history.

    A suggestion fits when it is one of the photo's tags; the thing itself is the first of them.
    Beside the model stand the most popular tags of its prior and, with the shipped encoder, the
    names of the likeliest classes. Photos that the model learned from are left out. Intervals are
    of a bootstrap over concepts.

    Raises:
        LeakError: The model learned from all of the photos.
    """
    seen = _are_seen(bundle, photos)
    apart = [photo for photo, is_seen in zip(photos, seen, strict=True) if not is_seen]
    if not apart:
        raise LeakError(
            f"the model learned from all {len(photos):,} photos",
            hint="measure one that was trained without some of them",
        )
    popular = np.argsort(-bundle.extras["prior_people"], kind="stable")[:5]
    asker = Asker(bundle, apart)
    lists = {
        "pixtag": asker.fives(range(len(apart))),
        "popularity": [[bundle.vocabulary[i] for i in popular]] * len(apart),
    }
    if bundle.manifest.encoder_digest == SHIPPED_DIGEST:
        lists["class names alone"] = _class_names(asker.embeddings)
    boot, found = _over_concepts(apart), dict[str, Values]()
    for method, tags in lists.items():
        pairs = list(zip(apart, tags, strict=True))
        found[method] = {
            "any of five fits": np.array([bool(set(t) & set(p.tags)) for p, t in pairs], float),
            "share that fits": np.array([sum(x in p.tags for x in t) / 5 for p, t in pairs]),
            THING: np.array([p.tags[0] in t for p, t in pairs], float),
        }
    shown = tuple(found["pixtag"])
    rows = mean_rows(found, boot, metrics=shown)
    title = f"{len(apart):,} photos of {boot.n_clusters} concepts, asked about by a stranger"
    note = f"{sum(seen):,} photos that the model learned from are left out"
    return Figures("strangers", title, rows, shown, shown[0], notes=(note,) * any(seen))


def _over_concepts(photos: Sequence[LabelledPhoto]) -> Bootstrap:
    return Bootstrap(np.unique([photo.concept for photo in photos], return_inverse=True)[1])


def _class_names(embeddings: Sequence[Floats]) -> list[list[str]]:
    """Names of the five likeliest classes of each photo, as tags."""
    weight, bias = classifier()
    names = [normalise_tag(n[0].replace(" ", "").replace("-", "")) or "" for n in class_synonyms()]
    best = np.argsort(-(np.array(embeddings, np.float32) @ weight.T + bias), axis=1)[:, :5]
    return [[names[i] for i in row] for row in best.tolist()]


# ------------------------------------------------------------------ after a history

N_POSTS, MOST_ASKED, LEAST_UNSEEN, SEED = 20, 300, 30, 20_261_130
ME, SIGNATURE = "me", "lenasfotos"
ONE_SET = (SIGNATURE, "stallglueck", "picoftheday", "instagood", "myview")
CHANCES = (0.9, 0.6, 0.45, 0.35, 0.28, 0.22, 0.18, 0.15, 0.12, 0.1, 0.08)
"""Of a concept's tags by their place, on somebody's photo of it."""

NOTHING = "nothing"
OWN_NAME = 0.8  # share of the posts on a subject with the person's own name for it, as of their cat
N_OTHERS, MOST_OF_OTHER = 20, 20  # people in the same store, and posts of each at most
N_TELLING = 6  # tags of a concept; two concepts that share none of them are different subjects


@dataclass(frozen=True)
class History:
    """What is known of the person: tags of earlier posts, their photos if any, typed tags.

    `others` are names and tags of posts by others in the same store, without photos.
    """

    tags: Sequence[tuple[str, ...]] = ()
    photos: Sequence[int] = ()
    typed: tuple[str, ...] = ()
    others: Sequence[tuple[str, tuple[str, ...]]] = ()

    def past(self, embeddings: Sequence[Floats]) -> PostLog:
        """The posts, one every second day, the first a day ago; of others one every six hours."""
        posts = [
            Post(f"o{i}", name, AT - DAY_S * (i + 0.5) / 4, t)
            for i, (name, t) in enumerate(self.others)
        ]
        posts += [Post(f"h{i}", ME, AT - DAY_S * (2 * i + 1), t) for i, t in enumerate(self.tags)]
        shown = {f"h{i}": embeddings[p].astype(np.float16) for i, p in enumerate(self.photos)}
        return PostLog.of(posts, shown)


def histories_of(
    photos: Sequence[LabelledPhoto], asked: int, rng: np.random.Generator
) -> Iterator[tuple[str, History]]:
    """Make up the histories before a photo: names and what is known, `nothing` first."""
    photo = photos[asked]
    telling = set(photo.tags[:N_TELLING])
    others = [p for p in photos if not telling & set(p.tags[:N_TELLING])]
    concepts = sorted({p.concept for p in others})

    def of(concept: str) -> list[int]:
        return [i for i, p in enumerate(photos) if p.concept == concept]

    yield NOTHING, History()
    if others:
        shown = rng.choice(of(rng.choice(concepts)), N_POSTS).tolist()
        tags = [_drawn(photos[i].tags, rng) for i in shown]
        unknown = [tuple(f"{tag[::-1]}qz" for tag in one) for one in tags]
        for name, written in (
            ("without tags", [()] * N_POSTS),
            ("signed alone", [(SIGNATURE,)] * N_POSTS),
            ("with one set on everything", [ONE_SET] * N_POSTS),
            ("on another subject", tags),
            ("on another subject, unknown tags", unknown),
        ):
            yield f"{N_POSTS} {name}", History(written)
            yield f"{N_POSTS} {name}, photos too", History(written, shown)
    same = [i for i in of(photo.concept) if i != asked]
    if same:
        shown = rng.choice(same, N_POSTS).tolist()
        tags = [_drawn(photos[i].tags, rng) for i in shown]
        yield f"{N_POSTS} on the same subject, photos too", History(tags, shown)
    apart = rng.spawn(1)[0]  # so that the draws of the others stay what they were
    if len(concepts) > 1:
        tags, shown = [], []
        for concept in apart.choice(concepts, 2, replace=False).tolist():
            for i in apart.choice(of(concept), N_POSTS).tolist():
                own = (f"{concept[::-1]}qz",) * int(apart.random() < OWN_NAME)
                tags.append((*_drawn(photos[i].tags, apart), *own))
                shown.append(i)
        order = apart.permutation(len(tags)).tolist()
        name = f"{len(tags)} on two other subjects"
        tags, shown = [tags[i] for i in order], [shown[i] for i in order]
        yield name, History(tags)
        yield f"{name}, photos too", History(tags, shown)
        beside = _beside(photos, concepts, apart)
        for about, written in ((NOTHING, ()), (name, tags)):
            yield f"{about}, beside others", History(written, others=beside)
    yield "typed: the right tag", History(typed=photo.tags[:1])
    if others:
        things = sorted({p.tags[0] for p in others})
        mixed = rng.choice(things, min(4, len(things)), replace=False).tolist()
        yield "typed: a tag of another subject", History(typed=(mixed[0],))
        yield "typed: a mixed handful", History(typed=tuple(mixed))


def _beside(
    photos: Sequence[LabelledPhoto], concepts: Sequence[str], rng: np.random.Generator
) -> list[tuple[str, tuple[str, ...]]]:
    """Posts of other people on some subjects."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for person in range(N_OTHERS):
        liked = rng.choice(concepts, min(3, len(concepts)), replace=False).tolist()
        pool = [photo for photo in photos if photo.concept in liked]
        drawn = rng.choice(len(pool), int(rng.integers(1, MOST_OF_OTHER + 1))).tolist()
        found += [(f"other{person}", _drawn(pool[i].tags, rng)) for i in drawn]
    return [found[i] for i in rng.permutation(len(found)).tolist()]


def _drawn(tags: Sequence[str], rng: np.random.Generator) -> tuple[str, ...]:
    drawn = tuple(t for t, chance in zip(tags, CHANCES, strict=False) if rng.random() < chance)
    return drawn or tuple(tags[:1])


def evaluate_histories(
    bundle: Bundle, photos: Sequence[LabelledPhoto], *, seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Figures:  # fmt: skip
    """Ask about photos after made-up histories: is the answer still as good as a stranger's?

    Of the five that are shown: whether the thing is named and its ratio to the stranger's, how many
    fit, whether the person's signature is there, and whether the right typed tag comes first. At
    most `MOST_ASKED` photos, such as the model never met where there are enough. Intervals are of a
    bootstrap over concepts.
    """
    seen = np.array(_are_seen(bundle, photos))
    are_apart = int((~seen).sum()) >= min(LEAST_UNSEEN, len(seen))
    rng = np.random.default_rng([SEED, seed])
    usable = np.flatnonzero(~seen) if are_apart else np.arange(len(photos))
    asked = np.sort(rng.permutation(usable)[:MOST_ASKED]).tolist()
    found: dict[str, dict[int, dict[str, float]]] = {}
    asker = Asker(bundle, photos)
    for done, place in enumerate(asked, 1):
        for name, history in histories_of(photos, place, rng):
            (five,) = asker.fives([place], history.past(asker.embeddings), history.typed)
            found.setdefault(name, {})[place] = _scored(photos[place], history, five)
        if on_progress:
            on_progress(done, len(asked), "photos")
    rows: list[Row] = []
    for name, scores in found.items():
        boot = _over_concepts([photos[place] for place in scores])
        rest = (len(scores), boot.n_clusters)
        values = {
            m: np.array([score[m] for score in scores.values()])
            for m in next(iter(scores.values()))
        }
        stranger = {m: np.array([found[NOTHING][p][m] for p in scores]) for m in (THING, FITS)}
        rows += [Row(ALL, name, m, *boot.over_posts(v), *rest) for m, v in values.items()]
        share = boot.ratio(values[THING], stranger[THING])
        rows.append(Row(ALL, name, OF_STRANGER, *share, *rest))
        for m, theirs in stranger.items() if name != NOTHING else ():
            less = boot.over_posts(values[m] - theirs)
            rows.append(Row(ALL, name, m, *less, *rest, "posts", "difference", NOTHING))
    title = (
        f"{len(asked):,} photos of {len({photos[i].concept for i in asked})} concepts after "
        "made-up histories: how much of a stranger's answer is left"
    )
    notes = (
        f"{int(seen.sum()):,} photos that the model learned from are not asked about"
        if are_apart
        else f"the model learned from {int(seen.sum()):,} of the {len(seen):,} photos, which "
        "flatters what it names: a model trained without them says more",
    )
    shown = (THING, OF_STRANGER, FITS, OUT_OF_PLACE, SIGNED, FIRST)
    return Figures("histories", title, rows, shown, THING, notes=notes * bool(seen.any()))


def _scored(photo: LabelledPhoto, history: History, five: Sequence[str]) -> dict[str, float]:
    found = {THING: bool(photo.names & set(five)), FITS: len({*five} & {*photo.tags})}
    everywhere = set.intersection(*map(set, history.tags)) if history.tags else set[str]()
    own = {tag for tags in history.tags for tag in tags} - everywhere
    found[OUT_OF_PLACE] = len(own & {*five} - {*photo.tags})
    if history.tags and SIGNATURE in history.tags[0]:
        found[SIGNED] = SIGNATURE in five
    if history.typed == photo.tags[:1]:
        found[FIRST] = list(five[:1]) == list(history.typed)
    return {name: float(value) for name, value in found.items()}
