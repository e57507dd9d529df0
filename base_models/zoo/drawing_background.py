"""Backgrounds: paper, landscapes, towns, rooms, skies; and things floating about."""

import numpy as np
from PIL import Image, ImageDraw

from tagstack.base_models.zoo.palette import BACKDROP, CLOTH, INK, RGB, Tone, jittered, mixed
from tagstack.base_models.zoo.scene import Scene

_SKY = {
    "day": ((112, 178, 240), (206, 232, 250)),
    "night": ((26, 30, 74), (70, 74, 130)),
    "sunset": ((240, 122, 84), (252, 210, 140)),
}
_GRASS = {"day": (132, 192, 104), "night": (44, 72, 74), "sunset": (146, 128, 76)}
_BLOCKS = {"day": (170, 172, 190), "night": (48, 50, 84), "sunset": (144, 96, 104)}
_WINDOW = {"day": (214, 230, 244), "night": (246, 222, 130), "sunset": (250, 214, 150)}


def draw_background(image: Image.Image, scene: Scene, tone: Tone, rng: np.random.Generator) -> None:
    """Fill ``image`` with the scene's background."""
    if scene.place == "simple":
        _draw_paper(image, scene, tone, rng)
    elif scene.place == "indoors":
        _draw_room(image, tone, rng)
    else:
        _draw_landscape(image, scene, tone, rng)


def draw_snow(image: Image.Image, tone: Tone, rng: np.random.Generator) -> None:
    """Scatter snowflakes over the picture."""
    draw = ImageDraw.Draw(image)
    size = image.height * 0.011
    for x, y, scale in rng.uniform((0, 0, 0.7), (image.width, image.height, 1.8), (38, 3)).tolist():
        half = size * scale
        draw.ellipse((x - half, y - half, x + half, y + half), fill=tone((252, 252, 255)))


def draw_speech_bubble(image: Image.Image, tone: Tone, rng: np.random.Generator) -> None:
    """Draw a bubble with scribbled lines in one of the upper corners."""
    draw = ImageDraw.Draw(image)
    width, height = image.size
    x = float(rng.choice([0.17, 0.83])) * width
    y, half_x, half_y = 0.14 * height, 0.15 * width, 0.1 * height
    ink = tone(INK)
    tip = [(x - 4, y + half_y * 0.7), (x + 8, y + half_y * 0.7), (width / 2, y + half_y * 1.7)]
    draw.polygon(tip, fill=tone((255, 255, 255)), outline=ink)
    draw.ellipse(
        (x - half_x, y - half_y, x + half_x, y + half_y),
        fill=tone((255, 255, 255)), outline=ink, width=2,
    )  # fmt: skip
    for row in (-0.35, 0.0, 0.35):
        reach = half_x * float(rng.uniform(0.4, 0.7))
        draw.line((x - reach, y + row * half_y, x + reach, y + row * half_y), fill=ink, width=2)


def _graded(image: Image.Image, top: RGB, bottom: RGB, tone: Tone, *, reach: float = 1.0) -> None:
    share = np.clip(np.linspace(0, 1 / reach, image.height), 0, 1)[:, None]
    column = np.array(tone(top)) * (1 - share) + np.array(tone(bottom)) * share
    column = column.astype(np.uint8)[:, None, :]
    image.paste(Image.fromarray(column).resize(image.size, Image.Resampling.NEAREST))


def _draw_paper(image: Image.Image, scene: Scene, tone: Tone, rng: np.random.Generator) -> None:
    if scene.backdrop == "gradient":
        names = list(BACKDROP)[2:]
        first, second = rng.choice(len(names), 2, replace=False)
        top = jittered(BACKDROP[names[first]], rng)
        _graded(image, top, mixed(BACKDROP[names[second]], (255, 255, 255), 0.5), tone)
        return
    paper = BACKDROP[scene.backdrop]
    spread = 1.5 if scene.backdrop == "white" else 9.0
    image.paste(tone(jittered(paper, rng, spread)), (0, 0, *image.size))
    if scene.backdrop != "white" and rng.random() < 0.3:
        _draw_dots(image, mixed(paper, (255, 255, 255), 0.5), tone)


