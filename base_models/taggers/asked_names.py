"""What may stand after a tagger's name or folder where one is asked for."""

MIRRORED = "+flip"
"""Of a tagger that shall see the mirrored picture too."""


def asked_for(name_or_folder: str) -> tuple[str, bool]:
    """Return a tagger's registry name or folder without `MIRRORED`, and whether it had that."""
    plain = name_or_folder.removesuffix(MIRRORED)
    return plain, plain != name_or_folder
