"""A photo library: keywords that its program wrote into photos and sidecars."""

from __future__ import annotations

import io
import struct

import pytest
from PIL import Image

from archives import jpeg, write_tree, write_zip
from pixtag.errors import ArchiveError
from pixtag.ingest import find_sources
from pixtag.types import iso_time


def xmp(*words: str, more: str = "") -> bytes:
    items = "".join(f"<rdf:li>{word}</rdf:li>" for word in words)
    return (
        '<?xpacket begin=""?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description '
        f"{more}><dc:subject><rdf:Bag>{items}</rdf:Bag></dc:subject></rdf:Description></rdf:RDF>"
        "</x:xmpmeta>"
    ).encode()


def photo(seed: int, kind: str = "JPEG", taken: str = "", offset: str = "", **options: object):
    exif = Image.Exif()
    if taken:
        exif.get_ifd(0x8769).update({0x9003: taken, **({0x9011: offset} if offset else {})})
    if words := options.pop("windows", None):
        exif[0x9C9E] = str(words).encode("utf-16-le")
    out = io.BytesIO()
    with Image.open(io.BytesIO(jpeg(seed))) as image:
        image.save(out, kind, exif=exif, **options)
    return out.getvalue()


def with_iptc(data: bytes, *words: bytes) -> bytes:
    records = b"".join(b"\x1c\x02\x19" + struct.pack(">H", len(word)) + word for word in words)
    block = (
        b"8BIM\x04\x04\0\0" + struct.pack(">I", len(records)) + records + b"\0" * (len(records) % 2)
    )
    segment = b"Photoshop 3.0\0" + block
    return data[:2] + b"\xff\xed" + struct.pack(">H", len(segment) + 2) + segment + data[2:]


@pytest.mark.parametrize("write", [write_tree, write_zip])
def test_keywords_and_times_of_photos_and_sidecars(tmp_path, importer, write):
    files = {
        "2024/a.jpg": photo(
            1, taken="2024:05:01 10:00:00", offset="+02:00", xmp=xmp("New York", "a &amp; b")
        ),
        "2024/b.jpg": with_iptc(photo(2, taken="2024:05:02 10:00:00"), b"caf\xc3\xa9", b"sea"),
        "2024/c.jpg": photo(3, windows="dusk;night"),
        "2024/d.png": photo(4, "PNG"),
        "2024/d.xmp": xmp(
            "Places|Berlin", more='exif:DateTimeOriginal="2024-05-04T10:00:00+00:00"'
        ),
        "2024/e.webp": photo(5, "WEBP"),
        "2024/E.webp.XMP": xmp("upper"),
        "2024/raw.xmp": xmp("raw"),
        "2024/none.jpg": jpeg(7),
        "2024/broken.xmp": b"\xff\xfe\0",
    }
    path = write(tmp_path / "lib", files)
    assert find_sources([path])[0].kind == "library"
    report = importer(path, user_id="ana")
    found = {post.tags: (len(post.photos), iso_time(post.posted_at)) for post in importer.posts}
    assert found == {
        ("newyork", "ab"): (1, "2024-05-01T08:00:00+00:00"),
        ("café", "sea"): (1, "2024-05-02T10:00:00+00:00"),
        ("dusk", "night"): (1, None),
        ("berlin",): (1, "2024-05-04T10:00:00+00:00"),
        ("upper",): (1, None),
        ("raw",): (0, None),
    }
    assert {post.user_id for post in importer.posts} == {"ana"}
    assert report.problems["photo without keywords, left out"] == 2
    assert importer(path, user_id="ana").unchanged == 6


def test_photos_without_keywords_are_no_library(tmp_path, importer):
    root = write_tree(tmp_path / "a", {"a.jpg": jpeg(1), "b.jpg": b"\xff\xd8\xff broken"})
    with pytest.raises(ArchiveError, match="without tags"):
        find_sources([root])
    with pytest.raises(ArchiveError, match="has keywords"):
        importer(root, kind="library")
