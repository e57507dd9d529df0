"""Names that files give for others, and files that are not what they seem."""

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagstack.configs.errors import TagstackError
from tagstack.configs.own_files import own_file, plain_name, read_regular

OUTSIDE = [
    "",
    ".",
    "..",
    "../x",
    "a/../../x",
    "a/..",
    "./x",
    "a//x",
    "a/",
    "/etc/passwd",
    "//host/share",
    "\\\\host\\share",
    "..\\x",
    "C:\\x",
    "C:x",
    "model.onnx:stream",
    "NUL",
    "con.txt",
    "sub/COM1.csv",
    "x\0y",
    "x\ny",
    "x\x1b[2Jy",
    "x\u202ey",
    "é" * 200,
    "a/" * 600 + "b",
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_lead_elsewhere_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="file name"):
        plain_name(name)
    with pytest.raises(TagstackError, match="file name"):
        own_file(tmp_path, name, max_bytes=10)


@pytest.mark.parametrize(
    "name", ["model.onnx", "onnx/model.onnx", ".hidden", "a b", "タグ.csv", "é"]
)
def test_plain_names_pass(name: str) -> None:
    assert plain_name(name) == name


@given(st.text(max_size=30))
def test_no_name_that_passes_leads_out(name: str) -> None:
    try:
        plain_name(name)
    except ValueError:
        return
    place = os.path.normpath(os.path.join("/folder", name))
    assert place.startswith("/folder/")
    assert "\0" not in name


def test_only_regular_files_of_the_folder_are_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "secret").write_text("x")
    (folder / "real").write_text("12345")
    (folder / "inside").symlink_to("real")
    (folder / "outside").symlink_to(tmp_path / "secret")
    (folder / "loop").symlink_to("loop")
    (folder / "device").symlink_to("/dev/zero")
    (folder / "sub").mkdir()
    os.mkfifo(folder / "pipe")
    assert own_file(folder, "real", max_bytes=5) == folder / "real"
    assert own_file(folder, "inside", max_bytes=5) == folder / "inside"
    for name, reason in {
        "outside": "is a link to .*secret, outside",
        "loop": "cannot be reached",
        "gone": "is missing",
        "sub": "is a folder",
        "pipe": "is a pipe",
        "device": "is a pipe, socket or device",
    }.items():
        with pytest.raises(TagstackError, match=reason):
            own_file(folder, name, max_bytes=5)
    with pytest.raises(TagstackError, match="has 5 bytes or more; expected at most 4"):
        own_file(folder, "real", max_bytes=4)


def test_a_folder_behind_a_link_is_no_part_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "sub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TagstackError, match="outside of"):
        own_file(tmp_path / "folder", "sub/x", max_bytes=5)


def test_blobs_of_the_hub_cache_belong_to_its_snapshots(tmp_path: Path) -> None:
    repo = tmp_path / "models--a--b"
    (repo / "blobs").mkdir(parents=True)
    (repo / "blobs" / "abc").write_text("x")
    snapshot = repo / "snapshots" / "123"
    snapshot.mkdir(parents=True)
    (snapshot / "model.onnx").symlink_to("../../blobs/abc")
    (snapshot / "other").symlink_to("../../../../etc/passwd")
    assert own_file(snapshot, "model.onnx", max_bytes=5) == snapshot / "model.onnx"
    with pytest.raises(TagstackError, match=r"missing|outside"):
        own_file(snapshot, "other", max_bytes=1 << 20)


def test_reading_waits_for_no_pipe_and_fills_no_memory(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TagstackError, match="is a pipe"):
        read_regular(tmp_path / "pipe", max_bytes=10)
    with (tmp_path / "sparse").open("wb") as stream:
        stream.truncate(3 << 30)
    with pytest.raises(TagstackError, match="has 3221225472 bytes"):
        read_regular(tmp_path / "sparse", max_bytes=1 << 20)
    (tmp_path / "link").symlink_to("sparse")
    with pytest.raises(TagstackError, match="is a link"):
        read_regular(tmp_path / "link", max_bytes=1 << 40, follow=False)
    place = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place))
        with pytest.raises(TagstackError, match="socket"):
            read_regular(place, max_bytes=10)
    with pytest.raises(FileNotFoundError, match="gone"):
        read_regular(tmp_path / "gone", max_bytes=10)
