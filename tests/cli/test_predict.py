"""`pixtag predict` and `pixtag trending`, as a person runs them."""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import handmade
from pixtag.images import digest
from pixtag.store import Store
from pixtag.types import Photo, Post

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return handmade.bundle_file(tmp_path_factory.mktemp("bundles") / "bundle")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Ana drinks coffee; on the first of May three friends start to write #eclipse."""

    def post(name: str, user: str, days_ago: float, *tags: str) -> Post:
        return Post(name, user, (NOON - timedelta(days=days_ago)).timestamp(), tags)

    posts = [post(f"ana-{i}", "ana", i, "coffee") for i in range(3, 15)]
    posts += [post(f"{u}-{i}", u, i, "sky") for u in ("bo", "cy", "di") for i in range(5, 30)]
    posts += [post(f"{u}-new", u, 0.2, "eclipse") for u in ("bo", "cy", "di")]
    with Store.open(tmp_path / "my.sqlite", create=True) as store:
        store.add_posts(posts)
    return tmp_path / "my.sqlite"


def records(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_photo_alone_is_enough(pixtag, bundle: Path, tmp_path: Path) -> None:
    handmade.photo(tmp_path / "p.jpg", "sky")
    done = pixtag("p.jpg", "--model", bundle)
    assert done.returncode == 0, done.stderr
    first = next(line for line in done.stdout.splitlines() if "#" in line)
    assert first.split()[0] in {"#sky", "#blue"}
    assert "%" in first
    assert "in the picture" in first
    assert done.stderr == ""
    assert pixtag("predict", "p.jpg", "--model", bundle).stdout == done.stdout


def test_json_has_one_object_a_photo_and_survives_broken_ones(
    pixtag, bundle: Path, tmp_path: Path
) -> None:
    for name, look in [("a/1.jpg", "sky"), ("a/2.jpg", "leaves"), ("z.jpg", "stripes")]:
        handmade.photo(tmp_path / name, look)
    (tmp_path / "a" / "0.jpg").write_bytes(b"")
    done = pixtag("a", "gone.jpg", "z.jpg", "--model", bundle, "--json", "-k", "2")
    assert done.returncode == 1
    lines = records(done.stdout)
    assert [r["photo"] for r in lines] == ["a/0.jpg", "a/1.jpg", "a/2.jpg", "gone.jpg", "z.jpg"]
    assert ["error" in r for r in lines] == [True, False, False, True, False]
    for name in ("kind", "message", "hint"):
        assert lines[0]["error"][name]
    assert lines[0]["error"]["kind"] == "image"
    for record, look in [(lines[1], "sky"), (lines[2], "leaves"), (lines[4], "stripes")]:
        assert {s["tag"] for s in record["suggestions"]} == set(handmade.LOOKS[look])
        for suggestion in record["suggestions"]:
            assert 0 < suggestion["prob"] < 1
            assert {"source", "text", "weight"} == set(suggestion["reasons"][0])


def test_txt_is_ready_to_paste(pixtag, bundle: Path, tmp_path: Path) -> None:
    handmade.photo(tmp_path / "1.jpg", "sky")
    handmade.photo(tmp_path / "3.jpg", "leaves")
    done = pixtag("1.jpg", "2.jpg", "3.jpg", "--model", bundle, "--format", "txt", "-k", "2")
    first, second, third = done.stdout.splitlines()
    assert set(first.split()) == {"#sky", "#blue"}
    assert second == ""
    assert set(third.split()) == {"#forest", "#nature"}
    assert done.returncode == 1
    assert "no photo at 2.jpg" in done.stderr
    assert "2 of 3 photos done" in done.stderr


def test_txt_says_on_standard_error_where_it_is_not_sure(pixtag) -> None:
    rocket = Path(__file__).parents[2] / "samples" / "rocket.jpg"
    done = pixtag(rocket, "--format", "txt")
    assert f"# not sure what {rocket} shows" in done.stderr.splitlines()
    assert "not sure" not in done.stdout


def test_own_tags_are_shown_and_marked(pixtag, bundle: Path, tmp_path: Path) -> None:
    handmade.photo(tmp_path / "p_1.jpg", "sky")
    (tmp_path / "p.txt").write_text("Sky, Vacation\n7\n")
    table = pixtag("p_1.jpg", "--model", bundle, "-k", "2").stdout
    (sky,) = [line for line in table.splitlines() if line.strip().startswith("#sky")]
    (blue,) = [line for line in table.splitlines() if line.strip().startswith("#blue")]
    assert "right" in sky
    assert "wrong" in blue
    assert "its own tags (1 suggested): #sky #vacation" in table
    (record,) = records(pixtag("p_1.jpg", "--model", bundle, "-k", "2", "--json").stdout)
    assert record["tags"] == ["sky", "vacation"]
    assert {s["tag"]: s["is_right"] for s in record["suggestions"]} == {"sky": True, "blue": False}


def test_a_photo_of_the_store_is_judged_as_posted(
    pixtag, bundle: Path, store: Path, tmp_path: Path
) -> None:
    path = handmade.photo(tmp_path / "p.jpg", "sky")
    with Store.open(store) as opened:
        when = NOON - timedelta(days=6, hours=2)
        photo = Photo(str(path), digest(path))
        opened.add_posts([Post("mine", "ana", when.timestamp(), ("sky", "home"), (photo,))])
    done = pixtag("p.jpg", "--model", bundle, "--store", store, "--user", "ana", "--json", "-k9")
    (record,) = records(done.stdout)
    assert record["at"] == when.isoformat()
    assert record["tags"] == ["sky", "home"]
    suggested = {s["tag"]: s for s in record["suggestions"]}
    assert "home" not in suggested
    reasons = "; ".join(r["text"] for r in suggested["coffee"]["reasons"])
    assert "you used it 22 hours ago, 8 times" in reasons
    table = pixtag("p.jpg", "--model", bundle, "--store", store, "--user", "ana").stdout
    assert "  at 2026-04-25 10:00 UTC" in table


def test_history_by_store_and_by_word(pixtag, bundle: Path, store: Path, tmp_path: Path) -> None:
    handmade.photo(tmp_path / "p.jpg", "sky")
    known = ["p.jpg", "--model", bundle, "--at", "2026-05-01T12:00"]
    done = pixtag(*known, "--store", store, "--user", "ana")
    assert "you used it 3 days ago, 12 times" in done.stdout
    assert "#eclipse" in done.stdout
    assert "rising" in done.stdout
    typed = pixtag(*known, "--history", "tea, Night Life, tea")
    assert "#nightlife" in typed.stdout
    assert "in the history you gave, 2 times" in typed.stdout


def test_an_unknown_person_is_told_and_treated_as_new(
    pixtag, bundle: Path, store: Path, tmp_path: Path
) -> None:
    handmade.photo(tmp_path / "p.jpg", "sky")
    known = ["p.jpg", "--model", bundle, "--store", store, "--at", "2026-05-01", "--format", "txt"]
    done = pixtag(*known, "--user", "anna")
    assert done.returncode == 0
    assert "nobody called 'anna' in the store" in done.stderr
    assert "did you mean ana?" in done.stderr
    assert done.stdout == pixtag(*known).stdout


def test_trending_lists_what_rises(pixtag, store: Path) -> None:
    done = pixtag("trending", "--store", store, "--at", "2026-05-01T12:00")
    assert done.returncode == 0
    assert "#eclipse" in done.stdout
    assert "#sky" not in done.stdout
    (record,) = records(
        pixtag("trending", "--store", store, "--at", "2026-05-01T12:00Z", "--json").stdout
    )
    assert record["tag"] == "eclipse"
    assert record["n_people"] == 3
    assert record["times_usual"] > 1.5
    quiet = pixtag("trending", "--store", store, "--at", "2026-04-20")
    assert quiet.returncode == 0
    assert quiet.stdout == ""
    assert "nothing rises at 2026-04-20 00:00 UTC" in quiet.stderr


def test_one_persons_store_shows_what_is_usual_at_this_time_of_the_year(
    pixtag, tmp_path: Path
) -> None:
    posts = [Post(f"p{i}", "ana", (NOON - timedelta(days=i)).timestamp(), ("sky",)) for i in (1, 2)]
    with Store.open(tmp_path / "my.sqlite", create=True) as store:
        store.add_posts(posts)
    asked = ["trending", "--store", tmp_path / "my.sqlite", "--at"]
    done = pixtag(*asked, "2026-10-28")
    assert done.returncode == 0
    assert "all posts are of one person" in done.stderr
    assert "#halloween" in done.stdout
    assert "#sky" not in done.stdout
    (record,) = records(pixtag(*asked, "2026-12-23", "-k", "1", "--json").stdout)
    assert (record["tag"], record["occasion"]) == ("christmas", "Christmas")
    assert record["times_usual"] > 5
    assert "nothing rises" in pixtag(*asked, "2026-04-20").stderr
    with Store.open(tmp_path / "my.sqlite") as store:
        store.add_posts([replace(posts[0], post_id=f"q{i}", user_id=None) for i in range(2)])
    assert pixtag(*asked, "2026-10-28").stdout == ""


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (["p.jpg", "--at", "yesterday"], 2, "'yesterday' is no time"),
        (["p.jpg", "--at", "12345"], 2, "'12345' is a doubtful time"),
        (["p.jpg", "-k", "0"], 2, "-k"),
        (["p.jpg", "--store", "none.sqlite"], 1, "none.sqlite"),
        (["p.jpg", "--model", "."], 1, "it is a folder"),
        (["predict"], 2, ""),
        (["empty"], 1, "no photo in the folder empty"),
    ],
)
def test_mistakes_are_explained(
    pixtag, bundle: Path, tmp_path: Path, words: list[str], code: int, complaint: str
) -> None:
    handmade.photo(tmp_path / "p.jpg", "sky")
    (tmp_path / "empty").mkdir()
    if "--model" not in words and words != ["predict"]:
        words = [*words, "--model", str(bundle)]
    done = pixtag(*words)
    assert done.returncode == code, done.stderr
    assert complaint in done.stderr
    assert "hint:" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_damaged_bundle_is_refused_before_any_photo(pixtag, bundle: Path, tmp_path: Path) -> None:
    handmade.photo(tmp_path / "p.jpg", "sky")
    copy = handmade.bundle_file(tmp_path / "copy")
    raw = bytearray(copy.read_bytes())
    raw[-1] ^= 1
    copy.write_bytes(raw)
    done = pixtag("p.jpg", "--model", copy)
    assert done.returncode == 1
    assert "is damaged: its part" in done.stderr


