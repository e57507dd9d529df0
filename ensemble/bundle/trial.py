"""An unknown bundle, loaded and asked once in a process of its own; run as a program."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from tagstack.base_models.pairs import Level1Scores, Pairs
from tagstack.base_models.trials import REFUSED
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.decisions import Judge
from tagstack.ensemble.bundle.files import loaded_bundle
from tagstack.meta.stack.start_stack import StartStack

_IMAGES, _TAGS = 4, 200


def made_up_scores(bundle: Bundle) -> Level1Scores:
    """Return scores of a few images that nobody has seen, from clear to absent."""
    n_tags, rng = len(bundle.vocabulary), np.random.default_rng(0)
    n = min(n_tags, _TAGS)
    tag = np.concatenate(
        [np.sort(rng.choice(n_tags, n, replace=False)) for _ in range(_IMAGES)]
    ).astype(np.int32)
    members = tuple(member.name for member in bundle.members)
    made = Level1Scores(
        images=tuple(f"{i}.png" for i in range(_IMAGES)),
        vocabulary=bundle.vocabulary,
        members=members,
        knows=np.ones((len(members), n_tags), bool),
        floor=np.full(len(members), -9.2, np.float32),
        pairs=Pairs(indptr=np.arange(_IMAGES + 1, dtype=np.int64) * n, tag=tag, n_tags=n_tags),
        logit=rng.uniform(-9, 9, (len(members), len(tag))).astype(np.float32),
    )
    if isinstance(bundle.stacker, StartStack) or bundle.stacker.stack_.probe is None:
        return made
    # As if one tagger had all the features: it is their number that a probe looks at.
    widths = [len(bundle.stacker.stack_.probe.columns), *(0 for _ in members[1:])]
    features = tuple(rng.normal(0, 1, (_IMAGES, width)).astype(np.float16) for width in widths)
    return bundle.stacker.completed(replace(made, features=features))


def ask(bundle: Bundle) -> None:
    """Let every rung and the rules of a bundle answer.

    Raises
    ------
    TagstackError
        If a probability is not one.
    """
    scores = made_up_scores(bundle)
    for rung in bundle.stacker.rungs_:
        answer = bundle.stacker.predict_proba(scores, rung)
        for values in (answer.proba, answer.base):
            known = values[~np.isnan(values)]
            if ((known < 0) | (known > 1)).any():
                raise TagstackError(f"rung {rung} gives {known.max()} for a probability")
    list(Judge(bundle, 0.05).judge(scores))


def main(arguments: list[str]) -> int:
    """Load and ask the bundle that the argument names; return an exit code."""
    directory = Path(arguments[0])
    try:
        ask(loaded_bundle(directory))
    except TagstackError as error:
        sys.stderr.write(" ".join(str(error).split()) + "\n")
        return REFUSED
    except Exception as error:  # whatever a stranger's file can do to a library becomes one line
        reason = f"{type(error).__name__}: {error}"
        sys.stderr.write(f"Bundle {directory}: {' '.join(reason.split())[:200]}. Fit it again.\n")
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
