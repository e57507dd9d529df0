"""What is left when a command is killed at a random file operation, and run again.

Every trial works on a copy of a small collection: a child process runs the command and kills
itself (SIGKILL) at the n-th operation that changes the disk, n drawn anew each time; then the same
command runs to its end. Counted are results that differ from those of an undisturbed run (lost),
files that nothing can read (half-written), and staging files or folders that are still there
afterwards (left behind). All three must be 0.

    python benchmarks/kills.py [--kills 1000] [--commands score,tag,watch,...] [--seed 0]

What changes a training folder (``lint``, ``filter``, ``prune``) is taken back afterwards by every
undo file that it left, and must end at the folder as it was; ``undo`` is killed as well.

A child is forked from a process that has imported everything already, so that a trial costs its
command alone. The user's registry and cache lie in the copy, too. ``models pull`` asks a hub on
this machine that holds a contract's files in miniature. The process in which an unknown file is
tried is left out, as it writes nothing; the note that it passed is written.
"""

import argparse
import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from local_hub import local_hub

from tagstack.base_models.atomic import TEMPORARY, file_sha256
from tagstack.base_models.scores.store import ScoreStore
from tagstack.base_models.taggers.pulling import plan_pull, pull, pulled_before
from tagstack.base_models.taggers.registry import add_tagger, package_folder, resolve
from tagstack.base_models.trials import Trial
from tagstack.base_models.zoo.gallery import draw_gallery
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings, load_settings
from tagstack.ensemble.bundle.dataset import DatasetSource
from tagstack.ensemble.bundle.files import load_bundle
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.tasks.calibrate import CalibrateRequest, calibrate_bundle
from tagstack.ensemble.tasks.dataset_filter import FilterRequest, filter_pictures
from tagstack.ensemble.tasks.dataset_lint import LintRequest, lint_captions
from tagstack.ensemble.tasks.dataset_prune import prune_tags
from tagstack.ensemble.tasks.fit import FitRequest, fit_bundle
from tagstack.ensemble.tasks.scoring import score_folder
from tagstack.ensemble.tasks.tag import tag_images
from tagstack.ensemble.tasks.tag_request import TagRequest
from tagstack.ensemble.tasks.watch import look_once
from tagstack.ensemble.workshop.dataset.filtering import Filters
from tagstack.ensemble.workshop.dataset.undo import undo

TRAINING_SET = ("lint", "filter", "prune", "undo")
COMMANDS = ",".join(("score,tag,watch,fit,calibrate,add,pull", *TRAINING_SET))
PULLED = "wd-vit-tagger-v3"
TAGGERS = ("doll_resnet", "doll_vit")
QUICK = {
    "threads": 1,
    "stack": {"learners": [], "folds": 2, "tuning": {"trials": 0}, "outer_fold": False,
              "member_worth": "none"},
    "watch": {"settle_seconds": 0.01},
}  # fmt: skip
CHANGING = frozenset(
    ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink",
     "shutil.rmtree")
)  # fmt: skip


@dataclass(frozen=True)
class Command:
    """One command as the trials need it: how it runs, and what its result is."""

    run: Callable[[Path, Settings], object]
    result: Callable[[Path], object]


