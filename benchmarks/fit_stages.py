"""Where a fit's CPU seconds go, stage by stage, and how long it said it would take.

    python benchmarks/fit_stages.py --scores SCORES --labels LABELS --out BUNDLE [--rules RULES]
        [--group COLUMN] [--where part=fit] [--threads 1]

One fit as `tagstack fit` makes it, in this process. "Said" is what was left by its own words when
the stage began; "left" what was, in CPU seconds. The shares of `ensemble/fitting/fit_stages.py`
come from here.
"""

import argparse
import resource
from pathlib import Path

from tagstack.base_models.scoring.pipeline import ScoreProgress
from tagstack.base_models.threads import let_idle_threads_sleep
from tagstack.configs.settings import load_settings
from tagstack.ensemble.bundle.dataset import DatasetSource
from tagstack.ensemble.tasks.fit import FitRequest, fit_bundle


def cpu_seconds() -> float:
    """Return user and system seconds of this process and its children so far."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(own.ru_utime + own.ru_stime for own in used)


class Watch:
    """Notes when each stage began."""

    def __init__(self) -> None:
        self.began: dict[str, float] = {"loading": 0.0, "reading": cpu_seconds()}

    def stage(self, text: str, done: int = 0, total: int = 0) -> None:
        """Note a stage that is new."""
        self.began.setdefault(text, cpu_seconds())

    def notice(self, text: str) -> None:
        """Say nothing."""

    def scored(self, state: ScoreProgress) -> None:
        """Say nothing."""


def main() -> None:
    """Fit once and print a row for each stage."""
    let_idle_threads_sleep()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rules", default=None)
    parser.add_argument("--group", default=None)
    parser.add_argument("--where", default=None)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    watch = Watch()
    source = DatasetSource(
        scores=asked.scores, labels=asked.labels, where=asked.where, group=asked.group
    )
    fit_bundle(
        FitRequest(source=source, bundle=asked.out, rules=asked.rules),
        load_settings(changes={"threads": asked.threads}),
        watch,
    )
    names, ends = list(watch.began), [*watch.began.values(), cpu_seconds()]
    whole = ends[-1]
    print("| stage | CPU s | % | said | left, CPU s |\n|---|--:|--:|---|--:|")
    for name, begin, end in zip(names, ends, ends[1:], strict=False):
        title, _, said = name.partition(", about ")
        title, spent = title.partition(",")[0], end - begin
        print(
            f"| {title} | {spent:.1f} | {100 * spent / whole:.0f} | {said} | {whole - begin:.0f} |"
        )
    print(f"| all | {whole:.1f} | 100 | | |")


if __name__ == "__main__":
    main()
