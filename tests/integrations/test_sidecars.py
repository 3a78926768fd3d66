"""Sidecars as photo programs write them: words are added, and all else stays byte for byte."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixtag.ingest import library
from pixtag.integrations.sidecars import MAX_BYTES, SidecarError, Text, Word, Xmp

# As Lightroom Classic writes them: properties of one value as attributes, lists below.
LIGHTROOM = b"""\
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Adobe XMP Core 7.0-c000 1.000000, 0000/00/00        ">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:lr="http://ns.adobe.com/lightroom/1.0/"
    xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/"
   xmp:Rating="3"
   crs:Exposure2012="+0.35">
   <dc:subject>
    <rdf:Bag>
     <rdf:li>Berlin</rdf:li>
     <rdf:li>Places</rdf:li>
    </rdf:Bag>
   </dc:subject>
   <dc:title>
    <rdf:Alt>
     <rdf:li xml:lang="x-default">Am Ufer &amp; mehr</rdf:li>
     <rdf:li xml:lang="de-DE">Am Ufer</rdf:li>
    </rdf:Alt>
   </dc:title>
   <lr:hierarchicalSubject>
    <rdf:Bag>
     <rdf:li>Places|Berlin</rdf:li>
    </rdf:Bag>
   </lr:hierarchicalSubject>
   <crs:ToneCurvePV2012>
    <rdf:Seq>
     <rdf:li>0, 0</rdf:li>
     <rdf:li>255, 255</rdf:li>
    </rdf:Seq>
   </crs:ToneCurvePV2012>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""
# As darktable does: a declaration, its history, tags of its own in the list, Seq for subjects.
DARKTABLE = b"""\
<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:lr="http://ns.adobe.com/lightroom/1.0/"
    xmlns:darktable="http://darktable.sf.net/"
   darktable:xmp_version="5"
   darktable:auto_presets_applied="1">
   <dc:subject>
    <rdf:Seq>
     <rdf:li>darktable</rdf:li>
     <rdf:li>exported</rdf:li>
    </rdf:Seq>
   </dc:subject>
   <lr:hierarchicalSubject>
    <rdf:Seq>
     <rdf:li>darktable|exported</rdf:li>
    </rdf:Seq>
   </lr:hierarchicalSubject>
   <darktable:history>
    <rdf:Seq>
     <rdf:li
      darktable:operation="exposure"
      darktable:enabled="1"
      darktable:params="00000000000080b9a470"/>
    </rdf:Seq>
   </darktable:history>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""
# As digiKam does: a packet, and the same keywords in the forms of several programs.
DIGIKAM = """\
<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:digiKam="http://www.digikam.org/ns/1.0/"
    xmlns:MicrosoftPhoto="http://ns.microsoft.com/photo/1.0/"
    xmlns:lr="http://ns.adobe.com/lightroom/1.0/"
    xmlns:mediapro="http://ns.iview-multimedia.com/mediapro/1.0/"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
   digiKam:PickLabel="0">
   <digiKam:TagsList>
    <rdf:Seq>
     <rdf:li>Places/Berlin</rdf:li>
    </rdf:Seq>
   </digiKam:TagsList>
   <MicrosoftPhoto:LastKeywordXMP>
    <rdf:Bag>
     <rdf:li>Places/Berlin</rdf:li>
    </rdf:Bag>
   </MicrosoftPhoto:LastKeywordXMP>
   <lr:hierarchicalSubject>
    <rdf:Bag>
     <rdf:li>Places|Berlin</rdf:li>
    </rdf:Bag>
   </lr:hierarchicalSubject>
   <mediapro:CatalogSets>
    <rdf:Bag>
     <rdf:li>Places|Berlin</rdf:li>
    </rdf:Bag>
   </mediapro:CatalogSets>
   <dc:subject>
    <rdf:Bag>
     <rdf:li>Berlin</rdf:li>
    </rdf:Bag>
   </dc:subject>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>""".encode()
# As ExifTool does for Immich: one description for each namespace, in single quotes.
IMMICH = """\
<?xpacket begin='\ufeff' id='W5M0MpCehiHzreSzNTczkc9d'?>
<x:xmpmeta xmlns:x='adobe:ns:meta/' x:xmptk='Image::ExifTool 13.00'>
<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>

 <rdf:Description rdf:about=''
  xmlns:dc='http://purl.org/dc/elements/1.1/'>
  <dc:description>
   <rdf:Alt>
    <rdf:li xml:lang='x-default'>at the &lt;river&gt;</rdf:li>
   </rdf:Alt>
  </dc:description>
 </rdf:Description>

 <rdf:Description rdf:about=''
  xmlns:digiKam='http://www.digikam.org/ns/1.0/'>
  <digiKam:TagsList>
   <rdf:Seq>
    <rdf:li>Places/Berlin</rdf:li>
   </rdf:Seq>
  </digiKam:TagsList>
 </rdf:Description>
