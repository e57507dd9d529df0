"""Labels by themselves, without scores: what rules are audited on and mined from."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.rules.hygiene import canonical_names
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.meta.labels.label_files import LabelRow, read_labels
from tagstack.meta.labels.labels import align_labels


@dataclass(frozen=True, kw_only=True)
class LabelledTags:
    """Which image has which tag, over every tag that the labels name.

    Parameters
    ----------
    source : str
        Where the labels came from, for messages and evidence.
    vocabulary : Vocabulary
    tags, unknown : csr_array of shape (n_images, n_tags), bool
        Nothing is true where it is unknown.
    notices : tuple of str
        What of the labels could not be used, a line each.
    """

    source: str
    vocabulary: Vocabulary
    tags: sparse.csr_array
    unknown: sparse.csr_array
    notices: tuple[str, ...] = ()

    @property
    def n_images(self) -> int:
        """Number of labelled images."""
        return int(self.tags.shape[0])

    def take(self, images: NDArray[np.intp]) -> "LabelledTags":
        """Return the images at these indices, in that order."""
        return LabelledTags(
            source=self.source,
            vocabulary=self.vocabulary,
            tags=self.tags[images],
            unknown=self.unknown[images],
        )


def read_labelled(
    source: Path,
    rules: Rules,
    *,
    where: str | None = None,
    unknown_if_absent: tuple[str, ...] = (),
) -> LabelledTags:
    """Return the tags of a label file, old names replaced as the rules' aliases say.

    Parameters
    ----------
    source : Path
        CSV, JSONL or a folder of sidecars.
    rules : Rules
    where : str, optional
        ``COLUMN=VALUE``: only these rows.
    unknown_if_absent : tuple of str
        Families of tags that are unknown for an image with none of them.

    Raises
    ------
    TagstackError
        If the labels cannot be read or name no tag at all.
    """
    table = read_labels(source, where=where)
    aliases = canonical_names(rules.aliases)
    vocabulary = _vocabulary(table.rows, aliases)
    if not len(vocabulary):
        msg = f"{source} names no tag on any of its {len(table.rows)} images. Give labelled images."
        raise TagstackError(msg)
    aligned = align_labels(
        table,
        tuple(dict.fromkeys(row.image for row in table.rows)),
        vocabulary,
        aliases,
        groups={rule.id: rule.tags for rule in rules.exclusives},
        unknown_if_absent=unknown_if_absent,
    )
    return LabelledTags(
        source=source.name,
        vocabulary=vocabulary,
        tags=aligned.matrix,
        unknown=aligned.unknown,
        notices=aligned.notices,
    )


def _vocabulary(rows: tuple[LabelRow, ...], aliases: dict[str, str]) -> Vocabulary:
    names = sorted({aliases.get(tag, tag) for row in rows for tag in row.tags})
    return Vocabulary(tuple(names), ("",) * len(names))
