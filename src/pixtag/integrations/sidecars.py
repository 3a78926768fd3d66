"""Keywords in sidecars, written by cutting into the file's own text: all else stays as it is.

XMP is parsed by expat to learn where things stand, never built anew, so comments, other
namespaces, languages, line ends, byte order mark and packet wrapper survive byte for byte. A
document type is refused, and with it every entity that a file could define: XMP has none.
"""

from __future__ import annotations

import codecs
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from xml.parsers import expat
from xml.sax.saxutils import escape

from pixtag.errors import PixtagError
from pixtag.ingest.library import LINE, NAMESPACE, key_of, split_line
from pixtag.tags import find_hashtags

MAX_BYTES = 16 * 2**20
_MOST_DEEP = 200
_LEFT = "it is left as it is"
_HARM = f"{_LEFT}; somebody may mean harm by it"
_AGAIN = "let the program that made it write it again"

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_SUBJECT = "http://purl.org/dc/elements/1.1/ subject"
_PATHS = "http://ns.adobe.com/lightroom/1.0/ hierarchicalSubject"
_TREE = "http://www.digikam.org/ns/1.0/ TagsList"
_WRITTEN, _REMOVED, _PHOTO = (f"{NAMESPACE} {name}" for name in ("Written", "Removed", "Photo"))
# Each property with the prefix that it gets, its kind of list, and what parts its paths.
_PROPERTIES = {
    _SUBJECT: ("dc", "Bag", ""),
    _PATHS: ("lr", "Bag", "|"),
    _TREE: ("digiKam", "Seq", "/"),
    _WRITTEN: ("pixtag", "Bag", ""),
    _REMOVED: ("pixtag", "Bag", ""),
    _PHOTO: ("pixtag", "Bag", ""),
}
_KEYWORDS = (_SUBJECT, _PATHS, _TREE)
_CONTAINERS = {f"{_RDF} {kind}" for kind in ("Bag", "Seq", "Alt")}
_NEW = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Pixtag">\n'
    f' <rdf:RDF xmlns:rdf="{_RDF}">\n'
    '  <rdf:Description rdf:about=""/>\n'
    " </rdf:RDF>\n"
    "</x:xmpmeta>\n"
    '<?xpacket end="w"?>\n'
).encode()
_FORMS = (
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF8, "utf-8"),
)
_START_TAG = re.compile(rb"""<([^\s/>]+)(?:[^"'>]|"[^"]*"|'[^']*')*>""")
_DECLARED = re.compile(rb"""<\?xml[^>]*encoding\s*=\s*["']([^"']*)""")


class SidecarError(PixtagError):
    """A sidecar that cannot be read or written, and is left as it is."""


class Word(NamedTuple):
    """A keyword as it is spelt, and the path of words above it, itself at the end."""

    text: str
    path: tuple[str, ...]

    @classmethod
    def of(cls, tag: str) -> Word:
        """A keyword without anything above it."""
        return cls(tag, (tag,))


@dataclass(frozen=True, slots=True)
class Notes:
    """What a sidecar says of keywords."""

    words: tuple[Word, ...] = ()  # all that stand in it
    written: tuple[str, ...] = ()  # those that Pixtag wrote and nobody confirmed or took away
    removed: tuple[str, ...] = ()  # those that Pixtag wrote and somebody took away
    is_known: bool = False  # whether Pixtag has written here before
    digest: str = ""  # of the photo that it wrote for

    @property
    def own(self) -> list[Word]:
        """The person's keywords."""
        written = set(map(key_of, self.written))
        return [word for word in self.words if key_of(word.text) not in written]

    def new_of(self, words: Iterable[Word]) -> list[Word]:
        """Those words that neither stand there in any spelling nor were taken away once."""
        barred = {*(key_of(word.text) for word in self.words), *map(key_of, self.removed)}
        found = {key_of(word.text): word for word in words}
        return [word for key, word in found.items() if key not in barred]


