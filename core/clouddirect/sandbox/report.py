"""The report of a rehearsed order: a PDF with what a person would look for, and the order's own pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any

from clouddirect.orders.models import EyeSideGrading, Name, OrderResult
from clouddirect.sandbox.lettering import Lettering
from clouddirect.sandbox.pictures import OrderImage, Picture

if TYPE_CHECKING:
    from PIL.Image import Image as PixelImage

__all__ = ["BANNER", "render_report"]

#: Printed at the head and foot of every page.
BANNER = "REHEARSAL - not a medical result"

_INK, _GREY, _RED, _SHADE, _BLUE, _LINE = (
    (32, 38, 46), (110, 118, 128), (176, 32, 36), (238, 242, 246), (24, 74, 122), (200, 206, 212)
)  # fmt: skip
_EYES = (("OD", "Right eye (OD)"), ("OS", "Left eye (OS)"))
#: More pictures than this are counted, not shown.
_MOST_PICTURES = 12


def render_report(result: OrderResult, images: Sequence[OrderImage], *, made: datetime, picture_bytes: int) -> bytes:
    """Return the report as PDF. The same arguments give the same bytes.

    Args:
        result: the result that the report goes into.
        images: the order's images, with their pictures.
        made: the creation date of the document.
        picture_bytes: how many bytes all pictures together may take; they are shown smaller if need be.
    """
    text = Lettering()
    page = _new_document(made)
    page.add_page()
    _heading(page, text, result)
    _facts(page, text, result)
    _findings(page, text, result)
    _conclusion(page, text, result)
    # the captions first: what they lose is told before the pictures, where the reader still is
    shown = [
        _Shown.of(text, image) for image in sorted(images, key=lambda image: image.laterality == "OS")[:_MOST_PICTURES]
    ]
    if text.lost:
        _paragraph(
            page,
            "I",
            "Letters that this report's fonts do not have are shown as ?. The result itself holds the full text.",
        )
    _pictures(page, shown, picture_bytes)
    if len(images) > len(shown):
        _paragraph(page, "I", f"{len(images) - len(shown)} more images are not shown.")
    return bytes(page.output())


def _new_document(made: datetime) -> Any:
    from fpdf import FPDF

    class Document(FPDF):
        def header(self) -> None:
            self.set_fill_color(*_RED)
            self.set_text_color(255, 255, 255)
            self.set_font("helvetica", "B", 10)
            self.cell(0, 7, BANNER, fill=True, align="C", new_x="LMARGIN", new_y="NEXT")
            self.ln(4)

        def footer(self) -> None:
            self.set_y(-13)
            self.set_font("helvetica", "", 8)
            self.set_text_color(*_GREY)
            self.cell(
                0, 5, f"{BANNER}  ·  made by the clouddirect sandbox  ·  page {self.page_no()} of {{nb}}", align="C"
            )

    document = Document(format="letter")
    document.set_margins(16, 12, 16)
    document.set_auto_page_break(True, margin=18)
    document.set_creation_date(made)
    document.set_title("Retinal examination report (rehearsal)")
    document.set_creator("clouddirect sandbox")
    return document


def _heading(page: Any, text: Lettering, result: OrderResult) -> None:
    page.set_text_color(*_INK)
    page.set_font("helvetica", "B", 19)
    page.cell(0, 9, "Retinal Examination Report", new_x="LMARGIN", new_y="NEXT")
    page.set_font("helvetica", "", 10)
    page.set_text_color(*_GREY)
    site = result.site
    where = " · ".join(filter(None, (text(site.name), f"Site {text(site.local_id)}"))) if site else ""
    when = f"Graded {_moment(result.gradings.graded_time)}" if result.gradings else ""
    page.cell(0, 5, "   ".join(filter(None, (where, when))), new_x="LMARGIN", new_y="NEXT")
    page.ln(3)


def _facts(page: Any, text: Lettering, result: OrderResult) -> None:
    """Patient on the left, order on the right."""
    top, half = page.get_y(), page.epw / 2
    page.set_draw_color(*_LINE)
    bottoms = []
    for number, (title, rows) in enumerate((("Patient", _patient_rows(result)), ("Order", _order_rows(result)))):
        left = page.l_margin + number * half
        page.set_xy(left, top)
        page.set_font("helvetica", "B", 11)
        page.set_text_color(*_BLUE)
        page.cell(half - 4, 6, title, border="B", new_x="LEFT", new_y="NEXT")
        page.ln(1)
        for label, value in rows:
            shown = text(value)
            if not shown:
                continue
            page.set_x(left)
            page.set_font("helvetica", "", 9)
            page.set_text_color(*_GREY)
            page.cell(26, 5, label)
            page.set_text_color(*_INK)
            page.multi_cell(half - 31, 5, shown, align="L", new_x="LEFT", new_y="NEXT")
        bottoms.append(page.get_y())
    page.set_xy(page.l_margin, max(bottoms) + 4)


def _patient_rows(result: OrderResult) -> Iterator[tuple[str, object]]:
    patient = result.patient
    if patient is not None:
        yield "Name", _name(patient.name)
        yield "Id", patient.local_id
        yield "Date of birth", _day(patient.dob)
        yield (
            "Gender",
            ", ".join(dict.fromkeys(str(one.gender) for one in patient.genders if one.gender)) or patient.gender,
        )
        yield "Phone", patient.phone


def _order_rows(result: OrderResult) -> Iterator[tuple[str, object]]:
    order = result.order
    if order is not None:
        yield "Order", order.local_id
        yield "IRIS order", order.patient_order_id
        yield "Evaluation", ", ".join(map(str, order.evaluation_types))
        yield "Scheduled", _day(order.scheduled_time)
        yield "Department", order.department_id
    provider = result.ordering_provider
    if provider is not None:
        yield "Ordered by", _name(provider.name) or (f"NPI {provider.npi}" if provider.npi else None)
    if result.camera_operator is not None:
        yield "Images by", _name(result.camera_operator.name)
    if result.cpt is not None:
        yield "Procedure", f"CPT {result.cpt.code}"


def _findings(page: Any, text: Lettering, result: OrderResult) -> None:
    _section(page, "Findings")
    gradings = result.gradings
    eyes = {str(side): eye for side, eye in gradings.eyes()} if gradings else {}
    reason = result.order.missing_eye_reason if result.order else None
    names = list(dict.fromkeys(finding.finding for eye in eyes.values() for finding in eye.findings))
    rows = [["", *(title for _, title in _EYES)]]
    rows.append(["Gradable", *(_gradable(eyes.get(side), reason) for side, _ in _EYES)])
    rows += [[str(name), *(_level(eyes.get(side), name) for side, _ in _EYES)] for name in names]
    _table(page, [[text(cell) for cell in row] for row in rows])


def _gradable(eye: EyeSideGrading | None, missing_reason: str | None) -> str:
    if eye is None:
        return f"No images ({missing_reason})" if missing_reason else "No images"
    if eye.missing_eye_reason:
        return f"No images ({eye.missing_eye_reason})"
    if eye.gradable:
        return "Yes"
    return f"No: {', '.join(eye.ungradable_reasons) or 'no reason given'}"


def _level(eye: EyeSideGrading | None, name: str | None) -> str:
    if eye is None or not eye.gradable:
        return "-"
    for finding in eye.findings:
        if finding.finding == name:
            return finding.result or "Suspected"
    return "-"


def _table(page: Any, rows: Sequence[Sequence[str]]) -> None:
    from fpdf.fonts import FontFace

    page.set_font("helvetica", "", 9)
    page.set_text_color(*_INK)
    page.set_draw_color(*_LINE)
    heading = FontFace(emphasis="BOLD", color=_BLUE, fill_color=_SHADE)
    with page.table(
        width=page.epw, col_widths=(34, 33, 33), line_height=5.5, text_align="LEFT", borders_layout="HORIZONTAL_LINES",
        headings_style=heading, padding=(0.6, 1.5),
    ) as table:  # fmt: skip
        for cells in rows:
            row = table.row()
            for cell in cells:
                row.cell(cell)
    page.ln(4)


def _conclusion(page: Any, text: Lettering, result: OrderResult) -> None:
    gradings = result.gradings
    if gradings is None:
        return
    _section(page, "Conclusion")
    _paragraph(page, "B", text(gradings.care_plan_name))
    _paragraph(page, "", text(gradings.care_plan_description))
    for diagnosis in gradings.diagnosis_codes:
        _paragraph(page, "", f"{text(diagnosis.code)}   {text(diagnosis.description)}")
    for note in gradings.notes:
        _paragraph(page, "I", text(note.text))


def _section(page: Any, title: str) -> None:
    page.set_font("helvetica", "B", 12)
    page.set_text_color(*_BLUE)
    page.cell(0, 7, title, new_x="LMARGIN", new_y="NEXT")


def _paragraph(page: Any, style: str, line: str) -> None:
    if line:
        page.set_font("helvetica", style, 9.5)
        page.set_text_color(*_INK)
        page.multi_cell(0, 5, line, align="L", new_x="LMARGIN", new_y="NEXT")


@dataclass(frozen=True, slots=True)
class _Shown:
    """A picture and what is written under it."""

    pixels: PixelImage | None
    problem: str
    caption: str

    @classmethod
    def of(cls, text: Lettering, image: OrderImage) -> _Shown:
        picture = image.picture or Picture(problem="This image could not be read.")
        parts = [dict(_EYES).get(image.laterality, "Both eyes"), text(image.entry.local_id), _moment(image.entry.taken)]
        return cls(picture.pixels, text(picture.problem), "  ·  ".join(part for part in parts if part))


def _pictures(page: Any, shown: Sequence[_Shown], picture_bytes: int) -> None:
    """Two large pictures side by side, or three smaller ones a row; a box where one could not be decoded."""
    if not shown:
        return
    gap, caption, columns = 4.0, 5.0, 2 if len(shown) <= 2 else 3
    side = (page.epw - gap * (columns - 1)) / columns
    page.ln(3)
    if page.will_page_break(side + caption + 8):
        page.add_page()
    _section(page, "Images")
    for first in range(0, len(shown), columns):
        if page.will_page_break(side + caption):
            page.add_page()
        top = page.get_y()
        for place, one in enumerate(shown[first : first + columns]):
            left = page.l_margin + place * (side + gap)
            _picture(page, one, left, top, side, picture_bytes // len(shown))
            page.set_xy(left, top + side)
            page.set_font("helvetica", "", 7.5)
            page.set_text_color(*_GREY)
            page.cell(side, caption, _fitted(page, one.caption, side), align="C")
        page.set_xy(page.l_margin, top + side + caption + 2)


def _picture(page: Any, one: _Shown, left: float, top: float, side: float, room: int) -> None:
    if one.pixels is not None:
        page.image(
            BytesIO(_jpeg(one.pixels, room)), left, top, side, side, keep_aspect_ratio=True, alt_text=one.caption
        )
        return
    page.set_draw_color(*_LINE)
    page.rect(left, top, side, side)
    page.set_font("helvetica", "I", 9)
    page.set_text_color(*_GREY)
    page.set_xy(left + 4, top + side / 2 - 5)
    page.multi_cell(side - 8, 5, one.problem, align="C")


def _fitted(page: Any, line: str, width: float) -> str:
    while page.get_string_width(line) > width and len(line) > 4:
        line = f"{line[:-4]}..."
    return line


def _jpeg(pixels: PixelImage, room: int) -> bytes:
    """Compress a picture into ``room`` bytes: smaller first, then coarser, never below what can be recognised."""
    for longest, quality in ((720, 84), (600, 80), (480, 76), (360, 72), (280, 66), (200, 60)):
        copy = pixels.copy()
        copy.thumbnail((longest, longest))
        target = BytesIO()
        copy.save(target, "JPEG", quality=quality)
        if target.tell() <= room:
            break
    return target.getvalue()


def _name(name: Name | None) -> str | None:
    return " ".join(filter(None, (name.title, name.first, name.middle, name.last))) or None if name else None


def _day(value: date | None) -> str | None:
    return None if value is None else f"{value:%Y-%m-%d}" if value.year >= 1000 else str(value)


def _moment(value: datetime | None) -> str | None:
    return None if value is None else f"{value:%Y-%m-%d %H:%M}"
