"""The repository is the package: nothing missing, imports one way, examples true."""

import ast
import doctest
import importlib
import re
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LAYERS = ("configs", "base_models", "meta", "ensemble", "api", "cli")
MODULES = sorted(
    path
    for layer in LAYERS[:-2]
    for path in (ROOT / layer).rglob("*.py")
    if "__pycache__" not in path.parts
)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("tagstack", *parts)).removesuffix(".__init__")


def test_every_package_folder_is_listed() -> None:
    found = {module_name(path) for path in MODULES if path.name == "__init__.py"}
    assert {*found, "tagstack"} == set(PROJECT["tool"]["setuptools"]["packages"])


def test_every_data_file_ships() -> None:
    globs = PROJECT["tool"]["setuptools"]["package-data"]
    for package, patterns in globs.items():
        folder = ROOT.joinpath(*package.split(".")[1:])
        for pattern in patterns:
            assert list(folder.glob(pattern)), f"{package}: {pattern} matches no file"


@pytest.mark.parametrize("path", [*MODULES, ROOT / "api.py", ROOT / "cli.py"], ids=module_name)
def test_imports_point_one_way(path: Path) -> None:
    own = LAYERS.index(path.relative_to(ROOT).with_suffix("").parts[0])
    text = path.read_text()
    if not any(f"tagstack.{layer}" in text for layer in LAYERS[own + 1 :]):
        return  # no import can lead up: to parse all that takes seconds
    for node in ast.walk(ast.parse(text)):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            parts = name.split(".")
            if parts[0] == "tagstack" and len(parts) > 1:
                assert LAYERS.index(parts[1]) <= own, f"{path.name} imports {name}"


def imported(path: Path, names: set[str]) -> set[str]:
    """Return the modules that a file imports, in functions and for types too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            wanted = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (wanted & names) or {node.module}
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return (found & names) - {"tagstack"}  # the face imports what it is asked for


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    """Return the modules that each one imports."""
    paths = {module_name(path): path for path in [*MODULES, ROOT / "api.py", ROOT / "cli.py"]}
    return {name: imported(path, {*paths}) for name, path in paths.items()}


def test_no_modules_import_each_other_in_a_circle(graph: dict[str, set[str]]) -> None:
    """Not even inside functions: whoever reads one of them has then to read all."""
    assert len(graph["tagstack.api"]) > 5
    TopologicalSorter(graph).prepare()  # raises CycleError and names the circle


# A store opens addresses, a fit's labels bring the answer without labels, lists name taggers.
_BOTH_WAYS = {
    frozenset({"tagstack.base_models.remote", "tagstack.base_models.scores"}),
    frozenset({"tagstack.meta.labels", "tagstack.meta.start"}),
    frozenset({"tagstack.base_models", "tagstack.base_models.taggers"}),
}


def test_no_two_rooms_import_each_other(graph: dict[str, set[str]]) -> None:
    """But for a room and one inside it that it offers by name, and three old pairs."""
    arrows = {
        (one.rpartition(".")[0], other.rpartition(".")[0])
        for one, others in graph.items()
        for other in others
    }
    both = {frozenset(arrow) for arrow in arrows if arrow[0] != arrow[1] and arrow[::-1] in arrows}
    inside = {
        frozenset({"tagstack.base_models.runtimes", "tagstack.base_models.runtimes.tensorrt"}),
        frozenset({"tagstack.ensemble.thresholds", "tagstack.ensemble.thresholds.strategies"}),
    }
    assert both == _BOTH_WAYS | inside


@pytest.mark.parametrize(
    "path",
    # The examples of open_stack.py need a fitted one: they run in test_api.py.
    [path for path in MODULES if ">>>" in path.read_text() and path.name != "open_stack.py"],
    ids=module_name,
)
def test_examples_in_docstrings_are_true(path: Path) -> None:
    results = doctest.testmod(importlib.import_module(module_name(path)))
    assert results.failed == 0
    assert results.attempted > 0


@pytest.mark.parametrize("extra", ["cpu", "gpu"])
def test_the_lock_pins_every_direct_dependency(extra: str) -> None:
    lock = (ROOT / "requirements" / f"{extra}.lock").read_text()
    pinned = {name.lower() for name in re.findall(r"^([A-Za-z0-9._-]+)==", lock, re.MULTILINE)}
    project = PROJECT["project"]
    for requirement in project["dependencies"] + project["optional-dependencies"][extra]:
        name = re.split(r"[\[><=!~]", requirement)[0].lower()
        assert name.replace("_", "-") in pinned, f"{name} is not in {extra}.lock"
    assert "://" not in lock, "a lock that names a host works only where that host is reachable"


def test_every_module_imports_without_what_only_unix_has() -> None:
    """As on Windows, where none of it was run: no module asks for fcntl and its like at import."""
    program = """
import importlib, pkgutil, sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name in ("fcntl", "grp", "pwd", "resource", "termios"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Hidden())
import tagstack
names = [found.name for found in pkgutil.walk_packages(tagstack.__path__, "tagstack.")]
for name in names:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:  # networks are classes of torch, which is an extra
        if error.name != "torch" or not name.startswith("tagstack.base_models.training."):
            raise
print(*names)
"""
    names = subprocess.check_output([sys.executable, "-c", program], text=True).split()
    assert {*map(module_name, MODULES)} - {f"tagstack.{layer}" for layer in LAYERS} <= {*names}


def test_the_installed_version_is_the_package_version() -> None:
    from tagstack import __version__

    assert metadata.version("tagstack") == __version__ == PROJECT["project"]["version"]
