"""What the sidecars of a run are called, and which names would not go."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tagstack.configs.errors import TagstackError
from tagstack.configs.output import OutputSettings
from tagstack.ensemble.outputs.format import Sidecar

_MAX_NAME_BYTES = 255  # of one name, on every file system in common use


@dataclass(frozen=True)
class SidecarNames:
    """Names the sidecars of every image of a run.

    Parameters
    ----------
    folder : Path
        Where they go: the pictures' own root, or the output folder.
    images : tuple of str
        Every image of the run: two images of one stem (``1.png``, ``1.jpg``) must not share a
        sidecar, so both then keep their suffix (``1.png.txt``, ``1.jpg.txt``).
    settings : OutputSettings
    """

    folder: Path
    images: tuple[str, ...]
    settings: OutputSettings
    collisions: tuple[str, ...] = ()
    _full: frozenset[str] = frozenset()
    _stems: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        folder: Path,
        images: Sequence[str],
        settings: OutputSettings,
        formats: Mapping[str, Sidecar],
    ) -> "SidecarNames":
        """Return the names of a run's sidecars.

        Raises
        ------
        TagstackError
            If two formats would write one file, or a sidecar would be a picture.
        """
        stem_of = {image: _stem(image) for image in images}
        stems = Counter(stem_of.values())
        # 1.png.png must not take the name that 1.png may need.
        stems.update(image for image, stem in stem_of.items() if stem != image)
        collisions = tuple(image for image, stem in stem_of.items() if stems[stem] > 1)
        names = cls(folder, tuple(images), settings, collisions, frozenset(collisions), stem_of)
        names._check(formats)
        return names

    def path(self, image: str, format: Sidecar) -> str:
        """Return the path of an image's sidecar; text, as a path costs ten times as much."""
        full = image in self._full or self._style(format) == "full"
        return f"{self._place}/{image if full else self._stem(image)}{format.ending}"

    def other_path(self, image: str, format: Sidecar) -> str:
        """Return the path that the sidecar would have if the other names were in use."""
        full = image in self._full or self._style(format) == "full"
        return f"{self._place}/{self._stem(image) if full else image}{format.ending}"

    def fault(self, path: str) -> str:
        """Return why a sidecar of this name cannot be; empty if it can."""
        size = len(os.fsencode(os.path.basename(path)))
        if size <= _MAX_NAME_BYTES:
            return ""
        return (
            f"its sidecar would have a name of {size} bytes, over the limit of "
            f"{_MAX_NAME_BYTES}; shorten the image's name, or use --format jsonl"
        )

    @cached_property
    def _place(self) -> str:
        return str(self.folder)

    def _stem(self, image: str) -> str:
        return self._stems.get(image) or _stem(image)

    def _style(self, format: Sidecar) -> str:
        style = self.settings.sidecar_name
        return format.name if style == "format" else style

    def _check(self, formats: Mapping[str, Sidecar]) -> None:
        taken: dict[str, str] = {}
        for name, form in formats.items():
            others = [other for other in formats.values() if other.ending == form.ending]
            if len(others) < 2 and not self.settings.beside:
                continue
            for image in self.images:
                path = self.path(image, form)
                if path in taken:
                    msg = (
                        f"The formats {taken[path]} and {name} would both write {path}. Run `tag` "
                        "once for each with an --out of its own, or give captions another "
                        "--extension."
                    )
                    raise TagstackError(msg)
                taken[path] = name
        if self.settings.beside:
            for image in self.images:
                if f"{self.folder}/{image}" in taken:
                    msg = (
                        f"A sidecar would replace the picture {image}. Choose another --extension."
                    )
                    raise TagstackError(msg)


def _stem(image: str) -> str:
    return os.path.splitext(image)[0]
