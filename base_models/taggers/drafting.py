"""A draft filled from a folder: its network, its publisher's files, and a run on noise."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tagstack.base_models.taggers.draft import (
    ASSUMED,
    IMAGENET,
    QUESTIONS,
    SCALE,
    Draft,
    Fact,
    Question,
)
from tagstack.base_models.taggers.draft_tags import know_categories, know_tags, know_thresholds
from tagstack.base_models.taggers.model_facts import ModelFacts, Seen
from tagstack.base_models.taggers.own_folder import model_weights
from tagstack.base_models.taggers.publisher_facts import licence_of, said_of_input
from tagstack.configs.errors import TagstackError
from tagstack.configs.own_files import MODEL_BYTES, own_file
from tagstack.configs.shown import shown

_USUAL_SIDE = 224
_MIN_TAGS_FOR_SCALE = 8

Look = Callable[[Path, int], ModelFacts]


def draft_of(folder: Path, given: Mapping[str, Fact], look: Look) -> Draft:
    """Return a contract's draft.

    Parameters
    ----------
    folder : Path
        Its content may be a stranger's: names in it are looked at before anything is opened.
    given : mapping of key to Fact
        What was said of it (`answered`).
    look : callable
        `model_facts` of a file, at so many pixels where the file leaves them open.

    Raises
    ------
    TagstackError
        If there is no network that takes one picture, or no list of as many tags as it gives
        scores.
    """
    draft = Draft(folder, given)
    draft.know("name", _slug(folder), "name of the folder")
    draft.know(
        "source", "the files of this folder, read by tagstack models init", "how it was made"
    )
    licence = licence_of(folder)
    draft.know(
        "licence", licence or "not stated in these files", "README.md" if licence else ASSUMED
    )
    model = _model(draft)
    if model is None:
        return draft
    said = said_of_input(folder)
    draft.notes += said.notes
    size = said.facts.get("size", (None, ""))[0]
    side = size[0] if isinstance(size, list) else size or _USUAL_SIDE
    facts = look(model, int(side))
    _check_ports(model, facts)
    tags = know_tags(draft, model, facts)
    if tags is not None:
        know_categories(draft, tags)
        _output(draft, model, facts, len(tags.rows))
    _input(draft, facts, said.facts)
    know_thresholds(draft)
    return draft


def _slug(folder: Path) -> str:
    slug = re.sub(r"[^a-z0-9._-]+", "-", folder.resolve().name.lower()).strip("-._")
    return (slug or "tagger")[:80].rstrip("-._")


def _model(draft: Draft) -> Path | None:
    """Return the network's file, None where there are several to choose from."""
    names = sorted(path.name for path in draft.folder.glob("*.onnx"))
    if "files.model" in draft.given:
        draft.take("files.model")
    elif len(names) == 1:
        draft.know("files.model", names[0], "the only .onnx file")
    elif not names:
        msg = f"{draft.folder} has no .onnx file; expected the network there. Put it there."
        raise TagstackError(msg)
    else:
        draft.ask(Question("files.model", "which network", tuple(map(shown, names))))
        return None
    name = str(draft.facts["files.model"].value)
    path = own_file(draft.folder, name, max_bytes=MODEL_BYTES)
    model_weights(path)
    return path


def _check_ports(model: Path, facts: ModelFacts) -> None:
    if facts.picture is None or len(facts.inputs) > 1 + (facts.mask is not None):
        inputs = ", ".join(f"{shown(port.name)} {list(port.shape)}" for port in facts.inputs)
        msg = (
            f"{model} has the inputs {inputs or 'none'}; expected one for a picture, with four "
            "sides of which one is 3, and at most a mask of its padding. It cannot be run."
        )
        raise TagstackError(msg)


