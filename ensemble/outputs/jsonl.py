"""``tags.jsonl``: the same as the json files, a line an image."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tagstack.ensemble.outputs.captions import TaggedFile
from tagstack.ensemble.outputs.format import Add, Table
from tagstack.ensemble.outputs.records import record


class JsonLines(Table):
    """One object a line; its schema is `tagstack.ensemble.outputs.records.schema`."""

    file_name = "tags.jsonl"

    @contextmanager
    def opened(self, path: Path) -> Iterator[Add]:
        """Write a line for each image."""
        with path.open("w", encoding="utf-8") as stream:

            def add(file: TaggedFile) -> None:
                stream.write(json.dumps(record(file, self.captions)) + "\n")

            yield add

    def read(self, path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield each image's name and final tags."""
        with path.open(encoding="utf-8") as stream:
            for line in stream:
                found = json.loads(line)
                yield found["image"], tuple(found["tags"])
