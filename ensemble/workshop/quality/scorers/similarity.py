"""How near a picture's features lie to those of texts: CLIP's similarity as one number.

The texts' vectors come from a file, made where the text tower is; here none is run.

References
----------
Wang, Chan & Loy (2023), "Exploring CLIP for assessing the look and feel of images": the
probability of a good text against a bad one.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from tagstack.configs.errors import TagstackError
from tagstack.configs.own_files import DESCRIPTION_BYTES, own_file
from tagstack.configs.text_files import read_json

Vectors = tuple[tuple[float, ...], ...]


def texts_of(folder: Path, name: str) -> tuple[Vectors, Vectors]:
    """Return the vectors of a JSON file of texts: ``towards``, and ``against``, which may be empty.

    Raises
    ------
    TagstackError
        If it holds anything but two lists of vectors of one length, each with a direction.
    """
    path = own_file(folder, name, max_bytes=DESCRIPTION_BYTES)
    content = read_json(path)
    try:
        found = [_vectors(content.get(side, [])) for side in ("towards", "against")]
        lengths = {len(row) for side in found for row in side}
        if not found[0] or len(lengths) != 1:
            raise ValueError("none towards, or of several lengths")
    except (AttributeError, TypeError, ValueError) as error:
        msg = (
            f"{path} is no file of texts ({error}). Expected towards = [[...], ...] and perhaps "
            "against, vectors of one length that are not all 0 (docs/quality.md)."
        )
        raise TagstackError(msg) from error
    return found[0], found[1]


def similarity(
    features: NDArray[np.float64], towards: Vectors, against: Vectors, scale: float
) -> float:
    """Return the mean cosine to texts, in [-1, 1]; against others a probability, in [0, 1].

    Parameters
    ----------
    features : array of shape (n_features,), float64
        NaN comes of features without a direction.
    towards, against : tuple of tuple of float
        Of n_features each.
    scale : float
        What cosines are multiplied by before the softmax: CLIP's own is about 100.
    """
    length = np.linalg.norm(features)
    if not length > 0:
        return float("nan")
    near, far = (
        [float(np.dot(features, row) / length / np.linalg.norm(row)) for row in side]
        for side in (towards, against)
    )
    if not far:
        return float(np.mean(near))
    return float(softmax([scale * np.mean(near), scale * np.mean(far)])[0])


def _vectors(rows: object) -> Vectors:
    if not isinstance(rows, list):
        raise TypeError("a list is expected")
    found = tuple(tuple(float(x) for x in row) for row in rows)
    if any(not np.isfinite(row).all() or not np.linalg.norm(row) > 0 for row in found):
        raise ValueError("a vector without a direction")
    return found