def _draw_dots(image: Image.Image, colour: RGB, tone: Tone) -> None:
    draw, step = ImageDraw.Draw(image), image.height // 7
    for row, y in enumerate(range(0, image.height, step)):
        for x in range((row % 2) * step // 2, image.width, step):
            draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=tone(colour))


def _draw_room(image: Image.Image, tone: Tone, rng: np.random.Generator) -> None:
    draw = ImageDraw.Draw(image)
    width, height = image.size
    names = list(BACKDROP)[2:]
    wall = mixed(
        jittered(BACKDROP[names[int(rng.integers(len(names)))]], rng), (190, 160, 130), 0.3
    )
    image.paste(tone(wall), (0, 0, width, height))
    floor = round(height * float(rng.uniform(0.72, 0.84)))
    draw.rectangle((0, floor, width, height), fill=tone(jittered((176, 132, 94), rng)))
    draw.line((0, floor, width, floor), fill=tone(INK), width=2)
    corner = 0.03 if rng.random() < 0.5 else 0.67
    left, top = width * corner, height * 0.12
    if rng.random() < 0.5:
        _draw_shelf(draw, (left, top, left + width * 0.3, floor - 6), tone, rng)
    else:
        _draw_window(draw, (left, top, left + width * 0.3, height * 0.52), tone)


def _draw_window(draw: ImageDraw.ImageDraw, box: tuple[float, ...], tone: Tone) -> None:
    left, top, right, bottom = box
    draw.rectangle(box, fill=tone((190, 222, 246)), outline=tone((120, 84, 60)), width=4)
    middle, centre = (left + right) / 2, (top + bottom) / 2
    draw.line((middle, top, middle, bottom), fill=tone((120, 84, 60)), width=3)
    draw.line((left, centre, right, centre), fill=tone((120, 84, 60)), width=3)


def _draw_shelf(
    draw: ImageDraw.ImageDraw, box: tuple[float, ...], tone: Tone, rng: np.random.Generator
) -> None:
    left, top, right, bottom = box
    draw.rectangle(box, fill=tone((122, 86, 62)), outline=tone(INK), width=2)
    books = list(CLOTH.values())
    rows = np.linspace(top, bottom, 5)
    for upper, lower in zip(rows[:-1], rows[1:], strict=True):
        x = left + 4
        while x < right - 8:
            wide = float(rng.uniform(4, 9))
            fill = tone(books[int(rng.integers(len(books)))])
            draw.rectangle((x, upper + float(rng.uniform(3, 9)), x + wide, lower - 3), fill=fill)
            x += wide + 1


def _draw_landscape(image: Image.Image, scene: Scene, tone: Tone, rng: np.random.Generator) -> None:
    draw = ImageDraw.Draw(image)
    width, height = image.size
    top, bottom = _SKY[scene.time]
    horizon = height * float(rng.uniform(0.6, 0.75))
    _graded(image, jittered(top, rng), bottom, tone, reach=0.8)
    _draw_lights(draw, scene, image.size, tone, rng)
    if scene.clouds:
        _draw_clouds(draw, scene, image.size, tone, rng)
    if scene.place == "city":
        _draw_blocks(draw, scene, image.size, tone, rng)
    ground = (
        _GRASS[scene.time] if scene.place == "outdoors" else mixed(_BLOCKS[scene.time], INK, 0.2)
    )
    if scene.snowing:
        ground = mixed(ground, (250, 250, 255), 0.75)
    draw.rectangle((0, horizon, width, height), fill=tone(jittered(ground, rng)))
    if scene.tree and scene.place == "outdoors":
        for _ in range(int(rng.integers(1, 4))):
            _draw_tree(draw, scene, float(rng.uniform(0, width)), horizon, height, tone, rng)


