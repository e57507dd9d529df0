"""Decoding: every kind of file that a folder of pictures may hold."""

import io
import os
import resource
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from tagstack.base_models.pictures.formats import FORMATS
from tagstack.base_models.pictures.images import (
    FileContent,
    ImageError,
    decode,
    file_content,
    open_image,
    read_content,
)

MAX = 10_000_000
Maker = Callable[..., Image.Image]


def _bytes(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _decoded(content: bytes, max_pixels: int = MAX) -> Image.Image:
    return decode(open_image(content, max_pixels=max_pixels))


def _png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """Return a PNG made by hand: Pillow cannot write 16-bit colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "QOI"])
def test_lossless_formats_keep_every_pixel(picture: Maker, kind: str) -> None:
    if kind == "QOI" and "QOI" not in Image.SAVE:
        pytest.skip("this Pillow cannot write QOI")
    image = picture()
    assert np.array_equal(np.asarray(_decoded(_bytes(image, kind))), np.asarray(image))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF", "JPEG2000", "AVIF"])
def test_lossy_formats_decode(kind: str) -> None:
    if kind not in FORMATS or kind not in Image.SAVE:
        pytest.skip(f"this Pillow was built without {kind}")
    image = Image.new("RGB", (40, 30), (200, 100, 50))
    decoded = _decoded(_bytes(image, kind))
    assert decoded.size == (40, 30)
    assert np.abs(np.asarray(decoded.convert("RGB"), int) - (200, 100, 50)).max() <= 6


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "unknown format"),
        (b"\xff\xd8\xff", "not an image"),
        (b"hello, I am a text file", "unknown format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "unknown format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unknown format"),
        (bytes(1000), "unknown format"),
    ],
)
def test_no_image_is_an_image_error(content: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        _decoded(content)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_truncated_files_are_refused(picture: Maker, kind: str) -> None:
    whole = _bytes(picture(64, 64), kind)
    with pytest.raises(ImageError, match=r"truncated or damaged|not an image"):
        _decoded(whole[: len(whole) * 2 // 3])


def test_wrong_extension_does_not_matter(picture: Maker, tmp_path: Path) -> None:
    path = tmp_path / "really_a_png.jpg"
    picture().save(path, "PNG")
    assert open_image(path.read_bytes(), max_pixels=MAX).format == "PNG"


def test_cmyk_becomes_rgb() -> None:
    image = Image.new("CMYK", (20, 20), (0, 255, 255, 0))
    decoded = _decoded(_bytes(image, "JPEG", quality=95))
    assert decoded.mode == "RGB"
    red, green, blue = np.asarray(decoded, int)[10, 10]
    assert red > 200
    assert max(green, blue) < 60


def test_grey_of_16_bits_is_scaled_not_clipped() -> None:
    values = np.array([[0, 257, 32896, 65535, 128, 129]], np.uint16)
    decoded = _decoded(_bytes(Image.fromarray(values), "PNG"))
    assert np.asarray(decoded)[0, :, 0].tolist() == [0, 1, 128, 255, 0, 1]


def test_colour_of_16_bits() -> None:
    row = b"\0" + struct.pack(">6H", 65535, 0, 32896, 257, 514, 0)
    decoded = _decoded(_png(2, 1, 16, 2, row))
    assert np.asarray(decoded).tolist() == [[[255, 0, 128], [1, 2, 0]]]


def test_float_pixels_are_refused() -> None:
    with pytest.raises(ImageError, match="floating-point"):
        _decoded(_bytes(Image.new("F", (3, 3), 0.5), "TIFF"))


def test_whole_numbers_of_32_bits_are_refused() -> None:
    with pytest.raises(ImageError, match="of 32 bits have no defined white"):
        _decoded(_bytes(Image.new("I", (3, 3), 200), "TIFF"))


@pytest.mark.parametrize("transparency", [0, b"\x00\xff"])
def test_palette_with_transparency_keeps_its_alpha(transparency: int | bytes) -> None:
    image = Image.new("P", (4, 2))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((0, 0), 1)
    decoded = _decoded(_bytes(image, "PNG", transparency=transparency))
    assert decoded.mode == "RGBA"
    assert decoded.getpixel((0, 0)) == (0, 0, 255, 255)
    assert decoded.getpixel((1, 0)) == (255, 0, 0, 0)


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "YCbCr", "LAB"])
def test_modes_become_rgb_or_rgba(picture: Maker, mode: str) -> None:
    image = picture().convert("RGB").convert(mode) if mode != "LAB" else Image.new("LAB", (4, 4))
    kind = "JPEG" if mode == "YCbCr" else "TIFF"
    assert _decoded(_bytes(image, kind)).mode == ("RGBA" if mode in ("LA", "RGBA") else "RGB")


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_animations_give_their_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    content = _bytes(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
    assert _decoded(content).convert("RGB").getpixel((4, 4)) == (255, 0, 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(picture: Maker, orientation: int) -> None:
    # What a viewer must do for each orientation, from the EXIF standard, as array operations.
    upright = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: a[::-1].transpose(1, 0, 2),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: a[:, ::-1].transpose(1, 0, 2),
    }
    image = picture(6, 4)
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = _decoded(_bytes(image, "PNG", exif=exif.tobytes()))
    assert np.array_equal(np.asarray(decoded), upright[orientation](np.asarray(image)))


def test_unknown_orientation_changes_nothing(picture: Maker) -> None:
    image = picture()
    exif = Image.Exif()
    exif[0x0112] = 99
    decoded = _decoded(_bytes(image, "PNG", exif=exif.tobytes()))
    assert np.array_equal(np.asarray(decoded), np.asarray(image))


def test_one_pixel() -> None:
    assert _decoded(_bytes(Image.new("RGB", (1, 1), "red"), "PNG")).size == (1, 1)


def test_decompression_bomb_is_refused_by_its_header() -> None:
    bomb = _png(50_000, 50_000, 8, 2, b"")
    with pytest.raises(ImageError, match=r"50000 x 50000 = 2500000000 pixels .*max_pixels = 100"):
        open_image(bomb, max_pixels=100)


def test_pixel_limit_is_inclusive() -> None:
    content = _bytes(Image.new("L", (10, 10)), "PNG")
    assert open_image(content, max_pixels=100).size == (10, 10)
    with pytest.raises(ImageError, match=r"100 pixels are more than score\.max_pixels = 99"):
        open_image(content, max_pixels=99)


def test_30000_pixels_wide_in_little_memory() -> None:
    # Padded to a square first, this picture would take 3.6 GB.
    program = """
import resource, io
resource.setrlimit(resource.RLIMIT_AS, (2_000_000_000,) * 2)
from PIL import Image
from tagstack.base_models.pictures.images import decode, open_image
from tagstack.base_models.pictures.preprocess import framed, framing_from_input
from tagstack.base_models.taggers.registry import show_tagger
stream = io.BytesIO()
Image.new("RGB", (30_000, 300), (9, 9, 9)).save(stream, "PNG")
image = decode(open_image(stream.getvalue(), max_pixels=10**7))
pixels = framed(image, framing_from_input(show_tagger("wd-vit-tagger-v3").contract.input))
print(pixels.shape, pixels[0, 0].tolist(), int(pixels[224, 224].max()) < 20)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.stdout == "(448, 448, 3) [255, 255, 255] True\n", done.stderr
    assert resource.getrlimit(resource.RLIMIT_AS)[0] != 2_000_000_000


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's remarks on damaged metadata
@given(
    kind=st.sampled_from(sorted({*FORMATS} & {*Image.SAVE} - {"DIB"})),
    seed=st.integers(0, 2**32 - 1),
)
@hypothesis_settings(deadline=None, max_examples=300)
def test_damaged_bytes_give_pixels_or_an_image_error(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    exif = Image.Exif()
    exif[0x0112] = 6
    noise = Image.fromarray(rng.integers(0, 256, (9, 7, 3), dtype=np.uint8))
    data = bytearray(_bytes(noise, kind, exif=exif.tobytes()))
    for place in rng.integers(0, len(data), rng.integers(1, 12)):
        data[place] = rng.integers(0, 256)
    try:
        decoded = _decoded(bytes(data), max_pixels=100_000)
    except ImageError:
        return  # the one exception that damage may raise
    assert decoded.mode in ("RGB", "RGBA")
    assert min(decoded.size) > 0


def test_file_content_is_the_sha256_and_size(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    content = file_content(tmp_path / "x", max_bytes=3)
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
    assert content == FileContent(known, 3)
    assert read_content(tmp_path / "x", content) == b"abc"


def test_unreadable_files_say_why(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "large").write_bytes(bytes(11))
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, message in (
        ("empty", "empty"),
        ("large", r"11 bytes are more than score\.max_file_bytes = 10"),
        ("pipe", "not a regular file"),
        ("loop", "cannot be read: Too many levels"),
        ("gone", "is gone"),
        (".", "not a regular file"),
        ("x" * 300, "cannot be read: File name too long"),
    ):
        with pytest.raises(ImageError, match=message):
            file_content(tmp_path / name, max_bytes=10)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(b"x")
    path.chmod(0)
    if os.access(path, os.R_OK):
        # The superuser may read everything; this file's reads fail even for it.
        path = Path("/proc/self/mem")
        with pytest.raises(ImageError, match="cannot be read"):
            read_content(path, FileContent("", 1))
    else:
        with pytest.raises(ImageError, match="cannot be read: Permission denied"):
            file_content(path, max_bytes=10)


def test_a_file_that_changes_or_vanishes_between_looks(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    content = file_content(path, max_bytes=10)
    path.write_bytes(b"abd")
    with pytest.raises(ImageError, match="changed while it was being read"):
        read_content(path, content)
    path.unlink()
    with pytest.raises(ImageError, match="is gone"):
        read_content(path, content)
