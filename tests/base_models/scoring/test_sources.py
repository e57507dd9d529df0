"""Finding images: folders, links, loops, names of every kind."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from tagstack.base_models.scoring.sources import SYSTEM, ImageSources, find_images
from tagstack.configs.errors import TagstackError


def _find(*paths: Path) -> ImageSources:
    return find_images(paths, extensions=(".png", ".jpg"))


def _touch(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_folders_are_searched_and_sorted(tmp_path: Path) -> None:
    _touch(tmp_path, ["b.png", "a/z.JPG", "a/b/c.png", "a.png", "notes.txt", "a/b/x.webm"])
    found = _find(tmp_path)
    assert found.root == tmp_path
    assert found.names == ("a.png", "a/b/c.png", "a/z.JPG", "b.png")
    assert found.path("a/z.JPG") == tmp_path / "a" / "z.JPG"


def test_a_file_is_taken_whatever_its_extension(tmp_path: Path) -> None:
    _touch(tmp_path, ["picture.dat"])
    found = _find(tmp_path / "picture.dat")
    assert (found.root, found.names) == (tmp_path, ("picture.dat",))


def test_several_paths_share_their_common_folder(tmp_path: Path) -> None:
    _touch(tmp_path, ["x/1.png", "y/z/2.png", "y/z/3.png"])
    found = _find(tmp_path / "x", tmp_path / "y" / "z" / "2.png", tmp_path / "x" / "1.png")
    assert (found.root, found.names) == (tmp_path, ("x/1.png", "y/z/2.png"))


def test_files_of_a_folder_have_the_names_of_the_folder(tmp_path: Path) -> None:
    _touch(tmp_path, ["1.png", "2.png"])
    assert _find(tmp_path / "2.png", tmp_path / "1.png") == _find(tmp_path)


def test_relative_paths_and_dots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _touch(tmp_path, ["a/1.png"])
    monkeypatch.chdir(tmp_path / "a")
    assert _find(Path("../a")) == _find(tmp_path / "a")


def test_loops_of_links_end_and_real_folders_give_the_names(tmp_path: Path) -> None:
    _touch(tmp_path, ["real/1.png", "real/deep/2.png"])
    (tmp_path / "real" / "deep" / "up").symlink_to(tmp_path)
    (tmp_path / "a_link").symlink_to(tmp_path / "real")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    assert _find(tmp_path).names == ("real/1.png", "real/deep/2.png")


def test_links_to_folders_elsewhere_are_followed(tmp_path: Path) -> None:
    _touch(tmp_path, ["elsewhere/1.png", "here/2.png"])
    (tmp_path / "here" / "link").symlink_to(tmp_path / "elsewhere")
    assert _find(tmp_path / "here").names == ("2.png", "link/1.png")


def test_broken_links_are_listed_so_that_they_are_reported(tmp_path: Path) -> None:
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing")
    assert _find(tmp_path).names == ("gone.png",)


def test_names_that_are_not_utf8_keep_their_bytes(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/caf\xe9.png"
    try:
        os.close(os.open(raw, os.O_CREAT))
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    (name,) = _find(tmp_path).names
    assert os.fsencode(name) == b"caf\xe9.png"
    assert _find(tmp_path).path(name).exists()


def test_odd_names(tmp_path: Path) -> None:
    odd = [
        "x" * 251 + ".png",
        "new\nline.png",
        " space .png",
        "-rf.png",
        "\u732b\U0001f600.png",
        "#.png",
    ]
    _touch(tmp_path, odd)
    assert _find(tmp_path).names == tuple(sorted(odd))


def test_paths_longer_than_the_system_allows_are_reported(tmp_path: Path) -> None:
    _touch(tmp_path, ["1.png"])
    here = os.open(tmp_path, os.O_DIRECTORY)
    for _ in range(17):
        os.mkdir("d" * 250, dir_fd=here)
        there = os.open("d" * 250, os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = there
    os.close(here)
    found = _find(tmp_path)
    assert found.names == ("1.png",)
    assert [failure.reason for failure in found.failures] == [
        "folder cannot be listed: File name too long"
    ]


def test_nothing_to_do_is_an_error(tmp_path: Path) -> None:
    _touch(tmp_path, ["notes.txt"])
    with pytest.raises(TagstackError, match=r"No images in .*: no file ends in one of \.png \.jpg"):
        _find(tmp_path)
    with pytest.raises(TagstackError, match=r"No such file or folder: .*missing"):
        _find(tmp_path / "missing")
    with pytest.raises(TagstackError, match="No images given"):
        _find()


def test_what_a_folder_holds_besides_is_counted(tmp_path: Path) -> None:
    _touch(
        tmp_path,
        ["1.png", "._1.png", "__MACOSX/._1.png", "@eaDir/1.png/t.jpg", ".thumbnails/x.png",
         "Thumbs.db", "1.txt", "2.txt", "a.mp4", "noending"],
    )  # fmt: skip
    found = _find(tmp_path)
    assert found.names == ("1.png",)
    assert found.passed_over == {SYSTEM: 2, ".txt": 2, ".mp4": 1, "without an ending": 1}
    text = "6 files: 2 .txt, 2 hidden or of a system, 1 .mp4, 1 without an ending"
    assert found.passed_over_text() == text
    assert found.n_found == 7


def test_a_hidden_file_given_by_itself_is_taken(tmp_path: Path) -> None:
    _touch(tmp_path, [".cover.png"])
    assert _find(tmp_path / ".cover.png").names == (".cover.png",)


def test_a_folder_without_images_says_what_it_holds(tmp_path: Path) -> None:
    _touch(tmp_path, ["a.mp4", "b.MP4"])
    with pytest.raises(TagstackError, match=r"passed over 2 files: 2 \.mp4"):
        _find(tmp_path)


def test_names_in_another_encoding_than_utf8_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _touch(tmp_path, ["a.png"])
    monkeypatch.setattr("sys.getfilesystemencoding", lambda: "ascii")
    with pytest.raises(TagstackError, match=r"file names as ascii here.*PYTHONUTF8=1"):
        _find(tmp_path)
