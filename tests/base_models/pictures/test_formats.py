"""Formats beyond Pillow's own: read where their decoder is there, bounded before it runs."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tagstack.base_models.pictures import formats
from tagstack.base_models.pictures.images import ImageError, decode, open_image

XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    b'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


def picture(width: int = 24, height: int = 16) -> Image.Image:
    ramp = np.add.outer(np.arange(height) * 3, np.arange(width) * 4).astype(np.uint8)
    return Image.fromarray(np.stack([ramp, ramp // 2, 255 - ramp], axis=-1))


def encoded(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    if kind == "JXL":
        pytest.importorskip("pillow_jxl", reason="the extra `formats` is not installed")
    if kind == "HEIF":
        pillow_heif = pytest.importorskip("pillow_heif", reason="the extra is not installed")
        pillow_heif.register_heif_opener()
    stream = io.BytesIO()
    (image or picture()).save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("kind", "options"),
    [("JXL", {"lossless": True}), ("HEIF", {"quality": -1, "chroma": 444}), ("TGA", {}),
     ("TGA", {"compression": "tga_rle"}), ("ICO", {"sizes": [(24, 16)]})],
)  # fmt: skip
def test_a_picture_is_read_whatever_its_format(kind: str, options: dict[str, Any]) -> None:
    image = open_image(encoded(kind, **options), max_pixels=10_000)
    found = np.asarray(decode(image).convert("RGB")).astype(int)
    assert found.shape == (16, 24, 3)
    assert abs(found - np.asarray(picture()).astype(int)).max() <= (6 if kind == "HEIF" else 0)


@given(st.integers(1, 70_000), st.integers(1, 70_000))
def test_the_size_of_a_jxl_is_known_from_its_header(width: int, height: int) -> None:
    bits, n_bits = 0, 0

    def put(value: int, size: int) -> None:
        nonlocal bits, n_bits
        bits |= value << n_bits
        n_bits += size

    def side(value: int) -> None:
        kind = next(i for i, size in enumerate((9, 13, 18, 30)) if value <= 1 << size)
        put(kind, 2)
        put(value - 1, (9, 13, 18, 30)[kind])

    put(0, 1)
    side(height)
    put(0, 3)
    side(width)
    stream = b"\xff\x0a" + bits.to_bytes(16, "little")
    assert formats.jxl_size(stream) == (width, height)
    box = struct.pack(">I4s", 8 + 16, b"ftyp") + bytes(16)
    boxed = formats._JXL_BOX + box + struct.pack(">I4s", 0, b"jxlc") + stream
    assert formats.jxl_size(boxed) == (width, height)


@pytest.mark.parametrize("size", [(24, 16), (256, 256), (120, 80), (640, 360), (1, 700)])
def test_the_size_of_encoded_jxl_is_found(size: tuple[int, int]) -> None:
    assert formats.jxl_size(encoded("JXL", picture(*size))) == size


def test_a_jxl_is_bounded_before_it_is_decoded() -> None:
    with pytest.raises(ImageError, match=r"24 x 16 = 384 pixels are more than"):
        open_image(encoded("JXL"), max_pixels=300)


@pytest.mark.parametrize("kind", ["JXL", "HEIF"])
def test_a_missing_decoder_names_the_extra(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(kind)
    monkeypatch.setattr(formats, "_loaded", lambda _: False)
    with pytest.raises(ImageError, match=rf"{kind} files need an extra: pip install"):
        open_image(content, max_pixels=10_000)


def test_endings_without_their_decoder_are_no_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda _: None)
    assert formats.readable((".png", ".jxl", ".heic")) == (".png",)


@pytest.mark.parametrize("content", [bytes(18), bytes(1000), b"text that is no picture " * 40])
def test_bytes_of_any_kind_are_no_tga(content: bytes) -> None:
    assert formats.formats_of(content) == formats.FORMATS
    with pytest.raises(ImageError, match="unknown format"):
        open_image(content, max_pixels=10_000)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_orientation_in_xmp_alone_turns_nothing_as_in_browsers(kind: str) -> None:
    options: dict[str, Any] = {"xmp": XMP}
    if kind == "PNG":
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", XMP.decode())
        options = {"pnginfo": info}
    image = open_image(encoded(kind, **options), max_pixels=10_000)
    assert decode(image).size == (24, 16)


def test_orientation_in_exif_turns_though_xmp_says_otherwise() -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    image = open_image(encoded("JPEG", xmp=XMP, exif=exif.tobytes()), max_pixels=10_000)
    assert decode(image).size == (16, 24)


def test_a_jxl_is_not_turned_twice() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = open_image(encoded("JXL", exif=exif.tobytes()), max_pixels=10_000)
    assert decode(image).size == (24, 16)
