"""The largest vocabulary end to end: score store, fit, thresholds, decoder, comparison, page.

    python benchmarks/vocabulary.py --out vocabulary-results [--tags 98782] [--images 20000]
        [--members 3] [--held 2000] [--seed 0] [--stages draw,fit,compare]

Scores are synthetic (see `stack_scores.py`): a Zipf vocabulary, as many labels an image as a real
one has, implications and exclusions as rules. They are written into a score store like a tagger's,
and everything after that is what the commands do, by default as quick as `fit --quick`. Each stage
runs in a process of its own and prints its CPU seconds and its largest resident size; the page's
size is printed at last.
"""

import argparse
import csv
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
from stack import cpu_seconds, peak_mib
from stack_scores import FLOOR, LabelledScores, ScoreDrawer, vocabulary_and_shares

from tagstack.base_models.scores.member_info import IMPORTED, MemberInfo
from tagstack.base_models.scores.members import Members
from tagstack.base_models.scores.store_writer import ScoreWriter
from tagstack.base_models.threads import let_idle_threads_sleep
from tagstack.configs.quick import QUICK
from tagstack.configs.settings import Settings, load_settings
from tagstack.ensemble.bundle.dataset import DatasetSource
from tagstack.ensemble.rules.rule import Exclusive, Implication
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.tasks.compare import CompareRequest, compare_bundle
from tagstack.ensemble.tasks.fit import FitRequest, fit_bundle

Options = argparse.Namespace
SOURCE = "drawn with the scores"
PART = 1_000  # images of a part of the store
_NO_FEATURES = np.zeros(0, np.float16)


class Told:
    """Says on standard error when a stage begins, and what was spent until then."""

    def stage(self, text: str, done: int = 0, total: int = 0) -> None:
        """Say that a stage begins."""
        spent = f"{cpu_seconds():8.1f} CPU s {peak_mib():6,} MiB"
        print(spent, text, f"{done}/{total}" if total else "", file=sys.stderr, flush=True)

    def notice(self, text: str) -> None:
        """Say what is worth knowing."""
        print(" " * 26, text, file=sys.stderr, flush=True)

    def scored(self, state: object) -> None:
        """Ignore a state."""


def draw(options: Options) -> None:
    """Write the store, the labels and the rules."""
    vocabulary, shares = vocabulary_and_shares(None, options.tags)
    drawer = ScoreDrawer(vocabulary, shares, options.members, options.seed, 300.0)
    data = drawer.draw(options.images + options.held)
    options.out.mkdir(parents=True, exist_ok=True)
    _write_labels(options, data)
    _write_rules(options, data)
    began = cpu_seconds()
    _write_store(options, data)
    print(
        f"store written: {cpu_seconds() - began:.1f} CPU s, {_size_mb(options.out / 'scores')} MB"
    )


def fit(options: Options) -> None:
    """Fit a bundle on the images that are not held out."""
    request = FitRequest(
        source=_source(options, "part=fit"),
        bundle=options.out / "bundle",
        rules=str(options.out / "rules.toml"),
        overwrite=True,
    )
    bundle = fit_bundle(request, _settings(options), Told())
    print(f"chose {bundle.evidence['chosen']}; bundle {_size_mb(options.out / 'bundle')} MB")


def compare(options: Options) -> None:
    """Compare the bundle's rungs on the images held out, and write the page."""
    report = options.out / "report"
    request = CompareRequest(
        bundle=options.out / "bundle",
        source=_source(options, "part=test"),
        out=report,
        overwrite=True,
    )
    compare_bundle(request, _settings(options), Told())
    pages = sorted(path for path in report.iterdir() if path.is_file())
    for path in pages:
        print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")


STAGES = {"draw": draw, "fit": fit, "compare": compare}


def _source(options: Options, where: str) -> DatasetSource:
    return DatasetSource(
        scores=options.out / "scores", labels=options.out / "labels.csv", where=where
    )


def _settings(options: Options) -> Settings:
    return load_settings(None, {**QUICK, "threads": options.threads})


