"""Scorers that are networks: a folder with an ONNX file and a contract, ``scorer.toml``.

The contract says what goes in as a tagger's does, and how one number is made of what comes out:

- ``value``: one of the outputs as it is, such as the end of an aesthetic predictor whose features
  and last layers are exported as one graph;
- ``expected``: the mean of ``values`` under the outputs' probabilities, as NIMA has it for ten
  grades or a classifier for its classes.

``activation`` is what still has to be done to the outputs. Pictures run one by one, so a score
depends on nothing else.
"""

import hashlib
import json
from pathlib import Path
from threading import Lock
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, ValidationError, model_validator
from scipy.special import expit, softmax

from tagstack.base_models.atomic import file_sha256
from tagstack.base_models.contract import Contract, Input, Output, Tags
from tagstack.base_models.pictures.preprocess import framed, framing_from_input, input_tensor
from tagstack.base_models.runtimes.base import Session
from tagstack.base_models.runtimes.external_weights import weight_files
from tagstack.base_models.runtimes.selection import REFERENCE, open_session
from tagstack.base_models.threads import thread_count
from tagstack.configs.errors import TagstackError
from tagstack.configs.own_files import MODEL_BYTES, WEIGHT_BYTES, PlainName, own_file
from tagstack.configs.section import Section, validated, validation_summary
from tagstack.configs.text_files import read_toml
from tagstack.ensemble.workshop.quality.scorers.scorer import Pixels, Scorer

SCORER_FILE = "scorer.toml"

_SLACK = 1e-3  # by which rounding may leave the sum of probabilities


class Head(Section):
    """How one number is made of a network's outputs.

    ``place`` is which output is the value; ``values`` what each output stands for.
    """

    name: str | None = None
    index: int | None = None
    activation: Literal["none", "sigmoid", "softmax"] = "none"
    head: Literal["value", "expected"]
    place: Annotated[int, Field(ge=0)] = 0
    values: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _has_values(self) -> Self:
        if (self.head == "expected") != bool(self.values):
            msg = 'values belong to head = "expected", one for each output, and to no other'
            raise ValueError(msg)
        if self.head == "expected" and self.activation == "sigmoid":
            msg = 'head = "expected" needs probabilities: activation is "softmax", or "none"'
            raise ValueError(msg)
        return self

    def score(self, raw: NDArray[np.float32], source: Path) -> float:
        """Return the number that a network's outputs stand for, shape (n_outputs,).

        Raises
        ------
        TagstackError
            If their number is another one, or they are no probabilities where they should be.
        """
        x = raw.astype(np.float64)
        n_least = len(self.values) or self.place + 1
        if len(x) < n_least or (self.values and len(x) != n_least):
            msg = (
                f"{source}: the network gives {len(x)} outputs; the contract reads "
                f"{n_least}. Correct [output] in {SCORER_FILE}."
            )
            raise TagstackError(msg)
        if self.activation == "sigmoid":
            x = expit(x)
        elif self.activation == "softmax":
            x = softmax(x)
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
    input: Input
    output: Head

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


def open_network(folder: Path, *, threads: int) -> Scorer:
    """Return the scorer in a folder, its network loaded; close it.

    Parameters
    ----------
    folder : Path
        Holds ``scorer.toml`` and the model that it names, with weights beside it.
    threads : int
        That run the network; 0 for all cores.

    Raises
    ------
    TagstackError
        If there is no contract or model, or they contradict each other.
    """
    if not (folder / SCORER_FILE).exists():
        msg = f"{folder} has no {SCORER_FILE}; expected a scorer's folder (docs/quality.md)."
        raise TagstackError(msg)
    contract = read_scorer_contract(folder / SCORER_FILE)
    model = own_file(folder, contract.model, max_bytes=MODEL_BYTES)
    weights = [own_file(model.parent, name, max_bytes=WEIGHT_BYTES) for name in weight_files(model)]
    session = open_session(model, _as_tagger(contract), REFERENCE, threads=thread_count(threads))
    facts = [contract.digest(), session.info.score_class, *map(file_sha256, (model, *weights))]
    network = _Network(folder, contract, session)
    return Scorer(
        name=contract.name,
        title=contract.title or contract.name,
        meaning=contract.meaning,
        lower_is_better=contract.lower_is_better,
        version=" ".join(facts),
        function=network.score,
        close=session.close,
    )


def _as_tagger(contract: ScorerContract) -> Contract:
    """Return what sessions are opened by: of a tagger's contract they read input and output."""
    output = Output(name=contract.output.name, index=contract.output.index, kind="logits")
    return Contract(
        name=contract.name,
        source=contract.source,
        licence=contract.licence,
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
