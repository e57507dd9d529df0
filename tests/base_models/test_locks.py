"""Locks: one holder, whose number others can read; nothing behind a link is touched."""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tagstack.base_models.locks import ProcessLock, waited_for
from tagstack.base_models.runtimes.tensorrt.engine_cache import EngineCache
from tagstack.base_models.scores.members import Members
from tagstack.base_models.scores.store_writer import ScoreWriter
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.thresholds.versions import ThresholdVersions


def test_one_holds_it_and_the_other_learns_who(tmp_path: Path) -> None:
    first, second = ProcessLock(tmp_path / "lock"), ProcessLock(tmp_path / "lock")
    assert first.take()
    assert not second.take()
    assert second.owner() == str(os.getpid())
    second.release()  # never taken: the first one's stays
    assert not second.take()
    first.release()
    assert second.take()
    second.release()


def test_the_lock_goes_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    program = (
        "import sys; from pathlib import Path; from tagstack.base_models.locks import ProcessLock\n"
        "lock = ProcessLock(Path(sys.argv[1]))\n"
        "print(lock.take(), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "True\n"
        mine = ProcessLock(path)
        assert not mine.take()
        assert mine.owner() == str(child.pid)
        child.kill()
        child.wait()
        assert mine.take()
        assert mine.owner() == str(os.getpid())
        mine.release()


def test_whoever_waits_gets_it_next_and_any_thread_may_let_go(tmp_path: Path) -> None:
    held = ProcessLock(tmp_path / "lock")
    assert held.take()

    def wait() -> bool:
        with waited_for(tmp_path / "lock"):
            return held._lock is None

    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(wait)
        pool.submit(held.release).result()
        assert waiting.result()


def _link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def _dangling(path: Path, victim: Path) -> None:
    path.symlink_to(victim.with_name("not-there"))


def _second_name(path: Path, victim: Path) -> None:
    path.hardlink_to(victim)


def _pipe(path: Path, victim: Path) -> None:
    os.mkfifo(path)


def _folder(path: Path, victim: Path) -> None:
    path.mkdir()


def _store(folder: Path) -> None:
    ScoreWriter(folder, Members(())).__enter__()


def _versions(folder: Path) -> None:
    (folder / "thresholds").mkdir(exist_ok=True)
    with ThresholdVersions(folder)._locked():
        pass


def _engines(folder: Path) -> None:
    folder.chmod(0o700)
    with EngineCache(folder).lock("key"):
        pass


@pytest.mark.parametrize(
    ("use", "name"), [(_store, "lock"), (_versions, "thresholds/lock"), (_engines, "key.lock")]
)
@pytest.mark.parametrize("trap", [_link, _dangling, _second_name, _pipe, _folder])
def test_what_another_put_in_the_place_of_a_lock_is_refused(
    tmp_path: Path, use: Callable[[Path], None], name: str, trap: Callable[[Path, Path], None]
) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "folder"
    victim.write_bytes(b"precious")
    (folder / name).parent.mkdir(parents=True)
    trap(folder / name, victim)
    with pytest.raises(TagstackError, match=r"lock is a link or no plain file.*delete it"):
        use(folder)
    assert victim.read_bytes() == b"precious"
    assert not victim.with_name("not-there").exists()


@pytest.mark.parametrize("content", [b"", b"12\n", b"\xff" * 40, b"x" * 10_000])
def test_what_an_older_version_noted_costs_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "lock").write_bytes(content)
    lock = ProcessLock(tmp_path / "lock")
    assert lock.owner() == "unknown" or content == b"12\n"
    assert lock.take()
    assert lock.owner() == str(os.getpid())
    lock.release()
