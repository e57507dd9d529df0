"""Pictures that take their scores from a store by content, whatever they are called there."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from tagstack.base_models.pictures.images import ImageError
from tagstack.base_models.pictures.picture_hash import PictureHashes
from tagstack.base_models.scores.reading import OK, Digests, ImageRecord, ScoredMember, ScoreReader
from tagstack.base_models.scoring.sources import ImageSources
from tagstack.base_models.threads import thread_count
from tagstack.configs.settings import Settings
from tagstack.ensemble.progress import Progress


class NamedContents(ScoreReader):
    """A reader's scores under other names.

    Parameters
    ----------
    reader : ScoreReader
    contents : mapping of name to str
        SHA-256 of each picture in hexadecimal.
    """

    def __init__(self, reader: ScoreReader, contents: Mapping[str, str]) -> None:
        self._reader = reader
        self._records = {
            name: ImageRecord(path=name, root="", sha256=sha256, size_bytes=0, status=OK, reason="")
            for name, sha256 in contents.items()
        }

    @property
    def title(self) -> str:
        """What messages call the reader below."""
        return self._reader.title

    def scored_members(self) -> Mapping[str, ScoredMember]:
        """Return the members of the reader below."""
        return self._reader.scored_members()

    def image_records(self) -> Mapping[str, ImageRecord]:
        """Return the pictures under the names given."""
        return self._records

    def hashes_of(self, digests: Digests) -> PictureHashes:
        """Return what contents look like."""
        return self._reader.hashes_of(digests)


def hashed(
    sources: ImageSources, names: Sequence[str], settings: Settings, progress: Progress
) -> tuple[dict[str, ImageRecord], dict[str, str]]:
    """Return what pictures' files hold, by name, and why others could not be read."""

    def identified(name: str) -> ImageRecord | ImageError:
        try:
            content = sources.identify(name, settings.score)
        except ImageError as error:
            return error
        return ImageRecord(
            path=name,
            root=sources.origin,
            sha256=content.sha256,
            size_bytes=content.size_bytes,
            status=OK,
            reason="",
        )

    records: dict[str, ImageRecord] = {}
    failed: dict[str, str] = {}
    with ThreadPoolExecutor(thread_count(settings.threads)) as pool:
        for done, (name, found) in enumerate(
            zip(names, pool.map(identified, names), strict=True), 1
        ):
            if isinstance(found, ImageRecord):
                records[name] = found
            else:
                failed[name] = str(found)
            progress.stage("hashing", done, len(names))
    return records, failed
