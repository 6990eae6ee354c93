"""What the canary is: values that nobody may see, messages that are full of them, and somebody who watches."""

from __future__ import annotations

import copy
import json
import logging
import os
import re
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from click.testing import CliRunner

from clouddirect.cli import cli
from clouddirect.errors import CloudDirectError
from clouddirect.messaging import Message
from clouddirect.orders.connections import Connections
from clouddirect.orders.models import GradingSubmission, OrderEvent, OrderRequest, OrderResult, WireModel
from clouddirect.orders.models.tables import table_of
from clouddirect.plugins import load_provider
from clouddirect.settings import Settings
from emulators.clouds import CLIENT_GUID, to_toml

__all__ = [
    "BORN", "Canary", "FarSide", "PATIENT", "PICTURE", "event", "filled", "grading", "inline_keys", "modes",
    "nothing_there", "order", "result", "secrets_in",
]  # fmt: skip

#: Stands wherever a text may say who a patient is. In two parts: a traceback shows lines of this file, too.
PATIENT = "Canary" + "sson"
#: Stands wherever a date may say so.
BORN = "1937-03-" + "17"
BORN_IN = BORN[:4]
PICTURE = b"\xff\xd8" + bytes(5000)


def filled(cls: type[WireModel]) -> dict[str, Any]:
    """A wire form with the canary in every text and date that is not declared safe, and in undocumented fields."""
    wire: dict[str, Any] = {"Undocumented": {"Deep": [PATIENT]}}
    for one in table_of(cls).fields:
        if one.part is not None:
            part = filled(one.part)
            wire[one.wire] = [part] if one.many else part
        elif not one.safe and one.kind is not None and one.kind.option is None:
            kind = one.kind.schema["type"]
            if kind in ("string", "array"):
                value = BORN if "examples" in one.kind.schema else f"{PATIENT} {one.wire}"
                wire[one.wire] = [value] if kind == "array" or one.many else value
    return wire


def order(local_id: str = "ORD-1", code: str = "NW") -> dict[str, Any]:
    """An order request full of patient data that nothing is wrong with, apart from warnings."""
    wire = filled(OrderRequest)
    wire |= {"Version": "2.3.1", "ClientGuid": CLIENT_GUID, "OrderControlCode": code, "Site": {"LocalId": "DEMO"}}
    wire["Order"] |= {"LocalId": local_id, "EvaluationTypes": ["DR"]}
    wire["Patient"]["Genders"] = [{"Context": "BirthGender", "Gender": "F"}]
    del wire["Camera"]["Images"]
    return wire


def event(kind: str, number: int, **more: Any) -> dict[str, Any]:
    """An event full of patient data."""
    found = filled(OrderEvent) | {"ResultObjectType": kind, "OrderLocalId": "ORD-1", "Version": "2.3.1"}
    return found | {"TransactionId": f"00000000-0000-4000-8000-{number:012}", "Success": False} | more


def result(number: int, local_id: str = "ORD-1", **more: Any) -> dict[str, Any]:
    """A result full of patient data, with a report that can be decoded."""
    wire = filled(OrderResult) | {"TransactionId": f"00000000-0000-4000-9000-{number:012}", "ResultCode": "F"}
    wire |= {"Success": False, "ResultsDocument": {"Type": "HTML", "Encoding": "ASCII", "Content": f"<p>{PATIENT}</p>"}}
    wire["Order"] |= {"LocalId": local_id, "EvaluationTypes": ["DR"]}
    return wire | more


def grading(local_id: str = "ORD-1") -> dict[str, Any]:
    """A grading submission full of what may name the patient."""
    wire = filled(GradingSubmission) | {"Version": "2.3.1", "ClientGuid": CLIENT_GUID, "LocalId": local_id}
    eye = {"Gradable": False, "UngradableReasons": [f"{PATIENT} moved"]}
    return wire | {"Site": {"LocalId": "DEMO"}, "OD": eye, "OS": eye}


def inline_keys(values: Any) -> None:
    """Put keys of service accounts into the settings themselves, where they are secrets, in place of their files."""
    if isinstance(values, dict):
        if "service_account_file" in values:
            values["service_account_key"] = Path(values.pop("service_account_file")).read_text(encoding="utf-8")
        for value in values.values():
            inline_keys(value)


