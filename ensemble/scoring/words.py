"""What is said of taggers before they score: how to be faster, what passes and features cost."""

from collections.abc import Sequence

from tagstack.base_models.runtimes.bf16 import bf16_advice, bf16_units
from tagstack.base_models.taggers.tagger import Tagger


def faster_text(taggers: Sequence[Tagger]) -> str:
    """Return how to score in half the time, where taggers run in fp32 on a CPU with bf16 units."""
    infos = [tagger.session.info for tagger in taggers]
    slow = any((info.device, info.precision) == ("cpu", "fp32") for info in infos)
    units = bf16_units() if slow else ()
    return bf16_advice(units) if units else ""


def passes_text(taggers: Sequence[Tagger]) -> str:
    """Return what a mirrored pass costs; nothing where no tagger has one."""
    mirrored = [tagger for tagger in taggers if tagger.mirror is not None]
    if not mirrored:
        return ""
    sided = {tag for tagger in mirrored for tag in tagger.sided_tags}
    named = ", ".join(sorted(sided)[:3]) + (", ..." if len(sided) > 3 else "")
    kept = f"; {len(sided)} tags of left and right ({named}) keep the first run's scores"
    runs = "runs" if len(mirrored) == 1 else "run"
    return (
        f"{', '.join(tagger.name for tagger in mirrored)} {runs} twice on a picture, as it is and "
        f"mirrored, which takes twice the time{kept if sided else ''}."
    )


def features_text(taggers: Sequence[Tagger], n_images: int) -> str:
    """Return how much room features take beside the scores; nothing where none are kept."""
    widths = {tagger.name: tagger.n_features for tagger in taggers if tagger.n_features}
    if not widths:
        return ""
    each = 2 * sum(widths.values())
    named = ", ".join(f"{name} {width:,}" for name, width in widths.items())
    return (
        f"Features are kept beside the scores ({named}): {each / 1e3:,.1f} kB a picture, "
        f"{each * n_images / 1e6:,.1f} MB for {n_images:,} pictures."
    )
