"""What `fit --quick` saves and costs beside the default: CPU seconds, and quality on other images.

    python benchmarks/quick_fit.py --scores SCORES --labels LABELS --out OUT [--group COLUMN]
        [--rules RULES] [--images N] [--threads 1] [--seed 0]

Rows ``part=fit`` are fitted on, or of their groups as many, drawn by the seed, as hold N images;
rows ``part=test`` judge. Each fit is a process of its own. Prints its CPU seconds (user and
system, loading included), what it answers with, and quick minus default with 95 % intervals of
paired resamples of groups, both with rules and the thresholds of their own fit.
"""

import argparse
import csv
import json
import random
import resource
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

METRICS = {
    "macro_ap": "macro-AP", "micro_ap": "micro-AP", "macro_f": "macro-F1", "micro_f": "micro-F1",
}  # fmt: skip


def cpu_seconds() -> float:
    """Return user and system seconds of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def drawn_labels(source: Path, target: Path, group: str | None, n: int, seed: int) -> int:
    """Write the labels with as many groups of ``part=fit`` as hold ``n`` images; return those."""
    with source.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    members = defaultdict(list)
    for number, row in enumerate(rows):
        if row["part"] == "fit":
            members[row[group] if group else str(number)].append(row)
    names = sorted(members)
    random.Random(seed).shuffle(names)
    kept: list[dict[str, str]] = []
    for name in names:
        if n and len(kept) >= n:
            break
        kept += members[name]
    with target.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows([*kept, *(row for row in rows if row["part"] == "test")])
    return len(kept)


def run(*arguments: object) -> float:
    """Run a command of tagstack; return its CPU seconds."""
    before = cpu_seconds()
    command = [sys.executable, "-m", "tagstack", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return cpu_seconds() - before


def chosen(bundle: Path) -> str:
    """Return the rung that a bundle answers with."""
    from tagstack.ensemble.bundle.files import load_bundle

    return str(load_bundle(bundle).stacker.chosen_)


def main() -> None:
    """Fit twice, compare once."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--group")
    parser.add_argument("--rules")
    parser.add_argument("--images", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    labels, config = out / "labels.csv", out / "config.toml"
    config.write_text(f"threads = {arguments.threads}\n")
    n = drawn_labels(arguments.labels, labels, arguments.group, arguments.images, arguments.seed)
    both = ["--scores", arguments.scores, "--labels", labels]
    both += ["--group", arguments.group] if arguments.group else []
    rules = ["--rules", arguments.rules] if arguments.rules else []
    seconds = {}
    for name, more in (("quick", ["--quick"]), ("default", [])):
        seconds[name] = run(
            "fit", *both, *rules, "--bundle", out / name, "--overwrite", "--where", "part=fit",
            "--config", config, "--seed", arguments.seed, *more,
        )  # fmt: skip
        print(f"{name}: {seconds[name]:.0f} CPU s, answers with {chosen(out / name)}", flush=True)
    print(f"{n} images; quick takes {seconds['quick'] / seconds['default']:.2f} of the default")
    run(
        "compare", "--bundle", out / "quick", "--against", out / "default", *both,
        "--where", "part=test", "--out", out / "report", "--overwrite",
    )  # fmt: skip
    told(json.loads((out / "report" / "metrics.json").read_text("utf-8")))


def told(found: dict[str, Any]) -> None:
    """Print both bundles' scores, and quick minus default."""
    quick, default = "new + decoder", "old + decoder"
    scores = {rung["name"]: rung["scores"]["all"] for rung in found["rungs"]}
    (pair,) = (one for one in found["pairs"] if {one["first"], one["second"]} == {quick, default})
    sign = 1 if pair["first"] == quick else -1
    print(f"{found['n_images']} images in {found['n_groups']} groups judge\n")
    print("| | quick | default | quick minus default |\n|---|--:|--:|---|")
    for key, title in METRICS.items():
        own = pair["differences"][key]
        ends = sorted(sign * own[end] for end in ("low", "high"))
        print(
            f"| {title} | {scores[quick][key]['value']:.3f} | {scores[default][key]['value']:.3f} "
            f"| {sign * own['value']:+.3f} [{ends[0]:+.3f}, {ends[1]:+.3f}] |"
        )


if __name__ == "__main__":
    main()
