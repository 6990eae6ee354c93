"""`check_up`: whether all that the settings name can be used, without sending, taking or creating anything."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from clouddirect.errors import (
    AuthenticationError,
    CloudDirectError,
    ConfigurationError,
    ContainerNotFoundError,
    MissingExtraError,
    NotFoundError,
    PermissionDeniedError,
    ProviderConflictError,
    ProviderLoadError,
    ProviderNotFoundError,
    ThrottledError,
    TimeoutError,
    UnavailableError,
    UnsupportedError,
)
from clouddirect.orders.connections import Connections
from clouddirect.orders.journal import journal_path
from clouddirect.orders.models.checks import is_guid

if TYPE_CHECKING:
    from clouddirect.checks import CheckResult
    from clouddirect.messaging import Access
    from clouddirect.settings import Endpoints, Settings, Stores

__all__ = ["Finding", "check_up"]

log = logging.getLogger("clouddirect.orders")
State = Literal["ok", "likely", "unverified", "failed"]
_Check = Callable[[Connections], "CheckResult"]

#: What a client does with each endpoint and store; its counterpart, the sandbox, does the opposite.
_ENDPOINTS: dict[str, Access] = {"orders": "send", "gradings": "send", "events": "receive", "results": "receive"}
_STORES: dict[str, Literal["read", "write"]] = {"images": "write", "shared_images": "read"}
#: Bytes that must be free where the client keeps its data.
_ROOM = 20 * 1024 * 1024
#: Seconds that closing the connections may take beyond the time given.
_CLOSING = 2.0

_NETWORK = "look at the network, the firewall and the proxy between this machine and the service"
#: For each kind of error, which part is wrong, and what to do where the error itself does not say; the first that fits.
_PARTS: tuple[tuple[tuple[type[CloudDirectError], ...], str, str | None], ...] = (
    ((ConfigurationError, UnsupportedError), "settings", None),
    ((MissingExtraError, ProviderConflictError, ProviderLoadError, ProviderNotFoundError), "installation", None),
    ((AuthenticationError,), "credential", "renew the credential; look at account, region and this machine's clock"),
    ((PermissionDeniedError,), "credential", "have the owner grant this credential the right to {access}, or use one "
                                             "that has it"),
    ((NotFoundError, ContainerNotFoundError), "resource", "correct the name in the settings, or have it created: "
                                                          "clouddirect creates nothing"),
    ((ThrottledError,), "connection", "ask again later"),
    ((TimeoutError, UnavailableError), "connection", _NETWORK),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found out about one thing.

    Attributes:
        name: what it is: the path of a setting, such as ``endpoints.orders``; or ``data_dir``, ``quarantine``,
            ``clock``.
        access: what was to be done with it: ``send``, ``receive``, ``read`` or ``write``; None where that does not
            apply.
        state: ``ok`` (seen to work), ``likely`` (a read-only question was answered so), ``unverified`` (nothing could
            be asked without sending, taking or creating something) or ``failed``.
        detail: what was looked at, and what could not be verified; or what is wrong.
        part: for a failure, where to look: ``settings``, ``installation``, ``credential``, ``resource``,
            ``connection``, ``machine`` or ``bug``.
        remedy: for a failure, what to do, where ``detail`` does not say.
        error: the error behind a failure, if there is one.
    """

    name: str
    access: str | None
    state: State
    detail: str
    part: str | None = None
    remedy: str | None = None
    error: CloudDirectError | None = None


@dataclass(frozen=True, slots=True)
class _Job:
    name: str
    access: str
    connect: Callable[[], Connections]
    check: _Check


