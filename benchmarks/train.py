r"""What `tagstack train` gives on real pictures: a network against a transformer, and to a stack.

The folder is as `benchmarks/real.py` wants it. Networks are trained from random weights on pictures
of folds 0 to 2, drawn by group: for each number of pictures one of each kind, with the same epochs.
Fold 3 judges: two thirds of its groups fit stacks of the other taggers, with and without the one
of the first kind that learnt from most pictures, as ``fit --quick`` does; all differences are
paired on the last third, with intervals of 95 % over groups of images. Run again, it trains only
what is not there yet, and goes on where it was.

    python benchmarks/train.py FOLDER --out train-results --sets emoji \
        --kinds resnet,vit --pictures 250:40,1000:20,4000:8 [--size 48] [--seed 0]

A kind may be ``NAME=START``, with anything that ``train --from`` takes: a folder of weights that
were trained on another set, say. ``--search N`` adds the best of N trainings of those of the kinds
that are built in, each with the same epochs.

With ``--against COLUMN`` it shows instead what training against a column does: the first kind is
trained on the most pictures, and from there as long again with and without ``--against``. Tags that
say the column must be left out of the labels; ``--strengths`` are those of the reversal.

    python benchmarks/train.py FOLDER --out train-results --sets emoji --kinds resnet \
        --pictures 1000:15 --against style --without style:,tone: --strengths .3,1,3
"""

import csv
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from mirrored import lead, raw
from real import GROUPS, of_members, parser_of_sets, split, taggers
from stack_leads import QUICK, fitted, on_pairs, scorer

from tagstack.base_models.threads import let_idle_threads_sleep
from tagstack.configs.settings import load_settings
from tagstack.ensemble.bundle.dataset import Dataset, DatasetSource
from tagstack.ensemble.console.console import stages
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.rules.sources import load_rules
from tagstack.ensemble.tasks.fit import fit_images
from tagstack.ensemble.tasks.scoring import score_folder
from tagstack.ensemble.tasks.train import train_tagger
from tagstack.ensemble.training.request import TrainRequest

HEADINGS = "| macro-AP | | lead | micro-AP | | lead |\n"


def drawn(
    labels: Path, group: str, n_pictures: int, seed: int, out: Path, without: tuple[str, ...] = ()
) -> None:
    """Write the labels of whole groups of folds 0 to 2, as many as hold so many pictures.

    Tags that begin with one of ``without`` are left out.
    """
    with labels.open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["fold"] != "3"]
    names = sorted({row[group] for row in rows})
    place = {name: i for i, name in enumerate(np.random.default_rng(seed).permutation(names))}
    rows.sort(key=lambda row: place[row[group]])
    last = place[rows[min(n_pictures, len(rows)) - 1][group]]
    with out.open("w", newline="") as stream:
        table = csv.DictWriter(stream, [*rows[0]])
        table.writeheader()
        for row in rows:
            if place[row[group]] <= last:
                tags = [tag for tag in row["tags"].split() if not tag.startswith(without)]
                table.writerow({**row, "tags": " ".join(tags)})


def trained(
    data: Path, name: str, kind: str, given: tuple[int, int], size: int, seed: int, out: Path
) -> str:
    """Train a tagger unless it is there; print what it took and return its folder."""
    n_pictures, epochs = given
    title, _, start = kind.partition("=")
    title, _, search = title.partition("*")
    folder, labels = out / "trained" / f"{title}-{n_pictures}", out / f"train-{n_pictures}.csv"
    if not (folder / "tagger.toml").exists():
        drawn(data / "labels.csv", GROUPS[name], n_pictures, seed, labels)
        own = {"size": size, "epochs": epochs, "patience": 0, "left_out": 0.1}
        settings = load_settings(changes={"seed": seed, "threads": 1, "train": own})
        request = TrainRequest(
            images=(data / "images",),
            labels=labels,
            start=(start or title).replace("+", ","),
            out=folder,
            group=GROUPS[name],
            search=int(search or 0),
        )
        began = time.process_time()
        with stages() as progress:
            train_tagger(request, settings, progress)
        (folder / "cpu_seconds").write_text(f"{time.process_time() - began:.0f}")
    record = json.loads((folder / "training.json").read_text())
    if record.get("trials"):
        print(f"best of {len(record['trials'])}: {record['trials']}")
    print(
        f"{folder.name}: {record['n_training']} pictures learnt from, {len(record['tags'])} tags, "
        f"{epochs} epochs, {(folder / 'cpu_seconds').read_text()} CPU s; macro-AP "
        f"{max(record['macro_ap']):.3f} on {record['n_left_out']} left-out ones after epoch "
        f"{record['best_epoch']}",
        flush=True,
    )
    return str(folder)


