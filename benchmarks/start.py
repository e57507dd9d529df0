"""What a command costs before it does anything: ``python benchmarks/start.py [--python OTHER]``.

Each line is a whole process, from start to exit: CPU seconds (user and system, of the process and
its children) and seconds on the clock, the median of several runs after one that warms up. The
bundle comes from a small demonstration with the embedded taggers, made first, so most of a `tag`
is start: imports, the bundle, the taggers' sessions and the look at their outputs ("first" means
with an empty cache folder, where nobody has looked at them yet). ``--python`` is the interpreter
of another environment, to hold another version against this one.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# As on a user's machine: modules that were compiled once are kept.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

IMAGES = 300  # of the demonstration: the fewest that it takes


def main() -> None:
    """Make a bundle, run each command several times, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="of the environment to measure")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        os.environ["TAGSTACK_HOME"] = str(Path(work) / "home")
        figures = measured(arguments.python, Path(work), arguments.repeats)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{'whole process':28} {'CPU s':>7} {'least':>7} {'most':>7} {'clock s':>8}")
    for name, runs in figures.items():
        cpu = [run[0] for run in runs]
        clock = statistics.median(run[1] for run in runs)
        print(
            f"{name:28} {statistics.median(cpu):7.2f} {min(cpu):7.2f} {max(cpu):7.2f} {clock:8.2f}"
        )
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def measured(python: str, work: Path, repeats: int) -> dict[str, list[tuple[float, float]]]:
    """Return CPU and clock seconds of each run of each command."""
    tagstack = [python, "-m", "tagstack"]
    run([*tagstack, "demo", "--out", str(work / "demo"), "--images", str(IMAGES)], work)
    new = sorted(path for path in (work / "demo" / "images" / "new").rglob("*.png"))
    bundle = ["--bundle", str(work / "demo" / "bundle")]
    for count in (1, 6):
        (work / f"{count}").mkdir()
        for path in new[:count]:
            (work / f"{count}" / path.name).write_bytes(path.read_bytes())
    tag = [*tagstack, "tag"]
    out, kept = (["--out", str(work / name)] for name in ("tags", "kept"))
    commands = {
        "tagstack --help": [*tagstack, "--help"],
        "import tagstack": [python, "-c", "import tagstack"],
        "tagstack models list": [*tagstack, "models", "list"],
        "tag, one picture": [*tag, str(work / "1"), *bundle, *out],
        "tag, six pictures": [*tag, str(work / "6"), *bundle, *out],
        "tag, one that is up to date": [
            *tag,
            str(work / "1"),
            *bundle,
            *kept,
        ],
        "explain, one picture": [*tagstack, "explain", str(new[0]), *bundle],
    }
    os.environ["TAGSTACK_HOME"] = str(work / "empty")
    figures = {"tag, one picture, first": [run(commands["tag, one picture"], work)]}
    for name, command in commands.items():
        run(command, work)
        figures[name] = [run(command, work) for _ in range(repeats)]
    return figures


def run(command: list[str], work: Path) -> tuple[float, float]:
    """Run a command to its end; return CPU and clock seconds."""
    shutil.rmtree(work / "tags", ignore_errors=True)  # or nothing would be left to tag
    began = time.perf_counter()
    with (work / "output.txt").open("w") as output:
        # Not in a checkout: `-m tagstack` shall mean the environment's.
        child = subprocess.Popen(command, cwd=work, stdout=output, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{(work / 'output.txt').read_text()}")
    return used.ru_utime + used.ru_stime, time.perf_counter() - began


if __name__ == "__main__":
    main()
