"""A bundle's ladder on labelled images that it was not fitted on: compared, and reported."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from tagstack import __version__
from tagstack.base_models.scores.reading import ScoreReader
from tagstack.configs.settings import Settings
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.dataset import Dataset, DatasetSource, load_dataset
from tagstack.ensemble.bundle.files import load_bundle, refuse_existing
from tagstack.ensemble.bundle.overlaps import overlaps_of, unseen
from tagstack.ensemble.cascade.judged import judged_rows
from tagstack.ensemble.cluster.handing import workers_of
from tagstack.ensemble.comparison.comparing import Comparison, Rung, compare
from tagstack.ensemble.comparison.ladder import DECODED, climb
from tagstack.ensemble.comparison.other_rungs import OtherTool, other_rungs
from tagstack.ensemble.comparison.two_bundles import (
    AS_TAGGED,
    Entrant,
    common_images,
    meeting,
)
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.report.fit_evidence import fit_evidence
from tagstack.ensemble.report.writing import PAGE, ReportExtra, ReportPaths, write_report
from tagstack.ensemble.rules.hygiene import canonical_names
from tagstack.ensemble.thresholds.table import BY_HAND

_NAMED = re.compile(r", such as [^;]*")  # the image that a notice gives as an example


@dataclass(frozen=True, kw_only=True)
class CompareRequest:
    """What to compare on which images, and where the report goes.

    Parameters
    ----------
    bundle : Path
    source : DatasetSource
    out : Path
    overwrite : bool
    others : tuple of OtherTool
        Outputs of other tools, to stand on the ladder too.
    against : Path, optional
        An older bundle that this one is held against, tag by tag, instead of its own ladder.
    publish : bool
        Whether the report leaves out names and pictures of images.
    ray : str, optional
        Address of a Ray cluster whose workers resample rungs; the report is the same.
    """

    bundle: Path
    source: DatasetSource
    out: Path
    overwrite: bool = False
    others: tuple[OtherTool, ...] = ()
    against: Path | None = None
    publish: bool = False
    ray: str | None = None


def compare_bundle(
    request: CompareRequest, settings: Settings, progress: Progress
) -> tuple[Comparison, ReportPaths]:
    """Compare every rung of a bundle's ladder and write the report.

    Raises
    ------
    TagstackError
        If bundle, scores or labels cannot be used, all images were fitted on, or the report
        exists.
    """
    # The page is written last: without it, the folder is what an interrupted run left.
    refuse_existing(request.out / PAGE, overwrite=request.overwrite)
    bundle = load_bundle(request.bundle)
    with workers_of(request.ray, settings):
        if request.against is None:
            found = compared(bundle, request.source, settings, progress, others=request.others)
        else:
            old, titles = load_bundle(request.against), titles_of(request.bundle, request.against)
            found = compared_bundles(bundle, old, titles, request.source, settings, progress)
    if request.publish:
        found = found.published()
    progress.stage("writing the report")
    return found.comparison, found.write(request.out)


def titles_of(new: Path, old: Path) -> tuple[str, str]:
    """Return what a report calls two bundles: by their folders' names, never by their paths."""
    names = [Path(path).absolute().name for path in (new, old)]
    return f"the new bundle {names[0]}", f"the old bundle {names[1]}"


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A comparison in memory, with what its report says besides.

    Parameters
    ----------
    comparison : Comparison
    notices : tuple of str
        What of the images or labels could not be used, a line each.
    extra : ReportExtra
    pictures : callable
        The file of an image by name; None for one that is not there.
    """

    comparison: Comparison
    notices: tuple[str, ...]
    extra: ReportExtra
    pictures: Callable[[str], Path | None]

    def published(self) -> "Compared":
        """Return the same without names and pictures of images."""
        bare = replace(self.comparison, worst=())
        notices = tuple(_NAMED.sub("", notice) for notice in self.notices)
        extra = replace(self.extra, notices=notices)
        return replace(self, comparison=bare, notices=notices, extra=extra)

    def write(self, out: "str | os.PathLike[str]") -> ReportPaths:
        """Write the report and its tables into a folder, which is made where there is none.

        Raises
        ------
        OSError
            If the folder cannot be written.
        """
        return write_report(self.comparison, Path(out), pictures=self.pictures, extra=self.extra)


def compared(
    bundle: Bundle,
    source: DatasetSource,
    settings: Settings,
    progress: Progress,
    *,
    others: tuple[OtherTool, ...] = (),
) -> Compared:
    """Return the comparison of every rung of a bundle's ladder; nothing is written.

    Raises
    ------
    TagstackError
        If scores or labels cannot be used, or all images were fitted on.
    """
    dataset, leaks = unseen(_dataset(bundle, source), bundle.fitted_images)
    own = other_rungs(others, bundle, dataset, _fitted(bundle, source), settings.seed)
    overlaps = (overlap.notice for overlap in overlaps_of(dataset, settings.seed))
    cautions = (f"This is {bundle.caution}",) if bundle.caution else ()
    notices = (*cautions, *_by_hand(bundle), *dataset.notices, *leaks, *overlaps, *own.notices)
    for notice in notices:
        progress.notice(notice)
    progress.stage("climbing the ladder")
    comparison = compare_ladder(bundle, dataset, settings, progress, own.rungs)
    if bundle.cascade is not None:
        progress.stage("cost of the cascade against F1")
    return Compared(
        comparison=comparison,
        notices=notices,
        extra=ReportExtra(
            provenance=_provenance(bundle, source),
            notices=notices,
            fit=fit_evidence(bundle.evidence),
            cascade=judged_rows(bundle, dataset, source.reader(), settings.cascade, settings.seed),
        ),
        pictures=_pictures(source.reader()),
    )


def _by_hand(bundle: Bundle) -> tuple[str, ...]:
    """Return what to know where a person set thresholds, which no other rung has."""
    n_set = bundle.thresholds.objective.count(BY_HAND)
    if not n_set:
        return ()
    return (
        f"{n_set} thresholds of the stack with its rules were set by hand; every other rung has "
        f"fitted ones.",
    )


def compared_bundles(
    bundle: Bundle,
    old: Bundle,
    titles: tuple[str, str],
    source: DatasetSource,
    settings: Settings,
    progress: Progress,
) -> Compared:
    """Return the comparison of two bundles on the images that neither was fitted on.

    Parameters
    ----------
    bundle, old : Bundle
    titles : tuple of str
        What the report calls them.
    source : DatasetSource
        Its scores hold the taggers of both.
    settings : Settings
    progress : Progress

    Raises
    ------
    TagstackError
        If scores or labels cannot be used, or no image is left.
    """
    seen = [unseen(_dataset(own, source), own.fitted_images) for own in (bundle, old)]
    for own, (dataset, _) in zip((bundle, old), seen, strict=True):
        own.check_members(dataset.members)
    ours, theirs = common_images(seen[0][0], seen[1][0])
    progress.stage("tagging with both bundles")
    met = meeting(
        Entrant(bundle=bundle, dataset=ours, title=titles[0]),
        Entrant(bundle=old, dataset=theirs, title=titles[1]),
    )
    notices = tuple(dict.fromkeys((*ours.notices, *seen[0][1], *seen[1][1], met.coverage)))
    for notice in notices:
        progress.notice(notice)
    progress.stage("resampling")
    reference, rival = AS_TAGGED
    comparison = compare(
        met.rungs,
        met.labels,
        met.vocabulary,
        ours.groups,
        reference=reference,
        rival=rival,
        settings=settings.compare,
        seed=settings.seed,
        images=ours.scores.images,
        rules=bundle.rules.bind(met.vocabulary) if len(bundle.rules) else None,
        slices=ours.kinds(),
        unknown=met.unknown if met.unknown.nnz else None,
    )
    facts = {f"{key}, old": value for key, value in _provenance(old, source).items()}
    return Compared(
        comparison=comparison,
        notices=notices,
        extra=ReportExtra(
            title="Two bundles",
            provenance=_provenance(bundle, source) | facts,
            notices=notices,
            fit=fit_evidence(bundle.evidence),
        ),
        pictures=_pictures(source.reader()),
    )


def _dataset(bundle: Bundle, source: DatasetSource) -> Dataset:
    return load_dataset(
        source,
        aliases=canonical_names(bundle.rules.aliases),
        groups=bundle.rules.groups,
        labels=bundle.settings.labels,
        near_duplicates=bundle.settings.score.near_duplicates,
        bundle=bundle,
    )


def _fitted(bundle: Bundle, source: DatasetSource) -> Callable[[], Dataset | None]:
    """Return a loader of the labelled images that the bundle was fitted on, None without any."""

    @cache
    def load() -> Dataset | None:
        everything = _dataset(bundle, replace(source, where=None))
        seen = np.flatnonzero(bundle.fitted_images.holds(everything))
        return everything.take(seen) if len(seen) else None

    return load


def compare_ladder(
    bundle: Bundle,
    dataset: Dataset,
    settings: Settings,
    progress: Progress,
    others: tuple[Rung, ...] = (),
) -> Comparison:
    """Return the comparison of every rung on a dataset, other tools' first."""
    rules = bundle.rules.bind(bundle.vocabulary)
    rungs = (*others, *climb(bundle, dataset))
    progress.stage("resampling")
    return compare(
        rungs,
        dataset.labels,
        bundle.vocabulary,
        dataset.groups,
        reference=DECODED,
        settings=settings.compare,
        seed=settings.seed,
        images=dataset.scores.images,
        rules=rules if len(bundle.rules) else None,
        slices=dataset.kinds(),
        unknown=dataset.unknown if dataset.unknown.nnz else None,
    )


