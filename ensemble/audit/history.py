"""What got better or worse since an earlier audit, on the images that both have seen.

An audit keeps what it counted on each image, by the content of the file. A later one, of another
bundle or other thresholds, finds the same images again; only those whose labels still say the same
are compared, so that a difference is of the tags, not of the labels.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.array_files import write_arrays
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.audit.counts import COUNTED, FIGURES, JudgedPairs
from tagstack.ensemble.audit.looks import resampled_figures
from tagstack.ensemble.audit.slices import ALL, Slice
from tagstack.meta.checked_arrays import CheckedArrays
from tagstack.meta.metrics.bootstrap import Weightings, groups_behind
from tagstack.meta.metrics.counts import canonical
from tagstack.meta.metrics.tag_tests import compare_tags

FILE = "audit-images.safetensors"
_SIGNED = np.array([False, False, False, True, True])[:, None]  # the nearer to 0 the better
_ALL = Slice(kind=ALL, column=ALL, value="all images and tags")

Numbers = NDArray[np.uint64]


@dataclass(frozen=True, kw_only=True)
class FigureChange:
    """One figure of one slice before and after, on the same images.

    ``difference`` is above 0 where it got better: after minus before, and for ``tagging`` and
    ``calibration`` how much nearer it came to 0. ``q_value`` is adjusted over all changes.
    """

    kind: str
    column: str
    value: str
    figure: str
    n_images: int
    n_groups: int
    before: float
    after: float
    difference: float
    low: float
    high: float
    q_value: float
    verdict: str


@dataclass(frozen=True, kw_only=True)
class FigureChanges:
    """What changed since an earlier audit.

    Parameters
    ----------
    bundle, thresholds : str
        Of the earlier audit: digest of the bundle, version of its thresholds.
    n_images, n_relabelled, n_missing : int
        Images that are compared, copies once; that both have seen, but under other labels; and
        that one of both has not seen.
    found : tuple of FigureChange
    """

    bundle: str
    thresholds: str
    n_images: int
    n_relabelled: int
    n_missing: int
    found: tuple[FigureChange, ...]


@dataclass(frozen=True, kw_only=True)
class KeptCounts:
    """What an audit counted on each image.

    Parameters
    ----------
    bundle, thresholds : str
    contents : array of shape (n_images,), uint64
        First eight bytes of each file's SHA-256.
    labels : array of shape (n_images,), uint64
        Digest of what each image's labels say.
    total : array of shape (n_counted, n_images), float64
        Over all tags.
    parts : mapping of (kind, value, digest of the tags) to csr_array (n_counted, n_images)
        Over the tags of each slice of tags.
    """

    bundle: str
    thresholds: str
    contents: Numbers
    labels: Numbers
    total: NDArray[np.float64]
    parts: Mapping[tuple[str, str, str], sparse.csr_array]

    @classmethod
    def of(
        cls,
        judged: JudgedPairs,
        slices: Sequence[Slice],
        contents: Sequence[str],
        labels: Numbers,
        vocabulary: Vocabulary,
        *,
        bundle: str,
        thresholds: str,
    ) -> "KeptCounts":
        """Return what is kept of an audit.

        Parameters
        ----------
        judged : JudgedPairs
        slices : sequence of Slice
            Those of tags are kept; those of images are found again by the labels.
        contents : sequence of str
            SHA-256 of each image's file, in hexadecimal.
        labels : array of shape (n_images,), uint64
            As of `label_digests`.
        vocabulary : Vocabulary
        bundle, thresholds : str
        """
        raw = b"".join(bytes.fromhex(content[:16]) for content in contents)
        return cls(
            bundle=bundle,
            thresholds=thresholds,
            contents=np.frombuffer(raw, np.uint64),
            labels=labels,
            total=judged.counts(),
            parts={
                _key(own, vocabulary): sparse.csr_array(judged.counts(own.tags))
                for own in slices
                if own.tags is not None
            },
        )

    def save(self, path: Path) -> None:
        """Write it as safetensors."""
        rows = [self.total, *(part.toarray() for part in self.parts.values())]
        every = sparse.csr_array(np.concatenate(rows).astype(np.float32))
        arrays: dict[str, NDArray[Any]] = {
            "contents": self.contents,
            "labels": self.labels,
            "counts.data": every.data,
            "counts.indices": every.indices.astype(np.int32),
            "counts.indptr": every.indptr.astype(np.int64),
        }
        facts = {
            "bundle": self.bundle,
            "thresholds": self.thresholds,
            "parts": json.dumps([list(key) for key in self.parts]),
        }
        write_arrays(path, arrays, facts)

    @classmethod
    def load(cls, folder: Path) -> "KeptCounts":
        """Return what an audit in ``folder`` kept.

        Raises
        ------
        TagstackError
            If there is none, or the file is not what :meth:`save` wrote.
        """
        from safetensors import SafetensorError, safe_open

        path = folder / FILE
        if not path.is_file():
            msg = (
                f"{folder} has no {FILE}: expected the folder of an earlier `tagstack audit`. "
                "Audit the old bundle again."
            )
            raise TagstackError(msg)
        try:
            with safe_open(path, framework="numpy") as stream:
                facts = stream.metadata() or {}
                arrays = {name: stream.get_tensor(name) for name in stream.keys()}
            return cls._checked(CheckedArrays(arrays, FILE), facts)
        except (SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
            msg = f"{path} is not what an audit wrote ({error}). Audit the old bundle again."
            raise TagstackError(msg) from error

    @classmethod
    def _checked(cls, arrays: CheckedArrays, facts: Mapping[str, str]) -> "KeptCounts":
        keys = [(str(kind), str(value), str(tags)) for kind, value, tags in _parts(facts)]
        contents = arrays.shaped("contents", (None,), "u")
        n_images, n_counted = len(contents), len(COUNTED)
        n_rows = n_counted * (1 + len(keys))
        data = arrays.real("counts.data", (None,))
        columns = arrays.whole("counts.indices", data.shape, high=n_images)
        starts = arrays.starts("counts.indptr", n_rows, len(data))
        every = sparse.csr_array((data, columns, starts), shape=(n_rows, n_images))
        every = sparse.csr_array(every.astype(np.float64))
        return cls(
            bundle=facts["bundle"],
            thresholds=facts["thresholds"],
            contents=contents.astype(np.uint64),
            labels=arrays.shaped("labels", (n_images,), "u").astype(np.uint64),
            total=every[:n_counted].toarray(),
            parts={
                key: sparse.csr_array(every[(i + 1) * n_counted : (i + 2) * n_counted])
                for i, key in enumerate(keys)
            },
        )


def label_digests(
    labels: sparse.csr_array, unknown: sparse.csr_array, vocabulary: Vocabulary
) -> Numbers:
    """Return a number for what the labels say of each image, shape (n_images,), uint64.

    Parameters
    ----------
    labels, unknown : csr_array of shape (n_images, n_tags), bool
    vocabulary : Vocabulary
    """
    texts = [_texts(matrix, vocabulary) for matrix in (labels, unknown)]
    said = (f"{true}\0{open_}".encode() for true, open_ in zip(*texts, strict=True))
    return np.frombuffer(b"".join(blake2b(own, digest_size=8).digest() for own in said), np.uint64)


def changes_since(
    old: KeptCounts,
    new: KeptCounts,
    slices: Sequence[Slice],
    groups: NDArray[np.integer],
    vocabulary: Vocabulary,
    *,
    resamples: int,
    seed: int,
    confidence: float,
    false_discovery_rate: float,
) -> FigureChanges:
    """Return what each slice's figures were and are, on the images that both audits have.

    Parameters
    ----------
    old, new : KeptCounts
    slices : sequence of Slice
        Of the new audit. Slices of tags that the old one did not have, or that meant other tags
        there, are passed over.
    groups : array of shape (n_images,), integer
        Of the new audit's images.
    vocabulary : Vocabulary
        Of the new audit.
    resamples, seed : int
    confidence : float, in (0.5, 1)
    false_discovery_rate : float, in (0, 1)
        Over all changes.
    """
    _, here, there = np.intersect1d(new.contents, old.contents, return_indices=True)
    same = new.labels[here] == old.labels[there]
    seen = len(here)
    here, there = here[same], there[same]
    nothing = FigureChanges(
        bundle=old.bundle,
        thresholds=old.thresholds,
        n_images=len(here),
        n_relabelled=seen - len(here),
        n_missing=sum(len(np.unique(own.contents)) for own in (new, old)) - 2 * seen,
        found=(),
    )
    if not len(here):
        return nothing
    own = [_ALL, *(one for one in slices if _is_in_both(one, old, new, vocabulary))]
    before = [_rows(one, old, there, here, vocabulary) for one in own]
    after = [_rows(one, new, here, here, vocabulary) for one in own]
    weightings = Weightings(groups[here], resamples=resamples, seed=seed)
    was, _ = resampled_figures(before, old.total[:, there], weightings)
    now, _ = resampled_figures(after, new.total[:, here], weightings)
    good_was, good_now = (np.where(_SIGNED, -np.abs(figures), figures) for figures in (was, now))
    moved = [abs(one - two).sum(axis=0) for one, two in zip(before, after, strict=True)]
    n_groups = np.array([groups_behind(np.asarray(own).ravel(), groups[here]) for own in moved])
    tests = compare_tags(
        good_now.reshape(-1, now.shape[-1]),
        good_was.reshape(-1, now.shape[-1]),
        np.repeat(n_groups, len(FIGURES)),
        confidence=confidence,
        false_discovery_rate=false_discovery_rate,
        freedom=np.repeat(n_groups - 1, len(FIGURES)),
    )
    inside = [_inside(one, row, here) for one, row in zip(own, after, strict=True)]
    found = tuple(
        FigureChange(
            kind=one.kind,
            column=one.column,
            value=one.value,
            figure=figure,
            n_images=int(inside[i].sum()),
            n_groups=len(np.unique(groups[here][inside[i]])),
            before=float(was[i, j, 0]),
            after=float(now[i, j, 0]),
            difference=float(tests.difference[i * len(FIGURES) + j]),
            low=float(tests.low[i * len(FIGURES) + j]),
            high=float(tests.high[i * len(FIGURES) + j]),
            q_value=float(tests.q_value[i * len(FIGURES) + j]),
            verdict=tests.verdict[i * len(FIGURES) + j],
        )
        for i, one in enumerate(own)
        for j, figure in enumerate(FIGURES)
    )
    return replace(nothing, found=found)


def _parts(facts: Mapping[str, str]) -> list[Any]:
    found = json.loads(facts["parts"])
    if not isinstance(found, list):
        msg = f"parts is {found!r:.60}; expected a list"
        raise ValueError(msg)
    return found


def _key(own: Slice, vocabulary: Vocabulary) -> tuple[str, str, str]:
    chosen = np.flatnonzero(own.tags if own.tags is not None else [])
    names = "\n".join(sorted(vocabulary.tags[i] for i in chosen.tolist()))
    return own.kind, own.value, blake2b(names.encode(), digest_size=8).hexdigest()


def _is_in_both(own: Slice, old: KeptCounts, new: KeptCounts, vocabulary: Vocabulary) -> bool:
    key = _key(own, vocabulary)
    return own.tags is None or (key in old.parts and key in new.parts)


def _rows(
    own: Slice,
    kept: KeptCounts,
    rows: NDArray[np.intp],
    now: NDArray[np.intp],
    vocabulary: Vocabulary,
) -> sparse.csr_array:
    """Return what an audit counted inside a slice on some of its images.

    ``rows`` are their places there, ``now`` those in the audit that the slice is of.
    """
    if own.tags is not None:
        return sparse.csr_array(kept.parts[_key(own, vocabulary)][:, rows])
    counts = kept.total[:, rows]
    return sparse.csr_array(counts if own.images is None else counts * own.images[now])


def _inside(own: Slice, row: sparse.csr_array, now: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return on which of the compared images a slice says something."""
    if own.images is not None:
        return own.images[now]
    return np.asarray(row.sum(axis=0) != 0).ravel()


def _texts(matrix: sparse.csr_array, vocabulary: Vocabulary) -> list[str]:
    own = canonical(matrix)
    tags = [vocabulary.tags[i] for i in own.indices.tolist()]
    return [
        "\n".join(sorted(tags[begin:end]))
        for begin, end in zip(own.indptr[:-1].tolist(), own.indptr[1:].tolist(), strict=True)
    ]
