"""Hair, animal ears and what is worn in the hair."""

from tagstack.base_models.zoo.looks import Look
from tagstack.base_models.zoo.palette import CLOTH, HAIR, RGB, mixed, shaded
from tagstack.base_models.zoo.pencil import Pencil
from tagstack.base_models.zoo.scene import Doll

_BACK = {
    "short": [(-1.1, -0.3), (-1.16, 0.45), (-0.92, 0.82), (0.92, 0.82), (1.16, 0.45), (1.1, -0.3)],
    "medium": [
        (-1.1, -0.4), (-1.25, 0.8), (-1.12, 1.42), (-0.55, 1.3), (0.55, 1.3), (1.12, 1.42),
        (1.25, 0.8), (1.1, -0.4),
    ],
    "long": [
        (-1.1, -0.4), (-1.3, 1.0), (-1.38, 2.45), (-0.95, 2.7), (-0.5, 2.45), (0.5, 2.45),
        (0.95, 2.7), (1.38, 2.45), (1.3, 1.0), (1.1, -0.4),
    ],
    "very_long": [
        (-1.1, -0.4), (-1.35, 1.2), (-1.7, 3.8), (-1.3, 4.2), (-0.7, 3.9), (0.7, 3.9),
        (1.3, 4.2), (1.7, 3.8), (1.35, 1.2), (1.1, -0.4),
    ],
}  # fmt: skip
_ENDS = {"short": 0.95, "medium": 1.6, "long": 2.6, "very_long": 4.1}
_GATHERED = frozenset({"twintails", "ponytail", "twin_braids", "braid", "single_bun", "double_bun"})
_INNER_EAR: RGB = (250, 190, 196)


def draw_back_hair(pencil: Pencil, look: Look) -> None:
    """Draw the hair behind the body: loose hair, tails, braids, a single bun."""
    colour, second = _colours(pencil, look)
    behind = shaded(second, 0.1)
    if look.hairstyle not in _GATHERED:
        pencil.polygon(_BACK[look.hair_length], behind)
        return
    pencil.polygon(_BACK["short"], behind)
    end = _ENDS[look.hair_length]
    if look.hairstyle == "ponytail":
        tail = [(0.2, -0.9), (1.1, -1.15), (1.62, -0.5), (1.72, end * 0.5), (1.4, end), (1.2, 0.2)]
        pencil.polygon(tail, colour)
    elif look.hairstyle == "twintails":
        for side in (-1, 1):
            _twintail(pencil, side, end, colour)
    elif look.hairstyle == "single_bun":
        pencil.ellipse(0.0, -1.25, 0.5, 0.45, colour)


def draw_braids(pencil: Pencil, look: Look) -> None:
    """Draw braids, which hang in front of the body."""
    if look.hairstyle not in {"twin_braids", "braid"}:
        return
    colour, _ = _colours(pencil, look)
    end = _ENDS[look.hair_length]
    for side in (-1, 1) if look.hairstyle == "twin_braids" else (1,):
        count = max(3, round((end - 0.5) / 0.34))
        for knot in range(count):
            y = 0.68 + knot * 0.34
            pencil.ellipse(side * (1.0 - 0.05 * (knot % 2)), y, 0.23, 0.24, colour)
        pencil.ellipse(side * 0.98, 0.62 + count * 0.34, 0.14, 0.14, pencil.colour(CLOTH["red"]))


def draw_front_hair(pencil: Pencil, doll: Doll) -> None:
    """Draw the cap of hair, the fringe, double buns and an ahoge."""
    look = doll.look
    colour, second = _colours(pencil, look)
    if look.hairstyle == "double_bun":
        for side in (-1, 1):
            pencil.ellipse(side * 0.78, -0.92, 0.38, 0.36, colour)
    if look.ahoge and doll.headwear == "none":
        pencil.polygon(
            [(-0.12, -1.0), (0.1, -1.62), (0.52, -1.55), (0.2, -1.35), (0.14, -1.0)], colour
        )
    pencil.polygon(_CAP + _FRINGE[look.fringe], colour)
    for side in (-1, 1):
        lock = [(side * 1.06, -0.3), (side * 1.14, 0.62), (side * 0.9, 0.8), (side * 0.78, -0.1)]
        pencil.polygon(lock, second if look.second_hair else colour)
    if look.second_hair:
        pencil.polygon(_half(look.fringe), second, line=False)
    pencil.stroke(
        [(-0.5, -0.72), (0.0, -0.84), (0.45, -0.74)], mixed(colour, (255, 255, 255), 0.45), 0.1
    )


