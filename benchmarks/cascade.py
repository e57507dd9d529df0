"""What a cascade saves: cost against F1 on left-out pictures, beside random exits and one tagger.

The folder is as `benchmarks/real.py` wants it; scores are made in ``--out`` unless they are there.
A stack with a cascade is fitted, as ``fit --quick --cascade`` does, on two thirds of fold 3; the
rows of its table, chosen there, are judged on the other third. Costs are the networks' measured
seconds. ``random`` ends as many pictures at each stage, drawn at random (mean of 20 draws); a
single tagger has calibrated scores and thresholds fitted like the stack's. All obey the rules.

    python benchmarks/cascade.py FOLDER --out real-results [--sets fashion,emoji] [--seed 0]
"""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from real import GROUPS, of_members, parser_of_sets, split, taggers

from tagstack.base_models.threads import let_idle_threads_sleep
from tagstack.configs.quick import QUICK
from tagstack.configs.settings import load_settings
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.cascade import Cascade
from tagstack.ensemble.bundle.dataset import Dataset, DatasetSource
from tagstack.ensemble.bundle.files import load_bundle, save_bundle
from tagstack.ensemble.cascade.frontier import CascadeJudging, Staged, frontier_rows
from tagstack.ensemble.cascade.judged import staged_answers
from tagstack.ensemble.console.console import stages
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.fitting.dataset_fit import fit_dataset
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.rules.sources import load_rules
from tagstack.ensemble.tasks.fit import fit_images
from tagstack.ensemble.tasks.scoring import score_folder
from tagstack.meta.metrics.bootstrap import difference
from tagstack.meta.stack.rung_spec import ruled_name, single_spec

DRAWS = 20


def staged(bundle: Bundle, cascade: Cascade, test: Dataset) -> Staged:
    """Return what every stage answers for left-out pictures, and what its head promises."""
    whole = replace(test, scores=bundle.stacker.completed(test.scores))
    return staged_answers(bundle, cascade, whole, lambda head: head.completed(test.scores))


def at_random(test: Staged, judging: CascadeJudging, ends: np.ndarray) -> tuple[float, float]:
    """Return micro-F1 and macro-F1 where as many pictures end at each stage, whichever."""
    rng = np.random.default_rng(0)
    drawn = [judging(test.tags(rng.permutation(ends))) for _ in range(DRAWS)]
    return tuple(float(np.mean([one[k][0] for one in drawn])) for k in (0, 1))  # type: ignore[return-value]


def singles(bundle: Bundle, cascade: Cascade, test: Dataset, judging: CascadeJudging) -> None:
    """Print each tagger alone."""
    decoder = Decoder(bundle.rules.bind(bundle.vocabulary), bundle.settings.decoder)
    whole = judging(staged(bundle, cascade, test).decided[-1])
    total = sum(cascade.seconds.values())
    for name, seconds in cascade.seconds.items():
        rung = single_spec(name).name
        proba = bundle.stacker.predict_proba(bundle.stacker.completed(test.scores), rung)
        known = ruled_name(rung) if ruled_name(rung) in bundle.rung_thresholds else rung
        scores = judging(bundle.rung_cutting(known).decoded(proba, decoder))
        lost = [difference(a, b, 0.95) for a, b in zip(whole, scores, strict=True)]
        print(
            f"| {rung} | {seconds / total:.2f} | | {scores[0][0]:.4f} | {lost[0].value:+.4f} "
            f"[{lost[0].low:+.4f}, {lost[0].high:+.4f}] | | {scores[1][0]:.4f} | "
            f"{lost[1].value:+.4f} [{lost[1].low:+.4f}, {lost[1].high:+.4f}] | |"
        )


def run(root: Path, out: Path, name: str, seed: int) -> None:
    """Print one set's table."""
    settings = load_settings(changes={**QUICK, "seed": seed})
    data, labels = root / "data" / name, out / f"labels-{seed}.csv"
    images = split(data / "labels.csv", GROUPS[name], seed, labels)
    folders = taggers(root / "zoo" / name, out / "taggers")
    with stages() as progress:
        paths = [data / "images" / image for image in images]
        score_folder(paths, folders, out / "scores", settings, progress)
    rules = load_rules(str(data / "tags.csv"))
    members = tuple(Path(folder).name for folder in folders)
    source = DatasetSource(scores=out / "scores", labels=labels, group=GROUPS[name])
    fit, test = (
        of_members(fit_images(replace(source, where=where), rules, settings, Silent()), members)
        for where in ("part=fit", "part=test")
    )
    kept, began = out / f"cascade-{seed}", time.process_time()
    if not kept.exists():
        with stages() as progress:
            save_bundle(fit_dataset(fit, rules, settings, None, progress, cascade=True), kept)
    bundle = load_bundle(kept)
    cascade = bundle.cascade
    assert cascade is not None
    print(f"\n## {name}, seed {seed}: {fit.scores.n_images} to fit, {test.scores.n_images} judge")
    print(f"fit {time.process_time() - began:.0f} CPU s; the stack is {bundle.stacker.chosen_}")
    print({name: f"{1e3 * seconds:.2f} ms" for name, seconds in cascade.seconds.items()})
    print(" -> ".join("+".join(head.members) for head in cascade.heads), "-> all\n")
    print("| way | cost | ended | micro-F1 | lost | at random | macro-F1 | lost | at random |")
    print("|---|--:|---|--:|--:|--:|--:|--:|--:|")
    judged = staged(bundle, cascade, test)
    judging = CascadeJudging(judged, resamples=settings.cascade.resamples, seed=seed)
    levels = [row.least_promise for row in cascade.rows]
    for level, row in zip(levels, frontier_rows(judged, judging, levels), strict=True):
        micro, macro = at_random(judged, judging, judged.ends(level))
        print(
            f"| cascade | {row.cost:.2f} | {' '.join(f'{share:.2f}' for share in row.ended)} | "
            f"{row.micro_f:.4f} | {row.micro_loss:+.4f} [{row.micro_low:+.4f}, "
            f"{row.micro_high:+.4f}] | {micro:.4f} | {row.macro_f:.4f} | {row.macro_loss:+.4f} "
            f"[{row.macro_low:+.4f}, {row.macro_high:+.4f}] | {macro:.4f} |",
            flush=True,
        )
    singles(bundle, cascade, test, judging)


def main() -> None:
    """Run every set asked for."""
    let_idle_threads_sleep()
    parser = parser_of_sets(__doc__)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for name in arguments.sets.split(","):
        run(arguments.folder, arguments.out / name, name, arguments.seed)


if __name__ == "__main__":
    main()
