"""The pictures and captions of a training folder, and which belong together."""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tagstack.base_models.scoring.sources import find_images
from tagstack.configs.errors import TagstackError

JSON = ".json"


@dataclass(frozen=True, kw_only=True)
class CaptionFolder:
    """A training folder by the names of its files; nothing of them is read.

    Parameters
    ----------
    root : Path
        Absolute.
    images, captions : tuple of str
        Paths below the root, sorted.
    unlisted : tuple of (str, str)
        Folders that could not be listed, and why.
    """

    root: Path
    images: tuple[str, ...]
    captions: tuple[str, ...]
    unlisted: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(
        cls, folder: Path, *, extensions: Sequence[str], endings: Sequence[str]
    ) -> "CaptionFolder":
        """Return what a folder and those below it hold, hidden ones and those of systems left out.

        Parameters
        ----------
        folder : Path
        extensions : sequence of str
            Endings of pictures.
        endings : sequence of str
            Endings of captions. A ``.json`` counts where it is a picture's.

        Raises
        ------
        TagstackError
            If it is no folder, or holds neither pictures nor captions.
        """
        if not folder.is_dir():
            msg = f"{folder} is no folder. Give the folder with the pictures and their captions."
            raise TagstackError(msg)
        pictures, texts = tuple(e.lower() for e in extensions), tuple(e.lower() for e in endings)
        found = find_images([folder], extensions=(*pictures, *texts, JSON), none_allowed=True)
        images = tuple(name for name in found.names if name.lower().endswith(pictures))
        stems = {form for name in images for form in (name, _stem(name))}
        captions = tuple(
            name
            for name in found.names
            if name.lower().endswith(texts)
            or (name.lower().endswith(JSON) and _stem(name) in stems)
        )
        if not images and not captions:
            passed = found.passed_over_text()
            msg = (
                f"{folder} holds neither pictures nor captions ({', '.join(endings)})"
                f"{f'; passed over {passed}' if passed else ''}. Give another folder, or name the "
                "endings in dataset.caption_extensions."
            )
            raise TagstackError(msg)
        unlisted = tuple((item.name, item.reason) for item in found.failures)
        return cls(root=found.root, images=images, captions=captions, unlisted=unlisted)

    @cached_property
    def captions_of(self) -> Mapping[str, tuple[str, ...]]:
        """The captions of each picture: of its whole name (``1.png.txt``) or its stem."""
        own: defaultdict[str, list[str]] = defaultdict(list)
        for caption in self.captions:
            own[_stem(caption)].append(caption)
        return {
            image: tuple(dict.fromkeys((*own.get(image, ()), *own.get(_stem(image), ()))))
            for image in self.images
        }

    @cached_property
    def alone(self) -> tuple[str, ...]:
        """Captions of no picture."""
        used = {caption for own in self.captions_of.values() for caption in own}
        return tuple(caption for caption in self.captions if caption not in used)

    @cached_property
    def of_pictures(self) -> tuple[str, ...]:
        """Captions of pictures; all where there is not one picture.

        Other texts among pictures (``readme.txt``) are none of a trainer's business, nor ours.
        """
        if not self.images:
            return self.captions
        alone = set(self.alone)
        return tuple(caption for caption in self.captions if caption not in alone)

    def path(self, name: str) -> Path:
        """Return the file of a name."""
        return self.root / name


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]
