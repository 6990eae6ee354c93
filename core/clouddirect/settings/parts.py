"""The parts of the settings: endpoints, stores, and what the outbox, tracking and the sandbox are told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from clouddirect.errors import ConfigurationError

__all__ = [
    "DeadLetterSettings",
    "ENDPOINTS",
    "EndpointSettings",
    "Endpoints",
    "FaultSettings",
    "OutboxSettings",
    "STORES",
    "SandboxSettings",
    "StoreSettings",
    "Stores",
    "TrackingSettings",
]


class _Part(BaseModel):
    """Shows the names of what is set, never a value that might be a secret."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)
    shown: ClassVar[tuple[str, ...]] = ()

    def __repr__(self) -> str:
        parts = [f"{name}={getattr(self, name)!r}" for name in self.shown if getattr(self, name) is not None]
        parts += [f"{name}=…" for name in self.model_extra or ()]
        return f"{type(self).__name__}({', '.join(parts)})"

    __str__ = __repr__

    def __rich_repr__(self) -> Iterable[object]:
        yield repr(self)

    @property
    def options(self) -> dict[str, Any]:
        """The provider's own options, as written."""
        return dict(self.model_extra or {})


class DeadLetterSettings(_Part):
    """Where dead letters of an endpoint are read; written as a name alone, or as a table.

    Attributes:
        queue: the dead-letter queue; None for the one that the provider knows by itself.

    Anything else is an option of the endpoint's provider. With options of its own the table takes none from the
    endpoint; without them the endpoint's count.
    """

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)
    shown = ("queue",)

    queue: str | None = None

    @model_validator(mode="after")
    def _is_no_endpoint(self) -> Self:
        wrong = [name for name in ("provider", "dead_letter_send", "dead_letter_receive") if name in self.options]
        if wrong:
            raise ValueError(f"{wrong[0]} belongs to the endpoint itself")
        if self.queue is None and not self.options:
            raise ValueError("give it a queue, or options of its own")
        return self


class EndpointSettings(_Part):
    """One queue: who provides it, what it is called, and the provider's own options.

    Attributes:
        provider: name of an installed provider.
        queue: name of the queue, as the provider spells it.
        dead_letter_send: the queue that dead-lettered messages are sent to where the broker has none of its own.
        dead_letter_receive: where dead letters are read, if it is neither the provider's own place nor
            ``dead_letter_send``, or if that needs another credential: a name, or a `DeadLetterSettings`.
        call_timeout: seconds that a single attempt to send or settle may take.
    """

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)
    shown = ("provider", "queue", "dead_letter_send", "dead_letter_receive", "call_timeout")

    provider: str
    queue: str
    dead_letter_send: str | None = None
    dead_letter_receive: DeadLetterSettings | None = None
    call_timeout: float = Field(default=60.0, gt=0)

    @field_validator("dead_letter_receive", mode="before")
    @classmethod
    def _name_alone(cls, value: object) -> object:
        if not isinstance(value, str | Mapping | DeadLetterSettings):
            raise ValueError("write the name of a queue, or a table")
        return {"queue": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _dead_letters_are_elsewhere(self) -> Self:
        given = self.dead_letter_receive
        # looking at dead letters would take the live messages, and discarding them would lose them
        if given is not None and not given.options and given.queue == self.queue:
            raise ValueError("dead_letter_receive is the queue itself; name its dead-letter queue")
        return self


class StoreSettings(_Part):
    """One container of files: who provides it, what it is called, and the provider's own options.

    Attributes:
        provider: name of an installed provider.
        container: name of the container or bucket.
        wire_container: the name that goes into an order's ``AzureBlobStorage.Container``; None for ``container``.
        part_size: bytes of one part of a transfer; None for what suits the provider.
        concurrency: most parts of one transfer under way at once; None for what suits the provider.
        stall_timeout: seconds without a byte of progress after which an attempt has failed.
    """

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)
    shown = ("provider", "container", "wire_container", "part_size", "concurrency", "stall_timeout")

    provider: str
    container: str
    wire_container: str | None = None
    part_size: int | None = Field(default=None, ge=1)
    concurrency: int | None = Field(default=None, ge=1, le=128)
    stall_timeout: float = Field(default=60.0, gt=0)


class Endpoints(_Part):
    """The four queues of the order workflow; those that are not used may be left out."""

    shown = ("orders", "gradings", "events", "results")

    orders: EndpointSettings | None = None
    gradings: EndpointSettings | None = None
    events: EndpointSettings | None = None
    results: EndpointSettings | None = None

    def require(self, name: str, where: str = "") -> EndpointSettings:
        """Return the endpoint called ``name``; ``where`` goes before its path in the error, such as ``"sandbox."``.

        Raises:
            ConfigurationError: it is not configured.
        """
        found: EndpointSettings | None = getattr(self, name)
        if found is None:
            path = f"{where}endpoints.{name}"
            raise ConfigurationError(f"{path} is not configured; add [{path}] with provider and queue to the settings")
        return found


