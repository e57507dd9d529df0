"""Pictures as the page shows them: small, upright, from the given folder alone."""

import io
from collections import OrderedDict
from pathlib import Path
from threading import Lock

from PIL import Image

from tagstack.base_models.pictures.images import DecodingBudget, ImageError, decode, open_image
from tagstack.configs.level1 import ScoreSettings

_QUALITY = 85
_KEPT_BYTES = 96 * 2**20  # of encoded pictures, so that a card shown twice is decoded once
_DECODED_BYTES = 512 * 2**20  # of pictures that are decoded at the same time
_PIXEL_BYTES = 8  # decoded, and once more while it is turned


class Thumbnails:
    """Encoded pictures by path and size; threads may share it.

    Parameters
    ----------
    settings : ScoreSettings
        For the limits on files and pixels.
    """

    def __init__(self, settings: ScoreSettings) -> None:
        self._settings = settings
        self._budget = DecodingBudget(_DECODED_BYTES)
        self._kept: OrderedDict[tuple[Path, int], bytes] = OrderedDict()
        self._size, self._lock = 0, Lock()

    def jpeg(self, path: Path, longer_side_px: int) -> bytes:
        """Return a picture as JPEG that fits a square of this size, on white.

        Raises
        ------
        ImageError
            If it cannot be read.
        """
        key = (path, longer_side_px)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = self._made(path, longer_side_px)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = made
                self._size += len(made)
            while self._size > _KEPT_BYTES and len(self._kept) > 1:
                self._size -= len(self._kept.popitem(last=False)[1])
        return made

    def _made(self, path: Path, longer_side_px: int) -> bytes:
        limit = self._settings.max_file_bytes
        try:
            if not path.is_file() or path.stat().st_size > limit:
                raise ImageError("no regular file of the allowed size")
            content = path.read_bytes()
        except OSError as error:
            raise ImageError(f"the file cannot be read: {error.strerror or error}") from error
        image = open_image(content, max_pixels=self._settings.max_pixels)
        if image.format == "JPEG":
            image.draft("RGB", (longer_side_px, longer_side_px))
        with self._budget.taking(image.width * image.height * _PIXEL_BYTES):
            picture = decode(image)
            picture.thumbnail((longer_side_px, longer_side_px), Image.Resampling.LANCZOS)
        stream = io.BytesIO()
        _on_white(picture).save(stream, "JPEG", quality=_QUALITY)
        return stream.getvalue()


def _on_white(picture: Image.Image) -> Image.Image:
    if picture.mode != "RGBA":
        return picture
    white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    white.alpha_composite(picture)
    return white.convert("RGB")
