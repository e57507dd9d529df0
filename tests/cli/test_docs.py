"""The documentation is true: settings complete, messages real, commands that run, pages linked."""

import ast
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest
from typer.main import get_command

from tagstack.cli import app

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
MESSAGE = re.compile(r"^\| `{1,2} ?(.+?) ?`{1,2} \|", re.MULTILINE)


@pytest.fixture(scope="module")
def settings_page() -> Any:
    spec = importlib.util.spec_from_file_location("tagstack_pages", DOCS / "hooks/pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def leaves(table: dict[str, Any], section: str = "") -> Iterator[tuple[str, str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{section}.{key}".lstrip("."))
        else:
            yield section, key, value


def test_the_settings_page_has_every_key_with_its_default_and_reason(settings_page: Any) -> None:
    text = (ROOT / "configs/default.toml").read_text()
    found = {
        (section, key): tomllib.loads(f"x = {default}")["x"]
        for section, entries in settings_page.sections(text).items()
        for entry in entries
        for key, default in zip(entry.keys, entry.defaults, strict=True)
    }
    assert found == {(section, key): value for section, key, value in leaves(tomllib.loads(text))}
    bare = [e.keys for es in settings_page.sections(text).values() for e in es if not e.reasons]
    assert bare == []
    page = settings_page.on_page_markdown((DOCS / "settings.md").read_text())
    for section, key in found:
        assert f"`{key}`" in page.split(f"## `[{section}]`" if section else "## At the top")[1]


def spoken() -> str:
    """Return every text of the package, those with values in them with … where a value stands."""
    texts = []
    for folder in ("base_models", "configs", "meta", "ensemble"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    parts = [v.value if isinstance(v, ast.Constant) else "…" for v in node.values]
                    texts.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    texts.append(node.value)
    return "\n".join(texts)


def test_every_message_of_the_trouble_page_is_one_that_the_package_says() -> None:
    said = spoken()
    messages = MESSAGE.findall((DOCS / "trouble.md").read_text())
    assert len(messages) > 30
    for message in messages:
        for fragment in filter(None, (part.strip(" .:,;'") for part in message.split("…"))):
            assert fragment in said, f"{fragment!r} of {message!r} is in no message"


def blocks(page: str) -> list[list[str]]:
    found = re.findall(r"```console\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    return [shlex.split(line) for block in found for line in block.splitlines()]


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_every_command_of_a_page_is_one_that_the_parser_takes(page: str) -> None:
    for program, *arguments in blocks(page):
        if program.endswith("tagstack"):
            parsed(arguments)


@cache
def the_command() -> Any:
    """Return the command line as the parser has it; to make it for every line took long."""
    return get_command(app)


def parsed(arguments: list[str]) -> None:
    """Parse without running; a command or an option that is none ends in a usage error."""
    command = the_command()
    context = click.Context(command)
    while hasattr(command, "commands"):
        name, *arguments = arguments
        assert name in command.commands, f"there is no command {name!r}"
        command = command.commands[name]
    command.make_parser(click.Context(command, parent=context)).parse_args(arguments)


def test_the_tutorial_runs_as_written(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: Callable[..., str]
) -> None:
    """On few drawn pictures and with quick fits; what downloads is left out."""
    for part in ("fit", "test", "new"):
        (tmp_path / "demo/images" / part).mkdir(parents=True)
    pictures = sorted((small / "images").glob("*.png"))
    rows = (small / "labels.csv").read_text().splitlines()
    for part in ("fit", "test"):
        kept = [rows[0], *(row for row in rows[1:] if row.endswith(f",{part}"))]
        (tmp_path / f"demo/images/{part}/labels.csv").write_text("\n".join(kept) + "\n")
        for row in kept[1:]:
            name = row.split(",")[0]
            shutil.copy(small / "images" / name, tmp_path / "demo/images" / part / name)
    shutil.copytree(small / "bundle", tmp_path / "demo/bundle")
    wanted = re.findall(r"demo/images/new/(\S+\.png)", (DOCS / "tutorial.md").read_text())
    for name in {*wanted, "another.png"}:
        shutil.copy(pictures[0], tmp_path / "demo/images/new" / name)
    monkeypatch.chdir(tmp_path)
    for program, *arguments in blocks("tutorial.md"):
        assert program == "tagstack"
        if arguments[0] == "demo" or arguments[:2] == ["models", "pull"]:
            continue  # .ci/run runs the demonstration; nothing is downloaded in a test
        quick = ["--config", small / "config.toml"] if arguments[0] in ("fit", "compare") else []
        done(*arguments, *quick)
    assert (tmp_path / "report/report.html").exists()
    assert len(list((tmp_path / "my-tags").glob("*.txt"))) == len({*wanted, "another.png"})


def test_every_page_is_in_the_list_of_pages() -> None:
    listed = (ROOT / "mkdocs.yml").read_text().split("\nnav:")[1]
    assert [path.name for path in DOCS.glob("*.md") if path.name not in listed] == []


def test_the_pages_build_without_a_warning(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    text = (tmp_path / "site/tutorial/index.html").read_text()
    assert not re.search(r'(?:src|href)="(?:https?:)?//[^"]*\.(?:js|css|woff2?)', text)