def check_up(settings: Settings, *, sandbox: bool = False, timeout: float = 30.0) -> list[Finding]:
    """Check everything that the settings name, all at the same time, and what this machine must offer.

    Nothing is sent, taken or created, and nothing is raised for what is found. What has not answered within
    ``timeout`` seconds has failed; it is left to itself then.

    Args:
        settings: what to check.
        sandbox: check the endpoints and stores of the sandbox as well.
        timeout: seconds that all of it may take.

    Returns:
        A finding for each endpoint, store and dead-letter queue that is configured, in the order of the settings, and
        then for this machine.
    """
    jobs = _jobs(settings, settings.endpoints, settings.stores, "")
    if sandbox:
        jobs += _jobs(settings, settings.sandbox.endpoints, settings.sandbox.stores, "sandbox.")
    findings = [_client_guid(settings)] if settings.endpoints.orders is not None else []
    if not jobs:
        told = "no endpoint and no store is configured"
        findings.append(_failed("settings", None, ConfigurationError(told)))
    findings += _all_at_once(jobs, timeout)
    return [*findings, _data_dir(settings), _quarantine(settings), _clock()]


# -- endpoints and stores -----------------------------------------------------------------------------------


def _jobs(settings: Settings, endpoints: Endpoints, stores: Stores, where: str) -> list[_Job]:
    opposite = {"send": "receive", "receive": "send", "read": "write", "write": "read"} if where else {}

    def connect() -> Connections:
        return Connections(endpoints, stores, observers=settings.observers, data_dir=settings.data_dir, where=where)

    jobs = []
    for name, ours in _ENDPOINTS.items():
        given = getattr(endpoints, name)
        if given is None:
            continue
        access: Access = opposite.get(ours, ours)  # type: ignore[assignment]
        jobs.append(_Job(f"{where}endpoints.{name}", access, connect, _queue_check(name, access)))
        if given.dead_letter_send is not None and access == "receive":
            path = f"{where}endpoints.{name}.dead_letter_send"
            jobs.append(_Job(path, "send", connect, _target_check(name, given.dead_letter_send)))
        if given.dead_letter_receive is not None:
            path = f"{where}endpoints.{name}.dead_letter_receive"
            jobs.append(_Job(path, "receive", connect, _dead_letter_check(name)))
    for name, side in _STORES.items():
        if getattr(stores, name) is not None:
            store_access = opposite.get(side, side)
            jobs.append(_Job(f"{where}stores.{name}", store_access, connect, _store_check(name, store_access)))
    return jobs


def _queue_check(name: str, access: Access) -> _Check:
    def check(connections: Connections) -> CheckResult:
        queue = connections.queue(name)
        return queue.broker.check(queue.name, access)

    return check


def _target_check(name: str, target: str) -> _Check:
    def check(connections: Connections) -> CheckResult:
        queue = connections.queue(name)
        if queue.broker.capabilities(queue.name).native_dead_letter:
            from clouddirect.checks import CheckResult

            return CheckResult("send", "ok", "it is not needed: the broker has a dead-letter queue of its own")
        return queue.broker.check(target, "send")

    return check


def _dead_letter_check(name: str) -> _Check:
    def check(connections: Connections) -> CheckResult:
        queue = connections.dead_letters(name)
        if queue is None:
            raise ConfigurationError(
                f"endpoints.{name}.dead_letter_receive names no queue, and the provider has none of its own"
            )
        return queue.broker.check(queue.name, "receive")

    return check


def _store_check(name: str, access: str) -> _Check:
    return lambda connections: connections.store(name).store.check(access)  # type: ignore[arg-type]


def _all_at_once(jobs: list[_Job], timeout: float) -> list[Finding]:
    ends = time.monotonic() + timeout
    found: list[Finding | None] = [None] * len(jobs)

    def work(place: int, job: _Job) -> None:
        connections = job.connect()
        try:
            found[place] = _done(job, connections)
        finally:
            try:
                connections.close(_CLOSING)
            except Exception as error:  # noqa: BLE001 - what was to be found out has been found out
                log.warning("the connections of %s could not be closed (%s)", job.name, type(error).__name__)

    threads = [
        threading.Thread(target=work, args=(place, job), name=f"clouddirect-check-{job.name}", daemon=True)
        for place, job in enumerate(jobs)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, ends - time.monotonic()))
    findings = list(found)  # what comes later does not count
    late = f"there was no answer within {timeout:g} s"
    return [
        one or Finding(job.name, job.access, "failed", late, "connection", _NETWORK)
        for job, one in zip(jobs, findings, strict=True)
    ]


