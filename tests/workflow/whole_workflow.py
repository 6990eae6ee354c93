"""One program that does all that a client can do, with whatever its settings name: `whole_workflow`."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from clouddirect.orders import CloudDirect, ImageFile
from clouddirect.orders.models import (
    Event,
    EyeSideGrading,
    Finding,
    GradingSubmission,
    Name,
    Order,
    OrderEvent,
    OrderRequest,
    OrderResult,
    Patient,
    PersonGender,
    ResultCode,
)
from clouddirect.orders.reports import save_report
from clouddirect.orders.shared_images import SavedImage
from clouddirect.settings import Settings

__all__ = ["Account", "CANCELLED", "CHANGED", "GRADED_AS", "IMAGE_FIRST", "ORDER_FIRST", "whole_workflow"]

#: Order.LocalId of the four orders: images with it; images after it; changed, with the images; cancelled.
IMAGE_FIRST, ORDER_FIRST, CHANGED, CANCELLED = "ORD-1", "ORD-2", "ORD-3", "ORD-4"
EYES = ("OD", "OS")
#: The grading that the program submits for each order.
GRADED_AS = {
    "OD": EyeSideGrading(gradable=True, findings=[Finding(finding="Suspected Vein Occlusion")]),
    "OS": EyeSideGrading(gradable=False, ungradable_reasons=["Small Pupil"]),
}

#: Seconds to wait for anything that should come.
_PATIENCE = 60.0
T = TypeVar("T")


@dataclass(slots=True)
class Account:
    """What came of it.

    Attributes:
        events: for each order how often each kind of event came.
        results: the first result of each order.
        reports: its report, saved.
        again: the result that was asked for once more.
        uploaded: key of each image of an order, by order.
        shared: the shared images, fetched.
    """

    events: dict[str, Counter[str]] = field(default_factory=dict)
    results: dict[str, OrderResult] = field(default_factory=dict)
    reports: dict[str, Path | None] = field(default_factory=dict)
    again: OrderResult | None = None
    uploaded: dict[str, set[str]] = field(default_factory=dict)
    shared: list[SavedImage] = field(default_factory=list)


def whole_workflow(settings: Settings, directory: Path, pictures: Mapping[str, bytes]) -> Account:
    """Take four orders through everything, with ``settings``; what is saved goes to ``directory``.

    ``pictures`` holds ``OD`` and ``OS``, and ``own OD`` and ``own OS``, whose metadata name the patient ``P-2``.
    """
    account = Account()
    with CloudDirect(settings) as client, _Received(client) as received:
        for number, local_id in enumerate((IMAGE_FIRST, ORDER_FIRST, CHANGED, CANCELLED), 1):
            images = _images(pictures) if local_id == IMAGE_FIRST else []
            sent = client.submit(_order(local_id, f"P-{number}"), images)
            account.uploaded[local_id] = {image.key for image in sent.images}
        for local_id in account.uploaded:  # a change or cancellation must not overtake its order
            received.event(local_id, "OrderCreationReceipt")

        client.cancel(CANCELLED)
        own = [client.upload_image(ImageFile(source=pictures[f"own {eye}"], suffix=f"_{eye}.jpg")) for eye in EYES]
        account.uploaded[ORDER_FIRST] = {image.key for image in own}
        before = _order(CHANGED, "P-3")
        changed = client.change(_order(CHANGED, "P-3", last="Married"), _images(pictures), original=before)
        account.uploaded[CHANGED] = {image.key for image in changed.images}

        for local_id in (IMAGE_FIRST, ORDER_FIRST, CHANGED):
            received.event(local_id, "ReadyForGradingEvent")
            client.submit_grading(GradingSubmission(local_id=local_id, od=GRADED_AS["OD"], os=GRADED_AS["OS"]))
        received.event(CANCELLED, "OrderCancelled")
        for local_id in (IMAGE_FIRST, ORDER_FIRST, CHANGED):
            received.event(local_id, "OrderGradedEvent")  # from another queue than the result: either may be first
            account.results[local_id] = received.result(local_id, ResultCode.F)
            account.reports[local_id] = save_report(account.results[local_id], directory / "reports")

        client.resend_results(IMAGE_FIRST)
        account.again = received.result(IMAGE_FIRST, ResultCode.R)
        for found in client.shared_images():
            account.shared.append(client.fetch_shared_image(found.key, directory / "shared"))
    account.events = received.kinds()
    return account


def _order(local_id: str, patient: str, last: str = "Single") -> OrderRequest:
    return OrderRequest(
        order=Order(local_id=local_id, evaluation_types=["DR"]),
        patient=Patient(
            local_id=patient,
            name=Name(first="Jane", last=last),
            dob=date(1961, 12, 1),
            genders=[PersonGender(context="BirthGender", gender="F")],
        ),
    )


def _images(pictures: Mapping[str, bytes]) -> list[ImageFile]:
    return [ImageFile(source=pictures[eye], laterality=eye, suffix=".jpg") for eye in EYES]


class _Received:
    """What the client receives, in a thread of its own."""

    def __init__(self, client: CloudDirect) -> None:
        self._client = client
        self._events: list[Event] = []
        self._results: list[OrderResult] = []
        self._error: Exception | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="whole-workflow")

    def event(self, local_id: str, kind: str) -> None:
        """Wait for an event of an order."""
        self._wait(f"{kind} of {local_id}", lambda: (local_id, kind) in self._kinds() or None)

    def result(self, local_id: str, code: str) -> OrderResult:
        """Wait for a result of an order."""

        def look() -> OrderResult | None:
            found = (one for one in self._results if (one.order_local_id, one.result_code) == (local_id, code))
            return next(found, None)

        return self._wait(f"result {code} of {local_id}", look)

    def kinds(self) -> dict[str, Counter[str]]:
        """How often each kind of event came, for each order."""
        found: dict[str, Counter[str]] = {}
        for local_id, kind in self._kinds():
            found.setdefault(local_id, Counter())[kind] += 1
        return found

    def _kinds(self) -> list[tuple[str, str]]:
        return [(str(e.order_local_id), str(e.result_object_type)) for e in self._events if isinstance(e, OrderEvent)]

    def _wait(self, what: str, look: Callable[[], T | None]) -> T:
        with self._changed:
            self._changed.wait_for(lambda: self._error is not None or look() is not None, _PATIENCE)
            if self._error is not None:
                raise self._error
            found = look()
        assert found is not None, f"{what} did not come; there were {self.kinds()}"
        return found

    def _run(self) -> None:
        try:
            self._client.run(self._on_event, self._on_result)
        except Exception as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _on_event(self, event: Event) -> None:
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    def _on_result(self, result: OrderResult) -> None:
        with self._changed:
            self._results.append(result)
            self._changed.notify_all()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.stop()
        self._thread.join()
