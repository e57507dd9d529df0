"""Concept folders as sd-scripts reads them, and repeats that give each its share of an epoch.

Below the training folder, ``10_mychar girl`` is a concept: its pictures, not those of folders in
it, come ten times an epoch. A folder without a number in front is passed over by that trainer.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

_NUMBERED = re.compile(r"(\d{1,6})_(.*)")


@dataclass(frozen=True, kw_only=True)
class Concept:
    """One concept folder.

    Parameters
    ----------
    folder : str
        Its name below the training folder.
    n_images, repeats : int
        As they are; ``repeats`` is 0 where the folder has no number and is passed over.
    proposed : int
        Repeats by which its share comes closest to the one that is wished for.
    share : float
        Of an epoch, with the proposed repeats.
    """

    folder: str
    n_images: int
    repeats: int
    proposed: int
    share: float


def balanced(
    images: tuple[str, ...], weights: Mapping[str, float], *, most: int
) -> tuple[Concept, ...]:
    """Return every concept folder with the repeats that bring its share to its weight.

    The folder with most pictures for its weight is repeated once.

    Parameters
    ----------
    images : tuple of str
        Names below the training folder.
    weights : mapping of folder to float
        Above 0; 1 for folders that are not named.
    most : int
        No folder is repeated more often: few pictures seen too often are learnt by heart.
    """
    counts = Counter(p.parts[0] for p in map(PurePosixPath, images) if len(p.parts) == 2)
    if not counts:
        return ()
    wished = {name: weights.get(name, 1.0) for name in counts}
    fullest = max(counts[name] / wished[name] for name in counts)
    repeats = {
        name: min(most, max(1, round(wished[name] * fullest / n))) for name, n in counts.items()
    }
    total = sum(repeats[name] * n for name, n in counts.items())
    return tuple(
        Concept(
            folder=name,
            n_images=counts[name],
            repeats=_repeats(name),
            proposed=repeats[name],
            share=repeats[name] * counts[name] / total,
        )
        for name in sorted(counts)
    )


def dataset_toml(root: str, concepts: tuple[Concept, ...], extension: str) -> str:
    """Return the ``dataset_config`` of sd-scripts that gives each folder its repeats."""
    lines = [
        "# Written by tagstack dataset balance; for sd-scripts' --dataset_config.",
        "[general]",
        f"caption_extension = {json.dumps(extension)}",
        "",
        "[[datasets]]",
    ]
    for concept in concepts:
        path = json.dumps(f"{root}/{concept.folder}", ensure_ascii=False)
        lines += ["", "[[datasets.subsets]]", f"image_dir = {path}",
                  f"num_repeats = {concept.proposed}"]  # fmt: skip
    return "\n".join(lines) + "\n"


def _repeats(folder: str) -> int:
    found = _NUMBERED.fullmatch(folder)
    return int(found[1]) if found else 0
