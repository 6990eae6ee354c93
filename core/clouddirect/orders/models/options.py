"""The option lists of IRIS: text codes, each with the number that some senders write in its place.

Lists and numbers are known from the IRIS integration guide, unless a class says otherwise. Lists grow without notice,
so every list is open: a code or number we do not know becomes a value of the same class, with ``known`` False and its
own text. ``Laterality("OD") == "OD"`` holds, since every option is a ``str``.
"""

from collections.abc import Iterator, Mapping
from enum import ReprEnum
from typing import Any, Self

__all__ = [
    "DocumentEncoding",
    "DocumentType",
    "Ethnicity",
    "EvaluationType",
    "Gender",
    "GenderContext",
    "ImageContext",
    "Language",
    "Laterality",
    "MaritalStatus",
    "Option",
    "OrderControlCode",
    "OrderStatus",
    "Race",
    "ResultCode",
]


class Option(str, ReprEnum):
    """A code of an option list. Unknown codes are values too: see ``known``."""

    number: int | None
    """The number that stands for the code on the wire, or None where no source gives one."""

    def __new__(cls, text: str, number: int | None = None) -> Self:
        member = str.__new__(cls, text)
        member._value_ = text
        member.number = number
        return member

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            return None
        known = dict(cls.spellings()).get(value)
        if known is not None:
            return known
        unknown = str.__new__(cls, value)
        unknown._name_ = unknown._value_ = str(value)
        unknown.number = value if isinstance(value, int) else None
        return unknown

    @classmethod
    def spellings(cls) -> Iterator[tuple[str | int, Self]]:
        """Every way in which the known options may be written: code, number, number as text, other spelling."""
        for member in cls:
            yield str.__str__(member), member
            if member.number is not None:
                yield member.number, member
                yield str(member.number), member
        for other, text in cls.other_spellings().items():
            yield other, cls(text)

    @classmethod
    def other_spellings(cls) -> Mapping[str, str]:
        """Codes that mean the same as one of the list, to that one."""
        return {}

    @classmethod
    def closed(cls) -> bool:
        """Whether IRIS documents the list as complete; if not, an unknown code is no complaint."""
        return True

    @property
    def known(self) -> bool:
        """Whether the code is in the list as we know it."""
        return type(self).__members__.get(self._name_) is self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str.__repr__(self)})"

    def __deepcopy__(self, memo: Any) -> Self:
        return self


class OrderControlCode(Option):
    """What an order request asks for. Codes NW, XO, CA and ResendResult: integration guide; numbers and the rest:
    TypeScript library."""

    NW = "NW", 1  # new order
    XO = "XO", 2  # change
    XR = "XR", 3
    CA = "CA", 4  # cancel
    CR = "CR", 5
    CLONE_ORDER = "CloneOrder", 6
    CHANGE_EVALUATION_TYPE = "ChangeEvaluationType", 7
    OC = "OC", 8
    SUBMISSION = "Submission", 9
    SC = "SC", 10
    RESEND_RESULT = "ResendResult", 11


class EvaluationType(Option):
    """The examination to be graded; only subscribed ones can be ordered."""

    DR = "DR", 1
    GLAUCOMA = "Glaucoma", 2
    HIV = "HIV", 3
    DRME = "DRME", 4
    DR_REFNOREF = "DR_REFNOREF", 6
    AMD = "AMD", 7
    DR_AMD = "DR_AMD", 8
    SP = "SP", 9
    DR_AREDS_GLAUC = "DR_AREDS_GLAUC", 12
    AI_EYENUK_O1 = "AI_Eyenuk_O1", 13


class Laterality(Option):
    """Which eye: OD right, OS left, OU both. Numbers: TypeScript library."""

    OD = "OD", 1
    OS = "OS", 0
    OU = "OU"


