"""Built-in things and those of packages go through one way, and a broken one costs one line."""

import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from tagstack.configs import hooks
from tagstack.configs.errors import TagstackError
from tagstack.configs.hooks import HOOKS, OUTPUT_FORMATS, Hook

Install = Callable[..., Path]

BUILT_IN = [
    pytest.param(hook, name, id=f"{hook.kind} {name}") for hook in HOOKS for name in hook.built_in
]


def hook_of(**built_in: str) -> Hook:
    return Hook(group="tagstack.toys", kind="toy", setting="toys.name", built_in=built_in)


def toys(**offers: str) -> dict[str, dict[str, str]]:
    return {"tagstack.toys": offers}


@pytest.mark.parametrize(
    ("hook", "name"), BUILT_IN, ids=lambda value: getattr(value, "kind", value)
)
def test_everything_built_in_loads_as_a_plug_in_would(hook: Hook, name: str) -> None:
    offer = hook.offer(name)
    assert (offer.name, offer.package, offer.needs) == (name, "", hook.needs)
    assert offer.load() is hook.load(name)


def test_a_package_adds_a_name(install_package: Install) -> None:
    install_package("my_toys", "ball = 'round'", toys(ball="ball"))
    hook = hook_of(block="tagstack.configs.errors:TagstackError")
    assert hook.names() == ("block", "ball")
    assert hook.load("ball") == "round"
    assert str(hook.offer("ball")) == "toy 'ball' of my-toys 1.2"


def test_an_unknown_name_lists_what_is_known(install_package: Install) -> None:
    install_package("my_toys", "ball = 1", toys(ball="ball"))
    with pytest.raises(
        TagstackError,
        match=r"Unknown toy 'bal' in toys\.name\. Built in are \['block'\]; .*offer \['ball'\] u",
    ):
        hook_of(block="tagstack.configs.errors:TagstackError").load("bal")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nowhere_to_be_found", "cannot be loaded: No module named 'nowhere_to_be_found'"),
        ("other = 1", "cannot be loaded: module 'bad_toys' has no attribute 'ball'"),
        ("ball = (", r"cannot be loaded: '\(' was never closed"),
        ("raise SystemExit", r"cannot be loaded: SystemExit \(bad_toys:ball\)"),
        ("raise ValueError('one\\ntwo')", "cannot be loaded: one two"),
        ("ball = 1", r"has no 'bounce' \(bad_toys:ball\); expected \['bounce'\]"),
    ],
)
def test_a_broken_package_is_one_line_with_its_name(
    install_package: Install, source: str, message: str
) -> None:
    install_package("bad_toys", source, toys(ball="ball"))
    hook = Hook(group="tagstack.toys", kind="toy", setting="toys.name", needs=("bounce",))
    with pytest.raises(TagstackError, match=rf"^The toy 'ball' of bad-toys 1\.2 {message}") as got:
        hook.load("ball")
    assert "\n" not in str(got.value)


def test_a_broken_package_is_in_no_other_ones_way(install_package: Install) -> None:
    install_package("my_toys", "ball = 1", toys(ball="ball"))
    install_package("bad_toys", "import nowhere_to_be_found", toys(kite="kite"))
    folder = install_package("mad_toys", "", toys(top="top"))
    (folder / "mad_toys-1.2.dist-info" / "entry_points.txt").write_text("[tagstack.toys]\ntop\n")
    assert hook_of().names() == ("ball", "kite")
    assert hook_of().load("ball") == 1


def test_two_packages_of_one_name_are_refused(install_package: Install) -> None:
    install_package("a_toys", "ball = 1", toys(ball="ball"))
    install_package("b_toys", "ball = 2", toys(ball="ball"))
    assert hook_of().names() == ()
    assert len(hook_of().plug_ins()) == 2
    with pytest.raises(TagstackError, match=r"more than once, by a-toys 1\.2 and b-toys 1\.2"):
        hook_of().load("ball")


def test_a_built_in_name_is_never_another_packages(install_package: Install) -> None:
    install_package("my_toys", "txt = 1", {OUTPUT_FORMATS.group: {"txt": "txt"}})
    assert OUTPUT_FORMATS.load("txt") != 1
    assert OUTPUT_FORMATS.names() == tuple(OUTPUT_FORMATS.built_in)
    (offer,) = OUTPUT_FORMATS.plug_ins()
    with pytest.raises(TagstackError, match=r"has the name of the built-in output format, which"):
        offer.load()


@pytest.mark.parametrize("name", ["Ball", "my/ball", "..", "bäll"])
def test_a_name_that_could_be_a_path_or_two_is_refused(install_package: Install, name: str) -> None:
    install_package("my_toys", "ball = 1", toys(**{name: "ball"}))
    assert hook_of().names() == ()
    with pytest.raises(TagstackError, match="has a name of other than small letters"):
        hook_of().load(name)


def test_the_same_package_twice_on_the_path_is_one(install_package: Install) -> None:
    folder = install_package("my_toys", "ball = 1", toys(ball="ball"))
    sys.path.append(str(folder))  # monkeypatch puts the path back
    assert hook_of().names() == ("ball",)


def test_the_first_of_a_name_on_the_path_hides_the_others(install_package: Install) -> None:
    install_package("my_toys", "ball = 1", toys(ball="ball"))
    assert hook_of().names() == ("ball",)
    install_package("my__toys", "", {"elsewhere": {}})  # before it, the same by its name
    assert hook_of().names() == ()


def test_what_packages_say_of_themselves_is_read_where_they_offer_something(
    install_package: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_package("my_toys", "ball = 1", toys(ball="ball"))
    read: list[str] = []
    own = metadata.PathDistribution.read_text

    def noted(self: metadata.PathDistribution, filename: Any) -> str | None:
        read.append(str(filename))
        return own(self, filename)

    monkeypatch.setattr(metadata.PathDistribution, "read_text", noted)
    assert hook_of().names() == ("ball",)
    assert read.count("entry_points.txt") > 20  # of every package
    assert read.count("METADATA") < 5  # of those before it on the path, and its own


def test_a_built_in_name_costs_no_look_at_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def looked(*_: Any) -> None:
        pytest.fail("the installed packages were listed")

    monkeypatch.setattr(hooks, "_entries", looked)
    for hook in HOOKS:
        for name in hook.built_in:
            hook.offer(name)


def test_nothing_is_imported_before_it_is_used() -> None:
    code = (
        "import sys, tagstack.configs.hooks\n"
        "from tagstack.configs.settings import check_names, load_settings\n"
        "check_names(load_settings())\n"
        "rooms = ('tagstack.meta', 'tagstack.ensemble', 'tagstack.base_models')\n"
        "sys.exit(any(name.startswith(rooms) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
