"""The world outside: sky, sun and moon, clouds, blocks of flats, trees."""

import numpy as np
from PIL import Image, ImageDraw

from tagstack.base_models.zoo.palette import INK, RGB, Tone, graded, jittered, mixed
from tagstack.base_models.zoo.scene import Scene

_SKY: dict[str, tuple[RGB, RGB]] = {
    "day": ((112, 178, 240), (206, 232, 250)),
    "night": ((26, 30, 74), (70, 74, 130)),
    "sunset": ((240, 122, 84), (252, 210, 140)),
}
_GRASS: dict[str, RGB] = {"day": (132, 192, 104), "night": (44, 72, 74), "sunset": (146, 128, 76)}
_BLOCKS: dict[str, RGB] = {
    "day": (170, 172, 190),
    "night": (48, 50, 84),
    "sunset": (144, 96, 104),
}
_WINDOW: dict[str, RGB] = {
    "day": (214, 230, 244),
    "night": (246, 222, 130),
    "sunset": (250, 214, 150),
}


class Landscape:
    """Draws the outdoor background of one scene, from the far to the near."""

    def __init__(
        self, image: Image.Image, scene: Scene, tone: Tone, rng: np.random.Generator
    ) -> None:
        self._image = image
        self._scene = scene
        self._tone = tone
        self._rng = rng
        self._draw = ImageDraw.Draw(image)
        self._width, self._height = image.size

    def paint(self) -> None:
        """Draw everything."""
        scene, rng = self._scene, self._rng
        top, bottom = _SKY[scene.time]
        horizon = self._height * float(rng.uniform(0.6, 0.75))
        graded(self._image, jittered(top, rng), bottom, self._tone, reach=0.8)
        self._stars()
        self._sun_or_moon()
        if scene.clouds:
            self._clouds()
        if scene.place == "city":
            self._blocks()
        ground = self._tone(jittered(self._ground(), rng))
        self._draw.rectangle((0, horizon, self._width, self._height), fill=ground)
        if scene.tree and scene.place == "outdoors":
            for _ in range(int(rng.integers(1, 4))):
                self._tree(float(rng.uniform(0, self._width)), horizon)

    def _ground(self) -> RGB:
        time = self._scene.time
        paved = mixed(_BLOCKS[time], INK, 0.2)
        ground = _GRASS[time] if self._scene.place == "outdoors" else paved
        return mixed(ground, (250, 250, 255), 0.75) if self._scene.snowing else ground

    def _stars(self) -> None:
        if not self._scene.stars:
            return
        area = (self._width, self._height * 0.6)
        for x, y in self._rng.uniform((0, 0), area, (34, 2)).tolist():
            self._disc(x, y, float(self._rng.uniform(0.8, 2.4)), (252, 246, 206))

    def _sun_or_moon(self) -> None:
        x = self._width * float(self._rng.choice([0.14, 0.86]))
        y = self._height * float(self._rng.uniform(0.12, 0.2))
        half = self._height * 0.07
        if self._scene.moon != "none":
            self._disc(x, y, half, (250, 240, 190))
        if self._scene.moon == "crescent":
            self._disc(x + half * 0.7, y - 2, half, (34, 38, 84))
        if self._scene.time == "sunset":
            self._disc(x, self._height * 0.5 + half, half, (255, 236, 170))

    def _clouds(self) -> None:
        fill: RGB = (255, 255, 255) if self._scene.time == "day" else (252, 200, 178)
        height = self._height
        for _ in range(int(self._rng.integers(2, 5))):
            x, y = self._rng.uniform((0, height * 0.04), (self._width, height * 0.36)).tolist()
            for part in (-1.0, 0.0, 1.0):
                half = height * (0.055 if part else 0.075)
                self._disc(x + part * height * 0.08, y, half, fill, wide=1.3)

    def _blocks(self) -> None:
        x = -float(self._rng.uniform(0, 20))
        while x < self._width:
            wide = self._height * float(self._rng.uniform(0.12, 0.24))
            top = self._height * float(self._rng.uniform(0.22, 0.55))
            wall = self._tone(jittered(_BLOCKS[self._scene.time], self._rng))
            box = (x, top, x + wide, self._height * 0.8)
            self._draw.rectangle(box, fill=wall, outline=self._tone(INK))
            self._windows(x, top, wide)
            x += wide + 2

    def _windows(self, x: float, top: float, wide: float) -> None:
        lit = self._tone(_WINDOW[self._scene.time])
        for row in np.arange(top + 6, self._height * 0.7, 14).tolist():
            for column in np.arange(x + 5, x + wide - 7, 11).tolist():
                if self._rng.random() < 0.7:
                    self._draw.rectangle((column, row, column + 5, row + 7), fill=lit)

    def _tree(self, x: float, horizon: float) -> None:
        dark = 0.55 if self._scene.time == "night" else 0.0
        trunk, crown = mixed((126, 90, 62), INK, dark), mixed((88, 152, 84), (30, 44, 60), dark)
        tall = self._height * float(self._rng.uniform(0.28, 0.44))
        base = horizon + self._height * 0.03
        box = (x - 5, base - tall * 0.5, x + 5, base)
        self._draw.rectangle(box, fill=self._tone(trunk), outline=self._tone(INK))
        for dx, dy, size in ((-0.28, -0.6, 0.34), (0.28, -0.6, 0.34), (0.0, -0.85, 0.4)):
            half = tall * size * 0.8
            leaves = jittered(crown, self._rng, 6)
            self._disc(x + dx * tall, base + dy * tall, half, leaves, wide=1.25)

    def _disc(self, x: float, y: float, half: float, fill: RGB, wide: float = 1.0) -> None:
        box = (x - half * wide, y - half, x + half * wide, y + half)
        self._draw.ellipse(box, fill=self._tone(fill))
