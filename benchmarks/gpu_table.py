"""The tables of docs/engines.md that a report of `gpu.py` fills.

    python benchmarks/gpu_table.py report.json docs/engines.md

Without a report every cell says "unmeasured": a figure stands there only if a report has it.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- figures of benchmarks/gpu.py -->", "<!-- end of the figures -->"
BACKENDS = ("tensorrt", "ort-cuda", "ort-tensorrt")
NETWORKS = ("vit", "convnext")
ROWS = (
    "torch eager fp32", "torch eager tf32", "torch eager fp16", "torch compile fp16",
    "ort-cuda fp32", "ort-cuda tf32", "ort-cuda fp16", "ort-tensorrt tf32", "ort-tensorrt fp16",
    "tensorrt fp32", "tensorrt tf32", "tensorrt fp16", "tensorrt bf16", "trtexec tf32",
)  # fmt: skip
BATCHES = (1, 8, 32)
UNMEASURED = "unmeasured"
OTHERS = {
    "`ort-cuda` loads": ("loads", "ort-cuda"),
    "`ort-tensorrt` loads": ("loads", "ort-tensorrt"),
    "`tensorrt` loads": ("loads", "tensorrt"),
    "1,500 JPEGs from file to store, `tensorrt` fp16": ("pipeline", "tensorrt fp16: images/s"),
    "of that the GPU is busy, `tensorrt` fp16": ("pipeline", "tensorrt fp16: GPU busy"),
    "the same, `ort-cuda` fp16": ("pipeline", "ort-cuda fp16: images/s"),
    "of that the GPU is busy, `ort-cuda` fp16": ("pipeline", "ort-cuda fp16: GPU busy"),
    "XGBoost meta-model, processor": ("trees", "cpu: fit"),
    "XGBoost meta-model, GPU": ("trees", "cuda: fit"),
    "JPEGs decoded by Pillow": ("decode", "Pillow, all cores"),
    "JPEGs decoded by nvJPEG": ("decode", "nvJPEG (torchvision)"),
    "pixels of the two apart": ("decode", "pixels apart, mean"),
}


def tables(report: Mapping[str, Any] | None) -> str:
    """Return both tables as Markdown, of a report or of none."""
    report = report or {"networks": [], "figures": [], "machine": ""}
    speeds = {
        (line["network"], line["row"], line["batch"]): line
        for line in report["networks"]
        if line["milliseconds"] is not None
    }
    head = " | ".join(f"{network} {batch}" for network in NETWORKS for batch in BATCHES)
    lines = [
        f"Images a second at 448 by batch, and the largest difference of logits from `ort` in fp32"
        f"{' on ' + report['machine'] if report['machine'] else ''}:",
        "",
        f"| | {head} | difference |",
        f"|---|{'--:|' * (len(NETWORKS) * len(BATCHES) + 1)}",
    ]
    for row in ROWS:
        own = [speeds.get((network, row, batch), {}) for network in NETWORKS for batch in BATCHES]
        cells = [_cell(line.get("images_per_s"), ".0f") for line in own]
        apart = [line["max_difference"] for line in own if line.get("max_difference") is not None]
        lines.append(f"| {row} | {' | '.join(cells)} | {_cell(max(apart, default=None), '.2g')} |")
    found = {(one["section"], one["name"]): one for one in report["figures"]}
    lines += ["", "| | |", "|---|--:|"]
    for text, key in OTHERS.items():
        one = found.get(key, {"value": None, "unit": ""})
        value = _cell(one["value"], ".4g")
        if key[0] == "loads" and one["value"] is not None:
            value = "yes" if one["value"] else "no"
        unit = one["unit"] if one["value"] is not None else ""
        lines.append(f"| {text} | {f'{value} {unit}'.strip()} |")
    return "\n".join(lines)


def filled(page: str, report: Mapping[str, Any] | None) -> str:
    """Return a page with what lies between its marks replaced."""
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n\n{tables(report)}\n\n{END}{after}"


def _cell(value: float | None, form: str) -> str:
    return UNMEASURED if value is None else format(value, form)


def main() -> None:
    """Fill the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("page", type=Path)
    arguments = parser.parse_args()
    report = json.loads(arguments.report.read_text())
    arguments.page.write_text(filled(arguments.page.read_text(), report))


if __name__ == "__main__":
    main()
