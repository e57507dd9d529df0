"""The decoder's fast engine: arrays in, arrays out, with compiled kernels in between.

It finds the same tags as the Python engine. Only images with a component too large for a mask, or
for the search, are handed back to that.
"""

import numpy as np

from tagstack.configs.decisions import DecoderSettings
from tagstack.ensemble.contradictions.evidence import Evidence, Ints, RuleLists
from tagstack.ensemble.contradictions.kernel_arrays import (
    Components,
    ImageArrays,
    room,
    rule_arrays,
    workspace,
)
from tagstack.ensemble.contradictions.parts import Kept
from tagstack.ensemble.contradictions.reduction_kernel import reduce_images
from tagstack.ensemble.contradictions.search_kernel import Batch, search_components


class CompiledEngine:
    """Decides on images with compiled code.

    Parameters
    ----------
    lists : RuleLists
    settings : DecoderSettings
    """

    def __init__(self, lists: RuleLists, settings: DecoderSettings) -> None:
        self.rules = rule_arrays(lists)
        self.settings = settings

    def solve(self, evidence: Evidence) -> Kept:
        """Return the tags kept of each image that is not too large."""
        images = ImageArrays(
            start=evidence.start,
            tag=evidence.key % evidence.n_tags,
            weight=evidence.listed_weight(),
            base=evidence.base_weight(),
            flooded=np.flatnonzero(evidence.base >= evidence.threshold),
        )
        batches, first = [], 0
        out, work = room(self.rules), workspace(evidence.n_tags, len(self.rules.least))
        while first < evidence.n_images:
            first = reduce_images(self.rules, images, work, out, first, self.settings.search_tags)
            batches.append(self._searched(out))
        joined = [np.concatenate(parts) for parts in zip(*batches, strict=True)]
        keys, inexact, large = joined or [np.zeros(0, np.int64)] * 3
        return Kept(keys=keys, inexact=inexact // evidence.n_tags, large=large)

    def _searched(self, found: Components) -> tuple[Ints, Ints, Ints]:
        """Return the keys kept, a key of each component not searched to its end, large images."""
        n_parts, n_tags, n_limits, n_settled, n_large = found.sizes.tolist()
        start = found.start[: n_parts + 1]
        kept, exact = search_components(
            Batch(
                start=start,
                limit_start=found.limit_start[: n_parts + 1],
                choices=found.choices[:n_parts],
                weight=found.weight[:n_tags],
                above=found.above[:n_tags],
                members=found.members[:n_limits],
                when=found.when[:n_limits],
                unless=found.unless[:n_limits],
                penalty=self.rules.penalty[found.rule[:n_limits]],
                least=self.rules.least[found.rule[:n_limits]],
            ),
            self.settings.search_budget,
        )
        size = np.diff(start)
        bit = np.arange(n_tags) - np.repeat(start[:-1], size)
        chosen = found.key[:n_tags][(np.repeat(kept, size) >> bit & 1).astype(bool)]
        keys = np.concatenate([found.settled[:n_settled], chosen])
        return keys, found.key[start[:-1][~exact]], found.large[:n_large].copy()
