"""What the page is made of: signed forms, texts, charts, places of chips, what a store knows."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from pixtag.errors import InputError
from pixtag.reasons import Facts, said, used_outside
from pixtag.store import Store
from pixtag.store.sets import remove_set, save_set, saved_sets
from pixtag.store.usage import own_tags, tags_from
from pixtag.types import Post, Suggestion
from pixtag.web import charts
from pixtag.web.copying import camel_case
from pixtag.web.forms import LIFE_S, Shown, signed, unsigned
from pixtag.web.home import placed
from pixtag.web.texts import LANGUAGES, Texts, catalogue, choose_language

WEB = Path(charts.__file__).parent
SECRET = b"s" * 32
NOW = 1_790_000_000.0


def test_an_embedding_comes_back_only_as_it_was_signed() -> None:
    row = np.linspace(-1, 1, 64, dtype=np.float32)
    token = signed(row, "key", SECRET, now=NOW)
    again = unsigned(token, "key", SECRET, now=NOW + LIFE_S - 1)
    assert again is not None
    np.testing.assert_allclose(again, row, atol=1e-3)
    assert unsigned(token, "key", SECRET, now=NOW + LIFE_S + 1) is None
    assert unsigned(token, "other", SECRET, now=NOW) is None
    assert unsigned(token, "key", b"t" * 32, now=NOW) is None
    changed = ("A" if token[60] != "A" else "B").join([token[:60], token[61:]])
    for wrong in (changed, token[:-4], "", "é", "AAAA"):
        assert unsigned(wrong, "key", SECRET, now=NOW) is None


def test_every_language_has_every_text() -> None:
    english = catalogue("en")
    for language in LANGUAGES:
        texts = catalogue(language)
        assert texts.keys() == english.keys()
        for key, text in texts.items():
            assert text.strip() or key == "format.thousands"
            fields = set(re.findall(r"\{(\w+)\}", text))
            assert fields == set(re.findall(r"\{(\w+)\}", english[key])), (language, key)


def test_every_text_that_is_asked_for_is_there_and_none_besides() -> None:
    sources = [*WEB.glob("*.py"), *(WEB / "templates").glob("*.html")]
    written = "\n".join(path.read_text() for path in sources)
    for key in re.findall(r"""\b(?:t|texts|self)\(\s*f?["'](\w+\.\w+)["']""", written):
        assert key in catalogue("en"), key
    made = {
        "month",
        "weekday",
        "reason",
        "ago",
        "fault",
        "source",
        "error",
        "job",
        "format",
        "lists",
    }
    made |= {"copy", "nav", "import", "photo"}  # whose keys are put together
    for key in catalogue("en"):
        section, _, name = key.partition(".")
        assert section in made or key.removesuffix("_one") in written, (key, name)


class _Words(HTMLParser):
    """Collects what a person would read."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_data(self, data: str) -> None:
        self.found.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        read = {"alt", "title", "placeholder", "aria-label", "data-done"}
        self.found += [value or "" for name, value in attrs if name in read]
        assert not {name for name, _ in attrs if name == "style" or name.startswith("on")}


def test_no_template_holds_bare_words() -> None:
    names = {"Pixtag", "pixtag", "tag", "sun", "sea"}  # the product, and hashtags as examples
    for path in (WEB / "templates").glob("*.html"):
        text = re.sub(r"\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}", "", path.read_text(), flags=re.DOTALL)
        words = _Words()
        words.feed(text)
        bare = set(re.findall(r"[^\W\d_]{2,}", " ".join(words.found))) - names
        assert not bare, (path.name, bare)


def test_everything_that_a_reason_says_is_said_in_every_language() -> None:
    day = 86_400.0
    facts = [
        Facts(at=NOW, call=1.0, n_near=9, n_near_with=2, n_given=2, n_own_posts=1, rise=2.4),
        Facts(at=NOW, n_given=1, is_on_last=True, n_own_posts=1, n_weekday=9, n_days=9),
        Facts(at=NOW, season_lift=9.0, partner="sun", n_people=1200, n_all_people=1200),
        Facts(at=NOW, n_people=4, n_all_people=900, n_own_posts=3, is_on_alike=True),
        Facts(at=NOW, share_elsewhere=1.0),
        *(Facts(at=NOW, n_own=n, last_own_at=NOW - age * day)
          for n in (1, 1400) for age in (0, 0.01, 0.2, 1, 9, 40, 800)),
        *(Facts(at=NOW + i * day, n_weekday=9, n_days=9) for i in range(7)),
        *(Facts(at=NOW, outside=used_outside("mastodon.example", 1200, days, is_rising=is_rising))
          for days in (0, 1, 9) for is_rising in (False, True)),
    ]  # fmt: skip
    texts = {text for one in facts for text in said(one).values() if text}
    texts |= {"a guess: little speaks for it", "always: it is on your list"}
    assert len(texts) > 25
    german, english = Texts("de"), Texts("en")
    same = {"popular", "trend"}
    for text in texts:
        assert english.reason(text) == text
        assert german.reason(text) != text or text in same, text
        for language in LANGUAGES:
            assert "{" not in Texts(language).reason(text)
    outside = "rising on mastodon.example: 1,200 people 9 days ago"
    assert german.reason(outside) == "im Kommen auf mastodon.example: 1.200 Leute vor 9 Tagen"
    assert german.reason("you used it 1 day ago, 1,400 times").endswith("1.400-mal")


def test_the_language_is_the_chosen_one_else_the_browsers() -> None:
    assert choose_language("de", "pt") == "de"
    assert choose_language(None, "fr, pt-BR;q=0.8, de;q=0.9") == "de"
    assert choose_language("xx", "id-ID") == "id"
    assert choose_language(None, "") == choose_language(None, "fr;q=x") == "en"


def test_camel_case_keeps_every_letter() -> None:
    words = {"goldenhour": ["golden", "hour"], "anasmorning": ["an", "as", "morning"]}

    def split(run: str) -> list[str]:
        return words.get(run, [])

    assert camel_case("goldenhour", split) == "GoldenHour"
    assert camel_case("anasmorning", split) == "Anasmorning"
    assert camel_case("golden_hour24", split) == "Golden_Hour24"
    for tag in ("straße", "ßx", "日本", "a_", "2026sun"):
        assert camel_case(tag, split).lower() == tag


def test_chips_stay_in_their_places() -> None:
    photo = Shown("k", "n", taken={"b": "s", "typed": ""}, order=("a", "b", "c"))
    new = [Suggestion(tag, 0.5) for tag in ("d", "e", "f")]
    chips = placed(photo, new)
    assert [chip.tag for chip in chips] == ["d", "b", "e", "typed", "f"]
    assert [chip.is_taken for chip in chips] == [False, True, False, True, False]


def test_a_chart_is_one_of_shapes_and_escapes_its_labels() -> None:
    day = 86_400.0
    for n_days in (3, 100, 900, 9000):
        spans = charts.over_time([(NOW - n_days * day, True), (NOW - day, False)], until=NOW)
        assert 1 <= len(spans) <= 60
        assert sum(one.n_own for one in spans) == sum(one.n_others for one in spans) == 1
    drawn = charts.columns([("<b>", (3, 1))], "x")
    assert "<b>" not in drawn
    assert "style" not in drawn


def test_sets_are_kept_by_name() -> None:
    with Store.in_memory() as store:
        save_set(store, "ana", " sea  days ", ["#Sun", "sea"])
        save_set(store, "ana", "sea days", ["sea"])
        save_set(store, "bo", "other", ["x"])
        assert saved_sets(store, "ana") == [("sea days", ("sea",))]
        for name, tags in (("", ["a"]), ("x" * 81, ["a"]), ("x", ["2026"])):
            with pytest.raises(InputError):
                save_set(store, "ana", name, tags)
        remove_set(store, "ana", "sea days")
        assert saved_sets(store, "ana") == []
        store.forget("bo")
        assert saved_sets(store, "bo") == []


def test_what_a_person_uses_and_what_others_may_see() -> None:
    with Store.in_memory() as store:
        posts = [Post(f"a{i}", "ana", NOW + i, ("sun", "sea")) for i in range(2)]
        posts += [Post(f"o{i}", f"p{i}", NOW, ("sunset", "suit")[: i + 1]) for i in range(2)]
        posts += [Post("o3", "p3", NOW, ("sunset",)), Post("none", None, None, ("sundry",))]
        store.add_posts(posts)
        first, with_it = own_tags(store, "ana", limit=5)[1]
        assert (first.tag, first.n_uses, with_it, first.last_at) == ("sun", 2, "sea", NOW + 1)
        assert tags_from(store, "su", user="ana", limit=9) == [("sun", 2, 2), ("sunset", 0, 3)]
        assert tags_from(store, "su", user=None, limit=9) == [("sunset", 0, 3)]
