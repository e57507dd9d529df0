"""From answers to thresholds: which tags' are surely worse than others, and a new version of them.

Looked at any number of times, of any number of people, while thresholds and orders change: each
tag's statement stays what it says. Certified thresholds and those set by hand are left alone,
since their promise is another's.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from tagstack import __version__
from tagstack.base_models.atomic import file_sha256, write_text
from tagstack.configs.errors import TagstackError
from tagstack.configs.feedback import FeedbackSettings
from tagstack.ensemble.bundle.files import MANIFEST
from tagstack.ensemble.feedback.drawn import Draws, answers_of
from tagstack.ensemble.feedback.moving import Gain, TagPairs, best_of, gains, price_of
from tagstack.ensemble.feedback.store import FILE, DecisionStore
from tagstack.ensemble.review.kept import PairsAbout, kept_pairs
from tagstack.ensemble.review.pairs import ReviewPairs
from tagstack.ensemble.tasks.threshold_versions import bundle_versions
from tagstack.ensemble.thresholds.table import Thresholds

LOG = "thresholds-log.jsonl"
_LEFT_ALONE = ("certified", "fixed")


@dataclass(frozen=True, kw_only=True)
class Move:
    """A tag whose threshold is surely worse than another.

    Parameters
    ----------
    tag : str
    before, after : float
    n_pairs : int
        Pictures of the review that get the tag, or lose it.
    n_counted : int
        Those of them that people found right (wrong, for a higher threshold).
    least : float
        How many of them are, at least.
    price : float
        What a wrong tag costs where a right one gains the rest to 1.
    low : float
        Gain at least, in right tags.
    slice_gain : float
        Gain on the answers of the frozen slice.
    held_back : str
        Why it is not done; empty if it is.
    """

    tag: str
    before: float
    after: float
    n_pairs: int
    n_counted: int
    least: float
    price: float
    low: float
    slice_gain: float
    held_back: str = ""


@dataclass(frozen=True, kw_only=True)
class Applied:
    """What answers say of the thresholds, and what became of it.

    Parameters
    ----------
    version : str
        The new version; empty if none was made.
    before : str
        The version that was in use.
    moves : tuple of Move
        Most certain gain first.
    n_answers, n_draws : int
        Answers that stand, and cards drawn with a known probability.
    n_tags : int
        Tags with an answer.
    n_left_alone : int
        Of these, tags whose threshold is certified or set by hand.
    confidence : float
    """

    version: str
    before: str
    moves: tuple[Move, ...]
    n_answers: int
    n_draws: int
    n_tags: int
    n_left_alone: int
    confidence: float


@dataclass(frozen=True, kw_only=True)
class _Ground:
    """Pairs with their answers; ``tagged`` by the thresholds in use."""

    about: PairsAbout
    table: ReviewPairs
    tagged: NDArray[np.bool_]
    answer: NDArray[np.int8]
    judging: NDArray[np.bool_]
    draws: Draws
    row: Mapping[tuple[str, str], int]


def apply_feedback(
    bundle: Path, review: Path, settings: FeedbackSettings, *, put_in_use: bool
) -> Applied:
    """Return which thresholds are surely worse than others; put better ones in use if asked.

    Parameters
    ----------
    bundle : Path
    review : Path
        Folder that `tagstack review` keeps.
    settings : FeedbackSettings
    put_in_use : bool
        Whether a new version is made, within the limits of the settings, with a line in the
        review's log.

    Raises
    ------
    TagstackError
        If the review is of another bundle, keeps no pairs, or nothing can be written.
    """
    versions = bundle_versions(bundle)
    if not (review / FILE).is_file():
        msg = f"{review} holds no decisions ({FILE}). Give the folder that `tagstack review` keeps."
        raise TagstackError(msg)
    before = versions.current
    thresholds = versions.thresholds(before)
    if thresholds.image_cut:
        msg = (
            f"Thresholds {before} cut each image's own list as well ({thresholds.image_cut}), so "
            "one tag's cannot be moved alone. Calibrate without an image cut first."
        )
        raise TagstackError(msg)
    ground = _ground(bundle, review, thresholds)
    tags = sorted({tag for _, tag in ground.row})
    index, state = thresholds.vocabulary.index, thresholds.state
    open_ = [tag for tag in tags if state[index[tag]] not in _LEFT_ALONE]
    found = [move for tag in open_ if (move := _move(ground, thresholds, tag, settings))]
    moves = _limited(sorted(found, key=lambda move: -move.low), settings)
    done = [move for move in moves if not move.held_back]
    version = ""
    if put_in_use and done:
        about = _about(review, before, done, ground, settings)
        rungs = versions.rung_thresholds(before)
        version = versions.add(_moved(thresholds, done), about, rungs)
        _log(review / LOG, version, before, moves)
    return Applied(
        version=version,
        before=before,
        moves=tuple(moves),
        n_answers=len(ground.row),
        n_draws=len(ground.draws.image),
        n_tags=len(tags),
        n_left_alone=len(tags) - len(open_),
        confidence=settings.confidence,
    )


def _ground(bundle: Path, review: Path, thresholds: Thresholds) -> _Ground:
    about, table = kept_pairs(review)
    manifest = file_sha256(bundle / MANIFEST)
    if about.bundle != manifest:
        msg = (
            f"The review in {review} was last opened with another bundle than {bundle}. Open it "
            "with this one, or name the other."
        )
        raise TagstackError(msg)
    place = {name: i for i, name in enumerate(about.images)}
    index = thresholds.vocabulary.index
    with DecisionStore(review / FILE) as store:
        standing = list(store.standing())
        draws = Draws.of(store.log(), manifest)
        judges = np.array([bool(own) for own in store.judges(about.contents)], bool)
    answers = answers_of(standing, judging=False) | answers_of(standing, judging=True)
    row = {}
    for image, tag in {*answers, *zip(draws.image, draws.tag.tolist(), strict=True)}:
        if image in place and tag in index:
            at = table.find(place[image], index[tag])
            if at >= 0:
                row[image, tag] = at
    answer = np.full(len(table.tag), -1, np.int8)
    for pair, at in row.items():
        if pair in answers:
            answer[at] = answers[pair]
    # What a rule added or removed stays so; else the threshold in use decides.
    by_rule = table.tagged != (table.proba >= table.threshold)
    now = table.proba >= thresholds.value[table.tag]
    return _Ground(
        about=about,
        table=table,
        tagged=np.where(by_rule, table.tagged, now),
        answer=answer,
        judging=judges[table.image],
        draws=draws,
        row=row,
    )


def _move(
    ground: _Ground, thresholds: Thresholds, tag: str, settings: FeedbackSettings
) -> Move | None:
    place = thresholds.vocabulary.index[tag]
    value = float(thresholds.value[place])
    if not 0 < value < 1:
        return None
    price = price_of(thresholds.objective[place], float(thresholds.estimate[place]))
    rows = np.flatnonzero((ground.table.tag == place) & ~ground.judging)
    pairs = _pairs(ground, rows, tag)
    found = gains(pairs, value, price, settings.shifts, 1 - settings.confidence)
    best = best_of(found, settings.least_answers)
    if best is None:
        return None
    return Move(
        tag=tag,
        before=value,
        after=best.threshold,
        n_pairs=best.n_pairs,
        n_counted=best.n_counted,
        least=best.least,
        price=price,
        low=best.low,
        slice_gain=_slice_gain(ground, place, value, best, price),
    )


def _pairs(ground: _Ground, rows: NDArray[np.int64], tag: str) -> TagPairs:
    """Return a tag's pairs with what was drawn and answered of them."""
    number, could = ground.draws.of_tag(tag)
    place = {int(row): i for i, row in enumerate(rows)}
    drawn, at, weight = [], [], []
    for draw, before in zip(number.tolist(), could.tolist(), strict=True):
        own = place.get(ground.row.get((ground.draws.image[draw], tag), -1))
        if own is not None and own not in drawn:  # an answer that was given anew is one draw
            drawn.append(own)
            at.append(before)
            weight.append(1 / ground.draws.propensity[draw])
    chosen = np.zeros(len(rows), bool)
    chosen[drawn] = True
    return TagPairs(
        proba=ground.table.proba[rows].astype(np.float64),
        tagged=ground.tagged[rows],
        answer=ground.answer[rows],
        chosen=chosen,
        drawn=np.array(drawn, np.int64),
        at=np.array(at, np.int64),
        weight=np.array(weight, np.float64),
    )


