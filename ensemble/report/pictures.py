"""Small pictures inside the report, so that it stays one file."""

import base64
import io
from pathlib import Path

from PIL import Image

from tagstack.base_models.pictures.images import ImageError, decode, open_image

_MAX_PIXELS = 64_000_000
_QUALITY = 80


def thumbnail(path: Path | None, longer_side_px: int) -> str | None:
    """Return a JPEG data URI of an image file, or None if there is no readable picture.

    Parameters
    ----------
    path : Path, optional
    longer_side_px : int
        The picture is shrunk to fit a square of this size, never enlarged.
    """
    if path is None:
        return None
    try:
        picture = decode(open_image(path.read_bytes(), max_pixels=_MAX_PIXELS))
    except (OSError, ImageError):
        return None  # the report says that the picture is missing; tags and figures stand
    picture.thumbnail((longer_side_px, longer_side_px), Image.Resampling.LANCZOS)
    target = io.BytesIO()
    _on_white(picture).save(target, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(target.getvalue()).decode("ascii")


def _on_white(picture: Image.Image) -> Image.Image:
    if picture.mode != "RGBA":
        return picture
    white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    white.alpha_composite(picture)
    return white.convert("RGB")
