"""Packages that are installed and do not load cost one line, which says what to install."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tagstack.base_models.libraries import library
from tagstack.configs.errors import TagstackError

_GOMP = "libgomp.so.1: cannot open shared object file: No such file or directory"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            f"raise OSError({_GOMP!r})",
            rf"broken is installed but does not load \(OSError: {_GOMP}\)\. It needs libgomp.so.1 "
            r"of the system: install libgomp1 \(Debian, Ubuntu\) or libgomp \(Fedora\)",
        ),
        (
            "raise ImportError('/x/y.so: libzen-2.0.so.7: cannot open shared object file')",
            r"install the package that has libzen-2\.0\.so\.7",
        ),
        ("import no_such_module_at_all", r"does not load \(ModuleNotFoundError.*Install it anew"),
        ("raise RuntimeError('built\\nfor another numpy')", "built for another numpy"),
    ],
)
def test_one_that_does_not_load_is_told_in_one_line(
    install_package: Callable[..., Path], source: str, said: str
) -> None:
    install_package("broken", source, {})
    with pytest.raises(TagstackError, match=said) as raised:
        library("broken")
    assert "\n" not in str(raised.value)


def test_one_that_is_not_there_comes_with_its_command() -> None:
    with pytest.raises(
        TagstackError, match=r"is not installed\. Run: pip install 'tagstack\[cpu\]'"
    ):
        library("no_such_package_at_all")


def test_one_that_loads_is_returned() -> None:
    assert library("json").loads("1") == 1
