"""No calibration: the logit as it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagstack.meta.calibrators.protocol import Floats, Tags


@dataclass(frozen=True)
class Identity:
    """Leaves every logit as it is."""

    kind: str = "none"

    def apply(self, tag: Tags, logit: NDArray[np.floating]) -> Floats:
        """Return the logits. Of the shape of ``logit``."""
        return np.array(logit, np.float64)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return a mark that there is no calibration. Shape (1,)."""
        return {"mark": np.zeros(1)}
