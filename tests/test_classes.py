"""An object has all of its attributes from the start: none is born in a later call.

What `fit` finds ends in an underscore, as in scikit-learn, and is declared in the class where a
type needs it; everything else is there when ``__init__`` returns.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("configs", "base_models", "meta", "ensemble")
_MAKERS = {"__init__", "__post_init__", "__new__", "__setstate__"}

Classes = dict[str, list[ast.ClassDef]]


def assigned(function: ast.FunctionDef) -> Iterator[tuple[str, int]]:
    """Yield the attributes of ``self`` that a method sets, and where."""
    inside: list[ast.AST] = list(function.body)
    while inside:
        node = inside.pop()
        if isinstance(node, ast.ClassDef):
            continue  # its methods have a self of their own
        inside += ast.iter_child_nodes(node)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id == "self":
                yield node.attr, node.lineno


def methods(node: ast.ClassDef) -> list[ast.FunctionDef]:
    return [item for item in node.body if isinstance(item, ast.FunctionDef)]


def declared(node: ast.ClassDef, classes: Classes, seen: frozenset[str] = frozenset()) -> set[str]:
    """Return what an object of a class has from the start, that of its bases included."""
    found = {
        target.id
        for item in node.body
        for target in getattr(item, "targets", [getattr(item, "target", None)])
        if isinstance(target, ast.Name)
        and (getattr(item, "value", None) is not None or _is_record(node))
    }
    for function in methods(node):
        found.add(function.name)  # a property may have a setter
        if function.name in _MAKERS:
            found |= {name for name, _ in assigned(function)}
    for base in node.bases:
        name = ast.unparse(base).partition("[")[0].rpartition(".")[2]
        for other in classes.get(name, []) if name not in seen else []:
            found |= declared(other, classes, seen | {name})
    return found


def _is_record(node: ast.ClassDef) -> bool:
    """Return whether annotations alone are fields, as in dataclasses and settings."""
    return bool(node.decorator_list) or any("Section" in ast.unparse(b) for b in node.bases)


def born_late(trees: dict[str, ast.Module]) -> list[str]:
    """Return the attributes that a method other than ``__init__`` is the first to set."""
    homes = [
        (path, node)
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    ]
    classes: Classes = {}
    for _, node in homes:
        classes.setdefault(node.name, []).append(node)
    found = []
    for path, node in homes:
        had = declared(node, classes)
        for function in methods(node):
            decorated = " ".join(map(ast.unparse, function.decorator_list))
            if function.name in _MAKERS or "classmethod" in decorated:
                continue
            found += [
                f"{path}:{line} {node.name}.{name}"
                for name, line in assigned(function)
                if name not in had and not name.endswith("_")
            ]
    return found


def test_no_attribute_is_born_after_init() -> None:
    paths = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    trees = {str(path.relative_to(ROOT)): ast.parse(path.read_text("utf-8")) for path in paths}
    assert len(trees) > 300
    assert born_late(trees) == []


def test_one_that_is_born_later_is_found() -> None:
    text = """
class A:
    late: int
    given: int = 0
    def __init__(self): self.here = 1
    def go(self): self.here, self.late, self.given, self.fitted_ = 1, 2, 3, 4
class B(A):
    def more(self):
        self.here = 3
        self.there = 4
"""
    found = born_late({"file.py": ast.parse(text)})
    assert sorted(found) == ["file.py:10 B.there", "file.py:6 A.late"]
