"""What a training is asked for, and what came of it."""

from dataclasses import asdict, dataclass
from pathlib import Path

from tagstack.meta.labels.label_files import LabelTable


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """What is asked.

    Parameters
    ----------
    images : tuple of Path
    labels : Path or LabelTable
        CSV, JSONL or a folder of sidecars, or their rows.
    start : str
        Architecture, weights on disk, or a tagger of `train`; for a search several of them,
        separated by commas.
    out : Path
        Folder of the new tagger; its name becomes the tagger's.
    where : str, optional
        ``COLUMN=VALUE``: only these label rows.
    left_out : str, optional
        ``COLUMN=VALUE``: the rows that judge; by default whole groups are drawn.
    group : str, optional
        Column whose equal values no split may part.
    against : str, optional
        Column that the features must not tell.
    search : int
        Trainings among which the best is chosen; 0 for a single one as the settings say.
    sidecars : tuple of str, optional
    overwrite : bool
    """

    images: tuple[Path, ...]
    labels: Path | LabelTable
    start: str
    out: Path
    where: str | None = None
    left_out: str | None = None
    group: str | None = None
    against: str | None = None
    search: int = 0
    sidecars: tuple[str, ...] | None = None
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class Bias:
    """How much of a column a tagger tells on left-out pictures, and how it fares by its values.

    Parameters
    ----------
    told : float or None
        Balanced accuracy of a linear model that guesses the value from the features: the mean over
        the values of the share guessed rightly. None where no two values can be judged.
    chance : float
        The same of guesses at random.
    worst, best : str
        Values with the lowest and the highest F1, pairs counted together.
    worst_f1, best_f1 : float or None
        None where the pictures make no two slices.
    n_sure, n_looks : int
        Figures of slices (precision, recall, F1, tags beyond the true ones) that surely differ from
        those of the other pictures, and all of them.
    """

    told: float | None
    chance: float
    worst: str
    worst_f1: float | None
    best: str
    best_f1: float | None
    n_sure: int
    n_looks: int


@dataclass(frozen=True, kw_only=True)
class Against:
    """What training against a column did.

    Parameters
    ----------
    column : str
    n_values : int
        That were trained against.
    before : Bias or None
        Of the tagger that was started from; None where it was none.
    after : Bias
    """

    column: str
    n_values: int
    before: Bias | None
    after: Bias


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training of a search.

    Parameters
    ----------
    number : int
    start : str
    size : int
    loss : str
    learning_rate, weight_decay : float
    scores : tuple of float
        Macro-AP on left-out pictures after each epoch.
    seconds : float
        In steps of training.
    ended_early : bool
        Since it was below the median of the trials before.
    fault : str
        Why there is no score; empty where there is one.
    """

    number: int
    start: str
    size: int
    loss: str
    learning_rate: float
    weight_decay: float
    scores: tuple[float, ...]
    seconds: float
    ended_early: bool
    fault: str = ""

    @property
    def score(self) -> float:
        """Its best macro-AP; -1 where there is none."""
        return max(self.scores, default=-1.0)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What was trained.

    Parameters
    ----------
    out : Path
    architecture : str
    n_parameters, size, n_tags, n_training, n_left_out : int
    n_epochs, best_epoch : int
    macro_ap : float
        On left-out pictures, over the tags that occur there; the epoch was chosen by it.
    scores : tuple of float
        The same after every epoch.
    seconds : float
        In steps of training.
    difference : float
        Largest between probabilities of the ONNX file and of torch.
    device : str
    against : Against or None
    trials : tuple of Trial
        Of a search; the tagger is that of the best.
    notices : tuple of str
    """

    out: Path
    architecture: str
    n_parameters: int
    size: int
    n_tags: int
    n_training: int
    n_left_out: int
    n_epochs: int
    best_epoch: int
    macro_ap: float
    scores: tuple[float, ...]
    seconds: float
    difference: float
    device: str
    against: Against | None
    trials: tuple[Trial, ...]
    notices: tuple[str, ...]

    def plain(self) -> dict[str, object]:
        """Return the answer of ``train --json``."""
        return {**asdict(self), "out": str(self.out)}
