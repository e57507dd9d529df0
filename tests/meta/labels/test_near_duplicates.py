"""Near-duplicates: the fast search against all pairs, and what must never be a group."""

import io
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from tagstack.base_models.pictures.picture_hash import PictureHashes, picture_hash
from tagstack.configs.level1 import NearDuplicateSettings
from tagstack.configs.settings import load_settings
from tagstack.meta.labels import near_duplicates
from tagstack.meta.labels.near_duplicates import near_duplicate_groups, near_duplicate_pairs

DEFAULTS = load_settings().score.near_duplicates


def _hashes(bits: NDArray[np.uint64], thumbnails: NDArray[np.uint8]) -> PictureHashes:
    return PictureHashes(known=np.ones(len(bits), bool), bits=bits, thumbnails=thumbnails)


def _of_images(images: Sequence[Image.Image]) -> PictureHashes:
    found = [picture_hash(image) for image in images]
    return _hashes(
        np.array([value.bits for value in found], np.uint64),
        np.array([list(value.thumbnail) for value in found], np.uint8),
    )


def _clustered(rng: np.random.Generator, n_images: int, n_flips: int) -> PictureHashes:
    """Return hashes scattered closely around a few centres, some of them equal."""
    centres = rng.integers(0, 2**63, 5, dtype=np.uint64)
    looks = rng.integers(0, 256, (5, 192))
    chosen = rng.integers(0, 5, n_images)
    bits = centres[chosen]
    for _ in range(n_flips):
        bits = bits ^ (np.uint64(1) << rng.integers(0, 64, n_images).astype(np.uint64))
    noise = rng.normal(0, rng.choice([0, 4, 12], (n_images, 1)), (n_images, 192))
    return _hashes(bits, (looks[chosen] + noise).clip(0, 255).astype(np.uint8))


def _all_pairs(hashes: PictureHashes, limits: NearDuplicateSettings) -> set[tuple[int, int]]:
    """Return every near-duplicate pair by an explicit loop over all of them."""
    found = set()
    looks = hashes.thumbnails.reshape(-1, 64, 3).astype(float)
    spread = [float(np.sqrt(((own - own.mean(0)) ** 2).mean())) for own in looks]
    for i in range(len(looks)):
        for j in range(i):
            distance = (int(hashes.bits[i]) ^ int(hashes.bits[j])).bit_count()
            level = np.sqrt(((looks[i] - looks[j]) ** 2).mean()) / max(
                8.0, min(spread[i], spread[j])
            )
            close = distance <= limits.bits and level <= limits.difference
            if close and min(spread[i], spread[j]) >= limits.contrast:
                found.add((j, i))
    return found


def _linked(n_images: int, pairs: set[tuple[int, int]]) -> list[int]:
    group = list(range(n_images))
    for _ in range(n_images):
        for i, j in pairs:
            group[i] = group[j] = min(group[i], group[j])
    return group


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n_images=st.integers(0, 40),
    n_flips=st.integers(0, 8),
    bits=st.integers(0, 12),
    difference=st.sampled_from([0.0, 0.05, 0.3]),
    block=st.sampled_from([1, 7, 10**6]),
)
def test_groups_are_those_of_all_pairs(
    seed: int, n_images: int, n_flips: int, bits: int, difference: float, block: int
) -> None:
    hashes = _clustered(np.random.default_rng(seed), n_images, n_flips)
    limits = DEFAULTS.model_copy(update={"bits": bits, "difference": difference})
    expected = _all_pairs(hashes, limits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicates, "_BLOCK_PAIRS", block)
        pairs = {(int(i), int(j)) for i, j in near_duplicate_pairs(hashes, limits)}
        groups = near_duplicate_groups(hashes, limits).tolist()
    assert pairs <= expected
    assert groups == _linked(n_images, expected)


def test_a_planted_copy_is_found_among_many(rng: np.random.Generator) -> None:
    n_images = 20_000
    bits = rng.integers(0, 2**63, n_images, dtype=np.uint64)
    thumbnails = rng.integers(0, 256, (n_images, 192), dtype=np.uint8)
    flips = rng.choice(64, DEFAULTS.bits, replace=False)
    bits[15_000] = bits[40] ^ np.bitwise_or.reduce(np.uint64(1) << flips.astype(np.uint64))
    thumbnails[15_000] = thumbnails[40]
    groups = near_duplicate_groups(_hashes(bits, thumbnails), DEFAULTS)
    assert np.flatnonzero(groups != np.arange(n_images)).tolist() == [15_000]
    assert groups[15_000] == 40


def test_flat_and_transparent_pictures_are_not_alike() -> None:
    colours = ("white", "black", "red", "#808080", "#fefefe", "#fffffe")
    flat = [Image.new("RGB", (200 + i, 300), colour) for i, colour in enumerate(colours)]
    clear = [Image.new("RGBA", (200, 300 + i), (i, 0, 0, 0)) for i in range(4)]
    speck = Image.new("RGB", (400, 400), "white")
    speck.putpixel((30, 40), (0, 0, 0))
    hashes = _of_images([*flat, *clear, speck])
    assert near_duplicate_pairs(hashes, DEFAULTS).shape == (0, 2)


def test_recompressed_resized_and_cropped_copies_join_their_picture() -> None:
    rng = np.random.default_rng(5)
    images = []
    for _ in range(6):
        image = Image.new("RGB", (480, 640))
        for cells in (16, 7, 3):
            rough = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
            image = Image.blend(image, rough.resize((480, 640), Image.Resampling.BICUBIC), 0.5)
        stream = io.BytesIO()
        image.resize((240, 320)).save(stream, "JPEG", quality=50)
        images += [image, Image.open(stream).convert("RGB"), image.crop((6, 8, 474, 632))]
    groups = near_duplicate_groups(_of_images(images), DEFAULTS)
    assert groups.tolist() == np.repeat(np.arange(0, 18, 3), 3).tolist()


def test_without_a_hash_or_switched_off_everyone_is_alone(rng: np.random.Generator) -> None:
    hashes = _clustered(rng, 12, 0)
    assert len(set(near_duplicate_groups(hashes, DEFAULTS).tolist())) < 12
    off = DEFAULTS.model_copy(update={"enabled": False})
    assert near_duplicate_groups(hashes, off).tolist() == list(range(12))
    unknown = PictureHashes(
        known=np.zeros(12, bool), bits=hashes.bits, thumbnails=hashes.thumbnails
    )
    assert near_duplicate_groups(unknown, DEFAULTS).tolist() == list(range(12))
