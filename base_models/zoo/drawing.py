"""From a scene to pixels."""

import io

import numpy as np
from PIL import Image, ImageFilter

from tagstack.base_models.zoo.drawing_background import (
    draw_background,
    draw_snow,
    draw_speech_bubble,
)
from tagstack.base_models.zoo.drawing_clothes import draw_behind, draw_body, draw_held
from tagstack.base_models.zoo.drawing_face import draw_eyewear, draw_head, draw_headgear
from tagstack.base_models.zoo.drawing_hair import (
    draw_back_hair,
    draw_braids,
    draw_ears,
    draw_front_hair,
    draw_ornaments,
)
from tagstack.base_models.zoo.palette import RGB, Tone, coloured, greyscale, tinted
from tagstack.base_models.zoo.pencil import Pencil
from tagstack.base_models.zoo.scene import Doll, Scene

# Shapes are drawn this many times larger and averaged down: smooth edges at little cost.
OVERSAMPLING = 2

_TINTS: tuple[RGB, ...] = ((120, 92, 64), (70, 100, 150), (140, 80, 120), (70, 120, 100))


def draw_scene(scene: Scene) -> Image.Image:
    """Return the picture of a scene.

    Returns
    -------
    PIL.Image.Image
        RGB, of the scene's size; the same pixels for the same scene.
    """
    rng = np.random.default_rng(scene.texture)
    return _worn(paint_scene(scene, rng), rng)


def paint_scene(scene: Scene, rng: np.random.Generator) -> Image.Image:
    """Return the fresh picture, before blur, grain and recompression; see `draw_scene`."""
    tone = _tone(scene, rng)
    canvas = Image.new("RGB", (scene.size[0] * OVERSAMPLING, scene.size[1] * OVERSAMPLING))
    draw_background(canvas, scene, tone, rng)
    if scene.speech_bubble:
        draw_speech_bubble(canvas, tone, rng)
    for doll in scene.dolls:
        _draw_doll(canvas, scene, doll, tone, rng)
    if scene.snowing and scene.place in {"outdoors", "city"}:
        draw_snow(canvas, tone, rng)
    return canvas.reduce(OVERSAMPLING)


def _draw_doll(
    canvas: Image.Image, scene: Scene, doll: Doll, tone: Tone, rng: np.random.Generator
) -> None:
    pencil = Pencil(
        canvas,
        centre=(doll.x * canvas.width, doll.y * canvas.height),
        unit=doll.unit * canvas.height,
        tilt=doll.tilt,
        tone=tone,
        eye_tone=coloured if scene.medium == "spot" else tone,
        rng=rng,
        sketch=scene.medium == "sketch",
        body=0.62 if scene.chibi else 1.0,
    )
    draw_behind(pencil, doll)
    draw_back_hair(pencil, doll.look)
    draw_body(pencil, doll)
    draw_braids(pencil, doll.look)
    draw_ears(pencil, doll.look)
    draw_head(pencil, doll)
    draw_front_hair(pencil, doll)
    draw_eyewear(pencil, doll)
    draw_ornaments(pencil, doll)
    draw_headgear(pencil, doll)
    draw_held(pencil, doll)


def _tone(scene: Scene, rng: np.random.Generator) -> Tone:
    if scene.medium == "tinted":
        return tinted(_TINTS[int(rng.integers(len(_TINTS)))])
    return coloured if scene.medium == "colour" else greyscale


def _worn(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the picture after what pictures go through: blur, recompression, grain, light."""
    blurred, pressed, grained = rng.random(3) < (0.12, 0.3, 0.25)
    light, contrast = rng.normal(0, 5), rng.normal(1, 0.05)
    if blurred:
        picture = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 1.1))))
    pixels = np.asarray(picture, np.float32) * np.float32(contrast) + np.float32(light)
    if grained:
        grain = rng.standard_normal(pixels.shape, np.float32) * np.float32(rng.uniform(3, 12))
        pixels = pixels + grain
    picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    return _recompressed(picture, int(rng.integers(18, 60))) if pressed else picture


def _recompressed(picture: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    with Image.open(stream) as again:
        return again.convert("RGB")