def _output(draft: Draft, model: Path, facts: ModelFacts, n_tags: int) -> None:
    fitting = {name: seen for name, seen in facts.seen.items() if seen.width == n_tags}
    origins = {seen.sigmoid_of for seen in fitting.values() if seen.sigmoid_of in fitting}
    kept = {name: seen for name, seen in fitting.items() if name not in origins}
    name = str(draft.given.get("output.name", Fact("", "")).value)
    if not name and len(kept) > 1:
        draft.ask(Question("output.name", "which output holds the scores", tuple(map(shown, kept))))
        return
    name = name or next(iter(kept))
    if name not in fitting:
        msg = (
            f"{model}: {shown(name)!r} is no output of {n_tags} numbers; expected one of "
            f"{', '.join(map(shown, fitting))}."
        )
        raise TagstackError(msg)
    if len(facts.outputs) > 1:
        of = fitting[name].sigmoid_of
        why = f"the sigmoid of {of}" if of else f"the one with {n_tags} numbers"
        draft.know("output.name", name, why)
    _kind(draft, model, fitting[name])


def _kind(draft: Draft, model: Path, seen: Seen) -> None:
    if not seen.low <= seen.high:
        msg = f"{model} gives numbers that are not finite on noise. Fetch the file again."
        raise TagstackError(msg)
    ran = f"outputs from {seen.low:.3g} to {seen.high:.3g} on three pictures of noise"
    if not seen.is_probability:
        draft.know("output.kind", "logits", ran)
    elif seen.width >= _MIN_TAGS_FOR_SCALE or seen.sigmoid_of is not None:
        draft.know("output.kind", "probabilities", ran)
    else:
        what = f"what the scores are ({ran})"
        draft.ask(Question("output.kind", what, ("probabilities", "logits")))


def _input(draft: Draft, facts: ModelFacts, said: Mapping[str, tuple[Any, str]]) -> None:
    picture = facts.picture
    assert picture is not None  # `_check_ports`
    batch = picture.shape[0]
    last = picture.shape[3] == 3
    if facts.mask is not None:
        draft.facts["input.name"] = Fact(picture.name, "the input with four sides")
        draft.facts["input.padding_mask"] = Fact(facts.mask.name, ASSUMED)
    draft.know("input.layout", "NHWC" if last else "NCHW", f"its input is {_shape(picture.shape)}")
    _known(draft, "colour", said)
    _size(draft, picture.shape[1:3] if last else picture.shape[2:4], said)
    _known(draft, "geometry", said)
    squashed = draft.facts.get("input.geometry", Fact("", "")).value == "squash"
    for key in ("rounding", "canvas", "pad", "matte"):
        if key in said:
            draft.know(f"input.{key}", *said[key])
        elif f"input.{key}" in draft.given:
            draft.take(f"input.{key}")
        elif key == "matte" or (key == "pad" and not squashed):
            draft.know(f"input.{key}", [255, 255, 255], ASSUMED)
    _known(draft, "resample", said)
    _scale(draft, said)
    source = "its input fixes it" if isinstance(batch, int) else "its input leaves it open"
    draft.know("input.batch", batch if isinstance(batch, int) else "dynamic", source)


def _shape(sides: tuple[Any, ...]) -> str:
    return " x ".join("?" if side is None else str(side) for side in sides)


def _known(draft: Draft, key: str, said: Mapping[str, tuple[Any, str]]) -> None:
    if key in said:
        draft.know(f"input.{key}", *said[key])
    else:
        draft.ask(QUESTIONS[f"input.{key}"])


def _size(draft: Draft, sides: tuple[Any, ...], said: Mapping[str, tuple[Any, str]]) -> None:
    if all(isinstance(side, int) for side in sides):
        own = sides[0] if sides[0] == sides[1] else list(sides)
        draft.know("input.size", own, "the shape of its input")
        other = said.get("size", (own, ""))
        if other[0] not in (own, list(sides)):
            draft.notes.append(f"{other[1]} says {other[0]} pixels, the network itself {own}")
    else:
        _known(draft, "size", said)


def _scale(draft: Draft, said: Mapping[str, tuple[Any, str]]) -> None:
    """Take one scale: a range, or mean and deviation; one that is given wins whole."""
    own = {key: draft.given[key] for key in SCALE if key in draft.given}
    if own:
        named = own.get("input.range", Fact("", ""))
        if named.value == "imagenet":
            own = {f"input.{key}": Fact(value, named.source) for key, value in IMAGENET.items()}
        draft.facts |= own
    elif "mean" in said and "std" in said:
        for key in ("mean", "std"):
            draft.know(f"input.{key}", *said[key])
    elif "range" in said:
        draft.know("input.range", *said["range"])
    else:
        draft.ask(QUESTIONS["input.range"])
