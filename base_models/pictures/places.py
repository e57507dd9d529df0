"""Where a picture lies that a file names: below the folder in use, whatever the name says."""

from pathlib import Path, PurePath

from tagstack.base_models.pictures.images import ImageError


def picture_below(folder: Path, name: str, *, links: bool = True) -> Path:
    """Return where a picture lies that a store, a table or a label file names.

    Parameters
    ----------
    folder : Path
    name : str
        Parts with ``/`` between them.
    links : bool
        Whether links may lead out of the folder: they are its owner's, as they are where it is
        scored. Not where strangers are shown what is found.

    Raises
    ------
    ImageError
        If the name, or a link where none may, leads out of the folder.
    """
    own, path = PurePath(name), folder / name
    plain = own.parts and "\0" not in name and not own.anchor and ".." not in own.parts
    if not plain or not (links or path.resolve().is_relative_to(folder.resolve())):
        msg = f"{name!r:.200} leads out of the folder of the pictures; expected one below it"
        raise ImageError(msg)
    return path
