"""Label noise as on a booru: tags go missing more often than they are wrong."""

from collections.abc import Iterable

import numpy as np

from tagstack.base_models.zoo.tags import RATINGS, closed

# Probability that an uploader forgets a true tag.
MISSING = 0.05
_MISSING_OF_TAG = {
    tag: proba
    for proba, tags in {
        0.0: RATINGS,
        0.01: ("1girl", "1boy", "2girls", "multiple_girls", "solo", "no_humans"),
        0.03: ("full_body", "cowboy_shot", "upper_body", "greyscale", "monochrome"),
        0.08: ("hair_ornament", "hairclip", "necktie", "shirt", "simple_background", "twintails"),
        0.12: ("ahoge", "blunt_bangs", "boots", "cloud", "day", "medium_hair", "short_hair"),
        0.18: ("blush", "closed_mouth", "looking_at_viewer", "pleated_skirt", "sky", "tree"),
        0.25: ("multicolored_hair", "star_(sky)", "white_shirt"),
    }.items()
    for tag in tags
}

# Probability that a tag is mistaken for one of its look-alikes, which then stands in its place.
WRONG = 0.012
_LOOKALIKES = {
    "aqua_hair": ("blue_hair",),
    "black_dress": ("red_dress",),
    "black_hair": ("brown_hair", "blue_hair"),
    "blonde_hair": ("brown_hair",),
    "blue_eyes": ("purple_eyes",),
    "blue_hair": ("aqua_hair", "purple_hair"),
    "brown_eyes": ("red_eyes", "yellow_eyes"),
    "brown_hair": ("blonde_hair", "black_hair"),
    "cat_ears": ("fox_ears",),
    "cowboy_shot": ("upper_body", "full_body"),
    "fox_ears": ("cat_ears",),
    "grey_background": ("white_background",),
    "grey_hair": ("white_hair",),
    "long_hair": ("medium_hair",),
    "medium_hair": ("short_hair", "long_hair"),
    "pink_hair": ("red_hair", "purple_hair"),
    "portrait": ("upper_body",),
    "purple_eyes": ("blue_eyes",),
    "purple_hair": ("pink_hair",),
    "red_eyes": ("brown_eyes",),
    "short_hair": ("medium_hair",),
    "skirt": ("dress",),
    "smile": ("frown",),
    "upper_body": ("portrait", "cowboy_shot"),
    "white_background": ("grey_background",),
    "white_hair": ("grey_hair",),
}


def noisy_tags(tags: Iterable[str], rng: np.random.Generator) -> frozenset[str]:
    """Return the tags as an uploader might have given them.

    Each tag is forgotten with its own probability (``MISSING`` unless it is a subtle or an obvious
    one) or, where it has look-alikes, mistaken for one with probability ``WRONG``. What the
    remaining tags imply is added again, so a forgotten parent returns with its child.
    """
    given = []
    for tag in sorted(tags):
        forgotten, mistaken, choice = rng.random(3)
        others = _LOOKALIKES.get(tag, ())
        if others and mistaken < WRONG:
            given.append(others[int(choice * len(others))])
        elif forgotten >= _MISSING_OF_TAG.get(tag, MISSING):
            given.append(tag)
    return closed(given)
