"""The body below the head: wings and tail, limbs, clothes, and what the hands hold."""

from tagstack.base_models.zoo.looks import Look
from tagstack.base_models.zoo.palette import CLOTH, HAIR, INK, RGB, SKIN, mixed, shaded
from tagstack.base_models.zoo.pencil import Pencil
from tagstack.base_models.zoo.scene import Doll

_WHITE: RGB = (250, 250, 252)
_ARMS = {
    "down": ((0.58, 1.35), (0.86, 1.95), (0.92, 2.55)),
    "hips": ((0.58, 1.35), (1.12, 1.8), (0.66, 2.25)),
    "wave": ((0.58, 1.35), (1.12, 1.5), (1.3, 0.75)),
    "up": ((0.58, 1.32), (1.12, 0.5), (1.18, -0.6)),
}
_LONG_SLEEVES = frozenset({"blazer", "hoodie", "kimono", "maid", "serafuku"})


def draw_behind(pencil: Pencil, doll: Doll) -> None:
    """Draw wings, tail and cape, which everything else covers."""
    look = doll.look
    for side in (-1, 1):
        if look.wings == "angel":
            pencil.polygon([(side * x, y) for x, y in _ANGEL], _WHITE)
        elif look.wings == "bat":
            pencil.polygon([(side * x, y) for x, y in _BAT], pencil.colour((92, 70, 104)))
    if look.cape:
        cloth = pencil.colour((122, 40, 62) if look.vampire else CLOTH[look.accent])
        pencil.polygon([(-0.7, 1.1), (-1.35, 3.7), (0.0, 3.95), (1.35, 3.7), (0.7, 1.1)], cloth)
    if look.tail:
        fur = pencil.colour(HAIR[look.hair])
        if look.ears == "fox":
            pencil.polygon(_FOX_TAIL, fur)
            pencil.polygon(_FOX_TIP, (252, 248, 240), line=False)
        else:
            pencil.limb([(0.3, 2.6), (1.1, 3.0), (1.5, 2.5), (1.55, 1.95)], fur, 0.2)


def draw_body(pencil: Pencil, doll: Doll) -> None:
    """Draw legs, clothes, arms and whatever is worn around the neck."""
    look = doll.look
    _draw_legs(pencil, look)
    _draw_lower(pencil, look)
    skin = pencil.colour(SKIN[look.skin])
    cloth = pencil.colour(CLOTH[look.upper])
    half = 0.6 if look.girl else 0.7
    pencil.polygon([(-0.2, 0.8), (-0.22, 1.25), (0.22, 1.25), (0.2, 0.8)], skin)
    torso = [(-0.3, 1.08), (-half, 1.22), (-half + 0.14, 2.2), (-half + 0.06, 2.5)]
    pencil.polygon(torso + [(-x, y) for x, y in reversed(torso)], cloth)
    if look.outfit == "dress":
        pencil.polygon(_flared(1.95, 3.3, 0.48, 1.12), cloth)
    _draw_front(pencil, look, half)
    _draw_arms(pencil, doll, skin, cloth)
    _draw_neckwear(pencil, look)


def draw_held(pencil: Pencil, doll: Doll) -> None:
    """Draw the umbrella or balloon in the doll's raised hand."""
    hand_x, hand_y = _ARMS["wave"][2]
    accent = pencil.colour(CLOTH[doll.look.accent])
    if doll.held == "umbrella":
        pencil.stroke([(hand_x, hand_y + 0.5), (hand_x, -1.3)], (110, 84, 70), 0.1)
        top = [(-1.75, 0.0), (-1.5, -0.65), (-0.8, -1.15), (0.0, -1.3), (0.8, -1.15), (1.5, -0.65)]
        frill = [(1.75, 0.0), (1.2, -0.2), (0.6, 0.0), (0.0, -0.2), (-0.6, 0.0), (-1.2, -0.2)]
        pencil.polygon([(hand_x * 0.4 + x, -1.05 + y) for x, y in top + frill], accent)
    elif doll.held == "balloon":
        pencil.stroke([(hand_x, hand_y), (hand_x + 0.2, -0.9)], INK, 0.04)
        pencil.ellipse(hand_x + 0.2, -1.35, 0.46, 0.55, accent)


def _draw_legs(pencil: Pencil, look: Look) -> None:
    skin = pencil.colour(SKIN[look.skin])
    trousers = pencil.colour(CLOTH[look.lower])
    shoe = pencil.colour(CLOTH["brown" if look.boots else "black"])
    dark = look.lower in {"black", "navy"}
    sock = pencil.colour(CLOTH["black" if dark else "white"])
    for side in (-1, 1):
        x = side * 0.3
        pencil.limb([(x, 2.4), (x, 4.5)], trousers if look.trousers else skin, 0.38)
        if not look.trousers and look.legs != "bare":
            pencil.limb([(x, 3.35 if look.legs == "thighhighs" else 4.15), (x, 4.5)], sock, 0.38)
        if look.boots:
            pencil.limb([(x, 3.95), (x, 4.6)], shoe, 0.42)
        pencil.ellipse(x + side * 0.08, 4.72, 0.33, 0.2, shoe)


