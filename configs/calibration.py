"""Names of the calibrators and of what they pool."""

from typing import Literal

CalibratorName = Literal["none", "platt", "beta", "isotonic", "temperature", "venn_abers"]
Pool = Literal["tag", "category", "hierarchical"]
