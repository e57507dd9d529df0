"""Fits of an audit without one value of a column, or without one tagger; nothing of them is kept.

They are made as `fit --quick` makes them, the whole fit among them, so that all are alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import PairProba
from tagstack.base_models.threads import thread_count
from tagstack.configs.quick import QUICK
from tagstack.configs.settings import Settings, changed_settings
from tagstack.ensemble.audit.certainty import Certainty
from tagstack.ensemble.audit.refits import MEMBER, VALUE, Arm, Refit, Truth, refits_of
from tagstack.ensemble.audit.slices import ALL, COLUMN, Slice, column_slices
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.dataset import Dataset
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.fitting.fit_stages import most_seconds
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.thresholds.plan import assignments
from tagstack.ensemble.thresholds.rounds import Rounds
from tagstack.meta.labels.truth import known_labels, without_unknown
from tagstack.meta.stack.prefixes import prefix_scores
from tagstack.meta.stack.stacker import Stacker
from tagstack.meta.start.published import Published
from tagstack.meta.start.unlabelled import adapted_answer

_ALL = Slice(kind=ALL, column=ALL, value="all images")


@dataclass(frozen=True, kw_only=True)
class RefitRequest:
    """What fits are to go without.

    Parameters
    ----------
    columns : tuple of str
        Label columns of which each value is left out once.
    members : bool
        Whether each tagger is left out once.
    """

    columns: tuple[str, ...] = ()
    members: bool = False


def refitted(
    request: RefitRequest,
    bundle: Bundle,
    dataset: Dataset,
    slices: Sequence[Slice],
    settings: Settings,
    progress: Progress,
) -> tuple[Refit, ...]:
    """Return what fits without each value of some columns, and without each tagger, do to slices.

    Parameters
    ----------
    request : RefitRequest
    bundle : Bundle
        Whose members, rules and settings the fits have.
    dataset : Dataset
        The audited images.
    slices : sequence of Slice
        Those of images by columns show what a tagger is worth to them.
    settings : Settings
        Of the audit.
    progress : Progress

    Raises
    ------
    TagstackError
        If there is no such column, or too few images are left to fit on.
    """
    fits = QuickFits(bundle, dataset, progress)
    left_out = _values(request.columns, dataset, settings, progress)
    members = fits.names if request.members and len(fits.names) > 1 else ()
    if request.members and not members:
        progress.notice("the bundle has one tagger: there is none to leave out")
    if not (left_out or members):
        return ()
    fits.say_cost(1 + len(left_out) + len(members))
    whole = fits.whole()
    by_value = tuple(fits.without_value(one) for one in left_out)
    kinds = (_ALL, *(one for one in slices if one.kind == COLUMN))
    by_member = tuple(fits.without_member(name, kinds) for name in members)
    truth = Truth(labels=dataset.labels, unknown=dataset.unknown, groups=dataset.groups)
    certainty = Certainty.of(settings)
    return tuple(
        row for arms in (by_value, by_member) for row in refits_of(whole, arms, truth, certainty)
    )


def _values(
    columns: Sequence[str], dataset: Dataset, settings: Settings, progress: Progress
) -> tuple[Slice, ...]:
    found, said = column_slices(
        dataset.columns,
        columns,
        most_values=settings.compare.max_slice_values,
        least_images=settings.audit.least_images,
    )
    for notice in said:
        progress.notice(notice)
    return tuple(one for one in found if not one.pooled)


class QuickFits:
    """Quick fits on one set of images."""

    def __init__(self, bundle: Bundle, dataset: Dataset, progress: Progress) -> None:
        self.names, self.vocabulary = bundle.member_names, bundle.vocabulary
        # A probe that was fitted on these images is none of the taggers.
        scores = prefix_scores(dataset.scores, self.names, self.vocabulary)
        self.dataset = replace(dataset, scores=replace(scores, features=()))
        self.settings = changed_settings(
            changed_settings(bundle.settings, QUICK), {"stack": {"probe": {"enabled": False}}}
        )
        self.decoder = Decoder(bundle.rules.bind(self.vocabulary), self.settings.decoder)
        self.progress = progress
        self._done, self._total = 0, 0
        column = self.settings.stack.balance
        balanced = column and len(set(dataset.columns.get(column, ()))) > 1
        balance = dataset.balance(self.settings.stack) if balanced else None
        self.weight = None if balance is None else balance.weight

    def say_cost(self, n_fits: int) -> None:
        """Say before the work what it takes."""
        self._total = n_fits
        scores = self.dataset.scores
        seconds = most_seconds(self.settings, scores.n_images, len(scores.pairs))
        self.progress.notice(
            f"{n_fits} quick fits on {scores.n_images:,} images, at most about "
            f"{max(round(n_fits * seconds / 60), 1)} CPU minutes in all"
        )

    def whole(self) -> sparse.csr_array:
        """Return what the whole fit decides on left-out folds, shape (n_images, n_tags), bool."""
        return self._crossed(self.dataset, "the whole fit")

    def without_member(self, name: str, slices: tuple[Slice, ...]) -> Arm:
        """Return what the fit without a tagger decides on left-out folds."""
        kept = tuple(own for own in self.names if own != name)
        dataset = replace(
            self.dataset,
            scores=prefix_scores(self.dataset.scores, kept, self.vocabulary),
            members=tuple(own for own in self.dataset.members if own.name != name),
        )
        return Arm(
            left_out=MEMBER,
            without=name,
            slices=slices,
            decided=self._crossed(dataset, f"without {name}"),
            n_fitted=dataset.scores.n_images,
        )

    def without_value(self, one: Slice) -> Arm:
        """Return what models that saw no label of a slice decide on it.

        Its labels are unknown to the fit, so that they have no say in anything; the folds see to
        it that no model saw another image of the group either.
        """
        images = one.images
        assert images is not None
        dataset, others = self.dataset, np.flatnonzero(~images)
        hidden = _every_tag(images, dataset.labels.shape[1])
        unknown = sparse.csr_array(dataset.unknown + hidden)
        blind = replace(dataset, unknown=unknown, labels=known_labels(dataset.labels, hidden))
        stacker = self._fitted(blind, f"without {one.column}={one.value}")
        proba = stacker.out_of_fold(stacker.chosen_)
        rest = dataset.take(others)
        rounds = self._rounds(
            rest, stacker.folds_[others], proba.take(others), self._weight_of(others)
        )
        decided = rounds.fit().cutting.decoded(proba, self.decoder)
        return Arm(
            left_out=VALUE,
            without=one.value,
            slices=(one,),
            decided=sparse.csr_array(decided),
            n_fitted=len(others),
        )

    def _crossed(self, dataset: Dataset, title: str) -> sparse.csr_array:
        stacker = self._fitted(dataset, title)
        proba = stacker.out_of_fold(stacker.chosen_)
        return self._rounds(dataset, stacker.folds_, proba, self.weight).left_out_decided()

    def _fitted(self, dataset: Dataset, title: str) -> Stacker:
        self.progress.stage(f"quick fits: {title}", self._done, self._total)
        self._done += 1
        stacker = Stacker(
            self.settings.stack,
            seed=self.settings.seed,
            threads=thread_count(self.settings.threads),
        )
        published = Published.of(dataset.members, self.vocabulary)
        return stacker.fit(
            dataset.scores,
            dataset.labels,
            dataset.groups,
            self.decoder.rules.relations(),
            unknown=dataset.unknown,
            image_weight=self.weight,
            start=adapted_answer(published, dataset.scores, self.settings.start).answer,
        )

    def _rounds(
        self,
        dataset: Dataset,
        folds: NDArray[np.int64],
        proba: PairProba,
        weight: NDArray[np.float64] | None,
    ) -> Rounds:
        return Rounds(
            without_unknown(proba, dataset.unknown),
            dataset.labels,
            self.vocabulary,
            folds,
            assignments(self.vocabulary, self.settings.thresholds, ()),
            self.decoder,
            weight,
        )

    def _weight_of(self, images: NDArray[np.intp]) -> NDArray[np.float64] | None:
        return None if self.weight is None else self.weight[images]


def _every_tag(images: NDArray[np.bool_], n_tags: int) -> sparse.csr_array:
    """Return every pair of some images, shape (n_images, n_tags), bool."""
    counts = np.where(images, n_tags, 0)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    tags = np.tile(np.arange(n_tags, dtype=np.int32), int(images.sum()))
    return sparse.csr_array((np.ones(len(tags), bool), tags, indptr), shape=(len(images), n_tags))