def _slice_gain(ground: _Ground, tag: int, value: float, best: Gain, price: float) -> float:
    """Return what a move gains on the answers of the frozen slice, in right tags."""
    table = ground.table
    own = (table.tag == tag) & ground.judging & (ground.answer >= 0)
    low, high = sorted((value, best.threshold))
    between = own & (table.proba >= low) & (table.proba < high)
    lowers = best.threshold < value
    band = between & (~ground.tagged if lowers else ground.tagged)
    gain = float((ground.answer[band] - price).sum())
    return gain if lowers else -gain


def _limited(moves: list[Move], settings: FeedbackSettings) -> list[Move]:
    """Return the moves with why some are not done."""
    found, n_done = [], 0
    for move in moves:
        why = ""
        if move.slice_gain < 0:
            why = "it loses on the frozen slice"
        elif abs(logit(move.after) - logit(move.before)) > settings.most_shift + 1e-6:
            why = "it is further than feedback.most_shift"
        elif n_done >= settings.most_tags:
            why = "feedback.most_tags are moved already"
        n_done += not why
        found.append(replace(move, held_back=why))
    return found


def _moved(thresholds: Thresholds, moves: list[Move]) -> Thresholds:
    value, state = thresholds.value.copy(), list(thresholds.state)
    for move in moves:
        place = thresholds.vocabulary.index[move.tag]
        value[place], state[place] = move.after, "tuned"
    return replace(thresholds, value=value, state=tuple(state))


def _about(
    review: Path, before: str, moves: list[Move], ground: _Ground, settings: FeedbackSettings
) -> dict[str, object]:
    return {
        "tagstack": __version__,
        "made_by": "feedback",
        "objective": "as before, moved by answers",
        "review": review.name,
        "before": before,
        "n_images": len(ground.about.images),
        "n_answers": int((ground.answer >= 0).sum()),
        "settings": settings.model_dump(mode="json"),
        "moves": [asdict(move) for move in moves],
    }


def _log(path: Path, version: str, before: str, moves: list[Move]) -> None:
    """Add a line to the log; written whole, so that a crash leaves what was there."""
    line = json.dumps(
        {
            "at_s": round(time.time()),
            "version": version,
            "before": before,
            "moves": [asdict(move) for move in moves],
        }
    )
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    write_text(path, f"{old}{line}\n")
