"""What the rows of a tag file become: a vocabulary under current names, and thresholds."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.contract import Contract
from tagstack.base_models.tag_files import TagRow
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError


def vocabulary_from_rows(rows: Sequence[TagRow], contract: Contract) -> Vocabulary:
    """Return the tags under their current names.

    Raises
    ------
    TagstackError
        If an alias names no tag of the file, or leads to a name that another row has.
    """
    unknown = set(contract.aliases) - {row.tag for row in rows}
    if unknown:
        msg = f"Tagger {contract.name!r}: [aliases] names tags it lacks: {sorted(unknown)[:5]}."
        raise TagstackError(msg)
    tags = tuple(contract.aliases.get(row.tag, row.tag) for row in rows)
    return Vocabulary(tags, tuple(row.category for row in rows))


def thresholds_from_rows(rows: Sequence[TagRow], contract: Contract) -> NDArray[np.float32]:
    """Return the published threshold of each row, shape (n_tags,), float32."""
    published = contract.threshold
    by_category = (published.per_category.get(row.category, published.default) for row in rows)
    pairs = zip(rows, by_category, strict=True)
    values = [other if row.best_threshold is None else row.best_threshold for row, other in pairs]
    return np.array(values, np.float32)
