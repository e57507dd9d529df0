"""How much memory a picture takes while it is decoded and framed, known from its header.

Four bytes a pixel are what is left of it in the end. On the way there a decoder may hold whole
planes of wider numbers, and a conversion the picture twice. Measured by
benchmarks/hostile_pictures.py, and rounded up.
"""

from PIL import Image

# Bytes a pixel in Pillow's memory; four for all that is not here.
_HELD = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}
# Bytes a pixel that the decoder holds beside that.
_DECODER = {
    "AVIF": 12,
    "GIF": 4,
    "HEIF": 12,
    "ICO": 8,
    "JPEG2000": 16,
    "JXL": 16,
    "TIFF": 4,
    "WEBP": 12,
}
_COEFFICIENTS = 6  # of a progressive JPEG: two bytes for each of three channels
_FEWEST = 32 << 20  # what framing takes whatever the picture


def decoding_bytes(header: Image.Image) -> int:
    """Return about how many bytes decoding and framing a picture takes at most.

    Parameters
    ----------
    header : PIL image
        Opened, its pixels not yet read.
    """
    mode, form = header.mode, header.format or ""
    each = _HELD.get(mode, 4) + _DECODER.get(form, 0)
    if form == "JPEG" and header.info.get("progressive"):
        each += _COEFFICIENTS
    if mode not in ("RGB", "RGBA"):
        each += 5  # as RGB, for 16 bits by way of 8
    if header.has_transparency_data:
        each += 6  # laid on the matte
    return _FEWEST + each * header.width * header.height
