"""What json, jsonl and parquet say of an image: the decision on every candidate.

The form is published as a JSON Schema, ``configs/schemas/tags-1.json``. A key that is added leaves
`VERSION` as it is; one that changes its meaning or goes away raises it.
"""

import json
import math
from importlib import resources
from typing import Any

from tagstack.ensemble.bundle.decisions import TagEntry
from tagstack.ensemble.outputs.captions import Captions, TaggedFile

VERSION = 1


def record(file: TaggedFile, captions: Captions) -> dict[str, Any]:
    """Return an image's tags and candidates as plain values."""
    share, moderator = captions.settings.unconfirmed, captions.moderator
    verdict = {} if moderator is None else {"moderation": moderator.judged(file.tagged).as_dict()}
    return {
        "schema": VERSION,
        "image": file.tagged.image,
        "sha256": file.sha256,
        "tags": [entry.tag for entry in file.tagged.tags],
        "caption": captions.text(file),
        "candidates": [candidate(entry, share) for entry in file.tagged.entries],
        **verdict,
    }


def state(entry: TagEntry, share: float) -> str:
    """Return what is known of a tag: confirmed, unconfirmed or rejected.

    Confirmed tags are in the final set. A tag whose probability lies between a share of its
    threshold and the threshold is unconfirmed: a person may look. What a rule took out, and what
    is less probable, is rejected.
    """
    if entry.tagged:
        return "confirmed"
    near = math.isfinite(entry.threshold) and entry.proba >= share * entry.threshold
    return "unconfirmed" if near and not entry.rule else "rejected"


def schema() -> dict[str, Any]:
    """Return the JSON Schema of `record`."""
    folder = resources.files("tagstack.configs").joinpath("schemas")
    found: dict[str, Any] = json.loads(folder.joinpath(f"tags-{VERSION}.json").read_text("utf-8"))
    return found


def candidate(entry: TagEntry, share: float) -> dict[str, Any]:
    """Return the decision on one tag as plain values; ``share`` as in `state`."""
    votes = {m: None if vote is None else round(vote, 4) for m, vote in entry.votes.items()}
    finite = math.isfinite(entry.threshold)
    return {
        "tag": entry.tag,
        "category": entry.category,
        "proba": round(entry.proba, 4),
        "threshold": round(entry.threshold, 4) if finite else None,  # JSON has no infinity
        "tagged": entry.tagged,
        "state": state(entry, share),
        "rule": entry.rule,
        "votes": votes,
    }
