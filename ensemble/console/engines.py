"""``tagstack engines``: TensorRT engines, int8 and fp8, and how far they are from float32."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from tagstack.ensemble.console.console import out, print_json, verdict
from tagstack.ensemble.console.options import (
    Config,
    Images,
    Json,
    exit_unless,
    listed,
    listed_taggers,
)

if TYPE_CHECKING:  # printing must not wait for what these need
    from tagstack.base_models.parity.parity import ParityReport
    from tagstack.base_models.runtimes.tensorrt.engine_cache import EngineEntry
    from tagstack.ensemble.tasks.engines import BuildResult, ExportedEngine, Verified

_MIB = 2**20


def print_built(results: Sequence["BuildResult"], *, as_json: bool) -> None:
    """Print what was built or found."""
    if as_json:
        print_json([asdict(result) | {"path": str(result.path)} for result in results])
        return
    for result in results:
        done = f"built in {result.seconds:.1f} s" if result.was_built else "was there"
        out.print(
            f"{result.tagger} {result.precision}: {done}, {result.size_bytes / _MIB:.1f} MiB, "
            f"{result.state}: {result.path}",
            markup=False,
            soft_wrap=True,
        )


def print_layers(results: Sequence["BuildResult"]) -> None:
    """Print the layers of engines with their precisions and kernels."""
    for result in results:
        table = Table(box=None, pad_edge=False, title=result.tagger, title_justify="left")
        for name in ("layer", "kind", "gives", "kernel"):
            table.add_column(name, overflow="fold")
        for layer in result.layers or ():
            table.add_row(*map(escape, (layer.name, layer.kind, layer.precision, layer.tactic)))
        out.print(table)


def print_exported(found: "ExportedEngine", *, as_json: bool) -> None:
    """Print where a model lies for TensorRT's tools, and the command for it."""
    if as_json:
        print_json({"model": str(found.model), "command": found.command})
        return
    out.print(f"model: {found.model}", markup=False, soft_wrap=True)
    out.print(found.command, markup=False, soft_wrap=True)


def print_engines(folder: Path, entries: Sequence["EngineEntry"], *, as_json: bool) -> None:
    """Print the cache of engines."""
    if as_json:
        print_json({"folder": str(folder), "engines": [_entry_content(item) for item in entries]})
        return
    table = Table(box=None, pad_edge=False)
    for name in ("tagger", "precision", "batch", "built for", "MiB", "made", "key", "state"):
        table.add_column(name)
    for entry in entries:
        table.add_row(*_row(entry))
    out.print(table)
    out.print(f"{len(entries)} in {folder}", markup=False, soft_wrap=True)


def print_verified(found: Sequence["Verified"], *, as_json: bool) -> None:
    """Print how taggers compare with the reference."""
    if as_json:
        print_json([_verified_content(item) for item in found])
        return
    for item in found:
        _print_report(item.report, item.fault)
        out.print(f"  report: {item.path}", markup=False, soft_wrap=True)


def print_quantised(folder: Path, found: "Verified | None", *, as_json: bool) -> None:
    """Print where a quantised tagger lies and how it compares."""
    if as_json:
        content = None if found is None else _verified_content(found)
        print_json({"folder": str(folder), "parity": content})
        return
    if found is None:
        out.print("No picture was left to compare it on; scoring will do that before first use.")
    else:
        _print_report(found.report, found.fault)
    out.print(f"quantised tagger: {folder}", markup=False, soft_wrap=True)


def print_cleaned(gone: Sequence[Path], *, as_json: bool) -> None:
    """Print what was deleted."""
    if as_json:
        print_json([str(path) for path in gone])
        return
    for path in gone:
        out.print(f"deleted {path}", markup=False, soft_wrap=True)
    out.print(f"{len(gone)} deleted.")


