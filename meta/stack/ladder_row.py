"""What a fit says of a rung and of a band of tags; a fitted stack keeps it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LadderRow:
    """One rung of the ladder, judged on images that its models were not fitted on.

    Parameters
    ----------
    rung : str
    macro_ap, micro_ap : float
        Mean over folds of the average precision within a fold.
    macro_error, micro_error : float
        Their standard errors over groups of images.
    fold_values : tuple of float
        The objective in each fold.
    weights : tuple of (str, float)
        What the rung averages and how much, empty for others.
    why : str
        How the gate judged it.
    """

    rung: str
    macro_ap: float
    macro_error: float
    micro_ap: float
    micro_error: float
    fold_values: tuple[float, ...]
    weights: tuple[tuple[str, float], ...]
    why: str


@dataclass(frozen=True, kw_only=True)
class Band:
    """Tags with about as many positives, and the rung that serves them.

    Parameters
    ----------
    low, high : int
        Positives among the labels, ``low <= n < high``; ``high`` is None where there is no limit.
    n_tags : int
    rung : str
    why : str
    """

    low: int
    high: int | None
    n_tags: int
    rung: str
    why: str

    @property
    def title(self) -> str:
        """What a reader calls it."""
        return f"{self.low}+" if self.high is None else f"{self.low}-{self.high - 1}"
