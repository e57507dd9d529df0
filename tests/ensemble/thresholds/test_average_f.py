import numpy as np

from tagstack.configs.settings import load_settings
from tagstack.ensemble.thresholds.curves import average_f
from tagstack.meta.metrics.counts import Counts


def test_macro_f_of_a_grid_leaves_tags_without_positives_out() -> None:
    rng, settings = np.random.default_rng(0), load_settings().thresholds
    positives = rng.integers(0, 3, (40, 1))
    predicted = rng.integers(0, 9, (40, 5))
    hits = np.minimum(positives, predicted // 2)
    counts = Counts(hits=hits, predicted=predicted, positives=positives)
    held = positives[:, 0] > 0
    by_hand = (2 * hits / np.maximum(predicted + positives, 1))[held].mean(axis=0)
    np.testing.assert_allclose(average_f(counts, settings), by_hand)
    nobody = Counts(hits=0 * hits, predicted=predicted, positives=0 * positives)
    np.testing.assert_array_equal(average_f(nobody, settings), np.zeros(5))
