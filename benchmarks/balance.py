r"""Measure what `fit --balance COLUMN` does, before and after, on groups that neither fit saw.

    python benchmarks/balance.py --scores S --labels L.csv --group title --by style --out R \
        [--rules R] [--learners L] [--fit part=fit] [--test part=test] [--seed 0]

Fits the stack twice as `fit --quick` does, with and without weights, and audits both on the images
of `--test`, the second against the first. Prints a Markdown table of F1 by value, with paired
intervals over groups, and of all images. Folders in `--out` stay: `R/before`, `R/after`.
"""

import argparse
import time
from pathlib import Path

from tagstack.base_models.threads import let_idle_threads_sleep
from tagstack.configs.quick import QUICK
from tagstack.configs.settings import changed_settings, load_settings
from tagstack.ensemble.audit.history import FigureChange
from tagstack.ensemble.bundle.dataset import DatasetSource
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.tasks.audit import AuditRequest, audit_bundle
from tagstack.ensemble.tasks.audit_question import AuditQuestion
from tagstack.ensemble.tasks.fit import FitRequest, fit_bundle


def main() -> None:
    """Fit twice, audit twice, print."""
    let_idle_threads_sleep()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("scores", "labels", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("group", "by"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--rules")
    parser.add_argument("--learners", help="of level 2, comma-separated; '' = none, which is quick")
    parser.add_argument("--fit", default="part=fit")
    parser.add_argument("--test", default="part=test")
    parser.add_argument("--seed", type=int, default=0)
    own = parser.parse_args()
    settings = load_settings(changes={**QUICK, "seed": own.seed})
    if own.learners is not None:
        names = [name for name in own.learners.split(",") if name]
        settings = changed_settings(settings, {"stack": {"learners": names}})
    began, audits = time.process_time(), []
    for name, column in (("before", ""), ("after", own.by)):
        bundle = own.out / name / "bundle"
        chosen = changed_settings(settings, {"stack": {"balance": column}})
        if not bundle.exists():
            source = DatasetSource(
                scores=own.scores, labels=own.labels, where=own.fit, group=own.group
            )
            fitted = fit_bundle(
                FitRequest(source=source, bundle=bundle, rules=own.rules), chosen, Silent()
            )
            print(f"{name}: chose {fitted.stacker.chosen_}, {fitted.evidence['balance'] or ''}")
        source = DatasetSource(
            scores=own.scores, labels=own.labels, where=own.test, group=own.group
        )
        request = AuditRequest(
            bundle=bundle,
            source=source,
            out=own.out / name / "audit",
            question=AuditQuestion(
                by=(own.by,),
                parts=(),
                against=own.out / "before" / "audit" if column else None,
            ),
            overwrite=True,
        )
        audits.append(audit_bundle(request, settings, Silent()))
    after = audits[-1]
    assert after.changes is not None
    found = [one for one in after.changes.found if one.figure == "f1"]
    print(f"\n{after.n_images} left-out images in {after.n_groups} groups")
    print(f"\n| {own.by} | images | groups | F1 before | after | difference | q |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for one in found:
        print(_row(one))
    print(f"\n{time.process_time() - began:.0f} CPU seconds of this process")


def _row(one: FigureChange) -> str:
    return (
        f"| {one.value} | {one.n_images} | {one.n_groups} | {one.before:.3f} | {one.after:.3f} | "
        f"{one.difference:+.3f} [{one.low:+.3f}, {one.high:+.3f}] | {one.q_value:.2f} |"
    )


if __name__ == "__main__":
    main()
