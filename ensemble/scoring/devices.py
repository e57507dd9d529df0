"""Several GPUs at one folder: a process and a share of the pictures each, joined at the end.

Each process sees its own GPU alone, so that nothing in it has to know of others, and a device that
is lost costs its share alone. Every share is a shard of the store, which is merged sorted by name:
the files of a new store are the same, byte for byte, however many devices there were.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Thread
from typing import Any

from tagstack.base_models.runtimes.driver import Driver, examine_driver
from tagstack.base_models.runtimes.selection import RuntimeChoice, choose
from tagstack.base_models.scores.shards import merge_shards
from tagstack.base_models.scoring.pipeline import ScoreProgress, ScoreSummary
from tagstack.base_models.scoring.sources import ImageFailure, ImageSources
from tagstack.base_models.scoring.tally import summed
from tagstack.base_models.threads import thread_count
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import CPU_DEVICE, ON_CPU, ScoreSettings
from tagstack.configs.settings import Settings
from tagstack.configs.shown import shown
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.scoring.device_worker import Share

# -P: a folder that one works in may hold a stranger's modules.
COMMAND = (sys.executable, "-P", "-m", "tagstack.ensemble.scoring.device_worker")
_VISIBLE = "CUDA_VISIBLE_DEVICES"


def score_on_devices(
    sources: ImageSources,
    models: Sequence[str],
    store: Path,
    settings: Settings,
    progress: Progress,
    *,
    retry_failed: bool = False,
    command: Sequence[str] = COMMAND,
) -> ScoreSummary:
    """Score images on every device of ``score.devices`` and join what they made.

    Interrupted, each device finishes what it is at and what is complete is joined; run again, it
    goes on, also with another number of devices.

    Parameters
    ----------
    sources : ImageSources
    models : sequence of str
        Registry names or tagger folders.
    store : Path
        Folder of the score store.
    settings : Settings
    progress : Progress
    retry_failed : bool
    command : sequence of str
        What is run for each device.

    Raises
    ------
    TagstackError
        If a device cannot be used, or a process fails: then the others do their shares first.
    """
    devices = settings.score.devices
    check_devices(settings.score, examine_driver())
    part_images = settings.score.part_images
    merge_shards(store, part_images=part_images)
    run = _Run(len(sources.names))
    try:
        shares = _shares(sources, models, store, settings, retry_failed)
        for device, share in zip(devices, shares, strict=True):
            if share.sources.names or share.sources.failures:
                run.start(device, share, command)
        run.listen(progress)
    finally:
        run.end()
        progress.stage("joining shares")
        merge_shards(store, part_images=part_images)
    return run.summary()


def check_devices(settings: ScoreSettings, driver: Driver) -> None:
    """Refuse devices that are not there, or that the backend does not run on.

    Raises
    ------
    TagstackError
        Which one, and what could be said instead.
    """
    named = ",".join(settings.devices)
    backend = choose(RuntimeChoice.of_settings(settings)).backend
    on_cpu = settings.devices[0] == CPU_DEVICE
    if (backend in ON_CPU) != on_cpu:
        does = "runs on the processor" if backend in ON_CPU else "runs on a GPU"
        other = ",".join([CPU_DEVICE] * len(settings.devices)) if backend in ON_CPU else "0"
        msg = (
            f"score.devices is {named}, but the backend {backend} {does}. Say --devices {other}, "
            f"or take another backend with --backend."
        )
        raise TagstackError(msg)
    if on_cpu:
        return
    n_there = len(driver.devices)
    absent = [device for device in settings.devices if int(device) >= n_there]
    if absent:
        there = driver.fault or "; ".join(f"{i}: {gpu}" for i, gpu in enumerate(driver.devices))
        msg = (
            f"score.devices is {named}, but there is no GPU {absent[0]}: {there}. Expected numbers "
            f"of visible GPUs, from 0."
        )
        raise TagstackError(msg)


def visible_device(device: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process that sees one device alone."""
    if device == CPU_DEVICE:
        return dict(environment)
    given = [one.strip() for one in environment.get(_VISIBLE, "").split(",") if one.strip()]
    return {**environment, _VISIBLE: given[int(device)] if given else device}