def commands() -> dict[str, Command]:
    """Return what can be killed."""

    def source(root: Path) -> DatasetSource:
        return DatasetSource(scores=root / "scores", labels=root / "images/labels.csv")

    def fit(root: Path, settings: Settings) -> object:
        request = FitRequest(
            source=source(root), bundle=root / "bundle", rules=None, overwrite=True
        )
        return fit_bundle(request, settings, Silent())

    def calibrate(root: Path, settings: Settings) -> object:
        request = CalibrateRequest(bundle=root / "bundle", source=source(root), objective="f1")
        return calibrate_bundle(request, settings, Silent())

    def tagging(root: Path) -> TagRequest:
        return TagRequest(
            images=(root / "new",), bundle=root / "bundle", out=root / "out",
            formats=("txt", "csv"),
        )  # fmt: skip

    def tag(root: Path, settings: Settings) -> object:
        return tag_images(tagging(root), settings, Silent())

    def watch(root: Path, settings: Settings) -> object:
        return look_once(tagging(root), settings, lambda: nullcontext(Silent()))

    def score(root: Path, settings: Settings) -> object:
        return score_folder([root / "new"], TAGGERS, root / "fresh", settings, Silent())

    def add(root: Path, settings: Settings) -> object:
        folder = package_folder("tagstack.base_models.zoo", "doll_vit")
        there = (root / "home/taggers/doll_vit").exists()
        try:
            return add_tagger(folder, settings.score, copy=True)
        except TagstackError:
            if not there:
                raise
            return None  # it had been added when the kill came

    def fetched(root: Path, settings: Settings) -> object:
        if pulled_before(PULLED):
            return None
        return pull(plan_pull(PULLED), settings.score, lambda *_: None)

    def entered(name: str) -> object:
        return sorted(file_sha256(path) for path in resolve(name).iterdir())

    return {
        "score": Command(score, lambda root: _scores(root / "fresh")),
        "tag": Command(tag, lambda root: _texts(root / "out")),
        "watch": Command(watch, lambda root: _texts(root / "out")),
        "fit": Command(fit, lambda root: _decides(root)),
        "calibrate": Command(calibrate, lambda root: _decides(root)),
        "add": Command(add, lambda root: entered("doll_vit")),
        "pull": Command(fetched, lambda root: entered(PULLED)),
        **training_set_commands(),
    }


def training_set_commands() -> dict[str, Command]:
    """Return what changes a training folder, and taking that back."""

    def lint(root: Path, settings: Settings) -> object:
        own = load_settings(changes={"dataset": {"trigger": ["mychar"]}})
        return lint_captions(LintRequest(source=root / "set", fix=True), own, Silent())

    def leave_out(root: Path, settings: Settings) -> object:
        request = FilterRequest(
            folder=root / "set", filters=Filters(least_general=3), out=root / "left-out.csv",
            apply=True, overwrite=True,
        )  # fmt: skip
        return filter_pictures(request, settings, Silent())

    def prune(root: Path, settings: Settings) -> object:
        return prune_tags(root / "set", frozenset(("sky",)), settings, Silent(), apply=True)

    def changed_and_back(root: Path) -> object:
        changed = _below(root / "set")
        for file in sorted((root / "set").glob("tagstack-undo-*"), reverse=True):
            if file.stat().st_size:  # a kill before its first line: nothing had happened
                undo(file)
        if _below(root / "set") != _below(root / "as-it-was"):
            raise TagstackError("taking back did not bring the folder back")
        return changed

    def back(root: Path, settings: Settings) -> object:
        return undo(next((root / "changed").glob("tagstack-undo-*")))

    return {
        "lint": Command(lint, changed_and_back),
        "filter": Command(leave_out, changed_and_back),
        "prune": Command(prune, changed_and_back),
        "undo": Command(back, lambda root: _below(root / "changed")),
    }


def training_set(root: Path, settings: Settings) -> None:
    """Make a small training folder with faults, one more as it was, and one that was changed."""
    for name in ("set", "as-it-was", "changed"):
        for i in range(20):
            folder = root / name / f"{i % 2}_x"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{i}.png").write_bytes(b"picture %d" % i)
            text = "sky, hat, hat, cat" if i % 3 else "sky, hat"
            (folder / f"{i}.txt").write_text(text)
    own = load_settings(changes={"dataset": {"trigger": ["mychar"]}})
    lint_captions(LintRequest(source=root / "changed", fix=True), own, Silent())


