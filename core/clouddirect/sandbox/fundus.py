"""`demo_image`: a fundus photograph that is drawn, for rehearsals without any patient's picture."""

from __future__ import annotations

import math
import random
from io import BytesIO
from typing import TYPE_CHECKING, Any

from clouddirect.sandbox.extra import require_extra

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

__all__ = ["demo_image"]

_SIZE = 720
#: Drawn this much larger, then reduced: thin vessels get smooth edges.
_OVERSAMPLING = 2
_VEIN, _ARTERY = (126, 28, 24), (168, 46, 32)


def demo_image(seed: int, laterality: str, dark: bool = False, *, patient_id: str | None = None) -> bytes:
    """Draw the retina of an imaginary eye and return it as JPEG, 720 × 720 pixels.

    The same arguments give the same picture (with the same Pillow and numpy).

    Args:
        seed: which eye; any number.
        laterality: ``"OD"`` puts the optic disc on the right, ``"OS"`` on the left, as photographs have it.
        dark: hardly any light reached the camera: nobody could grade it.
        patient_id: goes into the EXIF field ImageDescription, which ties it to an order that was submitted first.

    Raises:
        MissingExtraError: Pillow or numpy is not installed.
    """
    require_extra()
    from PIL import Image, ImageDraw, ImageFilter

    chance = random.Random(f"fundus/{seed}/{laterality}")
    size = _SIZE * _OVERSAMPLING
    side = -1.0 if laterality == "OS" else 1.0
    disc = (size * (0.5 + side * chance.uniform(0.26, 0.30)), size * chance.uniform(0.46, 0.50))
    picture = Image.fromarray(_background(chance, size, disc, side))
    _draw_vessels(ImageDraw.Draw(picture), chance, size, disc, side)
    picture = picture.filter(ImageFilter.GaussianBlur(_OVERSAMPLING * 0.9)).resize(
        (_SIZE, _SIZE), Image.Resampling.LANCZOS
    )
    picture = Image.fromarray(_finish(chance, picture, dark))
    exif = Image.Exif()
    exif[0x010E] = patient_id or "synthetic fundus photograph"
    exif[0x0131] = "clouddirect demo"
    target = BytesIO()
    picture.save(target, "JPEG", quality=88, exif=exif)
    return target.getvalue()


def _background(chance: random.Random, size: int, disc: tuple[float, float], side: float) -> Any:
    """The retina without vessels: red-orange, paler around the optic disc, darker at the macula."""
    import numpy as np

    noise = np.random.default_rng(chance.getrandbits(32))
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)

    def spot(x: float, y: float, radius: float) -> Any:
        return np.exp(-(((columns - x) ** 2 + (rows - y) ** 2) / (2 * radius * radius)))

    colour = np.array(
        [206 + chance.uniform(-12, 12), 92 + chance.uniform(-10, 10), 52 + chance.uniform(-8, 8)], np.float32
    )
    retina = np.ones((size, size, 1), np.float32) * colour
    # a choroid is never even: large, faint blotches
    coarse = noise.normal(0, 1, (9, 9)).astype(np.float32)
    retina *= 1 + 0.045 * _enlarged(coarse, size)[..., None]
    macula = (disc[0] - side * size * 0.29, disc[1] + size * 0.03)
    retina *= 1 - 0.38 * spot(*macula, size * 0.045)[..., None] - 0.16 * spot(*macula, size * 0.11)[..., None]
    retina += np.array([30, 34, 22], np.float32) * spot(*disc, size * 0.11)[..., None]
    edge = np.hypot((columns - disc[0]) / 0.92, rows - disc[1]) / (size * 0.058)
    rim = np.clip((1.08 - edge) / 0.16, 0, 1)[..., None]
    cup = np.clip((0.62 - edge) / 0.34, 0, 1)[..., None]
    retina = retina * (1 - rim) + np.array([240, 188, 122], np.float32) * rim
    retina = retina * (1 - 0.75 * cup) + np.array([250, 232, 186], np.float32) * 0.75 * cup
    return np.clip(retina, 0, 255).astype(np.uint8)


def _enlarged(grid: Any, size: int) -> Any:
    import numpy as np
    from PIL import Image

    return np.asarray(Image.fromarray(grid).resize((size, size), Image.Resampling.BICUBIC))


