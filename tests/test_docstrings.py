"""What public functions promise of the arrays that they return."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(
    path for room in ("base_models", "meta", "ensemble") for path in (ROOT / room).rglob("*.py")
)
_ARRAYS = {"NDArray", "csr_array", "csc_array", "coo_array"}
_SHAPE = re.compile(r"\b[Ss]hapes?\b|\(n_\w+,")


@cache
def trees() -> dict[str, ast.Module]:
    """Return every file's syntax by its path; every worker collects this file, one reads them."""
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text("utf-8")) for path in FILES}


def names_in(node: ast.AST) -> set[str]:
    """Return every name in an annotation, also of those that are written as text."""
    texts = {n.value for n in ast.walk(node) if isinstance(n, ast.Constant)}
    quoted = {name for text in texts if isinstance(text, str) for name in re.findall(r"\w+", text)}
    plain = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    return quoted | plain | {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}


@cache
def aliases() -> set[str]:
    """Return the names that stand for arrays, such as ``Floats``."""
    found = set(_ARRAYS)
    for tree in (*trees().values(), *trees().values()):  # twice: an alias may be of an alias
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                value = node.value
                typed = isinstance(value, ast.Subscript) and "Callable" not in names_in(value)
                if typed and names_in(value) & found and "Literal" not in names_in(value):
                    found.add(node.targets[0].id)
    return found


def public_functions(node: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef]:
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and not item.name.startswith("_"):
            yield item
        if isinstance(item, ast.ClassDef) and not item.name.startswith("_"):
            yield from public_functions(item)


def unnamed(tree: ast.Module, arrays: set[str]) -> list[str]:
    """Return the public functions that return arrays and say nothing of their shape."""
    return [
        f"{function.name} (line {function.lineno})"
        for function in public_functions(tree)
        if function.returns is not None
        and names_in(function.returns) & arrays
        and not _SHAPE.search(ast.get_docstring(function) or "")
    ]


@pytest.mark.parametrize("room", ["base_models", "meta", "ensemble"])
def test_every_returned_array_has_a_shape(room: str) -> None:
    arrays = aliases()
    found = {name: unnamed(tree, arrays) for name, tree in trees().items() if name.startswith(room)}
    assert {name: functions for name, functions in found.items() if functions} == {}


def test_a_function_without_a_shape_is_found() -> None:
    tree = ast.parse(
        'def bare() -> NDArray[np.bool_]:\n    "Return it."\n'
        'def named() -> "Floats":\n    "Return it, shape (n_tags,)."\n'
        'def _own() -> NDArray[np.bool_]:\n    "Return it."\n'
        'class A:\n    def of(self) -> tuple[int, "Floats"]:\n        "Return the form."\n'
    )
    assert unnamed(tree, {"NDArray", "Floats"}) == ["bare (line 1)", "of (line 8)"]
