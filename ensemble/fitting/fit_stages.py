"""How far a fit is: which stage of how many, and about how long it still takes.

The stages' shares of the work were measured on real images; how fast this machine does them shows
while it does. Nothing depends on them but what is printed.
"""

import time
from collections.abc import Callable, Mapping

from tagstack.base_models.scoring.pipeline import ScoreProgress
from tagstack.configs.settings import Settings
from tagstack.ensemble.progress import Progress

# CPU seconds of one core, for 877,000 pairs of image and tag (5,071 images by 173 tags, 5 taggers);
# benchmarks/fit_stages.py prints them.
_SECONDS: Mapping[str, float] = {
    "calibration": 9,
    "svm": 3,
    "lightgbm": 11,
    "xgboost": 6,
    "blend": 6,
    "tuning": 11,
    "worth of members": 5,
    "final fit": 6,
    "holding against the start": 3,
    "thresholds of every rung": 14,
    "macro against micro": 9,
}
_AFTER = ("holding against the start", "thresholds of every rung", "macro against micro")
_PAIRS = 877_000
# Trees, selection and judging look at drawn pairs: ten times as many cost four times as much.
_GROWTH = 0.6
_OTHER = 6.0  # of a learner that a package brings
# Quick fits of 150 to 3,000 drawn images (`tagstack demo`; 128 tags, 20 to 390 thousand pairs) by 2
# to 6 taggers, left-out thresholds included, took 0.4 to 1.9 times what is said of the stack.
_MOST = 2.5
_TRUSTED = 10.0  # seconds of work at which this machine's own speed counts as much as that one's


def fit_stages(settings: Settings, n_images: int, *, rules: bool) -> dict[str, float]:
    """Return the stages of a fit in their order, and the share of the work of each.

    Parameters
    ----------
    settings : Settings
    n_images : int
    rules : bool
        Whether there are any; without, thresholds are half the work.
    """
    stack = settings.stack
    rungs = ("calibration", *(name for name in stack.learners if name != "xgboost"))
    on_top = (*(name for name in stack.learners if name == "xgboost"), "blend")
    tuned = ("tuning",) if stack.tuning.trials > 1 and "xgboost" in stack.learners else ()
    rehearsed = stack.outer_fold and stack.folds > 2
    stages: dict[str, float] = {}
    if rehearsed:
        stages |= {f"rehearsal: {name}": _seconds(name) for name in rungs}
        stages |= {name: _seconds(name) for name in tuned}
        stages |= {f"rehearsal: {name}": _seconds(name) for name in on_top}
    stages |= {name: _seconds(name) for name in (*rungs, *on_top)}
    if stack.member_worth != "none":
        stages |= {"worth of members": _seconds("worth of members")}
    stages |= {"final fit": _seconds("final fit")}
    if n_images <= settings.start.floor_images:
        stages |= {"holding against the start": _seconds("holding against the start")}
    half = 1.0 if rules else 0.5
    stages |= {"thresholds of every rung": half * _seconds("thresholds of every rung")}
    if settings.thresholds.frontier:
        stages |= {"macro against micro": half * _seconds("macro against micro")}
    return stages


def _seconds(name: str) -> float:
    """Return what a stage or a learner takes where it was measured."""
    return _SECONDS.get(name, _OTHER)


def stacking_seconds(settings: Settings, n_images: int, n_pairs: int) -> float:
    """Return about how many CPU seconds a fit takes without thresholds, by one machine's measure.

    Parameters
    ----------
    settings : Settings
    n_images, n_pairs : int
        Labelled images, and their listed pairs of image and tag.
    """
    stages = fit_stages(settings, n_images, rules=True)
    return sum(n for name, n in stages.items() if name not in _AFTER) * _times(n_pairs)


def most_seconds(settings: Settings, n_images: int, n_pairs: int) -> float:
    """Return at most about how many CPU seconds a fit and one table of thresholds take.

    Parameters
    ----------
    settings : Settings
    n_images, n_pairs : int
        Labelled images, and their listed pairs of image and tag.
    """
    return _MOST * stacking_seconds(settings, n_images, n_pairs)


def _times(n_pairs: int) -> float:
    """Return how many times as much work so many pairs are as those that were measured."""
    return float((max(n_pairs, 1) / _PAIRS) ** _GROWTH)


class FitStages:
    """Passes progress on, each stage with its number, their total and the time that is left.

    Parameters
    ----------
    inner : Progress
    stages : mapping of stage to share of the work
        In their order.
    n_pairs : int
        Listed pairs of image and tag: what the work grows with.
    clock : callable
        Seconds.
    """

    def __init__(
        self,
        inner: Progress,
        stages: Mapping[str, float],
        n_pairs: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner, self._stages, self._clock = inner, dict(stages), clock
        self._began, self._scale = clock(), _times(n_pairs)
        self._current, self._title = "", ""

    def stage(self, text: str, done: int = 0, total: int = 0) -> None:
        """Say which stage is under way; one that was not foreseen passes as it is."""
        if text not in self._stages:
            self._inner.stage(text, done, total)
            return
        if text != self._current:
            self._current, self._title = text, self._titled(text)
        self._inner.stage(self._title, done, max(total, 1))

    def notice(self, text: str) -> None:
        """Pass a notice on."""
        self._inner.notice(text)

    def scored(self, state: ScoreProgress) -> None:
        """Pass level 1 on."""
        self._inner.scored(state)

    def _titled(self, text: str) -> str:
        names, seconds = list(self._stages), list(self._stages.values())
        number = names.index(text)
        before, left = sum(seconds[:number]), sum(seconds[number:])
        spent = self._clock() - self._began
        rate = (spent + self._scale * _TRUSTED) / (before + _TRUSTED)
        return f"{text}, {number + 1} of {len(names)}, about {_duration(rate * left)} left"


def _duration(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"
