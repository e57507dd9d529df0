"""Memory is known before it is taken, and bounded."""

import io

import numpy as np
import pytest
from PIL import Image

from tagstack.base_models.pictures.framed_pixels import framed_picture
from tagstack.base_models.pictures.images import DecodingBudget, ImageError, decode, open_image
from tagstack.base_models.pictures.memory import decoding_bytes

MANY = 10**9


def _saved(image: Image.Image, kind: str) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def _each(data: bytes) -> int:
    """Return the bytes a pixel beyond what an empty picture takes."""
    header = open_image(data, max_pixels=MANY)
    empty = decoding_bytes(open_image(_saved(Image.new("RGB", (1, 1)), "PNG"), max_pixels=MANY))
    return round((decoding_bytes(header) - empty) / (header.width * header.height))


def test_memory_depends_on_mode_and_format() -> None:
    rgb = Image.new("RGB", (100, 100))
    assert _each(_saved(rgb, "PNG")) == 4
    assert _each(_saved(Image.new("RGBA", (100, 100)), "PNG")) == 10
    assert _each(_saved(rgb, "JPEG2000")) == 20
    assert _each(_saved(rgb, "WEBP")) == 16


def test_what_would_take_more_is_refused_before_it_is_decoded() -> None:
    data = _saved(Image.new("RGB", (4000, 2000)), "JPEG2000")
    with pytest.raises(ImageError, match=r"about 184 MiB, more than score\.decode_mib = 64"):
        framed_picture(
            data[: len(data) // 2],  # its pixels are not there at all
            [],
            max_pixels=MANY,
            max_bytes=64 << 20,
            budget=DecodingBudget(64 << 20),
        )


def test_sixteen_bits_are_scaled_some_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tagstack.base_models.pictures.images._STRIP_PIXELS", 7)
    wide = np.arange(0, 65536, 257 * 3, dtype=np.uint16)[:84].reshape(12, 7)
    data = _saved(Image.fromarray(wide), "PNG")
    found = np.asarray(decode(open_image(data, max_pixels=MANY)))
    expected = ((wide.astype(np.int64) + 128) // 257).astype(np.uint8)
    np.testing.assert_array_equal(found, np.stack([expected] * 3, axis=2))
