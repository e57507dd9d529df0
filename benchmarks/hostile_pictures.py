"""What pictures made to be expensive cost: CPU of thin ones, memory by format and mode.

Thin pictures are framed for 448 x 448 pixels, beside their transposes. Memory is the peak of a
process of its own that decodes and frames one picture, less what an empty run of it takes, against
what `memory.decoding_bytes` says beforehand.

    python benchmarks/hostile_pictures.py [--megapixels 20]
"""

import argparse
import io
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tagstack.base_models.contract import Input
from tagstack.base_models.pictures.framed_pixels import framed_picture
from tagstack.base_models.pictures.images import DecodingBudget, open_image
from tagstack.base_models.pictures.memory import decoding_bytes
from tagstack.base_models.pictures.preprocess import Framing, framing_from_input

THIN = [(800, 20_000), (20_000, 800), (1, 65_500), (65_500, 1), (1, 100_000), (2000, 2000)]
LARGE = 10**12


def framing() -> Framing:
    """Return how most published taggers see a picture."""
    values = {
        "layout": "NHWC",
        "colour": "BGR",
        "size": 448,
        "geometry": "pad_square",
        "resample": "bicubic",
        "range": "0-255",
        "batch": 1,
    }
    return framing_from_input(Input.model_validate(values))


def frame(content: bytes) -> None:
    """Decode and frame a file."""
    framed_picture(content, [framing()], max_pixels=LARGE, budget=DecodingBudget(LARGE))


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return a picture as a file."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def kinds(side: int) -> dict[str, bytes]:
    """Return a square picture in every kind of file that takes memory in its own way."""
    grey = np.tile((np.arange(side) * 255 // side).astype(np.uint8), (side, 1))
    rgb = Image.fromarray(np.stack([grey, grey.T, grey[::-1]], axis=2))
    rgba = rgb.copy()
    rgba.putalpha(Image.fromarray(grey))
    wide = Image.fromarray(grey.astype(np.uint16) * 257)
    return {
        "PNG RGB": saved(rgb, "PNG", compress_level=1),
        "PNG RGBA": saved(rgba, "PNG", compress_level=1),
        "PNG P": saved(rgb.quantize(64), "PNG"),
        "PNG 16 bits": saved(wide, "PNG", compress_level=1),
        "JPEG": saved(rgb, "JPEG"),
        "JPEG progressive": saved(rgb, "JPEG", progressive=True),
        "JPEG CMYK": saved(rgb.convert("CMYK"), "JPEG"),
        "JPEG 2000": saved(rgb, "JPEG2000", quality_mode="rates", quality_layers=[80]),
        "WebP": saved(rgb, "WEBP", method=0),
        "WebP RGBA": saved(rgba, "WEBP", method=0),
        "AVIF": saved(rgb, "AVIF", speed=10),
        "GIF": saved(rgb.quantize(64), "GIF"),
        "TIFF": saved(rgb, "TIFF", compression="tiff_lzw"),
        "BMP": saved(rgb, "BMP"),
    }


def peak(path: str) -> int:
    """Return the peak memory in bytes of a process that frames a file, or nothing."""
    command = [sys.executable, __file__, "--frame", path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout) * 1024


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--megapixels", type=int, default=20)
    parser.add_argument("--frame")
    options = parser.parse_args()
    if options.frame is not None:
        if options.frame:
            frame(Path(options.frame).read_bytes())
        # Not getrusage: that counts what this process was before it became Python.
        status = Path("/proc/self/status").read_text()
        print(status.partition("VmHWM:")[2].split()[0])
        return
    print("pixels            CPU s")
    for size in THIN:
        content = saved(Image.new("RGB", size, (200, 30, 90)), "PNG")
        began = time.process_time()
        frame(content)
        print(f"{size[0]:>7} x {size[1]:<7} {time.process_time() - began:6.2f}", flush=True)
    side = round((options.megapixels * 1e6) ** 0.5)
    print(f"\n{options.megapixels} megapixels      bytes/pixel  said", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        empty, path = peak(""), Path(folder) / "picture"
        for name, content in kinds(side).items():
            path.write_bytes(content)
            taken = peak(str(path)) - empty - len(content)
            said = decoding_bytes(open_image(content, max_pixels=LARGE))
            print(f"{name:18} {taken / side**2:12.1f} {said / side**2:5.1f}", flush=True)


if __name__ == "__main__":
    main()