def against_table(
    data: Path,
    name: str,
    kind: str,
    given: tuple[int, int],
    size: int,
    seed: int,
    out: Path,
    column: str,
    without: tuple[str, ...],
    strengths: tuple[float, ...],
) -> None:
    """Print what features tell of a column: of a plain tagger, and of two trained on from it."""
    (n_pictures, epochs), group = given, GROUPS[name]
    labels, root = out / f"against-{n_pictures}.csv", out / "against"
    drawn(data / "labels.csv", group, n_pictures, seed, labels, without)
    own = {"size": size, "epochs": epochs, "patience": 0}
    settings = load_settings(changes={"seed": seed, "threads": 1, "train": own})
    plain = TrainRequest(
        images=(data / "images",), labels=labels, start=kind, out=root / "plain", group=group
    )
    on = replace(plain, start=str(plain.out), out=root / "on")
    hidden = {
        strength: replace(
            plain, start=str(plain.out), out=root / f"hidden-{strength:g}", against=column
        )
        for strength in strengths
    }
    found = {}
    for strength, request in ((1.0, plain), (1.0, on), *hidden.items()):
        chosen = settings.train.model_copy(update={"against_strength": strength})
        with stages() as progress:
            found[request.out.name] = train_tagger(
                replace(request, overwrite=True),
                settings.model_copy(update={"train": chosen}),
                progress,
            )
    # The one that was only trained on is judged as the start of a training that is not done.
    judged = replace(plain, start=str(on.out), out=root / "judging", against=column, overwrite=True)
    short = settings.train.model_copy(update={"epochs": 1, "learning_rate": 1e-9})
    with stages() as progress:
        of_on = train_tagger(judged, settings.model_copy(update={"train": short}), progress)
    first = found[next(iter(hidden.values())).out.name].against
    assert first
    assert of_on.against
    rows = {
        "plain": (found["plain"], first.before),
        "trained on": (found["on"], of_on.against.before),
    }
    for strength, request in hidden.items():
        one = found[request.out.name]
        assert one.against
        rows[f"against {column}, strength {strength:g}"] = (one, one.against.after)
    n_left_out = found["plain"].n_left_out
    print(
        f"\n{found['plain'].n_training} pictures learnt from, {n_left_out} left out, "
        f"{found['plain'].n_tags} tags, {epochs} epochs each\n"
    )
    print(f"| tagger | macro-AP | {column} told | by chance | F1 by {column} | surely differing |")
    print("|---|--:|--:|--:|---|--:|")
    for title, (one, bias) in rows.items():
        assert bias
        assert bias.told
        print(
            f"| {title} | {one.macro_ap:.3f} | {bias.told:.3f} | {bias.chance:.3f} | "
            f"{bias.worst_f1:.3f} ({bias.worst}) to {bias.best_f1:.3f} ({bias.best}) | "
            f"{bias.n_sure} of {bias.n_looks} |"
        )


def kinds_table(test: Dataset, kinds: list[str], counts: list[int]) -> None:
    """Print each kind of network against the first, by the number of pictures."""
    for kind in kinds[1:]:
        print(f"\n| pictures {HEADINGS.replace('| |', f'| {kind} |')}|--:|--:|--:|--:|--:|--:|--:|")
        for n_pictures in counts:
            first, other = (raw(test.scores, f"{one}-{n_pictures}") for one in (kinds[0], kind))
            cells = lead(scorer(test, first), other, first)
            print(f"| {n_pictures} | {' | '.join(cells)} |", flush=True)


