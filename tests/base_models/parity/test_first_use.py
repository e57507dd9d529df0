"""First use: compared once on real pictures, remembered, refused when too far off."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tagstack.base_models.parity import first_use
from tagstack.base_models.parity.first_use import (
    has_lost_its_source,
    needs_report,
    report_path,
    sample_pixels,
    verify_first_use,
)
from tagstack.base_models.parity.parity import read_report
from tagstack.base_models.parity.quantisation import QuantiseRequest, quantise_tagger
from tagstack.base_models.runtimes.selection import REFERENCE, RuntimeChoice
from tagstack.base_models.scoring.sources import ImageSources, find_images
from tagstack.base_models.taggers.registry import show_tagger
from tagstack.base_models.taggers.tagger import Tagger, load_tagger
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import ScoreSettings
from tagstack.configs.settings import load_settings

OPENVINO = RuntimeChoice(backend="openvino", precision="fp32")


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TAGSTACK_HOME", str(tmp_path / "home"))


@pytest.fixture
def score() -> ScoreSettings:
    settings = load_settings().score
    parity = settings.parity.model_copy(update={"images": 6, "batch": 4})
    return settings.model_copy(update={"parity": parity})


@pytest.fixture
def sources(tmp_path: Path, picture: Callable[..., Image.Image]) -> ImageSources:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(12):
        picture(60, 80).save(folder / f"{number:02d}.png")
    return find_images([folder], extensions=(".png",))


@pytest.fixture
def doll() -> Path:
    folder = show_tagger("doll_vit").folder
    assert folder is not None
    return folder


@pytest.fixture
def openvino_doll(doll: Path) -> Iterator[Tagger]:
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    tagger = load_tagger(doll, floor=1e-4, threads=1, runtime=OPENVINO)
    yield tagger
    tagger.close()


def test_another_backend_is_compared_once(
    openvino_doll: Tagger,
    sources: ImageSources,
    score: ScoreSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (report,) = verify_first_use(sources, [openvino_doll], score, threads=1)
    assert (report.n_images, report.batch, report.precision) == (6, 4, "fp32")
    assert report.reference == "ort fp32 of doll_vit"
    assert read_report(report_path(openvino_doll, score)) == report
    monkeypatch.setattr(first_use, "verify", lambda *_, **__: pytest.fail("compared again"))
    assert verify_first_use(sources, [openvino_doll], score, threads=1) == ()


def test_more_pictures_than_last_time_are_looked_at(
    openvino_doll: Tagger, sources: ImageSources, score: ScoreSettings
) -> None:
    few = ImageSources(sources.root, sources.names[:2])
    assert verify_first_use(few, [openvino_doll], score, threads=1)[0].n_images == 2
    assert verify_first_use(few, [openvino_doll], score, threads=1) == ()
    assert verify_first_use(sources, [openvino_doll], score, threads=1)[0].n_images == 6


def test_the_reference_needs_no_report(
    doll: Path, sources: ImageSources, score: ScoreSettings
) -> None:
    tagger = load_tagger(doll, floor=1e-4, threads=1, runtime=REFERENCE)
    assert not needs_report(tagger)
    assert verify_first_use(sources, [tagger], score, threads=1) == ()
    tagger.close()


def test_a_bad_backend_is_refused_every_time(
    openvino_doll: Tagger, sources: ImageSources, score: ScoreSettings
) -> None:
    inner = openvino_doll.session

    class Wrong:
        info, n_outputs = inner.info, inner.n_outputs

        def run(self, batch: Any) -> Any:
            return inner.run(batch)[:, ::-1]

        def close(self) -> None:
            inner.close()

    wrong = replace(openvino_doll, session=Wrong())
    for _ in range(2):
        with pytest.raises(TagstackError, match=r"doll_vit in fp32 .* too far from ort fp32"):
            verify_first_use(sources, [wrong], score, threads=1)


def test_versions_devices_and_thresholds_have_their_own_reports(
    openvino_doll: Tagger, score: ScoreSettings
) -> None:
    def path(**changes: Any) -> Path:
        session = type("S", (), {"info": replace(openvino_doll.session.info, **changes)})()
        return report_path(replace(openvino_doll, session=session), score)

    assert len({path(), path(versions=(("openvino", "1"),)), path(device="gpu")}) == 3
    engine = Path("/engines/abc.engine")
    assert path(engine=engine) == Path("/engines/abc.parity.json")
    moved = replace(
        openvino_doll, published_thresholds=openvino_doll.published_thresholds * np.float32(0.5)
    )
    assert report_path(moved, score) != path()


def test_a_report_beside_an_engine_is_its_own_taggers(
    openvino_doll: Tagger, sources: ImageSources, score: ScoreSettings, tmp_path: Path
) -> None:
    inner = openvino_doll.session

    class OnEngine:
        info, n_outputs = replace(inner.info, engine=tmp_path / "abc.engine"), inner.n_outputs

        def run(self, batch: Any) -> Any:
            return inner.run(batch)

        def close(self) -> None:
            inner.close()

    tagger = replace(openvino_doll, session=OnEngine())
    other = replace(tagger, fingerprint="of the same network with other tags")
    for one, n_made in ((tagger, 1), (tagger, 0), (other, 1), (tagger, 1)):
        assert len(verify_first_use(sources, [one], score, threads=1)) == n_made
    assert read_report(tmp_path / "abc.parity.json") is not None


def test_unreadable_pictures_are_passed_over(
    openvino_doll: Tagger, sources: ImageSources, score: ScoreSettings
) -> None:
    for name in sources.names[::2]:
        sources.path(name).write_bytes(b"no picture")
    pixels = sample_pixels(sources, openvino_doll.framing, score, 12)
    assert len(pixels) == 6
    (report,) = verify_first_use(sources, [openvino_doll], score, threads=1)
    assert 0 < report.n_images < report.n_asked == 6
    assert verify_first_use(sources, [openvino_doll], score, threads=1) == ()
    for name in sources.names:
        sources.path(name).write_bytes(b"no picture")
    report_path(openvino_doll, score).unlink()
    assert verify_first_use(sources, [openvino_doll], score, threads=1) == ()


def test_int8_is_compared_with_what_it_was_made_from(
    make_tagger_folder: Callable[..., Path],
    sources: ImageSources,
    score: ScoreSettings,
    tmp_path: Path,
    rng: np.random.Generator,
) -> None:
    source = make_tagger_folder(kind="logits")
    out = tmp_path / "int8"
    request = QuantiseRequest(source=source, target_folder=out, target="cpu", precision="int8")
    pixels = rng.integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
    quantise_tagger(request, pixels, score.quantize)
    tagger = load_tagger(out, floor=1e-4, threads=1, runtime=REFERENCE)
    assert tagger.session.info.precision == "int8"
    assert needs_report(tagger)
    (report,) = verify_first_use(sources, [tagger], score, threads=1)
    assert report.reference == f"ort fp32 of {source.name}"
    assert report.max_difference > 0
    # Its source has changed: nothing to compare with any more.
    model = source / "model.onnx"
    model.write_bytes(model.read_bytes() + b"\0")
    assert has_lost_its_source(tagger)
    assert not needs_report(tagger)
    tagger.close()
