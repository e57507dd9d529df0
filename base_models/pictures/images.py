"""From the bytes of a file to pixels, whatever the file holds.

Every fault of a file is an ``ImageError`` with one line of reason; no file stops a run, hangs it
or takes memory beyond the given limits. The content decides the format, never the file's name.
"""

import hashlib
import io
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Condition

import numpy as np
from PIL import Image

from tagstack.base_models.pictures.formats import (
    TURNED,
    MissingDecoderError,
    formats_of,
    size_before_decoding,
)
from tagstack.base_models.pictures.png_chunks import without_large_texts
from tagstack.configs.errors import TagstackError
from tagstack.configs.stand_ins import stand_in


class DecodingBudget:
    """Lets threads decode side by side while their pictures fit the limit together.

    Parameters
    ----------
    limit : int
        Bytes of memory; one picture alone may always be decoded.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._changed = Condition()

    @contextmanager
    def taking(self, size: int) -> Iterator[None]:
        """Wait until ``size`` fits, hold it while the block runs."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + size <= self._limit)
            self._taken += size
        try:
            yield
        finally:
            with self._changed:
                self._taken -= size
                self._changed.notify_all()


# What Pillow's decoders raise on damaged files (found by mutating files of every format).
_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    OverflowError,
    RuntimeError,
    struct.error,
    zlib.error,
)

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BITS = 258  # TIFF's BitsPerSample
_ORIENTATION = 0x0112
_STRIP_PIXELS = 2_000_000
_XMP = frozenset({"xmp", "XML:com.adobe.xmp"})

# The limit of `open_image` stands in its place: Pillow's own is global, warns once, and counts
# twice as many pixels as it says.
Image.MAX_IMAGE_PIXELS = None


class ImageError(TagstackError):
    """An image that cannot be read; the message is the reason, without the path."""


@dataclass(frozen=True)
class FileContent:
    """What identifies a file's content: SHA-256 in hexadecimal, and its size."""

    sha256: str
    size_bytes: int


def file_content(path: Path, *, max_bytes: int) -> FileContent:
    """Return a file's SHA-256 and size, in little memory however large it is.

    Raises
    ------
    ImageError
        If the file is gone, unreadable, not a regular file, empty, or larger than ``max_bytes``.
    """
    try:
        size = _checked_size(path, max_bytes)
        with path.open("rb") as stream:
            return FileContent(hashlib.file_digest(stream, "sha256").hexdigest(), size)
    except (OSError, ValueError) as error:
        raise _unreadable(error) from error


def read_content(path: Path, content: FileContent) -> bytes:
    """Return the bytes of a file that `file_content` has seen.

    Raises
    ------
    ImageError
        If the file is gone, unreadable, or has changed since.
    """
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise _unreadable(error) from error
    if hashlib.sha256(data).hexdigest() != content.sha256:
        raise ImageError("the file changed while it was being read; score it again")
    return data


def _checked_size(path: Path, max_bytes: int) -> int:
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode):  # reading a pipe would wait for ever
        raise ImageError("not a regular file; expected an image file")
    if facts.st_size > max_bytes:
        msg = f"{facts.st_size} bytes are more than score.max_file_bytes = {max_bytes}"
        raise ImageError(msg)
    if facts.st_size == 0:
        raise ImageError("the file is empty (0 bytes)")
    return facts.st_size


def _unreadable(error: OSError | ValueError) -> ImageError:
    if isinstance(error, ImageError):
        return error
    if isinstance(error, ValueError):  # the system takes no name with a zero byte
        return ImageError(f"no file can have this name: {error}")
    if isinstance(error, FileNotFoundError):
        return ImageError("the file is gone: it or what it links to does not exist")
    return ImageError(f"the file cannot be read: {error.strerror or error}")


def open_image(content: bytes, *, max_pixels: int, max_side: int | None = None) -> Image.Image:
    """Return an image whose header has been read, its pixels not yet.

    Raises
    ------
    ImageError
        If the bytes are no image of a known format, or the picture has over ``max_pixels`` pixels
        or a side of over ``max_side``.
    """
    if other := stand_in(content):
        raise ImageError(f"it is {other}")
    try:
        known = size_before_decoding(content)
        if known is not None:
            check_size(*known, max_pixels, max_side)
        image = Image.open(io.BytesIO(without_large_texts(content)), formats=formats_of(content))
    except ImageError:
        raise
    except MissingDecoderError as error:
        raise ImageError(str(error)) from error
    except _DAMAGED as error:
        raise ImageError(f"not an image that can be read: {_reason(error)}") from error
    check_pixels(image, max_pixels, max_side)
    return image


