"""Names of sidecars: one each, and what the format's readers look for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tagstack.ensemble.outputs.hydrus import Hydrus
from tagstack.ensemble.outputs.names import SidecarNames
from tagstack.ensemble.outputs.txt import Caption

Make = Callable[..., Any]


def named(captions: Any, *images: str) -> list[str]:
    form = Caption(captions)
    names = SidecarNames.of(Path("/o"), images, captions.settings, {"txt": form})
    return [names.path(image, form) for image in images]


def test_images_of_one_stem_get_a_sidecar_each(make_captions: Make) -> None:
    paths = named(make_captions(), "1.png", "1.jpg", "2.png")
    assert paths == ["/o/1.png.txt", "/o/1.jpg.txt", "/o/2.txt"]
    # 1.png.png must not take the name that 1.png may need.
    paths = named(make_captions(), "1.png", "1.png.png")
    assert len(set(paths)) == 2


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ("format", ["/o/a/1.txt", "/o/a/1.png.txt"]),
        ("stem", ["/o/a/1.txt", "/o/a/1.txt"]),
        ("full", ["/o/a/1.png.txt", "/o/a/1.png.txt"]),
    ],
)
def test_a_format_has_its_own_style_unless_told(
    make_captions: Make, style: str, expected: list[str]
) -> None:
    captions = make_captions(sidecar_name=style)
    forms = [Caption(captions), Hydrus(captions)]
    names = SidecarNames.of(Path("/o"), ["a/1.png"], captions.settings, {})
    assert [names.path("a/1.png", form) for form in forms] == expected


def test_a_name_that_no_file_system_takes_is_said(make_captions: Make) -> None:
    captions = make_captions()
    names = SidecarNames.of(Path("/o"), [], captions.settings, {})
    assert names.fault("/o/" + "x" * 251 + ".txt") == ""
    assert "name of 256 bytes" in names.fault("/o/" + "x" * 252 + ".txt")
