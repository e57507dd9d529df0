"""``IMAGE.json``: tags, probabilities, thresholds, votes and the rules that changed them."""

import json

from tagstack.ensemble.outputs.captions import TaggedFile
from tagstack.ensemble.outputs.format import Sidecar
from tagstack.ensemble.outputs.records import record


class JsonSidecar(Sidecar):
    """One object; its schema is `tagstack.ensemble.outputs.records.schema`."""

    suffix = ".json"

    def render(self, file: TaggedFile) -> str:
        """Return the object as text."""
        return json.dumps(record(file, self.captions), indent=1) + "\n"

    def parse(self, text: str) -> tuple[str, ...]:
        """Return the final tags."""
        return tuple(json.loads(text)["tags"])