class Revision(NamedTuple):
    """A sidecar's new content, and which words came and went."""

    data: bytes
    added: tuple[str, ...]
    taken_away: tuple[str, ...]


@dataclass(slots=True)
class _Element:
    """A property or list: where its tags stand in the text."""

    name: str
    start: int = 0
    inside: int = 0  # behind its start tag
    is_empty: bool = False  # written as <x/>
    close: int = 0  # of its end tag
    end: int = 0
    scope: dict[str, str] = field(default_factory=dict[str, str])  # prefix -> namespace
    inner: list[_Element] = field(default_factory=list["_Element"])
    heard: list[str] = field(default_factory=list[str])

    @property
    def text(self) -> str:
        """What stands in it, without blanks at its ends."""
        return "".join(self.heard).strip()


class Xmp:
    """One XMP text, and where its lists of keywords stand.

    Raises:
        SidecarError: It is too large, no XMP, in another encoding than Unicode, or has a document
            type.
    """

    def __init__(self, data: bytes | None, name: str) -> None:
        self._name = name
        self._text, self._encode = _decoded(_NEW if data is None else data, name)
        self._data = data
        self._stack: list[_Element] = []
        self._scope: dict[str, list[str]] = defaultdict(list)
        self._description: _Element | None = None  # the first one
        self._is_xmp = False
        self._found: dict[str, list[_Element]] = {one: [] for one in _PROPERTIES}
        self._parse()

    @property
    def notes(self) -> Notes:
        """What it says of keywords, a word that was taken away counted as such."""
        words: dict[str, Word] = {}
        for one in _KEYWORDS:
            mark = _PROPERTIES[one][2]
            for item in self._items(one):
                path = tuple(p.strip() for p in (item.text.split(mark) if mark else [item.text]))
                word = Word(path[-1], path)
                known = words.get(key_of(word.text))
                if word.text and (known is None or len(known.path) < len(path)):
                    words[key_of(word.text)] = word
        gone = set(self._gone())
        written = [item.text for item in self._items(_WRITTEN)]
        removed = [item.text for item in self._items(_REMOVED)]
        return Notes(
            tuple(words[key] for key in words if key not in gone),
            tuple(word for word in written if key_of(word) not in gone),
            (*removed, *(word for word in written if key_of(word) in gone)),
            any(self._found[one] for one in (_WRITTEN, _REMOVED, _PHOTO)),
            next((item.text for item in self._items(_PHOTO)), ""),
        )

    def revised(self, words: Iterable[Word], *, digest: str, confirm: bool = False) -> Revision:
        """Add words, and take those of Pixtag's away that somebody took away elsewhere in it.

        A word that stands there in any spelling, or was taken away once, is not added. With
        `confirm` all that Pixtag wrote becomes the person's.
        """
        notes = self.notes
        if self._description is not None and self._description.is_empty:
            opened = self._opened(self._description)
            found = Xmp(opened, self._name).revised(words, digest=digest, confirm=confirm)
            return Revision(self._data or b"", (), ()) if found.data == opened else found
        new, gone = notes.new_of(words), self._gone()
        edits: list[tuple[int, int, bytes]] = []
        for one in _KEYWORDS:
            mark = _PROPERTIES[one][2]
            # Programs read one of these lists, so a new one holds the person's words too.
            is_new = not any(found.inner for found in self._found[one])
            shown = [*(notes.words if is_new and new else ()), *new]
            texts = [_as_path(word, mark) if mark else word.text for word in shown]
            drop = [i for i in self._items(one) if gone and _leaf(i.text, mark) in gone]
            edits += self._edits(one, texts, drop)
        written = [] if confirm else [*notes.written, *(word.text for word in new)]
        is_touched = bool(new or gone or (confirm and notes.written))
        if not is_touched:
            return Revision(self._data or b"", (), ())
        edits += self._own(_WRITTEN, written)
        edits += self._own(_REMOVED, notes.removed)
        edits += self._own(_PHOTO, [one for one in [digest or notes.digest] if one])
        data = self._encode(self._applied(edits))
        removed = tuple(word for word in notes.removed if key_of(word) in gone)
        return Revision(data, tuple(word.text for word in new), removed)

    def _gone(self) -> dict[str, None]:
        """Pixtag's words that are missing from dc:subject, or from a TagsList that is there."""
        subject = {key_of(item.text) for item in self._items(_SUBJECT)}
        tree = {_leaf(item.text, "/") for item in self._items(_TREE)}
        keys = [key_of(item.text) for item in self._items(_WRITTEN)]
        has_tree = bool(self._found[_TREE])
        return dict.fromkeys(k for k in keys if k not in subject or (has_tree and k not in tree))

    def _items(self, one: str) -> list[_Element]:
        containers = (container for found in self._found[one] for container in found.inner)
        return [li for container in containers for li in container.inner]

    def _edits(
        self, one: str, texts: Sequence[str], drop: Sequence[_Element]
    ) -> list[tuple[int, int, bytes]]:
        """Cuts that take items out of a list and put others at its end."""
        edits = [(self._blank(item.start), item.end, b"") for item in drop]
        if not texts:
            return edits
        found = next((p for p in self._found[one] if p.inner), None)
        if found is None:  # also instead of an empty property, which holds nothing
            empty = ((self._blank(p.start), p.end, b"") for p in self._found[one])
            return [*edits, *empty, self._property(one, texts)]
        container = found.inner[0]
        raw = self._raw_name(container.start)
        li = raw.rpartition(b":")[0] + b":li" if b":" in raw else b"li"
        last = container.inner[-1] if container.inner else None
        before = self._text[self._blank(last.start) : last.start] if last else None
        if before is None:
            before = self._line(container.start) + b" "
        new = b"".join(before + b"<%b>%b</%b>" % (li, escape(text).encode(), li) for text in texts)
        if container.is_empty:
            head = self._text[container.start : container.inside - 2].rstrip() + b">"
            tail = self._line(container.start) + b"</" + raw + b">"
            edits.append((container.start, container.end, head + new + tail))
        else:
            at = last.end if last else container.inside
            edits.append((at, at, new))
        return edits

    def _own(self, one: str, texts: Sequence[str]) -> list[tuple[int, int, bytes]]:
        """Cuts that replace one of Pixtag's own lists."""
        if [item.text for item in self._items(one)] == list(texts):
            return []
        edits = [(self._blank(p.start), p.end, b"") for p in self._found[one]]
        return [*edits, self._property(one, texts)] if texts else edits

    def _property(self, one: str, texts: Sequence[str]) -> tuple[int, int, bytes]:
        """A new property with a list, at the end of the first description."""
        home = self._description
        if home is None:
            raise self._fault("has no rdf:Description to write into", _AGAIN)
        namespace, _, local = one.partition(" ")
        prefix, kind, _ = _PROPERTIES[one]
        rdf = next(p for p, uri in home.scope.items() if uri == _RDF)
        known = next((p for p, uri in home.scope.items() if uri == namespace and p), None)
        declared = "" if known is not None else f' xmlns:{prefix}="{namespace}"'
        name, rdf = f"{known or prefix}:{local}", f"{rdf}:" if rdf else ""
        line = self._line(home.start).decode() + " "
        items = "".join(f"{line}  <{rdf}li>{escape(text)}</{rdf}li>" for text in texts)
        head, tail = f"<{name}{declared}>{line} <{rdf}{kind}>", f"</{rdf}{kind}>{line}</{name}>"
        new = f"{line}{head}{items}{line} {tail}"
        at = self._blank(home.close)
        return at, at, new.encode()

    def _applied(self, edits: list[tuple[int, int, bytes]]) -> bytes:
        parts: list[bytes] = []
        at = 0
        for start, end, new in sorted(edits, key=lambda edit: edit[:2]):
            parts += [self._text[at : max(at, start)], new]
            at = max(at, end)
        return b"".join([*parts, self._text[at:]])

    def _opened(self, home: _Element) -> bytes:
        """The text with `<rdf:Description .../>` as two tags."""
        head, tail = self._text[: home.inside - 2].rstrip(), self._text[home.inside :]
        closing = self._line(home.start) + b"</" + self._raw_name(home.start) + b">"
        return self._encode(head + b">" + closing + tail)

    def _blank(self, at: int) -> int:
        """Where the blanks before a tag begin."""
        lead = self._text.rfind(b">", 0, at) + 1
        return at if self._text[lead:at].strip() else lead

    def _line(self, at: int) -> bytes:
        """A line break and the indentation of a tag, as this file has them."""
        newline = b"\r\n" if b"\r\n" in self._text else b"\n"
        lead = self._text[self._text.rfind(b"\n", 0, at) + 1 : at]
        return newline + (lead if not lead.strip() else b"  ")

    def _raw_name(self, at: int) -> bytes:
        found = _START_TAG.match(self._text, at)
        return found[1] if found else b""

    def _parse(self) -> None:
        parser = expat.ParserCreate("utf-8", " ")
        parser.StartNamespaceDeclHandler = lambda p, uri: self._scope[p or ""].append(uri or "")
        parser.EndNamespaceDeclHandler = lambda p: self._scope[p or ""].pop()
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartElementHandler = lambda name, _: self._open(name, parser.CurrentByteIndex)
        parser.EndElementHandler = lambda _: self._shut(parser.CurrentByteIndex)
        parser.CharacterDataHandler = self._heard
        try:
            parser.Parse(self._text, True)
        except expat.ExpatError as error:
            raise self._fault(f"is no XMP: {error}", f"{_LEFT}; {_AGAIN}") from error
        if not self._is_xmp:
            raise self._fault("is XML without rdf:RDF, so no XMP", _LEFT)

    def _fault(self, what: str, hint: str) -> SidecarError:
        return SidecarError(f"{self._name} {what}", hint=hint)

    def _refuse(self, *_: object) -> None:
        raise self._fault("has a document type, which no XMP has", _HARM)

    def _open(self, name: str, at: int) -> None:
        above, upper = [*(one.name for one in self._stack[:-3:-1]), "", ""][:2]
        self._is_xmp |= name == f"{_RDF} RDF"
        is_home = name == f"{_RDF} Description" and above == f"{_RDF} RDF"
        in_home = (above, upper) == (f"{_RDF} Description", f"{_RDF} RDF")
        is_list = above in self._found and name in _CONTAINERS
        is_item = above in _CONTAINERS and name == f"{_RDF} li"
        if len(self._stack) >= _MOST_DEEP:
            raise self._fault(f"is nested more than {_MOST_DEEP} deep", _HARM)
        if not (is_home or is_list or is_item or (in_home and name in self._found)):
            self._stack.append(_Element(name))
            return
        tag = _START_TAG.match(self._text, at)
        end = tag.end() if tag else at
        one = _Element(name, at, end, self._text[end - 2 : end] == b"/>")
        if is_home:
            one.scope = {prefix: uris[-1] for prefix, uris in self._scope.items() if uris}
            self._description = self._description or one
        elif is_list or is_item:
            self._stack[-1].inner.append(one)
        else:
            self._found[name].append(one)
        self._stack.append(one)

    def _shut(self, at: int) -> None:
        one = self._stack.pop()
        one.close = one.inside if one.is_empty else at
        one.end = one.inside if one.is_empty else self._text.find(b">", at) + 1
        if one.name in self._found and not one.inner and one.text:
            raise self._fault("has keywords in a form that XMP does not have", _AGAIN)

    def _heard(self, text: str) -> None:
        if self._stack:
            self._stack[-1].heard.append(text)


