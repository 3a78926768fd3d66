"""What a file is: the one table by which `predict`, `import` and `doctor` tell photos."""

from __future__ import annotations

from typing import NamedTuple


class Format(NamedTuple):
    """A kind of file: how its name may end, and how its bytes begin."""

    suffixes: str = ""
    starts: tuple[bytes, ...] = ()
    brands: str = ""  # of a file in boxes (`ftyp`)


PHOTO_FORMATS = {
    "jpeg": Format(".jpg .jpeg .jpe .jfif .mpo", (b"\xff\xd8\xff",)),
    "png": Format(".png .apng", (b"\x89PNG\r\n\x1a\n",)),
    "webp": Format(".webp"),
    "gif": Format(".gif", (b"GIF87a", b"GIF89a")),
    "bmp": Format(".bmp", (b"BM",)),
    "tiff": Format(".tif .tiff", (b"II*\x00", b"MM\x00*")),
    "heif": Format(".heic .heif .hif", (), "heic heix heim heis hevc hevx mif1 msf1"),
    "avif": Format(".avif", (), "avif avis"),
    "jxl": Format(".jxl", (b"\xff\x0a", b"\x00\x00\x00\x0cJXL ")),
}
OTHER_FORMATS = {
    "video": Format(".mp4 .mov .m4v .webm .avi .mkv .3gp", (b"\x1aE\xdf\xa3",)),
    "pdf": Format("", (b"%PDF",)),
    "psd": Format("", (b"8BPS",)),
    "jpeg 2000": Format("", (b"\x00\x00\x00\x0cjP  ",)),
}
_ALL = PHOTO_FORMATS | OTHER_FORMATS
PHOTO_SUFFIXES = frozenset(end for one in PHOTO_FORMATS.values() for end in one.suffixes.split())
VIDEO_SUFFIXES = frozenset(OTHER_FORMATS["video"].suffixes.split())
PHOTO_NAMES = "JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC, AVIF or JPEG XL"
HEAD_BYTES = 64  # how much of a file `sniff` wants to see


def sniff(head: bytes) -> str | None:
    """Tell what a file is by its first `HEAD_BYTES` bytes; None for anything unknown."""
    for kind, known in _ALL.items():
        if known.starts and head.startswith(known.starts):
            return kind
    if head[:4] == b"RIFF":
        return {b"WEBP": "webp", b"AVI ": "video"}.get(head[8:12])
    if head[4:8] == b"ftyp":
        brand = head[8:12].decode("latin-1")
        # Some cameras put a general brand first and name the codec among the compatible ones.
        compatible = {head[i : i + 4] for i in range(16, min(len(head), HEAD_BYTES), 4)}
        if brand == "mif1" and b"avif" in compatible:
            return "avif"
        return next((k for k, one in _ALL.items() if brand in one.brands.split()), "video")
    if head[4:8] in {b"moov", b"mdat", b"wide", b"free"}:
        return "video"
    return None
