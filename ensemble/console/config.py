"""``tagstack config``: what the settings are, whether a file of them holds, and why each is so."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tagstack.ensemble.console.options import Config, Json, settings_of

config_app = typer.Typer(
    help="Settings: what holds, why, and whether a file of them is right.",
    epilog="tagstack config show\n\ntagstack config check mine.toml",
)

Key = Annotated[str | None, typer.Argument(help="A section or key, such as score.floor.")]


@config_app.command(epilog="tagstack config show\n\ntagstack config show score --config mine.toml")
def show(key: Key = None, config: Config = None, as_json: Json = False) -> None:
    """Print the settings that hold, defaults with a file laid over them."""
    from tagstack.ensemble.console.console import out, print_json

    values = dict(_chosen(settings_of(config).model_dump(mode="json"), key))
    if as_json:
        print_json(values)
        return
    for name, value in values.items():
        out.print(f"{name} = {json.dumps(value, ensure_ascii=False)}", soft_wrap=True)


@config_app.command(epilog="tagstack config check mine.toml\n\ntagstack config check a.toml --json")
def check(
    file: Annotated[Path, typer.Argument(help="TOML file of settings.")], as_json: Json = False
) -> None:
    """Say whether a file of settings is right, and what it changes."""
    from tagstack.ensemble.console.console import out, print_json

    own = dict(_flat(settings_of(file).model_dump(mode="json")))
    usual = dict(_flat(settings_of(None).model_dump(mode="json")))
    changes = {name: value for name, value in own.items() if value != usual.get(name)}
    if as_json:
        print_json(changes)
        return
    for name, value in changes.items():
        before = json.dumps(usual.get(name), ensure_ascii=False)
        out.print(f"{name} = {json.dumps(value, ensure_ascii=False)}, by default {before}")
    out.print(f"{file.name} is right and changes {len(changes)} of {len(usual)} settings.")


@config_app.command(epilog="tagstack config docs\n\ntagstack config docs thresholds.macro_share")
def docs(key: Key = None, as_json: Json = False) -> None:
    """Print every setting with its default and the reason for it."""
    from tagstack.ensemble.console.console import out, print_json

    rows = dict(_chosen(dict(_documented()), key))
    if as_json:
        print_json({name: {"default": d, "reason": why} for name, (d, why) in rows.items()})
        return
    for name, (default, reason) in rows.items():
        out.print(f"{name} = {default}", soft_wrap=True)
        if reason:
            out.print(f"    {reason}")


def _documented() -> Iterator[tuple[str, tuple[str, str]]]:
    from tagstack.configs.documented import default_text, sections

    for section, entries in sections(default_text()).items():
        for entry in entries:
            for name, default in zip(entry.keys, entry.defaults, strict=True):
                whole = f"{section}.{name}" if section else name
                yield whole, (default, " ".join(entry.reasons))


def _chosen(values: Mapping[str, Any], key: str | None) -> Iterator[tuple[str, Any]]:
    """Yield what a key or section names, everything for None."""
    flat = dict(_flat(values))
    found = [(n, v) for n, v in flat.items() if key in (None, n) or n.startswith(f"{key}.")]
    if not found:
        from difflib import get_close_matches

        sections = {name.rpartition(".")[0] for name in flat} - {""}
        close = get_close_matches(str(key), [*flat, *sections], n=3)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise typer.BadParameter(f"there is no setting {key!r}.{hint}")
    yield from found


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
