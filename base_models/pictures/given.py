"""Pictures as a program gives them: a file, a file's bytes, pixels in an array, or a PIL image.

Pixels give exactly the scores that a lossless file of them gives. What they hold is hashed like a
file's bytes, so that a picture given twice is scored once; pixels and their file are two contents.
"""

import hashlib
import os
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tagstack.base_models.pictures.images import (
    FileContent,
    ImageError,
    check_pixels,
    decode,
    file_content,
    read_content,
)
from tagstack.configs.level1 import ScoreSettings

Given: TypeAlias = "str | os.PathLike[str] | bytes | NDArray[np.uint8] | Image.Image"
# What is left to decode: a file's bytes, or pixels.
Picture: TypeAlias = bytes | Image.Image

_CHANNELS = {3: "RGB", 4: "RGBA"}


def is_picture(given: object) -> bool:
    """Return whether something is one picture, or the path of one, by its type and shape alone.

    An array with three or four in its last axis is; one of grey pictures of that width as well.
    """
    if isinstance(given, np.ndarray):
        return given.ndim == 2 or (given.ndim == 3 and given.shape[2] in _CHANNELS)
    kinds = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image)
    return isinstance(given, kinds)


def content_of(given: Given, settings: ScoreSettings) -> FileContent:
    """Return what identifies a picture's content, and its size in bytes.

    Raises
    ------
    ImageError
        If it is no picture, cannot be read, or is larger than the settings allow.
    """
    if isinstance(given, str | os.PathLike):
        return file_content(Path(given), max_bytes=settings.max_file_bytes)
    if isinstance(given, bytes | bytearray | memoryview):
        return _content_of_bytes(bytes(given), settings.max_file_bytes)
    image = _image(given)
    check_pixels(image, settings.max_pixels, settings.max_side)
    decoded = decode(image)
    pixels = decoded.tobytes()
    state = hashlib.sha256(f"pixels {decoded.mode} {decoded.size} ".encode())
    state.update(pixels)
    return FileContent(state.hexdigest(), len(pixels))


def picture_of(given: Given, content: FileContent) -> Picture:
    """Return what is left to decode of a picture that `content_of` has seen.

    Raises
    ------
    ImageError
        If it is a file that is gone, unreadable, or has changed since.
    """
    if isinstance(given, str | os.PathLike):
        return read_content(Path(given), content)
    if isinstance(given, bytes | bytearray | memoryview):
        return bytes(given)
    return _image(given)


def _content_of_bytes(data: bytes, max_bytes: int) -> FileContent:
    if len(data) > max_bytes:
        raise ImageError(f"{len(data)} bytes are more than score.max_file_bytes = {max_bytes}")
    if not data:
        raise ImageError("there are no bytes at all; expected those of an image file")
    return FileContent(hashlib.sha256(data).hexdigest(), len(data))


def _image(given: Any) -> Image.Image:
    if isinstance(given, Image.Image):
        return given
    if not isinstance(given, np.ndarray):
        msg = (
            f"{type(given).__name__} is no picture; expected a path, bytes, an array or a PIL image"
        )
        raise ImageError(msg)
    colour = given.ndim == 3 and given.shape[2] in _CHANNELS
    if given.dtype != np.uint8 or not (colour or given.ndim == 2) or not given.size:
        msg = (
            f"an array of shape {given.shape} and {given.dtype} is no picture; expected uint8 of "
            "shape (height, width, 3) in RGB, (height, width, 4) in RGBA, or (height, width)"
        )
        raise ImageError(msg)
    return Image.fromarray(np.ascontiguousarray(given))
