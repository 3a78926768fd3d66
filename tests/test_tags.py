# ruff: noqa: RUF001 - odd characters are what this file is about
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixtag.tags import (
    MAX_TAG_LENGTH,
    MAX_TAGS_PER_POST,
    TagTally,
    find_hashtags,
    given_tags,
    join_surrogates,
    normalise_tag,
    split_tags,
    tidy_tags,
)


def caption_tags(text: str, tally: TagTally | None = None) -> tuple[str, ...]:
    return tidy_tags(find_hashtags(text), tally)


ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=40)


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("A day #photography#surfboards", ["photography", "surfboards"]),
        ("it's #mum's and #L’été", ["mum", "l"]),
        ("full width ＃夕日 and ﹟small", ["夕日", "small"]),
        ("#🌅sunset🌊 #love❤️ #👨‍👩‍👧", ["🌅sunset🌊", "love❤", "👨‍👩‍👧"]),
        (
            "#one, #two. #three! (#four) #five-six #seven_eight",
            "one two three four five seven_eight",
        ),
        ("https://example.com/a#frag www.a.org/#b example.com/c#d #real", ["real"]),
        ("&#039;quoted&#x27; &#8217; &amp; #real", ["real"]),
        ("#2026 #1 #١٢ #___ #a1 #2026goals", ["a1", "2026goals"]),
        ("#️⃣ #1️⃣ # # ##double", ["double"]),
        ("שלום #שבת_שלום וגם #\u200fتصوير، #مرحبا", ["שבת_שלום", "تصوير", "مرحبا"]),
        ("#سلام\u200cدنیا #नमस्ते #ภาพถ่าย", ["سلام\u200cدنیا", "नमस्ते", "ภาพถ่าย"]),
        ("#Straße #CAFÉ #Café #ＴＯＫＹＯ #İstanbul", ["straße", "café", "tokyo", "istanbul"]),
        ("#ΕΛΛΆΣ #ελλάς #น้ำตก #ㅋㅋㅋ #𝐬𝐮𝐧", ["ελλάς", "น้ำตก", "ㅋㅋㅋ", "sun"]),
        (
            "#il·lusió #ぼっち・ざ・ろっく #メ〜テレ #メ～テレ",
            ["il·lusió", "ぼっち・ざ・ろっく", "メ〜テレ"],
        ),
        ("#צה״ל #עַל־יְדֵי #བོད་སྐད #各〃 #end· #·", "צה״ל עַל־יְדֵי བོད་སྐད 各〃 end"),
        ("ru.example.org/Москва#История https://a.de/Köln#Dom #http://a.b köln.de/#x", []),
        ("#½cup #12cup #¼", ["½cup", "12cup"]),
        ("#wow‼ #brand™ #end… #go!", ["wow", "brand", "end", "go"]),
        ("#caf\ud83d\ude00e #lone\ud800y", ["caf😀e", "loney"]),
        ("C# is fun, no tag at all #", []),
        ("", []),
    ],
)
def test_hashtags_of_captions(text, tags):
    assert list(caption_tags(text)) == (tags.split() if isinstance(tags, str) else tags)


def test_repeats_in_other_spellings_are_one_tag_in_order_of_writing():
    tally = TagTally()
    assert caption_tags("#Sea #sun #SEA #ｓｅａ", tally) == ("sea", "sun")
    assert tally.dropped["repeated in one post"] == 2
    assert tally.changed["letter case"] == 2
    assert tally.changed["spelling of characters"] == 1
    assert caption_tags("#love❤️ #love❤", tally) == ("love❤",)
    assert tally.changed["spelling of characters"] == 1


@given(ANY_TEXT)
def test_normalising_twice_is_normalising_once(text):
    tag = normalise_tag(text)
    if tag is not None:
        assert normalise_tag(tag) == tag
        assert 0 < len(tag) <= MAX_TAG_LENGTH
        tag.encode()  # valid Unicode


@given(ANY_TEXT)
def test_a_kept_tag_is_found_again_behind_its_sign(text):
    # What is suggested must, once posted, be read back as the same tag.
    tag = normalise_tag(text)
    if tag is not None:
        assert caption_tags(f"before #{tag} after") == (tag,)


@given(st.lists(ANY_TEXT, max_size=10))
def test_tags_of_a_post_are_each_once_and_settled(raws):
    kept = tidy_tags(raws)
    assert len(set(kept)) == len(kept)
    assert tidy_tags(kept) == kept


@given(ANY_TEXT)
def test_joining_surrogates_gives_valid_unicode_and_leaves_valid_text(text):
    joined = join_surrogates(text)
    joined.encode()
    assert join_surrogates(joined) == joined


def test_ten_thousand_tags_end_well_and_the_cap_is_told():
    tally = TagTally()
    kept = caption_tags(" ".join(f"#tag{i}x" for i in range(10_000)), tally)
    assert len(kept) == MAX_TAGS_PER_POST
    assert tally.dropped[f"beyond {MAX_TAGS_PER_POST} in one post"] == 10_000 - MAX_TAGS_PER_POST


@pytest.mark.parametrize(
    "text",
    [
        "#" * 300_000,
        "a." * 150_000,
        "http://" * 40_000,
        "#\u200f" * 100_000,
        "&#" * 100_000,
        "#" + "x" * 300_000,
        "#" + "\u0301" * 300_000,
    ],
)
def test_hostile_captions_end_well(text):
    # What took time with the square of the length would not end here.
    assert caption_tags(text) == ()


def test_what_is_no_tag_is_dropped_with_its_reason():
    tally = TagTally()
    assert tidy_tags(["2026", "", "!!!", "x" * 101, "x" * 10_000, "fine"], tally) == ("fine",)
    assert tally.dropped == {"only digits": 1, "empty": 2, "too long": 2}
    assert tally.examples["only digits"] == "2026"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("new york, dusk", ["new york", "dusk"]),
        ("#a #b#c", ["a", "b", "c"]),
        ("#a, #b", ["a", "b"]),
        ("a b", ["a", "b"]),
        ("a;b|c", ["a", "b", "c"]),
        ('["a", "b"]', ["a", "b"]),
        ("['a', 'b']", ["a", "b"]),
        ("[not a list", ["[not", "a", "list"]),
        ("", []),
        (" , ", []),
    ],
)
def test_tags_written_into_one_string(text, parts):
    assert split_tags(text) == parts


def test_tags_given_as_a_list_keep_blanks_inside_until_normalised():
    assert tidy_tags(given_tags(["New York", "#a#b", 7, None, {"x": 1}])) == ("newyork", "a", "b")
    assert given_tags(None) == []
    assert given_tags(3.5) == []


def test_find_hashtags_keeps_every_occurrence_as_written():
    assert find_hashtags("#Sea #Sea") == ["Sea", "Sea"]