def _draw_lower(pencil: Pencil, look: Look) -> None:
    cloth = pencil.colour(CLOTH[look.lower])
    if look.outfit == "kimono":
        robe = pencil.colour(CLOTH[look.upper])
        pencil.polygon(_flared(2.1, 4.35, 0.5, 0.78), robe)
        pencil.stroke([(0.05, 2.3), (0.2, 4.3)], shaded(robe, 0.4), 0.07)
    elif look.outfit in {"maid", "apron"}:
        pencil.polygon(_flared(2.0, 3.35, 0.48, 1.15), pencil.colour(CLOTH[look.upper]))
    elif look.trousers:
        pencil.polygon([(-0.52, 2.3), (-0.52, 2.85), (0.52, 2.85), (0.52, 2.3)], cloth, line=False)
    elif look.outfit != "dress":
        pencil.polygon(_flared(2.1, 3.05, 0.48, 0.98 if look.pleated else 0.8), cloth)
        if look.pleated:
            for step in (-2, -1, 0, 1, 2):
                pencil.stroke([(step * 0.15, 2.3), (step * 0.34, 3.0)], shaded(cloth, 0.5), 0.06)


def _draw_front(pencil: Pencil, look: Look, half: float) -> None:
    accent = pencil.colour(CLOTH[look.accent])
    cloth = pencil.colour(CLOTH[look.upper])
    if look.striped:
        for y in (1.45, 1.75, 2.05, 2.35):
            pencil.stroke([(-half + 0.12, y), (half - 0.12, y)], _contrast(look), 0.1)
    if look.outfit == "serafuku":
        navy = pencil.colour(CLOTH[look.lower])
        pencil.polygon(
            [(-0.62, 1.12), (-0.58, 1.55), (0.0, 1.75), (0.58, 1.55), (0.62, 1.12)], navy
        )
        pencil.polygon([(-0.25, 1.1), (0.0, 1.5), (0.25, 1.1)], pencil.colour(SKIN[look.skin]))
        pencil.polygon([(0.0, 1.55), (-0.3, 2.05), (0.0, 1.85), (0.3, 2.05)], accent)
    elif look.outfit == "blazer":
        pencil.polygon([(-0.3, 1.08), (0.0, 1.85), (0.3, 1.08)], _WHITE)
        pencil.stroke([(0.0, 1.85), (0.0, 2.45)], shaded(cloth, 0.5), 0.06)
    elif look.outfit in {"maid", "apron"}:
        pencil.polygon([(-0.36, 1.3), (-0.36, 2.1), (0.36, 2.1), (0.36, 1.3)], _WHITE)
        pencil.polygon(_flared(2.1, 3.05, 0.38, 0.72), _WHITE)
    elif look.outfit == "kimono":
        pencil.stroke([(-0.3, 1.1), (0.12, 1.9)], _WHITE, 0.12)
        pencil.stroke([(0.3, 1.1), (-0.12, 1.9)], _WHITE, 0.12)
        pencil.polygon([(-0.53, 1.9), (-0.53, 2.4), (0.53, 2.4), (0.53, 1.9)], accent)
    elif look.outfit == "hoodie":
        pencil.ellipse(0.0, 1.2, 0.55, 0.2, shaded(cloth, 0.2))
        pencil.polygon([(-0.32, 1.95), (-0.4, 2.35), (0.4, 2.35), (0.32, 1.95)], shaded(cloth, 0.1))
        pencil.stroke([(-0.14, 1.25), (-0.14, 1.6)], _WHITE, 0.06)
        pencil.stroke([(0.14, 1.25), (0.14, 1.6)], _WHITE, 0.06)


def _draw_arms(pencil: Pencil, doll: Doll, skin: RGB, cloth: RGB) -> None:
    sleeve_end = 3 if doll.look.outfit in _LONG_SLEEVES else 2
    width = 0.46 if doll.look.outfit == "kimono" else 0.3
    for side in (-1, 1):
        raised = doll.arms == "wave" or doll.held != "none"
        pose = "wave" if raised and side == 1 else "down" if doll.arms == "wave" else doll.arms
        points = [(side * x, y) for x, y in _ARMS[pose]]
        pencil.limb(points, skin, 0.24)
        pencil.limb(points[:sleeve_end], cloth, width)
        pencil.ellipse(*points[2], 0.17, 0.17, skin)


def _draw_neckwear(pencil: Pencil, look: Look) -> None:
    accent = pencil.colour(CLOTH[look.accent])
    if look.scarf:
        pencil.ellipse(0.0, 1.12, 0.6, 0.26, accent)
        pencil.polygon([(0.15, 1.2), (0.2, 2.0), (0.5, 1.98), (0.45, 1.2)], accent)
    elif look.necktie:
        pencil.polygon(
            [(-0.1, 1.12), (-0.15, 1.85), (0.0, 2.02), (0.15, 1.85), (0.1, 1.12)], accent
        )
    if look.cape and not look.scarf:
        pencil.polygon([(-0.7, 1.08), (0.0, 1.4), (0.7, 1.08), (0.0, 1.2)], accent)


def _flared(top: float, bottom: float, narrow: float, wide: float) -> list[tuple[float, float]]:
    return [(-narrow, top), (-wide, bottom), (0.0, bottom + 0.08), (wide, bottom), (narrow, top)]


def _contrast(look: Look) -> RGB:
    light = look.upper in {"white", "yellow", "pink"}
    return CLOTH["blue"] if light else mixed(CLOTH[look.upper], (255, 255, 255), 0.7)


_ANGEL = [(0.3, 1.5), (1.2, 0.8), (2.1, 0.75), (1.95, 1.25), (1.75, 1.6), (1.45, 1.95), (0.9, 2.1)]
_BAT = [(0.3, 1.6), (1.1, 0.7), (2.1, 0.6), (1.95, 1.9), (1.6, 1.5), (1.3, 2.1), (0.95, 1.7)]
_FOX_TAIL = [(0.2, 2.6), (1.0, 3.2), (1.7, 2.9), (1.95, 2.1), (1.55, 1.3), (1.2, 2.0), (0.7, 2.3)]
_FOX_TIP = [(1.93, 2.0), (1.55, 1.32), (1.28, 1.85), (1.6, 2.1)]
