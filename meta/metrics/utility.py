"""What decisions are worth to somebody, tag by tag: a score made of a table of values.

One row a tag: what a right tag, a wrong one, a missed one and one rightly left out are worth. A row
``*`` is for all tags without one of their own; without it these are worth what the settings say.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.tag_names import TagNames, did_you_mean
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.decisions import UtilitySettings
from tagstack.configs.errors import TagstackError
from tagstack.configs.shown import shown
from tagstack.configs.tables import number_of, read_table
from tagstack.meta.metrics.scores import Judged, Score

OUTCOMES = ("tp", "fp", "fn", "tn")
_ALL = "*"


def read_utility(
    path: Path, vocabulary: Vocabulary, others: UtilitySettings
) -> NDArray[np.float64]:
    """Return what each outcome is worth for each tag, shape (4, n_tags), in order of `OUTCOMES`.

    Parameters
    ----------
    path : Path
        CSV with a column ``tag`` and any of ``tp``, ``fp``, ``fn`` and ``tn``; an empty cell or a
        column that is not there is what the row ``*`` or ``others`` says.
    vocabulary : Vocabulary
        Rows of other tags are an error: a misspelt tag would be worth what all are.
    others : UtilitySettings
        ``thresholds.utility``.

    Raises
    ------
    TagstackError
        If the file cannot be read, names an unknown tag or one twice, or a value is no number.
    """
    table = read_table(path, what="values of decisions", expected=("tag", *OUTCOMES))
    columns = [name for name in OUTCOMES if name in table.columns]
    if "tag" not in table.columns or not columns:
        msg = f"{path} has columns {sorted(table.columns)}; expected tag and some of {OUTCOMES}."
        raise TagstackError(msg)
    names, seen = TagNames(vocabulary), set[int | None]()
    worth = np.repeat([[getattr(others, name)] for name in OUTCOMES], len(vocabulary), axis=1)
    worth = worth.astype(np.float64)
    # The row for all others comes first, wherever it stands.
    for row in sorted(table.rows, key=lambda row: row.cells["tag"] != _ALL):
        tag = row.cells["tag"]
        place = None if tag == _ALL else names.find(tag)
        if place is None and tag != _ALL:
            hint = did_you_mean(tag, vocabulary.tags) or "Take the row out."
            msg = f"{path}, line {row.line}: no tag {shown(tag)!r:.80} is known here. {hint}"
            raise TagstackError(msg)
        if place in seen:
            raise TagstackError(f"{path}, line {row.line}: {shown(tag)!r:.80} is there twice.")
        seen.add(place)
        for name in columns:
            if cell := row.cells[name].strip():
                value = number_of(cell, f"{path}, line {row.line}, {name}")
                if not np.isfinite(value):
                    raise TagstackError(f"{path}, line {row.line}: {name} is {cell}, no number.")
                worth[OUTCOMES.index(name), slice(None) if place is None else place] = value
    return worth


def utility_score(worth: NDArray[np.float64]) -> Score:
    """Return the score: what the decisions on an image are worth, on average.

    Parameters
    ----------
    worth : array of shape (4, n_tags), float64
        As of `read_utility`. Pairs whose label nobody knows are worth nothing.
    """

    def value(judged: Judged) -> float:
        counts, n_images = judged.by_tag, judged.labels.shape[0]
        wrong, missed = counts.predicted - counts.hits, counts.positives - counts.hits
        known = np.full(len(wrong), n_images)
        if judged.unknown is not None:
            known -= judged.unknown.sum(axis=0).astype(np.int64)
        left_out = known - counts.predicted - missed
        outcomes = np.stack([counts.hits, wrong, missed, left_out])
        return float((worth * outcomes).sum() / n_images) if n_images else float("nan")

    return Score(
        name="utility",
        title="Utility",
        meaning="what the decisions on an image are worth, by your table of values",
        needs="decisions",
        function=value,
    )
