"""Faults that give almost right scores are found by labelled pictures; right contracts stand."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import wilcoxon

from tagstack.base_models.runtimes.base import Session
from tagstack.base_models.taggers.registry import resolve
from tagstack.base_models.taggers.tagger import Tagger, load_tagger
from tagstack.base_models.zoo.gallery import Picture, draw_picture
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.ensemble.tasks import check_framing as module
from tagstack.ensemble.tasks.check_framing import check_framing
from tagstack.ensemble.tasks.framing_search import FramingSearch, as_if, better_ways, ways
from tagstack.ensemble.tasks.framing_verdict import losses, middle

N = 22


class Remembering:
    """A session that runs no input twice: a way of one test is the contract of another."""

    def __init__(self, session: Session) -> None:
        self._session, self._seen = session, dict[bytes, NDArray[np.float32]]()
        self.info, self.n_outputs = session.info, session.n_outputs

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        key = batch.tobytes()
        if key not in self._seen:
            self._seen[key] = self._session.run(batch)
        return self._seen[key]

    def close(self) -> None:
        """Stay open for the next test."""


@cache
def tagger(name: str) -> Tagger:
    loaded = load_tagger(resolve(name), floor=1e-4, threads=1, smoke=False)
    return replace(loaded, session=Remembering(loaded.session))


@cache
def gallery(seed: int) -> tuple[Picture, ...]:
    return tuple(draw_picture(seed, i) for i in range(N))


def drawn(seed: int) -> Iterator[Image.Image]:
    return (picture.image for picture in gallery(seed))


def truth(name: str, seed: int) -> NDArray[np.bool_]:
    tags = tagger(name).vocabulary.tags
    return np.array([[tag in picture.clean for tag in tags] for picture in gallery(seed)])


def search(name: str, wrong: Mapping[str, Any], seed: int = 5) -> FramingSearch:
    return better_ways(as_if(tagger(name), wrong), lambda: drawn(seed), truth(name, seed))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("doll_vit", {"colour": "BGR"}),
        ("doll_resnet", {"colour": "other"}),
    ],
)
def test_a_wrong_input_is_named_with_the_line_that_mends_it(
    name: str, wrong: Mapping[str, Any]
) -> None:
    right = tagger(name).contract.input
    swapped = {"colour": "BGR" if right.colour == "RGB" else "RGB"}
    facts = {key: swapped[key] if value == "other" else value for key, value in wrong.items()}
    found = search(name, facts).found
    key = next(iter(facts))
    mended = {fact: value for item in found for fact, value in item.facts.items()}
    assert mended[key] == getattr(right, key), found
    assert found[0].low > 0


@pytest.mark.parametrize("name", ["doll_vit", "doll_resnet"])
def test_a_right_contract_is_not_accused(name: str) -> None:
    assert search(name, {}).found == ()


def test_labels_that_say_nothing_accuse_nobody(rng: np.random.Generator) -> None:
    noise = rng.random((N, len(tagger("doll_vit").vocabulary))) < 0.1
    noise[:, 0] = True
    assert better_ways(tagger("doll_vit"), lambda: drawn(5), noise).found == ()


def test_what_is_not_sure_says_how_many_pictures_would_show_it() -> None:
    told = search("doll_resnet", {"geometry": "squash"})
    ((facts, needed),) = told.undecided
    assert told.found == ()
    assert facts == {"geometry": "pad_square"}  # as it was trained
    assert N < needed < 200


def test_losses_do_not_ask_how_sure_a_tagger_is(rng: np.random.Generator) -> None:
    logits = rng.normal(-2, 2, (30, 40)).astype(np.float32)
    labels = rng.random((30, 40)) < 1 / (1 + np.exp(-logits))
    found = losses(logits, labels)
    assert found.shape == (30,)
    np.testing.assert_allclose(losses(3 * logits - 5, labels), found, rtol=1e-3)
    assert (
        losses(-logits + rng.normal(0, 3, logits.shape).astype(np.float32), labels).mean()
        > found.mean()
    )


def test_the_middle_is_hodges_and_lehmanns_and_its_interval_is_wilcoxons_test(
    rng: np.random.Generator,
) -> None:
    sure = 0
    for shift in np.linspace(-0.6, 0.6, 41):
        gains = rng.normal(shift, 1, 40)
        middle_, low, high = middle(gains, 1.959964)
        pairs = [(a + b) / 2 for i, a in enumerate(gains) for b in gains[i:]]
        assert middle_ == pytest.approx(np.median(pairs))
        assert low < middle_ < high
        p = wilcoxon(gains, correction=False, method="asymptotic").pvalue
        if abs(p - 0.05) > 0.01:  # the cut falls between two ranks
            assert (low > 0 or high < 0) == (p < 0.05)
        sure += p < 0.05
    assert 5 < sure < 36
    assert middle(np.array([1.0, 2.0]), 1.96)[1:] == (-np.inf, np.inf)
    assert middle(np.array([]), 1.96)[0] == 0


def test_no_way_says_what_the_contract_says() -> None:
    for name in ("doll_vit", "doll_resnet", "doll_convnext"):
        source = load_contract(name)
        for facts in ways(source):
            assert any(getattr(source, key) != value for key, value in facts.items())
            type(source).model_validate({**source.model_dump(), **facts})  # a contract could say it


def load_contract(name: str) -> Any:
    from tagstack.base_models.contract import read_contract

    return read_contract(resolve(name) / "tagger.toml").input


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, list[str]]:
    """Return a folder of pictures, their label file and its rows."""
    rows = ["image,tags"]
    for i, picture in enumerate(gallery(5)):
        picture.image.save(tmp_path / f"{i}.png")
        rows.append(f"{i}.png,{' '.join(sorted(picture.clean))}")
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(rows))

    def remembered(folder: Path, **how: Any) -> Tagger:
        loaded = load_tagger(folder, **how)
        return replace(loaded, session=tagger("doll_vit").session)

    monkeypatch.setattr(module, "load_tagger", remembered)
    return tmp_path, labels, rows


def test_from_files_to_the_line_to_change(
    shown: tuple[Path, Path, list[str]], tmp_path: Path
) -> None:
    images, labels, rows = shown
    settings = load_settings().score
    folder = tmp_path / "tagger"
    shutil.copytree(resolve("doll_vit"), folder)
    seen: list[tuple[int, int]] = []
    tell = lambda done, total: seen.append((done, total))  # noqa: E731
    toml = folder / "tagger.toml"
    toml.write_text(wrong := toml.read_text().replace('"RGB"', '"BGR"'))
    said = check_framing(folder, images, labels, settings, tell)
    assert seen[-1] == (N, N)
    assert not said.passed
    assert 'in [input]: colour = "RGB" (log-loss of a picture' in said.detail
    assert toml.read_text() == wrong
    labels.write_text("\n".join(rows[:5]))
    with pytest.raises(TagstackError, match=r"4 labelled pictures .* at least 20 with 100"):
        check_framing(folder, images, labels, settings, tell)


def test_a_picture_that_cannot_be_read_costs_itself_alone(
    shown: tuple[Path, Path, list[str]],
) -> None:
    images, labels, _ = shown
    settings = load_settings().score
    (images / "0.png").write_bytes(b"no picture")
    (images / "7.png").write_bytes((images / "7.png").read_bytes()[:300])
    tell = lambda done, total: None  # noqa: E731
    said = check_framing(resolve("doll_vit"), images, labels, settings, tell)
    assert said.passed
    assert said.detail.startswith(f"{N - 2} labelled pictures with ")
    assert "(2 more cannot be read: 0.png: " in said.detail
    for name in ("1.png", "2.png", "3.png"):
        (images / name).write_bytes(b"")
    with pytest.raises(TagstackError, match=r"17 labelled .*\(5 more cannot be read\) are too few"):
        check_framing(resolve("doll_vit"), images, labels, settings, tell)
