"""The cut at which a metric of one's own is highest, tag by tag."""

import numpy as np

from tagstack.configs.decisions import ThresholdSettings
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.thresholds.curves import Bools, Curves, Floats
from tagstack.ensemble.thresholds.cuts import Average, CutSample, Goal
from tagstack.ensemble.thresholds.measures import Measured
from tagstack.ensemble.thresholds.strategies.per_tag import Scut
from tagstack.ensemble.thresholds.strategies.strategy import Changes, without_own
from tagstack.meta.metrics.count_metrics import CountMetric
from tagstack.meta.metrics.counts import Counts


class OwnMetric(Scut):
    """`Scut` for a registered metric that is a function of a tag's counts."""

    name = "metric"
    title = "A metric of your own"
    optimises = "a registered metric of each tag by itself, shrunk to its category's threshold"
    reads = ("metric", "value", "cv", "shrinkage", "min_positives", "max_rate")
    forms = ("metric:NAME",)

    def goal(self, curves: Curves, settings: ThresholdSettings) -> Goal:
        """Return what a cut gains over giving the tag nowhere."""
        metric = self._metric(settings)
        nothing = self._nothing(curves, metric)

        def gained(counts: Counts, settings: ThresholdSettings) -> Floats:
            return metric(counts, curves.n_images) - nothing[curves.tag]

        return gained

    def average(self, curves: Curves, settings: ThresholdSettings) -> Average:
        """Return what a shared cut gains on the mean tag, over the strictest one."""
        metric = self._metric(settings)

        def gained(counts: Counts, settings: ThresholdSettings) -> Floats:
            own = _mean(metric(counts, curves.n_images))
            return np.asarray(own - own[-1])

        return gained

    def achieved(self, counts: Counts, n_images: int, settings: ThresholdSettings) -> float:
        """Return the mean over tags with a positive."""
        return float(_mean(self._metric(settings)(counts, n_images)))

    def measured(self, counts: Counts, n_images: int, settings: ThresholdSettings) -> Measured:
        """Return the metric, as its package has it, without interval. Three arrays (n_tags,)."""
        metric = self._metric(settings)
        none = np.full(len(counts.hits), np.nan)
        return metric.as_named(metric(counts, n_images)), none, none.copy()

    def written(self, settings: ThresholdSettings) -> str:
        """Return ``metric:NAME``."""
        return f"metric:{settings.metric}"

    def read(self, text: str, settings: ThresholdSettings) -> Changes | None:
        """Return the metric after ``metric:``."""
        return {"metric": text[len("metric:") :]} if text.startswith("metric:") else None

    def hopeless(self, sample: CutSample, settings: ThresholdSettings) -> Bools:
        """Return that none is, since ``fbr`` speaks of F-beta. Shape (n_tags,), bool."""
        return without_own(sample)

    def _metric(self, settings: ThresholdSettings) -> CountMetric:
        if not settings.metric:
            msg = 'thresholds.strategy = "metric" needs thresholds.metric = "NAME" of a metric.'
            raise TagstackError(msg)
        return CountMetric(settings.metric)

    def _nothing(self, curves: Curves, metric: CountMetric) -> Floats:
        """Return the metric of each tag where it is given nowhere but where it must."""
        return np.nan_to_num(metric(curves.always, curves.n_images))


def _mean(values: Floats) -> Floats:
    """Return means over tags, the first axis, of those with a value; 0 where none has."""
    defined = ~np.isnan(values)
    total = np.where(defined, values, 0.0).sum(axis=0)
    return np.asarray(total / np.maximum(defined.sum(axis=0), 1))
