"""timm beside a torchvision of another build: declared operators, or one line that says so."""

import importlib
import sys
from types import ModuleType

import pytest

from tagstack.base_models.training.libraries import timm_library
from tagstack.configs.errors import TagstackError


def test_operators_that_did_not_load_are_declared_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    missing, timm = ["torchvision::nms", "torchvision::roi"], ModuleType("timm")

    class Library:
        @staticmethod
        def define(name: str, _: str) -> None:
            missing.remove(name)

    def imported(name: str) -> ModuleType:
        if missing:
            raise RuntimeError(f"operator {missing[0]} does not exist\nand more")
        return timm

    torch = ModuleType("torch")
    torch.library = Library  # type: ignore[attr-defined]
    for name in [name for name in sys.modules if name.split(".")[0] in ("timm", "torchvision")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(importlib, "import_module", imported)
    assert timm_library() is timm
    missing.append("other")
    with pytest.raises(TagstackError, match=r"operator other does not exist.*of one build"):
        timm_library()


def test_without_timm_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(TagstackError, match=r"needs the package timm.*tagstack\[train\]"):
        timm_library()
