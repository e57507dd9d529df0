"""Sizes and hashes of a training folder's pictures; a picture that cannot be read has neither."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tagstack.base_models.pictures.images import (
    ImageError,
    decode,
    file_content,
    open_image,
    read_content,
)
from tagstack.base_models.pictures.picture_hash import (
    THUMBNAIL_BYTES,
    PictureHash,
    PictureHashes,
    picture_hash,
)
from tagstack.configs.level1 import ScoreSettings
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.workshop.dataset.folder import CaptionFolder
from tagstack.meta.labels.near_duplicates import near_duplicate_groups

Size = tuple[int, int] | None


class MeasuredPictures:
    """Width and height of pictures, and which are near-duplicates.

    Parameters
    ----------
    folder : CaptionFolder
    settings : ScoreSettings
    hashing : bool
        Whether `size` looks at the whole picture, so that `groups` need not open it again.
    """

    def __init__(
        self, folder: CaptionFolder, settings: ScoreSettings, *, hashing: bool = False
    ) -> None:
        self.folder, self.settings, self.hashing = folder, settings, hashing
        self._hashes: dict[str, PictureHash | None] = {}

    def size(self, name: str) -> Size:
        """Return a picture's width and height from its header; None if it cannot be read."""
        try:
            with self._opened(name) as image:
                size = image.width, image.height
                if self.hashing:
                    self._hashes[name] = _hash_of(image)
                return size
        except ImageError:
            return None

    def groups(self, names: Sequence[str], progress: Progress) -> NDArray[np.int64]:
        """Return a number for each picture, equal for near-duplicates. Shape (n_names,)."""
        known = np.zeros(len(names), bool)
        bits = np.zeros(len(names), np.uint64)
        thumbnails = np.zeros((len(names), THUMBNAIL_BYTES), np.uint8)
        for i, name in enumerate(names):
            own = self._hashes[name] if name in self._hashes else self._hash(name)
            if own is not None:
                known[i], bits[i] = True, own.bits
                thumbnails[i] = np.frombuffer(own.thumbnail, np.uint8)
            progress.stage("looking for near-duplicates", i + 1, len(names))
        hashes = PictureHashes(known=known, bits=bits, thumbnails=thumbnails)
        return near_duplicate_groups(hashes, self.settings.near_duplicates)

    def _hash(self, name: str) -> PictureHash | None:
        try:
            with self._opened(name) as image:
                return _hash_of(image)
        except ImageError:
            return None

    def _opened(self, name: str) -> Image.Image:
        path = self.folder.path(name)
        content = read_content(path, file_content(path, max_bytes=self.settings.max_file_bytes))
        return open_image(content, max_pixels=self.settings.max_pixels)


def _hash_of(image: Image.Image) -> PictureHash | None:
    try:
        return picture_hash(decode(image))
    except ImageError:
        return None
