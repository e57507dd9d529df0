"""A stack that no label has touched: one rung, and the reading side of a fitted stack."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.array_files import write_arrays
from tagstack.base_models.atomic import write_text
from tagstack.base_models.pairs import Level1Scores, PairProba
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.configs.text_files import read_json
from tagstack.meta.checked_arrays import CheckedArrays
from tagstack.meta.stack.fitted_stack import check_scores
from tagstack.meta.stack.ladder_row import Band, LadderRow
from tagstack.meta.stack.rung_spec import START, RungSpec, start_spec
from tagstack.meta.stack.rungs import RungLogits
from tagstack.meta.start.answer import StartAnswer

_VERSION = 1
_LEAST = 1e-9  # of a spread or a weight: both divide
_RECORD, _ARRAYS = "start.json", "start.safetensors"


@dataclass(frozen=True, kw_only=True)
class StartStack:
    """Members, their joint vocabulary and the answer that their files give.

    Parameters
    ----------
    members : tuple of str
    vocabulary : Vocabulary
    answer : StartAnswer
    """

    members: tuple[str, ...]
    vocabulary: Vocabulary
    answer: StartAnswer

    chosen_ = START
    ladder_: tuple[LadderRow, ...] = ()
    bands_: tuple[Band, ...] = ()

    @property
    def specs_(self) -> tuple[RungSpec, ...]:
        """The only rung."""
        return (start_spec(),)

    @property
    def rungs_(self) -> tuple[str, ...]:
        """Its name."""
        return (START,)

    def start_cuts(self) -> NDArray[np.float64]:
        """Return where it gives each tag: at a half, shape (n_tags,)."""
        return np.full(len(self.vocabulary), 0.5)

    def tag_rungs_of(self, rung: str) -> tuple[str, ...]:
        """Return that ``rung`` serves all tags itself."""
        return ()

    needs_features = False

    def completed(self, scores: Level1Scores) -> Level1Scores:
        """Return taggers' scores as they are predicted from: as they are."""
        return scores

    def predict_proba(self, scores: Level1Scores, rung: str | None = None) -> PairProba:
        """Return the scores of new images, on a scale where a half is the threshold.

        They are no calibrated probabilities: nothing tells without labels how often a tag is right.

        Raises
        ------
        TagstackError
            If members, tags or rung are not the stack's.
        """
        name = START if rung is None else rung
        return self.predict_rungs(scores, [name])[name]

    def predict_rungs(self, scores: Level1Scores, rungs: Iterable[str]) -> dict[str, PairProba]:
        """Return the same by rung; there is only one.

        Raises
        ------
        TagstackError
            If members, tags or a rung are not the stack's.
        """
        check_scores(scores, self.members, self.vocabulary)
        names = list(rungs)
        for name in names:
            if name != START:
                msg = f"Unknown rung {name!r}. A start bundle has {list(self.rungs_)}."
                raise TagstackError(msg)
        listed, base = self.answer.apply(scores)
        proba = RungLogits(listed=listed, base=base).proba(scores.pairs)
        return dict.fromkeys(names, proba)

    def save(self, directory: Path) -> None:
        """Write the stack into ``directory``: JSON and safetensors."""
        directory.mkdir(parents=True, exist_ok=True)
        write_arrays(directory / _ARRAYS, answer_arrays(self.answer))
        record = {
            "version": _VERSION,
            "members": self.members,
            "tags": self.vocabulary.tags,
            "categories": self.vocabulary.categories,
        }
        write_text(directory / _RECORD, json.dumps(record, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, directory: Path) -> "StartStack":
        """Return the stack that `save` wrote.

        Raises
        ------
        TagstackError
            If a file is missing, damaged or of another version.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            record = read_json(directory / _RECORD)
            if record["version"] != _VERSION:
                msg = (
                    f"The start in {directory} has version {record['version']!r}, this is tagstack "
                    f"for version {_VERSION}. Make it again with `tagstack start`."
                )
                raise TagstackError(msg)
            members = tuple(map(str, record["members"]))
            vocabulary = Vocabulary(tuple(record["tags"]), tuple(record["categories"]))
            arrays = CheckedArrays(load_file(directory / _ARRAYS), _ARRAYS)
            answer = answer_from_arrays(arrays, len(members), len(vocabulary))
            return cls(members=members, vocabulary=vocabulary, answer=answer)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            msg = f"Cannot read the start in {directory}: {error}. Make it again."
            raise TagstackError(msg) from error


def is_start(directory: Path) -> bool:
    """Return whether a folder holds what `StartStack.save` wrote."""
    return (directory / _RECORD).is_file()


def answer_arrays(answer: StartAnswer, prefix: str = "") -> dict[str, NDArray[Any]]:
    """Return an answer's arrays under their names, shapes as they are in it."""
    names = ("zero", "spread", "weight", "cut")
    arrays = {prefix + name: np.ascontiguousarray(getattr(answer, name)) for name in names}
    return arrays | {f"{prefix}odds": np.array([answer.odds_share, answer.odds_lead])}


def answer_from_arrays(
    arrays: CheckedArrays, n_members: int, n_tags: int, prefix: str = ""
) -> StartAnswer:
    """Return the answer whose `answer_arrays` these are.

    Raises
    ------
    ValueError
        If an array is missing, has another shape, or holds what `StartAnswer.apply` cannot use.
    """
    shape = (n_members, n_tags)
    share, lead = 0.0, 0.0  # an answer of before is the mean of log-odds alone
    if f"{prefix}odds" in arrays.arrays:
        share, lead = arrays.real(f"{prefix}odds", (2,), low=0).tolist()
    return StartAnswer(
        zero=arrays.real(f"{prefix}zero", shape, gaps=True),
        spread=arrays.real(f"{prefix}spread", shape, low=_LEAST),
        weight=arrays.real(f"{prefix}weight", (n_members,), low=_LEAST),
        cut=arrays.real(f"{prefix}cut", (n_tags,)),
        odds_share=min(share, 1.0),
        odds_lead=lead,
    )
