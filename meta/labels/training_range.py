"""Members trained on the images at hand: who knows how many of them, and what it flatters.

A contract may say which image ids a tagger was trained on. Where the ids of the images are known,
the member's skill inside that range is set against its skill outside: a lead that excludes 0 is a
member that remembers. The two sets of images differ in other ways too, so a lead says "look", and
no lead says no harm was measured.
"""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.contract import Training
from tagstack.base_models.pairs import Level1Scores
from tagstack.meta.labels.truth import Evidence

Floats = NDArray[np.float64]

_LEAST_IMAGES = 30  # on either side; below, an interval says nothing
_RESAMPLES = 500
_LOW, _HIGH = 2.5, 97.5  # percentiles of a two-sided 95 % interval
_MOST_IMAGES = 4000  # of either side, drawn by the seed: enough for an interval of a percent
NO_ID = -1


@dataclass(frozen=True, kw_only=True)
class OverlapLead:
    """What a member scores inside its range and outside, and the difference with its interval."""

    inside: float
    outside: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class TrainingOverlap:
    """How many of the images with known ids a member was trained on, and what that does.

    Parameters
    ----------
    member : str
    ids : str
        What the contract says about its training images, in words.
    n_ids, n_inside : int
        Images with a known id, and those of them inside the range.
    micro_ap, log_loss : OverlapLead or None
        Of the member's own scores; None where either side has too few images or no positives.
        ``log_loss`` is in nats an image, lower is better.
    """

    member: str
    ids: str
    n_ids: int
    n_inside: int
    micro_ap: OverlapLead | None
    log_loss: OverlapLead | None

    @property
    def notice(self) -> str:
        """The finding as one line."""
        text = (
            f"{self.member}: {self.n_inside} of {self.n_ids} images with known ids lie inside its "
            f"training range ({self.ids}); its scores may flatter it there"
        )
        if self.micro_ap is None or self.log_loss is None:
            return f"{text}; too few images on one side to measure it"
        ap, loss = self.micro_ap, self.log_loss
        said = "better inside" if ap.low > 0 or loss.high < 0 else "no clear lead inside"
        return (
            f"{text}. Measured: {said}, micro-AP {ap.inside:.3f} against {ap.outside:.3f}, "
            f"difference [{ap.low:+.3f}, {ap.high:+.3f}]; log loss {loss.inside:.2f} against "
            f"{loss.outside:.2f} nats an image, [{loss.low:+.2f}, {loss.high:+.2f}]"
        )


def image_ids(images: Sequence[str], column: Sequence[str] | None) -> NDArray[np.int64]:
    """Return each image's id, shape (n_images,), `NO_ID` where it is not known.

    Parameters
    ----------
    images : sequence of str
        Names; one that is a whole number, but for folder and ending, is its id.
    column : sequence of str, optional
        The label column ``id``, which comes first where it holds a number.
    """
    stems = [PurePosixPath(image).stem for image in images]
    texts = stems if column is None else [c or s for c, s in zip(column, stems, strict=True)]
    return np.array([_number(text) for text in texts], np.int64)


def inside_range(training: Training | None, ids: NDArray[np.int64]) -> NDArray[np.bool_] | None:
    """Return which ids a tagger was trained on, or None where its contract gives no range.

    Of the shape of ``ids``.
    """
    if training is None or (training.last_id is None and training.remainders is None):
        return None
    inside = ids != NO_ID
    if training.last_id is not None:
        inside &= ids <= training.last_id
    if training.modulus is not None and training.remainders is not None:
        low, high = training.remainders
        rest = ids % training.modulus
        inside &= (rest >= low) & (rest <= high)
    return np.asarray(inside, np.bool_)


