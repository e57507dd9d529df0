"""``kohya.json`` and ``kohya.jsonl``: metadata files of kohya's trainers, keyed by full path.

sd-scripts reads both by their suffix as the ``metadata_file`` of a fine-tuning subset; musubi-tuner
reads the second as its ``image_jsonl_file``. See finetune/merge_dd_tags_to_metadata.py there, whose
``--full_path`` keys these are, and musubi-tuner's docs/dataset_config.md.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from tagstack.ensemble.outputs.captions import TaggedFile
from tagstack.ensemble.outputs.format import TextTable


class KohyaMetadata(TextTable):
    """One object: absolute path -> ``{"tags": "a, b"}``.

    Without a tag it is a space: sd-scripts ends at a picture with an empty text ("caption or tag
    is required", library/train_util.py), and strips this one.
    """

    file_name = "kohya.json"
    detailed = False
    head, between, foot, nothing = "{\n", ",\n", "\n}\n", "{}\n"

    def block(self, file: TaggedFile) -> str:
        """Return an image's member of the object."""
        value = json.dumps({"tags": self.captions.text(file) or " "})
        return f"{json.dumps(str(file.path))}: {value}"

    def read(self, path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield each image's path and tags."""
        for name, found in json.loads(path.read_text(encoding="utf-8")).items():
            yield name, self.captions.parted(found["tags"])


class KohyaLines(TextTable):
    """One object a line: ``image_path`` and ``caption``."""

    file_name = "kohya.jsonl"
    detailed = False

    def block(self, file: TaggedFile) -> str:
        """Return an image's line."""
        line = {"image_path": str(file.path), "caption": self.captions.text(file)}
        return json.dumps(line) + "\n"

    def read(self, path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield each image's path and tags."""
        with path.open(encoding="utf-8") as stream:
            for line in map(json.loads, stream):
                yield line["image_path"], self.captions.parted(line["caption"])
