"""Whether another colour order, range or framing would agree better with labelled pictures.

A wrong one of these gives scores that look almost right. Each picture is scored as its contract
says and in every other way that differs in one fact. How badly a way agrees with a picture is the
log-loss of all its tags, after one slope and one shift fitted for each way: a way shall not win by
making a tagger less sure of itself. Differences are taken picture by picture and judged by their
signed ranks, which one odd picture cannot sway; a way is named only where the interval of the gain
lies above zero, at 95 % for all ways together (Bonferroni). The best is then taken as the contract,
and the search begins anew: two faults may hide each other. Nothing is ever changed; labels that are
themselves made with a tagger prove nothing. A picture that cannot be read costs itself alone.

References
----------
Hodges & Lehmann (1963), "Estimates of location based on rank tests".
Platt (1999), "Probabilistic outputs for support vector machines".
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from numpy.typing import NDArray
from PIL import Image

from tagstack.base_models.contract import Contract, Input
from tagstack.base_models.pictures.images import (
    ImageError,
    decode,
    file_content,
    open_image,
    read_content,
)
from tagstack.base_models.pictures.preprocess import framed
from tagstack.base_models.runtimes.selection import REFERENCE
from tagstack.base_models.scoring.sources import find_images
from tagstack.base_models.taggers.check import Finding
from tagstack.base_models.taggers.tagger import Tagger, load_tagger
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import ScoreSettings
from tagstack.meta.labels.label_files import read_labels
from tagstack.meta.labels.labels import align_labels

MOST_PICTURES = 200
FEWEST_PICTURES = 20
FEWEST_POSITIVES = 100
MOST_TAGS = 8192
_ROUNDS = 3
_ALPHA = 0.05
_LEAST_GAIN = 0.01  # nats a picture: ways that are the same to rounding differ by less
_POWER = 0.8  # of the number of pictures that is said to be needed
_WORTH_SAYING = 5000  # pictures; nobody labels more to settle a framing
_IMAGENET: dict[str, Any] = {
    "range": None, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225),
}  # fmt: skip
_PADS = ((255, 255, 255), (0, 0, 0), (128, 128, 128))

Facts = Mapping[str, Any]
Report = Callable[[int, int], None]
Pictures = Callable[[], Iterator[Image.Image | None]]


@dataclass(frozen=True, kw_only=True)
class Better:
    """A change under which the scores surely agree better with the labels.

    Parameters
    ----------
    facts : mapping of key to value
        Of the contract's ``[input]``; None = remove the key.
    gain, low, high : float
        By how much the log-loss of a picture's tags falls, in nats, with its interval.
    """

    facts: Facts
    gain: float
    low: float
    high: float

    @property
    def toml(self) -> str:
        """The lines to have in ``[input]``."""
        return toml_of(self.facts)


@dataclass(frozen=True, kw_only=True)
class Search:
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


def toml_of(facts: Facts) -> str:
    """Return facts as the lines of a contract's ``[input]``."""
    said = {k: list(v) if isinstance(v, tuple) else v for k, v in facts.items() if v}
    lines = [" ".join(tomli_w.dumps({key: value}).split()) for key, value in said.items()]
    gone = [f"no {key}" for key, value in facts.items() if value is None]
    return "; ".join([*lines, *gone])


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
) -> Search:
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
            undecided = () if found else _undecided(tried, loss)
            break
        found.append(best)
        tagger = as_if(tagger, best.facts)
    return Search(found=tuple(found), undecided=undecided, n_read=n_read)


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


