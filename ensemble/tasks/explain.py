"""Why a tag is on an image or not: each vote, the stack, the threshold, the rule."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tagstack.base_models.pairs import Level1Scores
from tagstack.base_models.scores.members import Members
from tagstack.base_models.scores.memory import MemorySink
from tagstack.base_models.scores.store import ScoreStore
from tagstack.base_models.scoring.sources import ImageSources, find_images
from tagstack.base_models.tag_names import did_you_mean
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import changed_settings
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.decisions import Judge, TagEntry
from tagstack.ensemble.bundle.files import load_bundle
from tagstack.ensemble.contradictions.explanations import Change
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.tasks.scoring import loaded_taggers, score_sources
from tagstack.ensemble.tasks.stored_scores import NamedContents, hashed


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What led to an image's tags.

    Parameters
    ----------
    image : str
    entries : tuple of TagEntry
        The tags asked for, most probable first.
    changes : tuple of Change
        What the rules added or removed, with culprits and margin.
    chosen : str
        Rung of the ladder that gives the stack's probability.
    thresholds : str
        Version of the bundle's thresholds that decided.
    caution : str
        What whoever reads it should know of the bundle; mostly empty.
    """

    image: str
    entries: tuple[TagEntry, ...]
    changes: tuple[Change, ...]
    chosen: str
    thresholds: str
    caution: str = ""


def explain_image(
    image: Path,
    bundle_dir: Path,
    tag: str | None,
    models: tuple[str, ...] | None = None,
    scores: Path | None = None,
    runtime: Mapping[str, object] | None = None,
) -> Explanation:
    """Return what led to the tags of one image, or to one tag's being there or not.

    ``models`` says where the bundle's taggers are now; where they were at fit time by default.
    ``scores`` is a store that has the image's scores, found by content; no tagger runs then.
    ``runtime`` are settings laid over the bundle's, such as its threads.

    Raises
    ------
    TagstackError
        If image, bundle, store or taggers cannot be used, or no tagger knows the tag.
    """
    bundle = load_bundle(bundle_dir)
    bundle = replace(bundle, settings=changed_settings(bundle.settings, runtime or {}))
    check_tag(bundle, tag)
    own = _scored(image, bundle, models) if scores is None else _stored(image, bundle, scores)
    return explained(bundle, own, tag)


def check_tag(bundle: Bundle, tag: str | None) -> None:
    """Raise a `TagstackError` if no tagger of a bundle knows a tag; None is fine."""
    if tag is not None and tag not in bundle.vocabulary.index:
        hint = did_you_mean(tag, bundle.vocabulary.tags) or "Tags are written with underscores."
        msg = f"No tagger of the bundle knows the tag {tag!r}. {hint}"
        raise TagstackError(msg)


def explained(bundle: Bundle, scores: Level1Scores, tag: str | None) -> Explanation:
    """Return what led to the tags of the one image in ``scores``, or to one tag."""
    judge = Judge(bundle, bundle.settings.output.score_floor, always=() if tag is None else (tag,))
    proba = bundle.stacker.predict_proba(scores)
    changes = bundle.thresholds.cutting.explained(proba, judge.decoder)
    (tagged,) = judge.judge(scores, proba, changes)
    return Explanation(
        image=tagged.image,
        entries=tuple(entry for entry in tagged.entries if tag in (None, entry.tag)),
        changes=tuple(change for change in changes if tag in (None, change.tag)),
        chosen=bundle.stacker.chosen_,
        thresholds=bundle.threshold_version,
        caution=bundle.caution,
    )


def _source(image: Path, bundle: Bundle) -> ImageSources:
    if os.path.isdir(image):
        raise TagstackError(f"{image} is a folder; expected one image file. Give the file itself.")
    return find_images([image], extensions=bundle.settings.score.extensions)


def _stored(image: Path, bundle: Bundle, store: Path) -> Level1Scores:
    reader = ScoreStore(store)
    bundle.check_members(reader.members())
    sources = _source(image, bundle)
    read, failed = hashed(sources, sources.names, bundle.settings, Silent())
    for reason in failed.values():
        raise TagstackError(f"Cannot read {image}: {reason}.")
    contents = {name: record.sha256 for name, record in read.items()}
    return bundle.scores(NamedContents(reader, contents), sources.names)


def _scored(image: Path, bundle: Bundle, given: tuple[str, ...] | None) -> Level1Scores:
    sources = _source(image, bundle)
    models = bundle.tagger_sources(given)
    with loaded_taggers(models, bundle.settings) as taggers:
        bundle.check_members(taggers)
        sink = MemorySink(Members.of(taggers), hashes=False)
        summary = score_sources(sources, taggers, sink, bundle.settings, Silent())
        if summary.failures:
            msg = f"Cannot read {image}: {summary.failures[0].reason}."
            raise TagstackError(msg)
        return bundle.scores(sink, sources.names)
