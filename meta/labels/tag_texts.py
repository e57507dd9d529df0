r"""The tags in one text, and what separates them: decided once a file, never cell by cell.

Captions, spreadsheets and boorus separate tags by commas, semicolons, bars, lines or spaces, and
emoticons such as ``;d`` or ``:|`` look like separators. What most cells of a file show decides.
"""

import re
from collections.abc import Iterable

from tagstack.base_models.tag_names import booru_form

SPACE = " "
# What Chinese and Japanese keyboards write for marks, the line ends of other systems, and the
# words by which trainers and prompts part a text. No published vocabulary has one in a tag.
_MEANT = re.compile(r"[\uff0c\u3001]|\s(?:\|{3}|BREAK)\s|\uff1b|\r\n?|[\x85\u2028\u2029]")
_AS = {"\uff0c": ",", "\u3001": ",", "|||": ",", "BREAK": ",", "\uff1b": "; "}
# What a mark looks like in text that it separates; `tight` has no space after it anywhere.
_SHOWN = {
    ",": re.compile(r","),
    "\t": re.compile(r"\t"),
    "; ": re.compile(r"[\w)\]!?\"']\s*;(?:\s|$)"),
    "| ": re.compile(r"[\w)\]!?\"']\s*\|(?:\s|$)"),
    ";": re.compile(r"[\w)\]];[\w(]"),
    "|": re.compile(r"[\w)\]]\|[\w(]"),
}
# Where a text is cut. A spaced mark leaves the emoticons ``;d`` and ``:|`` whole.
_CUT = {
    "; ": re.compile(r";(?=\s|$)"),
    "| ": re.compile(r"(?:(?<=\s)|(?<![:=|]))\|(?=\s|$)"),
}


def tag_separator(texts: Iterable[str]) -> str:
    r"""Return what separates the tags of a file: a comma, semicolon, bar, tab, or space.

    A mark wins if it shows in more lines than any other, and in at least half of those that hold
    several words. A semicolon or bar counts where it follows a tag; it comes with a space where
    spaces follow it in the file.

    Examples
    --------
    >>> tag_separator(["1girl; long hair", "solo", "1girl; hat; ;d"])
    '; '
    >>> tag_separator(["1girl ;d solo", "1girl :| hat"])
    ' '
    """
    shown = dict.fromkeys(_SHOWN, 0)
    several = 0
    for text in texts:
        for line in _meant(text).strip().split("\n"):
            marks = [mark for mark, form in _SHOWN.items() if form.search(line)]
            several += bool(marks) or len(line.split()) > 1
            for mark in marks:
                shown[mark] += 1
    best = max(_SHOWN, key=lambda mark: shown[mark])
    return best if shown[best] and 2 * shown[best] >= several else SPACE


def split_tags(text: str, separator: str | None = None) -> tuple[str, ...]:
    r"""Return the tags of one text, in booru form (underscores), each once, in order.

    Parameters
    ----------
    text : str
    separator : str, optional
        As `tag_separator` returns it. Without one, or where it is a space, commas separate if
        there are any; otherwise spaces do. Lines always separate tags.

    Examples
    --------
    >>> split_tags(r"1girl, long hair, hat \(blue\)")
    ('1girl', 'long_hair', 'hat_(blue)')
    >>> split_tags("1girl long_hair")
    ('1girl', 'long_hair')
    >>> split_tags("white hair", separator="; ")
    ('white_hair',)
    """
    tags = (booru_form(part) for part in parts_of(text, separator))
    return tuple(dict.fromkeys(tag for tag in tags if tag))


def parts_of(text: str, separator: str | None = None) -> list[str]:
    """Return what stands between the separators of one text, as written, empty parts included.

    See `split_tags`.
    """
    plain = _meant(text).strip()
    if separator in (None, SPACE):
        separator = "," if "," in plain else SPACE
    lines = plain.split("\n")
    if separator != SPACE:
        return [part for line in lines for part in _cut(line, separator or SPACE)]
    return lines if len(lines) > 1 else plain.split()


def _meant(text: str) -> str:
    """Return a text with the marks that its writer means, spelled as we know them."""
    if text.isascii() and not any(sign in text for sign in ("\r", "|||", "BREAK")):
        return text
    return _MEANT.sub(lambda found: _AS.get(found[0].strip(), "\n"), text)


def _cut(line: str, separator: str) -> list[str]:
    form = _CUT.get(separator)
    return form.split(line) if form else line.split(separator)
