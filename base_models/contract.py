"""The contract of a tagger: what its files are, what goes in, what comes out.

A contract is a TOML file, ``tagger.toml`` beside the model or one of ``configs/taggers``. It holds
facts about one published network and nothing that a user tunes. To add a tagger, write its
contract and run ``tagstack models check FOLDER``.
"""

import hashlib
import json
import re
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal, Self

import tomli_w
from pydantic import Field, ValidationError, model_validator

from tagstack.configs.errors import TagstackError
from tagstack.configs.own_files import PlainName
from tagstack.configs.section import Section, validated, validation_summary
from tagstack.configs.text_files import read_toml

CONTRACT_FILE = "tagger.toml"

Byte = Annotated[int, Field(ge=0, le=255)]
Colour = tuple[Byte, Byte, Byte]
Channels = tuple[float, float, float]
Proba = Annotated[float, Field(ge=0, le=1)]
Side = Annotated[int, Field(ge=1, le=4096)]
Resample = Literal["nearest", "area", "bilinear", "bicubic", "lanczos"]


class Files(Section):
    """File names inside the tagger's folder, which cannot lead out of it.

    ``metrics`` is a file with what the publisher measured for each tag: an NPZ file in output order
    (``best_thr`` are published thresholds, ``n_pos`` counts of images), or JSON by the tags' names.
    """

    model: PlainName = "model.onnx"
    tags: PlainName = "selected_tags.csv"
    metrics: PlainName | None = None

    @property
    def needed(self) -> tuple[str, ...]:
        """Names of the files that must be there, the model first."""
        return (self.model, self.tags, *((self.metrics,) if self.metrics else ()))


class Canvas(Section):
    """A square that the image is fitted onto, centred on the pad colour, before all else."""

    size: Side
    resample: Resample


class Input(Section):
    """From pixels to the input tensor.

    ``geometry`` is one of

    - ``pad_square``: centre on a square of the longer side, then resize (WD);
    - ``pad_square_up``: the same, but never enlarge: the square is at least ``size``
      (SW-CV-ModelZoo);
    - ``squash``: resize to ``size`` and let the aspect ratio go (PixAI);
    - ``fit_pad``: resize to fit inside ``size``, then centre on the pad colour (Camie);
    - ``fit_edge``: resize to fit, then repeat the edge pixels outwards (DeepDanbooru); an odd
      remainder shifts the picture by half a pixel, as its bilinear warp does.

    ``rounding`` is how the shorter side of a fitted image becomes whole pixels, and ``canvas`` an
    earlier fit with a resampling of its own (animetimm). A ``batch`` of 1 also runs files whose
    batch turns out to be dynamic.

    ``mean`` and ``std`` are per RGB channel on the 0-1 scale, in RGB order whatever ``colour``
    is, and replace ``range``.

    ``padding_mask`` names a second input, of shape (batch, height, width): true where the canvas
    shows beside a fitted picture.
    """

    name: str | None = None
    layout: Literal["NHWC", "NCHW"]
    colour: Literal["RGB", "BGR"]
    size: Side | tuple[Side, Side]
    geometry: Literal["pad_square", "pad_square_up", "squash", "fit_pad", "fit_edge"]
    pad: Colour = (255, 255, 255)
    matte: Colour = (255, 255, 255)
    resample: Resample
    rounding: Literal["down", "nearest"] = "down"
    canvas: Canvas | None = None
    range: Literal["0-255", "0-1", "-1-1"] | None = None
    mean: Channels | None = None
    std: Channels | None = None
    batch: Literal["dynamic"] | Annotated[int, Field(ge=1)]
    padding_mask: Annotated[str, Field(min_length=1, max_length=1000)] | None = None

    @model_validator(mode="after")
    def _masked_where_padded(self) -> Self:
        if self.padding_mask is None:
            return self
        if self.geometry != "fit_pad" or self.canvas is not None:
            msg = f"padding_mask goes with geometry fit_pad and no canvas, not {self.geometry}"
            raise ValueError(msg)
        if self.padding_mask == self.name:
            msg = f"padding_mask and name are both {self.name!r}; expected two inputs"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _scaled_once(self) -> Self:
        both = (self.mean is None, self.std is None)
        if len(set(both)) > 1 or (self.range is None) == (self.mean is None):
            msg = "give either range, or mean and std together"
            raise ValueError(msg)
        if self.std is not None and min(self.std) <= 0:
            msg = f"std must be positive, got {self.std}"
            raise ValueError(msg)
        return self

    @property
    def height_width(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    @property
    def planes(self) -> int:
        """What a framed pixel has: red, green and blue, and whether it is padding if asked for."""
        return 3 if self.padding_mask is None else 4


class Output(Section):
    """Which output holds the scores, and on which scale.

    ``features`` names what the last product of the network reads, one vector for each image: an
    output of the file, or a tensor inside its graph. Where it is not said, it is looked for.
    """

    name: str | None = None
    index: int | None = None
    kind: Literal["probabilities", "logits"]
    features: Annotated[str, Field(min_length=1, max_length=1000)] | None = None

    @model_validator(mode="after")
    def _found_one_way(self) -> Self:
        if self.name is not None and self.index is not None:
            msg = "give name or index, not both"
            raise ValueError(msg)
        return self


class Tags(Section):
    """How the tag file is read.

    ``categories`` maps the file's category codes to names, for codes differ between sites: 5 is
    ``meta`` on Danbooru and ``species`` on e621. ``prefixes`` gives a category to tags that start
    so (``"rating:" = "rating"``), whatever the file says; in files without categories, ``category``
    is for all others.
    """

    format: Literal[
        "selected_tags_csv",
        "tags_txt",
        "camie_json",
        "json_list",
        "json_index",
        "json_records",
        "json_categories",
    ]
    categories: dict[str, str] = Field(default_factory=dict)
    prefixes: dict[str, str] = Field(default_factory=dict)
    category: str = "general"


class Threshold(Section):
    """Published thresholds, for tags without one of their own in the tag file."""

    default: Proba = 0.5
    per_category: dict[str, Proba] = Field(default_factory=dict)


class Training(Section):
    """Which images the tagger was trained on; evaluating on them flatters it.

    An image is inside when its id is at most ``last_id`` and ``id % modulus`` lies in
    ``remainders`` (both ends included). ``contents`` knows images by their bytes: the first eight
    bytes of each SHA-256, sorted, as base64.
    """

    ids: str
    last_id: Annotated[int, Field(ge=0)] | None = None
    modulus: Annotated[int, Field(ge=1)] | None = None
    remainders: tuple[int, int] | None = None
    contents: Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]*={0,2}$")] | None = None