def trained_on(training: Training | None, contents: Sequence[str]) -> NDArray[np.bool_] | None:
    """Return which images a tagger was trained on by their bytes, or None where it does not say.

    Parameters
    ----------
    training : Training, optional
    contents : sequence of str
        SHA-256 of each image, in hexadecimal.

    Returns
    -------
    array of shape (n_images,), bool, or None
    """
    if training is None or training.contents is None:
        return None
    try:
        raw = base64.b64decode(training.contents, validate=True)
    except ValueError:
        raw = b""
    known = np.frombuffer(raw[: len(raw) // 8 * 8], np.uint64)
    own = b"".join(bytes.fromhex(content)[:8] for content in contents)
    return np.asarray(np.isin(np.frombuffer(own, np.uint64), known), np.bool_)


def training_overlaps(
    scores: Level1Scores,
    evidence: Evidence,
    groups: NDArray[np.int64],
    ids: NDArray[np.int64],
    trainings: Sequence[Training | None],
    *,
    seed: int,
    contents: Sequence[str] = (),
) -> tuple[TrainingOverlap, ...]:
    """Return the findings of all members that have a range with some of the images inside.

    Parameters
    ----------
    scores : Level1Scores
    evidence : Evidence
    groups : array of shape (n_images,), integer
        Resampled as a whole.
    ids : array of shape (n_images,), int64
    trainings : sequence of n_members Training or None
    seed : int
        Of the drawn images and the resamples.
    contents : sequence of str
        SHA-256 of each image, for taggers that know their images by it.
    """
    found = []
    for m, training in enumerate(trainings):
        inside, known = inside_range(training, ids), ids != NO_ID
        if contents and (by_content := trained_on(training, contents)) is not None:
            inside, known = by_content, np.ones(len(contents), bool)
        if training is None or inside is None or not inside.any():
            continue
        sides = [inside, known & ~inside]
        parts = [_Side.of(scores, evidence, groups, m, side, seed) for side in sides]
        found.append(
            TrainingOverlap(
                member=scores.members[m],
                ids=training.ids,
                n_ids=int(known.sum()),
                n_inside=int(inside.sum()),
                micro_ap=_lead(parts, _Side.micro_ap, seed),
                log_loss=_lead(parts, _Side.log_loss, seed),
            )
        )
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class _Side:
    """One member's pairs of some images, the surest first, and the images' groups."""

    image: NDArray[np.int64]
    true: NDArray[np.bool_]
    ends: NDArray[np.int64]  # last pair of each run of equal scores
    missed: Floats  # true pairs of each image that the member scored below its floor
    loss: Floats
    group: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        scores: Level1Scores,
        evidence: Evidence,
        groups: NDArray[np.int64],
        member: int,
        chosen: NDArray[np.bool_],
        seed: int,
    ) -> "_Side":
        images = np.flatnonzero(chosen)
        if len(images) > _MOST_IMAGES:
            drawn = np.random.default_rng(seed).permutation(len(images))[:_MOST_IMAGES]
            images = np.sort(images[drawn])
        taken = scores.take(images)
        evidence = evidence.take(images, scores.pairs)
        truth = evidence.truth(taken.pairs)
        logit = taken.logit[member].astype(np.float64)
        rows = np.flatnonzero(truth.known & ~np.isnan(logit))
        rows = rows[np.argsort(-logit[rows], kind="stable")]
        value, image, true = logit[rows], taken.pairs.image[rows], truth.listed[rows]
        knows = evidence.labels.multiply(taken.knows[member])
        n_true = np.asarray(knows.sum(axis=1), np.float64).ravel()
        listed = np.bincount(image, weights=true, minlength=len(images))
        of_pair = np.logaddexp(0.0, np.where(true, -value, value))
        missed = n_true - listed
        loss = np.bincount(image, weights=of_pair, minlength=len(images))
        return cls(
            image=image.astype(np.int64),
            true=true,
            ends=np.flatnonzero(np.r_[value[1:] != value[:-1], True][: len(value)]),
            missed=missed,
            loss=loss + missed * np.logaddexp(0.0, -float(taken.floor[member])),
            group=np.unique(groups[images], return_inverse=True)[1].astype(np.int64),
        )

    @property
    def is_usable(self) -> bool:
        return len(self.loss) >= _LEAST_IMAGES and bool(self.true.any())

    def micro_ap(self, weight: Floats) -> float:
        """Return the average precision of all pairs, images counted by their weight."""
        of_pair = weight[self.image]
        found = np.cumsum(of_pair * self.true)[self.ends]
        met = np.cumsum(of_pair)[self.ends]
        total = found[-1] + (weight * self.missed).sum()
        steps = np.diff(found, prepend=0.0)
        return float((steps * found / np.maximum(met, 1e-12)).sum() / max(total, 1e-12))

    def log_loss(self, weight: Floats) -> float:
        """Return the mean loss of an image, images counted by their weight."""
        return float((weight * self.loss).sum() / weight.sum())


def _lead(
    parts: list[_Side], score: Callable[[_Side, Floats], float], seed: int
) -> OverlapLead | None:
    """Return a score on both sides, and the interval of the difference from group resamples."""
    if not all(part.is_usable for part in parts):
        return None
    rng = np.random.default_rng(seed)
    values = [score(part, np.ones(len(part.loss))) for part in parts]
    differences = []
    for _ in range(_RESAMPLES):
        inside, outside = (score(part, _resampled(part, rng)) for part in parts)
        differences.append(inside - outside)
    low, high = np.percentile(differences, [_LOW, _HIGH])
    return OverlapLead(inside=values[0], outside=values[1], low=float(low), high=float(high))


def _resampled(part: _Side, rng: np.random.Generator) -> Floats:
    """Return how often each image is drawn when groups are drawn with replacement."""
    n_groups = int(part.group.max()) + 1
    counts = np.bincount(rng.integers(0, n_groups, n_groups), minlength=n_groups)
    return counts[part.group].astype(np.float64)


def _number(text: str) -> int:
    """Return the number that a text is, else `NO_ID`; what no 64 bits hold is none."""
    plain = text.strip()
    return int(plain) if plain.isascii() and plain.isdigit() and len(plain) < 19 else NO_ID
