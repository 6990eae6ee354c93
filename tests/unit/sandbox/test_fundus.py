from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

from clouddirect.sandbox.fundus import demo_image
from clouddirect.sandbox.pictures import read_marks


def pixels(data: bytes) -> np.ndarray:  # type: ignore[type-arg]
    return np.asarray(Image.open(BytesIO(data)).convert("RGB")).astype(float)


def test_the_same_arguments_give_the_same_picture() -> None:
    assert demo_image(4, "OD") == demo_image(4, "OD")
    assert demo_image(4, "OD") != demo_image(5, "OD")


def test_it_is_an_orange_disc_on_black() -> None:
    shown = pixels(demo_image(4, "OD"))
    assert shown.shape == (720, 720, 3)
    assert shown[:20, :20].mean() < 8
    red, green, blue = shown[200:520, 200:520].reshape(-1, 3).mean(axis=0)
    assert red > green > blue
    assert red > 150


def test_the_optic_disc_lies_on_the_side_of_the_nose() -> None:
    for laterality, on_the_right in (("OD", True), ("OS", False)):
        green = pixels(demo_image(4, laterality))[..., 1]
        brightest = np.argwhere(green >= np.quantile(green, 0.995))[:, 1].mean()
        assert bool(brightest > 360) is on_the_right


def test_a_patient_id_can_be_put_into_the_picture() -> None:
    assert read_marks(demo_image(1, "OD", patient_id="MRN1")).patient_id == "MRN1"
    assert read_marks(demo_image(1, "OD")).patient_id == "synthetic fundus photograph"
