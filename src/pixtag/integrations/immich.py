"""Immich: tagged photos as history, suggested tags beside those that are there.

Follows the API that Immich publishes. What was written is recorded in the store, since nothing in
Immich says whose a tag is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, SecretStr

from pixtag.errors import InputError, PixtagError, ServerError
from pixtag.ingest.files import as_dict, as_list, dig
from pixtag.ingest.library import key_of
from pixtag.integrations.history import Keeper, OnProgress, Picture
from pixtag.integrations.http import Client, NotThereError
from pixtag.integrations.tagging import Rules
from pixtag.predictor import Predictor
from pixtag.store.written import State, Written
from pixtag.tags import tidy_tags
from pixtag.types import Post

OLDEST = (1, 113)  # the first version with tags
PAGE = 250
BATCH = 16


class ImmichConfig(BaseModel):
    """Where Immich is.

    Attributes:
        url: Its address, as https://photos.example or http://192.168.1.2:2283.
        key: An API key: Account Settings, API Keys.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    url: str | None = None
    key: SecretStr | None = None


class Asset(NamedTuple):
    """A photo of the account."""

    name: str  # Immich's id
    file: str  # what its file was called
    taken_at: str  # ISO 8601, UTC


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one photo: tags that were added, or why none could be."""

    asset: str
    file: str
    words: tuple[str, ...] = ()
    error: PixtagError | None = None


class Immich:
    """One account of an Immich server.

    Raises:
        InputError: No address or key is known.
        KeyRefusedError: The server does not take the key, or it may not do what is needed.
        ServerError: There is no Immich, or one before 1.113.
    """

    def __init__(
        self, config: ImmichConfig, *, on_wait: Callable[[float, str], None] | None = None
    ) -> None:
        if not (config.url and config.key and config.key.get_secret_value().strip()):
            what = "the key" if config.url else "the address"
            hint = "--url and --key, or PIXTAG_IMMICH_URL and PIXTAG_IMMICH_KEY in the environment"
            raise InputError(f"{what} of Immich is not given", hint=hint)
        key = config.key.get_secret_value().strip()
        if not (key.isascii() and key.isprintable()):
            raise InputError("the key of Immich holds odd characters", hint="copy it again")
        url = config.url.rstrip("/").removesuffix("/api")
        self._client = Client(url, headers={"x-api-key": key}, name="Immich", on_wait=on_wait)
        self._check_version()
        me = self._client.json("GET", "/api/users/me")
        self.account, self.person = str(dig(me, "id")), str(dig(me, "name") or "")
        self.place = f"immich:{self.account}"  # for `Written`; the same by whatever address

    def _check_version(self) -> None:
        try:
            said = self._client.json("GET", "/api/server/version")
            version = tuple(int(str(dig(said, part))) for part in ("major", "minor"))
        except (NotThereError, ValueError) as error:
            what = f"{self._client.url} is no Immich, or one that is too old"
            raise ServerError(what, hint="give its address, as http://192.168.1.2:2283") from error
        if version < OLDEST:
            what = f"Immich {'.'.join(map(str, version))} has no tags yet"
            raise ServerError(what, hint="update it: tags came with 1.113")

    def assets(self, tag: str | None = None) -> Iterator[Asset]:
        """List the account's own photos, latest first; those with a tag (by id) or below it."""
        page, before = 1, 0
        while page > before:  # else it goes round in circles
            body: dict[str, object] = {"type": "IMAGE", "size": PAGE, "page": page}
            body |= {"tagIds": [tag]} if tag is not None else {}
            found = dig(self._client.json("POST", "/api/search/metadata", body), "assets")
            for one in map(as_dict, as_list(dig(found, "items"))):
                is_own = one.get("ownerId", self.account) == self.account
                if one.get("id") and is_own and not one.get("isTrashed"):
                    taken = str(one.get("fileCreatedAt") or "")
                    name = str(one.get("originalFileName") or "")
                    yield Asset(str(one["id"]), name, taken)
            more = str(dig(found, "nextPage"))
            page, before = int(more) if more.isdecimal() and len(more) < 10 else 0, page

    def tagged(self, on_progress: OnProgress | None = None) -> dict[Asset, list[str]]:
        """Find every tagged photo with its tags, as paths with `/`; of a path only its end."""
        tags = {str(dig(t, "id")): str(dig(t, "value")) for t in self._tags()}
        found: dict[Asset, list[str]] = defaultdict(list)
        for n_done, (name, value) in enumerate(tags.items(), start=1):
            for asset in self.assets(name):
                found[asset].append(value)
            if on_progress is not None:
                on_progress(n_done, len(tags))
        return {asset: _ends(values) for asset, values in found.items()}

    def spellings(self) -> dict[str, str]:
        """The account's tags, as paths, by what they are compared by."""
        found: dict[str, str] = {}
        for value in sorted(str(dig(one, "value")) for one in self._tags()):
            found.setdefault(key_of(value.rpartition("/")[2]), value)
        return found

    def _tags(self) -> list[object]:
        return as_list(self._client.json("GET", "/api/tags"))

    def thumbnail(self, asset: str) -> bytes:
        """Fetch a photo in its preview's size."""
        return self._client.photo(f"/api/assets/{asset}/thumbnail?size=preview")

    def thumbnail_url(self, asset: str) -> str:
        """Where a photo's preview lies."""
        return f"{self._client.url}/api/assets/{asset}/thumbnail?size=preview"

    def add_tags(self, words: dict[str, list[str]]) -> None:
        """Add tags (made when they are missing) to photos: by tag, the photos' ids."""
        values = list(words)
        made = as_list(self._client.json("PUT", "/api/tags", {"tags": values}))
        ids = {str(dig(one, "value")): str(dig(one, "id")) for one in made}
        for value in values:
            if value not in ids:
                what = f"Immich did not make the tag {value!r}"
                raise ServerError(what, hint="look whether it can be made by hand")
            body = {"tagIds": [ids[value]], "assetIds": words[value]}
            self._client.json("PUT", "/api/tags/assets", body)


