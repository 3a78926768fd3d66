"""Photos from anywhere, safely, to pixels for the encoder.

A file is judged by its first bytes, its size in pixels is checked before any pixel is decoded, and
every way in which it can be broken ends in one `ImageError` that names the fault.
"""

from __future__ import annotations

import hashlib
import io
import struct
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.IptcImagePlugin import getiptcinfo
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from pixtag.errors import ImageError
from pixtag.formats import HEAD_BYTES, PHOTO_NAMES, sniff

Pixels = NDArray[np.uint8]
Interpolation = Literal["bilinear", "bicubic"]


# What a photo may cost; sequential JPEGs, which are decoded at a fraction, may have more pixels.
MAX_BYTES = 200 * 2**20
MAX_PIXELS, MAX_DRAFT_PIXELS = 120_000_000, 260_000_000


class Fault(StrEnum):
    """What is wrong with a photo, and the next step."""

    hint: str

    def __new__(cls, value: str, hint: str) -> Fault:
        """A member that is its text, with the hint beside it."""
        fault = str.__new__(cls, value)
        fault._value_, fault.hint = value, hint
        return fault

    MISSING = "missing", "it may have been moved or deleted; check the path"
    CHANGED = "changed", "import its posts again"
    UNREADABLE = "unreadable", "give the path of a photo that you may read"
    EMPTY = "empty", "copy the photo again from where it came from"
    NOT_AN_IMAGE = "not an image", f"give a {PHOTO_NAMES} file"
    VIDEO = "video", "give a photo, or a frame of the video"
    UNSUPPORTED = "unsupported", "save it as JPEG or PNG"
    TOO_LARGE = "too large", "export a smaller copy of the photo"
    TRUNCATED = "truncated", "copy or download the photo again"
    BROKEN = "broken", "copy or download the photo again"


