"""Every setting with its default and its reason, as default.toml says them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import resources


@dataclass
class Entry:
    """Keys that stand together and what is said about them."""

    keys: list[str] = field(default_factory=list)
    defaults: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


def default_text() -> str:
    """Return the text of default.toml, where every default stands with its reason."""
    return resources.files("tagstack.configs").joinpath("default.toml").read_text("utf-8")


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
