"""ICD-10 codes for the published findings, so that a rehearsed result has the fields that a real one has."""

from __future__ import annotations

from collections.abc import Mapping

from clouddirect.orders.models import DiagnosisCode
from clouddirect.sandbox.grading import Eyes

__all__ = ["care_plan", "diagnoses"]

#: Level of retinopathy to the digits behind ``E11.3`` (with and without macular edema) and its name.
_RETINOPATHY: Mapping[str, tuple[str, str, str]] = {
    "Mild": ("21", "29", "mild nonproliferative diabetic retinopathy"),
    "Moderate": ("31", "39", "moderate nonproliferative diabetic retinopathy"),
    "Severe": ("41", "49", "severe nonproliferative diabetic retinopathy"),
    "Proliferative": ("51", "59", "proliferative diabetic retinopathy"),
}
_DRY: Mapping[str, tuple[str, str]] = {
    "Early Stage": ("1", "early dry stage"),
    "Intermediate Stage": ("2", "intermediate dry stage"),
    "Adv. Atrophic w/o Subfoveal Involvement": ("3", "advanced atrophic, fovea not involved"),
    "Adv. Atrophic w/ Subfoveal Involvement": ("4", "advanced atrophic, fovea involved"),
}
_SIDE = {"OD": ("1", "right eye"), "OS": ("2", "left eye")}
#: The class of a patient whose order names no diagnosis: type 2 diabetes.
_DEFAULT_CLASS = "E11"


def diagnoses(eyes: Eyes, dx_code: str | None) -> list[DiagnosisCode]:
    """Return a code for each finding that has one.

    Args:
        eyes: the grading.
        dx_code: Patient.DxCode; its class (its first three characters, such as E10) is used if it is one of diabetes.
    """
    found: dict[str, str] = {}
    start = (dx_code or "").strip().upper()[:3]
    diabetes = start if start in ("E08", "E09", "E10", "E11", "E13") else _DEFAULT_CLASS
    looked_for_diabetes = False
    for side, eye in eyes.items():
        digit, name = _SIDE[side]
        levels = {finding.finding: finding.result for finding in eye.findings}
        edema = levels.get("Macular Edema") == "Positive"
        retinopathy = levels.get("Diabetic Retinopathy")
        looked_for_diabetes = looked_for_diabetes or retinopathy is not None
        if retinopathy in _RETINOPATHY:
            with_edema, without, title = _RETINOPATHY[str(retinopathy)]
            found[f"{diabetes}.3{with_edema if edema else without}{digit}"] = (
                f"Diabetes with {title} {'with' if edema else 'without'} macular edema, {name}"
            )
        elif retinopathy == "Positive":
            found[f"{diabetes}.31{'1' if edema else '9'}"] = "Diabetes with unspecified diabetic retinopathy"
        if levels.get("Dry AMD") in _DRY:
            stage, title = _DRY[str(levels["Dry AMD"])]
            found[f"H35.31{digit}{stage}"] = f"Nonexudative age-related macular degeneration, {name}, {title}"
        if levels.get("Wet AMD") == "Positive":
            found[f"H35.32{digit}0"] = f"Exudative age-related macular degeneration, {name}, stage unspecified"
    if looked_for_diabetes and not any(code.startswith(diabetes) for code in found):
        found[f"{diabetes}.9"] = "Diabetes without complications"
    return [DiagnosisCode(code=code, description=title) for code, title in found.items()]


def care_plan(*, pathology: bool, urgent: bool, ungradable: bool) -> tuple[str, str]:
    """Return a care plan's name and what to do."""
    if urgent:
        return "Urgent referral", "Refer the patient to a retina specialist within two weeks."
    if pathology:
        return "Referral", "Refer the patient to an eye specialist within three months."
    if ungradable:
        return (
            "Repeat imaging",
            "At least one eye could not be graded. Take new images, or refer for a dilated examination.",
        )
    return "Routine follow-up", "Repeat the examination in twelve months."
