"""Scorers that are networks: a folder with an ONNX file and a contract, ``scorer.toml``.

The contract says what goes in as a tagger's does, and how one number is made of what comes out:

- ``value``: one of the outputs as it is, such as the end of an aesthetic predictor whose features
  and last layers are exported as one graph;
- ``expected``: the mean of ``values`` under the outputs' probabilities, as NIMA has it for ten
  grades; or of ``grades`` by class, where a JSON file of the publisher has the classes' order;
- ``similarity``: how near the outputs, features of CLIP's image tower, lie to those of texts.

``activation`` is what still has to be done to the outputs. Pictures run one by one, so a score
depends on nothing else.
"""

import hashlib
import json
import tomllib
from importlib import resources
from pathlib import Path
from threading import Lock
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, ValidationError, model_validator
from scipy.special import expit, softmax

from tagstack.base_models.atomic import file_sha256
from tagstack.base_models.contract import Contract, Hub, Input, Output, Tags
from tagstack.base_models.pictures.preprocess import framed, framing_from_input, input_tensor
from tagstack.base_models.runtimes.base import Session
from tagstack.base_models.runtimes.external_weights import weight_files
from tagstack.base_models.runtimes.selection import REFERENCE, open_session
from tagstack.base_models.threads import thread_count
from tagstack.configs.errors import TagstackError
from tagstack.configs.own_files import (
    DESCRIPTION_BYTES,
    MODEL_BYTES,
    WEIGHT_BYTES,
    PlainName,
    own_file,
)
from tagstack.configs.section import Section, validated, validation_summary
from tagstack.configs.shown import shown
from tagstack.configs.text_files import read_toml
from tagstack.ensemble.workshop.quality.scorers.scorer import Pixels, Scorer
from tagstack.ensemble.workshop.quality.scorers.similarity import Vectors, similarity, texts_of

SCORER_FILE = "scorer.toml"

_SLACK = 1e-3  # by which rounding may leave the sum of probabilities


