"""The option lists: every published code and number, and the open end."""

import copy
import json
import pickle

import pytest

from clouddirect.orders.models import (
    EvaluationType,
    Gender,
    GenderContext,
    ImageContext,
    Laterality,
    MaritalStatus,
    Option,
    OrderControlCode,
    Race,
)

PUBLISHED = {
    GenderContext: {0: "Unknown", 1: "IdentityGender", 2: "BirthGender"},
    Gender: dict(enumerate(["U", "M", "F", "N", "O", "TM", "TF", "ND", "EQ", "NL", "X"])),
    MaritalStatus: dict(enumerate("ADILMPSTW")),
    EvaluationType: {
        1: "DR",
        2: "Glaucoma",
        3: "HIV",
        4: "DRME",
        6: "DR_REFNOREF",
        7: "AMD",
        8: "DR_AMD",
        9: "SP",
        12: "DR_AREDS_GLAUC",
        13: "AI_Eyenuk_O1",
    },
    ImageContext: dict(
        enumerate(["Primary", "SecondaryViewField", "Unknown", "Component", "Aggregate", "Enhancement", "AddedLate"])
    ),
    Laterality: {0: "OS", 1: "OD"},
    OrderControlCode: dict(
        enumerate(
            [
                "NW",
                "XO",
                "XR",
                "CA",
                "CR",
                "CloneOrder",
                "ChangeEvaluationType",
                "OC",
                "Submission",
                "SC",
                "ResendResult",
            ],
            start=1,
        )
    ),
}


@pytest.mark.parametrize("option", PUBLISHED, ids=lambda option: option.__name__)
def test_numbers_stand_for_the_published_codes(option: type[Option]) -> None:
    assert {member.number: member.value for member in option if member.number is not None} == PUBLISHED[option]
    for number, text in PUBLISHED[option].items():
        assert option(number) is option(text) is option(str(number))
        assert option(text) == text
        assert option(text).known


@pytest.mark.parametrize("value", ["ZZ", 77, "77", "od ", "WHITE"])
def test_an_unknown_code_is_kept_as_its_text(value: object) -> None:
    for option in (Laterality, Race):
        code = option(value)
        assert isinstance(code, option)
        assert code == str(value)
        assert str(code) == f"{code}" == str(value)
        assert not code.known
        assert code not in list(option)
        assert json.loads(json.dumps(code)) == str(value)


def test_options_survive_copying_and_pickling() -> None:
    for code in (Laterality.OD, Laterality("ZZ")):
        for twin in (pickle.loads(pickle.dumps(code)), copy.copy(code), copy.deepcopy(code)):
            assert twin == code
            assert isinstance(twin, Laterality)
            assert twin.known is code.known
    assert pickle.loads(pickle.dumps(Laterality.OD)) is Laterality.OD


def test_another_spelling_of_a_code() -> None:
    assert ImageContext("Secondary") is ImageContext.SECONDARY_VIEW_FIELD


@pytest.mark.parametrize("value", [True, None, "", 1.5, []])
def test_what_is_no_code(value: object) -> None:
    with pytest.raises(ValueError, match="is not a valid Laterality"):
        Laterality(value)
