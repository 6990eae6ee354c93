"""Naming templates: the published tokens, safe names, and files that replace nothing."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clouddirect.errors import ConfigurationError, InvalidMessageError, UnavailableError
from clouddirect.orders import NamingTemplate, save_message, save_report
from clouddirect.orders.models import Name, OrderResult, ResultOrder, ResultPatient, ResultsDocument, ResultSite
from clouddirect.orders.naming import NAMING_TOKENS

AT = datetime(2026, 3, 1, 9, 5, 7, tzinfo=UTC)


def a_result(**fields: object) -> OrderResult:
    values: dict[str, object] = {
        "patient": ResultPatient(patient_id=7, local_id="MRN-7", name=Name(first="Zoë", last="O'Hara/Smith")),
        "order": ResultOrder(local_id="ORD-1", patient_order_id=99, department_id="EYE"),
        "site": ResultSite(local_id="PC1"),
        "results_document": ResultsDocument(type="HTML", encoding="ASCII", content="<p>fine</p>"),
    }
    return OrderResult(**{**values, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("{patientId} {patientLocalId}", "7 MRN-7"),
        ("{orderId}-{orderLocalId}", "99-ORD-1"),
        ("{patientLastName}, {patientFirstName}", "O'Hara_Smith, Zoë"),
        ("{clientLocalId}/{departmentLocalId}/x", "PC1/EYE/x"),
        ("{yyyy}{MM}{dd}", "20260301"),
        ("{yyyyMMdd_HHmmss}", "20260301_090507"),
        ("{MMddyyyy} {yyyyMMdd}", "03012026 20260301"),
        ("{YEST_yyyy}{YEST_MM}{YEST_dd}", "20260228"),
        ("{YEST_yyyyMMdd_HHmmss} {YEST_MMddyyyy} {YEST_yyyyMMdd}", "20260228_090507 02282026 20260228"),
        ("fixed", "fixed"),
        ("con", "_con"),
    ],
)
def test_every_token_has_its_value(text: str, path: str) -> None:
    assert NamingTemplate(text).path(a_result(), AT) == PurePosixPath(path)


def test_the_tokens_are_the_published_ones() -> None:
    times = ["yyyy", "MM", "dd", "yyyyMMdd_HHmmss", "yyyyMMdd", "MMddyyyy"]
    assert set(NAMING_TOKENS) == {
        "patientId", "patientLocalId", "orderId", "orderLocalId", "patientFirstName", "patientLastName",
        "clientLocalId", "departmentLocalId", *times, *(f"YEST_{name}" for name in times),
    }  # fmt: skip
    NamingTemplate(" ".join(f"{{{token}}}" for token in NAMING_TOKENS)).path(a_result(), AT)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{orderlocalid}", "did you mean {orderLocalId}"),
        ("{nothing}", "the tokens are"),
        ("{orderLocalId", "a brace stands alone"),
        ("a}b", "a brace stands alone"),
        ("/{dd}", "must be a name"),
        ("a//b", "must be a name"),
        ("../{dd}", "must be a name"),
        ("", "must be a name"),
        ("a:b", "may stand in a file name"),
        ("a\\b", "may stand in a file name"),
    ],
)
def test_a_template_that_cannot_be_used_says_why(text: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match="naming template") as caught:
        NamingTemplate(text)
    assert told in str(caught.value)


def test_half_a_surrogate_pair_is_in_no_name() -> None:
    result = a_result(order=ResultOrder(local_id="O\ud800"))
    assert NamingTemplate("{orderLocalId}").path(result, AT) == PurePosixPath("O_")


@pytest.mark.parametrize("local_id", [None, "", "  "])
def test_a_token_without_a_value_is_an_error_that_names_it_and_no_patient(local_id: str | None) -> None:
    result = a_result(patient=ResultPatient(local_id=local_id, name=Name(first="CANARY", last="CANARY")))
    with pytest.raises(InvalidMessageError, match=r"\{patientLocalId\}") as caught:
        NamingTemplate("{patientLocalId}").path(result, AT)
    assert "CANARY" not in str(caught.value)


@given(st.text(), st.text(min_size=1))
def test_no_value_leads_out_of_the_directory(first: str, last: str) -> None:
    result = a_result(patient=ResultPatient(name=Name(first=first + "x", last=last + "/../..")))
    path = NamingTemplate("reports/{patientFirstName}{patientLastName}").path(result, AT)
    assert len(path.parts) == 2
    name = path.name
    assert name.strip(". ") == name
    assert not set(name) & set('<>:"/\\|?*\0\n')
    assert 0 < len(name.encode()) <= 201


def test_a_file_is_saved_under_its_name_and_replaces_nothing_unless_told(tmp_path: Path) -> None:
    template = NamingTemplate("{yyyy}/{orderLocalId}.html")
    saved = save_report(a_result(), tmp_path, template=template, at=AT)
    assert saved == tmp_path / "2026" / "ORD-1.html"
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    other = a_result(results_document=ResultsDocument(type="HTML", encoding="ASCII", content="<p>other</p>"))
    assert save_report(other, tmp_path, template=template, at=AT) == tmp_path / "2026" / "ORD-1-2.html"
    assert save_report(other, tmp_path, template=template, at=AT, replace=True) == saved
    assert saved.read_text() == "<p>other</p>"
    assert save_message(other, b"{}", tmp_path, template=NamingTemplate("{dd}"), at=AT) == tmp_path / "01.json"
    assert not list(tmp_path.rglob("*.part"))


def test_a_name_that_cannot_be_written_shows_no_patient(tmp_path: Path) -> None:
    result = a_result(patient=ResultPatient(name=Name(last="CANARY")))
    (tmp_path / "CANARY").write_bytes(b"a file where a directory is needed")
    with pytest.raises(UnavailableError, match="cannot be saved") as caught:
        save_report(result, tmp_path, template=NamingTemplate("{patientLastName}/x"), at=AT)
    assert "CANARY" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