class ImageContext(Option):
    """The role of an image in its set; Primary unless agreed otherwise."""

    PRIMARY = "Primary", 0
    SECONDARY_VIEW_FIELD = "SecondaryViewField", 1
    UNKNOWN = "Unknown", 2
    COMPONENT = "Component", 3
    AGGREGATE = "Aggregate", 4
    ENHANCEMENT = "Enhancement", 5
    ADDED_LATE = "AddedLate", 6

    @classmethod
    def other_spellings(cls) -> Mapping[str, str]:
        return {"Secondary": "SecondaryViewField"}


class GenderContext(Option):
    """What a gender of a person refers to: identity, or as recorded at birth."""

    UNKNOWN = "Unknown", 0
    IDENTITY_GENDER = "IdentityGender", 1
    BIRTH_GENDER = "BirthGender", 2


class Gender(Option):
    """Gender code of a person."""

    U = "U", 0  # unspecified
    M = "M", 1  # male
    F = "F", 2  # female
    N = "N", 3  # non-binary
    O = "O", 4  # other # noqa: E741
    TM = "TM", 5  # transgender male
    TF = "TF", 6  # transgender female
    ND = "ND", 7  # not disclosed
    EQ = "EQ", 8  # exploring or questioning
    NL = "NL", 9  # not listed
    X = "X", 10  # not exclusively male or female


class MaritalStatus(Option):
    """Marital status, by HL7 code."""

    A = "A", 0  # annulled
    D = "D", 1  # divorced
    I = "I", 2  # interlocutory # noqa: E741
    L = "L", 3  # legally separated
    M = "M", 4  # married
    P = "P", 5  # polygamous
    S = "S", 6  # never married
    T = "T", 7  # domestic partner
    W = "W", 8  # widowed


class Race(Option):
    """Race, by HL7 code; any other code of HL7's list may stand here."""

    AMERICAN_INDIAN_OR_ALASKA_NATIVE = "1002-5"
    ASIAN = "2028-9"
    BLACK_OR_AFRICAN_AMERICAN = "2054-5"
    NATIVE_HAWAIIAN_OR_OTHER_PACIFIC_ISLANDER = "2076-8"
    OTHER = "2131-1"
    WHITE = "2106-3"

    @classmethod
    def closed(cls) -> bool:
        return False


class Ethnicity(Option):
    """Ethnicity, by HL7 code; any other code of HL7's list may stand here."""

    SPANIARD = "2137-8"
    MEXICAN = "2148-5"
    CENTRAL_AMERICAN = "2155-0"
    PUERTO_RICAN = "2180-8"
    CUBAN = "2182-4"
    MEXICAN_AMERICAN = "2149-3"

    @classmethod
    def closed(cls) -> bool:
        return False


class Language(Option):
    """Language of a person, by BCP 47 tag; any other tag may stand here."""

    ENGLISH = "en"
    US_ENGLISH = "en-US"
    FRENCH = "fr"
    SPANISH = "es"
    ITALIAN = "it"
    PORTUGUESE = "pt"
    CHINESE = "zh"

    @classmethod
    def closed(cls) -> bool:
        return False


class OrderStatus(Option):
    """Where an order stands. Known from the Go library; real orders may say more."""

    AWAITING_IMAGES = "AwaitingImages"
    QUEUED_FOR_GRADING = "QueuedForGrading"
    CHECKED_OUT_FOR_GRADING = "CheckedOutForGrading"
    GRADED = "Graded"
    ORDER_CANCELLED = "OrderCancelled"
    UNDER_REVIEW = "UnderReview"
    ERROR = "Error"
    COMPLETE = "Complete"


class ResultCode(Option):
    """What kind of result a message is: addendum, correction, final, preliminary or a resent one."""

    A = "A"
    C = "C"
    F = "F"
    P = "P"
    R = "R"


class DocumentType(Option):
    """Format of a report: PDF, HTML page, or HL7 ORU message."""

    PDF = "PDF"
    HTML = "HTML"
    ORU = "ORU"


class DocumentEncoding(Option):
    """How a report is put into text; the guide allows "any specific encoding scheme"."""

    BASE64 = "Base64"
    ASCII = "ASCII"
    HL7 = "HL7"

    @classmethod
    def closed(cls) -> bool:
        return False
