"""Decoding in processes that can be ended, for files whose decoding may take very long.

A thread cannot be stopped: a progressive JPEG of 1 MB that repeats a scan two thousand times keeps
one busy for minutes, and a fault in a decoder for ever. What is cheap for certain is decoded where
it is; everything else here, by a few processes that live as long as the run and end with it.
"""

import contextlib
import ctypes
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from typing import IO

from PIL import Image

from tagstack.base_models.pictures.images import ImageError, decode, open_image, reduced

# Decoded within a second on a slow machine, whatever the file holds: the work follows the pixels.
_LINEAR = frozenset(("BMP", "DIB", "GIF", "ICO", "JPEG", "PNG", "PPM", "QOI", "TGA", "WEBP"))
_CHEAP = 40_000_000  # pixels, once for each scan of a JPEG
_HEAD = struct.Struct("<QBQQ")
_ANSWER = struct.Struct("<4sIIQ")
_MODES = {"RGB": b"RGB ", "RGBA": b"RGBA"}
_FAULT = b"ERR "
CRASHED = "its decoder crashed"
_DIE_WITH_PARENT = 1  # prctl's PR_SET_PDEATHSIG


def is_cheap(content: bytes, header: Image.Image) -> bool:
    """Return whether a file is decoded in a second or so for certain.

    Parameters
    ----------
    content : bytes
    header : PIL image
        Opened, its pixels not yet read.
    """
    if header.format not in _LINEAR:
        return False
    # In the data of a scan a byte of 255 is followed by zero: this only counts markers.
    scans = max(1, content.count(b"\xff\xda")) if header.format == "JPEG" else 1
    return scans * header.width * header.height <= _CHEAP


class DecodingProcesses:
    """Decodes files in processes of its own, ending those that take too long.

    Parameters
    ----------
    seconds : float
        The longest that decoding one file may take.
    max_pixels, max_side : int
    """

    def __init__(self, seconds: float, max_pixels: int, max_side: int) -> None:
        self._seconds = seconds
        self._limits = (max_pixels, max_side)
        self._idle: list[subprocess.Popen[bytes]] = []
        self._all: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._closed = False

    @property
    def too_long(self) -> str:
        """What is said of a file that took too long; the next run knows it by this."""
        return f"decoding took longer than score.decode_seconds = {self._seconds:g}"

    @property
    def final(self) -> tuple[str, ...]:
        """What is said of files that the next run should not meet again."""
        return self.too_long, CRASHED

    def decoded(self, content: bytes, factor: int) -> Image.Image:
        """Return a file decoded at 1/``factor`` of its size, as `images.decode` returns it.

        Raises
        ------
        ImageError
            As `images.decode`; and if it takes too long, or its decoder crashes.
        """
        process = self._taken()
        try:
            image = self._ask(process, content, factor)
        except BaseException:
            self._end(process)
            raise
        with self._lock:
            self._idle.append(process)
        if isinstance(image, ImageError):
            raise image
        return image

    def close(self) -> None:
        """End every process, also those that are at work."""
        with self._lock:
            self._closed = True
            ending, self._idle = list(self._all), []
        for process in ending:
            self._end(process)

    def _taken(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._idle:
                return self._idle.pop()
            if self._closed:
                raise ImageError("the run was ended")
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            self._all.add(process)
            return process

    def _ask(
        self, process: subprocess.Popen[bytes], content: bytes, factor: int
    ) -> Image.Image | ImageError:
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(self._seconds, process.kill)
        timer.start()
        began = time.monotonic()
        try:
            process.stdin.write(_HEAD.pack(len(content), factor, *self._limits) + content)
            process.stdin.flush()
            answer = _answer(process.stdout)
        except (OSError, EOFError) as error:
            if time.monotonic() - began >= self._seconds:
                raise ImageError(self.too_long) from error
            reason = "the run was ended" if self._closed else CRASHED
            raise ImageError(reason) from error
        finally:
            timer.cancel()
        return answer

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        with self._lock:
            self._all.discard(process)


def _answer(stream: IO[bytes]) -> Image.Image | ImageError:
    kind, width, height, size = _ANSWER.unpack(_exactly(stream, _ANSWER.size))
    data = _exactly(stream, size)
    if kind == _FAULT:
        return ImageError(data.decode("utf-8", "replace"))
    return Image.frombytes(kind.decode().strip(), (width, height), data)


def _exactly(stream: IO[bytes], n_bytes: int) -> bytes:
    data = stream.read(n_bytes)
    if len(data) < n_bytes:
        raise EOFError(n_bytes)
    return data


def _serve(source: IO[bytes], target: IO[bytes]) -> None:
    """Decode what comes in until nothing does."""
    while head := source.read(_HEAD.size):
        size, factor, max_pixels, max_side = _HEAD.unpack(head)
        content = source.read(size)
        try:
            image = open_image(content, max_pixels=max_pixels, max_side=max_side)
            image = decode(reduced(image, factor))
            data, kind, sides = image.tobytes(), _MODES[image.mode], image.size
        except ImageError as error:
            data, kind, sides = str(error).encode("utf-8", "replace"), _FAULT, (0, 0)
        target.write(_ANSWER.pack(kind, *sides, len(data)))
        target.write(data)
        target.flush()


def main() -> None:
    """Serve standard input; end with the process that started this one, and not with Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the run decides, and ends this
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        if os.getppid() == 1:
            return
    with contextlib.suppress(BrokenPipeError):
        _serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
