"""``tagstack engines``: TensorRT engines, int8 and fp8, and how far they are from float32."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tagstack.ensemble.commands.options import Config, Images, Json, exit_unless, listed

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


@engines.command(
    epilog="tagstack engines build wd-vit-tagger-v3 --precision fp16\n\n"
    "tagstack engines build ./my-tagger --flavour rtx --json"
)
def build(
    taggers: Taggers,
    precision: Precision = None,
    flavour: Flavour = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Build the engines of taggers, or find them built."""
    from tagstack.ensemble.engines import build_engines
    from tagstack.ensemble.terminal.console import stages
    from tagstack.ensemble.terminal.engines import print_built

    settings = _settings(config, precision=precision, flavour=flavour)
    with stages() as progress:
        results = build_engines(listed(taggers, "TAGGERS"), settings, progress)
    print_built(results, as_json=as_json)


@engines.command("list", epilog="tagstack engines list\n\ntagstack engines list --json")
def list_engines(config: Config = None, as_json: Json = False) -> None:
    """List every engine with what it was built for, those set aside included."""
    from tagstack.ensemble.engines import engine_cache
    from tagstack.ensemble.terminal.engines import print_engines

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
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Compare taggers with ONNX Runtime in fp32 on pictures; exit 1 if one is too far off."""
    from tagstack.ensemble.engines import verify_taggers
    from tagstack.ensemble.terminal.console import stages
    from tagstack.ensemble.terminal.engines import print_verified

    settings = _settings(config, backend=backend, precision=precision, flavour=flavour)
    with stages() as progress:
        found = verify_taggers(listed(taggers, "TAGGERS"), images, settings, progress)
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
    from tagstack.ensemble.engines import clean as clean_engines
    from tagstack.ensemble.terminal.engines import print_cleaned

    gone = clean_engines(_settings(config).score.engines, everything=everything)
    print_cleaned(gone, as_json=as_json)


@engines.command(
    epilog="tagstack engines quantize doll_vit images --out doll-int8\n\n"
    "tagstack engines quantize wd-vit-tagger-v3 images --out wd-fp8 --target tensorrt --type fp8"
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
    from tagstack.base_models.engines.quantisation import PRECISIONS, TARGETS
    from tagstack.ensemble.engines import quantise
    from tagstack.ensemble.terminal.engines import print_quantised

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
) -> "Settings":
    from tagstack.configs.settings import load_settings

    score: dict[str, Any] = {"backend": backend, "precision": precision}
    score = {key: value for key, value in score.items() if value is not None}
    if flavour is not None:
        score["engines"] = {"flavour": flavour}
    return load_settings(config, {"score": score})
