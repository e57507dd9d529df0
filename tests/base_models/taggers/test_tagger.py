"""Loading taggers: scores against the known weights, and every contradiction refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tagstack.base_models.taggers.fingerprint import floor_logit
from tagstack.base_models.taggers.tagger import Tagger, load_tagger
from tagstack.configs.errors import TagstackError

Folder = Callable[..., Path]


def _load(folder: Path, floor: float = 1e-4) -> Tagger:
    return load_tagger(folder, floor=floor, threads=2)


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("colour", ["RGB", "BGR"])
@pytest.mark.parametrize("scale", ["0-255", "0-1", "-1-1"])
@pytest.mark.parametrize("kind", ["probabilities", "logits"])
@pytest.mark.parametrize("batch", ["dynamic", 1])
def test_logits_of_every_contract(
    make_tagger_folder: Folder,
    tiny: Any,
    rng: np.random.Generator,
    layout: str,
    colour: str,
    scale: str,
    kind: str,
    batch: str | int,
) -> None:
    spec = replace(tiny, layout=layout, colour=colour, range=scale, kind=kind, batch=batch)
    tagger = _load(make_tagger_folder(spec))
    pixels = rng.integers(0, 256, (11, 8, 8, 3), dtype=np.uint8)
    found = tagger.logits(pixels)
    assert found.shape == (11, 10)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, spec.logits(pixels), rtol=2e-3, atol=2e-3)
    assert tagger.logits(pixels[:0]).shape == (0, 10)


def test_named_output_among_three(
    make_tagger_folder: Folder, tiny: Any, rng: np.random.Generator
) -> None:
    spec = replace(tiny, three_outputs=True)
    pixels = rng.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    found = _load(make_tagger_folder(spec)).logits(pixels)
    np.testing.assert_allclose(found, spec.logits(pixels), rtol=2e-3, atol=2e-3)


def test_vocabulary_categories_and_thresholds(make_tagger_folder: Folder) -> None:
    folder = make_tagger_folder(tags=("hat", "grey_hair", "cat", "miku"))
    (folder / "selected_tags.csv").write_text(
        "name,category,best_threshold\nhat,0,0.2\nsilver_hair,0,\ncat,0,0\nmiku,4,\n"
    )
    toml = folder / "tagger.toml"
    toml.write_text(
        toml.read_text().replace(
            "default = 0.4", "default = 0.4\nper_category = { character = 0.9 }"
        )
        + '[aliases]\nsilver_hair = "grey_hair"\n'
    )
    tagger = _load(folder)
    assert tagger.vocabulary.tags == ("hat", "grey_hair", "cat", "miku")
    assert tagger.vocabulary.categories == ("general", "general", "general", "character")
    assert tagger.published_thresholds.dtype == np.float32
    np.testing.assert_array_equal(
        tagger.published_thresholds, np.array([0.2, 0.4, 0, 0.9], np.float32)
    )


def test_alias_faults(make_tagger_folder: Folder) -> None:
    folder = make_tagger_folder()
    toml = folder / "tagger.toml"
    text = toml.read_text()
    toml.write_text(text + '[aliases]\nunknown = "x"\n')
    with pytest.raises(TagstackError, match=r"aliases\] names tags it lacks: \['unknown'\]"):
        _load(folder)
    toml.write_text(text + '[aliases]\ntag_1 = "tag_2"\n')
    with pytest.raises(TagstackError, match=r"more than once: \['tag_2'\]"):
        _load(folder)


def test_fingerprint_follows_everything_that_changes_scores(
    make_tagger_folder: Folder, tmp_path: Path
) -> None:
    folder = make_tagger_folder()
    base = _load(folder).fingerprint
    assert len(bytes.fromhex(base)) == 32
    assert _load(folder).fingerprint == base
    assert _load(folder, floor=1e-3).fingerprint != base
    toml = folder / "tagger.toml"
    _replace(toml, "made by a test", "other words")
    _replace(toml, "default = 0.4", "default = 0.3")
    assert _load(folder).fingerprint == base
    _replace(toml, 'resample = "bicubic"', 'resample = "area"')
    assert _load(folder).fingerprint != base
    _replace(toml, 'resample = "area"', 'resample = "bicubic"')
    (folder / "model.onnx.data").write_bytes(b"weights of a large model")
    assert _load(folder).fingerprint != base
    (folder / "model.onnx.data").unlink()
    assert _load(folder).fingerprint == base
    others = {
        _load(make_tagger_folder(name="seed", seed=1)).fingerprint,
        _load(make_tagger_folder(name="tags", tags=tuple("abcdefghij"))).fingerprint,
        base,
    }
    assert len(others) == 3


def test_width_must_match_the_tag_file(make_tagger_folder: Folder) -> None:
    with pytest.raises(
        TagstackError, match=r"gives 12 scores, but selected_tags.csv lists 10 tags"
    ):
        _load(make_tagger_folder(n_outputs=12))


def test_nan_outputs_are_refused(make_tagger_folder: Folder) -> None:
    with pytest.raises(TagstackError, match="20 of 20 outputs are not finite"):
        _load(make_tagger_folder(nan_above=-1.0))


def test_one_bad_image_is_a_nan_row(make_tagger_folder: Folder, rng: np.random.Generator) -> None:
    tagger = _load(make_tagger_folder(nan_above=200.0))
    pixels = rng.integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)
    pixels[4] = 255
    rows = tagger.logits(pixels)
    assert np.isnan(rows[4]).all()
    assert np.isfinite(np.delete(rows, 4, axis=0)).all()


def test_logits_declared_as_probabilities(make_tagger_folder: Folder) -> None:
    with pytest.raises(
        TagstackError, match=r"declares probabilities, but the outputs reach from -"
    ):
        _load(make_tagger_folder(kind="logits", declared={"kind": "probabilities"}))


def test_probabilities_declared_as_logits(make_tagger_folder: Folder) -> None:
    with pytest.raises(TagstackError, match=r"declares logits, but every output lies in \[0, 1\]"):
        _load(make_tagger_folder(kind="probabilities", declared={"kind": "logits"}))


def test_two_sigmoids(make_tagger_folder: Folder) -> None:
    with pytest.raises(TagstackError, match="as after two sigmoids"):
        _load(make_tagger_folder(kind="probabilities", sigmoids=2))


def test_probabilities_saturate_at_a_finite_logit(make_tagger_folder: Folder, tiny: Any) -> None:
    spec = replace(tiny, range="0-255", seed=3)
    folder = make_tagger_folder(spec)
    pixels = np.full((1, 8, 8, 3), 255, np.uint8)
    logits = _load(folder).logits(pixels)
    assert np.abs(logits).max() <= np.log(1e7) + 1e-3


@pytest.mark.parametrize("missing", ["model.onnx", "selected_tags.csv", "tagger.toml"])
def test_missing_files_are_named(make_tagger_folder: Folder, missing: str) -> None:
    folder = make_tagger_folder()
    (folder / missing).unlink()
    with pytest.raises(TagstackError, match=missing.replace(".", r"\.")):
        _load(folder)


def test_floor_is_rounded_as_the_store_rounds() -> None:
    assert floor_logit(1e-4) == np.float32(np.float16(np.log(1e-4 / (1 - 1e-4))))
    assert floor_logit(1e-4).dtype == np.float32