# Opened by these and not by Image.open: its limit on pixels is a global of Pillow's.
_CLASSES = (
    *(JpegImageFile, PngImageFile, GifImageFile, BmpImageFile, TiffImageFile, WebPImageFile),
    AvifImageFile,
)
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_DECODERS: dict[str, type[ImageFile]] = {str(one.format).lower(): one for one in _CLASSES}
# What Pillow lacks: a module that is imported when the first such photo comes.
_PLUGINS = {
    "heif": ("pi_heif", "pi-heif"),
    "jxl": ("pillow_jxl.JpegXLImagePlugin", "pillow-jxl-plugin"),
}
_JXL_RATIOS = ((0, 1), (1, 1), (6, 5), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_JPEG_END = b"\xff\xd9"
_LAST_BYTES = 16  # of a JPEG: a strip of pixels at its end, and the strip's height in pixels
_ORIENTATION = 0x0112
_EXIF_IFD, _TAKEN, _OFFSET, _CHANGED, _XP_KEYWORDS = 0x8769, 0x9003, 0x9011, 0x0132, 0x9C9E
_CUT_SHORT = ("truncated", "not enough", "unexpected end", "premature", "eof")


def changed(path: str, how: str = "has changed since it was imported") -> ImageError:
    """Say that a file is no longer what was imported."""
    return _error(Fault.CHANGED, f"{path} {how}")


def digest(path: Path) -> str:
    """Name a photo by its content: SHA-256 in hex. Raises as `read` does."""
    return hashlib.sha256(read(path)).hexdigest()


def read(path: Path) -> bytes:
    """Read a photo's bytes; `ImageError` when missing, unreadable or over `MAX_BYTES`."""
    try:
        # Opening a pipe would wait for its writer, perhaps for ever.
        if path.exists() and not path.is_file():
            raise IsADirectoryError(0, "not a file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise _error(Fault.MISSING, f"no photo at {path}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _error(Fault.UNREADABLE, f"cannot read {path}: {reason}") from error
    if len(data) > MAX_BYTES:
        raise _error(Fault.TOO_LARGE, f"{path} is larger than {MAX_BYTES // 2**20} MiB")
    return data


def decode(
    source: Path | bytes,
    *,
    target_px: int = 224,
    interpolation: Interpolation = "bilinear",
    name: str = "",
) -> Pixels:
    """Turn a photo into the square of pixels that an encoder looks at: RGB, `[P, P, 3]`.

    The largest centred square, scaled to P = `target_px` with an antialiasing filter, bilinear by
    default (compared with others in docs/log.md). A JPEG is decoded at about twice the target,
    which looks the same and is twice as fast. EXIF orientation is applied, transparency is laid on
    white, and of an animation the first frame counts. Messages call the photo by `name`, else by
    its path.

    ImageError: it cannot be decoded; `fault` says which `Fault` it has.
    """
    name = name or ("the photo" if isinstance(source, bytes) else str(source))
    data = source if isinstance(source, bytes) else read(source)
    kind = _supported_kind(data, name)
    try:
        with _open(kind, io.BytesIO(data), name) as image:
            is_sequential = kind == "jpeg" and not image.info.get("progressive")
            _check_size(image.size, kind, name, is_sequential=is_sequential)
            if kind == "jpeg":
                image.draft(None, (2 * target_px, 2 * target_px))
            image.load()  # first: a PNG may keep its EXIF behind its pixels
            square = _square(image, target_px, interpolation)
            # The crop is centred, so turning the small square gives the same pixels.
            square.getexif()[_ORIENTATION] = _orientation(image)
    except ImageError:
        raise
    except Exception as error:
        explained = _explain(error, kind, name)
        if explained.fault in {Fault.TRUNCATED} and kind == "jpeg" and _lacks_only_its_end(data):
            whole = data + _JPEG_END
            return decode(whole, target_px=target_px, interpolation=interpolation, name=name)
        raise explained from error
    return np.asarray(ImageOps.exif_transpose(square))


class Notes(NamedTuple):
    """What is written in a photo beside its pixels."""

    xmp: bytes
    iptc: list[bytes]  # keywords
    exif: str  # keywords as Windows writes them, with `;` between
    taken: str  # when, ISO 8601, with a zone where the camera wrote one


def notes(file: IO[bytes]) -> Notes:
    """Read a photo's notes without decoding it. ImageError: it is no photo, or broken."""
    kind = _supported_kind(file.read(HEAD_BYTES), "the photo")
    file.seek(0)
    try:
        with _open(kind, file, "the photo") as image:
            _check_size(image.size, kind, "the photo")  # a PNG is decoded for its EXIF
            is_file = isinstance(image, JpegImageFile | TiffImageFile)
            exif, iptc = image.getexif(), getiptcinfo(image) if is_file else None
            inner, xmp = exif.get_ifd(_EXIF_IFD), image.info.get("xmp", b"")
    except ImageError:
        raise
    except Exception as error:
        raise _explain(error, kind, "the photo") from error
    words, keywords = exif.get(_XP_KEYWORDS, b""), (iptc or {}).get((2, 25), [])
    taken = str(inner.get(_TAKEN) or exif.get(_CHANGED) or "").replace(":", "-", 2).strip("\0 ")
    return Notes(
        xmp if isinstance(xmp, bytes) else str(xmp).encode(),
        keywords if isinstance(keywords, list) else [keywords],
        bytes(words).decode("utf-16-le", "ignore").strip("\0") if words else "",
        taken + str(inner.get(_OFFSET) or "").strip("\0 ") if taken else "",
    )


def check(path: Path) -> ImageError | None:
    """Decode all of a photo: the error that `decode` would raise, or None for one in order."""
    try:
        decode(path)
    except ImageError as error:
        return error
    return None


def _lacks_only_its_end(data: bytes) -> bool:
    """Whether a JPEG's last bytes are those of its last strip of pixels, so that all is there."""
    last, before = (_small_rows(part + _JPEG_END) for part in (data, data[:-_LAST_BYTES]))
    if data.endswith(_JPEG_END) or last is None or before is None:
        return False
    changed_rows = np.flatnonzero((last != before).any(axis=(1, 2)))
    return bool(len(changed_rows)) and changed_rows[0] >= len(last) - _LAST_BYTES


def _small_rows(data: bytes) -> Pixels | None:
    try:
        with JpegImageFile(io.BytesIO(data)) as image:
            _check_size(image.size, "jpeg", "the photo")
            return np.asarray(image.convert("RGB"))
    except Exception:  # noqa: BLE001 - it is broken in another way, too
        return None


def _error(fault: Fault, message: str, hint: str = "") -> ImageError:
    return ImageError(message, hint=hint or fault.hint, fault=fault)


def _supported_kind(data: bytes, name: str) -> str:
    if not data:
        raise _error(Fault.EMPTY, f"{name} is empty (0 bytes)")
    kind = sniff(data[:HEAD_BYTES])
    if kind is None:
        raise _error(Fault.NOT_AN_IMAGE, f"{name} is not an image: no known format begins like it")
    if kind == "video":
        raise _error(Fault.VIDEO, f"{name} is a video")
    if kind not in _DECODERS and kind not in _PLUGINS:
        raise _error(Fault.UNSUPPORTED, f"{name} is a {kind.upper()} file, which is not supported")
    return kind


def _open(kind: str, file: IO[bytes], name: str) -> Image.Image:
    """Read the header with the one decoder for this kind of file."""
    if kind not in _PLUGINS:
        return _DECODERS[kind](file)
    module, package = _PLUGINS[kind]
    try:
        plugin: Any = import_module(module)
    except ImportError as error:
        what = f"{name} is a {kind.upper()} photo, which needs the package {package}"
        hint = f"pip install {package}, or save the photo as JPEG"
        raise _error(Fault.UNSUPPORTED, what, hint) from error
    if kind == "heif":
        heif: Any = plugin.open_heif(file, convert_hdr_to_8bit=True)
        # Its pixels are decoded as soon as they are asked for: the size is checked here already.
        _check_size(heif.size, kind, name)
        return heif.to_pillow()
    data = file.read()  # the same, but the size is known only once all is decoded
    _check_size(_jxl_size(data), kind, name)
    image: Any = plugin.JXLImageFile(io.BytesIO(data))
    if not image.jpeg:  # turned already, unlike a JPEG that was packed anew
        image.getexif().pop(_ORIENTATION, None)
    return image


def _jxl_size(data: bytes) -> tuple[int, int]:
    """Read width and height from the head of a JPEG XL stream, bare or in boxes (ISO 18181)."""
    at = 0
    while not data.startswith(b"\xff\x0a", at):
        size, box = struct.unpack_from(">I4s", data, at)
        at += {b"jxlc": 8, b"jxlp": 12}.get(box, size or len(data))
        if size == 1 or at >= len(data):
            raise EOFError("no stream of pixels")
    bits = int.from_bytes(data[at + 2 : at + 18].ljust(16, b"\0"), "little")

    def take(n: int) -> int:
        nonlocal bits
        value, bits = bits & ((1 << n) - 1), bits >> n
        return value

    is_small = take(1)

    def side() -> int:
        return 8 * (take(5) + 1) if is_small else take((9, 13, 18, 30)[take(2)]) + 1

    height, ratio = side(), take(3)
    up, down = _JXL_RATIOS[ratio]
    return (height * up // down if ratio else side()), height


def _check_size(
    size: tuple[int, int], kind: str, name: str, *, is_sequential: bool = False
) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise _error(Fault.BROKEN, f"{name} has no pixels ({width} x {height})")
    if width * height > (MAX_DRAFT_PIXELS if is_sequential else MAX_PIXELS):
        hint = f"export a smaller copy; {MAX_PIXELS // 10**6} million pixels are decoded"
        raise _error(Fault.TOO_LARGE, f"{name} is too large: {width} x {height} pixels", hint)


def _orientation(image: Image.Image) -> int:
    """Read how the camera was held; a damaged note counts as none."""
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - as above, and Pillow warns of damaged notes
        return 1


def _square(image: Image.Image, side_px: int, interpolation: Interpolation) -> Image.Image:
    """Cut the largest centred square, scale it, and make it RGB."""
    picture = _plain(image)
    width, height = picture.size
    edge = min(width, height)
    left, top = (width - edge) / 2, (height - edge) / 2
    # Cutting and scaling in one step: a strip of 1 x 60,000 never becomes larger on the way.
    box, size = (left, top, left + edge, top + edge), (side_px, side_px)
    scaled = picture.resize(size, _FILTERS[interpolation], box=box, reducing_gap=3.0)
    if scaled.mode == "RGBA":
        ground = Image.new("RGB", scaled.size, (255, 255, 255))
        ground.paste(scaled, mask=scaled.getchannel("A"))
        return ground
    return scaled.convert("RGB")


def _plain(image: Image.Image) -> Image.Image:
    """Bring an image into a mode that can be scaled: RGB, RGBA, L or CMYK."""
    mode, is_clear = image.mode, "transparency" in image.info
    if mode in {"RGB", "L", "CMYK", "YCbCr"} and not is_clear:
        return image
    if mode.startswith("I") or mode == "F":
        return _from_deep(image)
    has_alpha = is_clear or mode in {"RGBA", "LA", "PA", "La", "RGBa"}
    return image.convert("RGBA" if has_alpha else "RGB")


def _from_deep(image: Image.Image) -> Image.Image:
    """Grey values to 8 bit: 16-bit ones keep their scale, of others the own range is used."""
    values = np.asarray(image).astype(np.float32)
    if image.mode != "F" and values.min() >= 0 and values.max() <= 65535:
        scaled = values / 257 if image.mode.startswith("I;16") or values.max() > 255 else values
    else:
        finite = np.where(np.isfinite(values), values, 0)
        low, high = float(finite.min()), float(finite.max())
        scaled = (finite - low) * (255 / (high - low) if high > low else 0)
    return Image.fromarray(scaled.round().astype(np.uint8))


def _explain(error: Exception, kind: str, name: str) -> ImageError:
    """Say in one line what a decoder stumbled over."""
    text = str(error).lower()
    if isinstance(error, MemoryError | Image.DecompressionBombError):
        return _error(Fault.TOO_LARGE, f"{name} does not fit into memory")
    is_short = isinstance(error, EOFError | struct.error)
    if is_short or any(sign in text for sign in _CUT_SHORT):
        what = f"{name} is truncated: its {kind.upper()} data end too early"
        return _error(Fault.TRUNCATED, what)
    return _error(Fault.BROKEN, f"{name} is a broken {kind.upper()} file: {error}")
