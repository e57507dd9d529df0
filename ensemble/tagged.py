"""What the system says about one image: the tags it keeps, and what else it considered."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TagEntry:
    """One tag of one image.

    Parameters
    ----------
    tag, category : str
    proba : float
        Calibrated probability of the stack, in [0, 1], before rules were applied. It stays as it
        is when a rule adds or removes the tag.
    threshold : float
        The tag was proposed if ``proba >= threshold``.
    votes : mapping of member name to float or None
        Each tagger's own probability; None where it does not know the tag.
    tagged : bool
        Whether the tag is in the final set, after the rules.
    rule : str
        Id of the rule that added or removed the tag; empty if none did.
    in_caption : bool
        Whether captions show the tag once it is tagged; ``output.implied`` may leave out what
        another tag implies.
    """

    tag: str
    category: str
    proba: float
    threshold: float
    votes: Mapping[str, float | None]
    tagged: bool
    rule: str = ""
    in_caption: bool = True


@dataclass(frozen=True, kw_only=True)
class TaggedImage:
    """One image's candidates, most probable first.

    Parameters
    ----------
    image : str
        Path relative to the tagged folder.
    entries : tuple of TagEntry
        Every tag in the final set and every other candidate above the score floor.
    """

    image: str
    entries: tuple[TagEntry, ...]

    @property
    def tags(self) -> tuple[TagEntry, ...]:
        """The final set."""
        return tuple(entry for entry in self.entries if entry.tagged)