class Hub(Section):
    """Where `tagstack models pull` finds the files; without it, they are fetched by hand.

    ``folder`` is where they lie inside the repository, under the names in ``files``. ``revision``
    pins a commit; without one, the commit of the first pull is kept in the user's registry.
    ``elsewhere`` has the https addresses of files that the repository lacks, by their names.
    ``gated`` says that the publisher asks for a form first, ``changes_in_place`` that files and
    licence may be others tomorrow under the same name, ``note`` what one should know before the
    download.
    """

    repo: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
    folder: PlainName | Literal[""] = ""
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    elsewhere: dict[PlainName, Annotated[str, Field(pattern=r"^https://\S+$")]] = Field(
        default_factory=dict
    )
    gated: bool = False
    changes_in_place: bool = False
    note: str = ""


class Contract(Section):
    """Everything needed to run one tagger.

    ``unverified`` lists what was found in no source and is the likeliest guess: check it with a few
    labelled pictures before you trust a score.

    Examples
    --------
    >>> contract_from_toml({"name": "x", "source": "here", "licence": "MIT",
    ...     "input": {"layout": "NHWC", "colour": "BGR", "size": 448, "geometry": "pad_square",
    ...               "resample": "bicubic", "range": "0-255", "batch": "dynamic"},
    ...     "output": {"kind": "probabilities"},
    ...     "tags": {"format": "tags_txt"}}, origin="example").input.height_width
    (448, 448)
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=80)]
    title: str = ""
    source: str
    licence: str
    unverified: tuple[str, ...] = ()
    files: Files = Files()
    input: Input
    output: Output
    tags: Tags
    aliases: dict[str, str] = Field(default_factory=dict)
    threshold: Threshold = Threshold()
    training: Training | None = None
    hub: Hub | None = None

    def digest(self) -> str:
        """Return the SHA-256 of those facts that change a score, in hexadecimal.

        Titles, sources, thresholds and training ids are left out: correcting one of them must
        not throw a score store away. So is where the features are: a fingerprint has that where
        they are kept.
        """
        facts = self.model_dump(mode="json", include={"input", "output", "tags", "aliases"})
        del facts["output"]["features"]
        if facts["input"]["padding_mask"] is None:  # taggers without are what they were before
            del facts["input"]["padding_mask"]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def with_features(contract: Contract, features: str | None) -> Contract:
    """Return the contract of the same tagger whose sessions give these features, or none."""
    output = contract.output.model_copy(update={"features": features})
    return contract.model_copy(update={"output": output})


def contract_from_toml(values: dict[str, object], *, origin: str) -> Contract:
    """Return the contract in parsed TOML; ``origin`` names the file in messages.

    Raises
    ------
    TagstackError
        If a key is unknown or missing, or a value is not allowed.
    """
    try:
        return validated(Contract, values)
    except ValidationError as error:
        msg = f"{origin}: {validation_summary(error)}. Correct the contract."
        raise TagstackError(msg) from error


def read_contract(path: Path) -> Contract:
    """Return the contract in a TOML file.

    Raises
    ------
    TagstackError
        If the file cannot be read or does not hold a valid contract.
    """
    return contract_from_toml(read_toml(path), origin=str(path))


def contract_toml(contract: Contract) -> str:
    """Return a contract as the text of a ``tagger.toml``; defaults are left out."""
    return tomli_w.dumps(contract.model_dump(mode="json", exclude_defaults=True))


def text_with_features(text: str, features: str, *, origin: str) -> str:
    """Return a contract's text with the features named; comments stay where that is possible.

    Raises
    ------
    TagstackError
        If the text is no contract.
    """
    wanted = with_features(contract_from_toml(tomllib.loads(text), origin=origin), features)
    line = tomli_w.dumps({"features": features})
    longer = re.sub(r"(?m)^\[output\][ \t]*(#.*)?$\n?", lambda m: f"{m[0].rstrip()}\n{line}", text)
    with suppress(tomllib.TOMLDecodeError, TagstackError):
        if contract_from_toml(tomllib.loads(longer), origin=origin) == wanted:
            return longer
    return contract_toml(wanted)  # the section is written in another way