def _print_report(report: "ParityReport", fault: str | None) -> None:
    name = f"{report.tagger} {report.precision} in {report.runtime}"
    out.print(verdict(fault is None, name), soft_wrap=True)
    batch = report.max_batch_difference
    alike = "bit for bit alike" if batch == 0 else f"up to {batch:.2g} apart"
    for line in (
        f"against {report.reference} on {report.n_images} images",
        f"logits differ by {report.max_difference:.2g} at most, {report.p999_difference:.2g} in "
        f"99.9 %, {report.mean_difference:.2g} on average; probabilities by at most "
        f"{report.max_proba_difference:.2g}",
        f"tags at the published thresholds: {report.n_flips} of {report.n_positives} flip "
        f"({report.flip_share:.2%}); top 10 in common: {report.top10_overlap:.1%}",
        f"alone and in batches of {report.batch}: {alike}",
    ):
        out.print(f"  {line}", markup=False, soft_wrap=True)
    if fault is not None:
        out.print(f"  refused: {fault}", markup=False, soft_wrap=True)


def _verified_content(item: "Verified") -> dict[str, Any]:
    content = asdict(item.report) | {"flip_share": item.report.flip_share}
    return content | {"fault": item.fault, "report": str(item.path)}


def _entry_content(entry: "EngineEntry") -> dict[str, Any]:
    header = None if entry.header is None else asdict(entry.header)
    return {
        "path": str(entry.path),
        "size_bytes": entry.size_bytes,
        "state": entry.state,
        "header": header,
    }


def _row(entry: "EngineEntry") -> tuple[str, ...]:
    size, header = f"{entry.size_bytes / _MIB:.1f}", entry.header
    if header is None:
        return ("?", "", "", "", size, "", entry.path.stem[:12], entry.state)
    gpu = header.facts.get("gpu") or {}
    place = f"{header.facts['flavour']} {header.facts['tensorrt']}, {gpu.get('name', 'no GPU')}"
    batch = f"{header.built['min_batch']}-{header.built['max_batch']}"
    precision = str(header.built["precision"])
    return (header.tagger, precision, batch, place, size, header.made, header.key[:12], entry.state)


if TYPE_CHECKING:
    from tagstack.configs.settings import Settings

engines = typer.Typer(
    help="TensorRT engines, int8 and fp8 taggers: build, compare with ONNX Runtime, keep, clean.",
    epilog="tagstack engines build wd-vit-tagger-v3\n\ntagstack engines list",
    no_args_is_help=True,
)

Taggers = Annotated[str, typer.Argument(help="Taggers by name or folder, comma-separated.")]
Flavour = Annotated[str | None, typer.Option(help="trt, or rtx, which builds without a GPU.")]
Backend = Annotated[str | None, typer.Option(help="As score.backend.")]
Precision = Annotated[str | None, typer.Option(help="As score.precision.")]
Features = Annotated[
    str | None, typer.Option(help="Taggers that give features as well: names, or all.")
]


