"""A contract for a folder that has none: from its files, from labelled pictures, from the user.

Questions about files come first, as labelled pictures can only be scored once those are settled;
then the pictures decide what they surely can of colours, scale and geometry; the user is asked for
the rest. What is written holds its own check.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tagstack.base_models.atomic import write_text
from tagstack.base_models.contract import CONTRACT_FILE
from tagstack.base_models.runtimes.selection import REFERENCE
from tagstack.base_models.taggers import model_facts
from tagstack.base_models.taggers.check import CheckReport, check_tagger
from tagstack.base_models.taggers.draft import IMAGENET, Draft, Fact, Question
from tagstack.base_models.taggers.drafting import draft_of
from tagstack.base_models.taggers.tagger import load_tagger
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import ScoreSettings
from tagstack.ensemble.tasks.check_framing import LabelledPictures
from tagstack.ensemble.tasks.framing_search import Report, as_if, logits_of_ways, looked_at
from tagstack.ensemble.tasks.framing_verdict import Facts, losses, reach_of, surely_more

Ask = Callable[[Question], Fact]

# What pictures can decide, with what stands there until they did.
_SEEN = {"input.colour": "RGB", "input.range": "0-1", "input.geometry": "pad_square"}
_UNTIL_ASKED = {"input.resample": "bicubic"}
_PADS = ((255, 255, 255), (0, 0, 0), (128, 128, 128))


@dataclass(frozen=True, kw_only=True)
class InitRequest:
    """What to do.

    Parameters
    ----------
    folder : Path
        Holds the network and its tag file.
    given : mapping of key to Fact
        What the user said beforehand.
    images, labels : Path, optional
        A folder of pictures and their label file.
    force : bool
        Replace a contract that is there.
    """

    folder: Path
    given: Mapping[str, Fact]
    images: Path | None = None
    labels: Path | None = None
    force: bool = False


@dataclass(frozen=True, kw_only=True)
class Initialised:
    """A contract that was written, where its values come from, and what its check found."""

    path: Path
    draft: Draft
    report: CheckReport


def init_tagger(
    request: InitRequest, settings: ScoreSettings, ask: Ask | None, report: Report
) -> Initialised:
    """Write a folder's contract and check it.

    Parameters
    ----------
    request : InitRequest
    settings : ScoreSettings
    ask : callable or None
        Asks the user; None where nobody can be asked.
    report : callable
        Called with the labelled pictures that are done and all of them.

    Raises
    ------
    TagstackError
        If a contract is there already, a value is left open that nobody answers, or the folder is
        none of a tagger.
    """
    path = request.folder / CONTRACT_FILE
    if not request.folder.is_dir():
        msg = f"There is no folder {request.folder}; expected one with a network and its tag file."
        raise TagstackError(msg)
    if path.exists() and not request.force:
        msg = f"{path} is there already. Say --force to replace it, or check it: models check."
        raise TagstackError(msg)
    draft = drafted(request, settings, ask, report)
    draft.contract()  # refuses what no contract takes, before anything is written
    write_text(path, draft.toml())
    found = check_tagger(request.folder, floor=settings.floor, threads=1)
    if found.passed and found.features is not None:
        source = "found in the graph and held to the scores"
        draft.facts["output.features"] = Fact(found.features, source)
        write_text(path, draft.toml())
        found = replace(found, contract=draft.contract())
    return Initialised(path=path, draft=draft, report=found)


def drafted(
    request: InitRequest, settings: ScoreSettings, ask: Ask | None, report: Report
) -> Draft:
    """Return a draft in which nothing is open; see `init_tagger`."""
    given = dict(request.given)

    @cache
    def look(model: Path, side: int) -> model_facts.ModelFacts:
        return model_facts.model_facts(model, side, settings.trial_seconds)

    draft = draft_of(request.folder, given, look)
    pictures_done = request.labels is None
    hints: Mapping[str, str] = {}
    while draft.open:
        files = [one for one in draft.open if one.key not in {**_SEEN, **_UNTIL_ASKED}]
        if not files and not pictures_done:
            pictures_done = True
            found, hints = _decided(request, draft, look, settings, report)
            given |= found
        elif ask is None:
            raise _open(draft)
        else:
            question = (files or draft.open)[0]
            given[question.key] = ask(question)
        draft = draft_of(request.folder, given, look)
        draft.open = [replace(one, hint=hints.get(one.key, "")) for one in draft.open]
    return draft


def _open(draft: Draft) -> TagstackError:
    asked = "; ".join(f"({i}) {one.text}" for i, one in enumerate(draft.open, 1))
    return TagstackError(
        f"{draft.folder}: no file says {asked}. Say each with --set KEY=VALUE; labelled pictures "
        "(--labels FILE --images FOLDER) may decide colour, range and geometry."
    )


def _decided(
    request: InitRequest,
    draft: Draft,
    look: Callable[[Path, int], model_facts.ModelFacts],
    settings: ScoreSettings,
    report: Report,
) -> tuple[dict[str, Fact], dict[str, str]]:
    """Return what labelled pictures surely say of the open values, and what they only suggest."""
    if request.images is None or request.labels is None:
        return {}, {}
    asked = {one.key for one in draft.open}
    until = {**_SEEN, **_UNTIL_ASKED}
    guessed = {key: Fact(value, "") for key, value in until.items() if key in asked}
    whole = draft_of(request.folder, {**draft.given, **guessed}, look)
    tagger = load_tagger(
        request.folder, floor=settings.floor, threads=1, smoke=False, runtime=REFERENCE,
        contract=whole.contract(),
    )  # fmt: skip
    try:
        shown = LabelledPictures.of(tagger, request.images, request.labels, settings)
        found: dict[str, Any] = {}
        hints: dict[str, str] = {}
        for options in _rounds(asked):
            logits = logits_of_ways(
                as_if(tagger, options[0]), options[1:], shown.pictures(),
                (len(shown.paths), looked_at(shown.truth)), report,
            )  # fmt: skip
            shown.readable(request.labels)
            best, sure = _verdict(options, logits, shown.truth)
            tagger = as_if(tagger, best)
            found |= {key: best[key] for key in sure}
            hints |= {
                f"input.{key}": f"the pictures agree best with {value}, not surely"
                for key, value in best.items()
                if key not in sure
            }
        n_read = len(shown.paths) - len(shown.unreadable)
    finally:
        tagger.close()
    return _as_facts(found, f"{n_read} labelled pictures surely agree less with any other"), hints


def _rounds(asked: set[str]) -> list[list[Facts]]:
    """Return what is tried together: colours and scales, then geometries."""
    colours: list[Facts] = [{}]
    if "input.colour" in asked:
        colours = [{"colour": name} for name in ("RGB", "BGR")]
    scales: list[Facts] = [{}]
    if "input.range" in asked:
        names = ("0-1", "0-255", "-1-1")
        scales = [{"range": name, "mean": None, "std": None} for name in names]
        scales.append({"range": None, **{key: tuple(one) for key, one in IMAGENET.items()}})
    rounds: list[list[Facts]] = [[{**colour, **scale} for colour in colours for scale in scales]]
    if "input.geometry" in asked:
        padded = [{"geometry": "pad_square", "pad": pad} for pad in _PADS]
        rounds.append([*padded, {"geometry": "squash"}, {"geometry": "fit_edge"}])
    return [options for options in rounds if len(options) > 1]


def _verdict(options: Sequence[Facts], logits: Any, truth: Any) -> tuple[Facts, tuple[str, ...]]:
    """Return the way that agrees best, and the keys of which every other value is surely worse."""
    read = np.isfinite(logits[0]).all(axis=1)
    labels = truth[read][:, looked_at(truth)]
    loss = np.array([losses(own[read], labels) for own in logits])
    first = int(loss.mean(axis=1).argmin())
    best, reach = options[first], reach_of(len(options))
    sure = []
    for key in best:
        others = [i for i, one in enumerate(options) if one.get(key) != best[key]]
        if others and all(surely_more(loss[i] - loss[first], reach) for i in others):
            sure.append(key)
    # A colour of the border says nothing by itself.
    return best, tuple(key for key in sure if key != "pad" or "geometry" in sure)


def _as_facts(found: Mapping[str, Any], source: str) -> dict[str, Fact]:
    """Return keys of ``[input]`` as the draft has them; a scale is one of its forms."""
    return {
        f"input.{key}": Fact(list(value) if isinstance(value, tuple) else value, source)
        for key, value in found.items()
        if value is not None
    }
