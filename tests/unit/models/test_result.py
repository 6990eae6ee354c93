"""Conveniences of the order result: its report and its eyes."""

import base64
import json
from typing import Any

import pytest

from clouddirect.errors import InvalidMessageError
from clouddirect.orders.models import Laterality, OrderRequest, OrderResult, Report, ResultsDocument, read_result

PDF = b"%PDF-1.7\n\x00\xff"


@pytest.mark.parametrize(
    ("kind", "encoding", "content", "data", "suffix"),
    [
        ("PDF", "Base64", base64.b64encode(PDF).decode(), PDF, ".pdf"),
        ("PDF", "BASE64", base64.b64encode(PDF).decode(), PDF, ".pdf"),
        ("PDF", None, base64.b64encode(PDF).decode(), PDF, ".pdf"),
        ("PDF", "Base64", base64.encodebytes(PDF * 40).decode(), PDF * 40, ".pdf"),
        ("HTML", "ASCII", "<p>fine</p>", b"<p>fine</p>", ".html"),
        ("HTML", "Base64", base64.b64encode(b"<p>").decode(), b"<p>", ".html"),
        ("HTML", None, "<p>é</p>", "<p>é</p>".encode(), ".html"),
        ("ORU", "HL7", "MSH|^~\\&|\rPID|", b"MSH|^~\\&|\rPID|", ".hl7"),
        ("ORU", "anything", "MSH|", b"MSH|", ".hl7"),
        ("DOC", "Base64", "QUI=", b"AB", ".bin"),
        (None, "ASCII", "AB", b"AB", ".bin"),
    ],
)
def test_a_report(kind: str | None, encoding: str | None, content: str, data: bytes, suffix: str) -> None:
    document = ResultsDocument(type=kind, encoding=encoding, content=content)
    report = OrderResult(results_document=document).report()
    assert report == Report(data, suffix)
    assert report == (data, suffix)


def test_no_report() -> None:
    assert OrderResult().report() is None
    for content in (None, ""):
        assert read_result(json.dumps({"ResultsDocument": {"Type": "PDF", "Content": content}})).report() is None


@pytest.mark.parametrize("content", ["SECRET!", "QQ", "é", "Q=Q="])
def test_a_report_that_is_no_base64(content: str) -> None:
    result = OrderResult(results_document=ResultsDocument(type="PDF", encoding="Base64", content=content))
    with pytest.raises(InvalidMessageError, match=r"ResultsDocument\.Content: is not valid Base64") as caught:
        result.report()
    assert "SECRET" not in str(caught.value)


def test_a_pdf_in_another_encoding() -> None:
    result = OrderResult(results_document=ResultsDocument(type="PDF", encoding="Base91", content="x"))
    with pytest.raises(InvalidMessageError, match=r"ResultsDocument\.Encoding"):
        result.report()


def test_a_report_does_not_show_its_content() -> None:
    assert repr(Report(b"SECRET", ".pdf")) == "Report(6 bytes, suffix='.pdf')"


def test_eyes(order_result: dict[str, Any]) -> None:
    result = read_result(json.dumps(order_result))
    assert result.order_local_id == "ORD-1"
    assert result.gradings is not None
    assert result.gradings.od is not None
    assert result.gradings.od.gradable is True
    assert [(side, eye.gradable) for side, eye in result.gradings.eyes()] == [
        (Laterality.OD, True),
        (Laterality.OS, False),
    ]
    del order_result["Gradings"]["OD"]
    only = read_result(json.dumps(order_result)).gradings
    assert only is not None
    assert only.od is None
    assert [side for side, _ in only.eyes()] == [Laterality.OS]


def test_findings_absent_in_every_way(order_result: dict[str, Any]) -> None:
    for findings in (None, [], {}, ""):
        order_result["Gradings"]["OD"]["Findings"] = findings
        gradings = read_result(json.dumps(order_result)).gradings
        assert gradings is not None
        assert gradings.od is not None
        assert gradings.od.findings == []


def test_ids_without_an_order() -> None:
    assert OrderResult().order_local_id is None
    assert OrderRequest().order_local_id is None
