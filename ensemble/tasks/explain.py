"""Why a tag is on an image or not: each vote, the stack, the threshold, the rule."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tagstack.base_models.pairs import Level1Scores
from tagstack.base_models.scores.members import Members
from tagstack.base_models.scores.memory import MemorySink
from tagstack.base_models.scores.reading import ScoreReader
from tagstack.base_models.scores.store import ScoreStore
from tagstack.base_models.scoring.sources import ImageSources, find_images
from tagstack.base_models.tag_names import did_you_mean
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import changed_settings
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.decisions import Judge, TagEntry
from tagstack.ensemble.bundle.files import load_bundle
from tagstack.ensemble.cascade.routing import Route, answering
from tagstack.ensemble.contradictions.explanations import Change
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.scoring.runs import score_sources
from tagstack.ensemble.scoring.taggers import loaded_taggers
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
    not_asked : tuple of str
        Taggers that a cascade took for unneeded on this image.
    """

    image: str
    entries: tuple[TagEntry, ...]
    changes: tuple[Change, ...]
    chosen: str
    thresholds: str
    caution: str = ""
    not_asked: tuple[str, ...] = ()


def explain_image(
    image: Path,
    bundle_dir: Path,
    tag: str | None,
    models: tuple[str, ...] | None = None,
    scores: Path | None = None,
    runtime: Mapping[str, object] | None = None,
    cascade: float | None = None,
    cascade_loss: float | None = None,
) -> Explanation:
    """Return what led to the tags of one image, or to one tag's being there or not.

    ``models`` says where the bundle's taggers are now; where they were at fit time by default.
    ``scores`` is a store that has the image's scores, found by content; no tagger runs then.
    ``runtime`` are settings laid over the bundle's, such as its threads. ``cascade`` and
    ``cascade_loss`` are those of the tags that are explained; see `TagRequest`.

    Raises
    ------
    TagstackError
        If image, bundle, store or taggers cannot be used, or no tagger knows the tag.
    """
    bundle = load_bundle(bundle_dir)
    bundle = replace(bundle, settings=changed_settings(bundle.settings, runtime or {}))
    check_tag(bundle, tag)
    route = Route.of(bundle, cascade, cascade_loss)
    if scores is not None:
        reader, name = _stored(image, bundle, scores)
        return explained(bundle, *answering(bundle, route, name, lambda _: reader), tag)
    with _looking(image, bundle, models) as (look, name):
        return explained(bundle, *answering(bundle, route, name, look), tag)


def check_tag(bundle: Bundle, tag: str | None) -> None:
    """Raise a `TagstackError` if no tagger of a bundle knows a tag; None is fine."""
    if tag is not None and not isinstance(tag, str):
        kind = type(tag).__name__
        raise TagstackError(f"The tag {tag!r} is of type {kind}; expected text, such as '1girl'.")
    if tag is not None and tag not in bundle.vocabulary.index:
        hint = did_you_mean(tag, bundle.vocabulary.tags) or "Tags are written with underscores."
        msg = f"No tagger of the bundle knows the tag {tag!r}. {hint}"
        raise TagstackError(msg)


def explained(whole: Bundle, bundle: Bundle, scores: Level1Scores, tag: str | None) -> Explanation:
    """Return what led to the tags of the one image in ``scores``, or to one tag.

    ``bundle`` is what answers: ``whole``, or a head of its cascade.
    """
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
        not_asked=tuple(name for name in whole.member_names if name not in bundle.member_names),
    )


def _source(image: Path, bundle: Bundle) -> ImageSources:
    if os.path.isdir(image):
        raise TagstackError(f"{image} is a folder; expected one image file. Give the file itself.")
    return find_images([image], extensions=bundle.settings.score.extensions)


def _stored(image: Path, bundle: Bundle, store: Path) -> tuple[ScoreReader, str]:
    """Return a store's scores of one image, and the name that they have."""
    reader = ScoreStore(store)
    bundle.check_members(reader.members())
    sources = _source(image, bundle)
    read, failed = hashed(sources, sources.names, bundle.settings, Silent())
    for reason in failed.values():
        raise TagstackError(f"Cannot read {image}: {reason}.")
    contents = {name: record.sha256 for name, record in read.items()}
    return NamedContents(reader, contents), sources.names[0]


@contextmanager
def _looking(
    image: Path, bundle: Bundle, given: tuple[str, ...] | None
) -> Iterator[tuple[Callable[[tuple[str, ...]], ScoreReader], str]]:
    """Give what asks some taggers of one image, and the name that its scores have."""
    sources = _source(image, bundle)
    with loaded_taggers(bundle.tagger_sources(given), bundle.settings) as taggers:
        bundle.check_members(taggers)

        def look(names: tuple[str, ...]) -> ScoreReader:
            own = [tagger for tagger in taggers if tagger.name in names]
            sink = MemorySink(Members.of(own), hashes=False)
            summary = score_sources(sources, own, sink, bundle.settings, Silent())
            if summary.failures:
                raise TagstackError(f"Cannot read {image}: {summary.failures[0].reason}.")
            return sink

        yield look, sources.names[0]
