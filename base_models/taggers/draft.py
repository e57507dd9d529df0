"""A contract drawn up from what a tagger's files show; what they do not show stays open.

Every value knows where it comes from. Nothing is guessed in silence: what no file says and no run
shows is a question, with the answers that a contract takes, or it is said to be assumed.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from tagstack.base_models.contract import Contract, contract_from_toml
from tagstack.base_models.taggers.model_facts import ModelFacts, Seen
from tagstack.base_models.taggers.own_folder import model_weights
from tagstack.base_models.taggers.publisher_facts import licence_of, said_of_input
from tagstack.base_models.taggers.tag_file_kinds import TagFile, tag_files
from tagstack.base_models.taggers.tag_metrics import with_metrics
from tagstack.base_models.taggers.timm_contract import (
    CATEGORIES_FILE,
    THRESHOLDS_FILE,
    category_names,
    category_thresholds,
)
from tagstack.configs.errors import TagstackError
from tagstack.configs.own_files import METRICS_BYTES, MODEL_BYTES, own_file
from tagstack.configs.shown import shown
from tagstack.configs.text_files import parse_toml

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
YOU = "you said so"
ASSUMED = "assumed: nothing says it"
_USUAL_SIDE = 224
_MIN_TAGS_FOR_SCALE = 8
# What the numbers of a category column mean; those of both sites mean the same on either.
SITES = {
    "danbooru": {"0": "general", "1": "artist", "3": "copyright", "4": "character", "5": "meta",
                 "9": "rating"},
    "e621": {"0": "general", "1": "artist", "2": "contributor", "3": "copyright",
             "4": "character", "5": "species", "6": "invalid", "7": "meta", "8": "lore"},
}  # fmt: skip
_ON_BOTH = {"0": "general", "1": "artist", "3": "copyright", "4": "character", "9": "rating"}
_SCALE = ("input.range", "input.mean", "input.std")
_INPUT = ("colour", "geometry", "resample", "pad", "matte", "rounding", "canvas", "size")
KEYS = (
    "name", "source", "licence", "files.model", "files.tags", "tags.categories", "output.name",
    "output.kind", "input.layout", *(f"input.{key}" for key in _INPUT), *_SCALE,
    "threshold.default",
)  # fmt: skip

Look = Callable[[Path, int], ModelFacts]


@dataclass(frozen=True)
class Fact:
    """A value of the contract, and where it comes from."""

    value: Any
    source: str


@dataclass(frozen=True)
class Question:
    """A value that nothing shows: its key, what it is, the answers that are taken, and a hint.

    Without ``choices`` any value of the contract will do.
    """

    key: str
    what: str
    choices: tuple[str, ...] = ()
    hint: str = ""

    @property
    def text(self) -> str:
        """The question in one line."""
        choices = f" [{', '.join(self.choices)}]" if self.choices else ""
        return f"{self.key}: {self.what}{choices}{f'; {self.hint}' if self.hint else ''}"


QUESTIONS = {
    "input.size": Question("input.size", "width and height of the network's input in pixels"),
    "input.colour": Question("input.colour", "order of the colours", ("RGB", "BGR")),
    "input.range": Question(
        "input.range",
        "scale of the pixels (imagenet: mean and deviation of ImageNet)",
        ("0-255", "0-1", "-1-1", "imagenet"),
    ),
    "input.geometry": Question(
        "input.geometry",
        "how a picture becomes a square",
        ("pad_square", "pad_square_up", "squash", "fit_pad", "fit_edge"),
    ),
    "input.resample": Question(
        "input.resample", "filter of the resize", ("bicubic", "bilinear", "lanczos", "area")
    ),
}


@dataclass
class Draft:
    """What is known of a contract so far.

    Parameters
    ----------
    folder : Path
    given : mapping of key to Fact
        What the user or labelled pictures said; it wins over files.
    facts : dict of key to Fact
        In the order of a contract.
    open : list of Question
        In the order in which they are asked; the answer to one may open or close others.
    notes : list of str
        What was seen and not used.
    """

    folder: Path
    given: Mapping[str, Fact]
    facts: dict[str, Fact] = field(default_factory=dict)
    open: list[Question] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def know(self, key: str, value: Any, source: str) -> None:
        """Take a value unless another one is given."""
        self.facts[key] = self.given.get(key, Fact(value, source))

    def take(self, key: str) -> None:
        """Take the value that is given."""
        self.facts[key] = self.given[key]

    def ask(self, question: Question) -> None:
        """Leave a value open unless it is given."""
        if question.key in self.given:
            self.take(question.key)
        else:
            self.open.append(question)

    def contract(self) -> Contract:
        """Return the contract; nothing may be open.

        Raises
        ------
        TagstackError
            If a value is none that a contract takes.
        """
        return contract_from_toml(self.values(), origin=f"The contract of {self.folder}")

    def values(self) -> dict[str, Any]:
        """Return the facts as a contract's TOML."""
        values: dict[str, Any] = {}
        for key, fact in self.facts.items():
            section, _, name = key.rpartition(".")
            (values.setdefault(section, {}) if section else values)[name] = fact.value
        assumed = [key for key, fact in self.facts.items() if fact.source == ASSUMED]
        return {**values, "unverified": assumed} if assumed else values

    def toml(self) -> str:
        """Return the text of the contract; a comment behind each value says where it comes from."""
        values = self.values()
        sections = {name: one for name, one in values.items() if _is_section(name, one)}
        lines = [self._line("", key, values[key]) for key in values if key not in sections]
        for name, section in sections.items():
            lines += ["", f"[{name}]", *(self._line(name, key, section[key]) for key in section)]
        return "\n".join(lines) + "\n"

    def _line(self, section: str, key: str, value: Any) -> str:
        line = " ".join(tomli_w.dumps({"x": [value]}).split())  # one line, inline tables
        text = line.removeprefix("x = [").removesuffix("]").strip().removesuffix(",").strip()
        fact = self.facts.get(f"{section}.{key}" if section else key)
        said = f"  # {shown(fact.source)}" if fact is not None else ""
        return f"{key} = {text}{said}"