def _below(folder: Path) -> object:
    files = (p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("tagstack-undo"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def _scores(store: Path) -> object:
    read = ScoreStore(store).load()
    return read.images, read.pairs.tag.tobytes(), np.asarray(read.logit).tobytes()


def _texts(out: Path) -> object:
    files = (path for path in sorted(out.glob("*")) if path.is_file())
    return {path.name: path.read_bytes() for path in files if not path.name.startswith(".")}


def _decides(root: Path) -> object:
    bundle = load_bundle(root / "bundle")
    proba = bundle.stacker.predict_proba(ScoreStore(root / "scores").load())
    return proba.proba.tobytes(), bundle.thresholds.value.tobytes()


def collection(root: Path, settings: Settings) -> None:
    """Make what every trial starts from."""
    draw_gallery(root / "images", n_images=90, seed=5)
    (root / "new").mkdir()
    for path in sorted((root / "images").glob("*.png"))[:6]:
        shutil.copy(path, root / "new")
    score_folder([root / "images"], TAGGERS, root / "scores", settings, Silent())
    source = DatasetSource(scores=root / "scores", labels=root / "images/labels.csv")
    fit_bundle(
        FitRequest(source=source, bundle=root / "bundle", rules=None, overwrite=False),
        settings,
        Silent(),
    )


def forked(work: Callable[[], object], kill_at: int | None, counter: Path | None = None) -> int:
    """Run work in a child and return how it ended; the child dies at one of its file operations."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    done = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal done
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & 3
        if writes or event in CHANGING:
            if done == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1

    sys.addaudithook(watch)
    code = 0
    try:
        work()
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        code = 1
    if counter is not None:
        counter.write_text(str(done))
    os._exit(code)


def leftovers(root: Path) -> Iterator[Path]:
    """Yield staging files and folders below a folder."""
    yield from root.rglob(f"{TEMPORARY}*")
    yield from (root / "home").rglob(".pull-*")
    yield from (root / "home").rglob("*.part")


def main() -> None:
    """Run the trials and print what was counted."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--commands", default=COMMANDS)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    settings, rng = load_settings(changes=QUICK), np.random.default_rng(arguments.seed)
    names = arguments.commands.split(",")
    wrong = 0
    with tempfile.TemporaryDirectory() as scratch, local_hub():
        start = Path(scratch) / "start"
        Trial._run = lambda self, seconds: None  # type: ignore[method-assign]
        os.environ["TAGSTACK_HOME"] = str(start.parent / "trial/home")
        gc.freeze()  # children share what is there
        forked(lambda: training_set(start, settings), None)
        if set(names) - set(TRAINING_SET):
            forked(lambda: collection(start, settings), None)
        for name in names:
            wrong += trials(name, start, settings, arguments.kills // len(names), rng)
    sys.exit(wrong > 0)


def trials(
    name: str, start: Path, settings: Settings, n_kills: int, rng: np.random.Generator
) -> int:
    """Kill one command so often, print the counts and return how many results are wrong."""
    command, root = commands()[name], start.parent / "trial"
    counter = start.parent / "count"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(start, root)
    if forked(lambda: command.run(root, settings), None, counter):
        print(f"{name}: fails without a kill")
        return 1
    wanted, n_steps = command.result(root), int(counter.read_text())
    lost = halves = left = killed = 0
    for _ in range(n_kills):
        shutil.rmtree(root)
        shutil.copytree(start, root)
        status = forked(lambda: command.run(root, settings), int(rng.integers(n_steps)))
        killed += os.WIFSIGNALED(status)
        again = forked(lambda: command.run(root, settings), None)
        try:
            lost += bool(again) or command.result(root) != wanted
        except Exception as error:
            print(f"{name}: {error}")
            halves += 1
        left += any(True for _ in leftovers(root))
    shutil.rmtree(root)
    print(
        f"{name:<10} {n_steps:4d} file operations, {killed} of {n_kills} killed: "
        f"{lost} lost, {halves} half-written, {left} left behind",
        flush=True,
    )
    return lost + halves + left


if __name__ == "__main__":
    main()
