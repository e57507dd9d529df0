"""A person's word on one tag of one image, and what that person was shown."""

import math
import secrets
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from tagstack.configs.errors import TagstackError

Answer: TypeAlias = Literal["yes", "no", "skip"]
ANSWERS: tuple[str, ...] = get_args(Answer)
_LONGEST = 4096  # characters of a name, a tag or a person; file systems allow fewer


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a person saw, and how it came to be shown.

    Parameters
    ----------
    bundle : str
        SHA-256 of the bundle's manifest; empty where no bundle spoke.
    thresholds : str
        Version of its thresholds.
    proba : float or None
        What the stack said of the pair, in [0, 1]; None where nobody scored it.
    threshold : float or None
        What the tag had to reach; None for a tag that is never tagged.
    tagged : bool
        Whether the image had the tag, as far as was known.
    order : str
        Why it was shown: an order of the queue, ``picture``, ``rule`` or ``import``.
    propensity : float or None
        Probability with which the queue chose this pair, in (0, 1]; None where it did not choose.
    probe : bool
        Whether it was drawn from below the threshold to see what nobody asks about.
    judging : bool
        Whether the image is in the frozen slice, which judges and never trains.
    """

    bundle: str = ""
    thresholds: str = ""
    proba: float | None = None
    threshold: float | None = None
    tagged: bool = False
    order: str = "picture"
    propensity: float | None = None
    probe: bool = False
    judging: bool = False

    def __post_init__(self) -> None:
        for name in ("proba", "threshold", "propensity"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and 0 <= value <= 1):
                raise TagstackError(f"{name} is {value!r}; expected a number in [0, 1].")
        if self.propensity == 0:
            msg = "A pair that is never chosen cannot have been shown; propensity must be above 0."
            raise TagstackError(msg)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One answer.

    Parameters
    ----------
    who : str
        The person, as they call themselves.
    image : str
        Name: path below the folder of pictures, in POSIX form.
    content : str
        SHA-256 of the picture in hexadecimal; empty if nobody looked.
    tag : str
    answer : {"yes", "no", "skip"}
        Whether the image shows what the tag says.
    shown : Shown
    rule : str
        Id of the rule that made this follow from another answer; empty for an answer of its own.
    token : str
        Unique; the same decision sent twice, as after a lost reply, is kept once.
    """

    who: str
    image: str
    tag: str
    answer: Answer
    content: str = ""
    shown: Shown = field(default_factory=Shown)
    rule: str = ""
    token: str = field(default_factory=lambda: secrets.token_hex(12))

    def __post_init__(self) -> None:
        if self.answer not in ANSWERS:
            raise TagstackError(f"The answer is {self.answer!r}; expected one of {list(ANSWERS)}.")
        for name in ("who", "image", "tag", "token"):
            text = getattr(self, name)
            if not text.strip() or len(text) > _LONGEST:
                msg = f"{name} is {text[:40]!r}; expected 1 to {_LONGEST} characters."
                raise TagstackError(msg)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What holds of one pair now: the last answer that was not taken back.

    ``overturned`` says whether a person contradicted what was shown; imports and what follows by
    a rule never do.
    """

    number: int
    at_s: float
    who: str
    image: str
    tag: str
    answer: Answer
    overturned: bool
    judging: bool


@dataclass(frozen=True, kw_only=True)
class TagCount:
    """What was decided about one tag: answers that stand, and when the last one was given.

    ``n_asked`` leaves out what was imported or followed by a rule, as ``n_overturned`` does.
    """

    n_yes: int
    n_no: int
    n_skipped: int
    n_asked: int
    n_overturned: int
    last_s: float
