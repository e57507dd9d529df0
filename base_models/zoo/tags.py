"""The tags of the drawn pictures: names, categories and implications, all of them Danbooru's."""

from collections.abc import Iterable

from tagstack.base_models.vocabulary import Vocabulary

RATINGS = ("general", "sensitive")

# Tag -> what it implies directly.
IMPLICATIONS: dict[str, tuple[str, ...]] = {
    "2girls": ("multiple_girls",),
    ":d": ("open_mouth", "smile"),
    "angel_wings": ("wings",),
    "black_dress": ("dress",),
    "blue_background": ("simple_background",),
    "blue_sky": ("sky",),
    "cat_ears": ("animal_ears",),
    "crescent_moon": ("moon",),
    "double_bun": ("hair_bun",),
    "fox_ears": ("animal_ears",),
    "gradient_background": ("simple_background",),
    "grey_background": ("simple_background",),
    "greyscale": ("monochrome",),
    "hair_bow": ("bow",),
    "hair_flower": ("flower", "hair_ornament"),
    "hairclip": ("hair_ornament",),
    "holding_umbrella": ("holding", "umbrella"),
    "night_sky": ("night", "sky"),
    "pleated_skirt": ("skirt",),
    "rabbit_ears": ("animal_ears",),
    "red_dress": ("dress",),
    "santa_hat": ("hat",),
    "serafuku": ("school_uniform",),
    "straw_hat": ("hat",),
    "striped_shirt": ("shirt", "striped_clothes"),
    "twin_braids": ("braid",),
    "two-tone_hair": ("multicolored_hair",),
    "very_long_hair": ("long_hair",),
    "white_background": ("simple_background",),
    "white_shirt": ("shirt",),
    "witch_hat": ("hat",),
}

_REST = """
1boy 1girl ahoge apron arms_up balloon black_hair blonde_hair blood blue_eyes blue_hair blunt_bangs
blush boots brown_eyes brown_hair cape chibi city closed_eyes closed_mouth cloud crown day eyepatch
frown glasses green_eyes green_hair grey_hair halo heterochromia hoodie horns indoors kimono
looking_at_viewer maid medium_hair multiple_views necktie no_humans one_eye_closed
outdoors pants pink_hair ponytail portrait full_body upper_body cowboy_shot purple_eyes purple_hair
aqua_hair red_eyes red_hair scarf short_hair sketch snowing solo speech_bubble
spot_color star_(sky) sunset thighhighs tree twintails white_hair yellow_eyes
""".split()


def closed(tags: Iterable[str]) -> frozenset[str]:
    """Return the tags with everything they imply, as a booru stores them."""
    found, waiting = set[str](), list(tags)
    while waiting:
        tag = waiting.pop()
        if tag not in found:
            found.add(tag)
            waiting.extend(IMPLICATIONS.get(tag, ()))
    return frozenset(found)


def _vocabulary() -> Vocabulary:
    general = closed([*IMPLICATIONS, *_REST])
    tags = (*RATINGS, *sorted(general))
    return Vocabulary(tags, tuple("rating" if tag in RATINGS else "general" for tag in tags))


VOCABULARY = _vocabulary()
