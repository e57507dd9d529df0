"""Repeats as sd-scripts reads them, and those that bring a folder nearest to its share."""

import tomllib

import pytest

from tagstack.ensemble.workshop.dataset.concepts import Concept, balanced, dataset_toml


def found(sizes: dict[str, int], most: int = 100, **weights: float) -> dict[str, Concept]:
    images = tuple(f"{name}/{i}.png" for name, n in sizes.items() for i in range(n))
    return {own.folder: own for own in balanced(images, weights, most=most)}


@pytest.mark.parametrize(("n", "repeats"), [(10, 10), (11, 9), (15, 7), (16, 6), (67, 1), (66, 2)])
def test_repeats_are_the_nearest_whole_number(n: int, repeats: int) -> None:
    own = found({"1_few": n, "1_many": 100})
    assert (own["1_few"].proposed, own["1_many"].proposed) == (repeats, 1)
    assert own["1_few"].share == pytest.approx(repeats * n / (repeats * n + 100))


def test_weights_and_the_most_bound_repeats() -> None:
    own = found({"a": 10, "b": 20}, b=4.0)
    assert {name: c.proposed for name, c in own.items()} == {"a": 1, "b": 2}
    assert own["b"].share == pytest.approx(0.8)
    assert found({"1_few": 1, "1_many": 100}, most=20)["1_few"].proposed == 20


def test_a_folders_own_pictures_count_and_its_number_is_the_repeats() -> None:
    images = ("1.png", "10_my girl/1.png", "10_my girl/deeper/2.png", "noted/3.png", "3_/4.png")
    own = {c.folder: (c.n_images, c.repeats) for c in balanced(images, {}, most=9)}
    assert own == {"10_my girl": (1, 10), "noted": (1, 0), "3_": (1, 3)}
    assert balanced(("1.png", "a/b/2.png"), {}, most=9) == ()


def test_the_config_is_what_sd_scripts_reads() -> None:
    concepts = balanced(('10_"é"/1.png', "1_b/1.png", "1_b/2.png"), {}, most=9)
    read = tomllib.loads(dataset_toml("/sets", concepts, ".txt"))
    assert read == {
        "general": {"caption_extension": ".txt"},
        "datasets": [
            {
                "subsets": [
                    {"image_dir": '/sets/10_"é"', "num_repeats": 2},
                    {"image_dir": "/sets/1_b", "num_repeats": 1},
                ]
            }
        ],
    }
