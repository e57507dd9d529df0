"""Two bundles on the same images: both as they tag, over one vocabulary.

The old bundle is the rival of the new one, whatever else stands on the ladder. A third rung has
the new bundle at the old one's operating point: all of its thresholds moved by one step in
log-odds until it gives as many tags an image. What it gains there is not bought with more tags.
No label has a part in that.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.dataset import Dataset
from tagstack.ensemble.comparison.rungs import Rung
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.thresholds.cuts import logits_of, thresholds_from_logits
from tagstack.ensemble.thresholds.deciding import Cutting
from tagstack.meta.metrics.counts import canonical
from tagstack.meta.stack.rung_spec import RungSpec, ruled_name

NEW, OLD = "new", "old"
AS_TAGGED = ruled_name(NEW), ruled_name(OLD)
"""Names of the two rungs that are compared: each bundle as it tags."""
MATCHED = "new at old's tags an image"
_HALVINGS, _REACH = 14, 12.0  # of a step in log-odds, found to 0.002


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """A bundle with its scores of the images.

    Parameters
    ----------
    bundle : Bundle
    dataset : Dataset
        The images that both bundles are judged on, in one order, scored by its own taggers.
    title : str
    """

    bundle: Bundle
    dataset: Dataset
    title: str


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """What two bundles say of the same images.

    Parameters
    ----------
    vocabulary : Vocabulary
        Of both.
    labels, unknown : csr_array of shape (n_images, n_tags), bool
    rungs : tuple of Rung
    n_both, n_new, n_old : int
        Tags that both know, and that one of them knows.
    """

    vocabulary: Vocabulary
    labels: sparse.csr_array
    unknown: sparse.csr_array
    rungs: tuple[Rung, ...]
    n_both: int
    n_new: int
    n_old: int

    @property
    def coverage(self) -> str:
        """Which tags are compared, in words."""
        return (
            f"{self.n_both} tags are in both bundles, {self.n_new} in the new one alone and "
            f"{self.n_old} in the old one alone; a bundle never gives a tag that it lacks"
        )


def common_images(new: Dataset, old: Dataset) -> tuple[Dataset, Dataset]:
    """Return the images that both have, in one order.

    Raises
    ------
    TagstackError
        If they share none.
    """
    place = {name: at for at, name in enumerate(old.scores.images)}
    both = [(at, place[n]) for at, n in enumerate(new.scores.images) if n in place]
    if not both:
        msg = "No image is left that neither bundle was fitted on. Choose others with --where."
        raise TagstackError(msg)
    ours, theirs = (np.array(side, np.intp) for side in zip(*both, strict=True))
    return new.take(ours), old.take(theirs)


def meeting(new: Entrant, old: Entrant) -> Meeting:
    """Return both bundles' decisions on the same images, over the vocabulary of both."""
    vocabularies = new.bundle.vocabulary, old.bundle.vocabulary
    joint = Vocabulary.union(vocabularies)
    ours, theirs = (np.array([joint.index[tag] for tag in v.tags]) for v in vocabularies)
    known, n_tags = set(ours.tolist()), len(joint)
    kept = np.array([place not in known for place in theirs.tolist()])  # labels that new lacks
    both = int((~kept).sum())

    def joined(mine: sparse.csr_array, other: sparse.csr_array) -> sparse.csr_array:
        rest = sparse.csr_array(other.multiply(kept[None, :]), dtype=bool)
        return canonical(_spread(mine, ours, n_tags) + _spread(rest, theirs, n_tags))

    old_rungs = tuple(_rungs(old, OLD, theirs, n_tags))
    n_decided = old_rungs[-1].decided.nnz
    return Meeting(
        vocabulary=joint,
        labels=joined(new.dataset.labels, old.dataset.labels),
        unknown=joined(new.dataset.unknown, old.dataset.unknown),
        rungs=(*old_rungs, *_rungs(new, NEW, ours, n_tags, match=n_decided)),
        n_both=both,
        n_new=len(ours) - both,
        n_old=len(theirs) - both,
    )


