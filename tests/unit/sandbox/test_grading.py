from __future__ import annotations

import pytest

from clouddirect.orders.models import PUBLISHED_FINDINGS, EvaluationType, EyeSideGrading, Finding
from clouddirect.sandbox.diagnoses import care_plan, diagnoses
from clouddirect.sandbox.grading import eyes_of, grade, needs_attention, shows_pathology
from clouddirect.sandbox.pictures import Picture

GOOD, DARK, BROKEN = Picture(luminance=80.0), Picture(luminance=3.0), Picture(problem="broken")
BOTH = [("OD", GOOD), ("OS", GOOD)]


@pytest.mark.parametrize("evaluation", [str(one) for one in EvaluationType] + ["SomethingNew"])
def test_every_evaluation_gives_published_findings_only(evaluation: str) -> None:
    for seed in range(60):
        for eye in grade(seed, "ORD1", [evaluation], BOTH).values():
            assert eye.gradable
            for finding in eye.findings:
                levels = PUBLISHED_FINDINGS[str(finding.finding)]
                assert finding.result is None if levels == () else finding.result in (levels or ())


@pytest.mark.parametrize(
    ("evaluation", "wanted"),
    [
        ("DR", {"Diabetic Retinopathy", "Macular Edema"}),
        ("AMD", {"Dry AMD", "Wet AMD"}),
        ("DR_AMD", {"Diabetic Retinopathy", "Macular Edema", "Dry AMD", "Wet AMD"}),
        ("Glaucoma", {"Glaucoma"}),
        ("HIV", {"HIV Retinopathy"}),
        ("DR_REFNOREF", {"Diabetic Retinopathy"}),
    ],
)
def test_findings_fit_the_evaluation(evaluation: str, wanted: set[str]) -> None:
    (eye,) = grade(1, "ORD1", [evaluation], [("OD", GOOD)]).values()
    assert {finding.finding for finding in eye.findings if finding.result is not None} == wanted


def test_the_same_seed_and_order_give_the_same_grading() -> None:
    assert grade(3, "ORD1", ["DR_AMD"], BOTH) == grade(3, "ORD1", ["DR_AMD"], BOTH)
    others = [grade(seed, "ORD1", ["DR_AMD"], BOTH) for seed in range(20)]
    assert any(one != others[0] for one in others)
    assert any(grade(3, f"ORD{n}", ["DR_AMD"], BOTH) != others[3] for n in range(20))


def test_every_level_is_met_in_the_end() -> None:
    met = {
        (finding.finding, finding.result)
        for seed in range(400)
        for eye in grade(seed, "ORD1", ["DR_AREDS_GLAUC"], BOTH).values()
        for finding in eye.findings
    }
    for name in ("Macular Edema", "Dry AMD", "Wet AMD", "Glaucoma"):
        assert {result for finding, result in met if finding == name} == set(PUBLISHED_FINDINGS[name] or ())
    assert any(result is None for _, result in met)


def test_an_edema_never_comes_without_a_retinopathy() -> None:
    for seed in range(300):
        (eye,) = grade(seed, "ORD1", ["DR"], [("OD", GOOD)]).values()
        levels = {finding.finding: finding.result for finding in eye.findings}
        assert levels["Macular Edema"] == "None" or levels["Diabetic Retinopathy"] not in ("None", "Indeterminable")


def test_a_dark_picture_makes_its_eye_ungradable_with_one_reason_and_no_findings() -> None:
    eyes = grade(1, "ORD1", ["DR"], [("OD", GOOD), ("OS", DARK)])
    assert eyes["OD"].gradable
    assert eyes["OS"] == EyeSideGrading(gradable=False, ungradable_reasons=["Image Too Dark"])


def test_a_picture_that_cannot_be_decoded_is_ungradable() -> None:
    assert grade(1, "ORD1", ["DR"], [("OD", BROKEN)])["OD"].ungradable_reasons == ["Unreadable Image"]


def test_one_good_picture_of_an_eye_is_enough() -> None:
    assert grade(1, "ORD1", ["DR"], [("OD", DARK), ("OD", GOOD)])["OD"].gradable


def test_an_eye_without_images_is_left_out() -> None:
    assert list(grade(1, "ORD1", ["DR"], [("OS", GOOD)])) == ["OS"]
    assert grade(1, "ORD1", ["DR"], []) == {}


def test_a_picture_of_both_eyes_counts_for_both() -> None:
    assert list(grade(1, "ORD1", ["DR"], [("OU", GOOD)])) == ["OD", "OS"]
    assert eyes_of(None) == ("OD",)


def test_pathology_and_urgency() -> None:
    def eye(*findings: tuple[str, str | None]) -> dict[str, EyeSideGrading]:
        return {"OD": EyeSideGrading(gradable=True, findings=[Finding(finding=a, result=b) for a, b in findings])}

    assert not shows_pathology(eye(("Diabetic Retinopathy", "None"), ("Wet AMD", "No Observable")))
    assert shows_pathology(eye(("Diabetic Retinopathy", "Mild")))
    assert shows_pathology(eye(("Suspected Cataract", None)))
    assert not needs_attention(eye(("Diabetic Retinopathy", "Moderate")))
    assert needs_attention(eye(("Diabetic Retinopathy", "Proliferative")))
    assert not shows_pathology({})


def test_diagnoses_follow_findings_side_and_class() -> None:
    def code(side: str, dx: str | None, *findings: tuple[str, str]) -> list[str | None]:
        eye = EyeSideGrading(gradable=True, findings=[Finding(finding=a, result=b) for a, b in findings])
        return [one.code for one in diagnoses({side: eye}, dx)]

    none, mild, edema = (
        ("Diabetic Retinopathy", "None"),
        ("Diabetic Retinopathy", "Mild"),
        ("Macular Edema", "Positive"),
    )
    assert code("OD", "E119", mild) == ["E11.3291"]
    assert code("OS", "E10.9", mild, edema) == ["E10.3212"]
    assert code("OD", None, none) == ["E11.9"]
    assert code("OD", "I10", mild) == ["E11.3291"]
    assert code("OS", None, ("Dry AMD", "Early Stage"), ("Wet AMD", "Positive")) == ["H35.3121", "H35.3220"]
    assert code("OD", None, ("Glaucoma", "None")) == []


def test_care_plans_differ() -> None:
    plans = {
        care_plan(pathology=True, urgent=True, ungradable=True)[0],
        care_plan(pathology=True, urgent=False, ungradable=True)[0],
        care_plan(pathology=False, urgent=False, ungradable=True)[0],
        care_plan(pathology=False, urgent=False, ungradable=False)[0],
    }
    assert len(plans) == 4
