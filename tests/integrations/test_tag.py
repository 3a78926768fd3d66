"""`pixtag tag` and `pixtag watch` on real photos, in real processes where a person has them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from archives import write_tree
from pixtag.errors import InputError
from pixtag.ingest import find_sources, import_posts
from pixtag.integrations.sidecars import Word, Xmp
from pixtag.integrations.tagging import Folder, Rules, Tagger, Watch, find, sidecar_of
from pixtag.lists import Lists
from pixtag.photos import sidecar_tags
from pixtag.store import Store
from pixtag.types import Post
from places import photos, small


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, hidden ones too."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def tagged(predictor, folder: Path, rules: Rules | None = None) -> dict[str, tuple[str, ...]]:
    """Tag a folder: what became of each photo."""
    found = Tagger(predictor, rules or Rules()).tag(find([folder], (rules or Rules()).kind))
    return {Path(one.photo).name: (one.state, *one.words) for one in found}


def xmp(*words: str, more: str = "") -> bytes:
    items = "".join(f"<rdf:li>{word}</rdf:li>" for word in words)
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf'
        '-syntax-ns#"><rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:lr="http:'
        f'//ns.adobe.com/lightroom/1.0/"><dc:subject><rdf:Bag>{items}</rdf:Bag></dc:subject>{more}'
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


def test_the_command_tags_a_folder_once(pixtag, tmp_path):
    folder = photos(tmp_path / "p", 4)
    (folder / "sub").mkdir()
    shutil.copy(folder / "cat-00.jpg", folder / "sub" / "ünï <&> 😀.jpg")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    tried = pixtag("tag", folder, "--dry-run")
    before = content(folder)
    assert len(before) == 6
    assert "nothing was written" in tried.stderr
    done = pixtag("tag", folder, "--json")
    records = {Path(one["photo"]).name: one for one in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 1  # for the broken one
    assert records["broken.jpg"]["state"] == "failed"
    assert "cat" in records["ünï <&> 😀.jpg"]["words"]
    after = content(folder)
    assert before.items() <= after.items()
    assert "cat" in [w.text for w in Xmp(after["cat-00.jpg.xmp"], "").notes.words]
    for line in tried.stdout.splitlines():
        name, *words = line.split("  ")
        assert [word[1:] for word in words] == records[Path(name).stem]["words"]
    again = pixtag("tag", folder)
    assert again.stdout == ""
    assert "5 done before" in again.stderr
    assert content(folder) == after


def test_a_killed_run_loses_nothing_and_the_next_ends_the_same(tmp_path):
    folder, whole = photos(tmp_path / "p", 50), tmp_path / "whole"
    (folder / "cat-00.jpg.xmp").write_bytes(xmp("Mine"))
    shutil.copytree(folder, whole)
    command = [sys.executable, "-m", "pixtag", "tag"]
    with subprocess.Popen([*command, folder], stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        for _ in range(17):
            assert run.stdout.readline()
        run.kill()
    for path in folder.glob("*.xmp"):
        assert Xmp(path.read_bytes(), path.name).notes.words
    # A part as one leaves that is killed while it writes.
    (folder / f".pixtag-0123456789ab-{run.pid}.part").write_bytes(b"<x:xmpm")
    for place in (folder, whole):
        subprocess.run([*command, place], check=True, stdout=subprocess.DEVNULL)
    assert content(folder) == content(whole)
    assert sum(name.endswith(".xmp") for name in content(whole)) == 50


@pytest.mark.parametrize("is_folder", [True, False])
def test_what_cannot_be_written_is_said(tmp_path, is_folder):
    folder = photos(tmp_path / "p", 1)
    closed = folder if is_folder else folder / "cat-00.jpg.xmp"
    if not is_folder:
        closed.write_bytes(xmp("Mine"))
    before = content(folder)
    words = [sys.executable, "-m", "pixtag", "tag", str(folder)]
    if os.geteuid() == 0:  # who may write everywhere, unless that is taken away
        if shutil.which("setpriv") is None:
            pytest.skip("root can write everywhere, and setpriv is not installed")
        words = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override", *words]
    closed.chmod(0o555)
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    finally:
        closed.chmod(0o755)
    assert done.returncode == 1
    assert done.stderr.count("Permission denied") == 1
    assert "hint: check who owns the folder" in done.stderr
    assert content(folder) == before


def test_what_is_no_sidecar_is_left_alone_and_the_others_are_tagged(predictor, tmp_path):
    folder = photos(tmp_path / "p", 3)
    bomb = b'<!DOCTYPE x [<!ENTITY a "x">]>' + xmp("&a;")
    (folder / "cat-00.jpg.xmp").write_bytes(bomb)
    (folder / "coffee-01.jpg.xmp").mkdir()
    found = tagged(predictor, folder)
    assert [state for state, *_ in found.values()].count("failed") == 2
    assert found["flower-02.jpg"][0] == "tagged"
    assert (folder / "cat-00.jpg.xmp").read_bytes() == bomb


def test_names_of_sidecars(tmp_path):
    photo = photos(tmp_path, 1) / "cat-00.jpg"
    assert sidecar_of(photo, "xmp").name == "cat-00.jpg.xmp"
    assert sidecar_of(photo, "xmp", "stem").name == "cat-00.xmp"
    assert sidecar_of(photo, "txt").name == "cat-00.txt"
    (tmp_path / "sea.txt").write_text("sea")
    assert sidecar_of(tmp_path / "sea_2.jpg", "txt").name == "sea.txt"
    assert sidecar_of(tmp_path / "sea_2.jpg", "xmp").name == "sea_2.jpg.xmp"
    (tmp_path / "cat-00.XMP").write_bytes(xmp("a"))
    assert sidecar_of(photo, "xmp", "full").name == "cat-00.XMP"
    (tmp_path / "cat-00.jpg.xmp").write_bytes(xmp("a"))
    assert sidecar_of(photo, "xmp", "stem").name == "cat-00.jpg.xmp"


def test_a_librarys_own_spelling_and_paths_are_taken(predictor, tmp_path):
    folder = photos(tmp_path / "p", 3, ("cat",))
    path = "<lr:hierarchicalSubject><rdf:Bag><rdf:li>Animals|Cat</rdf:li></rdf:Bag>"
    more = path + "</lr:hierarchicalSubject>"
    (folder / "cat-00.jpg.xmp").write_bytes(xmp("Cat", more=more))
    found = tagged(predictor, folder)
    assert "Cat" not in found["cat-00.jpg"]
    assert "Cat" in found["cat-01.jpg"]
    new = Xmp((folder / "cat-01.jpg.xmp").read_bytes(), "").notes
    assert Word("Cat", ("Animals", "Cat")) in new.words


def test_words_to_avoid_to_add_and_to_be_sure_of(predictor, tmp_path):
    folder = photos(tmp_path / "p", 1)
    lists = Lists(deny=("cat",), always=("studioana",))
    _, *words = tagged(predictor, folder, Rules(lists=lists, k=3))["cat-00.jpg"]
    assert "cat" not in words
    assert words[-1] == "studioana"
    assert len(words) == 3
    other = photos(tmp_path / "q", 1)
    assert tagged(predictor, other, Rules(min_prob=1.0)) == {"cat-00.jpg": ("nothing",)}
    assert len(content(other)) == 1


def test_a_strangers_photos_are_tagged_without_the_store(pixtag, tmp_path):
    folder = photos(tmp_path / "p", 1)
    with Store.open(tmp_path / "s.sqlite", create=True) as store:
        store.add_posts([Post(f"p{i}", "ana", 1.7e9 + i * 86_400, ("anaspets",)) for i in range(9)])
    given = ("--store", tmp_path / "s.sqlite", "--dry-run", "--json")
    mine, strangers = (
        json.loads(pixtag(verb, folder, *given, *more).stdout)["words"]
        for verb, *more in (("tag",), ("tag", "--stranger"))
    )
    assert "anaspets" in mine
    assert strangers == json.loads(pixtag("tag", folder, "--dry-run", "--json").stdout)["words"]
    assert "anaspets" not in strangers


def test_removed_words_stay_away_from_later_looks(predictor, tmp_path):
    folder = photos(tmp_path / "p", 1)
    assert "kitten" in tagged(predictor, folder)["cat-00.jpg"]
    sidecar = folder / "cat-00.jpg.xmp"
    sidecar.write_bytes(sidecar.read_bytes().replace(b"<rdf:li>kitten</rdf:li>", b"", 1))
    assert tagged(predictor, folder) == {"cat-00.jpg": ("changed",)}
    for rules in (Rules(), Rules(again=True, min_prob=0.01)):
        tagged(predictor, folder, rules)
        assert sidecar.read_bytes().count(b"kitten") == 1  # where it is noted


@pytest.mark.parametrize("kind", ["xmp", "txt"])
def test_what_pixtag_wrote_is_no_history_until_confirmed(predictor, tmp_path, kind):
    folder = photos(tmp_path / "p", 2)
    mine = {"xmp": ("cat-00.jpg.xmp", xmp("Mine")), "txt": ("cat-00.txt", b"mine\nana\n")}[kind]
    write_tree(folder, dict([mine]))
    rules = Rules(kind=kind)
    tagged(predictor, folder, rules)

    def history() -> list[tuple[str, ...]]:
        with Store.in_memory() as store:
            report = import_posts(find_sources([folder]), store, user_id="ana")
            assert "photo without a text file" not in report.problems
            return [post.tags for post in store.posts()]

    assert history() == [("mine",)]
    if kind == "txt":
        assert sidecar_tags(folder / "cat-00.jpg") == ("mine",)
        assert sidecar_tags(folder / "coffee-01.jpg") is None
    found = tagged(predictor, folder, replace(rules, confirm=True))
    assert {state for state, *_ in found.values()} == {"confirmed"}
    first, second = history()
    assert {"mine", "cat"} < {*first, *second}
    assert "coffee" in {*first, *second}
    after = content(folder)
    tagged(predictor, folder, replace(rules, confirm=True))
    assert content(folder) == after


def test_a_word_that_stands_in_the_photo_too_is_the_persons(predictor, tmp_path):
    folder = photos(tmp_path / "p", 1)
    tagged(predictor, folder)
    (folder / "cat-00.xmp").write_bytes(xmp("kitten"))
    with Store.in_memory() as store:
        import_posts(find_sources([folder]), store, user_id="ana")
        assert [post.tags for post in store.posts()] == [("kitten",)]


def test_words_that_come_in_one_list_alone_are_history(predictor, tmp_path):
    """As when a tag is added in Immich, which writes the TagsList alone, after Pixtag's run."""
    folder = photos(tmp_path / "p", 1)
    tagged(predictor, folder)
    sidecar = folder / "cat-00.jpg.xmp"
    head, tag, tail = sidecar.read_bytes().partition(b"<digiKam:TagsList")
    mine = tail.replace(b"<rdf:Seq>", b"<rdf:Seq><rdf:li>Pets/Tom</rdf:li>", 1)
    sidecar.write_bytes(head + tag + mine)
    with Store.in_memory() as store:
        import_posts(find_sources([folder]), store, user_id="ana")
        assert [post.tags for post in store.posts()] == [("tom",)]