def _provenance(bundle: Bundle, source: DatasetSource) -> dict[str, str]:
    """Return what the report says about where its figures come from."""
    evidence = bundle.evidence
    taggers = (f"{member.name} {member.fingerprint[:12]}" for member in bundle.members)
    return {
        "tagstack": __version__,
        "taggers": ", ".join(taggers),
        "fitted on": _fitted_on(bundle),
        "fit labels": evidence["labels_sha256"][:12],
        "fit seed": str(evidence["seed"]),
        "rung chosen at fit time": evidence["chosen"],
        "thresholds": bundle.threshold_version,
        "compared where": source.where or "all labelled images",
        "grouped by": source.group or "equal files alone",
    }


def _fitted_on(bundle: Bundle) -> str:
    evidence = bundle.evidence
    if bundle.caution:
        return f"nothing; {evidence['start']['n_images']} unlabelled images were looked at"
    return f"{evidence['n_images']} images in {evidence['n_groups']} groups"


def _pictures(scores: ScoreReader) -> Callable[[str], Path | None]:
    """Return a finder of image files by name; None for a file that is no longer there."""
    roots = {record.path: record.root for record in scores.records()}

    def find(image: str) -> Path | None:
        path = Path(roots[image]) / image
        given_in_memory = not roots[image]  # its name is no path
        return path if not given_in_memory and path.is_file() else None

    return find
