"""Fixtures that every room's tests share: a generator, scores, a plug-in, shared folders."""

import gc
import os
import pickle
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from filelock import FileLock
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import Level1Scores, PairProba, Pairs
from tagstack.base_models.taggers import check, trial
from tagstack.base_models.vocabulary import Vocabulary


def pytest_configure() -> None:
    """Look for no garbage while tests are collected: a third of that time went into looking.

    How long an example takes says how busy the machine is, and nothing of what is tested.
    """
    gc.disable()
    hypothesis.settings.register_profile("tagstack", deadline=None)
    hypothesis.settings.load_profile("tagstack")


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give a worker a file at a time, or a room whose files share what takes seconds to make."""
    if config.getoption("dist") != "loadfile":
        return None

    def together(nodeid: str) -> str:
        room, _, file = nodeid.partition("::")[0].rpartition("/")
        return room if room in _TOGETHER else f"{room}/{file}"

    scheduler = import_module("xdist.scheduler.loadfile").LoadFileScheduling(config, log)
    scheduler._split_scope = together
    return scheduler


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what compiles the decoder for all who come later, then with the dearest files.

    Else workers wait while one of them compiles, or the last of a run has such a file to itself.
    """
    items.sort(key=lambda item: (item.path.name != "test_decoder.py", len(item.path.parts)))


def pytest_collection_finish() -> None:
    """Look for garbage again, but never at the modules and tests, which stay: thousands of each."""
    gc.collect()
    gc.freeze()
    gc.enable()


_TOGETHER = {"tests/base_models/zoo"}


@dataclass(frozen=True)
class Labelled:
    """Synthetic scores with the labels they came from and a group for each image."""

    scores: Level1Scores
    labels: sparse.csr_array
    groups: NDArray[np.int64]


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what tests note of their taggers out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        # Tests make taggers by the hundred: a process for each would take longer than they do.
        patch.setattr(trial, "try_tagger", lambda folder, seconds: None)
        patch.setattr(check, "try_tagger", lambda folder, seconds: None)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def sooner() -> Iterator[None]:
    """Leave out what tests wait for and none looks at: a disk that has written, the same TOML anew.

    Processes that tests start, and some of them kill, do both.
    """
    parse = tomllib.loads

    @lru_cache(maxsize=200)
    def kept(text: str) -> bytes:
        return pickle.dumps(parse(text))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        patch.setattr(tomllib, "loads", lambda text: pickle.loads(kept(text)))
        yield


