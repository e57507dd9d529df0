"""Engines and quantised taggers as whole tasks: build, list, compare, clean, quantise."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tagstack.base_models.locks import remove_unheld
from tagstack.base_models.parity.first_use import report_path, sample_pixels, verify
from tagstack.base_models.parity.parity import ParityReport, write_report
from tagstack.base_models.parity.quantisation import QuantiseRequest, quantise_tagger
from tagstack.base_models.pictures.preprocess import framing_from_input
from tagstack.base_models.runtimes.driver import examine_driver
from tagstack.base_models.runtimes.gpu_opening import ENGINES, ORT_ENGINES
from tagstack.base_models.runtimes.model_io import image_shape
from tagstack.base_models.runtimes.probing import INSTALL, is_installed, probe
from tagstack.base_models.runtimes.stored_precision import shown_precision
from tagstack.base_models.runtimes.tensorrt.engine_cache import (
    QUARANTINE,
    EngineCache,
    EngineEntry,
)
from tagstack.base_models.runtimes.tensorrt.layers import Layer, engine_layers
from tagstack.base_models.runtimes.tensorrt.onnx_file import check_ports
from tagstack.base_models.runtimes.tensorrt.prepared_model import (
    MODELS,
    prepared_model,
    stale_models,
)
from tagstack.base_models.runtimes.tensorrt.provision import Workshop
from tagstack.base_models.runtimes.tensorrt.spec import (
    EngineSpec,
    key_of_machine,
    model_files,
    shared_gpu,
)
from tagstack.base_models.runtimes.tensorrt.timing_cache import TimingCache, whole_content
from tagstack.base_models.runtimes.tensorrt.trt_api import TrtApi
from tagstack.base_models.runtimes.tensorrt.trtexec import trtexec_command
from tagstack.base_models.scoring.sources import ImageSources, find_images
from tagstack.base_models.taggers.own_folder import tagger_files
from tagstack.base_models.taggers.registry import resolve, scored_contract
from tagstack.base_models.taggers.timm_contract import contract_of_folder
from tagstack.base_models.threads import thread_count
from tagstack.base_models.user_cache import cache_root
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import EngineSettings
from tagstack.configs.settings import Settings
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.scoring.taggers import loaded_taggers

_LEVEL = "hardware_compatibility"


@dataclass(frozen=True, kw_only=True)
class BuildResult:
    """An engine that is there now.

    Parameters
    ----------
    tagger, precision, key : str
    path : Path
    was_built : bool
        False if it was there already.
    seconds : float
        What its build took, now or then.
    size_bytes : int
    state : str
        ``"tried"``, or ``"untried"`` where there is no GPU.
    layers : tuple of Layer or None
        None unless they were asked for.
    """

    tagger: str
    precision: str
    key: str
    path: Path
    was_built: bool
    seconds: float
    size_bytes: int
    state: str
    layers: tuple[Layer, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class ExportedEngine:
    """What lies in a folder for TensorRT's own tools.

    Parameters
    ----------
    model : Path
        The ONNX file that engines are built from: converted, with a free batch.
    command : str
        What builds the same engine with ``trtexec``.
    """

    model: Path
    command: str


@dataclass(frozen=True, kw_only=True)
class Verified:
    """A comparison, and why it is not good enough, if so."""

    report: ParityReport
    path: Path
    fault: str | None


def engine_cache(settings: EngineSettings) -> EngineCache:
    """Return the cache of engines."""
    return EngineCache(cache_root(settings.folder) / ENGINES)


def build_engines(
    models: Sequence[str], settings: Settings, progress: Progress, *, with_layers: bool = False
) -> tuple[BuildResult, ...]:
    """Build the engine of each tagger, or find it built; with features as scoring wants them.

    Parameters
    ----------
    models : sequence of str
    settings : Settings
    progress : Progress
    with_layers : bool
        Whether the results tell what the engines are made of, for which they are loaded.

    Raises
    ------
    TagstackError
        If TensorRT is not there, or a tagger cannot be built.
    """
    engines, precision = settings.score.engines, settings.score.precision
    workshop = _workshop(engines)
    results = []
    for number, model in enumerate(models):
        progress.stage("building engines", number, len(models))
        folder = resolve(model)
        contract = scored_contract(folder, settings.score)
        path = tagger_files(folder, contract).model
        stored = shown_precision(path, precision)
        own = EngineSpec.of_settings(engines.of_tagger(contract.name), stored)
        engine = workshop.provide(path, contract, own, pixels=engines.pixels_on_device)
        results.append(
            BuildResult(
                tagger=contract.name,
                precision=stored,
                key=engine.header.key,
                path=workshop.cache.path(engine.header.key),
                was_built=engine.was_built,
                seconds=engine.header.seconds,
                size_bytes=engine.header.plan_bytes,
                state="tried" if workshop.cache.is_tried(engine.header) else "untried",
                layers=engine_layers(engine.plan, workshop.api) if with_layers else None,
            )
        )
    return tuple(results)


def export_model(model: str, out: Path, settings: Settings) -> ExportedEngine:
    """Write the file that a tagger's engine is built from into a new folder, for ``trtexec``.

    Raises
    ------
    TagstackError
        If the folder is there, or the tagger cannot be converted.
    """
    if out.exists():
        raise TagstackError(f"{out} is there already; expected a new folder. Give another --out.")
    folder = resolve(model)
    contract = scored_contract(folder, settings.score)
    path = tagger_files(folder, contract).model
    engines = settings.score.engines.of_tagger(contract.name)
    spec = EngineSpec.of_settings(engines, shown_precision(path, settings.score.precision))
    prepared = prepared_model(
        path,
        contract,
        engine_cache(engines).folder / MODELS,
        precision=spec.precision,
        max_batch=spec.max_batch,
        attention=True,
    )
    out.mkdir(parents=True)
    for file in model_files(prepared.path):  # weights are found under the names that they have
        shutil.copyfile(file, out / file.name)
    if prepared.batch is not None:
        spec = spec.fixed_at(prepared.batch)
    target = out / prepared.path.name
    name = check_ports(target, contract).picture.name
    return ExportedEngine(
        model=target, command=trtexec_command(target, name, image_shape(contract), spec)
    )


def verify_taggers(
    models: Sequence[str], images: Sequence[Path], settings: Settings, progress: Progress
) -> tuple[Verified, ...]:
    """Compare taggers in the backend and precision of the settings with the reference, anew.

    Raises
    ------
    TagstackError
        If a tagger or the images cannot be used.
    """
    sources = find_images(images, extensions=settings.score.extensions)
    threads = thread_count(settings.threads)
    found = []
    with loaded_taggers(models, settings) as taggers:
        for number, tagger in enumerate(taggers):
            progress.stage("comparing", number, len(taggers))
            report = verify(sources, tagger, settings.score, threads=threads)
            if report is None:
                raise _no_pictures(sources)
            path = report_path(tagger, settings.score)
            write_report(path, report)
            fault = report.fault(settings.score.parity)
            found.append(Verified(report=report, path=path, fault=fault))
    return tuple(found)


def quantise(
    model: str,
    images: Sequence[Path],
    out: Path,
    settings: Settings,
    *,
    target: str,
    precision: str,
) -> Verified | None:
    """Make a quantised tagger from pictures, and compare it on others; see `quantise_tagger`.

    Returns
    -------
    Verified or None
        How it compares in ONNX Runtime; None where there were no pictures left for that. The
        folder is there even if it is not good enough: scoring with it is refused.

    Raises
    ------
    TagstackError
        If the tagger cannot be quantised, or no picture can be read.
    """
    folder = resolve(model)
    framing = framing_from_input(
        contract_of_folder(folder).input, scaled_decoding=settings.score.scaled_decoding
    )
    sources = find_images(images, extensions=settings.score.extensions)
    learn, check = _parted(sources, settings)
    pixels = sample_pixels(learn, framing, settings.score, settings.score.quantize.images)
    if not len(pixels):
        raise _no_pictures(sources)
    request = QuantiseRequest(source=folder, target_folder=out, target=target, precision=precision)
    quantise_tagger(request, pixels, settings.score.quantize)
    reference = settings.score.model_copy(update={"backend": "ort", "precision": "fp32"})
    plain = settings.model_copy(update={"score": reference})
    with loaded_taggers([str(out)], plain) as (tagger,):
        if not check.names:
            return None
        report = verify(check, tagger, plain.score, threads=thread_count(settings.threads))
        if report is None:
            return None
        path = report_path(tagger, plain.score)
        write_report(path, report)
    return Verified(report=report, path=path, fault=report.fault(settings.score.parity))


def stale_entries(settings: EngineSettings) -> tuple[EngineEntry, ...]:
    """Return engines that nothing here can use: set aside, damaged, or made for another machine."""
    machine = None
    if not _missing(settings):
        machine = key_of_machine(TrtApi(settings.flavour), examine_driver())
    return tuple(e for e in engine_cache(settings).entries() if _is_stale(e, machine))


def clean(settings: EngineSettings, *, everything: bool) -> tuple[Path, ...]:
    """Delete stale engines, prepared models, timings and locks; or all, and the reports.

    Returns
    -------
    tuple of Path
        What was deleted.
    """
    cache = engine_cache(settings)
    cache.sweep()
    if not everything:
        entries = stale_entries(settings)
        for entry in entries:
            cache.remove(entry)
        return (*(entry.path for entry in entries), *_cleaned_beside(cache, settings))
    root = cache_root(settings.folder)
    folders = [root / ENGINES, root / ORT_ENGINES, root / "parity"]
    gone = [folder for folder in folders if folder.is_dir()]
    for folder in gone:
        shutil.rmtree(folder)
    return tuple(gone)


def _cleaned_beside(cache: EngineCache, settings: EngineSettings) -> tuple[Path, ...]:
    """Delete prepared models and timings that are of no use, and locks that nobody holds."""
    stale = [*stale_models(cache.folder / MODELS), *_stale_timings(cache.folder, settings)]
    for path in stale:
        path.unlink(missing_ok=True)
    for lock in sorted(cache.folder.rglob("*.lock")):
        remove_unheld(lock)
    return tuple(stale)


def _stale_timings(folder: Path, settings: EngineSettings) -> list[Path]:
    """Return caches of timings that are damaged, or of another machine or TensorRT."""
    found = sorted(folder.glob("timing-*.cache"))
    own = None
    if not _missing(settings):
        own = TimingCache(folder, TrtApi(settings.flavour), examine_driver()).path
    return [p for p in found if whole_content(p) is None or own not in (None, p)]


def _is_stale(entry: EngineEntry, machine: dict[str, object] | None) -> bool:
    if entry.header is None or entry.path.parent.name == QUARANTINE:
        return True
    if machine is None or entry.header.facts.get("flavour") != machine["flavour"]:
        return False  # without that TensorRT there is nothing to compare with
    facts = entry.header.facts
    own = {**machine, "gpu": shared_gpu(machine["gpu"], str(facts["build"].get(_LEVEL, "none")))}
    return any(facts.get(key) != value for key, value in own.items())


def _workshop(settings: EngineSettings) -> Workshop:
    missing = _missing(settings)
    if missing is not None:
        raise TagstackError(missing)
    return Workshop(
        cache=engine_cache(settings),
        api=TrtApi(settings.flavour),
        driver=examine_driver(),
        trial_seconds=settings.trial_seconds,
    )


def _missing(settings: EngineSettings) -> str | None:
    """Return why engines of this flavour cannot be built here; rtx needs no GPU for that."""
    if settings.flavour == "trt":
        found = probe("tensorrt", flavour="trt")
        if found.available:
            return None
        return (
            f"TensorRT cannot build here: {found.reason}. Run: {found.install}; or try a build "
            f"without a GPU: --flavour rtx"
        )
    absent = [name for name in ("tensorrt_rtx_bindings", "onnx") if not is_installed(name)]
    return f"{' and '.join(absent)} not installed. Run: {INSTALL['rtx']}" if absent else None


def _parted(sources: ImageSources, settings: Settings) -> tuple[ImageSources, ImageSources]:
    """Return pictures to learn ranges from and others to compare on, alternating."""
    score = settings.score
    share = max(2, (score.quantize.images + score.parity.images) // score.parity.images)
    check = sources.names[::share] if len(sources.names) > 1 else ()
    learn = tuple(name for i, name in enumerate(sources.names) if i % share or not check)
    return ImageSources(sources.root, learn), ImageSources(sources.root, check)


def _no_pictures(sources: ImageSources) -> TagstackError:
    return TagstackError(f"None of the {len(sources.names)} images in {sources.root} can be read.")
