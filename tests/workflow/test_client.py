"""The client where something goes wrong: nothing is lost, nothing half done, and nobody is named."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clouddirect.errors import AlreadyExistsError, ConfigurationError, InvalidMessageError, UnavailableError
from clouddirect.messaging import ConsumerOptions, Message
from clouddirect.orders import CloudDirect, ImageFile
from clouddirect.orders.connections import Connections, OpenStore
from clouddirect.orders.images import upload_all
from clouddirect.orders.models import AzureBlobStorage, Camera, Image, Site
from clouddirect.settings import Settings
from clouddirect_local.queue_admin import list_queues
from clouddirect_local.store import LocalStore
from clouddirect_local.store_options import LocalStoreOptions
from clouddirect_local.store_upload import LocalUpload

EVENT = json.dumps({"ResultObjectType": "OrderGradedEvent", "Success": True, "OrderLocalId": "ORD1"}).encode()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a client whose queues and stores are in one directory, with all rights."""
    queue = {"provider": "local", "path": str(tmp_path / "q.db"), "create": True, "deduplication_window": 0}
    store = {"provider": "local", "path": str(tmp_path / "files"), "container": "images", "create": True}
    return Settings.of(
        {
            "client_guid": "63E3C9EF-66AC-4154-B0C2-494515EB99A7",
            "site": "PC1234",
            "data_dir": tmp_path / "data",
            "endpoints": {name: {**queue, "queue": name} for name in ("orders", "events", "results")},
            "stores": {"images": store},
        }
    )


@pytest.fixture
def send(tmp_path: Path, settings: Settings) -> Callable[[str, bytes], None]:
    """Put a body into a queue."""
    import clouddirect

    def put(queue: str, body: bytes) -> None:
        with clouddirect.open_broker("local", path=tmp_path / "q.db", create=True) as broker:
            broker.send(queue, Message(body=body))

    return put


def stored(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "files" / "images").glob("*") if path.is_file())


# -- receiving ----------------------------------------------------------------------------------------------


def test_run_loses_no_unreadable_message_that_cannot_be_dead_lettered(tmp_path: Path, settings: Settings) -> None:
    """The dead-letter queue has no dead-letter queue of its own, and the quarantine is blocked by a file."""
    import clouddirect

    (tmp_path / "data").write_text("a file where the directory should be", encoding="utf-8")
    with clouddirect.open_broker("local", path=tmp_path / "q.db", create=True) as broker:
        broker.send("events", Message(body=b"not an event"))
        (delivery,) = broker.receive("events")
        delivery.dead_letter("unreadable")
    settings.endpoints.require("events").queue = "events/$dead"
    client = CloudDirect(settings)
    running = threading.Thread(target=lambda: client.run(on_event=print, max_deliveries=1))
    running.start()
    refused = threading.Event()
    broker = client._connections.queue("events").broker
    receive = broker._receive

    def seen(*arguments: Any) -> Any:
        raws = receive(*arguments)
        if any((raw.delivery_count or 0) > 1 for raw in raws):
            refused.set()  # it came again, so it was not lost
        return raws

    broker._receive = seen  # type: ignore[method-assign]
    assert refused.wait(30)
    client.stop()
    running.join(30)
    client.close()
    assert next(one.dead_letters for one in list_queues(tmp_path / "q.db") if one.name == "events") == 1