def test_a_platform_cuts_the_set_and_says_so(pixtag, bundle: Path, tmp_path: Path) -> None:
    handmade.photo(tmp_path / "p.jpg", "sky")
    asked = ["p.jpg", "--model", bundle, "--format", "txt"]
    done = pixtag(*asked, "--platform", "threads")
    assert len(done.stdout.split()) == 1
    assert "note: 5 hashtags cut to 1: limit of threads" in done.stderr
    assert pixtag(*asked, "--platform", "instagram").stderr == ""
    advice = pixtag(*asked, env={"PIXTAG_PLATFORM": "x"})
    assert len(advice.stdout.split()) == 2
    assert "advice of x" in advice.stderr
    assert "no known cap" in pixtag(*asked, "--platform", "mastodon").stderr
    (tmp_path / "mine.toml").write_text('[blog]\ncap = 3\nsource = "me"\nkind = "limit"\n')
    own = pixtag(*asked, "--platform", "blog", "--platforms", "mine.toml")
    assert len(own.stdout.split()) == 3
    assert "limit of blog (me)" in own.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--platform", "thread"], "did you mean threads?"),
        (["--platforms", "gone.toml", "--platform", "x"], "there is no file gone.toml"),
        (["--restricted", "gone.toml"], "there is no file gone.toml"),
    ],
)
def test_an_unknown_platform_or_file_is_refused(pixtag, bundle, tmp_path, words, said) -> None:
    handmade.photo(tmp_path / "p.jpg", "sky")
    done = pixtag("p.jpg", "--model", bundle, *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""


def test_accepted_hashtags_come_first_and_count(pixtag, bundle: Path, tmp_path: Path) -> None:
    handmade.photo(tmp_path / "p.jpg", "sky")
    (tmp_path / "p.txt").write_text("sky")
    asked = ["p.jpg", "--model", bundle, "-k", "3"]
    words = ["--accept", "#Vacation", "--accept", "nature", "--refuse", "sky"]
    done = pixtag(*asked, *words, "--format", "txt")
    assert done.stdout == "#vacation #nature #blue\n"
    (record,) = records(pixtag(*asked, *words, "--json").stdout)
    assert record["accepted"] == ["vacation", "nature"]
    assert [s["tag"] for s in record["suggestions"]] == ["blue"]
    table = pixtag(*asked, *words).stdout.splitlines()
    (line,) = [line for line in table if "#vacation" in line]
    assert line.split() == ["#vacation", "accepted"]
    many = pixtag(*asked, "--accept", "a1, b1, c1, d1", "--format", "txt")
    assert many.stdout == "#a1 #b1 #c1\n"
    assert "4 accepted hashtags cut to 3" in many.stderr


def test_restricted_hashtags_are_warned_of_and_shown(pixtag, bundle, tmp_path: Path) -> None:
    handmade.photo(tmp_path / "p.jpg", "sky")
    (tmp_path / "mine.toml").write_text(
        'blue = { platforms = ["x"], source = "me", as_of = 2026-01-02 }\n'
    )
    asked = ["p.jpg", "--model", bundle, "-k", "2", "--restricted", "mine.toml"]
    text = "#blue is reported as hidden or limited on x (me, 2026-01-02)"
    assert f"warning: {text}" in pixtag(*asked).stdout
    (record,) = records(pixtag(*asked, "--json").stdout)
    assert record["warnings"] == [{"tag": "blue", "text": text}]
    assert {s["tag"] for s in record["suggestions"]} == {"sky", "blue"}
    txt = pixtag(*asked, "--format", "txt")
    assert set(txt.stdout.split()) == {"#sky", "#blue"}
    assert text in txt.stderr
    (elsewhere,) = records(pixtag(*asked, "--json", "--platform", "instagram").stdout)
    assert elsewhere["warnings"] == []
    assert "warning" not in pixtag("p.jpg", "--model", bundle, "-k", "2").stdout


def test_a_store_of_one_person_is_theirs(pixtag, bundle: Path, tmp_path: Path) -> None:
    handmade.photo(tmp_path / "p.jpg", "sky")
    data = {"XDG_DATA_HOME": str(tmp_path / "data")}
    own = tmp_path / "data" / "pixtag" / "posts.sqlite"
    own.parent.mkdir(parents=True)
    with Store.open(own, create=True) as store:
        at = NOON.timestamp()
        store.add_posts(Post(f"p{i}", "ana", at - 86_400 * i, ("coffee",)) for i in range(1, 9))
    asked = ["p.jpg", "--model", bundle, "--json", "--at", "2026-05-01T12:00"]
    done = pixtag(*asked, env=data)
    (found,) = records(done.stdout)
    assert found["user"] == "ana"
    assert "coffee" in {one["tag"] for one in found["suggestions"]}
    assert f"note: for ana, the only person in {own}" in done.stderr
    alone = pixtag(*asked, "--stranger", env=data)
    assert records(alone.stdout)[0]["user"] is None
    assert alone.stderr == ""


def test_a_store_of_several_takes_nobody_unless_set(pixtag, bundle: Path, store: Path) -> None:
    handmade.photo(store.parent / "p.jpg", "sky")
    asked = ["p.jpg", "--model", bundle, "--store", store, "--json"]
    done = pixtag(*asked)
    assert records(done.stdout)[0]["user"] is None
    assert "holds ana, bo, cy, ...; --user names one" in done.stderr
    (store.parent / "pixtag.toml").write_text('user = "ana"\n', "utf-8")
    assert records(pixtag(*asked).stdout)[0]["user"] == "ana"


def test_standard_input_is_a_photo_or_a_list(pixtag, bundle: Path, tmp_path: Path) -> None:
    for name in ("a.jpg", "b b.jpg"):
        handmade.photo(tmp_path / name, "sky")
    asked = ["suggest", "-", "--model", bundle, "--json"]
    for text in ("a.jpg\nb b.jpg\n", "a.jpg\0b b.jpg\0"):
        done = pixtag(*asked, stdin=text)
        assert [one["photo"] for one in records(done.stdout)] == ["a.jpg", "b b.jpg"]
    (named,) = records(pixtag("a.jpg", *asked[2:]).stdout)
    (piped,) = records(pixtag(*asked, stdin=(tmp_path / "a.jpg").read_bytes()).stdout)
    assert piped["suggestions"] == named["suggestions"]
    assert piped["photo"] == "-"
    (broken,) = records(pixtag(*asked, stdin=b"\xff\xd8 no photo").stdout)
    assert broken["photo"] == "-"
    assert tempfile.gettempdir() not in broken["error"]["message"]
    nothing = pixtag(*asked)
    assert nothing.returncode == 2
    assert "nothing came on standard input" in nothing.stderr


def test_every_suggestion_shows_a_reason_even_where_nothing_raised_it(pixtag):
    photo = Path(__file__).parents[2] / "samples" / "astronaut.jpg"
    done = pixtag("predict", str(photo), "--stranger")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.lstrip().startswith("#")]
    assert lines
    assert all(re.search(r"% +\S", line) for line in lines), done.stdout
