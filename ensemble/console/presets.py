"""The group ``presets``: what output other programs want, by name."""

from typing import Annotated

import typer

from tagstack.ensemble.console.options import Json

presets = typer.Typer(
    help="Presets of output for other programs.",
    epilog="tagstack presets list\n\ntagstack presets show kohya",
    no_args_is_help=True,
)


@presets.command(
    "list", epilog="tagstack presets list\n\ntagstack tag images --bundle b --preset kohya"
)
def list_presets(as_json: Json = False) -> None:
    """List the presets that come with tagstack."""
    from rich.table import Table

    from tagstack.configs.presets import load_preset, shipped_presets
    from tagstack.ensemble.console.console import out, print_json

    found = [load_preset(name) for name in shipped_presets()]
    if as_json:
        print_json([{"name": p.name, "about": p.about, "formats": p.formats} for p in found])
        return
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), show_header=False)
    for preset in found:
        table.add_row(preset.name, ",".join(preset.formats), preset.about)
    out.print(table)


@presets.command(
    "show",
    epilog="tagstack presets show kohya\n\ntagstack presets show kohya > mine.toml",
)
def show(
    name: Annotated[str, typer.Argument(help="Name of a preset, or a .toml file.")],
    as_json: Json = False,
) -> None:
    """Print a preset as a file to copy and change; `tag --preset FILE` takes it."""
    from tagstack.configs.presets import load_preset
    from tagstack.ensemble.console.console import out, print_json

    preset = load_preset(name)
    if as_json:
        print_json(
            {
                "name": preset.name,
                "about": preset.about,
                "formats": preset.formats,
                "output": preset.output,
            }
        )
        return
    out.out(preset.text, end="", highlight=False)
