"""Whether another colour order, range or framing would agree better with labelled pictures.

A wrong one of these gives scores that look almost right. Each picture is scored as its contract
says and in every other way that differs in one fact; how well a way agrees with a picture is the
average precision of its labels among all tags. Differences are taken picture by picture, and a way
is named only where their interval lies above zero, at 95 % for all ways together (Bonferroni). The
best is then taken as the contract, and the search begins anew: two faults may hide each other.
Nothing is ever changed; labels that are themselves made with a tagger prove nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from numpy.typing import NDArray
from PIL import Image

from tagstack.base_models.contract import Contract, Input
from tagstack.base_models.pictures.images import decode, file_content, open_image, read_content
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
_ROUNDS = 3
_ALPHA = 0.05
_IMAGENET: dict[str, Any] = {
    "range": None, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225),
}  # fmt: skip
_PADS = ((255, 255, 255), (0, 0, 0), (128, 128, 128))

Facts = Mapping[str, Any]
Report = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Better:
    """A change under which the scores surely agree better with the labels.

    Parameters
    ----------
    facts : mapping of key to value
        Of the contract's ``[input]``; None = remove the key.
    gain, low, high : float
        How much the mean average precision of a picture's labels rises, with its interval.
    """

    facts: Facts
    gain: float
    low: float
    high: float

    @property
    def toml(self) -> str:
        """The lines to have in ``[input]``."""
        said = {k: list(v) if isinstance(v, tuple) else v for k, v in self.facts.items() if v}
        lines = [" ".join(tomli_w.dumps({key: value}).split()) for key, value in said.items()]
        gone = [f"no {key}" for key, value in self.facts.items() if value is None]
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
    pictures: Callable[[], Iterator[Image.Image]],
    truth: NDArray[np.bool_],
    report: Report = lambda done, total: None,
) -> tuple[Better, ...]:
    """Return the changes under which scores surely agree better, to be made together.

    Parameters
    ----------
    tagger : Tagger
    pictures : callable
        Yields the decoded pictures anew at each call.
    truth : array of shape (n_pictures, n_tags), bool
        Labels of the pictures; each has at least one.
    report : callable
        Called with the pictures that are done and all of them, in each round.
    """
    found: list[Better] = []
    for _ in range(_ROUNDS):
        tried = [facts for facts in ways(tagger.contract.input) if not _taken(found, facts)]
        agreed = _agreements(tagger, tried, pictures(), truth, report)
        best = _best(tried, agreed)
        if best is None:
            break
        found.append(best)
        tagger = _as(tagger, best.facts)
    return tuple(found)


def _taken(found: Sequence[Better], facts: Facts) -> bool:
    """Return whether a fact was changed before: it is not changed twice."""
    return any(set(facts) & set(item.facts) for item in found)


def _as(tagger: Tagger, facts: Facts) -> Tagger:
    source = _changed(tagger.contract.input, facts)
    contract: Contract = tagger.contract.model_copy(update={"input": source})
    return replace(tagger, contract=contract)


def _agreements(
    tagger: Tagger,
    tried: Sequence[Facts],
    pictures: Iterator[Image.Image],
    truth: NDArray[np.bool_],
    report: Report,
) -> NDArray[np.float64]:
    """Return how well each way agrees with each picture, the contract's own first."""
    variants = [tagger, *(_as(tagger, facts) for facts in tried)]
    agreed = np.zeros((len(variants), len(truth)))
    for i, picture in enumerate(pictures):
        framings = {one.framing for one in variants}
        shown = {framing: framed(picture, framing)[None] for framing in framings}
        for j, one in enumerate(variants):
            agreed[j, i] = agreement(one.raw(shown[one.framing])[0], truth[i])
        report(i + 1, len(truth))
    return agreed


def agreement(scores: NDArray[np.float32], labels: NDArray[np.bool_]) -> float:
    """Return the average precision of a picture's labels among all tags, in [0, 1].

    Equal scores share the worst of their ranks. What is not finite agrees with nothing.
    """
    from scipy.stats import rankdata

    if not np.isfinite(scores).all():
        return 0.0
    ranks = rankdata(-scores, method="max")
    own = rankdata(-scores[labels], method="max")
    return float((own / ranks[labels]).mean())


def _best(tried: Sequence[Facts], agreed: NDArray[np.float64]) -> Better | None:
    """Return the way with the largest gain among those that are surely better."""
    from scipy.stats import t

    found = []
    n = agreed.shape[1]
    reach = float(t.ppf(1 - _ALPHA / 2 / max(len(tried), 1), n - 1))
    for facts, own in zip(tried, agreed[1:], strict=True):
        gains = own - agreed[0]
        half = reach * float(gains.std(ddof=1)) / np.sqrt(n)
        gain = float(gains.mean())
        if gain - half > 0:
            found.append(Better(facts=facts, gain=gain, low=gain - half, high=gain + half))
    return max(found, key=lambda item: item.gain, default=None)


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
    sources = find_images([images], extensions=settings.extensions)
    tagger = load_tagger(folder, floor=settings.floor, threads=1, smoke=False, runtime=REFERENCE)
    try:
        aligned = align_labels(read_labels(labels), sources.names, tagger.vocabulary)
        truth = aligned.matrix.toarray()
        names = [sources.names[row] for row in aligned.rows]
        labelled = np.flatnonzero(truth.any(axis=1))
        chosen = labelled[:: -(-len(labelled) // MOST_PICTURES) or 1]
        names, truth = [names[i] for i in chosen], truth[chosen]
        _check_enough(truth, labels)

        def pictures() -> Iterator[Image.Image]:
            for name in names:
                path = sources.path(name)
                content = file_content(path, max_bytes=settings.max_file_bytes)
                data = read_content(path, content)
                yield decode(open_image(data, max_pixels=settings.max_pixels))

        return _finding(better_ways(tagger, pictures, truth, report), truth)
    finally:
        tagger.close()


def _check_enough(truth: NDArray[np.bool_], labels: Path) -> None:
    n_pictures, n_positives = len(truth), int(np.count_nonzero(truth))
    if n_pictures < FEWEST_PICTURES or n_positives < FEWEST_POSITIVES:
        msg = (
            f"{labels}: {n_pictures} labelled pictures with {n_positives} tags that this tagger "
            f"knows are too few to tell one framing from another; expected at least "
            f"{FEWEST_PICTURES} with {FEWEST_POSITIVES}. Label more pictures."
        )
        raise TagstackError(msg)


def _finding(found: Sequence[Better], truth: NDArray[np.bool_]) -> Finding:
    what = f"{len(truth)} labelled pictures with {int(np.count_nonzero(truth))} tags"
    if not found:
        detail = f"{what}: no other colour order, range or framing surely agrees better"
        return Finding("labels", True, detail)
    lines = "; then ".join(
        f"{item.toml} (average precision of a picture's labels {item.gain:+.3f}, "
        f"{item.low:+.3f} to {item.high:+.3f})"
        for item in found
    )
    detail = f"{what} agree better with other lines in [input]: {lines}. Nothing was changed"
    return Finding("labels", False, detail)