@pytest.fixture(scope="session")
def once(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Callable[[str, Callable[[Path], None]], Path]:
    """Return a maker of folders that all processes of a test run share: made once, then read only.

    A test that writes copies what it writes to.
    """
    base = tmp_path_factory.getbasetemp()
    # Workers of pytest-xdist have a folder each below that of the run.
    shared = base.parent if hasattr(request.config, "workerinput") else base

    def made(name: str, make: Callable[[Path], None]) -> Path:
        folder = shared / "once" / name
        folder.parent.mkdir(exist_ok=True)
        with FileLock(f"{folder}.lock"):
            made_already = folder.with_name(f"{name}.made")  # a bundle names where it was made
            if not made_already.exists():
                folder.mkdir()
                make(folder)
                made_already.touch()
        return folder

    return made


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def install_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return a function that installs a package of one module, with entry points by group."""

    def install(name: str, source: str, entries: Mapping[str, Mapping[str, str]]) -> Path:
        folder = tmp_path / f"site-{name}"
        info = folder / f"{name}-1.2.dist-info"
        info.mkdir(parents=True)
        (folder / f"{name}.py").write_text(source, encoding="utf-8")
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.2\n"
        )
        lines = [
            "\n".join((f"[{group}]", *(f"{key} = {name}:{to}" for key, to in offers.items())))
            for group, offers in entries.items()
        ]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.syspath_prepend(str(folder))
        return folder

    return install


@pytest.fixture
def from_docs(install_package: Callable[..., Path]) -> Callable[[str], None]:
    """Return a function that installs the package shown in a section of docs/plug-ins.md."""
    page = (Path(__file__).parents[1] / "docs" / "plug-ins.md").read_text("utf-8")

    def install(heading: str) -> None:
        section = page.split(f"\n## {heading}\n")[1].split("\n## ")[0]
        project, source = re.findall(r"```(?:toml|python)\n(.*?)```", section, re.DOTALL)
        (entries,) = tomllib.loads(project)["project"]["entry-points"].items()
        ((name, target),) = entries[1].items()
        module, _, attribute = target.partition(":")
        install_package(module, source, {entries[0]: {name: attribute}})

    return install


@pytest.fixture
def make_labelled(rng: np.random.Generator) -> Callable[..., Labelled]:
    """Return a maker of synthetic taggers: each member's logit is signal plus its own noise."""

    def make(
        n_images: int = 200,
        n_tags: int = 12,
        noise: tuple[float, ...] = (1.0, 1.5, 2.0),
        floor: float = -6.0,
    ) -> Labelled:
        prior = np.linspace(-0.5, -3.0, n_tags)
        truth = rng.random((n_images, n_tags)) < 1 / (1 + np.exp(-prior))
        signal = np.where(truth, 2.0, -2.5) + prior * 0.3
        shape = (len(noise), n_images, n_tags)
        logit = signal + rng.normal(size=shape) * np.array(noise)[:, None, None]
        kept = (logit >= floor).any(0)
        indptr = np.concatenate([[0], np.cumsum(kept.sum(1))]).astype(np.int64)
        pairs = Pairs(indptr=indptr, tag=np.nonzero(kept)[1].astype(np.int32), n_tags=n_tags)
        scores = Level1Scores(
            images=tuple(f"{i:05d}.png" for i in range(n_images)),
            vocabulary=Vocabulary(
                tuple(f"tag_{j:03d}" for j in range(n_tags)),
                tuple("character" if j % 4 == 3 else "general" for j in range(n_tags)),
            ),
            members=tuple(f"member_{m}" for m in range(len(noise))),
            knows=np.ones((len(noise), n_tags), bool),
            floor=np.full(len(noise), floor, np.float32),
            pairs=pairs,
            logit=np.maximum(logit[:, kept], floor).astype(np.float32),
        )
        return Labelled(scores, sparse.csr_array(truth), np.arange(n_images) // 2)

    return make


@pytest.fixture
def make_proba() -> Callable[..., tuple[PairProba, Any]]:
    """Return a maker of coarse probabilities (many ties) and dense labels, some unlisted."""

    def make(seed: int, n_images: int = 40, n_tags: int = 6) -> tuple[PairProba, Any]:
        rng = np.random.default_rng(seed)
        listed = rng.random((n_images, n_tags)) < 0.6
        values = rng.integers(0, 9, size=listed.sum()) / 8
        labels = rng.random((n_images, n_tags)) < 0.3
        labels[0] = True  # every tag has a positive
        indptr = np.concatenate([[0], np.cumsum(listed.sum(1))]).astype(np.int64)
        pairs = Pairs(indptr=indptr, tag=np.nonzero(listed)[1].astype(np.int32), n_tags=n_tags)
        base = (rng.integers(0, 4, size=n_tags) / 8).astype(np.float32)
        return PairProba(pairs=pairs, proba=values.astype(np.float32), base=base), labels

    return make


@pytest.fixture
def make_sparse() -> Callable[..., sparse.csr_array]:
    """Return a maker of large label matrices with about ``per_image`` tags an image."""

    def make(n_images: int, n_tags: int, per_image: int, *, seed: int) -> sparse.csr_array:
        rng = np.random.default_rng(seed)
        tag = rng.integers(0, n_tags, size=n_images * per_image)
        image = np.repeat(np.arange(n_images), per_image)
        ones = np.ones(len(tag), bool)
        return sparse.csr_array(sparse.coo_array((ones, (image, tag)), shape=(n_images, n_tags)))

    return make


_PACKAGE = '''
"""A learner as a package outside would write it: a line through the members' mean logit."""
import json
import numpy as np

class Line:
    def __init__(self, *, seed, threads):
        self.seed, self.threads = seed, threads

    def fit(self, table, true, weight=None):
        kept = np.ones(len(true), bool) if weight is None else weight > 0
        x = table.column("mean")[kept]
        self.slope, self.intercept = np.polyfit(x, np.where(true[kept], 2.0, -2.0), 1)
        return self

    def predict_logit(self, table):
        return self.intercept + self.slope * table.column("mean")

    def save(self, directory):
        (directory / "line.json").write_text(json.dumps([self.slope, self.intercept]))

    def restore(self, directory):
        self.slope, self.intercept = json.loads((directory / "line.json").read_text())
        return self
'''


@pytest.fixture
def install_learner(install_package: Callable[..., Path]) -> Callable[..., Path]:
    """Return a function that installs a package with one learner; the source may be another."""

    def install(name: str = "line", source: str = _PACKAGE, target: str = "Line") -> Path:
        return install_package(f"tagstack_{name}", source, {"tagstack.learners": {name: target}})

    return install
