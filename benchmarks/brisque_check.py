"""Hold our BRISQUE to that of the package `brisque` on pictures of one's own.

    pip install brisque==0.2.0 opencv-python-headless "numpy<2.3"    # beside tagstack
    python benchmarks/brisque_check.py IMAGES... [--every 100]

Prints how many pictures were scored by both, and the largest difference. (With a newer NumPy the
package ends in a TypeError: it makes numbers of arrays.)
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from tagstack.base_models.scoring.sources import find_images
from tagstack.configs.settings import load_settings
from tagstack.ensemble.workshop.quality.scorers.brisque import brisque


def pixels_of(path: Path) -> np.ndarray:
    """Return a picture on white, shape (height, width, 3), uint8."""
    with Image.open(path) as opened:
        image = opened.convert("RGBA")
    ground = Image.new("RGBA", image.size, "white")
    ground.alpha_composite(image)
    return np.asarray(ground.convert("RGB"))


def main() -> None:
    """Score by both and compare."""
    from brisque import BRISQUE

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--every", type=int, default=1, help="one picture of so many")
    own = parser.parse_args()
    found = find_images(own.images, extensions=load_settings().score.extensions)
    theirs, furthest = BRISQUE(url=False), (0.0, "")
    names = found.names[:: own.every]
    for name in names:
        pixels = pixels_of(found.path(name))
        furthest = max(furthest, (abs(brisque(pixels) - theirs.score(pixels)), name))
    print(f"{len(names)} pictures, furthest apart by {furthest[0]:.1e} ({furthest[1]})")


if __name__ == "__main__":
    main()
