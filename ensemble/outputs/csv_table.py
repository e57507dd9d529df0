"""``tags.csv``: ``filename,tag,score`` of the final tags, as Danbooru's autotagger writes it.

Cells that a spreadsheet would run as a formula have an apostrophe in front; see `TableWriter`.
"""

import io
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from tagstack.configs.tables import TableWriter, read_table
from tagstack.ensemble.outputs.captions import TaggedFile
from tagstack.ensemble.outputs.format import TextTable, printable


class ScoreTable(TextTable):
    """One row for each tag of each image; the score is the stack's probability."""

    file_name = "tags.csv"
    detailed = False
    head = nothing = "filename,tag,score\n"

    def block(self, file: TaggedFile) -> str:
        """Return the rows of an image's tags."""
        stream, name = io.StringIO(newline=""), printable(file.tagged.image)
        rows = ((name, entry.tag, f"{entry.proba:.4f}") for entry in file.tagged.tags)
        TableWriter(stream).writerows(rows)
        return stream.getvalue()

    def read(self, path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield each image's name and tags; an image without tags has no row."""
        cells = (row.cells for row in read_table(path, what="tags").rows)
        rows = ((row["filename"], row["tag"]) for row in cells)
        for name, own in groupby(rows, itemgetter(0)):
            yield name, tuple(tag for _, tag in own)