class Text:
    """One text sidecar: line 1 comma-separated words, or a caption with hashtags.

    Raises:
        SidecarError: It is too large or not UTF-8.
    """

    def __init__(self, data: bytes | None, name: str) -> None:
        self._name, self._data = name, data
        text, self._encode = _decoded(data or b"", name)
        self._rest, self._marked = split_line(text.decode())
        self._is_known = len(self._rest) < len(text.decode())
        self._is_caption = "#" in self._rest
        first = self._rest.partition("\n")[0]
        listed = find_hashtags(self._rest) if self._is_caption else first.split(",")
        self._words = list(dict.fromkeys(word.strip() for word in listed if word.strip()))

    @property
    def notes(self) -> Notes:
        """What it says of keywords, a word that was taken away counted as such."""
        there = set(map(key_of, self._words))
        written = [word for word in self._marked if key_of(word) in there and word[0] != "-"]
        removed = [word.lstrip("-") for word in self._marked if word not in written]
        return Notes(
            tuple(map(Word.of, self._words)), tuple(written), tuple(removed), self._is_known
        )

    def revised(self, words: Iterable[Word], *, digest: str, confirm: bool = False) -> Revision:
        """Add words as `Xmp.revised`. SidecarError: it has a form of its own."""
        notes = self.notes
        new = [word.text for word in notes.new_of(words)]
        if not (new or (confirm and notes.written)):
            return Revision(self._data or b"", (), ())
        newline = "\r\n" if "\r\n" in self._rest else "\n"
        first, end, others = self._rest.partition(newline)
        if (
            new
            and not self._is_caption
            and "," not in first
            and (" " in first or len(others.split(newline)) > 2)
        ):
            what = f"{self._name} is not a line of comma-separated words"
            raise SidecarError(what, hint="put commas between the words of its first line")
        if self._is_caption and new:
            tags = " ".join(f"#{word}" for word in new)
            first, end, others = self._rest.rstrip(), newline, tags + newline
        else:
            first = ", ".join([*([first.rstrip()] if first.strip() else []), *new])
        body = first + (end or newline) + others
        body += "" if body.endswith(newline) else newline
        marks = [*([] if confirm else [*notes.written, *new]), *(f"-{w}" for w in notes.removed)]
        line = f"{LINE} {', '.join(marks)}".rstrip() + newline
        return Revision(self._encode((body + line).encode()), tuple(new), ())


