"""``tags.jsonl``: the same as the json files, a line an image."""

import json
from collections.abc import Iterator
from pathlib import Path

from tagstack.ensemble.outputs.captions import TaggedFile
from tagstack.ensemble.outputs.format import TextTable
from tagstack.ensemble.outputs.records import record


class JsonLines(TextTable):
    """One object a line; its schema is `tagstack.ensemble.outputs.records.schema`."""

    file_name = "tags.jsonl"

    def block(self, file: TaggedFile) -> str:
        """Return an image's line."""
        return json.dumps(record(file, self.captions)) + "\n"

    def read(self, path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield each image's name and final tags."""
        with path.open(encoding="utf-8") as stream:
            for line in stream:
                found = json.loads(line)
                yield found["image"], tuple(found["tags"])
