"""Engines from request to file: built once, tried, set aside when bad, never half."""

import fcntl
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from tagstack.base_models.atomic import TEMPORARY
from tagstack.base_models.contract import Contract
from tagstack.base_models.runtimes.driver import Device, Driver
from tagstack.base_models.runtimes.faults import BackendError
from tagstack.base_models.runtimes.tensorrt import provision
from tagstack.base_models.runtimes.tensorrt.engine_cache import QUARANTINE
from tagstack.base_models.runtimes.tensorrt.provision import Workshop
from tagstack.base_models.runtimes.tensorrt.spec import EngineSpec
from tagstack.base_models.runtimes.tensorrt.trial import Trial

Net = Callable[..., Path]
GPU = Device(
    index=0, name="NVIDIA X", compute_capability="8.9", n_multiprocessors=76, memory_bytes=1 << 34
)
WITH_GPU = Driver(cuda_version="13.0", devices=(GPU,), fault=None)


def test_built_once_and_then_kept(
    workshop: Workshop, make_net: Net, contract: Contract, spec: EngineSpec
) -> None:
    model = make_net()
    first = workshop.provide(model, contract, spec)
    again = workshop.provide(model, contract, spec)
    assert (first.was_built, again.was_built) == (True, False)
    assert first.plan == again.plan
    assert first.header.tagger == "net"
    # Without a GPU there is no trial, and the engine says so.
    assert not workshop.cache.is_tried(again.header)


def test_other_weights_or_options_are_other_engines(
    workshop: Workshop, make_net: Net, contract: Contract, spec: EngineSpec
) -> None:
    made = [
        workshop.provide(make_net(), contract, spec),
        workshop.provide(make_net(seed=1), contract, spec),
        workshop.provide(make_net(), contract, replace(spec, precision="tf32")),
        workshop.provide(make_net(), contract, replace(spec, precision="fp16")),
        workshop.provide(make_net(batch=1, seed=2), contract, spec),
    ]
    assert all(engine.was_built for engine in made)
    assert len({engine.header.key for engine in made}) == 5


@pytest.mark.parametrize("damage", ["cut", "flip", "junk", "empty"])
def test_a_damaged_file_is_set_aside_and_built_anew(
    workshop: Workshop,
    make_net: Net,
    contract: Contract,
    spec: EngineSpec,
    caplog: pytest.LogCaptureFixture,
    damage: str,
) -> None:
    model = make_net()
    engine = workshop.provide(model, contract, spec)
    path = workshop.cache.path(engine.header.key)
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    damaged = {"cut": content[:-100], "flip": content, "junk": bytearray(99), "empty": bytearray()}
    path.write_bytes(damaged[damage])
    caplog.set_level(logging.WARNING, logger="tagstack")
    again = workshop.provide(model, contract, spec)
    assert again.was_built
    assert "Set aside" in caplog.text
    assert len(list((workshop.cache.folder / QUARANTINE).glob("*.engine"))) == 1
    assert not workshop.provide(model, contract, spec).was_built


def _with_trials(
    monkeypatch: pytest.MonkeyPatch, workshop: Workshop, *results: bool
) -> tuple[Workshop, list[bool]]:
    left = list(results)
    monkeypatch.setattr(
        provision,
        "try_engine",
        lambda *_, **__: Trial(left.pop(0), "crashed the process that loaded it (signal 11)"),
    )
    return replace(workshop, driver=WITH_GPU), left


def test_a_bad_engine_is_built_once_more(
    monkeypatch: pytest.MonkeyPatch,
    workshop: Workshop,
    make_net: Net,
    contract: Contract,
    spec: EngineSpec,
    caplog: pytest.LogCaptureFixture,
) -> None:
    on_gpu, left = _with_trials(monkeypatch, workshop, False, True)
    engine = on_gpu.provide(make_net(), contract, spec)
    assert (engine.was_built, left) == (True, [])
    assert "signal 11" in caplog.text
    # What has been tried is not tried again.
    assert not on_gpu.provide(make_net(), contract, spec).was_built


def test_two_bad_engines_are_a_fault(
    monkeypatch: pytest.MonkeyPatch,
    workshop: Workshop,
    make_net: Net,
    contract: Contract,
    spec: EngineSpec,
) -> None:
    on_gpu, left = _with_trials(monkeypatch, workshop, False, False, True)
    with pytest.raises(BackendError, match=r"two engines were built and neither .*signal 11"):
        on_gpu.provide(make_net(), contract, spec)
    assert left == [True]
    assert len(list((workshop.cache.folder / QUARANTINE).glob("*.engine"))) == 2


