"""A rung of the ladder, and what several rungs have to have in common."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import PairProba
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.meta.labels.truth import known_labels
from tagstack.meta.metrics.decision_scores import decision_scores
from tagstack.meta.metrics.left_out import without
from tagstack.meta.stack.rung_spec import RungSpec


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One way of tagging the test images.

    Parameters
    ----------
    spec : RungSpec
        Its name, unique on the ladder, and what it is.
    proba : PairProba
    decided : csr_array of shape (n_images, n_tags), bool
    thresholds : array of shape (n_tags,), float32, optional
        What decided, where there is one threshold per tag.
    note : str
        Where its probabilities and thresholds come from.
    before_rules : csr_array of shape (n_images, n_tags), bool, optional
        What the same thresholds decide without the rules, where rules had a say.
    """

    spec: RungSpec
    proba: PairProba
    decided: sparse.csr_array
    thresholds: NDArray[np.float32] | None
    note: str
    before_rules: sparse.csr_array | None = None

    @property
    def name(self) -> str:
        """What files and commands call it."""
        return self.spec.name

    @property
    def title(self) -> str:
        """What the report calls it."""
        return self.spec.title

    def without(self, unknown: sparse.csr_array, proba: PairProba) -> "Rung":
        """Return the rung with some pairs taken out of its decisions, and ``proba`` for its own."""
        before = self.before_rules
        return replace(
            self,
            proba=proba,
            decided=known_labels(self.decided, unknown),
            before_rules=None if before is None else known_labels(before, unknown),
        )


def check_rungs(
    rungs: Sequence[Rung],
    labels: sparse.csr_array,
    vocabulary: Vocabulary,
    groups: NDArray[np.integer],
    images: Sequence[str],
    reference: str,
) -> None:
    """Refuse rungs, labels, groups and images that do not fit together.

    Raises
    ------
    TagstackError
        If names repeat, the reference is no rung, or shapes do not fit.
    """
    names = [rung.name for rung in rungs]
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        msg = f"Rungs share a name: {twice}. Give each rung its own name."
        raise TagstackError(msg)
    if reference not in names:
        msg = f"The reference {reference!r} is no rung. Rungs: {names}."
        raise TagstackError(msg)
    shape = (len(images), len(vocabulary))
    for what, got in [("labels", labels.shape)] + [(r.name, r.decided.shape) for r in rungs]:
        if got != shape:
            msg = f"{what} must have shape (n_images, n_tags) = {shape}, got {got}."
            raise TagstackError(msg)
    for rung in rungs:
        got = (rung.proba.pairs.n_images, rung.proba.pairs.n_tags)
        if got != shape:
            msg = f"The probabilities of {rung.name} must have shape {shape}, got {got}."
            raise TagstackError(msg)
    if len(groups) != shape[0]:
        msg = f"There must be one group per image, {shape[0]}, got {len(groups)}."
        raise TagstackError(msg)


def shared_tags(rungs: Sequence[Rung]) -> NDArray[np.bool_]:
    """Return the tags for which every rung has a probability, shape (n_tags,), bool."""
    return np.asarray(np.all([~np.isnan(rung.proba.base) for rung in rungs], axis=0))


def same_proba(one: PairProba, other: PairProba) -> bool:
    """Return whether two rungs have the same probabilities."""
    return one is other or (
        np.array_equal(one.base, other.base, equal_nan=True)
        and np.array_equal(one.pairs.tag, other.pairs.tag)
        and np.array_equal(one.pairs.indptr, other.pairs.indptr)
        and np.array_equal(one.proba, other.proba, equal_nan=True)
    )


def rival_of(rungs: Sequence[Rung], ours: Rung, labels: sparse.csr_array, beta: float) -> Rung:
    """Return the rung with the best macro-F among those with other probabilities, or ours.

    Parts of the stack are left out: whoever has them has the reference. Where rungs have twins
    under the rules, it is one of the reference's own side.
    """
    others = [r for r in rungs if not (r.spec.part_of or same_proba(r.proba, ours.proba))]
    return max(
        like_for_like(others, ours),
        key=lambda rung: np.nan_to_num(decision_scores(rung.decided, labels, beta=beta).macro_f),
        default=ours,
    )


def rungs_without(rungs: Sequence[Rung], unknown: sparse.csr_array) -> tuple[Rung, ...]:
    """Return rungs with some pairs taken out; those that shared probabilities still do."""
    probas = {id(rung.proba): rung.proba for rung in rungs}
    known = {key: without(proba, unknown) for key, proba in probas.items()}
    return tuple(rung.without(unknown, known[id(rung.proba)]) for rung in rungs)


def like_for_like(rungs: Sequence[Rung], ours: Rung) -> Sequence[Rung]:
    """Return the rungs with rules where ours has them and any other has; else those without.

    What another tool puts out may have had rules of its own, and belongs to both sides.
    """
    if ours.spec.rules_of and any(rung.spec.rules_of for rung in rungs if rung is not ours):
        return [rung for rung in rungs if rung.spec.rules_of or rung.spec.is_foreign]
    return [rung for rung in rungs if not rung.spec.rules_of]


def counterpart(rung: Rung, ours: Rung, rungs: Sequence[Rung]) -> Rung:
    """Return what a rung is held against: the reference, for one without rules that one without.

    A published tagger and another tool are what people have today: they meet the reference.
    """
    as_today = rung.spec.is_foreign or rung.spec.is_published
    if rung.spec.rules_of or as_today:
        return ours
    return next((r for r in rungs if r.name == ours.spec.rules_of), ours)