class Head(Section):
    """How one number is made of a network's outputs.

    ``place`` is which output is the value; ``values`` what each output stands for. Instead of
    these, ``grades`` are by class, and ``labels`` is a JSON file whose ``labels`` are the classes
    in output order. ``texts`` is a JSON file with the vectors of texts (`similarity.texts_of`).
    """

    name: str | None = None
    index: int | None = None
    activation: Literal["none", "sigmoid", "softmax"] = "none"
    head: Literal["value", "expected", "similarity"]
    place: Annotated[int, Field(ge=0)] = 0
    values: tuple[float, ...] = ()
    labels: PlainName | None = None
    grades: dict[str, float] = Field(default_factory=dict)
    texts: PlainName | None = None
    scale: Annotated[float, Field(gt=0)] = 100.0
    towards: Vectors = ()
    against: Vectors = ()

    @model_validator(mode="after")
    def _has_texts(self) -> Self:
        if self.towards or self.against:
            raise ValueError("vectors of texts stand in a file of their own: texts")
        if (self.head == "similarity") != (self.texts is not None):
            raise ValueError('texts belongs to head = "similarity", and to no other')
        if self.head == "similarity" and self.activation != "none":
            raise ValueError('head = "similarity" takes features as they are: no activation')
        return self

    @model_validator(mode="after")
    def _has_values(self) -> Self:
        if (self.labels is None) == bool(self.grades) or (self.values and self.grades):
            msg = "give values, or labels and grades together"
            raise ValueError(msg)
        if (self.head == "expected") != bool(self.values or self.grades):
            msg = 'values or grades belong to head = "expected", and to no other'
            raise ValueError(msg)
        if self.head == "expected" and self.activation == "sigmoid":
            msg = 'head = "expected" needs probabilities: activation is "softmax", or "none"'
            raise ValueError(msg)
        return self

    def ordered(self, folder: Path) -> "Head":
        """Return the head with what its files say: grades in the order of classes, texts' vectors.

        Raises
        ------
        TagstackError
            If a file is missing or broken, or has other classes than the contract.
        """
        if self.texts is not None:
            towards, against = texts_of(folder, self.texts)
            return self.model_copy(update={"towards": towards, "against": against})
        if self.labels is None:
            return self
        path = own_file(folder, self.labels, max_bytes=DESCRIPTION_BYTES)
        try:
            names = json.loads(path.read_text("utf-8"))["labels"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            msg = f"{path} holds no list of classes (labels). Fetch it again."
            raise TagstackError(msg) from error
        strange = not isinstance(names, list) or not all(isinstance(n, str) for n in names)
        if strange or sorted(names) != sorted(self.grades):
            msg = (
                f"{path} has the classes {shown(str(names)):.200}; the contract has "
                f"{sorted(self.grades)}. Use the file that was published with the model."
            )
            raise TagstackError(msg)
        values = tuple(self.grades[name] for name in names)
        return self.model_copy(update={"values": values, "labels": None, "grades": {}})

    def score(self, raw: NDArray[np.float32], source: Path) -> float:
        """Return the number that a network's outputs stand for, shape (n_outputs,).

        Raises
        ------
        TagstackError
            If their number is another one, or they are no probabilities where they should be.
        """
        x = raw.astype(np.float64)
        fixed = self.values or (self.towards[0] if self.towards else ())
        n_least = len(fixed) or self.place + 1
        if len(x) < n_least or (fixed and len(x) != n_least):
            msg = (
                f"{source}: the network gives {len(x)} outputs; the contract reads "
                f"{n_least}. Correct [output] in {SCORER_FILE}."
            )
            raise TagstackError(msg)
        if self.activation == "sigmoid":
            x = expit(x)
        elif self.activation == "softmax":
            x = softmax(x)
        if self.head == "similarity":
            return similarity(x, self.towards, self.against, self.scale)
        if self.head == "value":
            return float(x[self.place])
        if np.isfinite(x).all() and (x.min() < -_SLACK or abs(x.sum() - 1) > _SLACK):
            msg = (
                f"{source}: the outputs sum to {x.sum():.4g} from {x.min():.4g} on; expected "
                f'probabilities. If they are logits, set activation = "softmax" in {SCORER_FILE}.'
            )
            raise TagstackError(msg)
        return float(x @ np.array(self.values))


class ScorerContract(Section):
    """Everything needed to run one network as a scorer.

    ``unverified`` lists what was found in no source and is the likeliest guess.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=80)]
    title: str = ""
    meaning: str = ""
    source: str
    licence: str
    unverified: tuple[str, ...] = ()
    lower_is_better: bool = False
    model: PlainName = "model.onnx"
    hub: Hub | None = None
    input: Input
    output: Head

    @property
    def needed(self) -> tuple[str, ...]:
        """Names of the files that must be there, the model first."""
        return (self.model, *filter(None, (self.output.labels, self.output.texts)))

    @model_validator(mode="after")
    def _on_white(self) -> Self:
        if self.input.matte != (255, 255, 255):
            msg = "input.matte must be white: scorers see pictures on white"
            raise ValueError(msg)
        return self

    def digest(self) -> str:
        """Return the SHA-256 of those facts that change a score, in hexadecimal."""
        facts = self.model_dump(mode="json", include={"input", "output"})
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def read_scorer_contract(path: Path) -> ScorerContract:
    """Return the contract in a TOML file.

    Raises
    ------
    TagstackError
        If the file cannot be read or does not hold a valid contract.
    """
    try:
        return validated(ScorerContract, read_toml(path))
    except ValidationError as error:
        msg = f"{path}: {validation_summary(error)}. Correct the contract (docs/quality.md)."
        raise TagstackError(msg) from error


def shipped_contracts() -> tuple[str, ...]:
    """Return the names of the contracts that come with the package, sorted."""
    folder = resources.files("tagstack.configs").joinpath("scorers")
    return tuple(sorted(e.name[:-5] for e in folder.iterdir() if e.name.endswith(".toml")))


def shipped_contract(name: str) -> ScorerContract:
    """Return a contract that comes with the package; an unknown name is a TagstackError."""
    return validated(ScorerContract, tomllib.loads(shipped_text(name)))


def shipped_text(name: str) -> str:
    """Return the TOML of a contract that comes with the package, of which `shipped_contract`."""
    if name not in shipped_contracts():
        msg = f"No contract {name!r} of a scorer is known; known are {list(shipped_contracts())}."
        raise TagstackError(msg)
    file = resources.files("tagstack.configs").joinpath("scorers", f"{name}.toml")
    return file.read_text("utf-8")


def open_network(folder: Path, *, threads: int, contract: str = "") -> Scorer:
    """Return the scorer in a folder, its network loaded; close it.

    Parameters
    ----------
    folder : Path
        Holds ``scorer.toml`` and the model that it names, with weights beside it.
    contract : str
        Name of a shipped contract, which stands for a ``scorer.toml``.
    threads : int
        That run the network; 0 for all cores.

    Raises
    ------
    TagstackError
        If there is no contract or model, or they contradict each other.
    """
    if not contract and not (folder / SCORER_FILE).exists():
        msg = (
            f"{folder} has no {SCORER_FILE}; expected a scorer's folder, or NAME=FOLDER with one "
            f"of {list(shipped_contracts())} (docs/quality.md)."
        )
        raise TagstackError(msg)
    said = shipped_contract(contract) if contract else read_scorer_contract(folder / SCORER_FILE)
    said = said.model_copy(update={"output": said.output.ordered(folder)})
    model = own_file(folder, said.model, max_bytes=MODEL_BYTES)
    named = weight_files(model)
    weights = [own_file(model.parent, name, max_bytes=WEIGHT_BYTES) for name in named]
    session = open_session(model, as_tagger(said), REFERENCE, threads=thread_count(threads))
    facts = [said.digest(), session.info.score_class, *map(file_sha256, (model, *weights))]
    network = _Network(folder, said, session)
    return Scorer(
        name=said.name,
        title=said.title or said.name,
        meaning=said.meaning,
        lower_is_better=said.lower_is_better,
        version=" ".join(facts),
        function=network.score,
        close=session.close,
    )


def as_tagger(contract: ScorerContract) -> Contract:
    """Return what sessions and downloads go by: input, output, hub and terms, as of a tagger."""
    output = Output(name=contract.output.name, index=contract.output.index, kind="logits")
    return Contract(
        name=contract.name,
        source=contract.source,
        title=contract.title,
        licence=contract.licence,
        hub=contract.hub,
        input=contract.input,
        output=output,
        tags=Tags(format="tags_txt"),
    )


class _Network:
    """A session, its contract, and a lock: sessions take one caller at a time."""

    def __init__(self, folder: Path, contract: ScorerContract, session: Session) -> None:
        self._folder, self._contract, self._session = folder, contract, session
        self._framing = framing_from_input(contract.input)
        self._lock = Lock()

    def score(self, pixels: Pixels) -> float:
        """Return a picture's score."""
        picture = framed(Image.fromarray(pixels), self._framing)[None]
        with self._lock:
            raw = self._session.run(input_tensor(picture, self._contract.input))
        return self._contract.output.score(raw[0], self._folder)
