"""``kohya.json`` and ``kohya.jsonl``: metadata files of kohya's trainers, keyed by full path.

sd-scripts reads both by their suffix as the ``metadata_file`` of a fine-tuning subset; musubi-tuner
reads the second as its ``image_jsonl_file``. See finetune/merge_dd_tags_to_metadata.py there, whose
``--full_path`` keys these are, and musubi-tuner's docs/dataset_config.md.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tagstack.ensemble.outputs.captions import TaggedFile
from tagstack.ensemble.outputs.format import Add, Table


class KohyaMetadata(Table):
    """One object: absolute path -> ``{"tags": "a, b"}``."""

    file_name = "kohya.json"
    detailed = False

    @contextmanager
    def opened(self, path: Path) -> Iterator[Add]:
        """Write the object piece by piece: memory does not grow with the images."""
        with path.open("w", encoding="utf-8") as stream:
            between = "{\n"

            def add(file: TaggedFile) -> None:
                nonlocal between
                value = json.dumps({"tags": self.captions.text(file)})
                stream.write(f"{between}{json.dumps(str(file.path))}: {value}")
                between = ",\n"

            yield add
            stream.write("\n}\n" if between == ",\n" else "{}\n")

    def read(self, path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield each image's path and tags."""
        for name, found in json.loads(path.read_text(encoding="utf-8")).items():
            yield name, self.captions.parted(found["tags"])


class KohyaLines(Table):
    """One object a line: ``image_path`` and ``caption``."""

    file_name = "kohya.jsonl"
    detailed = False

    @contextmanager
    def opened(self, path: Path) -> Iterator[Add]:
        """Write a line for each image."""
        with path.open("w", encoding="utf-8") as stream:

            def add(file: TaggedFile) -> None:
                line = {"image_path": str(file.path), "caption": self.captions.text(file)}
                stream.write(json.dumps(line) + "\n")

            yield add

    def read(self, path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield each image's path and tags."""
        with path.open(encoding="utf-8") as stream:
            for line in map(json.loads, stream):
                yield line["image_path"], self.captions.parted(line["caption"])
