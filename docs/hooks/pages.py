"""What the pages take from elsewhere: settings from their defaults, the list of decisions."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DEFAULTS = Path(__file__).resolve().parents[2] / "configs" / "default.toml"
PLACE = "<!-- every setting -->"


@dataclass
class Entry:
    """Keys that stand together and what is said about them."""

    keys: list[str] = field(default_factory=list)
    defaults: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


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
    return markdown.replace(PLACE, "\n".join(_page(DEFAULTS.read_text(encoding="utf-8"))))


def sections(text: str) -> dict[str, list[Entry]]:
    """Return the entries of each section of a commented TOML file, in their order."""
    found: dict[str, list[Entry]] = {}
    entries = found.setdefault("", [])
    above: list[str] = []
    open_below = False  # whether the next key may share what was said above the last
    for line in _logical_lines(text):
        if line.startswith("["):
            entries = found.setdefault(line[1 : line.index("]")], [])
            above, open_below = [_comment_of(line)] if _comment_of(line) else [], False
        elif line.startswith("#"):
            above = above if not open_below or above else []
            above.append(line.lstrip("# "))
        elif not line:
            above, open_below = [], False
        else:
            key, value = line.split("=", 1)
            comment = _comment_of(value)
            said = [*above, comment] if comment else above
            if not said and open_below:
                entry = entries[-1]
            else:
                entry = Entry(reasons=said)
                entries.append(entry)
            entry.keys.append(key.strip())
            entry.defaults.append(_value_of(value))
            open_below = not comment or bool(above)
            above = []
    return found


def _logical_lines(text: str) -> Iterator[str]:
    """Yield lines, arrays over several of them as one."""
    held = ""
    for line in text.splitlines():
        held = f"{held} {line.strip()}".strip() if held else line.strip()
        if re.match(r"[\w-]+\s*=", held) and _value_of(held).count("[") > _value_of(held).count(
            "]"
        ):
            continue
        yield held
        held = ""


def _cut(text: str) -> tuple[str, str]:
    quoted = False
    for i, sign in enumerate(text):
        quoted ^= sign == '"'
        if sign == "#" and not quoted:
            return text[:i].strip(), text[i + 1 :].strip()
    return text.strip(), ""


def _value_of(text: str) -> str:
    return _cut(text)[0]


def _comment_of(text: str) -> str:
    return _cut(text)[1]


def _page(text: str) -> Iterator[str]:
    tomllib.loads(text)  # what is no TOML would give a table of nonsense
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
