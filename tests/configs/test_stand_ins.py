"""A pointer or a web page in place of a file is named as that, whoever reads the file."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tagstack.base_models.pictures.images import ImageError, open_image
from tagstack.configs.errors import TagstackError
from tagstack.configs.own_files import own_file
from tagstack.configs.text_files import read_text
from tagstack.meta.labels.label_files import read_labels

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 4000000\n"
PAGE = b"\n<!DOCTYPE HTML>\n<html><title>Log in</title></html>\n"


@pytest.mark.parametrize(("content", "words"), [(POINTER, "git lfs pull"), (PAGE, "a web page")])
@pytest.mark.parametrize(
    "read",
    [
        lambda path: own_file(path.parent, path.name, max_bytes=10_000),
        read_text,
        read_labels,
        lambda path: open_image(path.read_bytes(), max_pixels=100),
    ],
    ids=["a tagger's file", "a text", "labels", "a picture"],
)
def test_every_reader_names_it(
    tmp_path: Path, read: Callable[[Path], object], content: bytes, words: str
) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises((TagstackError, ImageError), match=words):
        read(path)
