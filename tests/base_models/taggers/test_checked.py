"""A tagger that was looked at once is not looked at again; an odd note counts for none."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tagstack.base_models.atomic import file_sha256
from tagstack.base_models.runtimes.ort import OrtCpuSession
from tagstack.base_models.taggers.checked import CheckNote
from tagstack.base_models.taggers.tagger import Tagger, load_tagger
from tagstack.configs.errors import TagstackError

Folder = Callable[..., Path]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many images each call of a session was about."""
    seen: list[int] = []
    inner = OrtCpuSession.run

    def run(self: OrtCpuSession, tensor: NDArray[Any]) -> NDArray[np.float32]:
        seen.append(len(tensor))
        return inner(self, tensor)

    monkeypatch.setattr(OrtCpuSession, "run", run)
    return seen


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAGSTACK_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "cache" / "checked"


def load(folder: Path, floor: float = 1e-4) -> Tagger:
    tagger = load_tagger(folder, floor=floor, threads=1)
    tagger.close()
    return tagger


def note_of(tagger: Tagger) -> Path:
    path = CheckNote(tagger.fingerprint, tagger.session.info).path
    assert path is not None
    return path


def test_two_images_are_run_once_and_at_the_next_load_none(
    make_tagger_folder: Folder, runs: list[int]
) -> None:
    folder = make_tagger_folder()
    tagger = load(folder)
    assert runs == [2]
    assert note_of(tagger).is_file()
    load(folder)
    assert runs == [2]
    load(folder, floor=1e-3)  # another fingerprint
    assert runs == [2, 2]


def test_another_runtime_or_version_of_ours_looks_again(
    make_tagger_folder: Folder, runs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    tagger = load(make_tagger_folder())
    monkeypatch.setattr("tagstack.base_models.taggers.checked.__version__", "99")
    assert not CheckNote(tagger.fingerprint, tagger.session.info).exists()
    load(tagger.folder)
    assert runs == [2, 2]


def _empty(note: Path) -> None:
    note.write_bytes(b"")


def _longer(note: Path) -> None:
    note.write_bytes(note.read_bytes() + b" ")


def _another(note: Path) -> None:
    note.write_bytes(note.read_bytes().replace(b"cpu", b"gpu").replace(b"CPU", b"GPU") + b"x")


def _link(note: Path) -> None:
    note.rename(note.with_name("elsewhere"))
    note.symlink_to(note.with_name("elsewhere"))


def _pipe(note: Path) -> None:
    note.unlink()
    os.mkfifo(note)


def _folder(note: Path) -> None:
    note.unlink()
    note.mkdir()


def _open_to_all(note: Path) -> None:
    note.chmod(0o666)


@pytest.mark.parametrize("harm", [_empty, _longer, _another, _link, _pipe, _folder, _open_to_all])
def test_a_note_that_is_not_the_very_one_counts_for_none(
    make_tagger_folder: Folder, runs: list[int], harm: Callable[[Path], None]
) -> None:
    tagger = load(make_tagger_folder())
    harm(note_of(tagger))
    load(tagger.folder)
    assert runs == [2, 2]


@pytest.mark.parametrize("where", ["file", "nowhere"])
def test_a_cache_that_cannot_be_written_costs_nothing_but_time(
    make_tagger_folder: Folder,
    runs: list[int],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    where: str,
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TAGSTACK_HOME", str(tmp_path / "file" / "below"))
    if where == "nowhere":

        def homeless() -> Path:
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.delenv("TAGSTACK_HOME")
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
        monkeypatch.setattr(Path, "home", homeless)
    folder = make_tagger_folder()
    load(folder)
    load(folder)
    assert runs == [2, 2]


def test_a_tagger_that_fails_leaves_no_note(make_tagger_folder: Folder, cache: Path) -> None:
    folder = make_tagger_folder()
    contract = folder / "tagger.toml"
    contract.write_text(contract.read_text().replace('"probabilities"', '"logits"'))
    for _ in range(2):
        with pytest.raises(TagstackError, match="they are probabilities already"):
            load(folder)
    assert not cache.exists()


def test_a_file_is_hashed_once_as_long_as_nobody_touches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    inner = hashlib.file_digest

    def read(stream: Any, kind: str) -> Any:
        reads.append(kind)
        return inner(stream, kind)

    monkeypatch.setattr(hashlib, "file_digest", read)
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    first = file_sha256(path)
    assert file_sha256(path) == first
    assert len(reads) == 2  # just written: another write in the same tick would look alike
    monkeypatch.setattr("tagstack.base_models.atomic._SETTLED_NS", -(10**12))
    assert [file_sha256(path) for _ in range(3)] == [first] * 3
    assert len(reads) == 3
    facts = path.stat()
    path.write_bytes(b"abd")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))  # as if it were the same
    assert file_sha256(path) == hashlib.sha256(b"abd").hexdigest()
    path.rename(tmp_path / "b")
    path.write_bytes(b"abc")
    assert file_sha256(path) == first
