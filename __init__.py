"""tagstack: a stacked ensemble for image tagging, with per-tag thresholds and proof of its gain.

The names in ``__all__`` are the package's public face; each is imported when it is first asked
for, so ``import tagstack`` costs next to nothing. docs/python.md shows how to use them.
"""

import os
from typing import TYPE_CHECKING

# From 1.29 on ONNX Runtime tells its makers of every model that is loaded, names and hashes, and
# keeps a number for the user, unless this is set before it is imported. Nothing here reaches the
# network unasked; whoever has set the variable is not overruled.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from tagstack.api import Labels as Labels
    from tagstack.api import Scores as Scores
    from tagstack.api import Stack as Stack
    from tagstack.api import audit as audit
    from tagstack.api import calibrate as calibrate
    from tagstack.api import compare as compare
    from tagstack.api import fit as fit
    from tagstack.api import init_tagger as init_tagger
    from tagstack.api import load as load
    from tagstack.api import quality as quality
    from tagstack.api import score as score
    from tagstack.api import train as train
    from tagstack.configs.errors import TagstackError as TagstackError
    from tagstack.configs.settings import Settings as Settings
    from tagstack.ensemble.bundle.decisions import TaggedImage as TaggedImage
    from tagstack.ensemble.face.training_set import TrainingSet as TrainingSet
    from tagstack.ensemble.rules.rule_set import Rules as Rules

__version__ = "0.2.0"

_HOMES = {
    "Labels": "tagstack.api",
    "Rules": "tagstack.ensemble.rules.rule_set",
    "Scores": "tagstack.api",
    "Settings": "tagstack.configs.settings",
    "Stack": "tagstack.api",
    "TaggedImage": "tagstack.ensemble.bundle.decisions",
    "TagstackError": "tagstack.configs.errors",
    "TrainingSet": "tagstack.ensemble.face.training_set",
    "audit": "tagstack.api",
    "calibrate": "tagstack.api",
    "compare": "tagstack.api",
    "fit": "tagstack.api",
    "init_tagger": "tagstack.api",
    "load": "tagstack.api",
    "quality": "tagstack.api",
    "score": "tagstack.api",
    "train": "tagstack.api",
}

__all__ = [
    "Labels",
    "Rules",
    "Scores",
    "Settings",
    "Stack",
    "TaggedImage",
    "TagstackError",
    "TrainingSet",
    "__version__",
    "audit",
    "calibrate",
    "compare",
    "fit",
    "init_tagger",
    "load",
    "quality",
    "score",
    "train",
]


def __getattr__(name: str) -> object:
    """Import a public name where it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