def test_keywords_of_immichs_sidecars_are_read(tmp_path):
    tree = "<digiKam:TagsList xmlns:digiKam='http://www.digikam.org/ns/1.0/'><rdf:Seq><rdf:li>"
    data = xmp(more=tree + "Places/New York</rdf:li></rdf:Seq></digiKam:TagsList>")
    data = data.replace(b"<dc:subject><rdf:Bag></rdf:Bag></dc:subject>", b"")
    write_tree(tmp_path / "p", {"a.jpg": small("cat"), "a.jpg.xmp": data})
    with Store.in_memory() as store:
        import_posts(find_sources([tmp_path / "p"]), store, user_id="ana")
        assert [post.tags for post in store.posts()] == [("newyork",)]


def test_a_sidecar_that_another_program_changes_meanwhile_keeps_its_words(predictor, tmp_path):
    folder = photos(tmp_path / "p", 1)
    sidecar = folder / "cat-00.jpg.xmp"
    sidecar.write_bytes(xmp("Sofa"))

    class Late(Tagger):
        def _words(self, plan):
            words = super()._words(plan)
            sidecar.write_bytes(xmp("New"))  # after it was read, before it is written
            return words

    found = list(Late(predictor, Rules()).tag(Folder([folder / "cat-00.jpg"], [])))
    assert found[0].state == "tagged"
    words = [w.text for w in Xmp(sidecar.read_bytes(), "").notes.words]
    assert words[0] == "New"
    assert "cat" in words