def _rungs(
    entrant: Entrant, name: str, places: NDArray[np.intp], n_tags: int, match: int | None = None
) -> Iterator[Rung]:
    """Yield a bundle without its rules, at an operating point to match, and as it tags."""
    bundle = entrant.bundle
    proba = bundle.stacker.predict_proba(entrant.dataset.scores)
    shown = _moved(proba, places, n_tags)
    decoder = Decoder(bundle.rules.bind(bundle.vocabulary), bundle.settings.decoder)
    cutting = bundle.thresholds.cutting
    plain = bundle.rung_cutting(bundle.stacker.chosen_)
    note = f"{bundle.stacker.chosen_} of {len(bundle.members)} taggers"

    def rung(own: RungSpec, used: Cutting, decided: sparse.csr_array, said: str) -> Rung:
        value = np.full(n_tags, np.inf, np.float32)
        value[places] = used.value
        return Rung(
            spec=own,
            proba=shown,
            decided=_spread(decided, places, n_tags),
            thresholds=value,
            note=said,
            before_rules=_spread(used.decided(proba), places, n_tags) if own.rules_of else None,
        )

    bare = RungSpec(name=name, title=f"{entrant.title}, without rules", kind="stack")
    spec = RungSpec(name=ruled_name(name), title=entrant.title, kind="stack", rules_of=name)
    yield rung(bare, plain, plain.decided(proba), f"{note}, without rules")
    final = cutting.decoded(proba, decoder)
    if match is not None:
        step = 0.0 if final.nnz == match else _step(proba, cutting, decoder, match)
        there = _stepped(cutting, proba, step) if step else cutting
        own = replace(spec, name=MATCHED, title=f"{entrant.title}, as many tags as old")
        said = f"all thresholds moved by {step:+.2f} in log-odds, to the old bundle's tags an image"
        yield rung(own, there, there.decoded(proba, decoder), said)
    yield rung(spec, cutting, final, f"{note}, as it tags")


def _step(proba: PairProba, cutting: Cutting, decoder: Decoder, wanted: int) -> float:
    """Return the step of all thresholds that gives about so many decided pairs."""
    low, high = -_REACH, _REACH
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        n_decided = _stepped(cutting, proba, middle).decoded(proba, decoder).nnz
        low, high = (middle, high) if n_decided > wanted else (low, middle)
    return (low + high) / 2


def _stepped(cutting: Cutting, proba: PairProba, step: float) -> Cutting:
    """Return thresholds moved in log-odds; what is never tagged stays so."""
    floor = np.nan_to_num(proba.base)
    value = thresholds_from_logits(logits_of(cutting.value) + step, floor)
    return replace(cutting, value=np.where(np.isinf(cutting.value), cutting.value, value))


def _moved(proba: PairProba, places: NDArray[np.intp], n_tags: int) -> PairProba:
    """Return probabilities over a larger vocabulary; NaN for the tags that are new."""
    image, tag = proba.pairs.image, places[proba.pairs.tag].astype(np.int32)
    order = np.lexsort((tag, image))
    base = np.full(n_tags, np.nan, np.float32)
    base[places] = proba.base
    pairs = Pairs(indptr=proba.pairs.indptr, tag=tag[order], n_tags=n_tags)
    return PairProba(pairs=pairs, proba=proba.proba[order], base=base)


def _spread(matrix: sparse.csr_array, places: NDArray[np.intp], n_tags: int) -> sparse.csr_array:
    """Return a matrix of tags over a larger vocabulary."""
    found = canonical(matrix).tocoo()
    shape = (found.shape[0], n_tags)
    spread = sparse.coo_array((found.data, (found.row, places[found.col])), shape=shape)
    return canonical(sparse.csr_array(spread))
