"""Photos of every kind and in every state of damage."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import sys
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pixtag import images
from pixtag.errors import ImageError
from pixtag.images import Fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RED, GREEN, BLUE, GREY = (220, 30, 40), (20, 180, 60), (30, 60, 210), (128, 128, 128)


def quarters(width: int = 400, height: int = 300) -> Image.Image:
    """Red, green / blue, grey: shows every turn and mirroring."""
    picture = Image.new("RGB", (width, height), GREY)
    picture.paste(RED, (0, 0, width // 2, height // 2))
    picture.paste(GREEN, (width // 2, 0, width, height // 2))
    picture.paste(BLUE, (0, height // 2, width // 2, height))
    return picture


def written(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def corners(pixels: np.ndarray) -> list[tuple[int, ...]]:
    """Mean colours: top left, top right, bottom left, bottom right."""
    side = len(pixels)
    low, high = slice(side // 8, 3 * side // 8), slice(5 * side // 8, 7 * side // 8)
    cells = [(low, low), (low, high), (high, low), (high, high)]
    return [tuple(pixels[c].reshape(-1, 3).mean(0).round().astype(int).tolist()) for c in cells]


def near(got: list[tuple[int, ...]], want: list[tuple[int, ...]], within: float = 8) -> bool:
    return bool(np.abs(np.array(got) - np.array(want)).max() <= within)


def fault_of(source: Path | bytes) -> str:
    with pytest.raises(ImageError) as caught:
        images.decode(source)
    assert caught.value.hint
    return caught.value.fault


def huge_png(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims any size."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


class TestFormats:
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
    def test_every_format_shows_the_same_picture(self, kind: str) -> None:
        options = {"quality": 95} if kind in {"JPEG", "WEBP"} else {}
        pixels = images.decode(written(quarters(), kind, **options))
        assert pixels.shape == (224, 224, 3)
        assert pixels.dtype == np.uint8
        assert near(corners(pixels), [RED, GREEN, BLUE, GREY])

    def test_heic(self) -> None:
        pillow_heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
        buffer = io.BytesIO()
        pillow_heif.from_pillow(quarters()).save(buffer, quality=95)
        assert images.sniff(buffer.getvalue()) == "heif"
        assert near(corners(images.decode(buffer.getvalue())), [RED, GREEN, BLUE, GREY])

    def test_heic_without_its_package_says_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "pi_heif", None)
        with pytest.raises(ImageError, match="pi-heif") as caught:
            images.decode(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic")
        assert "pip install" in caught.value.hint
        assert caught.value.fault == Fault.UNSUPPORTED

    @pytest.mark.parametrize("size", [(400, 300), (300, 300), (799, 333), (600, 1201)])
    def test_jpeg_xl(self, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
        plugin = pytest.importorskip("pillow_jxl", reason="pillow-jxl-plugin is not installed")
        wide, high = size
        picture = quarters().resize(size)
        for in_boxes in (False, True):
            encoder = plugin.Encoder(
                mode="RGB", lossless=True, quality=100, decoding_speed=0, effort=3,
                use_container=in_boxes, use_original_profile=False, num_threads=1,
            )  # fmt: skip
            data = encoder(picture.tobytes(), wide, high, jpeg_encode=False)
            assert images.sniff(data) == "jxl"
            assert near(corners(images.decode(data)), [RED, GREEN, BLUE, GREY])
            assert fault_of(data[: len(data) // 2]) in {Fault.TRUNCATED, Fault.BROKEN}
            with monkeypatch.context() as small:  # its size is known before it is decoded
                small.setattr(images, "MAX_PIXELS", wide * high - 1)
                with pytest.raises(ImageError, match=f"too large: {wide} x {high} ") as caught:
                    images.decode(data)
            assert caught.value.fault == Fault.TOO_LARGE

    def test_jpeg_xl_without_its_package_says_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "pillow_jxl.JpegXLImagePlugin", None)
        with pytest.raises(
            ImageError, match=r"a JXL photo, which needs .* pillow-jxl-plugin"
        ) as no:
            images.decode(b"\xff\x0a" + bytes(80))
        assert "pip install pillow-jxl-plugin" in no.value.hint
        assert no.value.fault == Fault.UNSUPPORTED

    def test_mpo_and_ultra_hdr_show_their_first_picture(self) -> None:
        plain = Image.new("RGB", (64, 64), BLUE)
        mpo = written(quarters(), "MPO", quality=95, save_all=True, append_images=[plain])
        assert near(corners(images.decode(mpo)), [RED, GREEN, BLUE, GREY])
        # Ultra HDR: a JPEG with its gain map, another JPEG, behind its end.
        hdr = written(quarters(), "JPEG", quality=95) + written(plain, "JPEG")
        assert near(corners(images.decode(hdr)), [RED, GREEN, BLUE, GREY])

    def test_a_wrong_name_does_not_matter(self, tmp_path: Path) -> None:
        mislabelled = tmp_path / "photo.jpg"
        mislabelled.write_bytes(written(quarters(), "PNG"))
        assert near(corners(images.decode(mislabelled)), [RED, GREEN, BLUE, GREY])

    def test_of_an_animation_the_first_frame_counts(self) -> None:
        later = [Image.new("RGB", (400, 300), BLUE) for _ in range(3)]
        for kind in ("GIF", "WEBP", "PNG"):
            data = written(quarters(), kind, save_all=True, append_images=later)
            assert near(corners(images.decode(data)), [RED, GREEN, BLUE, GREY], within=12), kind

    def test_of_a_tiff_with_pages_the_first_counts(self) -> None:
        data = written(quarters(), "TIFF", save_all=True, append_images=[Image.new("RGB", (9, 9))])
        assert near(corners(images.decode(data)), [RED, GREEN, BLUE, GREY])


class TestModes:
    def test_cmyk(self) -> None:
        data = written(quarters().convert("CMYK"), "JPEG", quality=95)
        assert near(corners(images.decode(data)), [RED, GREEN, BLUE, GREY], within=12)

    def test_palette(self) -> None:
        data = written(quarters().convert("P", palette=Image.Palette.ADAPTIVE))
        assert near(corners(images.decode(data)), [RED, GREEN, BLUE, GREY])

    @pytest.mark.parametrize("mode", ["L", "1", "LA"])
    def test_grey(self, mode: str) -> None:
        pixels = images.decode(written(quarters().convert("L").convert(mode)))
        assert (pixels[..., 0] == pixels[..., 1]).all()
        assert (pixels[..., 1] == pixels[..., 2]).all()
        assert pixels.std() > 5

    @pytest.mark.parametrize("kind", ["PNG", "TIFF"])
    def test_16_bit_grey_keeps_its_scale(self, kind: str) -> None:
        ramp = np.tile(np.linspace(0, 40000, 300).astype(np.uint16), (300, 1))
        pixels = images.decode(written(Image.fromarray(ramp), kind))
        assert abs(int(pixels[0, -1, 0]) - 40000 / 257) <= 2
        assert pixels[0, 0, 0] <= 2

    def test_dark_16_bit_grey_stays_dark(self) -> None:
        dark = Image.fromarray(np.full((300, 300), 200, np.uint16))
        assert images.decode(written(dark)).max() <= 1

    def test_float_tiff_uses_its_own_range(self) -> None:
        ramp = np.tile(np.linspace(-3, 5, 300).astype(np.float32), (300, 1))
        ramp[0, 0] = np.nan
        pixels = images.decode(written(Image.fromarray(ramp), "TIFF"))
        assert pixels[5, 0, 0] <= 2
        assert pixels[5, -1, 0] >= 253

    def test_transparency_is_laid_on_white(self) -> None:
        picture = quarters().convert("RGBA")
        picture.paste((0, 0, 0, 0), (0, 0, 200, 150))
        pixels = images.decode(written(picture))
        assert near(corners(pixels), [(255, 255, 255), GREEN, BLUE, GREY])

    def test_a_transparent_palette_colour_is_laid_on_white(self) -> None:
        picture = Image.new("P", (300, 300), 0)
        picture.putpalette([0, 0, 0, *GREEN])
        picture.paste(1, (150, 0, 300, 300))
        for kind in ("PNG", "GIF"):
            pixels = images.decode(written(picture, kind, transparency=0))
            white = (255, 255, 255)
            assert near(corners(pixels), [white, GREEN, white, GREEN]), kind

    def test_a_transparent_colour_of_a_plain_png_is_laid_on_white(self) -> None:
        pixels = images.decode(written(quarters(), "PNG", transparency=RED))
        assert near(corners(pixels), [(255, 255, 255), GREEN, BLUE, GREY])


class TestShape:
    @pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG", "WEBP"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_orientation_is_undone(self, orientation: int, kind: str) -> None:
        undo = {
            2: Image.Transpose.FLIP_LEFT_RIGHT,
            3: Image.Transpose.ROTATE_180,
            4: Image.Transpose.FLIP_TOP_BOTTOM,
            5: Image.Transpose.TRANSPOSE,
            6: Image.Transpose.ROTATE_90,
            7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_270,
        }
        stored = quarters()
        if orientation != 1:
            stored = stored.transpose(undo[orientation])
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {"quality": 95} if kind in {"JPEG", "WEBP"} else {}
        pixels = images.decode(written(stored, kind, exif=exif, **options))
        assert near(corners(pixels), [RED, GREEN, BLUE, GREY], within=12)

    @pytest.mark.parametrize("exif", [b"Exif\x00\x00", b"Exif\x00\x00II*\x00\xff\xff\xff\xff"])
    @pytest.mark.filterwarnings("ignore::UserWarning:PIL")
    def test_damaged_exif_counts_as_none(self, exif: bytes) -> None:
        data = written(quarters(), "JPEG", quality=95, exif=exif)
        assert near(corners(images.decode(data)), [RED, GREEN, BLUE, GREY])

    def test_the_middle_of_a_wide_photo_is_seen_undistorted(self) -> None:
        wide = Image.new("RGB", (900, 300), BLUE)
        wide.paste(RED, (300, 0, 600, 300))
        pixels = images.decode(written(wide))
        # The filter looks a pixel beyond the square that was cut.
        assert np.abs(pixels[:, 2:-2].astype(int) - RED).max() <= 3

    @pytest.mark.parametrize("size", [(1, 1), (1, 60_000), (60_000, 1), (3, 2)])
    def test_tiny_and_thin_photos(self, size: tuple[int, int]) -> None:
        pixels = images.decode(written(Image.new("RGB", size, GREEN)))
        assert near(corners(pixels), [GREEN] * 4)

    @pytest.mark.parametrize("side", [64, 224, 384])
    def test_side_is_what_was_asked_for(self, side: int) -> None:
        assert images.decode(written(quarters()), target_px=side).shape == (side, side, 3)

    def test_a_large_jpeg_looks_as_if_decoded_in_full(self) -> None:
        rng = np.random.default_rng(0)
        noise = Image.fromarray(rng.integers(0, 255, (40, 30, 3), dtype=np.uint8))
        large = noise.resize((1500, 2000), Image.Resampling.BICUBIC)
        fast = images.decode(written(large, "JPEG", quality=92)).astype(float)
        full = images.decode(written(large, "PNG")).astype(float)
        assert np.abs(fast - full).mean() < 1.0


class TestDamage:
    def test_zero_bytes(self, tmp_path: Path) -> None:
        empty = tmp_path / "empty.jpg"
        empty.touch()
        assert fault_of(empty) == Fault.EMPTY

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
    @pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.9])
    def test_truncated(self, kind: str, part: float) -> None:
        rng = np.random.default_rng(0)
        noise = Image.fromarray(rng.integers(0, 255, (200, 300, 3), dtype=np.uint8))
        data = written(noise, kind)
        fault = fault_of(data[: int(len(data) * part)])
        assert fault in {Fault.TRUNCATED, Fault.BROKEN}
        if kind in {"JPEG", "PNG", "BMP"} and part > 0.1:
            assert fault == Fault.TRUNCATED

    @pytest.mark.parametrize("progressive", [False, True])
    def test_a_jpeg_that_lacks_only_its_end_is_whole(self, *, progressive: bool) -> None:
        rng = np.random.default_rng(0)
        picture = Image.fromarray(rng.integers(0, 255, (60, 90, 3), dtype=np.uint8))
        data = written(picture.resize((900, 600)), "JPEG", progressive=progressive)
        assert (images.decode(data[:-2]) == images.decode(data)).all()
        assert fault_of(data[: len(data) * 2 // 3]) == Fault.TRUNCATED

    def test_avif(self) -> None:
        data = written(Image.new("RGB", (80, 60), (200, 30, 40)), "AVIF", quality=90)
        assert near(corners(images.decode(data)), [(200, 30, 40)] * 4)

    def test_text_named_as_a_photo(self, tmp_path: Path) -> None:
        page = tmp_path / "photo.jpg"
        page.write_text("<html>not found</html>")
        assert fault_of(page) == Fault.NOT_AN_IMAGE

    @pytest.mark.parametrize(
        ("head", "fault"),
        [
            (b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2", Fault.VIDEO),
            (b"\x1aE\xdf\xa3\x9fB\x86\x81\x01", Fault.VIDEO),
            (b"RIFF\x00\x00\x00\x00AVI LIST", Fault.VIDEO),
            (b"%PDF-1.7", Fault.UNSUPPORTED),
            (b"8BPS\x00\x01", Fault.UNSUPPORTED),
            (b"\x00\x00\x00\x20ftypavif\x00\x00\x00\x00avifmif1", Fault.BROKEN),
            (b"%!PS-Adobe-3.0 EPSF-3.0", Fault.NOT_AN_IMAGE),
        ],
    )
    def test_other_files(self, head: bytes, fault: Fault) -> None:
        assert fault_of(head + bytes(100)) == fault

    @pytest.mark.parametrize("size", [(100_000, 100_000), (2**31 - 1, 2**31 - 1), (60_000, 2100)])
    def test_huge_dimensions_are_refused_unread(self, size: tuple[int, int]) -> None:
        assert fault_of(huge_png(*size)) == Fault.TOO_LARGE

    def test_decompression_bomb(self) -> None:
        bomb = written(Image.new("1", (20_000, 20_000)))
        assert len(bomb) < 100_000
        assert fault_of(bomb) == Fault.TOO_LARGE

    def test_a_photo_of_100_million_pixels_is_read(self) -> None:
        data = written(Image.new("L", (12_000, 9_000), 90), "JPEG")
        assert near(corners(images.decode(data)), [(90, 90, 90)] * 4)

    def test_too_many_bytes(self, tmp_path: Path) -> None:
        large = tmp_path / "large.jpg"
        with large.open("wb") as file:
            file.write(b"\xff\xd8\xff")
            file.truncate(images.MAX_BYTES + 1)  # sparse: takes no room on the disk
        assert fault_of(large) == Fault.TOO_LARGE

    def test_vanished(self, tmp_path: Path) -> None:
        assert fault_of(tmp_path / "gone.jpg") == Fault.MISSING

    def test_a_folder(self, tmp_path: Path) -> None:
        assert fault_of(tmp_path) == Fault.UNREADABLE

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
    def test_a_pipe_does_not_wait(self, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe.jpg"
        os.mkfifo(pipe)
        assert fault_of(pipe) == Fault.UNREADABLE

    def test_the_message_names_the_photo(self, tmp_path: Path) -> None:
        broken = tmp_path / "holiday.png"
        broken.write_bytes(written(quarters())[:200])
        with pytest.raises(ImageError, match=r"holiday\.png"):
            images.decode(broken)

    @pytest.mark.filterwarnings("ignore::UserWarning:PIL")
    @given(
        kind=st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]),
        hits=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=9),
    )
    def test_any_damage_ends_in_pixels_or_one_error(
        self, kind: str, hits: list[tuple[float, int]]
    ) -> None:
        data = bytearray(written(quarters(60, 40), kind))
        for place, value in hits:
            data[int(place * len(data))] = value
        try:
            pixels = images.decode(bytes(data))
        except ImageError as error:
            assert error.message  # noqa: PT017 - either end is right
        else:
            assert pixels.shape == (224, 224, 3)


class TestDigest:
    def test_names_the_content(self, tmp_path: Path) -> None:
        photo = tmp_path / "a.jpg"
        photo.write_bytes(b"content")
        assert images.digest(photo) == hashlib.sha256(b"content").hexdigest()

    def test_vanished(self, tmp_path: Path) -> None:
        with pytest.raises(ImageError) as caught:
            images.digest(tmp_path / "gone.jpg")
        assert caught.value.fault == Fault.MISSING


@pytest.mark.parametrize("seed", range(3))
def test_decoding_twice_gives_the_same(seed: int, one_of_many: Callable[[int], bytes]) -> None:
    data = one_of_many(seed)
    assert (images.decode(data) == images.decode(data)).all()


@pytest.fixture
def one_of_many() -> Callable[[int], bytes]:
    def make(seed: int) -> bytes:
        rng = np.random.default_rng(seed)
        noise = rng.integers(0, 255, (300 + seed, 500, 3), dtype=np.uint8)
        return written(Image.fromarray(noise), "JPEG")

    return make
