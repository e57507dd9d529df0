"""The face: eyes, mouth, blush, glasses; and hats, horns and halo above it."""

from tagstack.base_models.zoo.palette import CLOTH, EYES, INK, RGB, SKIN, mixed, shaded
from tagstack.base_models.zoo.pencil import Pencil
from tagstack.base_models.zoo.scene import Doll

_LIPS: RGB = (150, 52, 62)
_TONGUE: RGB = (240, 130, 134)
_WHITE: RGB = (255, 255, 255)
_BLOOD: RGB = (176, 20, 34)


def draw_head(pencil: Pencil, doll: Doll) -> None:
    """Draw the head with everything that the hair may cover."""
    skin = pencil.colour(SKIN[doll.look.skin])
    for side in (-1, 1):
        pencil.ellipse(side * 0.98, 0.15, 0.16, 0.22, skin)
    pencil.polygon(_FACE, skin)
    if doll.blush:
        for side in (-1, 1):
            pencil.ellipse(
                side * 0.6, 0.45, 0.2, 0.1, mixed(skin, (240, 90, 100), 0.55), line=False
            )
    _draw_eyes(pencil, doll)
    _draw_mouth(pencil, doll)


def draw_eyewear(pencil: Pencil, doll: Doll) -> None:
    """Draw glasses or an eyepatch, above the fringe."""
    if doll.look.eyewear == "glasses":
        for side in (-1, 1):
            ring = [(side * 0.4 + 0.33 * x, 0.17 + 0.3 * y) for x, y in _RING]
            pencil.stroke(ring, (60, 60, 110), 0.07)
        pencil.stroke([(-0.1, 0.14), (0.1, 0.14)], (60, 60, 110), 0.07)
    elif doll.look.eyewear == "eyepatch":
        pencil.stroke([(-1.0, -0.4), (0.2, -0.05)], CLOTH["black"], 0.07)
        pencil.ellipse(0.4, 0.16, 0.34, 0.34, CLOTH["black"])


def draw_headgear(pencil: Pencil, doll: Doll) -> None:
    """Draw horns, a halo and a hat."""
    if doll.look.horns:
        for side in (-1, 1):
            horn = [(side * 0.4, -0.98), (side * 0.62, -1.6), (side * 0.78, -0.8)]
            pencil.polygon(horn, pencil.colour((178, 60, 74)))
    if doll.look.halo:
        rim = [(0.72 * x, -1.58 + 0.2 * y) for x, y in _RING]
        pencil.stroke(rim, INK, 0.2)
        pencil.stroke(rim, (252, 220, 96), 0.11)
    _draw_hat(pencil, doll)


def _draw_eyes(pencil: Pencil, doll: Doll) -> None:
    look = doll.look
    shift = 0.0 if doll.facing else 0.1
    for side in (-1, 1):
        shut = doll.eyes == "closed" or (doll.eyes == "wink" and side == 1)
        x = side * 0.4
        pencil.stroke([(x - 0.2, -0.24), (x + 0.2, -0.24 - 0.02 * side)], INK, 0.05)
        if shut:
            pencil.stroke([(x - 0.22, 0.2), (x, 0.3), (x + 0.22, 0.2)], INK, 0.08)
            continue
        name = look.second_eye if side == 1 and look.second_eye else look.eyes
        iris = pencil.colour(EYES[name])
        pencil.ellipse(x, 0.16, 0.23, 0.3, _WHITE)
        pencil.iris(x + shift, 0.18, 0.17, 0.25, iris)
        pencil.iris(x + shift, 0.2, 0.08, 0.13, shaded(iris, 0.6))
        pencil.ellipse(x + shift - 0.06, 0.06, 0.06, 0.07, _WHITE, line=False)
        pencil.stroke([(x - 0.26, 0.02), (x, -0.14), (x + 0.26, 0.02)], INK, 0.1)