def stack_table(
    fit: Dataset, test: Dataset, plain: list[str], one_more: str, rules: Rules, seed: int
) -> None:
    """Print what the stack with one more member leads over the stack without."""
    settings = load_settings(changes={"seed": seed, "threads": 1, "stack": QUICK})
    found = []
    for members in (plain, [*plain, one_more]):
        began = time.process_time()
        stack, _ = fitted(of_members(fit, members), rules, settings)
        found.append(stack.predict_proba(of_members(test, members).scores))
        spent = time.process_time() - began
        print(f"\nStack of {', '.join(members)}: {stack.chosen_}, {spent:.0f} CPU s.", flush=True)
    without, with_it = found
    cells = lead(scorer(test, with_it), with_it, on_pairs(without, with_it))
    print(f"\n| one more member {HEADINGS.replace('| |', '| with |')}|---|--:|--:|--:|--:|--:|--:|")
    print(f"| {one_more} | {' | '.join(cells)} |", flush=True)


def run(
    root: Path,
    out: Path,
    name: str,
    kinds: list[str],
    given: dict[int, int],
    size: int,
    seed: int,
    *,
    stacked: bool,
) -> None:
    """Train, score, fit and print one set's tables."""
    out.mkdir(parents=True, exist_ok=True)
    data, labels = root / "data" / name, out / f"labels-{seed}.csv"
    images = split(data / "labels.csv", GROUPS[name], seed, labels)
    print(f"\n## {name}, seed {seed}, {size} pixels\n")
    own = [trained(data, name, kind, n, size, seed, out) for n in given.items() for kind in kinds]
    plain = taggers(root / "zoo" / name, out / "taggers") if stacked else []
    with stages() as progress:
        paths = [data / "images" / image for image in images]
        settings = load_settings(changes={"threads": 1})
        score_folder(paths, [*plain, *own], out / "scores", settings, progress)
    rules = load_rules(str(data / "tags.csv"))
    source = DatasetSource(scores=out / "scores", labels=labels, group=GROUPS[name])
    fit, test = (
        fit_images(replace(source, where=where), rules, settings, Silent())
        for where in ("part=fit", "part=test")
    )
    print(f"\n{fit.scores.n_images} pictures to fit, {test.scores.n_images} judge.")
    titles = [kind.partition("=")[0].partition("*")[0] for kind in kinds]
    kinds_table(test, titles, list(given))
    if not stacked:
        return
    one_more = f"{titles[0]}-{max(given)}"
    stack_table(fit, test, [Path(folder).name for folder in plain], one_more, rules, seed)


def main() -> None:
    """Run every set asked for."""
    let_idle_threads_sleep()
    parser = parser_of_sets(__doc__)
    parser.add_argument("--kinds", default="resnet,vit", help="architectures, comma-separated")
    parser.add_argument("--pictures", default="250:40,1000:20,4000:8", help="PICTURES:EPOCHS,...")
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--search", type=int, default=0, help="trainings to choose the best of")
    parser.add_argument("--no-stack", action="store_true", help="networks alone, no stack with one")
    parser.add_argument("--against", help="column to train against, instead of the rest")
    parser.add_argument("--strengths", default="1", help="of the reversed gradient")
    parser.add_argument("--without", default="", help="beginnings of tags to leave out with it")
    arguments = parser.parse_args()
    pairs = (text.partition(":") for text in arguments.pictures.split(","))
    given = {int(pictures): int(epochs) for pictures, _, epochs in pairs}
    kinds, (size, seed) = arguments.kinds.split(","), (arguments.size, arguments.seed)
    if arguments.search:
        kinds.append(f"searched*{arguments.search}=resnet+convnext")
    for name in arguments.sets.split(","):
        out = arguments.out / name
        if arguments.against:
            out.mkdir(parents=True, exist_ok=True)
            print(f"\n## {name}, seed {seed}, {size} pixels, against {arguments.against}")
            without = tuple(filter(None, arguments.without.split(",")))
            most = max(given.items())
            data = arguments.folder / "data" / name
            strengths = tuple(float(text) for text in arguments.strengths.split(","))
            against_table(
                data, name, kinds[0], most, size, seed, out, arguments.against, without, strengths
            )
        else:
            stacked = not arguments.no_stack
            run(arguments.folder, out, name, kinds, given, size, seed, stacked=stacked)


if __name__ == "__main__":
    main()