@engines.command(
    epilog="tagstack engines build wd-vit-tagger-v3 --precision fp16\n\n"
    "tagstack engines build ./my-tagger --flavour rtx --json"
)
def build(
    taggers: Taggers,
    precision: Precision = None,
    flavour: Flavour = None,
    features: Features = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show layers, their precisions and kernels.")
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Build the engines of taggers, or find them built."""
    from tagstack.ensemble.console.console import stages
    from tagstack.ensemble.tasks.engines import build_engines

    settings = _settings(config, precision=precision, flavour=flavour, features=features)
    with stages() as progress:
        names = listed_taggers(taggers, "TAGGERS")
        results = build_engines(names, settings, progress, with_layers=verbose)
    print_built(results, as_json=as_json)
    if verbose and not as_json:
        print_layers(results)


@engines.command(
    epilog="tagstack engines export wd-vit-tagger-v3 --out wd-onnx --precision fp16\n\n"
    "tagstack engines export ./my-tagger --out my-onnx --json"
)
def export(
    tagger: Annotated[str, typer.Argument(help="Tagger by name or folder.")],
    target: Annotated[Path, typer.Option("--out", help="Folder to make; must not exist.")],
    precision: Precision = None,
    features: Features = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Write the ONNX file that a tagger's engine is built from, and trtexec's command for it."""
    from tagstack.ensemble.tasks.engines import export_model

    settings = _settings(config, precision=precision, features=features)
    found = export_model(tagger, target, settings)
    print_exported(found, as_json=as_json)


@engines.command("list", epilog="tagstack engines list\n\ntagstack engines list --json")
def list_engines(config: Config = None, as_json: Json = False) -> None:
    """List every engine with what it was built for, those set aside included."""
    from tagstack.ensemble.tasks.engines import engine_cache

    cache = engine_cache(_settings(config).score.engines)
    print_engines(cache.folder, cache.entries(), as_json=as_json)


@engines.command(
    epilog="tagstack engines verify wd-vit-tagger-v3 images --backend tensorrt\n\n"
    "tagstack engines verify doll_vit images --backend openvino --precision bf16"
)
def verify(
    taggers: Taggers,
    images: Images,
    backend: Backend = None,
    precision: Precision = None,
    flavour: Flavour = None,
    features: Features = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Compare taggers with ONNX Runtime in fp32 on pictures; exit 1 if one is too far off."""
    from tagstack.ensemble.console.console import stages
    from tagstack.ensemble.tasks.engines import verify_taggers

    settings = _settings(
        config, backend=backend, precision=precision, flavour=flavour, features=features
    )
    with stages() as progress:
        found = verify_taggers(listed_taggers(taggers, "TAGGERS"), images, settings, progress)
    print_verified(found, as_json=as_json)
    exit_unless(all(item.fault is None for item in found))


@engines.command(epilog="tagstack engines clean\n\ntagstack engines clean --all")
def clean(
    everything: Annotated[
        bool, typer.Option("--all", help="Delete good engines and reports, too.")
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Delete engines that were set aside, are damaged or fit another machine."""
    from tagstack.ensemble.tasks.engines import clean as clean_engines

    gone = clean_engines(_settings(config).score.engines, everything=everything)
    print_cleaned(gone, as_json=as_json)


@engines.command(
    epilog="tagstack engines quantize doll_vit images --out doll-int8\n\n"
    "tagstack engines quantize ./mine images --out m8 --target tensorrt --type fp8"
)
def quantize(
    tagger: Annotated[str, typer.Argument(help="Tagger by name or folder.")],
    images: Images,
    out: Annotated[Path, typer.Option(help="Folder of the new tagger; must not exist.")],
    target: Annotated[str, typer.Option(help="cpu or tensorrt.")] = "cpu",
    precision: Annotated[
        str, typer.Option("--type", help="int8, or fp8, which is for TensorRT alone.")
    ] = "int8",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make an int8 or fp8 tagger from pictures and compare it with the original on others."""
    from tagstack.base_models.parity.quantisation import PRECISIONS, TARGETS
    from tagstack.ensemble.tasks.engines import quantise

    if target not in TARGETS:
        msg = f"{target!r} is none of {', '.join(TARGETS)}."
        raise typer.BadParameter(msg, param_hint="--target")
    if precision not in PRECISIONS:
        msg = f"{precision!r} is none of {', '.join(PRECISIONS)}."
        raise typer.BadParameter(msg, param_hint="--type")
    found = quantise(tagger, images, out, _settings(config), target=target, precision=precision)
    print_quantised(out, found, as_json=as_json)
    exit_unless(found is None or found.fault is None)


def _settings(
    config: Path | None,
    *,
    backend: str | None = None,
    precision: str | None = None,
    flavour: str | None = None,
    features: str | None = None,
) -> "Settings":
    from tagstack.configs.settings import check_names, load_settings

    score: dict[str, Any] = {
        "backend": backend,
        "precision": precision,
        "features": None if features is None else listed(features, "--features"),
    }
    score = {key: value for key, value in score.items() if value is not None}
    if flavour is not None:
        score["engines"] = {"flavour": flavour}
    settings = load_settings(config, {"score": score})
    check_names(settings)
    return settings
