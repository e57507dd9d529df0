"""What the pages take from elsewhere: settings from their defaults, the list of decisions."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tagstack.configs.documented import default_text, sections

PLACE = "<!-- every setting -->"


def on_config(config: Any) -> Any:
    """List the decisions last, whichever there are; called by mkdocs once."""
    folder = Path(config["docs_dir"]) / "decisions"
    config["nav"].append(
        {"Decisions": [f"decisions/{p.name}" for p in sorted(folder.glob("*.md"))]}
    )
    return config


def on_page_markdown(markdown: str, **_: object) -> str:
    """Put the tables where a page asks for them; called by mkdocs for every page."""
    if PLACE not in markdown:
        return markdown
    return markdown.replace(PLACE, "\n".join(_page(default_text())))


def _page(text: str) -> Iterator[str]:
    for section, entries in sections(text).items():
        if not entries:
            continue
        yield f"## `[{section}]`\n" if section else "## At the top\n"
        yield "| key | default | why |"
        yield "|---|---|---|"
        for entry in entries:
            keys, defaults = (_code(column) for column in (entry.keys, entry.defaults))
            yield f"| {keys} | {defaults} | {_cell(' '.join(entry.reasons))} |"
        yield ""


def _code(texts: list[str]) -> str:
    return "<br>".join(f"`{text.replace('|', chr(92) + '|')}`" for text in texts)


def _cell(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return re.sub(r"([|*_<{])", r"\\\1", text) if "`" not in text else text.replace("|", r"\|")
