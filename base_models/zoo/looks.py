"""Who a paper doll is: hair, eyes, ears, clothes; what stays the same across a series."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

# Weights need not add up to one. They are long-tailed on purpose: a tagger, a threshold and a
# stack all behave differently on tags with five positives than on tags with five hundred.
HAIR_COLOURS = {
    "black": 16, "brown": 16, "blonde": 15, "blue": 11, "pink": 9, "white": 8, "grey": 7,
    "red": 6, "purple": 6, "green": 4, "aqua": 3,
}  # fmt: skip
EYE_COLOURS = {"blue": 26, "brown": 18, "red": 16, "green": 14, "purple": 12, "yellow": 9}
GIRL_LENGTHS = {"short": 25, "medium": 23, "long": 38, "very_long": 14}
BOY_LENGTHS = {"short": 84, "medium": 12, "long": 4}
LONG_STYLES = {
    "loose": 48, "twintails": 15, "ponytail": 14, "twin_braids": 6, "braid": 4, "single_bun": 3,
    "double_bun": 2.5,
}  # fmt: skip
SHORT_STYLES = {"loose": 93, "double_bun": 2, "single_bun": 1.5, "twintails": 3.5}
FRINGES = {"plain": 48, "swept": 26, "blunt": 26}
EARS = {"none": 80, "cat": 10, "rabbit": 4.5, "fox": 5.5}
WINGS = {"none": 95.8, "angel": 1.2, "bat": 3}
GIRL_OUTFITS = {
    "dress": 26, "serafuku": 17, "blazer": 11, "shirt": 20, "hoodie": 9, "kimono": 5, "maid": 4.5,
    "apron": 3,
}  # fmt: skip
BOY_OUTFITS = {"shirt": 40, "blazer": 26, "hoodie": 24, "kimono": 5}
DRESS_COLOURS = {
    "white": 18, "black": 18, "red": 14, "blue": 20, "pink": 12, "green": 8, "yellow": 6,
    "purple": 6,
}  # fmt: skip
SHIRT_COLOURS = {"white": 40, "black": 12, "red": 9, "blue": 14, "yellow": 8, "green": 8, "pink": 9}
LOWER_COLOURS = {"navy": 28, "black": 22, "red": 12, "grey": 14, "brown": 12, "blue": 12}
ACCENTS = {"red": 42, "blue": 20, "yellow": 12, "black": 12, "green": 8, "pink": 8}
LEGS = {"bare": 50, "thighhighs": 24, "socks": 26}
EYEWEAR = {"none": 87, "glasses": 12, "eyepatch": 0.7}
ORNAMENTS = {"none": 66, "bow": 14, "hairclip": 9, "flower": 6, "crown": 0.9}


@dataclass(frozen=True, kw_only=True)
class Look:
    """A character: everything about a doll that does not change between its pictures."""

    girl: bool
    skin: int
    hair: str
    second_hair: str
    hair_length: str
    hairstyle: str
    fringe: str
    ahoge: bool
    eyes: str
    second_eye: str
    ears: str
    tail: bool
    wings: str
    horns: bool
    halo: bool
    vampire: bool
    eyewear: str
    ornament: str
    outfit: str
    upper: str
    lower: str
    trousers: bool
    pleated: bool
    striped: bool
    necktie: bool
    scarf: bool
    cape: bool
    legs: str
    boots: bool
    accent: str


def weighted(rng: np.random.Generator, weights: Mapping[str, float]) -> str:
    """Return one key, drawn in proportion to its weight."""
    names = list(weights)
    cumulated = np.cumsum([weights[name] for name in names])
    position = np.searchsorted(cumulated, rng.random() * cumulated[-1], side="right")
    return names[int(position)]


def happens(rng: np.random.Generator, proba: float) -> bool:
    """Return True with probability ``proba``; always uses exactly one draw."""
    return bool(rng.random() < proba)


def sample_look(rng: np.random.Generator) -> Look:
    """Return a random character."""
    girl = happens(rng, 0.8)
    ears = weighted(rng, EARS)
    outfit = weighted(rng, GIRL_OUTFITS if girl else BOY_OUTFITS)
    length = weighted(rng, GIRL_LENGTHS if girl else BOY_LENGTHS)
    hair, eyes = weighted(rng, HAIR_COLOURS), weighted(rng, EYE_COLOURS)
    vampire = happens(rng, 0.014)
    return Look(
        girl=girl,
        skin=int(weighted(rng, {"0": 40, "1": 36, "2": 16, "3": 8})),
        hair=hair,
        second_hair=_other(rng, HAIR_COLOURS, hair, 0.045),
        hair_length=length,
        hairstyle=_hairstyle(rng, length, girl=girl),
        fringe=weighted(rng, FRINGES),
        ahoge=happens(rng, 0.13),
        eyes=eyes,
        second_eye=_other(rng, EYE_COLOURS, eyes, 0.01),
        ears=ears,
        tail=ears in {"cat", "fox"} and happens(rng, 0.7),
        wings="bat" if vampire else weighted(rng, WINGS),
        horns=ears == "none" and happens(rng, 0.035),
        halo=happens(rng, 0.011),
        vampire=vampire,
        eyewear=weighted(rng, EYEWEAR),
        ornament=weighted(rng, ORNAMENTS) if girl else "none",
        outfit=outfit,
        upper=_upper_colour(rng, outfit),
        lower=weighted(rng, LOWER_COLOURS),
        trousers=not girl or (outfit in {"shirt", "hoodie"} and happens(rng, 0.35)),
        pleated=outfit in {"serafuku", "blazer"} or happens(rng, 0.35),
        striped=outfit == "shirt" and happens(rng, 0.22),
        necktie=outfit == "blazer" or (outfit == "shirt" and happens(rng, 0.12)),
        scarf=outfit not in {"serafuku", "maid"} and happens(rng, 0.06),
        cape=vampire or happens(rng, 0.02),
        legs=weighted(rng, LEGS) if girl else "bare",
        boots=happens(rng, 0.22),
        accent=weighted(rng, ACCENTS),
    )


def _hairstyle(rng: np.random.Generator, length: str, *, girl: bool) -> str:
    if not girl:
        return "ponytail" if length == "long" else "loose"
    return weighted(rng, SHORT_STYLES if length == "short" else LONG_STYLES)


def _other(rng: np.random.Generator, weights: dict[str, int], first: str, proba: float) -> str:
    second = weighted(rng, {name: value for name, value in weights.items() if name != first})
    return second if happens(rng, proba) else ""


def _upper_colour(rng: np.random.Generator, outfit: str) -> str:
    dress, shirt = weighted(rng, DRESS_COLOURS), weighted(rng, SHIRT_COLOURS)
    fixed = {"serafuku": "white", "maid": "black", "blazer": "navy"}
    return fixed.get(outfit, shirt if outfit in {"shirt"} else dress)