def _draw_vessels(draw: ImageDraw, chance: random.Random, size: int, disc: tuple[float, float], side: float) -> None:
    """Pairs of artery and vein: two arcades around the macula, two towards the nose, and small ones between."""
    brush = _Brush(draw, chance, size, (disc[0] - side * size * 0.29, disc[1] + size * 0.03))
    for vertical in (-1.0, 1.0):
        for colour, width, reach in ((_VEIN, 0.0125, 1.06), (_ARTERY, 0.0085, 0.88)):
            _arcade(
                brush,
                disc,
                side,
                vertical,
                reach * chance.uniform(0.94, 1.06),
                width * chance.uniform(0.92, 1.08),
                colour,
            )
        for colour, width in ((_VEIN, 0.0085), (_ARTERY, 0.006)):
            heading = math.atan2(vertical * chance.uniform(0.6, 1.3), side)
            brush.grow(disc, heading, width, colour, depth=1)
    for _ in range(4):
        brush.grow(
            disc, math.atan2(chance.choice((-1, 1)) * chance.uniform(0.25, 0.6), -side), 0.0034, _ARTERY, depth=2
        )


def _arcade(
    brush: _Brush, disc: tuple[float, float], side: float, vertical: float, reach: float, width: float,
    colour: tuple[int, int, int],
) -> None:  # fmt: skip
    """One arcade: from the optic disc in a widening curve around the macula, with branches on both sides."""
    chance, size = brush.chance, brush.size
    x, y = disc
    sway, until_branch = 0.0, 12
    for number in range(1, 111):
        angle = number / 110 * math.radians(140)
        sway = 0.9 * sway + chance.gauss(0, 0.0016)
        across = size * (0.29 + 0.13 * (number / 110) ** 2) * math.cos(angle)
        along = size * (0.27 * reach + 0.05 * number / 110 + sway) * math.sin(angle) ** 0.9
        x_next = brush.macula[0] + side * across
        y_next = disc[1] * (1 - number / 110) + brush.macula[1] * number / 110 + vertical * along
        heading = math.atan2(y_next - y, x_next - x)
        brush.stroke(x, y, x_next, y_next, width, colour)
        x, y = x_next, y_next
        width *= 0.9905
        until_branch -= 1
        if not until_branch:
            until_branch = chance.randint(9, 17)
            outward = chance.random() < 0.6
            turn = side * vertical * chance.uniform(0.5, 0.85) * (1 if outward else -1)
            brush.grow((x, y), heading + turn, width * (0.66 if outward else 0.42), colour, depth=1 if outward else 2)


class _Brush:
    """Draws vessels that wander, thin out and branch, and that keep clear of the macula."""

    def __init__(self, draw: ImageDraw, chance: random.Random, size: int, macula: tuple[float, float]) -> None:
        self.draw = draw
        self.chance = chance
        self.size = size
        self.macula = macula

    def stroke(
        self, x: float, y: float, x_next: float, y_next: float, width: float, colour: tuple[int, int, int]
    ) -> None:
        radius = max(0.5, width * self.size / 2)
        self.draw.line((x, y, x_next, y_next), fill=colour, width=max(1, round(2 * radius)))
        self.draw.ellipse((x_next - radius, y_next - radius, x_next + radius, y_next + radius), fill=colour)

    def grow(
        self, start: tuple[float, float], heading: float, width: float, colour: tuple[int, int, int], depth: int
    ) -> None:
        (x, y), chance, size = start, self.chance, self.size
        step, wobble, until_branch = size * 0.006, 0.0, chance.randint(9, 20)
        for _ in range(int(96 / depth)):
            wobble = 0.86 * wobble + chance.gauss(0, 0.03)
            heading += wobble * 0.6
            x_next, y_next = x + step * math.cos(heading), y + step * math.sin(heading)
            near = math.hypot(x_next - self.macula[0], y_next - self.macula[1]) / size
            if near < 0.055 or width * size < 1.1 or math.hypot(x - size / 2, y - size / 2) > size / 2:
                return
            self.stroke(x, y, x_next, y_next, width, colour)
            x, y = x_next, y_next
            width *= 0.985
            until_branch -= 1
            if depth < 3 and not until_branch:
                until_branch = chance.randint(12, 26)
                away = chance.choice((-1.0, 1.0)) * chance.uniform(0.45, 0.8)
                self.grow((x, y), heading + away, width * 0.68, colour, depth + 1)
                heading -= away * 0.15


def _finish(chance: random.Random, picture: Any, dark: bool) -> Any:
    """What the camera does: a round field on black, light falling off to the rim, sensor noise."""
    import numpy as np

    noise = np.random.default_rng(chance.getrandbits(32))
    pixels = np.asarray(picture).astype(np.float32)
    size = pixels.shape[0]
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
    distance = np.hypot(columns - size * 0.5, rows - size * 0.5) / (size * 0.485)
    light = (1.04 - 0.34 * distance**2.2) * (1 + 0.07 * (columns / size - 0.5))
    field = np.clip((1.0 - distance) * size * 0.22, 0, 1)
    pixels *= (light * field * (0.06 if dark else 1.0))[..., None]
    pixels += noise.normal(0, 2.2, pixels.shape) * field[..., None]
    return np.clip(pixels, 0, 255).astype(np.uint8)
