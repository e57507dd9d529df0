"""How often `models check --labels` names a wrong framing, and how often it accuses a right one.

The folder is as `benchmarks/real.py` wants it. Every tagger of a set scores some pictures of fold
3, which it was not trained on, in every way that the check tries, and once more under a contract
that says squash for pad or the reverse. Then the check's verdict is taken on draws of 24 to 200
of these pictures: a right contract should be accused in 5 % of the draws at most.

    python benchmarks/framing.py FOLDER --out real-results [--sets fashion] [--pictures 800]
"""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from real import parser_of_sets, taggers

from tagstack.base_models.pictures.images import decode, open_image
from tagstack.base_models.taggers.tagger import Tagger, load_tagger
from tagstack.ensemble.tasks.framing_search import as_if, logits_of_ways, looked_at, ways
from tagstack.ensemble.tasks.framing_verdict import best_way, losses

SIZES = (24, 50, 100, 200)
WRONG = {"pad_square": "squash", "squash": "pad_square"}


def verdicts(
    tagger: Tagger, pictures: list[Image.Image], truth: np.ndarray, n_draws: int
) -> dict[int, list[str]]:
    """Return, for each number of pictures, the line that the check names in each draw."""
    columns, tried = looked_at(truth), ways(tagger.contract.input)

    def shown() -> Iterator[Image.Image]:
        return iter(pictures)

    shape = (len(pictures), columns)
    logits = logits_of_ways(tagger, tried, shown(), shape, lambda done, total: None)
    rng, found = np.random.default_rng(0), dict[int, list[str]]()
    for size in SIZES:
        draws = [rng.choice(len(pictures), size, replace=False) for _ in range(n_draws)]
        best = []
        for drawn in draws:
            labels = truth[drawn][:, columns]
            loss = np.array([losses(own[drawn], labels) for own in logits])
            way = best_way(tried, loss)
            best.append("nothing" if way is None else way.toml)
        found[size] = best
    return found


def run(root: Path, out: Path, name: str, n_pictures: int, n_draws: int) -> None:
    """Print one set's table."""
    data = root / "data" / name
    with (data / "labels.csv").open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["fold"] == "3"]
    chosen = np.random.default_rng(0).permutation(len(rows))[:n_pictures]
    pictures = [
        decode(open_image((data / "images" / rows[i]["image"]).read_bytes(), max_pixels=1 << 28))
        for i in chosen
    ]
    tags = [frozenset(rows[i]["tags"].split()) for i in chosen]
    print(f"| {name} | contract | " + " | ".join(f"{size} pictures" for size in SIZES) + " |")
    print("|---|---|" + "--:|" * len(SIZES))
    for folder in taggers(root / "zoo" / name, out / "taggers"):
        right = load_tagger(Path(folder), floor=1e-4, threads=1, smoke=False)
        truth = np.array([[tag in own for tag in right.vocabulary.tags] for own in tags])
        known = np.asarray(truth.any(axis=1))
        seen = [picture for picture, one in zip(pictures, known, strict=True) if one]
        geometry = right.contract.input.geometry
        wrong = as_if(right, {"geometry": WRONG[geometry]})
        for said, tagger, wanted in (
            ("right: accused", right, None),
            (f"{WRONG[geometry]}: mended", wrong, f'geometry = "{geometry}"'),
        ):
            named = verdicts(tagger, seen, truth[known], n_draws)
            shares = [
                np.mean([(line != "nothing") if wanted is None else line == wanted for line in one])
                for one in named.values()
            ]
            cells = " | ".join(f"{share:.0%}" for share in shares)
            print(f"| {right.name} | {said} | {cells} |", flush=True)


def main() -> None:
    """Read the command line and print a table for each set."""
    parser = parser_of_sets(__doc__ or "")
    parser.add_argument("--pictures", type=int, default=800)
    parser.add_argument("--draws", type=int, default=40)
    arguments = parser.parse_args()
    for name in arguments.sets.split(","):
        out = arguments.out / name
        run(arguments.folder, out, name, arguments.pictures, arguments.draws)


if __name__ == "__main__":
    main()
