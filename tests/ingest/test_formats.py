"""The one table of what a file is."""

from __future__ import annotations

import pytest
from PIL import Image

from pixtag.cli.main import run
from pixtag.formats import OTHER_FORMATS, PHOTO_FORMATS, PHOTO_SUFFIXES, sniff
from pixtag.ingest import find_sources
from pixtag.photos import photos_under


@pytest.mark.parametrize("kind", PHOTO_FORMATS)
def test_every_kind_is_told_by_its_bytes(kind):
    known = PHOTO_FORMATS[kind]
    heads = [*known.starts, *(b"\0\0\0\x18ftyp" + one.encode() for one in known.brands.split())]
    heads += [b"RIFF\0\0\0\0WEBPVP8 "] if kind == "webp" else []
    assert heads
    assert {sniff(head + bytes(60)) for head in heads} == {kind}


def test_no_ending_belongs_to_two_kinds():
    ends = [e for one in (PHOTO_FORMATS | OTHER_FORMATS).values() for e in one.suffixes.split()]
    assert len(ends) == len(set(ends))


def test_predict_import_and_doctor_take_the_same_files_for_photos(tmp_path, importer, capsys):
    for suffix in sorted(PHOTO_SUFFIXES | {".mp4", ".pdf", ".psd", ".raw", ""}):
        photo = tmp_path / f"p{suffix[1:]}{suffix}"
        Image.new("RGB", (30, 20), "red").save(photo, "PNG")
        photo.with_suffix(".txt").write_text("x, y")
    found = {path.name for path in photos_under([tmp_path])}
    assert {"." + name.rpartition(".")[2] for name in found} == PHOTO_SUFFIXES
    importer(tmp_path)
    assert {photo.path.rpartition("/")[2] for p in importer.posts for photo in p.photos} == found
    assert find_sources([tmp_path])[0].kind == "folders"
    run(["doctor", str(tmp_path)])
    assert f"{len(found)} photos" in capsys.readouterr().err
