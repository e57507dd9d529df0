"""From settings and a bundle to the output folder of a run."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tagstack import __version__
from tagstack.configs.hooks import OUTPUT_FORMATS
from tagstack.configs.settings import Settings
from tagstack.ensemble.moderation.moderator import Moderator
from tagstack.ensemble.outputs.captions import Captions, copyrights_of
from tagstack.ensemble.outputs.folder import OutputFolder
from tagstack.ensemble.outputs.format import Sidecar, Table
from tagstack.ensemble.outputs.names import SidecarNames
from tagstack.ensemble.outputs.written import WrittenRecord, digest

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
        with offer.blamed():
            format = offer.load()(captions)  # type: ignore[operator]
        (sidecars if isinstance(format, Sidecar) else tables)[name] = format
    folder = root if settings.output.beside else out

    def key(name: str) -> str:
        shown = settings.output.model_dump(mode="json", exclude=_PLACES)
        parts = [__version__, decided_by, name, settings.seed, shown, sorted(copyrights.items())]
        if moderator is not None:
            parts.append(settings.moderation.model_dump(mode="json"))
        return digest(json.dumps(parts, sort_keys=True).encode())

    names = SidecarNames.of(folder, images, settings.output, sidecars)
    return OutputFolder(names, sidecars, tables, out, captions, record, key)
