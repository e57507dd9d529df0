"""LightGBM and XGBoost for models that are fitted already, without what only fitting needs.

Both packages import scikit-learn, and with it pandas and half of scipy, for wrappers that nothing
here uses; that is most of what tagging one picture costs. Where they are not there, both packages
do without, which is what happens here: a package is imported once more under a name of ours, while
this thread finds neither. Nobody else sees that copy. ``import lightgbm`` gives the whole package,
before or after, scikit-learn and pandas import as ever, and fits use the whole package.

LightGBM does not do without narwhals, though it asks it only for tables of other libraries: a
stand-in takes its place while the copy is made, and fetches the package where it is asked after.
"""

import importlib.util
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Literal

from tagstack.base_models.libraries import library, library_fault

# What the two packages do without: wrappers, tables, plots.
_LEFT_OUT = frozenset({"cudf", "dask", "datatable", "graphviz", "matplotlib", "pandas", "sklearn"})
_LATER = frozenset({"narwhals"})
_COPY = "_tagstack_predicting_{}"
_LOCK = threading.RLock()


def predicting(name: Literal["lightgbm", "xgboost"]) -> Any:
    """Return a package good for loading a model and predicting with it.

    It is the whole package where that is imported already.

    Raises
    ------
    TagstackError
        If it is not installed or does not load.
    """
    if name in sys.modules:
        return library(name)  # another thread may still be importing it
    with _LOCK:
        copy = _COPY.format(name)
        return sys.modules.get(copy) or _imported(name, copy)


def _imported(name: str, copy: str) -> Any:
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        return library(name)  # says that it is not installed
    spec = importlib.util.spec_from_file_location(
        copy, found.origin, submodule_search_locations=found.submodule_search_locations
    )
    if spec is None or spec.loader is None:
        return library(name)
    module = importlib.util.module_from_spec(spec)
    sys.modules[copy] = module
    try:
        with _left_out():
            spec.loader.exec_module(module)
    except BaseException as error:
        for key in [key for key in sys.modules if key == copy or key.startswith(f"{copy}.")]:
            del sys.modules[key]
        if isinstance(error, Exception):
            raise library_fault(name, error) from error
        raise
    return module


class _Later(ModuleType):
    """Stands in for a module that is imported when something of it is first used.

    For the thread that makes a copy everything in it is a type, of which annotations are made.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []
        self._thread: int | None = threading.get_ident()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if self._thread == threading.get_ident():
            return object
        _drop_stand_ins()
        return getattr(import_module(self.__name__), name)

    def copy_is_made(self) -> None:
        """Answer as the module does from now on, whoever asks."""
        self._thread = None


def _drop_stand_ins() -> None:
    for name in [name for name, module in [*sys.modules.items()] if isinstance(module, _Later)]:
        sys.modules.pop(name, None)


class _Absent(Loader):
    """Says to one thread that packages are not installed, or gives it stand-ins of them."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._stand_ins: list[_Later] = []

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Refuse what is left out; leave the rest to the finders that follow."""
        package = name.partition(".")[0]
        if threading.get_ident() != self._thread:
            return None
        if package in _LEFT_OUT:
            raise ModuleNotFoundError(f"{name} is left out", name=name)
        if package in _LATER and (package == name or isinstance(sys.modules[package], _Later)):
            return ModuleSpec(name, self)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return a stand-in."""
        self._stand_ins.append(_Later(spec.name))
        return self._stand_ins[-1]

    def exec_module(self, module: ModuleType) -> None:
        """Put nothing into it."""

    def is_done(self) -> None:
        """Leave no stand-in where others look for the module."""
        _drop_stand_ins()
        for stand_in in self._stand_ins:
            stand_in.copy_is_made()


@contextmanager
def _left_out() -> Iterator[None]:
    absent = _Absent()
    sys.meta_path.insert(0, absent)
    try:
        yield
    finally:
        sys.meta_path.remove(absent)
        absent.is_done()