def losses(logits: NDArray[np.float32], labels: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the log-loss of each picture's tags, in nats, after one slope and shift for all.

    Parameters
    ----------
    logits : array of shape (n_pictures, n_tags), float32
    labels : array of shape (n_pictures, n_tags), bool
    """
    from sklearn.linear_model import LogisticRegression

    x = logits.astype(np.float64) / max(float(logits.std()), 1e-9)
    fit = LogisticRegression(C=1e6, solver="newton-cholesky").fit(x.reshape(-1, 1), labels.ravel())
    slope, shift = float(fit.coef_[0, 0]), float(fit.intercept_[0])
    if slope < 0:  # scores that say the contrary say nothing
        share = labels.mean()
        slope, shift = 0.0, math.log(share / (1 - share))
    z = x * slope + shift
    return np.asarray(np.logaddexp(0, np.where(labels, -z, z)).sum(axis=1), np.float64)


def best_way(tried: Sequence[Facts], loss: NDArray[np.float64]) -> Better | None:
    """Return the way with the largest gain among those that are surely better."""
    reach = reach_of(len(tried))
    found = []
    for facts, own in zip(tried, loss[1:], strict=True):
        gain, low, high = middle(loss[0] - own, reach)
        if surely_more(loss[0] - own, reach):
            found.append(Better(facts=facts, gain=gain, low=low, high=high))
    return max(found, key=lambda item: item.gain, default=None)


def _undecided(tried: Sequence[Facts], loss: NDArray[np.float64]) -> tuple[tuple[Facts, int], ...]:
    """Return the way that is nearest to being surely better, and the pictures that it needs."""
    from scipy.stats import norm

    wanted = reach_of(len(tried)) + float(norm.ppf(_POWER))
    needed = []
    for facts, own in zip(tried, loss[1:], strict=True):
        gains = loss[0] - own
        effect = _signed_ranks(gains) / math.sqrt(loss.shape[1])
        if effect > 0 and np.median(gains) > _LEAST_GAIN:
            needed.append((facts, math.ceil((wanted / effect) ** 2)))
    worth = [item for item in needed if item[1] <= _WORTH_SAYING]
    return tuple(sorted(worth, key=lambda item: item[1])[:1])


def reach_of(n_ways: int) -> float:
    """Return the standard deviations that an interval reaches to either side."""
    from scipy.stats import norm

    return float(norm.ppf(1 - _ALPHA / 2 / max(n_ways, 1)))


def surely_more(gains: NDArray[np.float64], reach: float) -> bool:
    """Return whether gains, in nats a picture, are surely more than rounding."""
    return middle(gains, reach)[1] > _LEAST_GAIN


def _signed_ranks(gains: NDArray[np.float64]) -> float:
    """Return Wilcoxon's signed ranks of gains, in standard deviations."""
    from scipy.stats import rankdata

    n = len(gains)
    ranks = rankdata(np.abs(gains)) * np.sign(gains)
    return float(ranks.sum() / math.sqrt(n * (n + 1) * (2 * n + 1) / 6)) if n else 0.0


def middle(gains: NDArray[np.float64], reach: float) -> tuple[float, float, float]:
    """Return the middle of gains, and its interval by signed ranks.

    The middle is the median of the means of all two of them (Hodges and Lehmann). Where there are
    too few gains for such an interval, it is the whole line.
    """
    n = len(gains)
    rows, columns = np.triu_indices(n)
    means = np.sort((gains[rows] + gains[columns]) / 2)
    half = reach * math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    cut = math.floor(len(means) / 2 - half)
    if cut < 0 or not n:
        return (float(np.median(means)) if n else 0.0), -math.inf, math.inf
    return float(np.median(means)), float(means[cut]), float(means[-1 - cut])


@dataclass
class Labelled:
    """Labelled pictures, decoded anew for each round; it keeps which of them cannot be read.

    Parameters
    ----------
    paths : sequence of Path
    truth : array of shape (n_pictures, n_tags), bool
        Each has at least one tag that the tagger knows.
    settings : ScoreSettings
    unreadable : dict of Path to str
        With the reason.
    """

    paths: Sequence[Path]
    truth: NDArray[np.bool_]
    settings: ScoreSettings
    unreadable: dict[Path, str] = field(default_factory=dict)

    @classmethod
    def of(cls, tagger: Tagger, images: Path, labels: Path, settings: ScoreSettings) -> "Labelled":
        """Return at most `MOST_PICTURES` of a folder, evenly spread.

        Raises
        ------
        TagstackError
            If a file cannot be read, or the labels are too few to tell.
        """
        sources = find_images([images], extensions=settings.extensions)
        aligned = align_labels(read_labels(labels), sources.names, tagger.vocabulary)
        truth = aligned.matrix.toarray()
        labelled = np.flatnonzero(truth.any(axis=1))
        chosen = labelled[:: -(-len(labelled) // MOST_PICTURES) or 1]
        _check_enough(truth[chosen], labels)
        paths = [sources.path(sources.names[aligned.rows[i]]) for i in chosen]
        return cls(paths, truth[chosen], settings)

    def pictures(self) -> Iterator[Image.Image | None]:
        """Yield the pictures; None for one that cannot be read."""
        for path in self.paths:
            try:
                content = file_content(path, max_bytes=self.settings.max_file_bytes)
                data = read_content(path, content)
                yield decode(open_image(data, max_pixels=self.settings.max_pixels))
            except ImageError as error:
                self.unreadable[path] = str(error)
                yield None

    def readable(self, labels: Path) -> NDArray[np.bool_]:
        """Return the truth of what could be read; ``labels`` names the file in messages.

        An array of shape (n_readable, n_tags), bool.

        Raises
        ------
        TagstackError
            If that is too little to tell.
        """
        truth = self.truth[[path not in self.unreadable for path in self.paths]]
        _check_enough(truth, labels, len(self.unreadable))
        return truth


def check_framing(
    folder: Path, images: Path, labels: Path, settings: ScoreSettings, report: Report
) -> Finding:
    """Return whether labelled pictures contradict a tagger's contract, and what would agree better.

    Parameters
    ----------
    folder : Path
        The tagger's; it passed its check.
    images, labels : Path
        A folder of pictures and their label file.
    settings : ScoreSettings
    report : callable
        Called with the pictures that are done and all of them.

    Raises
    ------
    TagstackError
        If a file cannot be read, or the labels are too few to tell.
    """
    tagger = load_tagger(folder, floor=settings.floor, threads=1, smoke=False, runtime=REFERENCE)
    try:
        shown = Labelled.of(tagger, images, labels, settings)
        search = better_ways(tagger, shown.pictures, shown.truth, report)
    finally:
        tagger.close()
    return _finding(search, shown.readable(labels), shown.unreadable)


def _check_enough(truth: NDArray[np.bool_], labels: Path, n_unreadable: int = 0) -> None:
    n_pictures, n_positives = len(truth), int(np.count_nonzero(truth))
    if n_pictures < FEWEST_PICTURES or n_positives < FEWEST_POSITIVES:
        lost = f" ({n_unreadable} more cannot be read)" if n_unreadable else ""
        msg = (
            f"{labels}: {n_pictures} labelled pictures with {n_positives} tags that this tagger "
            f"knows{lost} are too few to tell one framing from another; expected at least "
            f"{FEWEST_PICTURES} with {FEWEST_POSITIVES}. Label more pictures."
        )
        raise TagstackError(msg)


def _finding(search: Search, truth: NDArray[np.bool_], unreadable: Mapping[Path, str]) -> Finding:
    what = f"{len(truth)} labelled pictures with {int(np.count_nonzero(truth))} tags"
    if unreadable:
        path, reason = next(iter(unreadable.items()))
        what += f" ({len(unreadable)} more cannot be read: {path.name}: {reason})"
    if not search.found:
        detail = f"{what}: no other colour order, range or framing surely agrees better"
        for facts, needed in search.undecided:
            detail += (
                f"; {toml_of(facts)} may, which about {max(needed, len(truth) + 1)} pictures like "
                "these would show"
            )
        return Finding("labels", True, detail)
    lines = "; then ".join(
        f"{item.toml} (log-loss of a picture's tags lower by {item.gain:.3g}, {item.low:.3g} to "
        f"{item.high:.3g})"
        for item in search.found
    )
    detail = f"{what} agree better with other lines in [input]: {lines}. Nothing was changed"
    return Finding("labels", False, detail)
