"""Measures the shipped taggers and writes their README.md: ``python benchmarks/zoo/report.py``.

Every number of that file comes from here or from the records that the training wrote.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from quality import (
    NAMES,
    Quality,
    fresh_pictures,
    measure,
    shipped_taggers,
)
from recipes import (
    FIRST_RESERVED_SEED,
    FOLDER,
    MEASUREMENT_SEED,
    RECIPES,
    RECORD_FILE,
    VALIDATION_SEED,
)

from tagstack.base_models.atomic import write_text
from tagstack.base_models.zoo.gallery import Picture
from tagstack.base_models.zoo.tags import VOCABULARY


def main() -> None:
    """Measure and write, for the folder and the number of pictures on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--zoo", type=Path, default=FOLDER, help="folder of the taggers' folders")
    parser.add_argument("--images", type=int, default=3000)
    arguments = parser.parse_args()
    pictures = fresh_pictures(arguments.images, MEASUREMENT_SEED)
    write_text(arguments.zoo / "README.md", report_text(arguments.zoo, pictures))


def report_text(zoo: Path, pictures: list[Picture]) -> str:
    """Return the README of a zoo folder, with its taggers measured on ``pictures``."""
    records = {name: json.loads((zoo / name / RECORD_FILE).read_text()) for name in NAMES}
    taggers = {tagger.name: tagger for tagger in shipped_taggers(zoo)}
    scores = {
        name: [measure(taggers[name], pictures, clean=clean) for clean in (True, False)]
        for name in NAMES
    }
    return _TEMPLATE.format(
        n_tags=len(VOCABULARY),
        n_images=len(pictures),
        reserved=FIRST_RESERVED_SEED,
        validation=VALIDATION_SEED,
        measurement=MEASUREMENT_SEED,
        recipes="\n".join(_recipe_row(name, records[name], zoo) for name in NAMES),
        scores="\n".join(_score_row(name, *scores[name]) for name in NAMES),
        lacks="\n".join(
            f"- `{recipe.name}`: {', '.join(f'`{tag}`' for tag in sorted(recipe.lacks))}."
            for recipe in RECIPES
        ),
    )


def _recipe_row(name: str, record: dict[str, Any], zoo: Path) -> str:
    size_mb = (zoo / name / "model.onnx").stat().st_size / 1e6
    cells = (
        f"`{name}`",
        record["architecture"],
        f"{record['n_parameters']:,}",
        f"{size_mb:.2f}",
        record["loss"],
        record["seed"],
        f"{record['n_images']:,}",
        record["epochs"],
        f"{record['steps']:,}",
        f"{record['learning_rate']:g}",
        f"{record['training_s'] / 60:.0f}",
    )
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _score_row(name: str, clean: Quality, noisy: Quality) -> str:
    cells = [f"`{name}`", f"{clean.n_tags}"]
    for quality in (clean, noisy):
        cells += [f"{quality.macro_ap:.3f}", f"{quality.micro_ap:.3f}", f"{quality.micro_f1:.3f}"]
    return f"| {' | '.join(cells)} |"


_TEMPLATE = """\
# The demonstration's taggers

Written by `python benchmarks/zoo/report.py`; do not edit by hand.

Three small networks that tag drawn pictures of paper dolls with {n_tags} Danbooru tags. The
pictures come from the generator in this folder, so these taggers know nothing about real
illustrations: they exist to show every stage of the stack without a download.

## Training

`python benchmarks/zoo/train.py --out FOLDER` (extras `train` and `cpu`), one thread each,
on noisy labels: tags dropped or mistaken as `noise.py` says, implications re-applied.

| tagger | kind | parameters | MB | loss | seed | images | epochs | steps | rate | minutes |
|---|---|--:|--:|---|--:|--:|--:|--:|--:|--:|
{recipes}

AdamW with weight decay 0.05, one-cycle learning rate (12 % warm-up to the rate above, then a
cosine), batches of 64, exponentially averaged weights (decay 0.997), bfloat16 autocast. Minutes are
wall time on a shared machine, drawing not included. `recipes.py` holds everything that differs;
`training.json` beside each model is its record.

Seeds from {reserved} on are reserved: 1000 to 1002 for training, {validation} for the published
thresholds, {measurement} for the table below. Demonstrations and tests draw from lower seeds.

## Measured

{n_images:,} fresh pictures of seed {measurement}, against the true tags and against the noisy ones,
over the tags that the tagger knows and that occur. F1 is taken at the published thresholds. The
ConvNeXt's recipe was changed once, after a look at seed 77; nothing was chosen on this table.

| tagger | tags | macro-AP, true | micro-AP | micro-F1 | macro-AP, noisy | micro-AP | micro-F1 |
|---|--:|--:|--:|--:|--:|--:|--:|
{scores}

Each tagger knows other tags, so small differences between the rows mean little.

## Tags they lack

{lacks}

`doll_resnet` calls `grey_hair` by its old name `silver_hair`; its contract holds the alias.
"""


if __name__ == "__main__":
    main()