def _write_labels(options: Options, data: LabelledScores) -> None:
    with (options.out / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "tags", "part"])
        tags, labels = data.scores.vocabulary.tags, data.labels
        for i, name in enumerate(data.scores.images):
            own = labels.indices[labels.indptr[i] : labels.indptr[i + 1]]
            part = "fit" if i < options.images else "test"
            writer.writerow([name, " ".join(tags[t] for t in own), part])


def _write_rules(options: Options, data: LabelledScores) -> None:
    tags, relations = data.scores.vocabulary.tags, data.relations
    exclusive = tuple(
        Exclusive(id=f"group_{number}", tags=tuple(tags[t] for t in group), source=SOURCE)
        for number, group in enumerate(relations.groups)
    )
    implied = zip(*relations.parents.nonzero(), strict=True)
    implications = tuple(
        Implication(id=f"{tags[a]}.{tags[b]}", tags=(tags[a],), implies=(tags[b],), source=SOURCE)
        for a, b in implied
    )
    rules = Rules(implications=implications, exclusives=exclusive)
    text = rules.to_toml()
    (options.out / "rules.toml").write_text(text, encoding="utf-8")


def _write_store(options: Options, data: LabelledScores) -> None:
    scores, pairs = data.scores, data.scores.pairs
    members = Members(tuple(_member(data, m) for m in range(len(scores.members))))
    places = [np.cumsum(knows) - 1 for knows in scores.knows]
    with ScoreWriter(options.out / "scores", members) as writer:
        for i, name in enumerate(scores.images):
            sha256 = hashlib.sha256(name.encode()).hexdigest()
            writer.add_image(path=name, root="", sha256=sha256, size_bytes=1)
            rows = slice(pairs.indptr[i], pairs.indptr[i + 1])
            for m, place in enumerate(places):
                logit, tag = scores.logit[m, rows], pairs.tag[rows]
                kept = np.flatnonzero(logit > FLOOR)
                own = place[tag[kept]].astype(np.int32)
                writer.add_kept(m, sha256, own, logit[kept].astype(np.float16), _NO_FEATURES)
            if (i + 1) % PART == 0 or i + 1 == len(scores.images):
                writer.commit()


def _member(data: LabelledScores, m: int) -> MemberInfo:
    known = data.scores.knows[m]
    name, vocabulary = data.scores.members[m], data.scores.vocabulary
    own = [(vocabulary.tags[t], vocabulary.categories[t]) for t in np.flatnonzero(known)]
    tags, categories = zip(*own, strict=True)
    return MemberInfo(
        name=name.replace("_", "-"),
        fingerprint=hashlib.sha256(name.encode()).hexdigest(),
        source=f"{IMPORTED}{name}",
        vocabulary=type(vocabulary)(tags, categories),
        aliases={},
        floor=1e-4,
        published_thresholds=np.full(len(tags), 0.35, np.float32),
        published_counts=np.full(len(tags), np.nan, np.float32),
        runtime="synthetic",
        training=None,
    )


def _size_mb(folder: Path) -> int:
    return round(sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6)


def main() -> None:
    """Run the stages, each in a process of its own."""
    let_idle_threads_sleep()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tags", type=int, default=98_782)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--held", type=int, default=2_000)
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--stages", default=",".join(STAGES))
    parser.add_argument("--stage", choices=sorted(STAGES), help="run this one in here")
    options = parser.parse_args()
    if options.stage:
        began = time.perf_counter()
        STAGES[options.stage](options)
        wall = time.perf_counter() - began
        print(
            f"{options.stage}: {cpu_seconds():.1f} CPU s, {wall:.0f} s, peak {peak_mib():,} MiB",
            flush=True,
        )
        return
    for stage in options.stages.split(","):
        command = [sys.executable, *sys.argv, "--stage", stage]
        if subprocess.run(command, check=False).returncode:
            sys.exit(f"{stage} failed")


if __name__ == "__main__":
    main()
