"""What decisions are worth to somebody, tag by tag: a score made of a table of values.

One row a tag: what a right tag, a wrong one, a missed one and one rightly left out are worth. A row
``*`` is for all tags without one of their own; without it these are worth what the settings say.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.tag_names import TagNames, did_you_mean
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.decisions import UtilitySettings
from tagstack.configs.errors import TagstackError
from tagstack.configs.shown import shown
from tagstack.configs.tables import number_of, read_table
from tagstack.meta.labels.truth import known_labels
from tagstack.meta.metrics.counts import count_by_tag
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
                where = f"{path}, line {row.line}, {name}"
                value = number_of(cell, where, table.separator)
                if not np.isfinite(value):
                    raise TagstackError(f"{path}, line {row.line}: {name} is {cell}, no number.")
                worth[OUTCOMES.index(name), slice(None) if place is None else place] = value
    return worth


def utility_of(table: str, vocabulary: Vocabulary) -> NDArray[np.float64] | None:
    """Return the worths in a table by which decisions are made, as `read_utility`; None for "".

    An array of shape (4, n_tags), float64: true and false positives, false and true negatives.

    Raises
    ------
    TagstackError
        As `read_utility`; and if a tag's worths say that a mistake is as good as no mistake.
    """
    if not table:
        return None
    from tagstack.configs.settings import load_settings

    worth = read_utility(Path(table), vocabulary, load_settings().thresholds.utility)
    tp, fp, fn, tn = worth
    wrong = np.flatnonzero(~((tp > fn) & (tn > fp)))
    if len(wrong):
        place = wrong[0]
        values = ", ".join(f"{n}={v:g}" for n, v in zip(OUTCOMES, worth[:, place], strict=True))
        msg = (
            f"{table}: {vocabulary.tags[place]!r:.80} has {values}; expected tp > fn and tn > fp, "
            "else nothing is to be decided. Correct its row."
        )
        raise TagstackError(msg)
    return worth


def break_even_of(worth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return from which probability on tagging pays, in (0, 1), shape (n_tags,).

    References
    ----------
    Elkan (2001), "The foundations of cost-sensitive learning".
    """
    tp, fp, fn, tn = worth
    return np.asarray((tn - fp) / ((tn - fp) + (tp - fn)))


def mean_utility(
    decided: sparse.csr_array,
    labels: sparse.csr_array,
    worth: NDArray[np.float64],
    unknown: sparse.csr_array | None = None,
) -> float:
    """Return what the decisions on an image are worth, on average; NaN without an image.

    Parameters
    ----------
    decided, labels : csr_array of shape (n_images, n_tags), bool
    worth : array of shape (4, n_tags), float64
    unknown : csr_array of shape (n_images, n_tags), bool, optional
        Pairs that are worth nothing, since nobody knows their label; nothing is true there.
    """
    n_images = labels.shape[0]
    if not n_images:
        return float("nan")
    known = np.full(labels.shape[1], n_images)
    if unknown is not None:
        decided = known_labels(decided, unknown)
        known -= np.asarray(unknown.sum(axis=0, dtype=np.int64)).ravel()
    counts = count_by_tag(decided, labels)
    wrong, missed = counts.predicted - counts.hits, counts.positives - counts.hits
    outcomes = np.stack([counts.hits, wrong, missed, known - counts.predicted - missed])
    return float((worth * outcomes).sum() / n_images)


def utility_score(worth: NDArray[np.float64]) -> Score:
    """Return the score: what the decisions on an image are worth, on average.

    Parameters
    ----------
    worth : array of shape (4, n_tags), float64
        As of `read_utility`. Pairs whose label nobody knows are worth nothing.
    """

    def value(judged: Judged) -> float:
        return mean_utility(judged.decided, judged.labels, worth, judged.unknown)

    return Score(
        name="utility",
        title="Utility",
        meaning="what the decisions on an image are worth, by your table of values",
        needs="decisions",
        function=value,
    )
