"""Both sides of the workflow while something goes wrong between them, and the counting of what came of it."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from clouddirect.errors import CloudDirectError
from clouddirect.orders import CloudDirect, ImageFile
from clouddirect.orders.models import Event, Name, Order, OrderRequest, OrderResult, Patient, PersonGender
from clouddirect.orders.reports import save_report
from clouddirect.retry import RetryPolicy
from clouddirect.sandbox import Sandbox, demo_image
from clouddirect.settings import Settings
from emulators.clouds import CLOUDS, both_sides
from faults.providers import PROVIDERS, Site

__all__ = ["Figures", "Platform", "Program", "platform"]

#: Seconds for which a program waits for a confirmation before it relies on its outbox.
_WAIT = 1.0


@dataclass(slots=True)
class Figures:
    """What came of one fault with one provider.

    Attributes:
        orders: orders that were submitted, each with an image.
        receipts: submissions that were confirmed before `submit` returned; the outbox sent the others later.
        results: orders of which the result was handled and its report saved.
        messages: events and results that the platform sent, each once.
        missing: those of them that were never handled, and orders without a result.
        given_up: orders that the caller without outbox did not get confirmed even when the fault was over.
        twice: messages for which the handler was called twice.
        orders_again: orders that reached the platform again, which knows them by their message id.
        messages_again: events and results that were delivered again, which the inbox knows.
        shown: errors that were raised to a caller who does not try again by itself and has no outbox.
        run_errors: errors that ended `CloudDirect.run`.
        not_retryable: of all these, those that say that trying again does not help.
        longest: seconds of the longest call of `submit`.
        recovery: seconds from the end of the fault until everything was handled.
        seconds: all together.
        cuts: connections that were broken at one of their turns.
    """

    orders: int = 0
    receipts: int = 0
    results: int = 0
    messages: int = 0
    missing: int = 0
    given_up: int = 0
    twice: int = 0
    orders_again: int = 0
    messages_again: int = 0
    shown: Counter[str] = field(default_factory=Counter)
    run_errors: Counter[str] = field(default_factory=Counter)
    not_retryable: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0
    recovery: float = 0.0
    seconds: float = 0.0
    cuts: int = 0

    def add(self, other: Figures) -> None:
        """Take in the figures of another run of the same."""
        for name in ("orders", "receipts", "results", "messages", "missing", "given_up", "twice", "orders_again",
                     "messages_again", "seconds", "cuts"):  # fmt: skip
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("shown", "run_errors", "not_retryable"):
            getattr(self, name).update(getattr(other, name))
        self.longest, self.recovery = max(self.longest, other.longest), max(self.recovery, other.recovery)


class Platform:
    """One provider's servers with the platform at work on them, undisturbed.

    Attributes:
        provider: its name.
        site: how its clients reach the servers.
    """

    def __init__(self, provider: str, site: Site, sandbox: Sandbox) -> None:
        self.provider = provider
        self.site = site
        self._sandbox = sandbox
        self._lock = threading.Lock()
        self._more = threading.Condition(self._lock)
        self._finished: set[str] = set()
        self._sent: dict[str, set[str]] = {}
        self._taken: Counter[str] = Counter()
        take = sandbox._counter.take_order

        def counting(delivery: Any) -> None:
            with self._lock:
                self._taken[delivery.message.id] += 1
            take(delivery)

        sandbox._counter.take_order = counting  # type: ignore[method-assign]

    def note(self, message: Event | OrderResult) -> None:
        """Note what the platform has sent."""
        local_id = str(getattr(message, "order_local_id", ""))
        with self._lock:
            self._sent.setdefault(local_id, set()).add(transaction_of(message))
            if isinstance(message, OrderResult):
                self._finished.add(local_id)
            self._more.notify_all()

    def sent(self, local_id: str) -> set[str]:
        """The TransactionIds of all that was sent about an order so far."""
        with self._lock:
            return set(self._sent.get(local_id, ()))

    def wait_for_the_result(self, local_id: str, timeout: float) -> None:
        """Wait until the platform has sent an order's result, which comes last."""
        with self._lock:
            assert self._more.wait_for(lambda: local_id in self._finished, timeout)

    def again(self, message_id: str) -> int:
        """How often an order came once more than it should."""
        with self._lock:
            return max(0, self._taken[message_id] - 1)

    def see_that_it_runs(self) -> None:
        """Raise what has ended the sandbox, if anything: then nothing else of a run means anything."""
        if not self._sandbox.running:
            self._sandbox.close()
            raise AssertionError("the sandbox has ended")


