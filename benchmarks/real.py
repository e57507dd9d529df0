"""Score, fit and compare on real labelled images; prints the ladder with intervals.

The folder given must hold, for each set, ``data/SET/images``, ``data/SET/labels.csv`` (columns
image, tags, fold and a group column), ``data/SET/tags.csv`` (tag, parent, exclusive_group) and
``zoo/SET/TAGGER`` with a model, a tag file and ``about.json`` that says its contract in words.
Fold 3, on which no tagger was trained, is split by group: two thirds to fit, one third to test.

    python benchmarks/real.py FOLDER --out real-results [--sets fashion,emoji] [--seeds 0,1,2]
    python benchmarks/real.py FOLDER --out real-results --features

Each seed splits, fits and resamples anew; with several, their spread is printed too: what the
intervals of one run, which take split and fit as given, do not show.
"""

import argparse
import csv
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.atomic import write_text
from tagstack.base_models.pairs import PairProba
from tagstack.base_models.threads import let_idle_threads_sleep
from tagstack.configs.quick import QUICK
from tagstack.configs.settings import Settings, load_settings
from tagstack.ensemble.bundle.dataset import Dataset, DatasetSource
from tagstack.ensemble.comparison.comparing import Comparison
from tagstack.ensemble.comparison.evaluator import Evaluator, Scope
from tagstack.ensemble.console.console import stages
from tagstack.ensemble.console.ladder import print_fit
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.tasks.compare import CompareRequest, compare_bundle
from tagstack.ensemble.tasks.fit import FitRequest, fit_bundle
from tagstack.ensemble.tasks.scoring import score_folder
from tagstack.meta.metrics.bootstrap import Weightings

GROUPS = {"fashion": "title", "emoji": "concept"}
TAG_FILES = {
    "selected_tags.csv": "selected_tags_csv",
    "tags.txt": "tags_txt",
    "metadata.json": "camie_json",
}


def contract(folder: Path) -> str:
    """Return the contract that about.json says in words, as TOML."""
    about = json.loads((folder / "about.json").read_text())
    tag_file = next(name for name in TAG_FILES if (folder / name).is_file())
    batch = '"dynamic"' if about["batch"] == "dynamic" else 1
    # Of embedding, logits and prediction, the logits are wanted; others have one output.
    named = 'name = "logits"\n' if "embedding" in about["output"] else ""
    kind = "logits" if "logits" in about["output"] else "probabilities"
    categories = folder / "categories.json"
    names = json.loads(categories.read_text()) if categories.is_file() else {}
    rows = "".join(f'"{code}" = "{name}"\n' for code, name in names.items())
    return (
        f'name = "{folder.name}"\nsource = "about.json"\nlicence = "unknown"\n\n'
        f'[files]\nmodel = "model.onnx"\ntags = "{tag_file}"\n\n'
        f'[input]\nlayout = "{about["input_layout"]}"\ncolour = "{about["color_order"]}"\n'
        f'size = {about["image_size"]}\ngeometry = "pad_square"\nresample = "bicubic"\n'
        f'range = "{about["input_range"]}"\nbatch = {batch}\n\n'
        f'[output]\n{named}kind = "{kind}"\n\n[tags]\nformat = "{TAG_FILES[tag_file]}"\n\n'
        f'[tags.categories]\n{rows}\n[training]\nids = "{about["trained_on"]}"\n'
    )


def taggers(zoo: Path, out: Path) -> list[str]:
    """Make a tagger folder of copies and a contract for each network; return the folders."""
    folders = []
    for about in sorted(zoo.glob("*/about.json")):
        folder = out / about.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "tagger.toml", contract(about.parent))
        for file in about.parent.iterdir():
            copy = folder / file.name
            if not copy.exists():  # no link: a tagger's files may not lead out of its folder
                shutil.copyfile(file, copy)
        folders.append(str(folder))
    return folders


