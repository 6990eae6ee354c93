"""``clouddirect submit`` and ``clouddirect upload``, over the local provider."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clouddirect.cli.ordering import _images
from clouddirect.settings import load_settings

from .conftest import CANARY, FarSide, Run

Write = Callable[[str, Any], Path]


def test_sends_an_order_and_tells_its_ids(run: Run, far: FarSide, write: Write, order: Any) -> None:
    path = write("order.json", order)
    ran = run("submit", path)
    assert ran.code == 0, ran.err
    assert "ORD-1" in ran.out
    assert CANARY not in ran.out + ran.err
    told = run("submit", "--json", path).lines
    assert [list(line) for line in told] == [["file", "local_id", "message_id", "waiting", "images", "warnings"]]
    assert (told[0]["file"], told[0]["local_id"], told[0]["images"]) == (str(path), "ORD-1", [])
    deliveries = far.broker.receive("orders", 2)
    assert [json.loads(one.message.body) for one in deliveries] == [order, order]
    assert deliveries[1].message.id == told[0]["message_id"]
    assert {one.message.correlation_id for one in deliveries} == {"ORD-1"}


def test_takes_an_order_from_stdin_and_fills_in_what_the_settings_know(run: Run, far: FarSide, order: Any) -> None:
    del order["ClientGuid"], order["Site"]
    ran = run("submit", "-", stdin=json.dumps(order).encode("utf-8-sig"))
    assert ran.code == 0, ran.err
    (sent,) = far.take("orders")
    settings = load_settings()
    assert (sent["ClientGuid"], sent["Site"]) == (settings.client_guid, {"LocalId": settings.site})


def test_uploads_images_with_the_order(run: Run, far: FarSide, write: Write, order: Any, picture: Path) -> None:
    ran = run("submit", "--json", write("order.json", order), "--image", f"{picture}:OD", "--image", f"{picture}:os")
    assert ran.code == 0, ran.err
    told = ran.lines[0]["images"]
    assert [(image["file"], image["laterality"]) for image in told] == [(str(picture), "OD"), (str(picture), "OS")]
    assert all(CANARY not in image["key"] and image["key"].endswith(".jpg") for image in told)
    entries = far.take("orders")[0]["Camera"]["Images"]
    assert [entry["AzureBlobStorage"]["FileName"] for entry in entries] == [image["key"] for image in told]
    assert [entry["Laterality"] for entry in entries] == ["OD", "OS"]
    assert far.images() == [picture.read_bytes()] * 2
    assert ran.err == ""  # no progress bar without a terminal


def test_the_eye_stands_behind_the_last_colon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_file", lambda path: True)
    values = (r"C:\pictures\right.jpg:OD", "a:b:c.jpg:OS")
    context: Any = None
    found = [(image.source, image.laterality) for image in _images(context, context, values)]
    assert found == [(Path(r"C:\pictures\right.jpg"), "OD"), (Path("a:b:c.jpg"), "OS")]


@pytest.mark.parametrize("value", ["{}", "{}:OU", "{}:", ":OD", "C:\\right.jpg"])
def test_an_image_without_an_eye_is_wrong_use(
    run: Run, far: FarSide, write: Write, order: Any, picture: Path, value: str
) -> None:
    ran = run("submit", write("order.json", order), "--image", value.format(picture))
    assert (ran.code, ran.out) == (2, "")
    assert ":OD (right)" in ran.err
    assert far.take("orders") == []


def test_images_that_are_missing_or_belong_to_several_orders_are_wrong_use(
    run: Run, far: FarSide, write: Write, order: Any, picture: Path
) -> None:
    path = write("order.json", order)
    assert run("submit", path, "--image", "nowhere.jpg:OD").code == 2
    ran = run("submit", path, path, "--image", f"{picture}:OD")
    assert ran.code == 2
    assert "single order" in ran.err
    assert far.take("orders") == []
    assert far.images() == []


def test_one_refused_order_keeps_all_from_being_sent(run: Run, far: FarSide, write: Write, order: Any) -> None:
    good = write("good.json", order)
    del order["Patient"]["Name"]["Last"], order["Order"]["LocalId"]
    bad = write("bad.json", order)
    ran = run("submit", good, bad)
    assert (ran.code, ran.out) == (2, "")
    assert f"{bad}: Patient.Name.Last" in ran.err
    assert f"{bad}: Order.LocalId" in ran.err
    assert "nothing was sent" in ran.err
    assert CANARY not in ran.err
    assert far.take("orders") == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"\xff", b'{"Patient": {"Dob": "Canarysson"}}'])
def test_what_is_no_order_is_wrong_use(run: Run, far: FarSide, body: bytes) -> None:
    ran = run("submit", "--json", "-", stdin=body)
    assert (ran.code, ran.out) == (2, "")
    assert json.loads(ran.err)["code"] == 2
    assert "nothing was sent" in ran.err
    assert CANARY not in ran.err
    assert far.take("orders") == []


def test_a_message_of_another_kind_is_told_apart(run: Run, far: FarSide, write: Write, event: Any, result: Any) -> None:
    for message, kind in ((event, "event"), (result, "order-result")):
        ran = run("submit", write("message.json", message))
        assert ran.code == 2
        assert f"an IRIS {kind}, not an order request" in ran.err
    assert far.take("orders") == []


def test_a_cancellation_needs_only_ids(run: Run, far: FarSide, write: Write, order: Any) -> None:
    cancel = {"OrderControlCode": "CA", "Order": {"LocalId": "ORD-1"}}
    ran = run("submit", write("cancel.json", cancel))
    assert ran.code == 0, ran.err
    assert far.take("orders")[0]["OrderControlCode"] == "CA"


def test_a_dry_run_checks_and_sends_nothing(run: Run, far: FarSide, write: Write, order: Any, picture: Path) -> None:
    path = write("order.json", order)
    ran = run("submit", "--dry-run", "--json", path, "--image", f"{picture}:OD")
    assert ran.code == 0, ran.err
    assert (ran.lines[0]["local_id"], ran.lines[0]["message_id"]) == ("ORD-1", None)
    assert "not sent" in run("submit", "--dry-run", path).out
    del order["Patient"]
    assert run("submit", "--dry-run", write("order.json", order)).code == 2
    assert far.take("orders") == []
    assert far.images() == []


def test_a_failure_tells_how_many_were_sent(
    run: Run, far: FarSide, write: Write, order: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDDIRECT_ENDPOINTS__ORDERS__MAX_MESSAGE_BYTES", "1000")
    small = write("small.json", order)
    large = write("large.json", order | {"Extra": "x" * 2000, "Order": {**order["Order"], "LocalId": "ORD-2"}})
    last = write("last.json", order | {"Order": {**order["Order"], "LocalId": "ORD-3"}})
    ran = run("submit", "--json", small, large, last)
    assert ran.code == 1
    assert [line["file"] for line in ran.lines] == [str(small)]
    told = json.loads(ran.err)["error"]
    assert str(large) in told
    assert "1 of 3 orders were sent" in told
    assert len(far.take("orders")) == 1


def test_a_failed_upload_sends_no_order(
    run: Run, far: FarSide, write: Write, order: Any, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDDIRECT_STORES__IMAGES__CREATE", "false")
    ran = run("submit", write("order.json", order), "--image", f"{picture}:OD")
    assert (ran.code, ran.out) == (1, "")
    assert CANARY not in ran.err
    assert far.take("orders") == []


def test_upload_prints_container_and_key(run: Run, far: FarSide, picture: Path) -> None:
    ran = run("upload", "--json", picture, picture)
    assert ran.code == 0, ran.err
    assert [list(line) for line in ran.lines] == [["file", "container", "key", "size"]] * 2
    assert {line["container"] for line in ran.lines} == {"images"}
    assert {line["size"] for line in ran.lines} == {5002}
    assert len({line["key"] for line in ran.lines}) == 2
    assert far.images() == [picture.read_bytes()] * 2
    assert far.take("orders") == []
    assert "images" in run("upload", picture).out


def test_upload_of_nothing_is_wrong_use(run: Run, far: FarSide) -> None:
    assert run("upload").code == 2
    assert run("upload", "nowhere.jpg").code == 2