def _draw_mouth(pencil: Pencil, doll: Doll) -> None:
    if doll.expression == "smile":
        pencil.stroke([(-0.18, 0.58), (0.0, 0.67), (0.18, 0.58)], _LIPS, 0.07)
    elif doll.expression == "neutral":
        pencil.stroke([(-0.13, 0.62), (0.13, 0.62)], _LIPS, 0.07)
    elif doll.expression == "frown":
        pencil.stroke([(-0.16, 0.68), (0.0, 0.59), (0.16, 0.68)], _LIPS, 0.07)
    elif doll.expression == "open":
        pencil.ellipse(0.0, 0.64, 0.11, 0.13, _LIPS)
    else:
        pencil.polygon([(-0.24, 0.53), (0.24, 0.53), (0.13, 0.76), (-0.13, 0.76)], _LIPS)
        pencil.ellipse(0.0, 0.71, 0.1, 0.05, _TONGUE, line=False)
    if doll.expression == "fang":
        pencil.polygon([(0.08, 0.54), (0.2, 0.54), (0.14, 0.68)], _WHITE, line=False)
        pencil.stroke([(-0.17, 0.6), (-0.19, 0.95)], _BLOOD, 0.11)


def _draw_hat(pencil: Pencil, doll: Doll) -> None:
    accent = pencil.colour(CLOTH[doll.look.accent])
    if doll.headwear == "witch":
        cloth = pencil.colour((84, 66, 116))
        pencil.polygon(
            [(-0.8, -0.72), (-0.1, -2.1), (0.42, -2.2), (0.3, -1.85), (0.8, -0.72)], cloth
        )
        pencil.polygon([(-0.8, -0.75), (-0.68, -1.0), (0.66, -1.0), (0.8, -0.75)], accent)
        pencil.ellipse(0.0, -0.66, 1.5, 0.2, cloth)
    elif doll.headwear == "straw":
        straw = pencil.colour((234, 206, 132))
        pencil.ellipse(0.0, -0.95, 0.84, 0.62, straw)
        pencil.polygon([(-0.85, -0.72), (-0.84, -0.98), (0.84, -0.98), (0.85, -0.72)], accent)
        pencil.ellipse(0.0, -0.64, 1.5, 0.22, straw)
    elif doll.headwear == "santa":
        red = pencil.colour(CLOTH["red"])
        pencil.polygon([(-0.95, -0.72), (-0.4, -1.6), (0.7, -1.6), (1.25, -0.75), (0.9, -0.7)], red)
        pencil.ellipse(1.22, -0.66, 0.22, 0.22, _WHITE)
        pencil.polygon([(-1.1, -0.55), (-1.05, -0.88), (1.0, -0.88), (1.05, -0.55)], _WHITE)
    elif doll.headwear == "cap":
        pencil.ellipse(0.0, -0.72, 1.02, 0.56, accent)
        pencil.polygon(
            [(-1.02, -0.62), (1.0, -0.62), (1.6, -0.42), (1.0, -0.4), (-0.9, -0.45)], accent
        )
    elif doll.look.outfit == "maid":
        frill = [
            (-0.8, -0.72),
            (-0.7, -1.1),
            (-0.25, -1.34),
            (0.25, -1.34),
            (0.7, -1.1),
            (0.8, -0.72),
        ]
        pencil.polygon([*frill, (0.4, -0.98), (-0.4, -0.98)], _WHITE)


_FACE = [
    (-0.98, -0.2), (-0.98, 0.3), (-0.8, 0.68), (-0.42, 0.93), (0.0, 1.0), (0.42, 0.93),
    (0.8, 0.68), (0.98, 0.3), (0.98, -0.2), (0.7, -0.75), (0.0, -1.0), (-0.7, -0.75),
]  # fmt: skip
_RING = [
    (1.0, 0.0), (0.71, 0.71), (0.0, 1.0), (-0.71, 0.71), (-1.0, 0.0), (-0.71, -0.71), (0.0, -1.0),
    (0.71, -0.71), (1.0, 0.0),
]  # fmt: skip
