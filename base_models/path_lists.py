"""Names and paths in one text with commas between them, where a path may hold commas itself."""

import os

from tagstack.base_models.taggers.asked_names import asked_for


def names_and_paths(text: str) -> tuple[str, ...]:
    """Return the parts of a comma-separated text, without space around them.

    What lies on the disk under a name with commas is one part: of several readings the longest
    from the left that is there, a ``+flip`` behind it left aside.

    Examples
    --------
    >>> names_and_paths("resnet, convnext")
    ('resnet', 'convnext')
    """
    pieces, found, at = text.split(","), [], 0
    while at < len(pieces):
        ends = range(len(pieces), at, -1)
        joined = (",".join(pieces[at:end]).strip() for end in ends)
        end, part = next(
            (end, part)
            for end, part in zip(ends, joined, strict=True)
            if end == at + 1 or _is_there(part)
        )
        found.append(part)
        at = end
    return tuple(found)


def _is_there(part: str) -> bool:
    return os.path.exists(asked_for(part)[0])  # of any text: one that is no path is not there
