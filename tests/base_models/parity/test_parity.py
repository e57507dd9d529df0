"""Comparing with the reference: figures against a plain loop, verdicts, reports on disk."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from tagstack.base_models.parity.parity import ParityReport, compare, read_report, write_report
from tagstack.base_models.taggers.tagger import Tagger, load_tagger
from tagstack.configs.level1 import ParitySettings
from tagstack.configs.settings import load_settings

Folder = Callable[..., Path]


class Shifted:
    """A session whose outputs are the real one's, changed by a function of outputs and batch."""

    def __init__(self, inner: Any, change: Callable[[NDArray[np.float32], int], Any]) -> None:
        self.inner, self.change = inner, change
        self.info, self.n_outputs = inner.info, inner.n_outputs

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(self.change(self.inner.run(batch), len(batch)), np.float32)

    def close(self) -> None:
        self.inner.close()


@pytest.fixture
def tagger(make_tagger_folder: Folder) -> Iterator[Tagger]:
    loaded = load_tagger(make_tagger_folder(kind="logits"), floor=1e-4, threads=1)
    yield loaded
    loaded.close()


@pytest.fixture
def pixels(rng: np.random.Generator) -> NDArray[np.uint8]:
    return rng.integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)


@pytest.fixture
def limits() -> ParitySettings:
    return load_settings().score.parity


def changed(tagger: Tagger, change: Callable[[NDArray[np.float32], int], Any]) -> Tagger:
    return replace(tagger, session=Shifted(tagger.session, change))


def test_the_reference_against_itself(
    tagger: Tagger, pixels: NDArray[np.uint8], limits: ParitySettings
) -> None:
    report = compare(tagger, tagger, pixels, batch=8)
    assert (report.max_difference, report.n_flips, report.max_batch_difference) == (0, 0, 0)
    assert (report.n_images, report.top10_overlap) == (20, 1.0)
    assert report.n_positives > 0
    assert report.fault(limits) is None


def test_figures_equal_those_of_a_loop(
    tagger: Tagger, pixels: NDArray[np.uint8], rng: np.random.Generator
) -> None:
    offsets = rng.normal(0, 0.5, 10).astype(np.float32)
    other = changed(tagger, lambda raw, size: raw + offsets)
    report = compare(other, tagger, pixels, batch=8)
    expected, found = tagger.logits(pixels), other.logits(pixels)
    floor = np.log(1e-4 / (1 - 1e-4))
    differences, flips, positives, largest = [], 0, 0, 0.0
    for row_a, row_b in zip(expected, found, strict=True):
        for a, b, threshold in zip(row_a, row_b, tagger.published_thresholds, strict=True):
            if max(a, b) > floor:
                differences.append(abs(float(a) - float(b)))
            flips += (expit(a) >= threshold) != (expit(b) >= threshold)
            positives += expit(a) >= threshold
            largest = max(largest, abs(float(expit(a) - expit(b))))
    assert flips > 0
    assert (report.n_flips, report.n_positives) == (flips, positives)
    assert report.max_difference == pytest.approx(max(differences), rel=1e-4)
    assert report.mean_difference == pytest.approx(np.mean(differences), rel=1e-4)
    assert report.p999_difference == pytest.approx(np.quantile(differences, 0.999), rel=1e-3)
    assert report.max_proba_difference == pytest.approx(largest, rel=1e-4)
    assert report.max_batch_difference == 0


def test_a_batch_that_gives_other_rows(tagger: Tagger, pixels: NDArray[np.uint8]) -> None:
    other = changed(tagger, lambda raw, size: raw + (0.25 if size > 1 else 0))
    report = compare(other, tagger, pixels, batch=8)
    assert report.max_batch_difference == pytest.approx(0.25, rel=1e-3)
    assert report.max_difference == pytest.approx(0.25, rel=1e-3)


def test_numbers_that_are_not_finite_are_a_fault(
    tagger: Tagger, pixels: NDArray[np.uint8], limits: ParitySettings
) -> None:
    def overflow(raw: NDArray[np.float32], size: int) -> NDArray[np.float32]:
        raw = raw.copy()
        raw[0, 3] = np.inf
        return raw

    report = compare(changed(tagger, overflow), tagger, pixels[:8], batch=8)
    assert report.n_not_finite == 8  # alone, each image is the first of its call
    assert "not finite on 8 of 8" in str(report.fault(limits))


def test_constant_outputs_are_refused(
    tagger: Tagger, pixels: NDArray[np.uint8], limits: ParitySettings
) -> None:
    report = compare(changed(tagger, lambda raw, size: raw * 0), tagger, pixels, batch=8)
    assert report.flip_share > 0.5
    assert "decides" in str(report.fault(limits))


def made(**changes: Any) -> ParityReport:
    values: dict[str, Any] = {
        "tagger": "t",
        "fingerprint": "f",
        "runtime": "r",
        "precision": "bf16",
        "reference": "ort",
        "n_images": 32,
        "n_asked": 32,
        "batch": 8,
        "n_pairs": 1000,
        "max_difference": 0.1,
        "mean_difference": 0.01,
        "p999_difference": 0.09,
        "max_proba_difference": 0.02,
        "n_positives": 200,
        "n_flips": 6,
        "top10_overlap": 0.99,
        "max_batch_difference": 0.0,
        "n_not_finite": 0,
    }
    return ParityReport(**values | changes)


@pytest.mark.parametrize(
    ("precision", "n_flips", "good"),
    [
        ("fp32", 1, True),
        ("fp32", 2, False),
        ("tf32", 2, False),
        ("bf16", 10, True),
        ("bf16", 11, False),
        ("fp16", 11, False),
        ("int8", 30, True),
        ("int8+bf16", 30, True),
        ("int8", 31, False),
        ("fp8", 20, True),
        ("fp8+bf16", 21, False),
    ],
)
def test_each_precision_has_its_limit(
    limits: ParitySettings, precision: str, n_flips: int, good: bool
) -> None:
    report = made(precision=precision, n_flips=n_flips)
    assert (report.fault(limits) is None) == good
    # Other limits judge the same report anew.
    stored = precision.partition("+")[0]
    for kind in ("int8", "fp8"):
        strict = limits.model_copy(update={f"max_flips_{kind}": 0.0})
        assert (report.fault(strict) is None) == (good and stored != kind)


def test_a_report_survives_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "a" / "report.json"
    assert read_report(path) is None
    write_report(path, made())
    assert read_report(path) == made()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 1}', '{"format": 99}'])
def test_what_is_no_report_counts_as_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(content)
    assert read_report(path) is None