def split(labels: Path, group: str, seed: int, out: Path) -> list[str]:
    """Write fold 3 with a column ``part``; return its images."""
    with labels.open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["fold"] == "3"]
    names = sorted({row[group] for row in rows})
    order = np.random.default_rng(seed).permutation(len(names))
    fit = {names[i] for i in order[: 2 * len(names) // 3]}
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", newline="") as stream:
        table = csv.DictWriter(stream, [*rows[0], "part"])
        table.writeheader()
        table.writerows({**row, "part": "fit" if row[group] in fit else "test"} for row in rows)
    return [row["image"] for row in rows]


KEYS = ("macro_ap", "micro_ap", "macro_f", "micro_f")


def markdown(comparison: Comparison) -> str:
    """Return the ladder as a Markdown table: a row for each set of probabilities.

    "ruled" is F1 with the rules. Leads are the reference minus the rung, with rules on both sides
    but for taggers as published.
    """
    twins = {rung.spec.rules_of: rung for rung in comparison.rungs if rung.spec.rules_of}
    lines = [
        "| rung | macro-AP | micro-AP | macro-F1 | micro-F1 | tags | broken | ruled macro-F1 | "
        "ruled micro-F1 | lead in macro-AP | lead in micro-AP | lead in macro-F1 | "
        "lead in micro-F1 |",
        f"|---|{'--:|' * 12}",
    ]
    for rung in comparison.rungs:
        if rung.spec.rules_of:
            continue
        scores, twin = rung.scores["all"], twins.get(rung.name)
        cells = [f"{scores[key].value:.3f}" for key in KEYS]
        cells += [f"{rung.decisions.tags_per_image:.1f}", f"{rung.contradictions:.2f}"]
        ruled = rung if twin is None else twin
        cells += [f"{ruled.scores['all'][k].value:.3f}" if twin else "" for k in KEYS[2:]]
        for key in KEYS:
            lead = ruled.differences["all"].get(key)
            same = ruled.name == comparison.reference or (rung.same_proba and key in KEYS[:2])
            text = "" if same or lead is None else f"{lead.value:+.3f}"
            cells.append(f"{text} [{lead.low:+.3f}, {lead.high:+.3f}]" if text and lead else "")
        lines.append(f"| {rung.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(comparisons: Sequence[Comparison]) -> str:
    """Return each rung's scores over several seeds as a Markdown table: mean and range.

    Leads are the reference minus the rung; "sure" counts the seeds whose interval excludes 0.
    """
    lines = [
        "| rung | macro-AP | micro-AP | macro-F1 "
        "| lead in macro-AP | sure | lead in macro-F1 | sure |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    common = [
        rung.name
        for rung in comparisons[0].rungs
        if all(rung.name in {other.name for other in one.rungs} for one in comparisons)
    ]
    for name in common:
        rungs = [one.rung(name) for one in comparisons]
        cells = [
            _ranged([rung.scores["all"][key].value for rung in rungs])
            for key in ("macro_ap", "micro_ap", "macro_f")
        ]
        for key in ("macro_ap", "macro_f"):
            leads = [rung.differences["all"][key] for rung in rungs]
            sure = sum(lead.low > 0 or lead.high < 0 for lead in leads)
            cells += [_ranged([lead.value for lead in leads], "+"), f"{sure}/{len(leads)}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _ranged(values: Sequence[float], sign: str = "") -> str:
    low, mean, high = (float(pick(values)) for pick in (np.min, np.mean, np.max))
    return f"{mean:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"


def without_probe(
    source: DatasetSource, out: Path, seed: int, rules: str, settings: Settings, progress: Progress
) -> None:
    """Fit and judge the same stack without the probe; print what the probe gains, paired."""
    probe = settings.stack.probe.model_copy(update={"enabled": False})
    plain = settings.model_copy(
        update={"stack": settings.stack.model_copy(update={"probe": probe})}
    )
    began = time.process_time()
    old = out / f"bundle-{seed}-without-probe"
    request = FitRequest(
        source=replace(source, where="part=fit"), bundle=old, rules=rules, overwrite=True
    )
    fit_bundle(request, plain, progress)
    spent = time.process_time() - began
    compared = CompareRequest(
        bundle=out / f"bundle-{seed}",
        against=old,
        source=replace(source, where="part=test"),
        out=out / f"probe-{seed}",
        overwrite=True,
    )
    comparison, _ = compare_bundle(compared, settings, progress)
    print("\n### With the probe, and the lead over the same stack without it\n")
    print(markdown(comparison))
    print(f"Fit without the probe: {spent:.0f} CPU s.")


def run(
    root: Path,
    name: str,
    out: Path,
    seed: int,
    *,
    trials: int | None,
    features: bool,
    threads: int,
    quick: bool,
) -> Comparison:
    """Run one set, print what came out and return it."""
    data = root / "data" / name
    changes: dict[str, object] = {**(QUICK if quick else {}), "seed": seed, "threads": threads}
    if features:
        changes["score"] = {"features": ["all"]}
    if trials is not None:
        changes["stack"] = {"tuning": {"trials": trials}}
    settings = load_settings(changes=changes)
    labels = out / f"labels-{seed}.csv"
    images = split(data / "labels.csv", GROUPS[name], seed, labels)
    source: dict[str, Any] = {
        "scores": out / "scores",
        "labels": labels,
        "group": GROUPS[name],
    }
    marks = [time.perf_counter()]
    with stages() as progress:
        score_folder(
            [data / "images" / image for image in images],
            taggers(root / "zoo" / name, out / "taggers"),
            out / "scores",
            settings,
            progress,
        )
        marks.append(time.perf_counter())
        fitting = FitRequest(
            source=DatasetSource(**source, where="part=fit"),
            bundle=out / f"bundle-{seed}",
            rules=str(data / "tags.csv"),
            overwrite=True,
        )
        began = time.process_time()
        bundle = fit_bundle(fitting, settings, progress)
        spent = time.process_time() - began
        marks.append(time.perf_counter())
        request = CompareRequest(
            bundle=out / f"bundle-{seed}",
            source=DatasetSource(**source, where="part=test"),
            out=out / f"report-{seed}",
            overwrite=True,
        )
        comparison, _ = compare_bundle(request, settings, progress)
        marks.append(time.perf_counter())
    print(f"\n## {name}, seed {seed}\n")
    print_fit(bundle, out / f"bundle-{seed}", as_json=False)
    print(f"\n{bundle.evidence['n_images']} images to fit, {comparison.n_images} to test.\n")
    print(markdown(comparison))
    score, fit, compare = np.diff(marks)
    print(f"Wall clock: score {score:.0f} s, fit {fit:.0f} s, compare {compare:.0f} s.")
    print(f"Fit: {spent:.0f} CPU s.")
    if features:
        with stages() as progress:
            rules = str(data / "tags.csv")
            without_probe(DatasetSource(**source), out, seed, rules, settings, progress)
    return comparison


def of_members(dataset: Dataset, members: Sequence[str]) -> Dataset:
    """Return a dataset with the scores of some members, its pairs as they were."""
    scores = dataset.scores
    if scores.members == tuple(members):
        return dataset
    rows = [scores.members.index(name) for name in members]
    own = replace(
        scores,
        members=tuple(members),
        knows=scores.knows[rows],
        floor=scores.floor[rows],
        logit=scores.logit[rows],
    )
    return replace(dataset, scores=own, members=tuple(dataset.members[row] for row in rows))


def resampled(
    proba: PairProba,
    decided: sparse.csr_array,
    labels: sparse.csr_array,
    weightings: Weightings,
) -> dict[str, NDArray[np.float64]]:
    """Return the scores of `KEYS` on the images and on resamples of their groups.

    Returns
    -------
    dict of str to array of shape (1 + n_resamples,), float64
        The sample's own score comes first.
    """
    every = np.ones(labels.shape[1], bool)
    scope = Scope(key="all", kind="vocabulary", title="all", tags=every, whole=True)
    evaluator = Evaluator(proba, decided, labels, (scope,), 1.0)
    blocks = [evaluator.evaluate(block).scores for block in weightings.blocks()]
    return {key: np.concatenate([block["all", key] for block in blocks]) for key in KEYS}


def parser_of_sets(description: str) -> argparse.ArgumentParser:
    """Return a parser of what the scripts over real sets ask; the first line describes it."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("real-results"))
    parser.add_argument("--sets", default="fashion,emoji")
    return parser


def main() -> None:
    """Run every set asked for."""
    let_idle_threads_sleep()
    parser = parser_of_sets(__doc__)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--trials", type=int, default=None)
    parser.add_argument(
        "--features", action="store_true", help="keep features; fit with the probe and without"
    )
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="as fit --quick")
    arguments = parser.parse_args()
    for name in arguments.sets.split(","):
        out = arguments.out / name
        comparisons = [
            run(
                arguments.folder,
                name,
                out,
                int(seed),
                trials=arguments.trials,
                features=arguments.features,
                threads=arguments.threads,
                quick=arguments.quick,
            )
            for seed in arguments.seeds.split(",")
        ]
        if len(comparisons) > 1:
            print(f"\n## {name}, {len(comparisons)} seeds\n\n{spread(comparisons)}")


if __name__ == "__main__":
    main()
