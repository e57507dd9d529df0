"""Judge start bundles, which no label has touched, against each tagger as published.

Takes the folder that ``benchmarks/real.py`` takes, and its scores if they are there. Of fold 3, two
thirds of the groups are looked at without their labels; the other third judges. Rules apply to the
start bundles and not to the taggers, which is what a user gets of each.

    python benchmarks/start_bundle.py FOLDER --out start-results [--sets fashion,emoji] [--seed 0]

Prints a Markdown table for a start bundle of files alone, one that looked at the two thirds, and
ones that looked at few images or at images of one kind only.
"""

import argparse
from pathlib import Path

import numpy as np
from real import GROUPS, split, taggers

from tagstack.base_models.scores.store import ScoreStore
from tagstack.base_models.threads import let_idle_threads_sleep
from tagstack.configs.settings import Settings, load_settings
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.dataset import Dataset, DatasetSource, load_dataset
from tagstack.ensemble.bundle.start import start_bundle
from tagstack.ensemble.comparison.comparing import Comparison
from tagstack.ensemble.comparison.ladder import DECODED
from tagstack.ensemble.console.console import stages
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.rules.sources import load_rules
from tagstack.ensemble.tasks.compare import compare_ladder
from tagstack.ensemble.tasks.scoring import score_folder

ONE_KIND = {"fashion": "master:footwear", "emoji": "group:animals-nature"}
SCORES = ("macro_f", "micro_f")


def parts(root: Path, name: str, out: Path, settings: Settings, seed: int) -> tuple[Dataset, ...]:
    """Return the images that are looked at, and those that judge."""
    data, labels = root / "data" / name, out / f"labels-{seed}.csv"
    images = split(data / "labels.csv", GROUPS[name], seed, labels)
    folders = taggers(root / "zoo" / name, out / "taggers")
    with stages() as progress:
        files = [data / "images" / image for image in images]
        score_folder(files, folders, out / "scores", settings, progress)
    rules = load_rules(str(data / "tags.csv"))
    return tuple(
        load_dataset(
            DatasetSource(
                scores=out / "scores", labels=labels, where=f"part={part}", group=GROUPS[name]
            ),
            aliases={},
            groups=rules.groups,
            labels=settings.labels,
        )
        for part in ("fit", "test")
    )


def bundles(
    name: str, looked: Dataset, rules: Rules, settings: Settings, seed: int
) -> dict[str, Bundle]:
    """Return the start bundles by what they looked at."""
    rng, n = np.random.default_rng(seed), looked.scores.n_images
    place = looked.scores.vocabulary.index[ONE_KIND[name]]
    kind = np.flatnonzero(looked.labels[:, [place]].toarray().ravel())
    chosen = {
        f"{n} images": np.arange(n),
        "300 images": rng.choice(n, 300, replace=False),
        "30 images": rng.choice(n, 30, replace=False),
        "1 image": rng.choice(n, 1),
        f"{len(kind)} images of {ONE_KIND[name]}": kind,
    }
    made = {"no image": start_bundle(looked.members, rules, settings)}
    for title, images in chosen.items():
        made[title] = start_bundle(looked.members, rules, settings, looked.scores.take(images))
    return made


def row(title: str, comparison: Comparison, published: tuple[str, ...]) -> str:
    """Return a start bundle's line: its scores and its leads over the best tagger in each."""
    ours = comparison.rung(DECODED)
    cells = [title]
    for score in SCORES:
        best = max(published, key=lambda n: comparison.rung(n).scores["all"][score].value)
        lead = comparison.rung(best).differences["all"][score]
        cells += [
            f"{ours.scores['all'][score].value:.4f}",
            f"{lead.value:+.4f} [{lead.low:+.4f}, {lead.high:+.4f}]",
        ]
    cells += [f"{ours.decisions.tags_per_image:.2f}", f"{ours.contradictions:.2f}"]
    return f"| {' | '.join(cells)} |"


def run(root: Path, name: str, out: Path, seed: int) -> None:
    """Judge one set's start bundles and print the table."""
    settings = load_settings(changes={"seed": seed})
    looked, judging = parts(root, name, out, settings, seed)
    rules = load_rules(str(root / "data" / name / "tags.csv"))
    store = ScoreStore(out / "scores").members()
    published = tuple(f"{member.name} @ published" for member in store)
    true = judging.labels.nnz / judging.scores.n_images
    print(
        f"\n## {name}, seed {seed}: {judging.scores.n_images} images, {true:.2f} true tags each\n"
    )
    print("| looked at | macro-F1 | lead | micro-F1 | lead | tags | broken |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    said = False
    for title, bundle in bundles(name, looked, rules, settings, seed).items():
        comparison = compare_ladder(bundle, judging, settings, Silent())
        if not said:
            for rung in (comparison.rung(name) for name in published):
                macro, micro = (rung.scores["all"][score].value for score in SCORES)
                tags = rung.decisions.tags_per_image
                print(
                    f"| {rung.name} | {macro:.4f} | | {micro:.4f} | | {tags:.2f} "
                    f"| {rung.contradictions:.2f} |"
                )
            said = True
        print(row(title, comparison, published), flush=True)


def main() -> None:
    """Judge every set asked for."""
    let_idle_threads_sleep()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("start-results"))
    parser.add_argument("--sets", default="fashion,emoji")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for name in arguments.sets.split(","):
        run(arguments.folder, name, arguments.out / name, arguments.seed)


if __name__ == "__main__":
    main()