def test_rights_and_links_of_sidecars_stay(predictor, tmp_path):
    folder = photos(tmp_path / "p", 1)
    real = tmp_path / "elsewhere.xmp"
    real.write_bytes(xmp("Mine"))
    real.chmod(0o640)
    (folder / "cat-00.jpg.xmp").symlink_to(real)
    tagged(predictor, folder)
    assert (folder / "cat-00.jpg.xmp").is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert b"cat" in real.read_bytes()


def test_a_renamed_photo_keeps_its_sidecar(predictor, tmp_path):
    folder = photos(tmp_path / "p", 2)
    tagged(predictor, folder)
    sidecar = folder / "cat-00.jpg.xmp"
    mine = sidecar.read_bytes().replace(b"<rdf:li>cat<", b"<rdf:li>Tom</rdf:li><rdf:li>cat<", 1)
    sidecar.write_bytes(mine)
    (folder / "cat-00.jpg").rename(folder / "tom.jpg")
    assert tagged(predictor, folder)["tom.jpg"][0] == "moved"
    assert not sidecar.exists()
    assert (folder / "tom.jpg.xmp").read_bytes() == mine


def test_watching_waits_for_whole_photos(tmp_path):
    folder = tmp_path / "p"
    folder.mkdir()
    looks = Watch(folder)
    assert looks.poll() == (Folder([], []), 0)
    data = small("cat")
    photo = folder / "a.jpg"
    photo.write_bytes(data[:1000])
    assert looks.poll()[1] == 1
    with photo.open("ab") as file:
        file.write(data[1000:])
    assert looks.poll() == (Folder([], []), 1)
    assert looks.poll() == (Folder([photo], []), 0)
    assert looks.poll() == (Folder([], []), 0)
    shutil.rmtree(folder)
    with pytest.raises(InputError, match="nothing at"):
        looks.poll()


