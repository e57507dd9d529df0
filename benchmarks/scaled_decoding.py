"""How far scores move when JPEGs are decoded at a fraction of their size.

    python benchmarks/scaled_decoding.py [--scenes 200] [--pictures 50] [--seed 0]
        [--taggers FOLDER,FOLDER ...] [--report FILE]

Each picture is framed twice, with ``score.scaled_decoding`` on and off, and scored by the shipped
taggers and those named. Two materials: scenes as the shipped taggers know them, drawn at 1152 x
1536, and soft pictures with grain. Logits are compared where either is above the store's floor,
decisions at the published thresholds.
"""

import argparse
import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from level1_material import draw_jpeg
from numpy.typing import NDArray
from scipy.special import expit

from tagstack.base_models.atomic import write_text
from tagstack.base_models.pictures.framed_pixels import framed_picture, reduction
from tagstack.base_models.pictures.images import DecodingBudget, open_image
from tagstack.base_models.runtimes.selection import REFERENCE
from tagstack.base_models.taggers.fingerprint import floor_logit
from tagstack.base_models.taggers.registry import resolve
from tagstack.base_models.taggers.tagger import Tagger, load_tagger
from tagstack.base_models.zoo.drawing import draw_scene
from tagstack.base_models.zoo.scene import sample_scene
from tagstack.configs.settings import load_settings

SHIPPED = ("doll_convnext", "doll_resnet", "doll_vit")
SIZE = (1152, 1536)
QUALITY = 85


@dataclass(frozen=True, kw_only=True)
class Moved:
    """How far one tagger's scores moved on one material; differences are of logits."""

    tagger: str
    material: str
    n_images: int
    factors: dict[int, int]
    n_pairs: int
    mean: float
    p999: float
    largest: float
    n_positives: int
    n_flips: int


def scenes(n_images: int, seed: int) -> Iterator[bytes]:
    """Yield drawn scenes as JPEGs."""
    for index in range(n_images):
        stream = io.BytesIO()
        scene = replace(sample_scene(seed, index), size=SIZE)
        draw_scene(scene).save(stream, "JPEG", quality=QUALITY)
        yield stream.getvalue()


def moved(name: str, material: str, pictures: list[bytes]) -> Moved:
    """Return how far a tagger's scores move on pictures."""
    floor = load_settings().score.floor
    exact = load_tagger(resolve(name), floor=floor, threads=1, runtime=REFERENCE)
    scaled = load_tagger(
        resolve(name), floor=floor, threads=1, runtime=REFERENCE, scaled_decoding=True
    )
    expected, found = (_logits(tagger, pictures) for tagger in (exact, scaled))
    seen = np.maximum(expected, found) > floor_logit(floor)
    difference = np.abs(found - expected)[seen]
    wanted, got = (expit(x) >= exact.published_thresholds for x in (expected, found))
    sizes = [open_image(data, max_pixels=1 << 30).size for data in pictures]
    factors = [reduction(size, scaled.framing) for size in sizes]
    exact.close()
    scaled.close()
    return Moved(
        tagger=exact.name,
        material=material,
        n_images=len(pictures),
        factors={factor: factors.count(factor) for factor in sorted(set(factors))},
        n_pairs=int(seen.sum()),
        mean=round(float(difference.mean()), 4),
        p999=round(float(np.quantile(difference, 0.999)), 3),
        largest=round(float(difference.max()), 3),
        n_positives=int(wanted.sum()),
        n_flips=int((wanted != got).sum()),
    )


def _logits(tagger: Tagger, pictures: list[bytes]) -> NDArray[np.float32]:
    pixels = []
    for data in pictures:
        budget = DecodingBudget(1 << 30)
        framed = framed_picture(data, [tagger.framing], max_pixels=1 << 30, budget=budget)
        pixels.append(framed.pixels[tagger.framing])
    return tagger.logits(np.stack(pixels))


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description="Scores with scaled decoding and without.")
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--pictures", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--taggers", default="")
    parser.add_argument("--report", type=Path)
    given = parser.parse_args()
    material = {
        "scenes": list(scenes(given.scenes, given.seed)),
        "soft pictures": [draw_jpeg(given.seed + i, *SIZE) for i in range(given.pictures)],
    }
    names = [*SHIPPED, *(name for name in given.taggers.split(",") if name)]
    found = [moved(name, kind, data) for kind, data in material.items() if data for name in names]
    print("| tagger | pictures | decoded at 1/ | mean | 99.9 % within | largest | tags that flip |")
    print("|---|---|---|--:|--:|--:|--:|")
    for row in found:
        factors = ", ".join(map(str, row.factors))
        share = row.n_flips / max(row.n_positives, 1)
        print(
            f"| {row.tagger} | {row.material}, {row.n_images} | {factors} | {row.mean} "
            f"| {row.p999} | {row.largest} | {share:.1%} of {row.n_positives} |"
        )
    if given.report:
        write_text(given.report, json.dumps([asdict(row) for row in found], indent=1))


if __name__ == "__main__":
    main()