def check_pixels(image: Image.Image, max_pixels: int, max_side: int | None = None) -> None:
    """Raise an `ImageError` if a picture has no pixel, too many, or too long a side."""
    check_size(image.width, image.height, max_pixels, max_side)


def check_size(width: int, height: int, max_pixels: int, max_side: int | None = None) -> None:
    """Raise an `ImageError` for sides in pixels that make no picture or too large a one."""
    n_pixels = width * height
    if not n_pixels:
        raise ImageError(f"{width} x {height} pixels are no picture")
    if n_pixels > max_pixels:
        msg = (
            f"{width} x {height} = {n_pixels} pixels are more than score.max_pixels = {max_pixels}"
        )
        raise ImageError(msg)
    if max_side is not None and max(width, height) > max_side:
        msg = f"{width} x {height} pixels: a side is longer than score.max_side = {max_side}"
        raise ImageError(msg)


def reduced(image: Image.Image, factor: int) -> Image.Image:
    """Return an opened JPEG that will decode at 1/``factor`` of its size: 1, 2, 4 or 8.

    Both sides must be multiples of ``factor``.

    Raises
    ------
    ImageError
        If its decoder does not give that size.
    """
    width, height = image.width // factor, image.height // factor
    if factor > 1:
        image.draft(None, (width, height))
    if image.size != (width, height):
        raise ImageError(f"decodes to {image.size}, expected {(width, height)} at 1/{factor}")
    return image


def decode(image: Image.Image) -> Image.Image:
    """Return the picture upright, first frame only, in mode RGB, or RGBA if it has transparency.

    The alpha channel is kept because its background, the matte, differs between taggers.

    Raises
    ------
    ImageError
        If the file is truncated or damaged, or its pixels have no defined range (TIFF of floats or
        32 bits).
    """
    try:
        image.load()
        return _upright(_eight_bit(image), image)
    except _DAMAGED as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"truncated or damaged: {_reason(error)}") from error
    except MemoryError as error:
        raise ImageError(f"{image.width} x {image.height} pixels do not fit in memory") from error


def _eight_bit(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ImageError("floating-point pixels have no defined white; expected 8 or 16 bits")
    if image.mode == "I" and _BITS in getattr(image, "tag_v2", {}):
        bits = max(image.tag_v2[_BITS])  # type: ignore[attr-defined]
        if bits > 16:
            raise ImageError(
                f"whole numbers of {bits} bits have no defined white; expected 8 or 16"
            )
    if image.mode == "I" or image.mode.startswith("I;"):
        return _scaled_down(image)
    if image.mode == "La":  # of which Pillow makes nothing else
        image = image.convert("LA")
    wanted = "RGBA" if image.has_transparency_data else "RGB"
    # Pillow would copy what has the mode already: a tenth of the time of a half-size JPEG.
    return image if image.mode == wanted else image.convert(wanted)


def _scaled_down(image: Image.Image) -> Image.Image:
    """Return 16-bit pixels as 8-bit ones, some rows at a time: Pillow's own conversion clips."""
    result = Image.new("L", image.size)
    step = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, step):
        strip = image.crop((0, top, image.width, min(top + step, image.height)))
        wide = np.asarray(strip).astype(np.int64).clip(0, 65535)
        result.paste(Image.fromarray(((wide + 128) // 257).astype(np.uint8)), (0, top))
    return result.convert("RGB")


def _upright(image: Image.Image, source: Image.Image) -> Image.Image:
    try:
        turn = _UPRIGHT.get(_orientation(source))
    except _DAMAGED:
        turn = None  # damaged metadata says nothing about the pixels
    return image if turn is None else image.transpose(turn)


def _orientation(source: Image.Image) -> int:
    """Return the EXIF orientation, the one that browsers and viewers heed."""
    if source.format in TURNED:
        return 1
    # Pillow would fall back on XMP, by which browsers turn nothing.
    source.info = {k: v for k, v in source.info.items() if k not in _XMP}
    return int(source.getexif().get(_ORIENTATION, 1))


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return "unknown format" if "cannot identify image file" in text else text