def test_watch_tags_what_arrives_and_goes_on_after_a_stop(pixtag, tmp_path):
    folder = photos(tmp_path / "p", 1)
    words = [sys.executable, "-m", "pixtag", "watch", folder, "--interval", "0.1"]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True) as run:
        assert run.stdout is not None
        try:
            assert "cat-00.jpg.xmp" in run.stdout.readline()
            (folder / "new.jpg").write_bytes(small("coffee", 7))
            assert "new.jpg.xmp" in run.stdout.readline()
            run.send_signal(signal.SIGINT)
            _, said = run.communicate(timeout=60)
        finally:
            run.kill()
    assert run.returncode == 130
    assert "goes on from there" in said
    (folder / "while-away.jpg").write_bytes(small("flower", 8))
    before = content(folder)
    done = pixtag("watch", folder, "--once", "--interval", "0.1")
    assert done.returncode == 0
    assert [line.split("  ")[0] for line in done.stdout.splitlines()] == [
        str(folder / "while-away.jpg.xmp")
    ]
    assert before.items() <= content(folder).items()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tag", "nowhere"], "nothing at nowhere"),
        (["tag", "."], "no photo in"),
        (["watch", "nowhere"], "no folder at nowhere"),
        (["tag", ".", "--min-prob", "2"], "<= 1"),
    ],
)
def test_commands_that_cannot_be(pixtag, words, said):
    done = pixtag(*words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "hint: " in done.stderr


@pytest.mark.parametrize(
    "part", [b"<dc:subject>", b"<dc:subject><rdf:li>", b"<rdf:li", b"<pixtag:Written>"]
)
def test_sidecars_made_to_take_for_ever_are_read_at_once(tmp_path, part):
    data = b"<dc:subject><rdf:li>sea</rdf:li></dc:subject><dc:subject>" + part * 200_000
    write_tree(tmp_path / "p", {"a.jpg": small("cat"), "a.jpg.xmp": data})
    with Store.in_memory() as store:
        import_posts(find_sources([tmp_path / "p"]), store, user_id="ana")
        assert [post.tags for post in store.posts()] == [("sea",)]
