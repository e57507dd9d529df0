"""What stands behind the dolls, paper, a room or a landscape, and what floats about them."""

from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

from tagstack.base_models.zoo.drawing_landscape import Landscape
from tagstack.base_models.zoo.palette import (
    BACKDROP,
    CLOTH,
    INK,
    RGB,
    Tone,
    graded,
    jittered,
    mixed,
)
from tagstack.base_models.zoo.scene import Scene


def draw_background(image: Image.Image, scene: Scene, tone: Tone, rng: np.random.Generator) -> None:
    """Fill ``image`` with the scene's background."""
    if scene.place == "simple":
        _draw_paper(image, scene, tone, rng)
    elif scene.place == "indoors":
        _draw_room(image, tone, rng)
    else:
        Landscape(image, scene, tone, rng).paint()


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


def _draw_paper(image: Image.Image, scene: Scene, tone: Tone, rng: np.random.Generator) -> None:
    if scene.backdrop == "gradient":
        names = list(BACKDROP)[2:]
        first, second = rng.choice(len(names), 2, replace=False)
        top = jittered(BACKDROP[names[first]], rng)
        graded(image, top, mixed(BACKDROP[names[second]], (255, 255, 255), 0.5), tone)
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
    for upper, lower in pairwise(rows):
        x = left + 4
        while x < right - 8:
            wide = float(rng.uniform(4, 9))
            fill = tone(books[int(rng.integers(len(books)))])
            draw.rectangle((x, upper + float(rng.uniform(3, 9)), x + wide, lower - 3), fill=fill)
            x += wide + 1
