"""The search for another colour order, range or framing that agrees better with labelled pictures.

Each picture is scored as its contract says and in every other way that differs in one fact. The
best way is then taken as the contract, and the search begins anew: two faults may hide each other.
A picture that cannot be read costs itself alone.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tagstack.base_models.contract import Contract, Input
from tagstack.base_models.pictures.preprocess import framed
from tagstack.base_models.taggers.tagger import Tagger
from tagstack.ensemble.tasks.framing_verdict import (
    Better,
    Facts,
    best_way,
    losses,
    undecided_way,
)

FEWEST_PICTURES = 20
MOST_TAGS = 8192
_ROUNDS = 3
_IMAGENET: dict[str, Any] = {
    "range": None, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225),
}  # fmt: skip
_PADS = ((255, 255, 255), (0, 0, 0), (128, 128, 128))

Report = Callable[[int, int], None]
Pictures = Callable[[], Iterator[Image.Image | None]]


@dataclass(frozen=True, kw_only=True)
class FramingSearch:
    """What was found on some pictures.

    Parameters
    ----------
    found : tuple of Better
        Changes to be made together.
    undecided : tuple of (Facts, int)
        A change that seems better and is not sure, and how many pictures like these would show it
        with a chance of 80 %; the easiest to settle, and none where something was found.
    n_read : int
        Pictures that could be read.
    """

    found: tuple[Better, ...]
    undecided: tuple[tuple[Facts, int], ...]
    n_read: int


def ways(source: Input) -> tuple[Facts, ...]:
    """Return what else an input could be, each differing in one fact."""
    found: list[Facts] = [{"colour": "BGR" if source.colour == "RGB" else "RGB"}]
    ranges = ("0-255", "0-1", "-1-1")
    scales: list[Facts] = [{"range": name, "mean": None, "std": None} for name in ranges]
    found += [scale for scale in (*scales, _IMAGENET) if not _same_scale(source, scale)]
    if source.canvas is None:
        other = {"squash": "pad_square"}.get(source.geometry, "squash")
        found.append({"geometry": other})
        if source.geometry != "fit_edge":
            found.append({"geometry": "fit_edge"})
    if source.geometry not in ("squash", "fit_edge"):
        found += [{"pad": pad} for pad in _PADS if pad != source.pad]
    found += [{"matte": matte} for matte in _PADS if matte != source.matte]
    return tuple(found)


def _same_scale(source: Input, facts: Facts) -> bool:
    pixels = np.arange(0, 256, 51, dtype=np.float32)[:, None].repeat(3, axis=1)
    return bool(np.allclose(_scale(source, pixels), _scale(_changed(source, facts), pixels)))


def _scale(source: Input, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    if source.mean is not None and source.std is not None:
        return np.asarray((pixels / 255 - source.mean) / source.std, np.float32)
    if source.range == "-1-1":
        return pixels / np.float32(127.5) - np.float32(1)
    return pixels / np.float32(255) if source.range == "0-1" else pixels


def _changed(source: Input, facts: Facts) -> Input:
    return source.model_copy(update=dict(facts))


def better_ways(
    tagger: Tagger,
    pictures: Pictures,
    truth: NDArray[np.bool_],
    report: Report = lambda done, total: None,
) -> FramingSearch:
    """Return the changes under which scores surely agree better, to be made together.

    Parameters
    ----------
    tagger : Tagger
    pictures : callable
        Yields the decoded pictures anew at each call; None for one that cannot be read.
    truth : array of shape (n_pictures, n_tags), bool
        Labels of the pictures; each has at least one.
    report : callable
        Called with the pictures that are done and all of them, in each round.
    """
    found: list[Better] = []
    undecided: tuple[tuple[Facts, int], ...] = ()
    columns = looked_at(truth)
    n_read = 0
    for _ in range(_ROUNDS):
        tried = [facts for facts in ways(tagger.contract.input) if not _taken(found, facts)]
        logits = logits_of_ways(tagger, tried, pictures(), (len(truth), columns), report)
        read = np.isfinite(logits[0]).all(axis=1)
        n_read = int(np.count_nonzero(read))
        labels = truth[read][:, columns]
        if n_read < FEWEST_PICTURES:
            break
        loss = np.array([losses(own[read], labels) for own in logits])
        best = best_way(tried, loss)
        if best is None:
            undecided = () if found else undecided_way(tried, loss)
            break
        found.append(best)
        tagger = as_if(tagger, best.facts)
    return FramingSearch(found=tuple(found), undecided=undecided, n_read=n_read)


def looked_at(truth: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the tags that are looked at: those of the labels, and others evenly spread.

    Parameters
    ----------
    truth : array of shape (n_pictures, n_tags), bool

    Returns
    -------
    array of shape (n_looked_at,), int64
        Ascending.
    """
    own, others = np.flatnonzero(truth.any(axis=0)), np.flatnonzero(~truth.any(axis=0))
    room = max(MOST_TAGS - len(own), 0)
    spread = others[:: -(-len(others) // room) or 1] if room else others[:0]
    return np.sort(np.concatenate([own, spread]))


def _taken(found: Sequence[Better], facts: Facts) -> bool:
    """Return whether a fact was changed before: it is not changed twice."""
    return any(set(facts) & set(item.facts) for item in found)


def as_if(tagger: Tagger, facts: Facts) -> Tagger:
    """Return a tagger under a contract that says other facts of its input."""
    source = _changed(tagger.contract.input, facts)
    contract: Contract = tagger.contract.model_copy(update={"input": source})
    return replace(tagger, contract=contract)


def logits_of_ways(
    tagger: Tagger,
    tried: Sequence[Facts],
    pictures: Iterator[Image.Image | None],
    shape: tuple[int, NDArray[np.int64]],
    report: Report,
) -> NDArray[np.float32]:
    """Return the logits of each way, the contract's own first; NaN for an unreadable picture.

    Parameters
    ----------
    tagger : Tagger
    tried : sequence of Facts
        The other ways.
    pictures : iterator of Image or None
        None for one that cannot be read.
    shape : tuple of int and array of shape (n_looked_at,), int64
        Number of pictures, and the tags that are looked at.
    report : callable
        Told how many pictures are through.

    Returns
    -------
    array of shape (1 + n_tried, n_pictures, n_looked_at), float32
    """
    n_pictures, columns = shape
    variants = [tagger, *(as_if(tagger, facts) for facts in tried)]
    logits = np.full((len(variants), n_pictures, len(columns)), np.nan, np.float32)
    for i, picture in enumerate(pictures):
        if picture is not None:
            framings = {one.framing for one in variants}
            shown = {framing: framed(picture, framing)[None] for framing in framings}
            for j, one in enumerate(variants):
                seen = one.logits_from_raw(one.raw(shown[one.framing]))[0, columns]
                logits[j, i] = np.nan_to_num(seen)  # what is not finite says nothing
        report(i + 1, n_pictures)
    return logits