def _shares(
    sources: ImageSources,
    models: Sequence[str],
    store: Path,
    settings: Settings,
    retry_failed: bool,
) -> list[Share]:
    of = len(settings.score.devices)
    threads = max(1, thread_count(settings.threads) // of)
    decode = -(-settings.score.decode_threads // of)
    score = settings.score.model_copy(update={"devices": (), "decode_threads": decode})
    own = settings.model_copy(update={"threads": threads, "score": score})
    return [
        Share(
            number=number,
            sources=replace(
                sources.share(number + 1, of), failures=() if number else sources.failures
            ),
            models=tuple(models),
            store=store,
            settings=own,
            retry_failed=retry_failed,
        )
        for number in range(of)
    ]


@dataclass
class _Process:
    """A device at work, and the last that it told."""

    device: str
    popen: "subprocess.Popen[str]"
    told: dict[str, Any] = field(default_factory=dict)
    ended: bool = False


class _Run:
    """The processes of one run."""

    def __init__(self, n_images: int) -> None:
        self._n_images = n_images
        self._processes: list[_Process] = []
        self._lines: queue.SimpleQueue[tuple[_Process, str | None]] = queue.SimpleQueue()
        self._began = time.monotonic()
        self._said: set[str] = set()

    def start(self, device: str, share: Share, command: Sequence[str]) -> None:
        """Start a process for a device and give it its share."""
        popen = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="ascii",
            errors="replace",
            env=visible_device(device, os.environ),
            # Ctrl-C is for this process alone, which hands it on once: a second one gives up.
            start_new_session=True,
        )
        process = _Process(device, popen)
        self._processes.append(process)
        Thread(target=self._converse, args=(process, share.to_json()), daemon=True).start()

    def listen(self, progress: Progress) -> None:
        """Hand on what the processes tell until each has ended.

        Raises
        ------
        TagstackError
            If one of them failed; the others went on to their end.
        """
        faults = []
        while any(not process.ended for process in self._processes):
            process, line = self._lines.get()
            if line is not None:
                self._hear(process, line, progress)
                continue
            process.ended = True
            if fault := self._fault(process):
                faults.append(fault)
                progress.notice(fault)
        if faults:
            raise TagstackError(faults[0])

    def end(self) -> None:
        """Let what still runs finish what it is at, and wait for it."""
        for process in self._processes:
            if process.popen.poll() is None:
                with suppress(ProcessLookupError):
                    process.popen.send_signal(signal.SIGINT)
        for process in self._processes:
            process.popen.wait()

    def summary(self) -> ScoreSummary:
        """Return what all devices did together."""
        found = [process.told["summary"] for process in self._processes]
        failures = [ImageFailure(**failure) for own in found for failure in own["failures"]]
        return ScoreSummary(
            n_scored=sum(own["n_scored"] for own in found),
            n_skipped=sum(own["n_skipped"] for own in found),
            n_failed=len(failures),
            failures=tuple(sorted(failures, key=lambda failure: failure.name)),
            seconds=time.monotonic() - self._began,
            stage_seconds=summed([own["stage_seconds"] for own in found]),
            stage_rates=summed([own["stage_rates"] for own in found]),
        )

    def _converse(self, process: _Process, share: str) -> None:
        stdin, stdout = process.popen.stdin, process.popen.stdout
        if stdin is not None and stdout is not None:
            with suppress(BrokenPipeError), stdin:  # its exit code says why it did not listen
                stdin.write(share)
            with stdout:
                for line in stdout:
                    self._lines.put((process, line))
        process.popen.wait()
        self._lines.put((process, None))

    def _hear(self, process: _Process, line: str, progress: Progress) -> None:
        try:
            told = json.loads(line)
        except ValueError:  # a library printed before the process began to tell
            return
        process.told |= told
        if "notice" in told and told["notice"] not in self._said:  # all say most of them
            self._said.add(told["notice"])
            progress.notice(told["notice"])
        if "stage" in told:
            progress.stage(*told["stage"])
        if "scored" in told:
            progress.scored(self._progress())

    def _fault(self, process: _Process) -> str:
        """Return why a process that has ended did not do its share; nothing if it did."""
        if "error" in process.told:
            return f"Device {process.device}: {process.told['error']}"
        if "summary" in process.told:
            return ""
        code = process.popen.returncode
        how = f"by signal {-code}" if code < 0 else f"with code {code}"
        return (
            f"The process of device {shown(process.device)} ended {how}; see what it printed. "
            f"What was scored is kept: run the same again to go on."
        )

    def _progress(self) -> ScoreProgress:
        states = [own.told["scored"] for own in self._processes if "scored" in own.told]
        counts = ("n_scored", "n_skipped", "n_failed")
        return ScoreProgress(
            n_images=self._n_images,
            seconds=time.monotonic() - self._began,
            stage_rates=summed([state["stage_rates"] for state in states]),
            **{name: sum(state[name] for state in states) for name in counts},
        )
