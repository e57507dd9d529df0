"""What can be added from outside, and how anything that was added is found by its name.

A hook is one kind of thing: a learner, a threshold strategy, an output format. What is built in
and what an installed package offers are found, loaded and checked in the same way; of a built-in
thing too, nothing but its name and its import path is known until it is used. A package offers one
in its pyproject.toml, as docs/plug-ins.md shows for every hook:

    [project.entry-points."tagstack.learners"]
    neighbours = "my_package.neighbours:Neighbours"

A built-in name is never another package's, and is found without looking at the packages. To add a
built-in thing, add its line to a table below; to add a hook, add a `Hook` to ``HOOKS``.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache, wraps
from pkgutil import resolve_name
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from tagstack.configs.errors import TagstackError

if TYPE_CHECKING:  # half of the time that this file takes to import
    from importlib.metadata import Distribution

P = ParamSpec("P")
T = TypeVar("T")
RAISED_BY = "Raised by the "  # how a note begins on whatever a package's code raised
_NAME = re.compile(r"[a-z0-9][a-z0-9_.+-]*")


@dataclass(frozen=True, kw_only=True)
class Offer:
    """One thing that can be used by its name; nothing of it is imported before `load`.

    Parameters
    ----------
    kind : str
        What it is, such as ``"learner"``.
    name : str
    target : str
        ``package.module:attribute``.
    package : str
        Name and version of the package that offers it; empty where it is built in.
    needs : tuple of str
        Attributes that the loaded object must have.
    fault : str
        Why it cannot be used, known before it is loaded; empty if nothing speaks against it.
    """

    kind: str
    name: str
    target: str
    package: str = ""
    needs: tuple[str, ...] = ()
    fault: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}" + (f" of {self.package}" if self.package else "")

    def load(self) -> object:
        """Return the object behind the name.

        Raises
        ------
        TagstackError
            If the package's module cannot be imported or does not hold what it should.
        """
        try:
            self._refuse(self.fault)
            found = resolve_name(self.target)
        except TagstackError:
            raise
        except (Exception, SystemExit) as error:  # whatever a stranger's module does on import
            if not self.package:
                raise
            why = " ".join(str(error).split())[:300] or type(error).__name__
            self._refuse(f"cannot be loaded: {why} ({self.target})", error)
        missing = [name for name in self.needs if not hasattr(found, name)]
        if missing:
            self._refuse(f"has no {missing[0]!r} ({self.target}); expected {list(self.needs)}")
        return found

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Note on whatever is raised inside whose it is; an end of the program is refused.

        Raises
        ------
        TagstackError
            If a package's code would end the program, with an exit code that says nothing.
        """
        try:
            yield
        except SystemExit as error:
            if not self.package:
                raise
            msg = f"The {self} would end the program ({error}). Report this to its authors."
            raise TagstackError(msg) from error
        except Exception as error:  # and raised again as it is
            if self.package:
                error.add_note(f"{RAISED_BY}{self}.")
            raise

    def blaming(self, call: Callable[P, T]) -> Callable[P, T]:
        """Return a function that does the same, `blamed`."""

        @wraps(call)
        def blamed(*arguments: P.args, **options: P.kwargs) -> T:
            with self.blamed():
                return call(*arguments, **options)

        return blamed

    def _refuse(self, fault: str, error: BaseException | None = None) -> None:
        if fault:
            msg = f"The {self} {fault}. Repair that package or do without it (docs/plug-ins.md)."
            raise TagstackError(msg) from error


