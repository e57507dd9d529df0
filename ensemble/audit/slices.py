"""Parts of the labelled material that may fare otherwise than the rest.

Images by a label column or by a tag that holds on them, and tags by category, frequency or family.
What is small stands together as one slice, which names its parts.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.tag_names import did_you_mean
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.meta.labels.truth import positives_per_tag

Bools = NDArray[np.bool_]

COLUMN, HELD = "column", "tag"  # kinds of images
CATEGORY, FREQUENCY, FAMILY = "category", "frequency", "family"  # kinds of tags
ALL = "all"  # what changed over everything
TAG_KINDS = (CATEGORY, FREQUENCY, FAMILY)
_UNNAMED = "(none)"


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Some images with all their tags, or some tags on all images.

    Parameters
    ----------
    kind : str
        "column" or "tag" for images, "category", "frequency" or "family" for tags.
    column : str
        What parts the images or tags: the label column for "column", else the kind.
    value : str
    images : array of shape (n_images,), bool, or None
        None for all.
    tags : array of shape (n_tags,), bool, or None
        None for all.
    pooled : tuple of str
        The values, where several small ones stand together.
    """

    kind: str
    column: str
    value: str
    images: Bools | None = None
    tags: Bools | None = None
    pooled: tuple[str, ...] = ()


def column_slices(
    columns: Mapping[str, Sequence[str]], by: Sequence[str], *, most_values: int, least_images: int
) -> tuple[tuple[Slice, ...], tuple[str, ...]]:
    """Return the images by label columns, and notices about columns that part none.

    Parameters
    ----------
    columns : mapping of column to n_images values
    by : sequence of str
        Columns to slice by.
    most_values : int
        So many of the commonest values stand alone, as in `tagstack compare`.
    least_images : int
        Values on fewer, and all others, stand together.

    Raises
    ------
    TagstackError
        If a column is not there.
    """
    found: list[Slice] = []
    notices: list[str] = []
    for column in dict.fromkeys(by):
        if column not in columns:
            msg = (
                f"The labels have no column {column!r} to slice by; they have "
                f"{sorted(columns) or 'none besides image and tags'}.{_hint(column, columns)}"
            )
            raise TagstackError(msg)
        own = _of_column(column, columns[column], most_values, least_images)
        if not own:
            notices.append(
                f"{column} parts the images into no two kinds of {least_images} images or more; "
                "nothing is compared by it"
            )
        found += own
    return tuple(found), tuple(notices)


def _hint(name: str, known: Mapping[str, object]) -> str:
    close = did_you_mean(name, known)
    return f" {close.strip()}" if close else ""


def _of_column(
    column: str, values: Sequence[str], most_values: int, least_images: int
) -> list[Slice]:
    each = np.array([value or _UNNAMED for value in values], object)
    counts = Counter(each.tolist())
    common = sorted(counts, key=lambda value: (-counts[value], value))[:most_values]
    alone = [value for value in sorted(common) if counts[value] >= least_images]
    found = [
        Slice(kind=COLUMN, column=column, value=value, images=np.asarray(each == value))
        for value in alone
        if counts[value] < len(each)
    ]
    others = tuple(sorted(counts.keys() - set(alone)))
    rest = np.isin(each, others)
    if found and rest.sum() >= least_images:
        name = f"{len(others)} other value{'s' * (len(others) > 1)}"
        found.append(Slice(kind=COLUMN, column=column, value=name, images=rest, pooled=others))
    return found


