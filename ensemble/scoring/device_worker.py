"""One device's share of a run, scored in a process of its own.

Run as a program it reads a `Share` from its standard input, scores it into a shard of the store and
tells what is going on in lines of JSON: ``stage``, ``notice``, ``scored``, and at last ``summary``
or ``error``. `devices` starts it and listens.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tagstack.base_models.scores.members import Members
from tagstack.base_models.scores.shards import ShardWriter
from tagstack.base_models.scoring.pipeline import ScoreProgress, ScoreSummary
from tagstack.base_models.scoring.sources import ImageFailure, ImageSources
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.ensemble.scoring.runs import score_sources
from tagstack.ensemble.scoring.taggers import loaded_taggers

Tell = Callable[[Mapping[str, Any]], None]
INTERRUPTED = 130


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one device is to do.

    Parameters
    ----------
    number : int
        Of the shard.
    sources : ImageSources
        Its images.
    models : tuple of str
    store : Path
    settings : Settings
        With the threads that this process may use.
    retry_failed : bool
    """

    number: int
    sources: ImageSources
    models: tuple[str, ...]
    store: Path
    settings: Settings
    retry_failed: bool

    def to_json(self) -> str:
        """Return it as a text."""
        facts = {
            "number": self.number,
            "root": str(self.sources.root),
            "names": self.sources.names,
            "failures": [asdict(failure) for failure in self.sources.failures],
            "models": self.models,
            "store": str(self.store.absolute()),
            "settings": self.settings.model_dump(mode="json"),
            "retry_failed": self.retry_failed,
        }
        return json.dumps(facts)  # ASCII: names that are no UTF-8 come through

    @classmethod
    def from_json(cls, text: str) -> "Share":
        """Return what `to_json` wrote."""
        facts = json.loads(text)
        failures = tuple(ImageFailure(**failure) for failure in facts["failures"])
        return cls(
            number=facts["number"],
            sources=ImageSources(Path(facts["root"]), tuple(facts["names"]), failures),
            models=tuple(facts["models"]),
            store=Path(facts["store"]),
            settings=Settings.model_validate(facts["settings"]),
            retry_failed=facts["retry_failed"],
        )


class _Telling:
    """Progress as lines for the process that started this one."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def stage(self, text: str, done: int = 0, total: int = 0) -> None:
        """Tell of a stage."""
        self._tell({"stage": [text, done, total]})

    def notice(self, text: str) -> None:
        """Tell what the user should know."""
        self._tell({"notice": text})

    def scored(self, state: ScoreProgress) -> None:
        """Tell how far it is."""
        self._tell({"scored": asdict(state)})


def score_share(share: Share, tell: Tell) -> ScoreSummary:
    """Score a device's share into its shard, and tell what is going on.

    Raises
    ------
    TagstackError
        As `runs.score_sources`.
    """
    with (
        loaded_taggers(share.models, share.settings) as taggers,
        ShardWriter(
            share.store, Members.of(taggers), share.number, retry_failed=share.retry_failed
        ) as sink,
    ):
        return score_sources(share.sources, taggers, sink, share.settings, _Telling(tell))


def main() -> int:
    """Score the share on the standard input; return an exit code."""
    # What libraries print must not come between the lines: they get the error output.
    lines = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)

    def tell(what: Mapping[str, Any]) -> None:
        try:
            print(json.dumps(what), file=lines, flush=True)
        except BrokenPipeError:  # nobody listens any more: keep what is done, and end
            raise KeyboardInterrupt from None

    try:
        tell({"summary": asdict(score_share(Share.from_json(sys.stdin.read()), tell))})
    except TagstackError as error:
        tell({"error": str(error)})
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