def _done(job: _Job, connections: Connections) -> Finding:
    try:
        result = job.check(connections)
    except CloudDirectError as error:
        return _failed(job.name, job.access, error)
    except Exception as error:  # noqa: BLE001 - the others are to be checked all the same
        told = f"unexpected {type(error).__name__}; this is a bug in clouddirect or in the provider"
        return Finding(job.name, job.access, "failed", told, "bug")
    if result.status == "failed":
        return _failed(job.name, job.access, result.error or CloudDirectError(result.detail))
    return Finding(job.name, job.access, result.status, result.detail)


def _failed(name: str, access: str | None, error: CloudDirectError) -> Finding:
    for kinds, part, remedy in _PARTS:
        if isinstance(error, kinds):
            remedy = remedy.format(access=access or "use it") if remedy else None
            return Finding(name, access, "failed", str(error), part, remedy, error)
    return Finding(name, access, "failed", str(error), "connection" if error.retryable else "bug", None, error)


# -- this machine -------------------------------------------------------------------------------------------


def _client_guid(settings: Settings) -> Finding:
    name = "client_guid"
    if settings.client_guid is None:
        told = "it is not set, so that every order must bring its own; IRIS answers one without with silence"
        return Finding(name, None, "unverified", told)
    if not is_guid(settings.client_guid):
        return _failed(name, None, ConfigurationError("client_guid is not a GUID; IRIS gives you yours"))
    told = "it is a GUID; only IRIS knows whether it is yours: with a wrong one no event ever comes"
    return Finding(name, None, "unverified", told)


def _data_dir(settings: Settings) -> Finding:
    path = journal_path(settings.data_dir).parent
    finding = Finding("data_dir", "write", "ok", f"{path} can be written")
    try:
        if not path.exists():
            above = next(one for one in path.absolute().parents if one.exists())
            if not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
                return _wrong(finding, f"{path} is not there, and cannot be made in {above}")
            return replace(finding, state="likely", detail=f"{path} is not there yet; it is made when it is needed")
        with tempfile.TemporaryFile(dir=path) as file:  # has no name, or loses it when it is closed
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
        free = shutil.disk_usage(path).free
    except OSError as error:
        return _wrong(finding, f"{path} cannot be written ({error.strerror or type(error).__name__})")
    if free < _ROOM:
        return _wrong(finding, f"only {free // 1024:,} KiB are free at {path}", "make room")
    return finding


def _quarantine(settings: Settings) -> Finding:
    connections = Connections(settings.endpoints, settings.stores, data_dir=settings.data_dir)
    directory, name = connections.quarantine.directory, "quarantine"
    try:
        count = len(connections.quarantine.names())
    except CloudDirectError as error:
        return replace(_failed(name, None, error), part="machine", remedy=_RIGHTS)
    if directory.exists() and not os.access(directory, os.W_OK | os.X_OK):
        return _wrong(Finding(name, None, "ok", ""), f"{directory} cannot be written")
    told = f"{count} messages are in it: see clouddirect deadletters list --from quarantine" if count else "it is empty"
    return Finding(name, None, "ok", told)


_RIGHTS = "let this user write there, or set another data_dir"


def _wrong(finding: Finding, detail: str, remedy: str = _RIGHTS) -> Finding:
    return replace(finding, state="failed", detail=detail, part="machine", remedy=remedy)


def _clock() -> Finding:
    """A clock that is behind the files of this very program is wrong; more cannot be known without asking a server."""
    now = datetime.now(UTC)
    newest = datetime.fromtimestamp(Path(__file__).stat().st_mtime, UTC)
    if now < newest - timedelta(days=1):
        told = f"it says {now:%Y-%m-%d %H:%M} UTC, which is before clouddirect was installed here"
        return Finding("clock", None, "failed", told, "machine", "set it: services refuse credentials at a wrong time")
    told = f"it says {now:%Y-%m-%d %H:%M:%S} UTC; services refuse credentials if that is wrong by minutes"
    return Finding("clock", None, "unverified", told)