</rdf:RDF>
</x:xmpmeta>
<?xpacket end='w'?>""".encode()
FORMS = {"Lightroom": LIGHTROOM, "darktable": DARKTABLE, "digiKam": DIGIKAM, "Immich": IMMICH}
EVERY = pytest.mark.parametrize("data", FORMS.values(), ids=FORMS)
WORDS = [Word.of("sunset"), Word("Ufer", ("Places", "Ufer")), Word.of("berlin")]
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
LISTS = {
    "subject": "{http://purl.org/dc/elements/1.1/}subject",
    "lr": "{http://ns.adobe.com/lightroom/1.0/}hierarchicalSubject",
    "tree": "{http://www.digikam.org/ns/1.0/}TagsList",
    "written": f"{{{library.NAMESPACE}}}Written",
}


def listed(data: bytes, name: str) -> list[str]:
    """A list of a sidecar as any XML library reads it."""
    root = ET.fromstring(data)
    return [str(li.text) for one in root.iter(LISTS[name]) for li in one.iter(f"{RDF}li")]


def tagged(data: bytes | None, words=WORDS, **options) -> bytes:
    return Xmp(data, "a.xmp").revised(words, digest="d" * 64, **options).data


@EVERY
def test_words_come_into_every_list_and_all_else_stays(data):
    new = tagged(data)
    assert {"sunset", "Ufer"} < {*listed(new, "subject")}
    assert {"sunset", "Places|Ufer"} < {*listed(new, "lr")}
    assert {"sunset", "Places/Ufer"} < {*listed(new, "tree")}
    # Each line that was there is there, in its order: words are cut in, nothing is built anew.
    lines = iter(new.splitlines())
    assert all(line in lines for line in data.splitlines())
    assert tagged(new) == new


@EVERY
@pytest.mark.parametrize("newline", [b"\r\n", b"\n"])
@pytest.mark.parametrize("form", ["utf-8", "utf-8-sig", "utf-16"])
def test_line_ends_and_byte_order_marks_stay(data, newline, form):
    text = data.replace(b"\n", newline).decode()
    if form != "utf-8":
        text = text.replace('encoding="UTF-8"', "")
    before = text.encode(form)
    new = tagged(before)
    assert new[:2] == before[:2]
    assert "sunset" in new.decode(form)
    assert len(new.decode(form).splitlines()) > len(text.splitlines())
    if newline == b"\r\n":
        assert "\n" not in new.decode(form).replace("\r\n", "")
    assert tagged(new) == new


def test_a_new_list_holds_the_words_that_the_person_has():
    """Immich and digiKam read the TagsList alone where there is one."""
    assert listed(tagged(LIGHTROOM), "tree") == ["Places/Berlin", "Places", "sunset", "Places/Ufer"]
    assert listed(tagged(IMMICH), "subject") == ["Berlin", "sunset", "Ufer"]


def test_a_word_that_is_there_in_any_spelling_is_not_written_again():
    new = tagged(DIGIKAM, [Word.of("berlin"), Word.of("BERLIN")])
    assert new == DIGIKAM


@EVERY
@pytest.mark.parametrize("where", ["subject", "tree"])
def test_a_word_that_somebody_took_away_goes_everywhere_and_stays_away(data, where):
    lines = tagged(data).splitlines(keepends=True)
    tag = {"subject": b"<dc:subject", "tree": b"<digiKam:TagsList"}[where]
    start = next(i for i, line in enumerate(lines) if tag in line)
    gone = next(i for i in range(start, len(lines)) if b">sunset<" in lines[i])
    new = tagged(b"".join(lines[:gone] + lines[gone + 1 :]))
    assert [
        name for name in ("subject", "lr", "tree", "written") if "sunset" in listed(new, name)
    ] == []
    assert Xmp(new, "a.xmp").notes.removed == ("sunset",)
    assert tagged(new) == new
    # Put there again by the person, it is theirs.
    back = new.replace(b"<rdf:li>Ufer</rdf:li>", b"<rdf:li>Ufer</rdf:li><rdf:li>sunset</rdf:li>", 1)
    assert tagged(back) == back
    assert "sunset" in [word.text for word in Xmp(back, "a.xmp").notes.own]


@EVERY
def test_confirmed_words_are_the_persons(data):
    new = tagged(data)
    theirs = [word.text for word in Xmp(new, "a.xmp").notes.own]
    assert "sunset" not in theirs
    confirmed = tagged(new, [], confirm=True)
    assert listed(confirmed, "written") == []
    assert {"sunset", "Ufer"} <= {word.text for word in Xmp(confirmed, "a.xmp").notes.own}
    assert tagged(confirmed, [], confirm=True) == confirmed


def test_an_empty_first_description_hides_nothing():
    empty = b'<rdf:Description rdf:about=""/>'
    data = tagged(IMMICH).replace(b" <rdf:Description", empty + b" <rdf:Description", 1)
    assert tagged(data, []) == data
    assert listed(tagged(data, [], confirm=True), "written") == []
    assert "neu" in listed(tagged(data, [Word.of("neu")]), "subject")


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn", "Zl", "Zp"]), max_size=20),
        min_size=1,
        max_size=5,
    )
)
def test_any_words_are_read_back_as_they_were_written(texts):
    words = [Word.of(text.strip()) for text in texts if library.key_of(text)]
    new = tagged(LIGHTROOM, [*words, Word.of("sunset")])
    expected = {library.key_of(word.text): word.text for word in [*words, Word.of("sunset")]}
    for taken in ("berlin", "places"):
        expected.pop(taken, None)
    assert {*listed(new, "written")} == {*expected.values()}
    assert {*listed(new, "subject")} == {"Berlin", "Places", *expected.values()}
    assert tagged(new, words) == new


@pytest.mark.parametrize("word", ["<&>", "👩‍👩‍👧", '"quoted"', "a]]>b", "日本"])
def test_odd_words_survive(word):
    new = tagged(LIGHTROOM, [Word.of(word)])
    assert listed(new, "subject")[-1] == word
    assert library.written_in(new.decode()) == [word]


@pytest.mark.parametrize(
    "data",
    [
        b'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"/>',
        b'<rdf:Description rdf:about=""></rdf:Description>',
        b'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        b"<dc:subject/></rdf:Description>",
        b'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        b"<dc:subject><rdf:Bag/></dc:subject></rdf:Description>",
        b'<!-- x > y --><rdf:Description a="&gt;" rdf:about="a>b" xmlns:dc="http://purl.org/dc/'
        b'elements/1.1/"><dc:subject><rdf:Bag></rdf:Bag></dc:subject></rdf:Description><!-- <dc:'
        b"subject> -->",
    ],
)
def test_empty_lists_and_descriptions_in_every_form(data):
    whole = b'<rdf:RDF xmlns:rdf="%s">%s</rdf:RDF>' % (RDF.strip("{}").encode(), data)
    new = tagged(whole)
    assert listed(new, "subject") == ["sunset", "Ufer", "berlin"]
    assert listed(new, "lr") == ["sunset", "Places|Ufer", "berlin"]
    assert listed(new, "tree") == ["sunset", "Places/Ufer", "berlin"]
    assert tagged(new) == new


def test_lists_of_other_things_are_not_touched():
    """A subject inside a structure, as of an ingredient, says nothing of this photo."""
    inner = (
        b"<xmpMM:Ingredients xmlns:xmpMM='http://ns.adobe.com/xap/1.0/mm/'><rdf:Bag><rdf:li>"
        b"<rdf:Description><dc:subject><rdf:Bag><rdf:li>other</rdf:li></rdf:Bag></dc:subject>"
        b"</rdf:Description></rdf:li></rdf:Bag></xmpMM:Ingredients>"
    )
    data = LIGHTROOM.replace(b"   <dc:title>", inner + b"<dc:title>")
    new = tagged(data)
    assert inner in new
    assert "other" not in [word.text for word in Xmp(new, "a.xmp").notes.words]


BOMB = b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>' + LIGHTROOM.replace(
    b"Berlin", b"&b;"
)
OUTSIDE = b'<!DOCTYPE x SYSTEM "file:///etc/passwd">' + LIGHTROOM


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (BOMB, "document type"),
        (OUTSIDE, "document type"),
        (LIGHTROOM[:-40], "no XMP"),
        (LIGHTROOM.replace(b' xmlns:dc="http://purl.org/dc/elements/1.1/"', b""), "no XMP"),
        (b"", "no XMP"),
        (b"<html/>", "no XMP"),
        (b"\xff\xfe\0", "Unicode"),
        (b'<?xml version="1.0" encoding="ISO-8859-1"?>' + LIGHTROOM, "Unicode"),
        (LIGHTROOM.replace(b"Ufer", b"\xfcfer"), "Unicode"),
        (b" " * (MAX_BYTES + 1), "too many"),
        (b"<a>" * 400_000, "nested"),
        (
            LIGHTROOM.partition(b"<rdf:Bag>")[0] + b"x</dc:s" + LIGHTROOM.partition(b"</dc:s")[2],
            "form",
        ),
    ],
)
def test_what_is_no_sound_xmp_is_left_alone(data, why):
    with pytest.raises(SidecarError, match=why) as caught:
        tagged(data)
    assert caught.value.hint


def text(data: bytes | None, words=WORDS, **options) -> bytes:
    return Text(data, "a.txt").revised(words, digest="", **options).data


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "sunset, Ufer, berlin\ntags by pixtag: sunset, Ufer, berlin\n"),
        (b"berlin\nana", "berlin, sunset, Ufer\nana\ntags by pixtag: sunset, Ufer\n"),
        (
            b"sea, Berlin\r\nana\r\n",
            "sea, Berlin, sunset, Ufer\r\nana\r\ntags by pixtag: sunset, Ufer\r\n",
        ),
        (
            b"At the river #berlin",
            "At the river #berlin\n#sunset #Ufer\ntags by pixtag: sunset, Ufer\n",
        ),
    ],
)
def test_text_sidecars(before, after):
    new = text(before)
    assert new.decode() == after
    assert text(new) == new
    gone = new.replace(b"sunset, ", b"", 1) if before != b"At the river #berlin" else new
    if gone != new:
        assert Text(gone, "a").notes.removed == ("sunset",)
        again = text(gone, [*WORDS, Word.of("neu")])
        assert b"-sunset" in again
        assert again.count(b"sunset") == 1
    confirmed = text(new, [], confirm=True)
    assert confirmed.splitlines()[-1] == b"tags by pixtag:"
    assert not Text(confirmed, "a").notes.written
    assert text(confirmed, [], confirm=True) == confirmed


@pytest.mark.parametrize("data", [b"dog\ncat\nsea\n", b"a day at sea", b"\xff\xfe\0"])
def test_texts_of_another_form_are_left_alone(data):
    with pytest.raises(SidecarError):
        text(data)
