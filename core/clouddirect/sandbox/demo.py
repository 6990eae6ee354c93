"""`run_demo`: a few orders from submission to report, with every file left to look at."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from clouddirect.clock import Clock, SystemClock
from clouddirect.errors import CloudDirectError, ConfigurationError, InvalidMessageError, TimeoutError
from clouddirect.orders.client import CloudDirect
from clouddirect.orders.images import ImageFile
from clouddirect.orders.models import (
    AzureBlobStorage,
    Camera,
    Event,
    EyeSideGrading,
    Image,
    ImageReceipt,
    Order,
    OrderRequest,
    OrderResult,
    WireModel,
    to_wire_dict,
)
from clouddirect.orders.reports import save_report
from clouddirect.sandbox.demo_plan import PLAN, PlannedOrder, local_settings
from clouddirect.sandbox.fundus import demo_image
from clouddirect.sandbox.platform import Sandbox
from clouddirect.settings import Settings

if TYPE_CHECKING:
    from os import PathLike

__all__ = ["DemoOrder", "DemoOutcome", "DemoStep", "run_demo"]


@dataclass(frozen=True, slots=True)
class DemoStep:
    """Something that happened to an order.

    Attributes:
        order: Order.LocalId.
        at: seconds since the demo began.
        stage: ``Uploaded``, ``Submitted``, ``Refused``, ``Report``, or the kind of the event or result that arrived.
        detail: a few words on it.
        ok: False for a refusal.
    """

    order: str
    at: float
    stage: str
    detail: str = ""
    ok: bool = True


@dataclass(slots=True)
class DemoOrder:
    """One order of the demo and what became of it.

    Attributes:
        local_id: Order.LocalId.
        title: what it is to show.
        directory: where its files are: ``order.json``, ``images/``, ``events/``, ``result.json`` and the report.
        outcome: ``graded`` or ``refused``; None while it is under way.
        report: the report, if there is one.
        result: the result, if there is one.
    """

    local_id: str
    title: str
    directory: Path
    outcome: Literal["graded", "refused"] | None = None
    report: Path | None = None
    result: OrderResult | None = None


@dataclass(frozen=True, slots=True)
class DemoOutcome:
    """What the demo left behind.

    Attributes:
        directory: where everything is.
        orders: the orders.
        steps: all that happened, in the order in which it was seen.
        seconds: how long it took.
    """

    directory: Path
    orders: Sequence[DemoOrder]
    steps: Sequence[DemoStep]
    seconds: float


def run_demo(
    directory: str | PathLike[str],
    *,
    provider: str = "local",
    settings: Settings | None = None,
    observer: Callable[[DemoStep], object] | None = None,
    clock: Clock | None = None,
    timeout: float = 60.0,
) -> DemoOutcome:
    """Submit three orders to a sandbox and collect what comes back; takes a few seconds and needs no network.

    One order is graded in both eyes, one has an eye that nobody could grade, and one is refused since one of its images
    is not in the store. All patients are invented and all pictures are drawn.

    Args:
        directory: where the files go; made if need be. When there is something in it already, a number is appended.
        provider: who provides queues and store; ``local`` needs nothing else.
        settings: both sides' settings, for any other provider. Its queues should be used for nothing else meanwhile:
            messages that belong to no order of the demo are given back.
        observer: called with each step as it happens, from several threads but never from two at once.
        clock: replaces the system's clock.
        timeout: seconds after which the demo is given up.

    Raises:
        MissingExtraError: the ``sandbox`` extra is not installed.
        ConfigurationError: another provider than ``local`` was asked for without settings.
        TimeoutError: not everything came back in time.
        CloudDirectError: a queue or the store failed.
    """
    if settings is None and provider != "local":
        raise ConfigurationError(
            f"the demo on {provider!r} needs settings for both sides: endpoints and stores, and the same below sandbox"
        )
    folder = _fresh(Path(directory))
    demo = _Demo(
        folder, settings or local_settings(folder), observer, clock or SystemClock(), unique=settings is not None
    )
    demo.run(timeout)
    return DemoOutcome(folder, list(demo.orders.values()), demo.steps, demo.elapsed())


def _fresh(directory: Path) -> Path:
    """Make the directory, or its first numbered neighbour when it is not empty."""
    number, folder = 1, directory
    while folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        number += 1
        folder = directory.with_name(f"{directory.name}-{number}")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@dataclass(slots=True)
class _Demo:
    """The demo while it runs."""

    folder: Path
    settings: Settings
    observer: Callable[[DemoStep], object] | None
    clock: Clock
    unique: bool
    orders: dict[str, DemoOrder] = field(default_factory=dict)
    steps: list[DemoStep] = field(default_factory=list)
    began: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)
    finished: threading.Event = field(default_factory=threading.Event)
    error: CloudDirectError | None = None

    def run(self, timeout: float) -> None:
        self.began = self.clock.monotonic()
        # on queues that others have used, an order of an earlier demo must not be taken for one of this
        tag = f"{uuid.uuid4().hex[:6]}-" if self.unique else ""
        for number, planned in enumerate(PLAN, 1):
            local_id = f"DEMO-{tag}{number}"
            self.orders[local_id] = DemoOrder(local_id, planned.title, self.folder / f"{number}-{planned.name}")
        with (
            Sandbox(self.settings, clock=self.clock) as sandbox,
            CloudDirect(self.settings, clock=self.clock) as client,
        ):
            for number, (order, planned) in enumerate(zip(self.orders.values(), PLAN, strict=True)):
                self._submit(client, order, planned, seed=number)
            receiver = threading.Thread(target=self._receive, args=(client,), name="clouddirect-demo", daemon=True)
            receiver.start()
            sandbox.start()
            try:
                while not self.finished.wait(0.1) and sandbox.running and receiver.is_alive():
                    if self.elapsed() >= timeout:
                        self._give_up(timeout)
            finally:
                client.stop()
                receiver.join()
        if self.error is not None:
            raise self.error

    def elapsed(self) -> float:
        return self.clock.monotonic() - self.began

    def _receive(self, client: CloudDirect) -> None:
        try:
            client.run(self._on_event, self._on_result, concurrency=1)
        except CloudDirectError as error:
            self.error = error

    def _give_up(self, timeout: float) -> None:
        left = ", ".join(order.local_id for order in self.orders.values() if order.outcome is None)
        raise TimeoutError(f"the demo did not finish within {timeout:g} s: no end came for {left}", operation="demo")

    def _submit(self, client: CloudDirect, order: DemoOrder, planned: PlannedOrder, seed: int) -> None:
        files = []
        (order.directory / "images").mkdir(parents=True)
        for laterality, dark in planned.images:
            path = order.directory / "images" / f"{laterality}.jpg"
            path.write_bytes(demo_image(seed, laterality, dark))
            files.append(ImageFile(source=path, laterality=laterality, local_id=f"{order.local_id}-{laterality}"))
        request = OrderRequest(
            order_control_code="NW",
            order=Order(local_id=order.local_id, evaluation_types=list(planned.evaluations)),
            patient=planned.patient,
            camera=Camera(local_id="CAM-1", manufacturer="Demo", model="Drawn"),
        )
        if planned.missing and request.camera:
            request.camera.images = [self._image_nowhere(order, planned.missing)]
        try:
            submission = client.submit(request, files)
        except InvalidMessageError as error:
            # the credential lets the client look into the store, so that it need not wait for the platform's refusal
            self._step(order, "Refused", str(error), ok=False)
            self._end(order, "refused")
            return
        _write_json(order.directory / "order.json", submission.order)
        self._step(order, "Uploaded", f"{len(submission.images)} image{'s' if len(submission.images) > 1 else ''}")
        self._step(order, "Submitted", planned.title)

    def _image_nowhere(self, order: DemoOrder, laterality: str) -> Image:
        store = self.settings.stores.require("images")
        place = AzureBlobStorage(container=store.wire_container or store.container, file_name=f"{uuid.uuid4()}.jpg")
        return Image(local_id=f"{order.local_id}-{laterality}", laterality=laterality, azure_blob_storage=place)

    def _on_event(self, event: Event) -> None:
        order = self._order_of(getattr(event, "order_local_id", None))
        kind = event.result_object_type or "event"
        target = order.directory / "events"
        target.mkdir(parents=True, exist_ok=True)
        _write_json(target / f"{len(list(target.iterdir())) + 1:02d}-{kind}.json", event)
        refused = event.success is False
        detail = event.error_message if refused else event.image_local_id if isinstance(event, ImageReceipt) else None
        self._step(order, kind, detail or "", ok=not refused)
        if refused:
            self._end(order, "refused")

    def _on_result(self, result: OrderResult) -> None:
        order = self._order_of(result.order_local_id)
        _write_json(order.directory / "result.json", result)
        order.result = result
        eyes = result.gradings.eyes() if result.gradings else []
        self._step(order, "OrderResult", "; ".join(f"{side} {_in_words(eye)}" for side, eye in eyes))
        order.report = save_report(result, order.directory)
        if order.report is not None:
            self._step(order, "Report", str(order.report.relative_to(self.folder)))
        self._end(order, "graded")

    def _order_of(self, local_id: str | None) -> DemoOrder:
        order = self.orders.get(local_id or "")
        if order is None:
            raise InvalidMessageError("a message that belongs to no order of the demo is given back", operation="demo")
        return order

    def _end(self, order: DemoOrder, outcome: Literal["graded", "refused"]) -> None:
        order.outcome = outcome
        if all(one.outcome is not None for one in self.orders.values()):
            self.finished.set()

    def _step(self, order: DemoOrder, stage: str, detail: str, *, ok: bool = True) -> None:
        with self.lock:
            step = DemoStep(order.local_id, self.elapsed(), stage, detail, ok)
            self.steps.append(step)
            if self.observer is not None:
                self.observer(step)


def _in_words(eye: EyeSideGrading) -> str:
    if not eye.gradable:
        return f"not gradable ({', '.join(eye.ungradable_reasons)})"
    return (
        ", ".join(f"{one.finding}: {one.result}" if one.result else str(one.finding) for one in eye.findings)
        or "no pathology"
    )


def _write_json(path: Path, message: WireModel) -> None:
    path.write_text(json.dumps(to_wire_dict(message), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
