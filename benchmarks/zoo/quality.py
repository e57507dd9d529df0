"""How good the shipped taggers are on drawn pictures that they never saw."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from recipes import FOLDER

from tagstack.base_models.pictures.preprocess import framed
from tagstack.base_models.taggers.tagger import Tagger, load_tagger
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.base_models.zoo.gallery import Picture, draw_pictures

NAMES = ("doll_resnet", "doll_convnext", "doll_vit")
# Only for the loading: nothing is stored here.
_FLOOR = 1e-4


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Scores of one tagger on drawn pictures, over the tags it knows that occur at all.

    ``macro_ap``, ``micro_ap`` and ``micro_f1`` lie in [0, 1]; the last is taken at the tagger's
    published thresholds. ``n_tags`` is the number of tags behind the macro mean.
    """

    macro_ap: float
    micro_ap: float
    micro_f1: float
    n_tags: int


def shipped_taggers(folder: Path = FOLDER) -> list[Tagger]:
    """Return the three taggers, loaded through their contracts."""
    return [load_tagger(folder / name, floor=_FLOOR, threads=1) for name in NAMES]


def measure(tagger: Tagger, pictures: list[Picture], *, clean: bool) -> Quality:
    """Return a tagger's scores on pictures, against the true or the noisy tags."""
    from sklearn.metrics import average_precision_score

    pixels = np.stack([framed(picture.image, tagger.framing) for picture in pictures])
    logit = tagger.logits(pixels)
    labels = tag_matrix(pictures, tagger.vocabulary, clean=clean)
    occurs = labels.any(0)
    by_tag = [average_precision_score(labels[:, i], logit[:, i]) for i in np.flatnonzero(occurs)]
    published = tagger.published_thresholds
    tagged = 1 / (1 + np.exp(-logit)) >= published
    hits = (tagged & labels).sum()
    return Quality(
        macro_ap=float(np.mean(by_tag)),
        micro_ap=float(average_precision_score(labels.ravel(), logit.ravel())),
        micro_f1=float(2 * hits / (tagged.sum() + labels.sum())),
        n_tags=int(occurs.sum()),
    )


def tag_matrix(
    pictures: list[Picture], vocabulary: Vocabulary, *, clean: bool
) -> NDArray[np.bool_]:
    """Return which picture has which tag, shape (n_images, n_tags), bool."""
    given = [picture.clean if clean else picture.noisy for picture in pictures]
    return np.array([[tag in tags for tag in vocabulary.tags] for tags in given])


def fresh_pictures(n_images: int, seed: int) -> list[Picture]:
    """Return ``n_images`` drawn pictures of a seed."""
    return list(draw_pictures(n_images=n_images, seed=seed))