def test_what_fails_in_a_with_block_comes_again_after_a_pause(
    settings: Settings, send: Callable[[str, bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full for a moment must not use up the deliveries of a result within milliseconds."""
    monkeypatch.setattr(ConsumerOptions, "retry_delay", lambda self, count: 3600.0)
    send("events", EVENT)
    with CloudDirect(settings) as client:
        (incoming,) = client.events(timeout=0)
        with pytest.raises(KeyError), incoming:
            raise KeyError
        assert list(client.events(timeout=0)) == []
        queue = client._connections.queue("events")
        assert incoming.delivery.settled == "nack"
        assert list_queues(queue.broker.native.path)[0].messages == 1  # type: ignore[attr-defined]


# -- sending ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Doe_John 12.03.1961 MRN77", "example^ann.19611201", "eye"])
def test_no_key_holds_what_a_file_name_says(name: str) -> None:
    assert ImageFile(source=name, laterality="OD").key_suffix == ""
    assert ImageFile(source=f"{name}.JPG", laterality="OD").key_suffix == ".jpg"


def test_nothing_is_uploaded_when_the_orders_queue_is_not_configured(
    tmp_path: Path, settings: Settings, new_order: Any
) -> None:
    settings.endpoints.orders = None
    with CloudDirect(settings) as client, pytest.raises(ConfigurationError, match=r"endpoints\.orders"):
        client.submit(new_order(), [ImageFile(source=b"x", laterality="OD")])
    assert stored(tmp_path) == []


def test_check_says_all_that_submit_would_refuse(tmp_path: Path, settings: Settings, new_order: Any) -> None:
    order = new_order()
    named = Image(laterality="OD", azure_blob_storage=AzureBlobStorage(container="images", file_name="a//b.jpg"))
    order.camera = Camera(images=[named])
    images = [
        ImageFile(source=tmp_path / "gone.jpg", laterality="OD"),
        ImageFile(source=b"x"),
        ImageFile(source=b"x", laterality="left eye", context="NoSuch"),
    ]
    with CloudDirect(settings) as client:
        found = {(one.path, one.severity) for one in client.check(order, images)}
        with pytest.raises(InvalidMessageError) as caught:
            client.submit(order, images)
    assert {
        ("images[0]", "error"),
        ("images[1].laterality", "error"),
        ("Camera.Images[0].AzureBlobStorage.FileName", "error"),
    } <= found
    assert {path for path, severity in found if severity == "warning"} >= {
        "Camera.Images[2].Laterality",
        "Camera.Images[2].ImageContext",
    }
    assert {(one.path, one.severity) for one in caught.value.problems} == {one for one in found if one[1] == "error"}  # type: ignore[attr-defined]
    assert stored(tmp_path) == []


def test_a_cancellation_takes_no_images(tmp_path: Path, settings: Settings, new_order: Any) -> None:
    order = new_order()
    order.order_control_code = "CA"
    with CloudDirect(settings) as client, pytest.raises(InvalidMessageError, match="takes no images"):
        client.submit(order, [ImageFile(source=b"x", laterality="OD")])
    assert stored(tmp_path) == []


# -- uploading ----------------------------------------------------------------------------------------------


class LostAnswer(LocalUpload):
    """Its first commit is carried out and its confirmation lost; a second one finds the name taken, as in a cloud."""

    def commit(self, *arguments: Any) -> Any:
        if LossyStore.lost:
            raise AlreadyExistsError("something is stored under this name")
        super().commit(*arguments)
        LossyStore.lost = True
        raise UnavailableError("the connection was cut")


class LossyStore(LocalStore):
    """A store on a line that drops one confirmation."""

    lost = False

    def _begin_upload(self, request: Any, timeout: float) -> Any:
        upload = super()._begin_upload(request, timeout)
        upload.__class__ = LostAnswer
        return upload


def test_an_image_whose_confirmation_was_lost_is_uploaded(tmp_path: Path) -> None:
    LossyStore.lost = False
    seen: list[int] = []
    with LossyStore(LocalStoreOptions(path=tmp_path / "files", container="images", create=True)) as store:
        (uploaded,) = upload_all(
            OpenStore(store, "images"),
            [ImageFile(source=b"x" * 1000, laterality="OD", suffix=".jpg")],
            progress=lambda image, sent, total: seen.append(sent),
        )
        assert LossyStore.lost
        assert store.get(uploaded.key) == b"x" * 1000
    assert stored(tmp_path) == [uploaded.key]
    assert seen[-1] == uploaded.stored.size == 1000


def test_an_interrupt_starts_no_further_upload(tmp_path: Path) -> None:
    started: list[ImageFile] = []

    def progress(image: ImageFile, sent: int, total: int | None) -> None:
        started.append(image)
        raise KeyboardInterrupt

    images = [ImageFile(source=b"x" * 1000, laterality="OD") for _ in range(20)]
    options = LocalStoreOptions(path=tmp_path / "files", container="images", create=True)
    with LocalStore(options) as store, pytest.raises(KeyboardInterrupt):
        upload_all(OpenStore(store, "images"), images, at_once=1, progress=progress)
    assert len(started) == 1


def test_an_unreadable_image_is_refused_without_its_name(tmp_path: Path) -> None:
    class Broken:
        def read(self, size: int = -1) -> bytes:
            raise OSError(5, "Input/output error", "/camera/Example_Ann_19611201.jpg")

    options = LocalStoreOptions(path=tmp_path / "files", container="images", create=True)
    with LocalStore(options) as store, pytest.raises(InvalidMessageError, match="cannot be read") as caught:
        upload_all(OpenStore(store, "images"), [ImageFile(source=Broken(), laterality="OD")])  # type: ignore[arg-type]
    assert "Example_Ann" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("operation", ["check", "submit", "change"])
def test_the_order_passed_in_is_not_changed(settings: Settings, new_order: Any, operation: str) -> None:
    order = new_order()
    order.client_guid, order.site = None, Site(name="Clinic")
    order.camera = Camera(local_id="CAM-1")
    before = order.model_copy(deep=True)
    with CloudDirect(settings) as client:
        done = getattr(client, operation)(order, [ImageFile(source=b"right", laterality="OD", suffix=".jpg")])
        assert order == before
        if operation != "check":
            order.patient.name.last = "Another"
            order.order.local_id = "ORD-9"
            assert done.order.order.local_id != "ORD-9"
            assert done.order.patient.name.last != "Another"
            assert done.order.site.local_id == "PC1234"


def test_how_long_a_call_may_take_is_a_setting_of_each_endpoint(settings: Settings) -> None:
    assert settings.endpoints.events is not None
    settings.endpoints.events.call_timeout = 7.0
    connections = Connections(settings.endpoints, settings.stores)
    try:
        timeouts = {
            name: connections.queue(name).broker.runtime.call_timeout for name in ("orders", "events", "results")
        }
    finally:
        connections.close()
    assert timeouts == {"orders": 60.0, "events": 7.0, "results": 60.0}
    with pytest.raises(ConfigurationError, match=r"endpoints\.orders\.call_timeout"):
        Settings.of({"endpoints": {"orders": {"provider": "local", "queue": "q", "call_timeout": 0}}})
