"""``tags.parquet``: one row an image, or one an image and tag, for DuckDB, polars and the like."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from tagstack.ensemble.bundle.decisions import TagEntry
from tagstack.ensemble.outputs.captions import TaggedFile
from tagstack.ensemble.outputs.format import Add, Table, printable
from tagstack.ensemble.outputs.records import state

_ROWS = 20_000  # of a row group: bounds memory


class ParquetTable(Table):
    """Every candidate with probability, threshold, votes, state and rule.

    With ``output.parquet_rows = "image"`` a row holds the final ``tags``, the ``caption`` and the
    candidates as a list of structs; with ``"pair"`` a row is one candidate of one image.
    """

    file_name = "tags.parquet"

    @contextmanager
    def opened(self, path: Path) -> Iterator[Add]:
        """Write the rows of each image, a row group at a time."""
        from pyarrow import Table as Arrow
        from pyarrow import parquet

        schema = self._schema()
        waiting: list[dict[str, Any]] = []
        with parquet.ParquetWriter(path, schema, compression="zstd") as writer:

            def add(file: TaggedFile) -> None:
                waiting.extend(self._rows(file))
                if len(waiting) >= _ROWS:
                    writer.write_table(Arrow.from_pylist(waiting, schema=schema))
                    waiting.clear()

            yield add
            writer.write_table(Arrow.from_pylist(waiting, schema=schema))

    def read(self, path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield each image's name and final tags."""
        from pyarrow import parquet

        rows = (
            row for batch in parquet.ParquetFile(path).iter_batches() for row in batch.to_pylist()
        )
        for image, own in groupby(rows, itemgetter("image")):
            pairs = list(own)
            if "tags" in pairs[0]:
                yield image, tuple(pairs[0]["tags"])
            else:
                yield image, tuple(row["tag"] for row in pairs if row["tagged"])

    @property
    def _by_pair(self) -> bool:
        return self.captions.settings.parquet_rows == "pair"

    def _rows(self, file: TaggedFile) -> Iterator[dict[str, Any]]:
        share = self.captions.settings.unconfirmed
        head = {"image": printable(file.tagged.image), "sha256": bytes.fromhex(file.sha256)}
        pairs = [_pair(entry, share) for entry in file.tagged.entries]
        if self._by_pair:
            yield from (head | pair for pair in pairs)
            return
        tags = [entry.tag for entry in file.tagged.tags]
        yield head | {"tags": tags, "caption": self.captions.text(file), "candidates": pairs}

    def _schema(self) -> Any:
        import pyarrow as pa

        pair = [
            ("tag", pa.string()),
            ("category", pa.string()),
            ("proba", pa.float32()),
            ("threshold", pa.float32()),
            ("tagged", pa.bool_()),
            ("state", pa.string()),
            ("rule", pa.string()),
            ("votes", pa.map_(pa.string(), pa.float32())),
        ]
        head = [("image", pa.string()), ("sha256", pa.binary())]
        if self._by_pair:
            return pa.schema([*head, *pair])
        texts = [("tags", pa.list_(pa.string())), ("caption", pa.string())]
        return pa.schema([*head, *texts, ("candidates", pa.list_(pa.struct(pair)))])


def _pair(entry: TagEntry, share: float) -> dict[str, Any]:
    return {
        "tag": entry.tag,
        "category": entry.category,
        "proba": entry.proba,
        "threshold": entry.threshold if math.isfinite(entry.threshold) else None,
        "tagged": entry.tagged,
        "state": state(entry, share),
        "rule": entry.rule,
        "votes": list(entry.votes.items()),
    }