def transaction_of(message: Event | OrderResult) -> str:
    """What identifies a message, however often it is delivered."""
    return str(message.transaction_id).lower()


@contextmanager
def platform(provider: str, directory: Path) -> Iterator[Platform]:
    """Start a provider's servers and the platform."""
    made: list[Platform] = []
    with CLOUDS[provider]() as cloud:
        values = both_sides(cloud, stage_delay=0.0, image_wait=2.0)
        for side in (values, values["sandbox"]):
            del side["endpoints"]["gradings"], side["stores"]["shared_images"]
        settings = Settings.of({**values, "data_dir": directory / "platform"})
        with (
            PROVIDERS[provider].site(cloud, values) as site,
            Sandbox(settings, on_sent=lambda message: made[0].note(message)) as sandbox,
        ):
            made.append(Platform(provider, site, sandbox))
            sandbox.start()
            yield made[0]


class Program:
    """A program that sends orders and handles what comes back, as the guide tells it: with an outbox and an inbox.

    It is never restarted. Beside it works a caller without either, who sees each error and repeats under the same id.
    """

    def __init__(self, platform: Platform, directory: Path) -> None:
        self.figures = Figures()
        self._platform = platform
        self._directory = directory
        values = {**platform.site.values, "data_dir": directory / "data"}
        self._client = CloudDirect(Settings.of({**values, "outbox": {"enabled": True, "wait": _WAIT}}))
        self._plain = CloudDirect(Settings.of(values), retry=RetryPolicy(max_attempts=1))
        self._changed = threading.Condition()
        self._orders: dict[str, str] = {}  # the message id of each, by its LocalId
        self._handled: Counter[str] = Counter()
        self._delivered: Counter[str] = Counter()
        self._results: dict[str, str] = {}  # the transaction of each result that was saved, by its order's LocalId
        self._ending = threading.Event()
        self._began = monotonic()
        begin = self._client.inbox.begin

        def counting(key: str, message_id: str, **more: Any) -> Any:
            with self._changed:
                self._delivered[key] += 1
            return begin(key, message_id, **more)

        self._client.inbox.begin = counting  # type: ignore[method-assign]
        self._receiver = threading.Thread(target=self._receive, name="receiver", daemon=True)

    def __enter__(self) -> Program:
        self._receiver.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ending.set()
        self._client.stop()
        self._receiver.join(60)
        self._client.close()
        self._plain.close()

    # -- what it does ---------------------------------------------------------------------------------------

    def submit(self) -> str:
        """Submit an order by the outbox; returns its LocalId."""
        order = new_order()
        submission = self._timed(lambda: self._client.submit(order, [picture()]))
        self._count(order, submission.message_id, submission.receipt is not None)
        return str(order.order.local_id)

    def offer(self) -> Callable[[], bool]:
        """Submit an order without outbox and without a second attempt.

        Returns a function that tries once more, under the same id, unless the order has been confirmed; it tells
        whether it has been.
        """
        order, message_id = new_order(), str(uuid.uuid4())
        confirmed = False

        def attempt() -> bool:
            nonlocal confirmed
            if not confirmed:
                try:
                    self._timed(lambda: self._plain.submit(order, [picture()], message_id=message_id))
                except CloudDirectError as error:
                    self._note(self.figures.shown, error)
                else:
                    confirmed = True
                    self._count(order, message_id, at_once=True)
            return confirmed

        attempt()
        return attempt

    def wait_until_under_way(self, local_id: str, timeout: float) -> None:
        """Wait for the first word about an order."""
        self._wait(lambda: any(one in self._handled for one in self._platform.sent(local_id)), timeout)

    def wait_for_all(self, timeout: float) -> None:
        """Wait until every order has its result and all that the platform has sent is handled; not longer than
        ``timeout`` seconds: the figures tell what is missing then."""
        self._wait(lambda: not self._missing() and self._client.outbox.count() == 0, timeout)

    def settle(self) -> Figures:
        """Return the figures."""
        figures = self.figures
        sent = [self._platform.sent(local_id) for local_id in self._orders]
        with self._changed:
            figures.messages = sum(len(one) for one in sent)
            figures.results = len(self._results.keys() & self._orders.keys())
            figures.missing = self._missing()
            figures.twice = sum(count - 1 for count in self._handled.values())
            ours = set().union(*sent)
            figures.messages_again = sum(count - 1 for key, count in self._delivered.items() if key in ours)
        figures.orders_again = sum(self._platform.again(one) for one in self._orders.values())
        figures.seconds = monotonic() - self._began
        return figures

    # -- inside ---------------------------------------------------------------------------------------------

    def _missing(self) -> int:
        """Count what was not handled. The platform sends the result last, and tells us of what it sent in that order:
        once it has told us of the result, it has told us of all."""
        missing = 0
        for local_id in self._orders:
            sent = self._platform.sent(local_id)
            missing += len(sent - self._handled.keys()) + (self._results.get(local_id) not in sent)
        return missing

    def _wait(self, done: Callable[[], bool], timeout: float) -> None:
        ends = monotonic() + timeout
        with self._changed:
            while not done() and monotonic() < ends:
                self._platform.see_that_it_runs()
                self._changed.wait(0.1)  # the platform notes what it has sent without telling us

    def _timed(self, call: Callable[[], Any]) -> Any:
        began = monotonic()
        try:
            return call()
        finally:
            self.figures.longest = max(self.figures.longest, monotonic() - began)

    def _count(self, order: OrderRequest, message_id: str, at_once: bool) -> None:
        with self._changed:
            self._orders[str(order.order.local_id)] = message_id
        self.figures.orders += 1
        self.figures.receipts += at_once

    def _note(self, errors: Counter[str], error: CloudDirectError) -> None:
        name = type(error).__name__
        errors[name] += 1
        if not error.retryable:
            self.figures.not_retryable[name] += 1

    def _receive(self) -> None:
        """Receive until the end; what ends `run` is noted, and after a moment it is called again."""
        while not self._ending.is_set():
            try:
                self._client.run(self._on_event, self._on_result, once=True)
            except CloudDirectError as error:
                self._note(self.figures.run_errors, error)
                self._ending.wait(0.5)

    def _on_event(self, event: Event) -> None:
        with self._changed:
            self._handled[transaction_of(event)] += 1
            self._changed.notify_all()

    def _on_result(self, result: OrderResult) -> None:
        target = self._directory / "results" / str(result.order_local_id)
        target.mkdir(parents=True, exist_ok=True)
        saved = save_report(result, target)
        with self._changed:
            self._handled[transaction_of(result)] += 1
            if saved is not None and saved.read_bytes().startswith(b"%PDF"):
                self._results[str(result.order_local_id)] = transaction_of(result)
            self._changed.notify_all()


_picture: list[bytes] = []


def picture() -> ImageFile:
    """An image of the right eye; drawn once."""
    if not _picture:
        _picture.append(demo_image(1, "OD"))
    return ImageFile(source=_picture[0], laterality="OD", suffix=".jpg")


def new_order() -> OrderRequest:
    """An order with a LocalId of its own and a patient of its own: a second one for the same would cancel the first."""
    number = uuid.uuid4().hex[:12]
    return OrderRequest(
        order=Order(local_id=f"ORD-{number}", evaluation_types=["DR"]),
        patient=Patient(
            local_id=f"MRN-{number}", name=Name(first="Jane", last="Roe"), dob="1961-12-01",
            genders=[PersonGender(context="BirthGender", gender="F")],
        ),
    )  # fmt: skip