def _is_section(name: str, value: Any) -> bool:
    return isinstance(value, dict) and name in ("files", "input", "output", "tags", "threshold")


def answered(key: str, text: str) -> Fact:
    """Return a user's answer as a contract's value: TOML where it is that, else the text.

    Raises
    ------
    TagstackError
        If the key is none that may be set.
    """
    if key not in KEYS:
        msg = f"{shown(key)!r} cannot be set; expected one of {', '.join(KEYS)}."
        raise TagstackError(msg)
    if key in ("name", "source", "licence", "files.model", "files.tags", "output.name"):
        return Fact(text, YOU)
    try:
        return Fact(parse_toml(f"x = {text}", key)["x"], YOU)
    except TagstackError:
        return Fact(text, YOU)


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
    tags = _tags(draft, model, facts)
    if tags is not None:
        _categories(draft, tags)
        _output(draft, model, facts, len(tags.rows))
    _input(draft, facts, said.facts)
    _thresholds(draft)
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


def _tags(draft: Draft, model: Path, facts: ModelFacts) -> TagFile | None:
    """Return the tag file that fits an output, None where several do."""
    wanted = draft.given.get("files.tags", Fact(None, "")).value
    found = [one for one in tag_files(draft.folder, None) if wanted in (None, one.name)]
    widths = {seen.width for seen in facts.seen.values()}
    fitting = [one for one in found if len(one.rows) in widths]
    if not fitting:
        lists = ", ".join(f"{shown(one.name)} {len(one.rows)}" for one in found)
        msg = (
            f"{draft.folder} has no list of the tags: {shown(model.name)} gives "
            f"{' or '.join(map(str, sorted(widths))) or 'no'} scores, and there is "
            f"{lists or 'no file that could be read as one'}. Expected a selected_tags.csv, "
            "tags.txt or one of the JSON formats, with a tag for each score. Put it there."
        )
        raise TagstackError(msg)
    first = fitting[0]
    if any([row.tag for row in one.rows] != [row.tag for row in first.rows] for one in fitting):
        names = tuple(shown(one.name) for one in fitting)
        draft.ask(Question("files.tags", "which file lists the tags", names))
        return None
    draft.know("files.tags", first.name, f"it lists {len(first.rows)} tags, one for each score")
    draft.facts["tags.format"] = Fact(first.format, f"what is in {first.name}")
    for path in sorted(draft.folder.glob("*.npz"))[:10]:
        try:
            own_file(draft.folder, path.name, max_bytes=METRICS_BYTES)
            with_metrics(first.rows, path)
        except TagstackError:
            continue
        draft.facts["files.metrics"] = Fact(path.name, "it has a threshold for each tag")
        break
    return first


def _categories(draft: Draft, tags: TagFile) -> None:
    rated = [row.tag for row in tags.rows if row.tag.startswith("rating:")]
    if tags.format in ("tags_txt", "json_list", "json_index"):
        if rated:
            source = f"{len(rated)} tags begin so"
            draft.facts["tags.prefixes"] = Fact({"rating:": "rating"}, source)
        return
    codes = set(tags.codes)
    given = draft.given.get("tags.categories")
    if given is not None and given.value in tuple(SITES):
        site = SITES[given.value]
        names = {code: site.get(code, f"category_{code}") for code in sorted(codes)}
        draft.facts["tags.categories"] = Fact(names, f"{given.source}: {given.value}")
    elif given is not None:
        draft.take("tags.categories")
    elif (draft.folder / CATEGORIES_FILE).is_file() or (draft.folder / THRESHOLDS_FILE).is_file():
        try:
            draft.know("tags.categories", category_names(draft.folder), "the publisher's files")
        except TagstackError as error:
            draft.notes.append(shown(str(error)))
            _asked_categories(draft, codes)
    elif not any(code.lstrip("-").isdigit() for code in codes):
        if any(code != code.lower() for code in codes):
            lower = {code: code.lower() for code in sorted(codes)}
            draft.facts["tags.categories"] = Fact(lower, f"the categories in {tags.name}")
    elif codes <= set(_ON_BOTH):
        names = {code: _ON_BOTH[code] for code in sorted(codes)}
        draft.know("tags.categories", names, "codes that mean the same on Danbooru and e621")
    else:
        _asked_categories(draft, codes)


def _asked_categories(draft: Draft, codes: set[str]) -> None:
    what = f"whose numbers the categories {', '.join(map(shown, sorted(codes)))} are"
    draft.ask(Question("tags.categories", what, tuple(SITES)))


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
    own = {key: draft.given[key] for key in _SCALE if key in draft.given}
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


def _thresholds(draft: Draft) -> None:
    if (draft.folder / THRESHOLDS_FILE).is_file() and "tags.categories" in draft.facts:
        try:
            found = category_thresholds(draft.folder)
        except TagstackError as error:
            draft.notes.append(shown(str(error)))
            found = {}
        if found:
            draft.facts["threshold.per_category"] = Fact(found, THRESHOLDS_FILE)
    if "threshold.default" in draft.given:
        draft.take("threshold.default")