def test_an_untried_engine_is_tried_where_there_is_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
    workshop: Workshop,
    make_net: Net,
    contract: Contract,
    spec: EngineSpec,
) -> None:
    on_gpu, left = _with_trials(monkeypatch, workshop, True, False, True)
    engine = on_gpu.provide(make_net(), contract, spec)
    (on_gpu.cache.folder / f"{engine.header.key}.tried.json").unlink()
    again = on_gpu.provide(make_net(), contract, spec)
    assert (again.was_built, left) == (True, [])


def test_a_real_trial_without_a_gpu_refuses_and_does_not_crash_us(
    workshop: Workshop, make_net: Net, contract: Contract, spec: EngineSpec
) -> None:
    # A driver that lies: the engine is really loaded by TensorRT-RTX in a process of its own.
    if provision_driver_has_gpu():
        pytest.skip("this machine has a GPU")
    lying = replace(workshop, driver=WITH_GPU)
    with pytest.raises(BackendError, match=r"neither could be run.*(cannot load|crashed)"):
        lying.provide(make_net(), contract, spec)


def provision_driver_has_gpu() -> bool:
    from tagstack.base_models.runtimes.driver import examine_driver

    return bool(examine_driver().devices)


CHILD = """
import os, sys, time
from pathlib import Path
from dataclasses import replace
from tagstack.base_models.contract import read_contract
from tagstack.base_models.runtimes.tensorrt.engine_cache import EngineCache
from tagstack.base_models.runtimes.tensorrt.provision import Workshop
from tagstack.base_models.runtimes.tensorrt.spec import EngineSpec
from tagstack.base_models.runtimes.tensorrt.trt_api import TrtApi
from tagstack.base_models.runtimes.driver import Driver
folder, mode = Path(sys.argv[1]), sys.argv[2]
driver = Driver(cuda_version=None, devices=(), fault="none")
spec = EngineSpec(precision="fp32", min_batch=1, typical_batch=4, max_batch=8,
                  optimization_level=0, workspace_mib=512, batch_invariant=True)
shop = Workshop(cache=EngineCache(folder / "engines"), api=TrtApi("rtx"), driver=driver,
                trial_seconds=60.0)
contract = read_contract(folder / "tagger.toml")
if mode == "killed":
    def hang(handle):
        print("writing", flush=True)
        time.sleep(60)
    os.fsync = hang
if mode == "meet":
    print("ready", flush=True)
    sys.stdin.readline()
engine = shop.provide(folder / "net.onnx", contract, spec)
print("built" if engine.was_built else "loaded", len(engine.plan), flush=True)
"""


def _child(folder: Path, mode: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


@pytest.fixture
def shared_folder(tmp_path: Path, make_net: Net, contract: Contract) -> Path:
    from tagstack.base_models.contract import contract_toml

    make_net()
    (tmp_path / "tagger.toml").write_text(contract_toml(contract))
    return tmp_path


@pytest.mark.usefixtures("rtx")
def test_two_processes_build_one_engine(shared_folder: Path) -> None:
    children = [_child(shared_folder, "meet") for _ in range(2)]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    outputs = [child.communicate("go\n", timeout=120)[0].split() for child in children]
    assert sorted(output[0] for output in outputs) == ["built", "loaded"]
    assert outputs[0][1] == outputs[1][1]
    assert len(list((shared_folder / "engines").glob("*.engine"))) == 1


def test_a_killed_build_leaves_nothing_half(
    shared_folder: Path, workshop: Workshop, contract: Contract, spec: EngineSpec
) -> None:
    child = _child(shared_folder, "killed")
    assert child.stdout is not None
    assert child.stdout.readline() == "writing\n"
    child.kill()
    child.communicate()
    folder = workshop.cache.folder
    assert workshop.cache.entries() == ()
    assert len(list(folder.glob(f"{TEMPORARY}*"))) == 1
    # Of another key, which another process is at: not ours to delete.
    other = folder / f"{TEMPORARY}{'0' * 32}-x.engine"
    with other.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        began = time.monotonic()
        engine = workshop.provide(shared_folder / "net.onnx", contract, spec)
        assert engine.was_built
        assert time.monotonic() - began < 30, "the dead process's lock was waited for"
        assert list(folder.glob(f"{TEMPORARY}*")) == [other]
    workshop.cache.sweep()
    assert not list(folder.glob(f"{TEMPORARY}*"))
    assert len(workshop.cache.entries()) == 1


def test_a_change_of_external_weights_is_another_engine(
    workshop: Workshop, make_net: Net, contract: Contract, spec: EngineSpec, tmp_path: Path
) -> None:
    path = tmp_path / "apart" / "net.onnx"
    path.parent.mkdir()
    keys = set()
    for seed in (0, 1):
        for old in path.parent.iterdir():
            old.unlink()
        model = onnx.load(str(make_net(seed=seed)))
        onnx.save(model, str(path), save_as_external_data=True, location="w", size_threshold=0)
        engine = workshop.provide(path, contract, spec)
        assert engine.was_built
        keys.add(engine.header.key)
    assert len(keys) == 2
