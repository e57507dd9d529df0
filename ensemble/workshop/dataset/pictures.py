"""Sizes and hashes of a training folder's pictures; a picture that cannot be read has neither."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pictures.images import (
    ImageError,
    decode,
    file_content,
    open_image,
    read_content,
)
from tagstack.base_models.pictures.picture_hash import (
    THUMBNAIL_BYTES,
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
    """

    def __init__(self, folder: CaptionFolder, settings: ScoreSettings) -> None:
        self.folder, self.settings = folder, settings

    def size(self, name: str) -> Size:
        """Return a picture's width and height from its header; None if it cannot be read."""
        try:
            with open_image(self._content(name), max_pixels=self.settings.max_pixels) as image:
                return image.width, image.height
        except ImageError:
            return None

    def groups(self, names: Sequence[str], progress: Progress) -> NDArray[np.int64]:
        """Return a number for each picture, equal for near-duplicates. Shape (n_names,)."""
        known = np.zeros(len(names), bool)
        bits = np.zeros(len(names), np.uint64)
        thumbnails = np.zeros((len(names), THUMBNAIL_BYTES), np.uint8)
        for i, name in enumerate(names):
            try:
                with open_image(self._content(name), max_pixels=self.settings.max_pixels) as image:
                    own = picture_hash(decode(image))
            except ImageError:
                pass
            else:
                known[i], bits[i] = True, own.bits
                thumbnails[i] = np.frombuffer(own.thumbnail, np.uint8)
            progress.stage("looking for near-duplicates", i + 1, len(names))
        hashes = PictureHashes(known=known, bits=bits, thumbnails=thumbnails)
        return near_duplicate_groups(hashes, self.settings.near_duplicates)

    def _content(self, name: str) -> bytes:
        path = self.folder.path(name)
        return read_content(path, file_content(path, max_bytes=self.settings.max_file_bytes))
