"""From settings and a bundle to the output folder of a run."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import NoReturn

from tagstack import __version__
from tagstack.configs.errors import TagstackError
from tagstack.configs.hooks import OUTPUT_FORMATS, Offer
from tagstack.configs.settings import Settings
from tagstack.ensemble.moderation.moderator import Moderator
from tagstack.ensemble.outputs.captions import Captions, TaggedFile, copyrights_of
from tagstack.ensemble.outputs.folder import OutputFolder
from tagstack.ensemble.outputs.format import Add, Sidecar, Table
from tagstack.ensemble.outputs.names import SidecarNames
from tagstack.ensemble.outputs.written import WrittenRecord, digest

_CALLED = ("parse", "merged", "tags", "key", "block")  # of formats: what says whose fault it is
# Settings that say where a file is, not what is in it: a file elsewhere is another file anyway.
_PLACES = {"beside", "extension", "sidecar_name"}


def output_folder(
    formats: Sequence[str],
    images: Sequence[str],
    settings: Settings,
    *,
    root: Path,
    out: Path,
    record: WrittenRecord,
    decided_by: str,
    categories: Mapping[str, str],
    moderator: Moderator | None = None,
) -> OutputFolder:
    """Return the folder that a run writes to.

    Parameters
    ----------
    formats : sequence of str
        Of `OUTPUT_FORMATS`.
    images : sequence of str
        Name of every image of the run, below ``root``.
    settings : Settings
    root, out : Path
        Where the images are, and where results go.
    record : WrittenRecord
        Open.
    decided_by : str
        Hash of everything that decides an image's tags but its own content.
    categories : mapping of str to str
        Category of every tag that a tagger knows.
    moderator : Moderator, optional
        Of the settings' policies.

    Raises
    ------
    TagstackError
        If a format is unknown or two of them would write one file.
    """
    copyrights = copyrights_of(settings.output.copyrights)
    captions = Captions(
        settings.output,
        seed=settings.seed,
        copyrights=copyrights,
        categories=categories,
        moderator=moderator,
    )
    sidecars: dict[str, Sidecar] = {}
    tables: dict[str, Table] = {}
    for name in formats:
        offer = OUTPUT_FORMATS.offer(name)
        format = _opened(offer, captions)
        if isinstance(format, Sidecar):
            sidecars[name] = format
        else:
            tables[name] = format
    folder = root if settings.output.beside else out

    def key(name: str) -> str:
        shown = settings.output.model_dump(mode="json", exclude=_PLACES)
        parts = [__version__, decided_by, name, settings.seed, shown, sorted(copyrights.items())]
        if moderator is not None:
            parts.append(settings.moderation.model_dump(mode="json"))
        return digest(json.dumps(parts, sort_keys=True).encode())

    names = SidecarNames.of(folder, images, settings.output, sidecars)
    return OutputFolder(names, sidecars, tables, out, captions, record, key)


def _opened(offer: Offer, captions: Captions) -> Sidecar | Table:
    """Return a format, held to what one is; whatever it raises later says whose it is."""
    with offer.blamed():
        format = offer.load()(captions)  # type: ignore[operator]
    if not isinstance(format, Sidecar | Table):
        msg = f"The {offer} is {type(format).__name__}; expected a Sidecar or a Table."
        raise TagstackError(msg)
    name = format.ending if isinstance(format, Sidecar) else format.file_name
    # A name below the folder alone: files of a run lie nowhere else.
    if not isinstance(name, str) or not re.fullmatch(r"[^/\\\0]+", name) or not name.strip("."):
        msg = (
            f"The {offer} writes to {name!r:.80}; expected the name of a file, or what one ends "
            "in. Report this to its authors."
        )
        raise TagstackError(msg)
    if offer.package:
        _blame(format, offer)
    return format


def _blame(format: Sidecar | Table, offer: Offer) -> None:
    """Let what a package's format is asked say whose it is, and hold its answers to their kinds."""
    for name in _CALLED:
        if (call := getattr(format, name, None)) is not None:
            setattr(format, name, offer.blaming(call))
    if isinstance(format, Sidecar):
        format.render = _rendering(format.render, offer)  # type: ignore[method-assign, assignment]
    else:
        format.opened = _opening(format.opened, offer)  # type: ignore[method-assign, assignment]


def _rendering(render: Callable[[TaggedFile], str], offer: Offer) -> Callable[[TaggedFile], str]:
    def rendered(file: TaggedFile) -> str:
        with offer.blamed():
            text: object = render(file)
        return text if isinstance(text, str) else _refuse(text, "text", offer)

    return rendered


def _opening(
    opened: Callable[[Path], AbstractContextManager[Add]], offer: Offer
) -> Callable[[Path], AbstractContextManager[Add]]:
    @contextmanager
    def begun(path: Path) -> Iterator[Add]:
        with ExitStack() as stack:
            with offer.blamed():  # not what is done while it is open: that is ours
                add: object = stack.enter_context(opened(path))
            yield offer.blaming(add) if callable(add) else _refuse(add, "a function", offer)

    return begun


def _refuse(given: object, expected: str, offer: Offer) -> NoReturn:
    msg = (
        f"The {offer} returned {type(given).__name__}; expected {expected}. Report this to its "
        "authors."
    )
    raise TagstackError(msg)
