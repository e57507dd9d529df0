"""A stack in memory's reach: twelve drawn pictures, two taggers, and the service around them."""

import io
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

import tagstack
from tagstack.base_models.zoo.gallery import draw_gallery
from tagstack.configs.settings import Settings, load_settings
from tagstack.ensemble.serving.app import create_app
from tagstack.ensemble.serving.guard import Access
from tagstack.ensemble.serving.live import LiveStack
from tagstack.ensemble.serving.running import serving_settings

TOKEN = "a-token-of-some-length"
URL = "http://127.0.0.1"
SMALL: dict[str, Any] = {
    "threads": 1,
    "stack": {
        "learners": [], "outer_fold": False, "folds": 2, "calibration_strengths": [100.0],
        "logistic_strengths": [300.0], "selection_rounds": 5, "tuning": {"trials": 0},
    },
}  # fmt: skip


@pytest.fixture(scope="session")
def made(once: Callable[..., Path]) -> Path:
    """Return a folder with ``images`` and a ``bundle`` of two taggers; only read it."""

    def make(root: Path) -> None:
        labels = tagstack.Labels.read(draw_gallery(root / "images", n_images=40, seed=3))
        scores = tagstack.score(root / "images", ["doll_resnet", "doll_vit"], SMALL)
        stack = tagstack.fit(scores, labels, "danbooru", group="series", settings=SMALL)
        stack.save(root / "bundle")

    return once("served", make)


@pytest.fixture(scope="session")
def pictures(made: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((made / "images").glob("*.png"))[:12]]


@pytest.fixture
def own_bundle(made: Path, tmp_path: Path) -> Path:
    """Return a copy of the bundle that a test may change."""
    return shutil.copytree(made / "bundle", tmp_path / "bundle")


@pytest.fixture(scope="session")
def settings_with() -> Callable[..., Settings]:
    """Return a maker of settings: sections over the defaults."""

    def make(**sections: Any) -> Settings:
        return load_settings(changes={"threads": 1, **sections})

    return make


@pytest.fixture
def served(made: Path) -> Iterator[Callable[..., TestClient]]:
    """Return a maker of running services; each is stopped at the end."""
    with ExitStack() as running:

        def start(
            settings: Settings | None = None,
            *,
            bundle: Path | None = None,
            access: Access | None = None,
            **more: Any,
        ) -> TestClient:
            own = settings or load_settings(changes={"threads": 1})
            folder = bundle or made / "bundle"
            live = LiveStack(tagstack.load(folder, settings=serving_settings(own)), folder)
            app = create_app(live, access or Access(), own, **more)
            client = TestClient(app, base_url=URL, raise_server_exceptions=False)
            return running.enter_context(client)

        yield start


@pytest.fixture(scope="module")
def client(made: Path) -> Iterator[TestClient]:
    """Return a running service as it is by default, for what changes nothing in it."""
    settings = load_settings(changes={"threads": 1})
    folder = made / "bundle"
    live = LiveStack(tagstack.load(folder, settings=serving_settings(settings)), folder)
    with TestClient(create_app(live, Access(), settings), base_url=URL) as own:
        yield own


def png(size: tuple[int, int], colour: int = 128) -> bytes:
    """Return a plain picture's file."""
    stream = io.BytesIO()
    Image.new("L", size, colour).save(stream, "PNG")
    return stream.getvalue()