class Stores(_Part):
    """The two stores of the order workflow."""

    shown = ("images", "shared_images")

    images: StoreSettings | None = None
    shared_images: StoreSettings | None = None

    def require(self, name: str, where: str = "") -> StoreSettings:
        """Return the store called ``name``; like `Endpoints.require`."""
        found: StoreSettings | None = getattr(self, name)
        if found is None:
            path = f"{where}stores.{name}"
            raise ConfigurationError(
                f"{path} is not configured; add [{path}] with provider and container to the settings"
            )
        return found


#: Names of the endpoints and stores that settings may hold.
ENDPOINTS = tuple(Endpoints.model_fields)
STORES = tuple(Stores.model_fields)


class OutboxSettings(_Part):
    """Whether what is sent is kept on the disk until the broker has confirmed it.

    Attributes:
        enabled: accept orders, with their images, while broker or store are out of reach, and send them when they are
            back. The outbox is in ``data_dir``.
        wait: seconds that a submission waits for its confirmation before it returns without one.
    """

    shown = ("enabled", "wait")

    enabled: bool = False
    wait: float = Field(default=5.0, ge=0)


class TrackingSettings(_Part):
    """Whether a ledger is kept of where each order stands, in ``data_dir``.

    Attributes:
        enabled: keep it.
        receipt_within: seconds after which an order, or a cancellation, that IRIS has not confirmed is overdue.
        grading_within: seconds after which a confirmed order that is not graded is overdue.
        result_within: seconds after which a graded order without a result is overdue.
    """

    shown = ("enabled", "receipt_within", "grading_within", "result_within")

    enabled: bool = False
    receipt_within: float = Field(default=900.0, gt=0)
    grading_within: float = Field(default=259_200.0, gt=0)
    result_within: float = Field(default=3600.0, gt=0)


class FaultSettings(_Part):
    """What the sandbox does wrong on purpose. All but ``longest_delay`` are chances, from 0 (never) to 1 (each time).

    They are drawn from the sandbox's ``seed`` and Order.LocalId: the same order meets the same faults again.

    Attributes:
        duplicates: that an event or result is sent twice, under two ids of the broker and one TransactionId.
        delays: that an event or result leaves late, by up to ``longest_delay``.
        reordering: that an event lets the next one of its order go first; it leaves after ``longest_delay`` where none
            comes.
        unknown_kinds: that an event of a kind that no client knows, with undocumented fields, goes before an event.
        malformed: that a message that cannot be read goes before an event or result, to the same queue.
        longest_delay: seconds that a message is held back at most.
    """

    shown = ("duplicates", "delays", "reordering", "unknown_kinds", "malformed", "longest_delay")

    duplicates: float = Field(default=0.0, ge=0, le=1)
    delays: float = Field(default=0.0, ge=0, le=1)
    reordering: float = Field(default=0.0, ge=0, le=1)
    unknown_kinds: float = Field(default=0.0, ge=0, le=1)
    malformed: float = Field(default=0.0, ge=0, le=1)
    longest_delay: float = Field(default=30.0, gt=0, le=3600)


class SandboxSettings(_Part):
    """The other side, for rehearsals: mirrored endpoints with the platform's credentials.

    Attributes:
        endpoints: the platform's side of the queues: it receives ``orders`` and ``gradings``, sends ``events`` and
            ``results``.
        stores: where the images of orders are looked for, by the container named in the order.
        client_guids: the organisations whose orders are taken; the settings' own ``client_guid`` when empty.
        sites: the known sites, by ``Site.LocalId``; orders of others lead to nothing. Any site is known when empty.
        seed: makes a rehearsal repeatable.
        stage_delay: seconds between the stages of an order.
        auto_grade: grade by itself; otherwise it waits for a GradingSubmission.
        image_wait: seconds an order waits for its images before it is refused.
        faults: what it does wrong on purpose.
    """

    shown = ("endpoints", "stores", "sites", "seed", "stage_delay", "auto_grade", "image_wait", "faults")

    endpoints: Endpoints = Field(default_factory=Endpoints)
    stores: Stores = Field(default_factory=Stores)
    client_guids: list[str] = Field(default_factory=list)
    sites: list[str] = Field(default_factory=list)
    seed: int = 0
    stage_delay: float = Field(default=0.0, ge=0)
    auto_grade: bool = True
    image_wait: float = Field(default=5.0, ge=0)
    faults: FaultSettings = Field(default_factory=FaultSettings)
