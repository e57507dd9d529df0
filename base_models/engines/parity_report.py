"""What a comparison with ONNX Runtime in fp32 found, kept as JSON, and whether that is good enough.

The numbers are kept and the verdict is not, so that other limits judge old reports anew.
"""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from tagstack.base_models.atomic import write_text
from tagstack.configs.level1 import ParitySettings

FORMAT = 1
_EXACT = ("fp32", "tf32")


@dataclass(frozen=True, kw_only=True)
class ParityReport:
    """How far a session strays from the reference on some images.

    Differences are of logits, over the (image, tag) pairs that either of the two puts above the
    store's floor, and the larger of those one by one and in batches.

    Parameters
    ----------
    tagger, fingerprint, runtime, precision : str
        What was compared.
    reference : str
        What it was compared with.
    n_images, n_asked, batch : int
        Images compared on, those looked at for it, and of one call.
    n_pairs : int
        Pairs above the floor.
    max_difference, mean_difference, p999_difference : float
    max_proba_difference : float
        Over all pairs.
    n_positives, n_flips : int
        Decisions at the published thresholds: positive ones of the reference, and those that
        differ.
    top10_overlap : float
        Share of the reference's ten highest tags that are among the session's, on average.
    max_batch_difference : float
        Between an image alone and in a batch; 0 is bit for bit.
    n_not_finite : int
        Images with a number that is not finite.
    """

    tagger: str
    fingerprint: str
    runtime: str
    precision: str
    reference: str
    n_images: int
    n_asked: int
    batch: int
    n_pairs: int
    max_difference: float
    mean_difference: float
    p999_difference: float
    max_proba_difference: float
    n_positives: int
    n_flips: int
    top10_overlap: float
    max_batch_difference: float
    n_not_finite: int

    @property
    def flip_share(self) -> float:
        """Decisions that differ, per positive decision of the reference."""
        return self.n_flips / max(self.n_positives, 1)

    def allowed_flips(self, settings: ParitySettings) -> float:
        """Return the share of flips that this precision may have."""
        if self.precision in _EXACT:
            return settings.max_flips_exact
        if self.precision.startswith("fp8"):
            return settings.max_flips_fp8
        if self.precision.startswith("int8"):
            return settings.max_flips_int8
        return settings.max_flips_half

    def fault(self, settings: ParitySettings) -> str | None:
        """Return why this is not good enough, or None."""
        if self.n_not_finite:
            return f"gave numbers that are not finite on {self.n_not_finite} of {self.n_images}"
        limit = self.allowed_flips(settings)
        # One decision may always lie on a threshold.
        if self.n_flips <= 1 or self.flip_share <= limit:
            return None
        return (
            f"decides {self.n_flips} tags of {self.n_images} images otherwise, "
            f"{self.flip_share:.1%} of {self.n_positives} positive ones; allowed are {limit:.1%}"
        )


def write_report(path: Path, report: ParityReport) -> None:
    """Write a report as JSON."""
    write_text(path, json.dumps({"format": FORMAT, **asdict(report)}, indent=1))


def read_report(path: Path) -> ParityReport | None:
    """Return the report in a file, or None where there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        return None
    if set(content) != {field.name for field in fields(ParityReport)}:
        return None
    return ParityReport(**content)
