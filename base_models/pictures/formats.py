"""Which raster formats are read: by content, with decoders that execute nothing.

What Pillow reads by itself is always there. JPEG XL and HEIC come with an extra, whose decoders
are loaded when the first such file is met; TGA has no signature, so its header must hold together.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.util import find_spec

from PIL import Image

# EPS is left out: it would start an external interpreter on a stranger's file.
_SAFE = (
    "AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "PNG", "PPM", "QOI", "TIFF", "WEBP",
)  # fmt: skip
# Pillow's modules for these and TGA; `Image.init` would load three times as many.
_PLUGINS = (
    "Avif", "Bmp", "Gif", "Ico", "Jpeg", "Jpeg2K", "Png", "Ppm", "Qoi", "Tga", "Tiff", "WebP",
)  # fmt: skip


def _registered() -> tuple[str, ...]:
    """Load what reads the safe formats and return those that this Pillow has."""
    for name in _PLUGINS:
        with suppress(ImportError):  # a Pillow from before that format
            import_module(f"PIL.{name}ImagePlugin")
    return tuple(name for name in _SAFE if name in Image.OPEN)


FORMATS = _registered()

_JXL_STREAM, _JXL_BOX = b"\xff\x0a", b"\x00\x00\x00\x0cJXL \x0d\x0a\x87\x0a"
_HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
TURNED = frozenset(("JXL", "HEIF"))
"""Formats whose decoders turn the picture upright themselves."""

_NEEDS = {"JXL": "pillow_jxl", "HEIF": "pillow_heif"}
_ENDINGS = {".jxl": "JXL", ".heic": "HEIF", ".heif": "HEIF"}


class MissingDecoderError(ValueError):
    """A picture whose decoder is not installed."""


def formats_of(content: bytes) -> tuple[str, ...]:
    """Return the formats that Pillow may try on a file's bytes, with their decoders loaded.

    Raises
    ------
    MissingDecoderError
        If only an extra reads such files and it is not installed.
    """
    name = _of_extra(content)
    if name is None:
        return ("TGA",) if _is_tga(content) else FORMATS
    if not _loaded(name):
        msg = f"{name} files need an extra: pip install 'tagstack[formats]'"
        raise MissingDecoderError(msg)
    return (name,)


def size_before_decoding(content: bytes) -> tuple[int, int] | None:
    """Return width and height where opening a file decodes it, so that they are known before."""
    return jxl_size(content) if _of_extra(content) == "JXL" else None


def readable(extensions: Sequence[str]) -> tuple[str, ...]:
    """Return those file endings whose decoders are installed."""
    return tuple(e for e in extensions if e not in _ENDINGS or find_spec(_NEEDS[_ENDINGS[e]]))


def jxl_size(content: bytes) -> tuple[int, int] | None:
    """Return width and height in a JPEG XL file's header; None where it cannot be found.

    The first bits of the codestream are ISO/IEC 18181-1's SizeHeader.
    """
    stream = next(_jxl_streams(content), b"")
    if not stream.startswith(_JXL_STREAM):
        return None
    bits = _Bits(stream[2:16])
    small = bits.take(1)

    def side() -> int:
        if small:
            return 8 * (bits.take(5) + 1)
        return bits.take((9, 13, 18, 30)[bits.take(2)]) + 1

    height = side()
    ratio = bits.take(3)
    if ratio:
        across, down = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
        return height * across // down, height
    return side(), height


class _Bits:
    """Reads whole numbers bit by bit, lowest bit first."""

    def __init__(self, content: bytes) -> None:
        self._left = int.from_bytes(content, "little")

    def take(self, n_bits: int) -> int:
        value = self._left & ((1 << n_bits) - 1)
        self._left >>= n_bits
        return value


def _jxl_streams(content: bytes) -> Iterator[bytes]:
    """Yield the codestream, or where it begins in each box that may hold it."""
    if content.startswith(_JXL_STREAM):
        yield content[:32]
        return
    place = 0
    while place + 8 <= len(content):
        size, kind = struct.unpack(">I4s", content[place : place + 8])
        body = place + (16 if size == 1 else 8)
        if size == 1 and place + 16 <= len(content):
            (size,) = struct.unpack(">Q", content[place + 8 : place + 16])
        if kind in {b"jxlc", b"jxlp"}:
            body += 4 * (kind == b"jxlp")  # the part's number
            yield content[body : body + 32]
        place += size if size >= body - place else len(content)


def _of_extra(content: bytes) -> str | None:
    if content.startswith((_JXL_STREAM, _JXL_BOX)):
        return "JXL"
    if content[4:8] == b"ftyp" and content[8:12] in _HEIF_BRANDS:
        # AVIF files may name the general brand first, and their own among the compatible ones.
        return None if b"avif" in content[16 : content[3]] else "HEIF"
    return None


@cache
def _loaded(name: str) -> bool:
    """Load the decoder of a format and return whether it is there."""
    loaders: dict[str, Callable[[], None]] = {"JXL": _load_jxl, "HEIF": _load_heif}
    try:
        loaders[name]()
    except ImportError:
        return False
    return True


def _load_jxl() -> None:
    from pillow_jxl import JpegXLImagePlugin

    # Threads are the pipeline's business: one picture is decoded by one of them.
    JpegXLImagePlugin.DECODE_THREADS = 0


def _load_heif() -> None:
    from pillow_heif import options, register_heif_opener

    options.DECODE_THREADS = 1
    register_heif_opener(thumbnails=False)


def _is_tga(content: bytes) -> bool:
    """Return whether a header holds together as TGA's, which has no signature of its own."""
    if len(content) < 18 or any(_accepts(name, content) for name in FORMATS):
        return False
    id_length, has_map, kind, _, map_length, map_bits, _, _, width, height, depth, flags = (
        struct.unpack("<BBBHHBHHHHBB", content[:18])
    )
    mapped = kind in (1, 9)
    if kind not in (1, 2, 3, 9, 10, 11) or has_map != mapped or not width or not height:
        return False
    if depth not in ((8,) if kind in (1, 3, 9, 11) else (15, 16, 24, 32)) or flags & 0xC0:
        return False
    if mapped and (not map_length or map_bits not in (15, 16, 24, 32)):
        return False
    rest = len(content) - 18 - id_length - map_length * ((map_bits + 7) // 8) * has_map
    least = width * height * ((depth + 7) // 8)
    return bool(rest >= (least if kind < 8 else least // 128))


def _accepts(name: str, content: bytes) -> bool:
    accept = Image.OPEN[name][1]
    answer: bool | str = accept(content[:16]) if accept is not None else False
    return answer is True  # a text says why the format is known but not read
