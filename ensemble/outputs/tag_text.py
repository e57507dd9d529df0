"""How one tag is written in a line of tags, and how it is read back."""

import re

from tagstack.configs.output import OutputSettings

# What a terminal or an editor would obey instead of showing it.
_OBEYED = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_SCORE = re.compile(r"score_\d(_up)?")  # models were trained with its underscores


def tag_text(tag: str, settings: OutputSettings) -> str:
    """Return a tag as it is written: with spaces or escaped where asked for, and never as two.

    A kaomoji keeps its underscores, and is recognised by having no two letters in a row. What
    would part the tag in two (a comma where commas separate, a line break) is left out, and so are
    control characters.
    """
    text = unparted(tag, settings.separator)
    if settings.spaces:
        text = spaced(text)
    return escaped(text) if settings.escape_parentheses else text


def tag_of(text: str, settings: OutputSettings) -> str:
    r"""Return the tag behind a written text: the reverse of `tag_text`.

    Examples
    --------
    >>> from tagstack.configs.settings import load_settings
    >>> changes = {"output": {"spaces": True, "escape_parentheses": True}}
    >>> tag_of(r"hat \(blue\)", load_settings(changes=changes).output)
    'hat_(blue)'
    """
    text = text.strip()
    if settings.escape_parentheses:
        text = unescaped(text)
    return "_".join(text.split()) if settings.spaces else text


def same_tag(text: str) -> str:
    r"""Return what two spellings of one tag have in common: spaces, capitals and escapes aside.

    Examples
    --------
    >>> same_tag(r"Hat \(blue\)") == same_tag("hat_(blue)")
    True
    """
    return "_".join(unescaped(text).split()).lower()


def escaped(text: str) -> str:
    """Return a text with parentheses and backslashes escaped, as prompt parsers read them."""
    return "".join(f"\\{sign}" if sign in "\\()" else sign for sign in text)


def unescaped(text: str) -> str:
    r"""Return what a prompt parser makes of an escaped text.

    Examples
    --------
    >>> unescaped(r"\\m/ \(sign\)")
    '\\m/ (sign)'
    """
    found, signs = [], iter(text)
    for sign in signs:
        following = next(signs, "") if sign == "\\" else ""
        found.append(following if following in ("\\", "(", ")") else sign + following)
    return "".join(found)


def spaced(tag: str) -> str:
    """Return a tag with spaces for underscores, unless it is a kaomoji or a score.

    Examples
    --------
    >>> spaced("best_quality"), spaced("score_8_up")
    ('best quality', 'score_8_up')
    """
    return tag if is_kaomoji(tag) or _SCORE.fullmatch(tag) else tag.replace("_", " ")


def unparted(tag: str, separator: str) -> str:
    """Return a tag without what would part it in two where the separator stands between tags.

    Examples
    --------
    >>> unparted("great_white_shark,_white_shark", ", "), unparted("two words", " ")
    ('great_white_shark_white_shark', 'two_words')
    """
    bare = separator.strip()
    if not tag.isprintable():
        tag = _OBEYED.sub("", tag)
    if not bare:
        return "_".join(tag.split())
    return " ".join(tag.replace(bare, "").split())


def is_kaomoji(tag: str) -> bool:
    """Return whether a tag is a drawn face such as ``0_0``, ``>_<``, ``o_o`` or ``(o)_(o)``.

    Examples
    --------
    >>> [tag for tag in ("^_^", "<o>_<o>", "u_u", "=_=", "x_(y)", "1girl") if is_kaomoji(tag)]
    ['^_^', '<o>_<o>', 'u_u', '=_=']
    """
    left, underscore, right = tag.partition("_")
    if not underscore or "_" in right or right.startswith("(") != left.startswith("("):
        return False  # words have several underscores or a qualifier in parentheses
    return _is_eye(left) and _is_eye(right)


def _is_eye(part: str) -> bool:
    """Tell an eye or mouth from a word: one character, or signs around at most one letter."""
    return len(part) == 1 or (0 < len(part) <= 3 and sum(map(str.isalnum, part)) <= 1)