def _draw_lights(
    draw: ImageDraw.ImageDraw,
    scene: Scene,
    size: tuple[int, int],
    tone: Tone,
    rng: np.random.Generator,
) -> None:
    width, height = size
    if scene.stars:
        for x, y in rng.uniform((0, 0), (width, height * 0.6), (34, 2)).tolist():
            half = float(rng.uniform(0.8, 2.4))
            draw.ellipse((x - half, y - half, x + half, y + half), fill=tone((252, 246, 206)))
    x, y = width * float(rng.choice([0.14, 0.86])), height * float(rng.uniform(0.12, 0.2))
    half = height * 0.07
    disc = (x - half, y - half, x + half, y + half)
    if scene.moon != "none":
        draw.ellipse(disc, fill=tone((250, 240, 190)))
    if scene.moon == "crescent":
        shift = half * 0.7
        draw.ellipse(
            (disc[0] + shift, disc[1] - 2, disc[2] + shift, disc[3] - 2), fill=tone((34, 38, 84))
        )
    if scene.time == "sunset":
        draw.ellipse(
            (x - half, height * 0.5, x + half, height * 0.5 + 2 * half), fill=tone((255, 236, 170))
        )


def _draw_clouds(
    draw: ImageDraw.ImageDraw,
    scene: Scene,
    size: tuple[int, int],
    tone: Tone,
    rng: np.random.Generator,
) -> None:
    width, height = size
    fill = tone((255, 255, 255) if scene.time == "day" else (252, 200, 178))
    for _ in range(int(rng.integers(2, 5))):
        x, y = rng.uniform((0, height * 0.04), (width, height * 0.36)).tolist()
        for part in (-1.0, 0.0, 1.0):
            half = height * (0.055 if part else 0.075)
            middle = x + part * height * 0.08
            draw.ellipse((middle - half * 1.3, y - half, middle + half * 1.3, y + half), fill=fill)


def _draw_blocks(
    draw: ImageDraw.ImageDraw,
    scene: Scene,
    size: tuple[int, int],
    tone: Tone,
    rng: np.random.Generator,
) -> None:
    width, height = size
    x = -float(rng.uniform(0, 20))
    while x < width:
        wide = height * float(rng.uniform(0.12, 0.24))
        top = height * float(rng.uniform(0.22, 0.55))
        draw.rectangle(
            (x, top, x + wide, height * 0.8),
            fill=tone(jittered(_BLOCKS[scene.time], rng)),
            outline=tone(INK),
        )
        for row in np.arange(top + 6, height * 0.7, 14).tolist():
            for column in np.arange(x + 5, x + wide - 7, 11).tolist():
                if rng.random() < 0.7:
                    draw.rectangle(
                        (column, row, column + 5, row + 7), fill=tone(_WINDOW[scene.time])
                    )
        x += wide + 2


def _draw_tree(
    draw: ImageDraw.ImageDraw,
    scene: Scene,
    x: float,
    horizon: float,
    height: int,
    tone: Tone,
    rng: np.random.Generator,
) -> None:
    dark = 0.55 if scene.time == "night" else 0.0
    trunk, crown = mixed((126, 90, 62), INK, dark), mixed((88, 152, 84), (30, 44, 60), dark)
    tall = height * float(rng.uniform(0.28, 0.44))
    base = horizon + height * 0.03
    draw.rectangle((x - 5, base - tall * 0.5, x + 5, base), fill=tone(trunk), outline=tone(INK))
    for dx, dy, size in ((-0.28, -0.6, 0.34), (0.28, -0.6, 0.34), (0.0, -0.85, 0.4)):
        half = tall * size
        middle, centre = x + dx * tall, base + dy * tall
        draw.ellipse(
            (middle - half, centre - half * 0.8, middle + half, centre + half * 0.8),
            fill=tone(jittered(crown, rng, 6)),
        )
