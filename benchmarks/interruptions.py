"""How soon one Ctrl-C or SIGTERM ends a command: ``python benchmarks/interruptions.py``.

Each command is run once to its end, then several times with a signal at a random moment of that
time; services are asked to end once they answer. Shown are the longest wait from signal to end,
by the clock, the exit codes, and how many runs said anything but one line about going on.

    python benchmarks/interruptions.py [--trials 4] [--commands fit,tag,...] [--seed 0]
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np

from tagstack.base_models.zoo.gallery import draw_gallery
from tagstack.ensemble.console.interruption import MESSAGE

TAGSTACK = Path(sys.executable).with_name("tagstack")
MODELS = "doll_resnet,doll_vit"
CONFIG = """
threads = 1
[score]
part_images = 64
[stack]
folds = 3
[stack.tuning]
trials = 8
"""
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
SERVICES = {"serve": "/tags", "review": "http://", "watch": "images have their tags"}


def commands(root: Path) -> dict[str, list[str]]:
    """Return the arguments of every command."""
    scored = ["--scores", f"{root}/scores", "--labels", f"{root}/labels.csv"]
    source, held = [*scored, "--where", "part=fit"], [*scored, "--where", "part=held"]
    config = ["--config", f"{root}/config.toml"]
    bundle, images, out = ["--bundle", f"{root}/bundle"], f"{root}/images", ["--out", f"{root}/out"]
    return {
        "score": ["score", images, "--models", MODELS, "--scores", f"{root}/out", *config],
        "fit": ["fit", *source, "--bundle", f"{root}/out", *config],
        "compare": ["compare", *bundle, *held, *out, *config],
        "calibrate": ["calibrate", *bundle, *held, *config],
        "start": ["start", "--scores", f"{root}/scores", "--bundle", f"{root}/out", *config],
        "tag": ["tag", images, *bundle, *out, "--threads", "1"],
        "watch": ["watch", images, *bundle, *out, "--threads", "1"],
        "review": ["review", "--images", images, *bundle, *out, "--port", "0"],
        "serve": ["serve", *bundle, "--port", "0"],
        "demo": ["demo", *out, "--images", "300"],
    }


def collection(root: Path, n_images: int) -> None:
    """Draw, score and fit what the commands need."""
    (root / "config.toml").write_text(CONFIG)
    first, *rows = draw_gallery(root / "images", n_images=n_images, seed=5).open().readlines()
    parted = (f"{'held' if i < n_images // 3 else 'fit'},{row}" for i, row in enumerate(rows))
    (root / "labels.csv").write_text("".join([f"part,{first}", *parted]))
    made = commands(root)
    run(made["score"])
    (root / "out").rename(root / "scores")
    run([*made["fit"], "--quick"])
    (root / "out").rename(root / "bundle")


def run(arguments: list[str]) -> float:
    """Run a command to its end and return the seconds it took."""
    began = time.monotonic()
    subprocess.run([TAGSTACK, *arguments], check=True, capture_output=True)
    return time.monotonic() - began


def interrupted(
    arguments: list[str], number: signal.Signals, after_s: float, mark: str
) -> tuple[float, int, str]:
    """Return how long a command took to end after a signal, its exit code and its last words.

    The signal comes so many seconds after the start, or as many after a mark in what it says.
    """
    both = subprocess.STDOUT
    with subprocess.Popen(
        [TAGSTACK, *arguments], stdout=subprocess.PIPE, stderr=both, text=True, bufsize=1
    ) as process:
        said, ready = list[str](), threading.Event()

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                said.append(line)
                if mark and re.search(mark, line):
                    ready.set()

        reader = threading.Thread(target=read)
        reader.start()
        if mark:
            ready.wait(120)
        time.sleep(after_s)
        begun = process.poll() is None
        process.send_signal(number)
        sent = time.monotonic()
        process.wait()
        took = time.monotonic() - sent
        reader.join()
    return (took if begun else -1.0), process.returncode, "".join(said)


def main() -> None:
    """Interrupt every command and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--commands", default="")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        os.environ["TAGSTACK_HOME"] = f"{root}/home"
        collection(root, options.images)
        made = commands(root)
        for name in options.commands.split(",") if options.commands else made:
            print(measured(name, made[name], root, options.trials, rng), flush=True)


def measured(
    name: str, arguments: list[str], root: Path, n_trials: int, rng: np.random.Generator
) -> str:
    """Interrupt one command some times; return the table's row."""
    mark = SERVICES.get(name, "")
    whole = 1.0 if mark else run(arguments)
    waits, codes, odd = [0.0], Counter[int](), 0
    for trial in range(n_trials):
        shutil.rmtree(root / "out", ignore_errors=True)
        number = list(CODES)[trial % 2]
        wait, code, said = interrupted(arguments, number, rng.uniform(0.1, 0.9) * whole, mark)
        if wait < 0:  # it was through before
            continue
        waits.append(wait)
        codes[code] += 1
        fine = code == CODES[number] and said.endswith(MESSAGE + "\n")
        odd += "Traceback" in said or not (fine or (code == 0 and name in ("serve", "review")))
    shutil.rmtree(root / "out", ignore_errors=True)
    return (
        f"{name:<10} {whole:6.1f} s   ended within {max(waits):5.2f} s   "
        f"codes {dict(sorted(codes.items()))}, {odd} odd"
    )


if __name__ == "__main__":
    main()