def _ends(values: Sequence[str]) -> list[str]:
    """Leave out tags above others of the same photo: Immich finds photos by these too."""
    return [v for v in values if not any(other.startswith(f"{v}/") for other in values)]


def _word(value: str) -> str:
    return value.rpartition("/")[2].strip()


class Record:
    """What Pixtag wrote into an account, compared with what is there now."""

    def __init__(
        self, written: Written, tagged: dict[Asset, list[str]], *, keeps: bool = True
    ) -> None:
        self._written, self._keeps = written, keeps
        self._there = {asset.name: values for asset, values in tagged.items()}
        self._states = written.all()

    def settle(self, *, confirm: bool) -> int:
        """Note what the person took away, put there again, or confirms; how many are confirmed."""
        changes: dict[State, list[tuple[str, str]]] = {"removed": [], "confirmed": []}
        for asset, words in self._states.items():
            there = self.there(asset)
            for word, state in words.items():
                is_there = key_of(_word(word)) in there
                if state == "written" and word and not is_there:
                    changes["removed"].append((asset, word))
                elif (state == "removed" or (confirm and state == "written")) and word and is_there:
                    changes["confirmed"].append((asset, word))
        for state, rows in changes.items():
            self.put(rows, state)
        return len(changes["confirmed"])

    def put(self, rows: Iterable[tuple[str, str]], state: State) -> None:
        """Note a state."""
        rows = list(rows)
        for asset, word in rows:
            self._states.setdefault(asset, {})[word] = state
        if self._keeps:
            self._written.put(rows, state)

    def own(self, asset: str) -> list[str]:
        """The person's words of a photo: what is there without what Pixtag wrote."""
        states = self._states.get(asset, {})
        not_own = {key_of(_word(w)) for w, s in states.items() if s in {"begun", "written"}}
        return [w for w in map(_word, self._there.get(asset, ())) if key_of(w) not in not_own]

    def there(self, asset: str) -> set[str]:
        """What the words that a photo carries are compared by."""
        return {key_of(_word(value)) for value in self._there.get(asset, ())}

    def removed(self, asset: str) -> list[str]:
        """Words of Pixtag's that the person took away."""
        states = self._states.get(asset, {})
        return [_word(word) for word, state in states.items() if state == "removed"]

    def is_known(self, asset: str) -> bool:
        """Whether Pixtag has looked at a photo before."""
        return asset in self._states

    def begun(self) -> dict[str, list[str]]:
        """Words that a run which was broken off may not have written: photos by word."""
        found: dict[str, list[str]] = defaultdict(list)
        for asset, words in self._states.items():
            for word, state in words.items():
                if state == "begun":
                    found[word].append(asset)
        return found


