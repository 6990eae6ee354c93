from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from clouddirect.orders.models import Name, OrderResult
from clouddirect.sandbox.pictures import OrderImage
from clouddirect.sandbox.report import BANNER, render_report
from clouddirect.sandbox.results import Graded, make_result

NOW = datetime(2026, 3, 4, 5, 6, 9, tzinfo=UTC)

MakeImage = Callable[..., OrderImage]
MakeGraded = Callable[..., Graded]


def render(result: OrderResult, images: list[OrderImage], made: datetime = NOW, room: int = 400_000) -> bytes:
    return render_report(result, images, made=made, picture_bytes=room)


def text_of(report: bytes, folder: Path) -> str:
    """The report as a person reads it, by a program that is not the one that wrote it."""
    if shutil.which("pdftotext") is None:
        pytest.skip("needs pdftotext (poppler-utils)")
    (folder / "report.pdf").write_bytes(report)
    done = subprocess.run(["pdftotext", "-layout", folder / "report.pdf", "-"], capture_output=True, check=True)
    return done.stdout.decode()


@pytest.fixture
def images(order_image: MakeImage, pictures: dict[str, bytes]) -> list[OrderImage]:
    return [order_image(pictures["OD"], "OD", "image-a"), order_image(pictures["dark"], "OS", "image-b")]


@pytest.fixture
def result(graded: MakeGraded, images: list[OrderImage]) -> OrderResult:
    return make_result(graded(images), NOW, max_message_bytes=1 << 20)


def test_it_says_what_a_reader_looks_for(result: OrderResult, images: list[OrderImage], tmp_path: Path) -> None:
    text = text_of(render(result, images), tmp_path)
    for wanted in (
        BANNER, "Jane Roe", "MRN1", "1961-12-01", "ORD1", "Primary Care One", "Site PC1", "Right eye (OD)",
        "Left eye (OS)", "Diabetic Retinopathy", "Mild", "Suspected Cataract", "No: Image Too Dark", "E10.3291",
        "image-a", "image-b",
    ):  # fmt: skip
        assert wanted in text
    assert text.count(BANNER) == 2 * text.count("\f")


def test_it_holds_the_pictures(result: OrderResult, images: list[OrderImage]) -> None:
    report = render(result, images)
    assert report.startswith(b"%PDF-")
    assert report.count(b"/Subtype /Image") == 2
    assert report.count(b"\xff\xd8\xff") == 2


def test_the_same_order_gives_the_same_bytes(result: OrderResult, images: list[OrderImage]) -> None:
    assert render(result, images) == render(result, images)
    assert render(result, images) != render(result, images, NOW + timedelta(seconds=1))


def test_pictures_shrink_to_their_room(result: OrderResult, images: list[OrderImage]) -> None:
    assert len(render(result, images, room=30_000)) < 45_000 < len(render(result, images))


def test_what_cannot_be_decoded_gets_a_box_that_says_so(
    result: OrderResult, order_image: MakeImage, pictures: dict[str, bytes], tmp_path: Path
) -> None:
    report = render(result, [order_image(b"not an image"), order_image(pictures["OS"], "OS")])
    assert "could not be decoded" in " ".join(text_of(report, tmp_path).split())
    assert report.count(b"/Subtype /Image") == 1


def test_other_scripts_are_replaced_and_the_reader_is_told(
    graded: MakeGraded, images: list[OrderImage], tmp_path: Path
) -> None:
    order = graded(images, patient_name=Name(first="小明", last="Łukasz-Müller"))
    text = text_of(render(make_result(order, NOW, max_message_bytes=1 << 20), images), tmp_path)
    assert "?? Lukasz-Müller" in text
    assert "are shown as ?" in text


@pytest.mark.parametrize("count", [0, 1, 3, 12, 30])
def test_any_number_of_images(
    count: int, result: OrderResult, order_image: MakeImage, many_pictures: list[bytes], tmp_path: Path
) -> None:
    images = [order_image(many_pictures[number], "OD", f"n{number:02}") for number in range(count)]
    report = render(result, images)
    assert report.count(b"/Subtype /Image") == min(count, 12)
    if count == 30:
        assert "18 more images are not shown" in text_of(report, tmp_path)


def test_a_result_with_hardly_anything_in_it_is_printed() -> None:
    assert render(OrderResult(), []).startswith(b"%PDF-")


def test_endless_text_does_not_break_it(graded: MakeGraded, images: list[OrderImage]) -> None:
    order = graded(images, patient_name=Name(first="x" * 5000, last="y" * 5000), department_id="z" * 5000)
    assert render(make_result(order, NOW, max_message_bytes=1 << 20), images).startswith(b"%PDF-")