def held_slices(
    patterns: Sequence[str],
    labels: sparse.csr_array,
    vocabulary: Vocabulary,
    *,
    least_images: int,
) -> tuple[tuple[Slice, ...], tuple[str, ...]]:
    """Return the images on which each tag of some patterns holds, and notices about the others.

    Tags that hold on few images, or on nearly all, make no slice: to pool images by tags that are
    only rare would say nothing of any of them. Images where the tag is unknown count as without.

    Parameters
    ----------
    patterns : sequence of str
        Tags, or patterns with ``*`` and ``?``.
    labels : csr_array of shape (n_images, n_tags), bool
    vocabulary : Vocabulary
    least_images : int

    Raises
    ------
    TagstackError
        If a pattern means no tag.
    """
    wanted: dict[str, int] = {}
    for pattern in patterns:
        own = {t: i for t, i in vocabulary.index.items() if fnmatchcase(t, pattern)}
        if not own:
            msg = (
                f"{pattern!r} means none of this bundle's {len(vocabulary)} tags. Expected a tag, "
                f"or a pattern such as *_hair.{_hint(pattern, vocabulary.index)}"
            )
            raise TagstackError(msg)
        wanted |= own
    n_images, by_tag = labels.shape[0], sparse.csc_array(labels)
    counts = positives_per_tag(labels)
    found = []
    for tag, i in wanted.items():
        if least_images <= counts[i] <= n_images - least_images:
            images = np.zeros(n_images, bool)
            images[by_tag.indices[by_tag.indptr[i] : by_tag.indptr[i + 1]]] = True
            found.append(Slice(kind=HELD, column=HELD, value=tag, images=images))
    few = len(wanted) - len(found)
    said = f"{few} of {len(wanted)} tags hold on fewer than {least_images} images, or on all but so"
    return tuple(found), ((f"{said} few: they make no slice",) if few else ())


def tag_slices(
    kinds: Sequence[str],
    vocabulary: Vocabulary,
    labels: sparse.csr_array,
    evidence: NDArray[np.integer],
    families: Mapping[str, Bools],
    *,
    bands: Sequence[int],
    least_pairs: int,
) -> tuple[Slice, ...]:
    """Return the tags by kind; a kind that parts them into one makes none.

    Parameters
    ----------
    kinds : sequence of {"category", "frequency", "family"}
    vocabulary : Vocabulary
    labels : csr_array of shape (n_images, n_tags), bool
        The frequency is the number of these images on which a tag holds.
    evidence : array of shape (n_tags,), integer
        Images on which a tag is given or true.
    families : mapping of name to array of shape (n_tags,), bool
        They may overlap.
    bands : sequence of int
        Positives at which a new band begins. Tags without any are in no band: whatever is given
        of them is wrong, so that they would only repeat what their band says.
    least_pairs : int
        Tags of a slice that are given or true less often, all together, stand with other such.

    Raises
    ------
    TagstackError
        If there is no such kind.
    """
    found: list[Slice] = []
    for kind in dict.fromkeys(kinds):
        masks = dict(_masks(kind, vocabulary, labels, families, bands))
        sizes = {value: int(evidence[mask].sum()) for value, mask in masks.items()}
        masks = {value: mask for value, mask in masks.items() if sizes[value]}
        for value, mask, pooled in _pooled(masks, sizes, least_pairs):
            if evidence[~mask].sum():
                own = Slice(kind=kind, column=kind, value=value, tags=mask, pooled=pooled)
                found.append(own)
    return tuple(found)


def _masks(
    kind: str,
    vocabulary: Vocabulary,
    labels: sparse.csr_array,
    families: Mapping[str, Bools],
    bands: Sequence[int],
) -> Iterator[tuple[str, Bools]]:
    if kind == CATEGORY:
        of = np.array(vocabulary.categories, object)
        yield from ((name, np.asarray(of == name)) for name in sorted(set(vocabulary.categories)))
    elif kind == FREQUENCY:
        counts = positives_per_tag(labels)
        for low, end in pairwise((*bands, np.iinfo(np.int64).max)):
            yield _band(low, end), (counts >= low) & (counts < end)
    elif kind == FAMILY:
        yield from families.items()
    else:
        msg = f"{kind!r} parts no tags; expected some of {', '.join(TAG_KINDS)}."
        raise TagstackError(msg)


def _band(low: int, end: int) -> str:
    if end == np.iinfo(np.int64).max:
        return f"on {low} images or more"
    return f"on {low} to {end - 1} images" if end - 1 > low else f"on {low} images"


def _pooled(
    masks: Mapping[str, Bools], sizes: Mapping[str, int], least: int
) -> Iterator[tuple[str, Bools, tuple[str, ...]]]:
    """Yield each value large enough with its mask, then the small ones as one, if large enough."""
    small = tuple(value for value in masks if sizes[value] < least)
    for value, mask in masks.items():
        if value not in small:
            yield value, mask, ()
    if small and sum(sizes[value] for value in small) >= least:
        together = np.logical_or.reduce([masks[value] for value in small])
        yield f"{len(small)} small ones", together, small