def suggest(
    immich: Immich, predictor: Predictor, record: Record, rules: Rules,
    *, on_progress: OnProgress | None = None,
) -> Iterator[Outcome]:  # fmt: skip
    """Add suggested tags to photos that were not looked at before, a batch at a time.

    A word that a photo has in any spelling, or that was taken away, is not added; words take the
    spelling and path of the account's tags. Each batch is noted before and after it is written,
    so that a run which breaks off is finished by the next.
    """
    spelt = immich.spellings()
    if not rules.dry_run and (begun := record.begun()):
        _add(immich, record, begun)
    every = list(immich.assets())
    todo = [one for one in every if rules.again or not record.is_known(one.name)]
    n_done = len(every) - len(todo)
    for start in range(0, len(todo), BATCH):
        batch = todo[start : start + BATCH]
        found = [_suggested(immich, predictor, record, rules, spelt, asset) for asset in batch]
        words: dict[str, list[str]] = defaultdict(list)
        for one in found:
            for word in one.words:
                words[word].append(one.asset)
        if not rules.dry_run:
            _add(immich, record, words)
            seen = [(one.asset, "") for one in found if not (one.words or one.error)]
            record.put(seen, "written")
        n_done += len(batch)
        if on_progress is not None:
            on_progress(n_done, len(every))
        yield from found


def _add(immich: Immich, record: Record, words: dict[str, list[str]]) -> None:
    if words:
        rows = [(asset, word) for word, assets in words.items() for asset in assets]
        record.put(rows, "begun")
        immich.add_tags(words)
        record.put(rows, "written")


def _suggested(
    immich: Immich, predictor: Predictor, record: Record, rules: Rules, spelt: dict[str, str],
    asset: Asset,
) -> Outcome:  # fmt: skip
    own = tidy_tags(record.own(asset.name))
    removed = record.removed(asset.name)
    try:
        likely = rules.likely(predictor, immich.thumbnail(asset.name), own, removed)
    except PixtagError as error:
        if isinstance(error, ServerError) and error.status != 404:
            raise
        return Outcome(asset.name, asset.file, error=error)
    barred = record.there(asset.name) | set(map(key_of, removed))
    words = [spelt.get(tag, tag) for tag in likely if tag not in barred]
    return Outcome(asset.name, asset.file, tuple(words))


def read_history(
    immich: Immich, keeper: Keeper, record: Record, tagged: dict[Asset, list[str]],
    *, on_progress: OnProgress | None = None,
) -> None:  # fmt: skip
    """Put the account's tagged photos into a store, each as a post of when it was taken."""
    context = keeper.context
    owner = context.owner(context.user_id or immich.person, "Immich")
    n_done, every = 0, list(tagged)
    for start in range(0, len(every), BATCH):
        batch = every[start : start + BATCH]
        posts: list[tuple[Post, list[Picture]]] = []
        for asset in batch:
            tags = tidy_tags(record.own(asset.name), context.report.tags)
            if not tags:
                context.report.add("photo with no tags but Pixtag's, left out", asset.file)
                continue
            at = context.report.read_time(asset.taken_at, asset.file)
            post = Post(context.post_id("immich", asset.name), owner, at, tags)
            fetch = partial(immich.thumbnail, asset.name)
            posts.append((post, [Picture(immich.thumbnail_url(asset.name), fetch)]))
        keeper.keep(posts)
        n_done += len(batch)
        if on_progress is not None:
            on_progress(n_done, len(tagged))
