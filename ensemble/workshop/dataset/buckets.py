"""To which size a trainer brings a picture: the rule of sd-scripts, in both of its modes.

With enlarging, sizes are fixed beforehand and the nearest in width by height is taken, the first
of equals; a picture that has one of the sizes keeps it. Without, a picture with too many pixels is
made smaller until a side is a multiple of the step, whichever side leaves the shape more alike,
and both sides are cut to multiples.

References
----------
kohya-ss, sd-scripts, ``library/model_util.py`` (``make_bucket_resolutions``) and
``library/train_util.py`` (``BucketManager``), Apache-2.0.
"""

import math
from dataclasses import dataclass
from functools import cached_property

from tagstack.configs.dataset import BucketSettings

Size = tuple[int, int]


@dataclass(frozen=True)
class Buckets:
    """The buckets of some settings; a size is (width, height) in pixels."""

    settings: BucketSettings

    @cached_property
    def shapes(self) -> tuple[Size, ...]:
        """The sizes that are fixed beforehand, sorted: a square, and each width's tallest."""
        own = self.settings
        step = own.bucket_reso_steps
        # The trainer makes both ends multiples of the step, the span wider rather than narrower.
        least, most = own.min_bucket_reso // step * step, -(-own.max_bucket_reso // step) * step
        side = own.resolution // step * step
        found = {(side, side)}
        for width in range(least, most + 1, step):
            height = min(most, own.resolution**2 // width // step * step)
            if height >= least:
                found |= {(width, height), (height, width)}
        return tuple(sorted(found))

    def bucket_of(self, size: Size) -> Size | None:
        """Return the size that a picture is brought to; None for one too narrow for any."""
        if self.settings.bucket_no_upscale:
            found = self._cut(self._shrunk(size))
            return found if min(found) > 0 else None
        if size in self._known:
            return size
        aspect = size[0] / size[1]
        return min(self.shapes, key=lambda shape: abs(shape[0] / shape[1] - aspect))

    @cached_property
    def _known(self) -> frozenset[Size]:
        return frozenset(self.shapes)

    def _shrunk(self, size: Size) -> Size:
        """Return a picture's size after making it smaller to the resolution's area."""
        width, height = size
        area = self.settings.resolution**2
        if width * height <= area:
            return size
        aspect = width / height
        wide = math.sqrt(area * aspect)
        by_width, by_height = self._rounded(wide), self._rounded(area / wide)
        if not by_width or not by_height:
            return 0, 0
        across, up = self._rounded(by_width / aspect), self._rounded(by_height * aspect)
        first = abs(by_width / across - aspect) if across else math.inf
        if first < abs(up / by_height - aspect):
            return by_width, int(by_width / aspect + 0.5)
        return int(by_height * aspect + 0.5), by_height

    def _rounded(self, value: float) -> int:
        """Return the multiple of the step at or below a value's nearest whole number."""
        whole = int(value + 0.5)
        return whole - whole % self.settings.bucket_reso_steps

    def _cut(self, size: Size) -> Size:
        step = self.settings.bucket_reso_steps
        return size[0] - size[0] % step, size[1] - size[1] % step
