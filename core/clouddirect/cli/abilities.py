"""What a provider can do, in words, for the queues and stores that settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from clouddirect.errors import CloudDirectError

if TYPE_CHECKING:
    from clouddirect.messaging import Capabilities
    from clouddirect.settings import Settings
    from clouddirect.storage import StoreCapabilities

__all__ = ["Abilities", "abilities", "queue_words", "store_words"]


class Abilities(NamedTuple):
    """What one endpoint or store of the settings can do, or why that cannot be told."""

    name: str
    resource: str
    words: dict[str, str]
    problem: str | None = None


def abilities(settings: Settings, provider: str) -> list[Abilities]:
    """Tell it of each endpoint and store that ``provider`` serves; nothing is connected to for it."""
    from clouddirect.orders.connections import Connections

    connections = Connections(settings.endpoints, settings.stores, data_dir=settings.data_dir)

    def of_queue(name: str) -> dict[str, str]:
        queue = connections.queue(name)
        return queue_words(queue.broker.capabilities(queue.name))

    def of_store(name: str) -> dict[str, str]:
        return store_words(connections.store(name).store.capabilities)

    found = []
    try:
        for kind, section, resource, words in (
            ("endpoints", settings.endpoints, "queue", of_queue), ("stores", settings.stores, "container", of_store),
        ):  # fmt: skip
            for name in type(section).shown:
                place = getattr(section, name)
                if place is None or place.provider != provider:
                    continue
                told, problem = {}, None
                try:
                    told = words(name)
                except CloudDirectError as error:
                    problem = str(error)
                found.append(Abilities(f"{kind}.{name}", getattr(place, resource), told, problem))
    finally:
        connections.close(1.0)
    return found


def queue_words(can: Capabilities) -> dict[str, str]:
    """A broker's abilities with one queue."""
    dead = "by the service" if can.native_dead_letter else "by a copy where you may send, else kept on this machine"
    if can.max_delivery_count:
        dead += f", and after {can.max_delivery_count} deliveries"
    return {
        "largest message": _bytes(can.max_message_bytes),
        "in one call": f"{can.max_send_count} sent, {can.max_receive_count} received, {can.max_settle_count} settled",
        "ordering keys": _yes(can.ordering),
        "drops repeated ids": _yes(can.deduplication),
        "delay": f"up to {_seconds(can.max_delay)}" if can.max_delay else "no",
        "time to live": _yes(can.time_to_live),
        "length of a lease": "as asked for" if can.settable_lease else "as the queue has it",
        "gives back without a count": _yes(can.free_release),
        "delivery count": _yes(can.delivery_count),
        "dead letters": dead,
    }


def store_words(can: StoreCapabilities) -> dict[str, str]:
    """A store's abilities."""
    return {
        "largest object": _bytes(can.max_object_bytes),
        "parts": f"of {_bytes(can.min_part_bytes)} or more" + (f", {can.max_parts} at most" if can.max_parts else ""),
        "compares a digest": can.upload_digest or "part by part",
        "if_absent": _yes(can.if_absent),
        "metadata": _bytes(can.max_metadata_bytes),
        "signed URLs": ", ".join(sorted(can.presign)) or "no",
    }


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _bytes(value: int | None) -> str:
    if value is None:
        return "no limit"
    for unit, size in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value >= size:
            return f"{value / size:.4g} {unit}"
    return f"{value} B"


def _seconds(value: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if value >= 2 * size:
            return f"{value / size:.4g} {unit}"
    return f"{value:.4g} seconds"