@dataclass(frozen=True, kw_only=True)
class Hook:
    """One kind of thing that can be added.

    Parameters
    ----------
    group : str
        The entry-point group that packages use.
    kind : str
        What it adds, as messages call it.
    setting : str
        Where a person names it.
    built_in : mapping of name to ``package.module:attribute``
    needs : tuple of str
        Attributes that the object behind a name must have.
    """

    group: str
    kind: str
    setting: str
    built_in: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()

    def names(self) -> tuple[str, ...]:
        """Return every name that can be used: the built-in ones, then those of packages."""
        own = tuple(offer.name for offer in self.plug_ins() if not offer.fault)
        return (*self.built_in, *own)

    def plug_ins(self) -> tuple[Offer, ...]:
        """Return what installed packages offer, by name, those at fault included."""
        found = [
            Offer(kind=self.kind, name=name, target=target, package=package, needs=self.needs)
            for name, target, package in _entries(self.group, tuple(sys.path))
        ]
        return tuple(self._checked(offer, found) for offer in sorted(found, key=_by_name))

    def offer(self, name: str) -> Offer:
        """Return what stands behind a name, not loaded yet.

        Raises
        ------
        TagstackError
            If nothing does; the message lists what is known.
        """
        if name in self.built_in:
            target = self.built_in[name]
            return Offer(kind=self.kind, name=name, target=target, needs=self.needs)
        offers = self.plug_ins()
        for offer in offers:
            if offer.name == name:
                return offer
        others = sorted(offer.name for offer in offers if not offer.fault)
        msg = (
            f"Unknown {self.kind} {name!r} in {self.setting}. Built in are {list(self.built_in)}; "
            f"installed packages offer {others or 'none'} under the entry point group "
            f"{self.group!r}."
        )
        raise TagstackError(msg)

    def load(self, name: str) -> object:
        """Return the object behind a name; an unknown or broken one is a TagstackError."""
        return self.offer(name).load()

    def _checked(self, offer: Offer, every: list[Offer]) -> Offer:
        """Return an offer with what can be said against it before it is loaded."""
        fault = ""
        rivals = sorted({other.package for other in every if other.name == offer.name})
        if not _NAME.fullmatch(offer.name):
            fault = "has a name of other than small letters, digits and _ . + -"
        elif offer.name in self.built_in:
            fault = f"has the name of the built-in {self.kind}, which is used instead"
        elif sum(other.name == offer.name for other in every) > 1:
            fault = f"has a name that is offered more than once, by {' and '.join(rivals)}"
        return replace(offer, fault=fault)


def _by_name(offer: Offer) -> tuple[str, str]:
    return offer.name, offer.package


@lru_cache
def _entries(group: str, path: tuple[str, ...]) -> tuple[tuple[str, str, str], ...]:
    """Return name, target and package of each entry point of a group on an import path.

    One package at a time: where one's list cannot be read, the others' still can.
    """
    from importlib import metadata

    before: list[Distribution] = []
    found = []
    for distribution in metadata.distributions(path=list(path)):
        try:
            # To parse what all packages say of themselves takes a fifth of a second: few offer any.
            offers = f"[{group}]" in (distribution.read_text("entry_points.txt") or "")
            entries = distribution.entry_points.select(group=group) if offers else ()
            package = f"{distribution.name} {distribution.version}" if offers else ""
        except Exception:  # another package's damage is not ours to report
            continue
        # The first of a name on the path is the one that is imported.
        if offers and _project(distribution) not in map(_project, before):
            found += [(e.name, f"{e.module}:{e.attr}".rstrip(":"), package) for e in entries]
        before.append(distribution)
    return tuple(found)


def _project(distribution: "Distribution") -> str:
    """Return the name of a package as all its spellings have it; empty where it has none."""
    try:
        return re.sub(r"[-_.]+", "-", distribution.name).lower()
    except Exception:  # as above
        return ""


LEARNERS = Hook(
    group="tagstack.learners",
    kind="learner",
    setting="stack.learners",
    built_in={
        "svm": "tagstack.meta.learners.linear_svm:LinearSvms",
        "lightgbm": "tagstack.meta.learners.pair_trees:PairTrees",
        "xgboost": "tagstack.meta.learners.meta_trees:MetaTrees",
    },
)
"""Level-2 learners and the meta-model; see `tagstack.meta.learners.protocol`."""

LABEL_FORMATS = Hook(
    group="tagstack.label_formats",
    kind="label format",
    setting="the label file's name",
    built_in={
        "csv": "tagstack.meta.labels.label_files:csv_rows",
        "tsv": "tagstack.meta.labels.label_files:csv_rows",
        "jsonl": "tagstack.meta.labels.label_files:jsonl_rows",
        "ndjson": "tagstack.meta.labels.label_files:jsonl_rows",
    },
)
"""Label files by suffix; see `tagstack.meta.labels.label_files`."""

THRESHOLD_STRATEGIES = Hook(
    group="tagstack.threshold_strategies",
    kind="threshold strategy",
    setting="thresholds.strategy",
    built_in={
        "joint_f": "tagstack.ensemble.thresholds.strategies.joint_f:JointF",
        "plugin_f": "tagstack.ensemble.thresholds.strategies.per_tag:PluginF",
        "scut": "tagstack.ensemble.thresholds.strategies.per_tag:Scut",
        "category": "tagstack.ensemble.thresholds.strategies.shared:ByCategory",
        "one_threshold": "tagstack.ensemble.thresholds.strategies.shared:OneThreshold",
        "precision_at_least": "tagstack.ensemble.thresholds.strategies.targets:PrecisionAtLeast",
        "recall_at_least": "tagstack.ensemble.thresholds.strategies.targets:RecallAtLeast",
        "p_equals_r": "tagstack.ensemble.thresholds.strategies.targets:PEqualsR",
        "expected_utility": "tagstack.ensemble.thresholds.strategies.shared:ExpectedUtility",
        "metric": "tagstack.ensemble.thresholds.strategies.own_metric:OwnMetric",
        "fixed": "tagstack.ensemble.thresholds.strategies.shared:Fixed",
        "mcut": "tagstack.ensemble.thresholds.strategies.image_lists:Mcut",
        "rcut": "tagstack.ensemble.thresholds.strategies.image_lists:Rcut",
    },
    needs=("name", "title", "optimises", "reads", "propose"),
)
"""How thresholds are chosen; see `tagstack.ensemble.thresholds.strategies.strategy`."""

