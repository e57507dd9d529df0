"""The demonstration: a small booru of drawn pictures through every stage, with nothing to fetch.

It shows what the system does and that it runs. What it says about quality holds for these
drawings and these three small taggers alone.
"""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from tagstack.base_models.zoo.gallery import draw_gallery
from tagstack.configs.settings import Settings, load_settings
from tagstack.ensemble.bundle.dataset import DatasetSource
from tagstack.ensemble.bundle.files import refuse_existing
from tagstack.ensemble.comparison.comparing import Comparison
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.report.writing import PAGE, ReportPaths
from tagstack.ensemble.tasks.compare import CompareRequest, compare_bundle
from tagstack.ensemble.tasks.fit import FitRequest, fit_bundle
from tagstack.ensemble.tasks.scoring import score_folder
from tagstack.ensemble.tasks.tag import tag_images
from tagstack.ensemble.tasks.tag_request import TagRequest, TagSummary

TAGGERS = ("doll_resnet", "doll_convnext", "doll_vit")
N_NEW = 24  # pictures without labels, to be tagged

# Below recipes.FIRST_RESERVED_SEED: the taggers never saw these drawings. The parts are so far
# apart that no character is in two of them.
_SEED = 9
_STARTS = {"fit": 0, "test": 100_000, "new": 200_000}


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """What the demonstration made.

    Parameters
    ----------
    out : Path
    comparison : Comparison
    report : ReportPaths
    tags : Path
        Folder of the caption files.
    summary : TagSummary
    """

    out: Path
    comparison: Comparison
    report: ReportPaths
    tags: Path
    summary: TagSummary


def demo_settings() -> Settings:
    """Return the defaults with configs/demo.toml laid over them: smaller, to be done soon."""
    with resources.as_file(resources.files("tagstack.configs") / "demo.toml") as path:
        return load_settings(path)


def run_demo(
    out: Path, *, n_images: int, overwrite: bool, settings: Settings, progress: Progress
) -> DemoResult:
    """Draw, score, fit, compare and tag.

    Parameters
    ----------
    out : Path
        Folder for everything.
    n_images : int
        Pictures to fit on; half as many to test on.
    overwrite : bool
        Whether a finished demonstration is replaced; one that was interrupted always goes on.
    settings : Settings
    progress : Progress

    Raises
    ------
    TagstackError
        If the folder exists, or cannot be written.
    """
    interrupted = (out / "images" / "fit").is_dir() and not (out / "report" / PAGE).exists()
    refuse_existing(out, overwrite=overwrite or interrupted)
    sizes = {"fit": n_images, "test": n_images // 2, "new": N_NEW}
    for part, size in sizes.items():
        progress.stage(f"drawing {size} pictures to {part if part != 'new' else 'tag'}")
        draw_gallery(out / "images" / part, n_images=size, seed=_SEED, start=_STARTS[part])
    for part in ("fit", "test"):
        score_folder([out / "images" / part], TAGGERS, out / "scores" / part, settings, progress)
    request = FitRequest(
        source=_source(out, "fit"), bundle=out / "bundle", rules="danbooru", overwrite=True
    )
    fit_bundle(request, settings, progress)
    comparison, report = compare_bundle(
        CompareRequest(
            bundle=out / "bundle",
            source=_source(out, "test"),
            out=out / "report",
            overwrite=True,
        ),
        settings,
        progress,
    )
    tagging = TagRequest(
        images=(out / "images" / "new",),
        bundle=out / "bundle",
        out=out / "tags",
        formats=("txt", "json"),
        overwrite=True,
    )
    summary = tag_images(tagging, settings, progress)
    return DemoResult(
        out=out, comparison=comparison, report=report, tags=out / "tags", summary=summary
    )


def _source(out: Path, part: str) -> DatasetSource:
    return DatasetSource(
        scores=out / "scores" / part,
        labels=out / "images" / part / "labels.csv",
        group="series",
    )
