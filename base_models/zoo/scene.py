"""What is in a picture: who, how framed, where, when, in which medium; drawn from one generator.

A scene is a pure function of (seed, index). It knows nothing of tags or of pixels: labels.py says
what the scene is called, drawing.py what it looks like.
"""

from dataclasses import dataclass, replace

import numpy as np

from tagstack.base_models.zoo.looks import Look, happens, sample_look, weighted

FRAMINGS = {"full_body": 27, "cowboy_shot": 22, "upper_body": 36, "portrait": 15}
PLACES = {"simple": 50, "outdoors": 26, "city": 8, "indoors": 16}
BACKDROPS = {
    "white": 44, "grey": 13, "blue": 9, "gradient": 15, "pink": 7, "yellow": 6, "lavender": 6,
}  # fmt: skip
TIMES = {"day": 60, "night": 25, "sunset": 15}
MEDIA = {"colour": 88.5, "greyscale": 6, "tinted": 2.5, "spot": 0.9, "sketch": 1}
EXPRESSIONS = {"smile": 34, "grin": 18, "neutral": 28, "open": 10, "frown": 8}
EYE_STATES = {"open": 86, "closed": 8, "wink": 6}
ARMS = {"down": 56, "wave": 18, "hips": 18, "up": 5}
HELD = {"none": 88, "umbrella": 6, "balloon": 4}
HEADWEAR = {"none": 86, "witch": 3.5, "straw": 3.5, "santa": 0.9, "cap": 3.5}
MOONS = {"none": 40, "full": 38, "crescent": 22}
SIZES = {"128x128": 60, "104x144": 22, "144x104": 10, "88x144": 5, "160x88": 3}
PORTRAIT_SHAPES = frozenset({"128x128", "104x144", "88x144"})

# Every eight pictures in a row show four characters: one of them four times, one twice, two once.
CAST = (0, 0, 0, 0, 1, 1, 2, 3)


@dataclass(frozen=True, kw_only=True)
class Doll:
    """A character in one picture: look, pose and expression, and where it stands.

    ``x`` and ``y`` are the head's centre in picture widths and heights, ``unit`` the head's radius
    in picture heights, ``tilt`` degrees clockwise.
    """

    look: Look
    framing: str
    expression: str
    eyes: str
    facing: bool
    blush: bool
    arms: str
    held: str
    headwear: str
    x: float
    y: float
    unit: float
    tilt: float

    @property
    def ornament(self) -> str:
        """What is worn in the hair; nothing under a hat."""
        return self.look.ornament if self.headwear == "none" else "none"


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One picture, before it is drawn.

    ``size`` is width and height in pixels; ``texture`` seeds whatever the drawing leaves to
    chance: jitter of colours and lines, clutter, noise.
    """

    index: int
    series: int
    dolls: tuple[Doll, ...]
    several_views: bool
    chibi: bool
    place: str
    backdrop: str
    time: str
    clouds: bool
    tree: bool
    stars: bool
    moon: str
    snowing: bool
    medium: str
    speech_bubble: bool
    size: tuple[int, int]
    texture: int


def sample_scene(seed: int, index: int) -> Scene:
    """Return the scene of picture ``index``, the same for the same seed whatever came before.

    Parameters
    ----------
    seed, index : int
        Not negative.
    """
    rng = np.random.default_rng([seed, index])
    series = index // len(CAST) * (CAST[-1] + 1) + CAST[index % len(CAST)]
    hero = sample_look(np.random.default_rng([seed, series, 1]))
    size = weighted(rng, SIZES)
    squat = happens(rng, 0.13)
    dolls, several_views = _cast(rng, hero, size, squat=squat)
    # Only where the feet are seen does a short body tell a chibi from a doll that stands further.
    chibi = squat and bool(dolls) and all(doll.framing == "full_body" for doll in dolls)
    place, time = weighted(rng, PLACES), weighted(rng, TIMES)
    moon = weighted(rng, MOONS)
    width, height = (int(side) for side in size.split("x"))
    return Scene(
        index=index,
        series=series,
        dolls=dolls,
        several_views=several_views,
        chibi=chibi,
        place="outdoors" if not dolls and place in {"simple", "indoors"} else place,
        backdrop=weighted(rng, BACKDROPS),
        time=time,
        clouds=time != "night" and happens(rng, 0.6),
        tree=happens(rng, 0.45),
        stars=time == "night" and happens(rng, 0.7),
        moon=moon if time == "night" else "none",
        snowing=happens(rng, 0.03),
        medium=weighted(rng, MEDIA),
        speech_bubble=happens(rng, 0.03),
        size=(width, height),
        texture=int(rng.integers(2**63)),
    )


def _cast(
    rng: np.random.Generator, hero: Look, size: str, *, squat: bool
) -> tuple[tuple[Doll, ...], bool]:
    number = int(weighted(rng, {"1": 83.5, "2": 14, "0": 2.5}))
    several_views = number == 1 and happens(rng, 0.03)
    if number == 0:
        return (), False
    framing = weighted(rng, FRAMINGS)
    if number == 1 and not several_views:
        return (_doll(rng, hero, framing, slot=(0.5, 1.0), size=size, squat=squat),), False
    other = hero if several_views else sample_look(rng)
    second = weighted(rng, FRAMINGS) if several_views else framing
    shrink = 0.8 if size not in PORTRAIT_SHAPES else 0.68
    left, right = (0.29, shrink), (0.72, shrink)
    pair = (
        _doll(rng, hero, framing, slot=left, size=size, squat=squat),
        _doll(rng, other, second, slot=right, size=size, squat=squat),
    )
    return (pair if happens(rng, 0.5) else _swapped(pair)), several_views


def _swapped(pair: tuple[Doll, Doll]) -> tuple[Doll, Doll]:
    first, second = pair
    return replace(second, x=first.x), replace(first, x=second.x)


# Head radius in picture heights, and where the head's centre is, for each framing.
_UNITS = {"full_body": 0.142, "cowboy_shot": 0.2, "upper_body": 0.255, "portrait": 0.33}
_HEAD = {"full_body": 0.27, "cowboy_shot": 0.35, "upper_body": 0.43, "portrait": 0.5}


def _doll(
    rng: np.random.Generator,
    look: Look,
    framing: str,
    *,
    slot: tuple[float, float],
    size: str,
    squat: bool,
) -> Doll:
    x, shrink = slot
    stretch = 1.22 if squat and framing == "full_body" else 1.0
    held = weighted(rng, HELD)
    arms = weighted(rng, ARMS)
    return Doll(
        look=look,
        framing=framing,
        expression="fang" if look.vampire and happens(rng, 0.6) else weighted(rng, EXPRESSIONS),
        eyes=weighted(rng, EYE_STATES),
        facing=happens(rng, 0.74),
        blush=happens(rng, 0.24),
        arms="wave" if held != "none" and arms == "up" else arms,
        held=held if framing != "portrait" else "none",
        headwear=weighted(rng, HEADWEAR),
        x=x + rng.normal(0, 0.035),
        y=_HEAD[framing] * (1.06 if shrink < 1 else 1.0) + rng.normal(0, 0.018),
        unit=_UNITS[framing] * shrink**0.7 * stretch * float(np.exp(rng.normal(0, 0.07))),
        tilt=float(rng.normal(0, 6)),
    )
