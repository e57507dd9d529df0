"""What level 1 is measured on: drawn JPEGs, and taggers of published architectures."""

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

N_TAGS = 10_861
CATEGORIES = (("9", 4), ("0", 8106), ("4", 2751))  # ratings, general, characters, as in WD v3
CONTRACT = """name = "{name}"
source = "random weights"
licence = "none"
[files]
tags = "selected_tags.csv"
[input]
layout = "{layout}"
colour = "{colour}"
size = {size}
geometry = "pad_square"
resample = "bicubic"
{scale}
batch = "dynamic"
[output]
name = "prediction"
kind = "probabilities"
[tags]
format = "selected_tags_csv"
categories = {{ "0" = "general", "4" = "character", "9" = "rating" }}
"""
NCHW = {"layout": "NCHW", "colour": "RGB", "scale": "mean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]"}
WD = {"layout": "NHWC", "colour": "BGR", "scale": 'range = "0-255"'}


def draw_jpeg(seed: int, width: int, height: int, quality: int = 80) -> bytes:
    """Return a soft picture with some grain, about as large a file as an illustration."""
    rng = np.random.default_rng(seed)
    rough = Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))
    image = np.asarray(rough.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    grain = rng.integers(-6, 7, (height, width, 1), dtype=np.int16)
    stream = io.BytesIO()
    pixels = (image + grain).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def draw_folder(folder: Path, n_images: int, size: tuple[int, int] = (768, 1024)) -> Path:
    """Fill a folder with different pictures."""
    folder.mkdir(parents=True)
    for i in range(n_images):
        (folder / f"{i:06d}.jpg").write_bytes(draw_jpeg(i, *size))
    return folder


def made_taggers(folder: Path, names: Sequence[str], size: int, **network: Any) -> list[str]:
    """Write networks of published architectures with random weights; return their folders.

    ``network`` makes them smaller, as the writer of each says.
    """
    import level1_networks
    import swin_network

    writers: dict[str, Callable[..., object]] = {
        "vit": level1_networks.vit, "convnext": level1_networks.convnext, "swin": swin_network.swin,
    }  # fmt: skip
    made = []
    for name in names:
        place = folder / name
        place.mkdir(parents=True)
        writers[name](place / "model.onnx", size=size, n_tags=N_TAGS, **network)
        describe(place, name, size, NCHW)
        made.append(str(place))
    return made


def describe(place: Path, name: str, size: int, layout: dict[str, str]) -> None:
    """Write the contract and the tag file of a made tagger."""
    (place / "tagger.toml").write_text(CONTRACT.format(name=name, size=size, **layout))
    codes = [code for code, count in CATEGORIES for _ in range(count)]
    with (place / "selected_tags.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(("tag_id", "name", "category", "count"))
        table.writerows((i, f"t{i}", code, 1) for i, code in enumerate(codes))
