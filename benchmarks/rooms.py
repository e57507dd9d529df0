"""How large the rooms are, and which of them a picture and a label row pass: ``python rooms.py``.

A room is a folder of the package. The way is measured, not read: functions of the package that run
between the two ends of it, in every thread, are counted by file. Three ways: ``tag`` of one picture
from its file to its sidecar with all that loads; one more picture through an open `Stack`; and a
row of a label file on its way to the truth that a fit sees. Bundle and labels come from a small
demonstration. ``--list`` names the files.
"""

import argparse
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import tagstack
from tagstack.configs.settings import Settings, load_settings

PACKAGE = Path(tagstack.__file__).resolve().parent
ROOMS = ("configs", "base_models", "meta", "ensemble")
IMAGES = 300  # of the demonstration: the fewest that it takes


def main() -> None:
    """Print the rooms and the ways through them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", action="store_true", help="name the files of each way")
    arguments = parser.parse_args()
    sizes()
    with tempfile.TemporaryDirectory() as work:
        ways = measured(Path(work))
    print(f"\n{'way':44} {'rooms':>5} {'files':>5}")
    for name, files in ways.items():
        rooms = {room_of(file) for file in files}
        print(f"{name:44} {len(rooms):5} {len(files):5}")
        if arguments.list:
            print("".join(f"    {file}\n" for file in sorted(files)), end="")


def sizes() -> None:
    """Print files and lines of each room, those below it included in none other."""
    files: Counter[str] = Counter()
    lines: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for path in sorted(PACKAGE.glob("*.py")) + [
        path for room in ROOMS for path in sorted((PACKAGE / room).rglob("*.py"))
    ]:
        if path.name == "__init__.py" and path.parent != PACKAGE:
            continue
        room = room_of(path.relative_to(PACKAGE).as_posix())
        n_lines = len(path.read_text("utf-8").splitlines())
        files[room] += 1
        lines[room] += n_lines
        most[room] = max(most[room], n_lines)
    print(f"{'room':44} {'files':>5} {'lines':>6} {'longest':>7}")
    for room in sorted(files):
        print(f"{room:44} {files[room]:5} {lines[room]:6} {most[room]:7}")
    print(f"{'all':44} {files.total():5} {lines.total():6} {max(most.values()):7}")


def room_of(file: str) -> str:
    """Return the folder of a file of the package."""
    return file.rpartition("/")[0] or "(top)"


def measured(work: Path) -> dict[str, set[str]]:
    """Return the files that each way passes."""
    from tagstack.ensemble.progress import Silent
    from tagstack.ensemble.tasks.demo import demo_settings, run_demo

    settings = demo_settings()
    run_demo(work / "demo", n_images=IMAGES, overwrite=False, settings=settings, progress=Silent())
    demo = work / "demo"
    first, second = sorted((demo / "images" / "new").rglob("*.png"))[:2]
    with tagstack.load(demo / "bundle") as stack:
        stack.tag(first)
        again = passed(lambda: stack.tag(second))
    return {
        "one picture through `tag`, all that loads": passed(lambda: tag(first, demo, work)),
        "one more picture through an open Stack": again,
        "a label row to the truth of a fit": passed(lambda: labels(demo, settings)),
    }


def tag(picture: Path, demo: Path, work: Path) -> None:
    """Tag one picture as the command does."""
    from tagstack.ensemble.progress import Silent
    from tagstack.ensemble.tasks.tag import tag_images
    from tagstack.ensemble.tasks.tag_request import TagRequest

    request = TagRequest(
        images=(picture,), bundle=demo / "bundle", out=work / "tags", formats=("txt",)
    )
    tag_images(request, load_settings(), Silent())


def labels(demo: Path, settings: Settings) -> None:
    """Read the labels of the fitted images as a fit does."""
    from tagstack.ensemble.bundle.dataset import DatasetSource
    from tagstack.ensemble.progress import Silent
    from tagstack.ensemble.rules.rule_set import Rules
    from tagstack.ensemble.tasks.fit import fit_images
    from tagstack.meta.labels.truth import Evidence

    (file,) = (demo / "images" / "fit").glob("labels.csv")
    source = DatasetSource(scores=demo / "scores" / "fit", labels=file)
    dataset = fit_images(source, Rules.none(), settings, Silent())
    Evidence.of(dataset.labels, dataset.unknown)


def passed(work: Callable[[], object]) -> set[str]:
    """Return the files of the package of which a function runs meanwhile, in any thread."""
    found: set[str] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_name != "<module>":
            found.add(frame.f_code.co_filename)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    inside = (Path(name).resolve() for name in found if name.endswith(".py"))
    return {
        path.relative_to(PACKAGE).as_posix()
        for path in inside
        if path.is_relative_to(PACKAGE) and path.relative_to(PACKAGE).parts[0] in ROOMS
    }


if __name__ == "__main__":
    main()
