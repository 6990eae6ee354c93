"""How the sandbox grades by itself: seeded, from the published findings, and not by looking at the retina.

A picture that is too dark, or that cannot be decoded, makes its eye ungradable; everything else is drawn by lot, so
that an integrator meets every shape of result. Nothing here is medicine.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence

from clouddirect.orders.models import EvaluationType, EyeSideGrading, Finding, GradingSubmission
from clouddirect.sandbox.pictures import Picture

__all__ = ["Eyes", "eyes_of", "grade", "graded_by", "needs_attention", "shows_pathology"]

#: The grading of each eye that has one, ``OD`` before ``OS``.
Eyes = dict[str, EyeSideGrading]

_DR = ("Diabetic Retinopathy", "Macular Edema")
_AMD = ("Dry AMD", "Wet AMD")
#: What each evaluation looks for. One that is not in the list is graded like DR.
_LOOKED_FOR: Mapping[str, tuple[str, ...]] = {
    EvaluationType.DR: _DR,
    EvaluationType.DRME: _DR,
    EvaluationType.DR_REFNOREF: ("Diabetic Retinopathy",),
    EvaluationType.AI_EYENUK_O1: ("Diabetic Retinopathy",),
    EvaluationType.DR_AMD: _DR + _AMD,
    EvaluationType.AMD: _AMD,
    EvaluationType.GLAUCOMA: ("Glaucoma",),
    EvaluationType.HIV: ("HIV Retinopathy",),
    EvaluationType.DR_AREDS_GLAUC: (*_DR, *_AMD, "Glaucoma"),
    EvaluationType.SP: (),
}
#: These only tell whether there is something, not how much.
_YES_OR_NO = frozenset({EvaluationType.DR_REFNOREF, EvaluationType.AI_EYENUK_O1})
#: How often each level occurs in a rehearsal: often enough that every one is met.
_LEVELS: Mapping[str, Mapping[str, int]] = {
    "Diabetic Retinopathy": {
        "None": 50,
        "Mild": 20,
        "Moderate": 12,
        "Severe": 8,
        "Proliferative": 6,
        "Indeterminable": 4,
    },
    "Macular Edema": {"None": 85, "Positive": 15},
    "Dry AMD": {
        "No Observable": 62,
        "Early Stage": 14,
        "Intermediate Stage": 10,
        "Adv. Atrophic w/o Subfoveal Involvement": 5,
        "Adv. Atrophic w/ Subfoveal Involvement": 5,
        "Indeterminable": 4,
    },
    "Wet AMD": {"No Observable": 86, "Positive": 10, "Indeterminable": 4},
    "Glaucoma": {"None": 85, "Positive": 15},
    "HIV Retinopathy": {"None": 90, "Positive": 10},
}
_SUSPECTED = ("Suspected Cataract", "Suspected HTN Retinopathy", "Suspected Epiretinal Membrane", "Suspected Glaucoma")
_SUSPECTED_SHARE = 0.12

_NO_PATHOLOGY = frozenset({"None", "No Observable", "Indeterminable"})
_PRESSING = frozenset(
    {
        ("Diabetic Retinopathy", "Severe"),
        ("Diabetic Retinopathy", "Proliferative"),
        ("Macular Edema", "Positive"),
        ("Wet AMD", "Positive"),
    }
)


def eyes_of(laterality: str | None) -> tuple[str, ...]:
    """Return the eyes that an image shows: both for OU, and the right one where nothing is said."""
    if laterality == "OU":
        return ("OD", "OS")
    return ("OS",) if laterality == "OS" else ("OD",)


def grade(
    seed: int, order_local_id: str, evaluations: Sequence[str], pictures: Iterable[tuple[str | None, Picture]]
) -> Eyes:
    """Grade an order; the same seed, order and pictures give the same grading.

    Args:
        seed: the sandbox's seed.
        order_local_id: Order.LocalId.
        evaluations: codes of the evaluations that were ordered.
        pictures: the order's images, each with its laterality. An eye without one is left out of the grading.
    """
    by_eye: dict[str, list[Picture]] = {"OD": [], "OS": []}
    for laterality, picture in pictures:
        for eye in eyes_of(laterality):
            by_eye[eye].append(picture)
    graded: Eyes = {}
    for eye, shown in by_eye.items():
        if not shown:
            continue
        reasons = [reason for picture in shown if (reason := picture.ungradable_reason)]
        if len(reasons) == len(shown):
            graded[eye] = EyeSideGrading(gradable=False, ungradable_reasons=[reasons[0]])
        else:
            chance = random.Random(f"grading/{seed}/{order_local_id}/{eye}")
            graded[eye] = EyeSideGrading(gradable=True, findings=_findings(chance, evaluations))
    return graded


def _findings(chance: random.Random, evaluations: Sequence[str]) -> list[Finding]:
    drawn: dict[str, str | None] = {}
    for evaluation in evaluations:
        for finding in _LOOKED_FOR.get(evaluation, _DR):
            if finding in drawn:
                continue
            if evaluation in _YES_OR_NO:
                drawn[finding] = chance.choices(("None", "Positive"), (75, 25))[0]
            else:
                levels = _LEVELS[finding]
                drawn[finding] = chance.choices(tuple(levels), tuple(levels.values()))[0]
    # an edema comes with a retinopathy, as a reader of the result would expect
    if drawn.get("Diabetic Retinopathy") in _NO_PATHOLOGY and "Macular Edema" in drawn:
        drawn["Macular Edema"] = "None"
    if chance.random() < _SUSPECTED_SHARE:
        drawn[chance.choice(_SUSPECTED)] = None
    return [Finding(finding=finding, result=result) for finding, result in drawn.items()]


def graded_by(submission: GradingSubmission) -> Eyes:
    """Return the grading that a program submitted, as it is."""
    return {side: eye for side, eye in (("OD", submission.od), ("OS", submission.os)) if eye is not None}


def shows_pathology(eyes: Eyes) -> bool:
    """Whether something was found in either eye; a finding without a level is a suspected condition and counts."""
    return any(finding.result not in _NO_PATHOLOGY for eye in eyes.values() for finding in eye.findings)


def needs_attention(eyes: Eyes) -> bool:
    """Whether a finding calls for urgent action."""
    return any((finding.finding, finding.result) in _PRESSING for eye in eyes.values() for finding in eye.findings)
