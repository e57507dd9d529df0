"""Fixtures of this room: a tagged picture, and captions under changed settings."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tagstack.configs.settings import load_settings
from tagstack.ensemble.bundle.decisions import TagEntry, TaggedImage
from tagstack.ensemble.outputs.captions import Captions, TaggedFile


def entry(
    tag: str, proba: float, category: str = "general", tagged: bool = True, rule: str = ""
) -> TagEntry:
    return TagEntry(
        tag=tag, category=category, proba=proba, threshold=0.5, votes={"a": proba, "b": None},
        tagged=tagged, rule=rule,
    )  # fmt: skip


ENTRIES = (
    entry("long_hair", 0.95),
    entry("saber_(fate)", 0.9, "character"),
    entry("fate/stay_night", 0.88, "copyright"),
    entry("safe", 0.8, "rating"),
    entry("\\m/", 0.7),
    entry("wlop", 0.65, "artist"),
    entry("2girls", 0.6, tagged=False, rule="count"),
    entry("smile", 0.4, tagged=False),
    entry("hat", 0.2, tagged=False),
)


@pytest.fixture
def make_file() -> Callable[..., TaggedFile]:
    """Return a maker of a tagged picture; by default one with tags of every category."""

    def make(
        image: str = "sub/1.png", entries: tuple[TagEntry, ...] = ENTRIES, sha256: str = "ab" * 32
    ) -> TaggedFile:
        tagged = TaggedImage(image=image, entries=entries)
        return TaggedFile(tagged=tagged, path=Path("/pictures", image), sha256=sha256)

    return make


@pytest.fixture
def make_captions() -> Callable[..., Captions]:
    """Return a maker of captions from changed settings of ``[output]``."""

    def make(
        *, seed: int = 0, copyrights: dict[str, tuple[str, ...]] | None = None, **changes: Any
    ) -> Captions:
        output = load_settings(changes={"output": changes}).output
        categories = {entry.tag: entry.category for entry in ENTRIES}
        return Captions(output, seed=seed, copyrights=copyrights, categories=categories)

    return make
