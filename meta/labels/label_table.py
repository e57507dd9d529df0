"""Rows of labels: one image's tags each, joined where an image has several.

A table in long form has a row for each image and tag. Conditions choose rows before these are
joined, and a column that says of each row whether its tag holds is not passed over.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tagstack.configs.errors import TagstackError

_NO = frozenset(("0", "0.0", "-1", "false", "f", "no", "n"))
_YES_OR_NO = _NO | {"", "1", "1.0", "true", "t", "yes", "y"}


@dataclass(frozen=True, kw_only=True)
class LabelRow:
    """One image's tags and further columns, as the label file has them.

    Parameters
    ----------
    image : str
    tags : tuple of str
        In booru form.
    columns : mapping of str to str
    unknown : tuple of str
        Families of tags that nobody has looked at; see `unknown_labels`.
    unsure : tuple of str
        Texts of several words that are one tag or several; the vocabulary will tell.
    known : tuple of str
        Families of tags that somebody has looked at, whatever ``unknown`` says of them.
    sure : tuple of str
        Tags that a row of the image has apart from its unsure texts: no part of one of them.
    """

    image: str
    tags: tuple[str, ...]
    columns: Mapping[str, str]
    unknown: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    sure: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LabelTable:
    """Every row of a label file.

    Parameters
    ----------
    source : str
        Where the rows came from, for messages.
    rows : tuple of LabelRow
    by_stem : bool
        Whether ``image`` is a sidecar's name without ``.txt``: a whole image name
        (``1.png.txt``), or a stem that means every image with it (``1.txt``).
    filtered : bool
        Whether rows were left out on purpose.
    joined : tuple of str
        Images whose rows were joined into one.
    differing : tuple of str
        Further columns in which rows of one image differ; the first row counts.
    """

    source: str
    rows: tuple[LabelRow, ...]
    by_stem: bool = False
    filtered: bool = False
    joined: tuple[str, ...] = ()
    differing: tuple[str, ...] = ()

    def where(self, condition: str | None) -> "LabelTable":
        """Return the rows that meet ``COLUMN=VALUE``; all of them for None.

        Raises
        ------
        TagstackError
            If the condition has another form, the column is missing or no row meets it.
        """
        if condition is None:
            return self
        return replace(self, rows=_chosen(self, condition), filtered=True)

    def column(self, name: str) -> list[str]:
        """Return a further column's value of every row; a column that a row lacks is an error."""
        if not all(name in row.columns for row in self.rows):
            known = sorted(set.intersection(*(set(row.columns) for row in self.rows)))
            msg = f"{self.source} has no column {name!r}. Columns beside image and tags: {known}."
            raise TagstackError(msg)
        return [row.columns[name] for row in self.rows]


def joined(table: LabelTable) -> LabelTable:
    """Return a table with one row for each image."""
    own: defaultdict[str, list[LabelRow]] = defaultdict(list)
    for row in table.rows:
        own[row.image].append(row)
    several = {image: same for image, same in own.items() if len(same) > 1}
    differing = {
        name: image for image, same in several.items() for name in dict.fromkeys(_differing(same))
    }
    for name, image in differing.items():
        _check_no_answer(name, [row.columns.get(name, "") for row in own[image]], image, table)
    return replace(
        table,
        rows=tuple(map(union_of, own.values())),
        joined=tuple(several),
        differing=tuple(differing),
    )


def _check_no_answer(name: str, cells: Sequence[str], image: str, table: LabelTable) -> None:
    """Raise if rows of one image say yes and no: all of them would be taken for yes."""
    said = {cell.strip().casefold() for cell in cells}
    if not said <= _YES_OR_NO or not said & _NO:
        return
    yes = next((cell for cell in cells if cell.strip().casefold() not in _NO and cell), "1")
    msg = (
        f"{table.source}: rows of {image!r} hold both {sorted(set(cells))} in the column {name!r}, "
        f"so it seems to say whether each row's tag holds. Keep the rows that do with --where "
        f"{name}={yes}, or delete the column."
    )
    raise TagstackError(msg)


def _chosen(table: LabelTable, condition: str) -> tuple[LabelRow, ...]:
    """Return the rows that meet ``COLUMN=VALUE``."""
    column, equals, value = condition.partition("=")
    if not equals:
        msg = f"--where {condition!r} has no '='. Expected COLUMN=VALUE, such as fold=3."
        raise TagstackError(msg)
    values = table.column(column)
    rows = tuple(row for row, own in zip(table.rows, values, strict=True) if own == value)
    if not rows:
        known = sorted(set(values))[:10]
        msg = f"No row of {table.source} has {column} = {value!r}. Values there: {known}."
        raise TagstackError(msg)
    return rows


def union_of(rows: Sequence[LabelRow]) -> LabelRow:
    """Return the rows of one image as one: every tag of theirs, the first row's columns."""
    if len(rows) == 1:
        return rows[0]
    sure = [tag for row in rows for tag in (row.sure if row.unsure else row.tags)]
    return replace(
        rows[0],
        sure=tuple(dict.fromkeys(sure)),
        tags=tuple(dict.fromkeys(tag for row in rows for tag in row.tags)),
        unknown=tuple(dict.fromkeys(word for row in rows for word in row.unknown)),
        unsure=tuple(dict.fromkeys(text for row in rows for text in row.unsure)),
        known=tuple(dict.fromkeys(word for row in rows for word in row.known)),
    )


def _differing(rows: Sequence[LabelRow]) -> list[str]:
    first = rows[0].columns
    return [n for row in rows[1:] for n, value in row.columns.items() if first.get(n) != value]