def secrets_in(values: Mapping[str, Any]) -> set[str]:
    """Every credential of every endpoint and store, and the parts of it that are the secret."""
    found: set[str] = set()
    for side in (values, values.get("sandbox", {})):
        for kind in ("endpoints", "stores"):
            for settings in side.get(kind, {}).values():
                provider = load_provider(settings["provider"])
                model = provider.broker_options if kind == "endpoints" else provider.store_options
                assert model is not None
                for part in (settings, settings.get("dead_letter_receive", {})):
                    for name, option in model.model_fields.items():
                        if "Secret" in str(option.annotation) and isinstance(part.get(name), str):
                            found.add(part[name])
    for secret in list(found):
        for piece in re.findall(r"(?:SharedAccessKey|AccountKey|sig)=([^;&]+)", secret):
            found |= {piece, unquote(piece)}
        if secret.startswith("{"):  # a service account's key
            found |= {line for line in json.loads(secret)["private_key"].splitlines() if "KEY" not in line}
    return {one for one in found if len(one) > 8}


@dataclass
class Canary:
    """Runs commands over the settings in ``values``, and sees all that is said meanwhile."""

    directory: Path
    values: dict[str, Any]
    said: list[str] = field(default_factory=list)
    printed: list[str] = field(default_factory=list)
    runs: list[tuple[list[str], int]] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.secrets |= secrets_in(self.values)

    @property
    def local(self) -> bool:
        """Whether all is on this machine."""
        return bool(self.values["endpoints"]["orders"]["provider"] == "local")

    @property
    def wait(self) -> tuple[str, str]:
        """How long a command waits for what has been sent."""
        return ("--wait", "0.1" if self.local else "0.8")

    @property
    def faces(self) -> tuple[tuple[str, ...], ...]:
        """The ways to print that a command is run with: over a cloud, where each run takes seconds, only one."""
        return ((), ("--json",)) if self.local else (("--json",),)

    # -- running ----------------------------------------------------------------------------------------------

    def run(
        self, *arguments: str | Path, values: dict[str, Any] | None = None, show: bool = False,
        code: int | None = None, stdin: bytes | None = None,
    ) -> int:  # fmt: skip
        """Run a command with -vv; ``show``: what it prints is what its user asked for."""
        used = self.values if values is None else values
        self.secrets |= secrets_in(used)
        settings = self.write("settings.toml", to_toml(used))
        return self.run_with(settings, *arguments, show=show, code=code, stdin=stdin)

    def run_with(
        self, settings: Path, *arguments: str | Path, show: bool = False, code: int | None = None,
        stdin: bytes | None = None,
    ) -> int:  # fmt: skip
        """Like `run`, with this settings file."""
        words = ["-vv", "--config", str(settings), *map(str, arguments)]
        with self.watching():
            done = CliRunner().invoke(cli, words, input=stdin)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        self.said.append(done.stderr)
        (self.said if not show else self.printed).append(done.stdout)
        self.runs.append((words[3:], done.exit_code))
        assert "this is a bug" not in done.stderr, done.stderr
        assert code is None or done.exit_code == code, f"{words[3:]}: {done.exit_code}\n{done.stdout}{done.stderr}"
        return done.exit_code

    def run_until(self, ready: Callable[[], object], *arguments: str, **options: Any) -> int:
        """Run a command that runs until Ctrl-C, which comes when ``ready`` has returned."""

        def interrupt() -> None:
            ready()
            signal.raise_signal(signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        try:
            return self.run(*arguments, **options)
        finally:
            thread.join()

    # -- watching ---------------------------------------------------------------------------------------------

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Take down every record that is logged, and every error of ours that is made, raised or not."""
        handler = _Listener(self.said)
        root, ours = logging.getLogger(), logging.getLogger("clouddirect")
        errors: list[CloudDirectError] = []
        made = CloudDirectError.__init__

        def noted(error: CloudDirectError, *arguments: Any, **options: Any) -> None:
            made(error, *arguments, **options)
            errors.append(error)

        level = ours.level
        root.addHandler(handler)
        ours.setLevel(logging.DEBUG)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(CloudDirectError, "__init__", noted)
            try:
                yield
            finally:
                root.removeHandler(handler)
                ours.setLevel(level)
                for error in errors:
                    self.note(error, getattr(error, "problems", ()), *traceback.format_exception(error))

    def note(self, *values: object) -> None:
        """Take down what somebody could see of these values."""
        for value in values:
            self.said += [str(value), repr(value)]

    def lines(self) -> list[Any]:
        """What the last command has printed with --json."""
        return [json.loads(line) for line in self.said[-1].splitlines()]

    def check(self) -> None:
        """Nobody has said what nobody may say; not even what a user asked for shows a secret."""
        said = "\n".join(self.said)
        for word in (PATIENT, BORN, "3/17/" + BORN_IN, "17/03/" + BORN_IN):
            assert word not in said, _around(said, word)
        everything = said + "\n".join(self.printed)
        for number, secret in enumerate(sorted(self.secrets)):
            assert secret not in everything, f"secret {number}: " + _around(everything, secret).replace(
                secret, "[HERE]"
            )

    # -- files and settings -----------------------------------------------------------------------------------

    def write(self, name: str, content: object) -> Path:
        """Write a file of the user's: text, bytes, or JSON."""
        path = self.directory / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    def changed(self, change: Callable[[str, dict[str, Any]], None], **more: Any) -> dict[str, Any]:
        """The settings, with each endpoint, store and dead-letter queue changed by ``change(kind, settings)``."""
        values = copy.deepcopy(self.values) | more
        for side in (values, values["sandbox"]):
            for kind in ("endpoints", "stores"):
                for settings in side[kind].values():
                    dead = settings.pop("dead_letter_receive", None)
                    if dead is not None:  # takes the provider, and by default the queue, from what is around it
                        whole = {"provider": settings["provider"], "queue": settings["queue"]} | dead
                        change(kind, whole)
                        own = [name for name in whole if name in dead or name not in ("provider", "queue")]
                        dead = {"dead_letter_receive": {name: whole[name] for name in own}}
                    change(kind, settings)
                    settings |= dead or {}
        return values


class FarSide:
    """The platform's side of the queues and stores."""

    def __init__(self, values: dict[str, Any]) -> None:
        settings = Settings.of(values)
        sandbox = settings.sandbox
        self._connections = Connections(sandbox.endpoints, sandbox.stores, data_dir=settings.data_dir, where="sandbox.")

    def send(self, name: str, *bodies: Any) -> None:
        """Send messages: JSON, or bytes as they are."""
        queue = self._connections.queue(name)
        for body in bodies:
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            queue.broker.send(queue.name, Message(body=raw, attributes={"From": PATIENT}))

    def take(self, name: str, wait: float = 3.0) -> list[bytes]:
        """Take what has come."""
        queue = self._connections.queue(name)
        found = queue.broker.receive(queue.name, 10, wait=wait)
        queue.broker.ack_many(found)
        return [one.message.body for one in found]

    def share(self, key: str) -> None:
        """Put a shared image into its store."""
        store = self._connections.store("shared_images").store
        store.put(key, PICTURE, content_type="image/jpeg", metadata={"patient": PATIENT, "born": BORN})

    def close(self) -> None:
        self._connections.close()


def nothing_there(kind: str, settings: dict[str, Any]) -> None:
    """Name a queue or a container that is not there."""
    settings["queue" if kind == "endpoints" else "container"] += "-none"
    if "create" in settings:
        settings["create"] = False


class _Listener(logging.Handler):
    """Takes down everything that a record holds, whatever a formatter would make of it."""

    def __init__(self, said: list[str]) -> None:
        super().__init__(0)
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        self._said += [record.getMessage(), str(vars(record))]
        if record.exc_info:
            self._said += traceback.format_exception(*record.exc_info)


def _around(text: str, word: str) -> str:
    place = text.index(word)
    return f"…{text[max(0, place - 300) : place + 200]}…"


def modes(directory: Path) -> dict[str, int]:
    """The permission bits of all below a directory."""
    return {
        str(path.relative_to(directory)): path.lstat().st_mode & 0o777
        for path in sorted(directory.rglob("*"))
        if os.name == "posix"
    }
