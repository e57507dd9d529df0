"""Options that several commands share, and what becomes of their values."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagstack.base_models.path_lists import names_and_paths
from tagstack.configs.quick import QUICK
from tagstack.configs.shown import shown

if TYPE_CHECKING:  # commands start fast: everything heavier is imported where it is used
    from tagstack.configs.settings import Settings

Images = Annotated[list[Path], typer.Argument(help="Image files or folders (recursive).")]
Scores = Annotated[Path, typer.Option(help="Folder of the score store.")]
Labels = Annotated[Path, typer.Option(help="CSV, JSONL or a folder of .txt sidecars.")]
BundleDir = Annotated[Path, typer.Option("--bundle", help="Folder of the bundle.")]
TaggersNow = Annotated[
    str | None, typer.Option(help="Where the bundle's taggers are now, comma-separated.")
]
ScoresNow = Annotated[
    Path | None, typer.Option(help="Store with the pictures' scores: no tagger runs.")
]
Out = Annotated[Path, typer.Option(help="Folder for the results.")]
Where = Annotated[str | None, typer.Option(help="Use label rows with COLUMN=VALUE only.")]
Group = Annotated[str | None, typer.Option(help="Label column that no split may part.")]
UnknownIfAbsent = Annotated[
    str | None,
    typer.Option(help="Tag families unknown where none of them is there, comma-separated."),
]
LabelExtension = Annotated[
    list[str] | None,
    typer.Option(help="Ending of the texts in a folder of labels, such as .caption; repeatable."),
]
Threads = Annotated[int | None, typer.Option(min=0, help="Threads; 0 = all cores.")]
Backend = Annotated[
    str | None, typer.Option(help="auto, ort, ort-cuda, ort-tensorrt, openvino or tensorrt.")
]
Precision = Annotated[str | None, typer.Option(help="fp32, tf32, bf16 or fp16.")]
Config = Annotated[Path | None, typer.Option(help="TOML file laid over the defaults.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing results.")]
RetryFailed = Annotated[
    bool,
    typer.Option("--retry-failed", help="Try images again that earlier runs gave up on."),
]
Ray = Annotated[
    str | None,
    typer.Option(help="Let a Ray cluster work: auto, local (one here), or HOST:PORT of its head."),
]
Prune = Annotated[bool, typer.Option("--prune", help="Delete own files of pictures that are gone.")]
Utility = Annotated[
    Path | None, typer.Option(help="CSV tag,tp,fp,fn,tn of what decisions are worth to you.")
]
Seed = Annotated[
    int | None, typer.Option(min=0, max=2**31 - 1, help="Seed of every random choice.")
]


def settings_of(
    config: Path | None,
    *,
    seed: int | None = None,
    trials: int | None = None,
    quick: bool = False,
    output: Mapping[str, object] | None = None,
    runtime: Mapping[str, object] | None = None,
    preset: Mapping[str, object] | None = None,
    sections: Mapping[str, object] | None = None,
    uses: Sequence[str] | None = None,
) -> "Settings":
    """Return the defaults with the file and the options laid over them.

    ``output`` are options of ``[output]``, ``runtime`` those of `Running`, ``sections`` those
    of other sections, and ``preset`` lies under the file. ``uses`` names the sections that the
    command heeds, all by default; others in the file are named in a notice, since what is set in
    vain was meant.
    """
    from tagstack.configs.settings import check_names, load_settings

    changes: dict[str, object] = {}
    if seed is not None:
        changes["seed"] = seed
    if quick:
        changes |= QUICK
    elif trials is not None:
        changes["stack"] = {"tuning": {"trials": trials}}
    if output:
        changes["output"] = output
    changes |= {**(runtime or {}), **(sections or {})}
    settings = load_settings(config, changes, under={"output": preset or {}})
    check_names(settings)
    if config is not None and uses is not None:
        _name_unused(config, uses)
    return settings


def _name_unused(config: Path, uses: Sequence[str]) -> None:
    from tagstack.configs.text_files import read_toml

    unused = ", ".join(f"[{key}]" for key in read_toml(config) if key not in uses)
    if unused:
        typer.echo(
            f"Note: {shown(config.name)}: {shown(unused)} is not used by this command, which uses "
            f"{', '.join(uses)}. The rest comes from the bundle, as fit or calibrate left it.",
            err=True,
        )


def utility_settings(table: Path | None, *, gate: bool = False) -> dict[str, object]:
    """Return the settings by which thresholds, and the gate, raise what decisions are worth."""
    if table is None:
        return {}
    own = {"strategy": "expected_utility", "objective": "utility", "utility_table": str(table)}
    stack = {"stack": {"objective": "utility", "utility_table": str(table)}} if gate else {}
    return {"thresholds": own, **stack}


def formats_of(text: str) -> tuple[str, ...]:
    """Return the output formats that a comma-separated option names."""
    from tagstack.configs.hooks import OUTPUT_FORMATS

    names = listed(text, "--format")
    for name in names:
        if name not in OUTPUT_FORMATS.built_in and name not in OUTPUT_FORMATS.names():
            msg = f"{name!r} is none of {', '.join(OUTPUT_FORMATS.names())}."
            raise typer.BadParameter(msg, param_hint="--format")
    return names


def listed(text: str, option: str) -> tuple[str, ...]:
    """Return the parts of a comma-separated option, each once, without space around them."""
    parts = _no_empty(tuple(part.strip() for part in text.split(",")), text, option)
    return tuple(dict.fromkeys(parts)) if option == "--format" else parts


def listed_taggers(text: str, option: str = "--models") -> tuple[str, ...]:
    """Return the parts of a comma-separated option whose parts may be paths with commas."""
    return _no_empty(names_and_paths(text), text, option)


def _no_empty(parts: tuple[str, ...], text: str, option: str) -> tuple[str, ...]:
    if not all(parts):
        msg = f"{text!r} has an empty part; expected names with one comma between them."
        raise typer.BadParameter(msg, param_hint=option)
    return parts


def families_of(text: str | None) -> tuple[str, ...] | None:
    """Return the families that `--unknown-if-absent` names; none for an empty text."""
    if text is None:
        return None
    return listed(text, "--unknown-if-absent") if text.strip() else ()


def endings_of(texts: list[str] | None) -> tuple[str, ...] | None:
    """Return the endings that `--label-extension` names, each with its dot; None for none."""
    return tuple("." + text.strip().lstrip(".") for text in texts) if texts else None


def named(texts: list[str] | None, option: str) -> tuple[tuple[str, Path], ...]:
    """Return name and path of each ``NAME=PATH`` that a repeated option holds."""
    found = []
    for text in texts or ():
        name, equals, path = text.partition("=")
        if not (name.strip() and equals and path):
            msg = f"{text!r} is not NAME=PATH, such as mine=tags.csv."
            raise typer.BadParameter(msg, param_hint=option)
        found.append((name.strip(), Path(path)))
    return tuple(found)


def exit_unless(good: bool) -> None:
    """Exit with 1 when something was found wrong."""
    if not good:
        raise typer.Exit(1)


def exit_with_failures(n_failed: int) -> None:
    """Exit with 3 when images failed while the others were done."""
    if n_failed:
        raise typer.Exit(3)
