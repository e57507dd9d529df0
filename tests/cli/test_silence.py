"""Nothing is told to anybody unasked, by the runtimes neither: they have telemetry of their own.

Before it sends anything, ONNX Runtime writes a number for the user into the cache folder, and
OpenVINO one into the home folder; where they are silent, neither does. What is written in Python is
also watched at the socket itself.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tagstack.base_models.runtimes.openvino_library import openvino_library
from tagstack.base_models.zoo.gallery import draw_gallery

_WATCHED = """
import sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        print("reached for the network:", arguments[:2], file=sys.stderr)
sys.addaudithook(watch)
from tagstack.cli import main
main()
"""
_SILENCERS = ("CI", "ORT_DISABLE_TELEMETRY", "TAGSTACK_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME")


@pytest.mark.parametrize(
    "backend",
    [
        "ort",
        pytest.param(
            "openvino",
            marks=pytest.mark.skipif(
                find_spec("openvino_telemetry") is None, reason="OpenVINO has no telemetry here"
            ),
        ),
    ],
)
def test_tagging_leaves_nothing_of_others_and_reaches_for_nobody(
    tmp_path: Path, backend: str
) -> None:
    draw_gallery(tmp_path / "images", n_images=1, seed=1)
    home = tmp_path / "home"
    home.mkdir()
    told = {name: value for name, value in os.environ.items() if name not in _SILENCERS}
    done = subprocess.run(
        [
            sys.executable, "-c", _WATCHED, "tag", tmp_path / "images", "--models", "doll_vit",
            "--backend", backend, "--out", tmp_path / "tags",
        ],
        capture_output=True, text=True, check=False, env={**told, "HOME": str(home)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "reached for the network" not in done.stderr
    kept = {path.relative_to(home) for path in home.rglob("*") if path.is_file()}
    assert {path for path in kept if path.parts[:2] != (".cache", "tagstack")} == set()


def test_what_the_user_asked_for_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import os, tagstack; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    for given in ("0", "1"):
        monkeypatch.setenv("ORT_DISABLE_TELEMETRY", given)
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == given


def test_hiding_telemetry_leaves_it_to_others() -> None:
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    assert openvino_library().Core
    assert sys.modules.get("openvino_telemetry", "not there") is not None