def draw_ears(pencil: Pencil, look: Look) -> None:
    """Draw animal ears on top of the head."""
    colour, _ = _colours(pencil, look)
    for side in (-1, 1):
        if look.ears == "rabbit":
            pencil.polygon(_sided(_RABBIT, side), colour)
            pencil.polygon(_sided(_RABBIT_INNER, side), _INNER_EAR, line=False)
        elif look.ears in {"cat", "fox"}:
            wide = 1.0 if look.ears == "cat" else 1.22
            outer = [(side * x * wide, y * wide) for x, y in _CAT]
            inner = [(side * x * wide, y * wide) for x, y in _CAT_INNER]
            pencil.polygon(outer, colour)
            tip = (252, 248, 240) if look.ears == "fox" else _INNER_EAR
            pencil.polygon(inner, tip, line=False)


def draw_ornaments(pencil: Pencil, doll: Doll) -> None:
    """Draw a bow, a hair clip, a flower or a crown."""
    accent = pencil.colour(CLOTH[doll.look.accent])
    if doll.ornament == "bow":
        pencil.polygon([(0.62, -0.85), (0.2, -1.25), (0.22, -0.55)], accent)
        pencil.polygon([(0.62, -0.85), (1.1, -1.2), (1.05, -0.5)], accent)
        pencil.ellipse(0.63, -0.86, 0.14, 0.14, accent)
    elif doll.ornament == "hairclip":
        pencil.polygon([(-0.85, -0.42), (-0.42, -0.58), (-0.38, -0.44), (-0.82, -0.27)], accent)
    elif doll.ornament == "flower":
        for x, y in _PETALS:
            pencil.ellipse(-0.72 + x * 0.22, -0.62 + y * 0.22, 0.17, 0.17, accent)
        pencil.ellipse(-0.72, -0.62, 0.12, 0.12, CLOTH["yellow"], line=False)
    elif doll.ornament == "crown":
        pencil.polygon(_CROWN, pencil.colour(CLOTH["yellow"]))


def _colours(pencil: Pencil, look: Look) -> tuple[RGB, RGB]:
    colour = pencil.colour(HAIR[look.hair])
    return colour, pencil.colour(HAIR[look.second_hair]) if look.second_hair else colour


def _twintail(pencil: Pencil, side: int, end: float, colour: RGB) -> None:
    tail = [
        (side * 0.85, -0.75), (side * 1.45, -0.85), (side * 1.85, 0.1), (side * 1.8, end * 0.6),
        (side * 1.5, end), (side * 1.38, end * 0.5), (side * 1.1, 0.1),
    ]  # fmt: skip
    pencil.polygon(tail, colour)
    pencil.ellipse(side * 0.98, -0.7, 0.16, 0.2, pencil.colour(CLOTH["red"]))


def _half(fringe: str) -> list[tuple[float, float]]:
    right = [(x, y) for x, y in _CAP + _FRINGE[fringe] if x >= 0]
    return [
        (0.0, -1.08),
        *sorted(right, key=lambda point: -point[0] if point[1] < -0.7 else 9),
        (0, -0.3),
    ]


def _sided(points: list[tuple[float, float]], side: int) -> list[tuple[float, float]]:
    return [(side * x, y) for x, y in points]


_CAP = [
    (-1.07, -0.1), (-1.06, -0.45), (-0.88, -0.82), (-0.5, -1.07), (0.0, -1.14), (0.5, -1.07),
    (0.88, -0.82), (1.06, -0.45), (1.07, -0.1),
]  # fmt: skip
_FRINGE = {
    "plain": [
        (0.86, -0.28), (0.7, 0.02), (0.46, -0.3), (0.2, 0.04), (-0.02, -0.28), (-0.28, 0.04),
        (-0.5, -0.3), (-0.72, 0.02), (-0.86, -0.28),
    ],
    "swept": [(0.9, -0.05), (0.7, -0.35), (0.3, -0.55), (-0.1, -0.35), (-0.55, 0.0), (-0.86, 0.1)],
    "blunt": [(0.88, -0.06), (0.8, -0.1), (-0.8, -0.1), (-0.88, -0.06)],
}  # fmt: skip
_CAT = [(0.28, -0.88), (0.72, -1.62), (1.0, -0.5)]
_CAT_INNER = [(0.45, -0.92), (0.7, -1.38), (0.86, -0.68)]
_RABBIT = [(0.2, -0.9), (0.22, -1.7), (0.4, -2.25), (0.66, -2.2), (0.74, -1.6), (0.66, -0.8)]
_RABBIT_INNER = [
    (0.34, -1.0),
    (0.36, -1.65),
    (0.46, -2.0),
    (0.58, -1.98),
    (0.6, -1.5),
    (0.54, -0.95),
]
_CROWN = [
    (-0.5, -0.95), (-0.58, -1.5), (-0.28, -1.22), (0.0, -1.6), (0.28, -1.22), (0.58, -1.5),
    (0.5, -0.95),
]  # fmt: skip
_PETALS = [(0.0, -1.0), (0.95, -0.31), (0.59, 0.81), (-0.59, 0.81), (-0.95, -0.31)]