def _as_path(word: Word, mark: str) -> str:
    """Join a path; a mark inside a word becomes the other program's, as Immich does it."""
    other = {"/": "|", "|": "/"}[mark]
    return mark.join(part.replace(mark, other) for part in word.path)


def _leaf(text: str, mark: str) -> str:
    return key_of(text.rpartition(mark)[2] if mark else text)


def _decoded(data: bytes, name: str) -> tuple[bytes, Callable[[bytes], bytes]]:
    """Give a text as UTF-8 without its mark, and how to bring it back into its own form."""
    if len(data) > MAX_BYTES:
        what = f"{name} has {len(data):,} bytes, too many for a sidecar"
        raise SidecarError(what, hint=_LEFT)
    unmarked = (b"", "utf-8")
    mark, form = next((one for one in _FORMS if data.startswith(one[0])), unmarked)
    try:
        text = data[len(mark) :].decode(form).encode()
    except UnicodeError as error:
        raise _foreign(name) from error
    declared = _DECLARED.match(text) if form == "utf-8" else None
    if declared and declared[1].lower() not in {b"utf-8", b"utf8"}:
        raise _foreign(name)
    return text, lambda new: mark + new.decode().encode(form)


def _foreign(name: str) -> SidecarError:
    hint = f"{_LEFT}; XMP is UTF-8 or UTF-16"
    return SidecarError(f"{name} is in another encoding than Unicode", hint=hint)