METRICS = Hook(
    group="tagstack.metrics",
    kind="metric",
    setting="compare.metrics",
    built_in={
        name: f"tagstack.meta.metrics.built_in:{name.upper()}"
        for name in (
            *("macro_f", "micro_f", "sample_f", "weighted_f"),
            *("macro_precision", "micro_precision", "sample_precision", "weighted_precision"),
            *("macro_recall", "micro_recall", "sample_recall", "weighted_recall"),
            *("macro_mcc", "micro_mcc", "subset_accuracy", "hamming_loss"),
            *("macro_ap", "micro_ap", "lrap", "coverage"),
            *("brier", "log_loss", "classwise_ece"),
        )
    },
    needs=("title", "function", "needs", "larger_is_better"),
)
"""Scores of a comparison beside the built-in ones; see `tagstack.meta.metrics.scores`."""

SCORERS = Hook(
    group="tagstack.scorers",
    kind="scorer",
    setting="--scorer",
    built_in={
        "blur": "tagstack.ensemble.workshop.quality.scorers.technical:BLUR",
        "noise": "tagstack.ensemble.workshop.quality.scorers.technical:NOISE",
        "exposure": "tagstack.ensemble.workshop.quality.scorers.technical:EXPOSURE",
        "clipping": "tagstack.ensemble.workshop.quality.scorers.technical:CLIPPING",
        "contrast": "tagstack.ensemble.workshop.quality.scorers.technical:CONTRAST",
        "colourfulness": "tagstack.ensemble.workshop.quality.scorers.technical:COLOURFULNESS",
        "compression": "tagstack.ensemble.workshop.quality.scorers.technical:COMPRESSION",
        "resolution": "tagstack.ensemble.workshop.quality.scorers.technical:RESOLUTION",
        "brisque": "tagstack.ensemble.workshop.quality.scorers.brisque:BRISQUE",
    },
    needs=("name", "title", "function", "lower_is_better", "version"),
)
"""Scores of a picture's quality; see `tagstack.ensemble.workshop.quality.scorers.scorer`."""

OUTPUT_FORMATS = Hook(
    group="tagstack.output_formats",
    kind="output format",
    setting="--format",
    built_in={
        "txt": "tagstack.ensemble.outputs.txt:Caption",
        "json": "tagstack.ensemble.outputs.json_sidecar:JsonSidecar",
        "jsonl": "tagstack.ensemble.outputs.jsonl:JsonLines",
        "csv": "tagstack.ensemble.outputs.csv_table:ScoreTable",
        "parquet": "tagstack.ensemble.outputs.parquet:ParquetTable",
        "kohya": "tagstack.ensemble.outputs.kohya:KohyaMetadata",
        "kohya-jsonl": "tagstack.ensemble.outputs.kohya:KohyaLines",
        "hydrus": "tagstack.ensemble.outputs.hydrus:Hydrus",
        "xmp": "tagstack.ensemble.outputs.xmp:Xmp",
        "danbooru": "tagstack.ensemble.outputs.danbooru:DanbooruPosts",
    },
)
"""How tags are written; see `tagstack.ensemble.outputs.format`."""

RUNTIMES = Hook(
    group="tagstack.runtimes",
    kind="runtime",
    setting="score.backend",
    built_in={
        "ort": "tagstack.base_models.runtimes.built_in:ORT",
        "ort-cuda": "tagstack.base_models.runtimes.built_in:ORT_CUDA",
        "ort-tensorrt": "tagstack.base_models.runtimes.built_in:ORT_TENSORRT",
        "openvino": "tagstack.base_models.runtimes.built_in:OPENVINO",
        "tensorrt": "tagstack.base_models.runtimes.built_in:TENSORRT",
    },
    needs=("precisions", "probe", "open"),
)
"""What runs a tagger's network; see `tagstack.base_models.runtimes.base`."""

HOOKS = (RUNTIMES, LABEL_FORMATS, LEARNERS, THRESHOLD_STRATEGIES, METRICS, SCORERS, OUTPUT_FORMATS)
