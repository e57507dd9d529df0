"""The pairs that a review keeps in its folder, read again by what learns from the answers."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tagstack.base_models.atomic import write_text
from tagstack.configs.errors import TagstackError
from tagstack.configs.text_files import read_json
from tagstack.ensemble.review.ground import read_chunk
from tagstack.ensemble.review.pairs import ReviewPairs

PAIRS = "pairs"
_ABOUT = "about.json"
_BYTES = 256 * 2**20


@dataclass(frozen=True, kw_only=True)
class PairsAbout:
    """What a folder of pairs is about.

    Parameters
    ----------
    bundle : str
        SHA-256 of the bundle's manifest.
    n_chunks : int
    images : tuple of str
    contents : tuple of str
        SHA-256 of each picture.
    """

    bundle: str
    n_chunks: int
    images: tuple[str, ...]
    contents: tuple[str, ...]

    def save(self, folder: Path) -> None:
        """Write it beside the pairs."""
        write_text(folder / _ABOUT, json.dumps(asdict(self)) + "\n")


def kept_pairs(review: Path) -> tuple[PairsAbout, ReviewPairs]:
    """Return the pairs that a review was opened with last.

    Raises
    ------
    TagstackError
        If there are none, or the review was stopped before all were made.
    """
    found = sorted((review / PAIRS).glob(f"*/{_ABOUT}"))
    if not found:
        msg = (
            f"{review} keeps no pairs of pictures and tags. Open it once with this tagstack: "
            "`tagstack review --bundle B --images FOLDER`."
        )
        raise TagstackError(msg)
    content = read_json(found[-1], limit=_BYTES)
    try:
        about = PairsAbout(
            bundle=str(content["bundle"]),
            n_chunks=int(content["n_chunks"]),
            images=tuple(map(str, content["images"])),
            contents=tuple(map(str, content["contents"])),
        )
    except (TypeError, KeyError, ValueError) as error:
        raise TagstackError(f"{found[-1]} is damaged. Delete it and open the review.") from error
    tables = [read_chunk(found[-1].parent, number) for number in range(about.n_chunks)]
    whole = [table for table in tables if table is not None]
    if len(whole) < about.n_chunks:
        msg = (
            f"The review in {review} has made {len(whole)} of {about.n_chunks} parts of its pairs. "
            "Open it again and let it run until the pictures are all there."
        )
        raise TagstackError(msg)
    return about, ReviewPairs.joined(whole)
