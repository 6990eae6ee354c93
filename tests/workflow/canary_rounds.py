"""What the canary does with each command: what it is for, and every failure that can be provoked."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clouddirect.messaging import Message
from clouddirect.orders import CloudDirect
from clouddirect.orders.csv_columns import COLUMNS
from clouddirect.settings import Settings
from emulators.clouds import CLIENT_GUID
from workflow.canary import BORN, PATIENT, PICTURE, Canary, FarSide, event, grading, nothing_there, order, result

__all__ = ["ALIKE", "ROUNDS", "Round", "STANDARD"]

#: Bodies that are no message, each with the patient in it.
UNREADABLE = (
    PATIENT.encode(), f'["{PATIENT}"]'.encode(), f'{{"PatientLocalId": "{PATIENT}'.encode(),
    f"\xff{PATIENT}".encode("latin-1"),
    json.dumps(event("OrderGradedEvent", 90, Timestamp=PATIENT)).encode(),
    json.dumps(event("OrderGradedEvent", 91, OrderLocalId={"a": PATIENT})).encode(),
)  # fmt: skip


Round = Callable[[Canary, FarSide], object]


def _orders(canary: Canary, command: str, code: str) -> None:
    """Orders that are refused, with the patient in what is wrong with them."""
    wrong: list[Any] = [PATIENT, UNREADABLE[3], event("OrderGradedEvent", 1), {}]
    for path, value in (
        (("Patient",), PATIENT), (("Patient", "Dob"), PATIENT), (("Patient", "Dob"), f"{BORN} {PATIENT}"),
        (("Patient", "Name"), [PATIENT]), (("Patient", "LocalId"), {"a": PATIENT}), (("OrderControlCode",), PATIENT),
        (("Patient", "Genders"), [{"Context": PATIENT, "Gender": PATIENT}]), (("Order",), PATIENT),
        (("Order", "EvaluationTypes"), [PATIENT]), (("Order", "ScheduledTime"), PATIENT), (("Site",), PATIENT),
        (("ReferringProvider", "NPI"), PATIENT), (("Camera",), {"Images": [{"Laterality": PATIENT}]}),
        (("Camera",), {"Images": [{"AzureBlobStorage": {"Container": "images", "FileName": PATIENT}}]}),
    ):  # fmt: skip
        one = order(code=code)
        part = one
        for name in path[:-1]:
            part = part[name]
        part[path[-1]] = value
        wrong.append(one)
    for one in wrong:
        file = canary.write("wrong.json", one)
        canary.run(command, file)
        canary.run(command, file, "--dry-run", "--json")
        canary.run(command, file, "--force")


def submit(canary: Canary, far: FarSide) -> None:
    file, picture = canary.write("order.json", order()), canary.write("right.jpg", PICTURE)
    canary.run("submit", file, "--image", f"{picture}:OD", "--force", "--json", code=0)
    canary.run("submit", file, "--force", code=0)
    (first, *_) = far.take("orders")
    assert PATIENT.encode() in first
    assert BORN.encode() in first
    canary.run("submit", file, code=2)  # for its warnings
    _orders(canary, "submit", "NW")
    huge = order()
    huge["Patient"]["AdditionalInfo"] = PATIENT * 1_100_000  # more than Pub/Sub takes, and it takes the most
    canary.run("submit", canary.write("huge.json", huge), "--force", code=1)
    canary.run("submit", "-", stdin=PATIENT.encode(), code=2)
    _csv(canary)
    far.take("orders", wait=1)


def _csv(canary: Canary) -> None:
    """Rows full of patient data: right ones, wrong ones, and a file without a header."""
    cells = dict.fromkeys(COLUMNS, PATIENT) | {
        "ClientGuid": CLIENT_GUID, "Version": "2.3.1", "OrderControlCode": "NW", "SiteLocalId": "DEMO",
        "EvaluationType": "DR", "PatientDob": BORN, "PatientBirthGender": "F", "PatientIdentityGender": "F",
        "SingleEyeOnly": "false", "OrderScheduledTime": "", "HealthPlanEffectiveDate": BORN, "OrderLocalId": "CSV-1",
        "HealthPlanExpirationDate": BORN, "OrderState": "TX",
    }  # fmt: skip

    def write(name: str, *rows: dict[str, str], header: bool = True) -> Path:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(COLUMNS))
        if header:
            writer.writeheader()
        writer.writerows(rows)
        return canary.write(name, text.getvalue())

    good = write("good.csv", cells, cells | {"OrderLocalId": ""})
    canary.run("submit", "--csv", good, "--force", "--json", code=0)
    canary.run("submit", "--csv", good, "--force", code=0)
    changed = cells | {"PatientLastName": f"{PATIENT} again"}
    canary.run("submit", "--csv", write("good.csv", changed), "--force", code=2)
    for column in ("PatientDob", "PatientBirthGender", "OrderControlCode", "EvaluationType", "SingleEyeOnly",
                   "OrderScheduledTime"):  # fmt: skip
        wrong = write("wrong.csv", cells | {column: PATIENT}, cells | {column: PATIENT, "OrderLocalId": "CSV-2"})
        canary.run("submit", "--csv", wrong, code=2)
    canary.run("submit", "--csv", write("twice.csv", cells, cells), "--json", code=2)
    canary.run("submit", "--csv", write("headless.csv", cells, header=False), code=2)
    canary.run("submit", "--csv", canary.write("text.csv", UNREADABLE[3]), code=2)
    canary.run("submit", "--csv", canary.write("odd.csv", f'OrderLocalId,PatientDob\nO-1,"{PATIENT}'), code=2)
    canary.run("submit", "--csv", canary.write("wide.csv", f"OrderLocalId\nO-1,{PATIENT}\n"), code=2)


def change(canary: Canary, far: FarSide) -> None:
    changed = order()
    changed["Patient"]["LocalId"] = f"{PATIENT} another"
    before, after = canary.write("before.json", order()), canary.write("after.json", changed)
    canary.run("change", before, "--original", canary.write("same.json", order()), "--force", "--json", code=0)
    canary.run("change", after, "--original", before, "--force", code=2)
    canary.run("change", before, "--original", canary.write("text.json", PATIENT), code=2)
    _orders(canary, "change", "XO")
    tracked = canary.values | {"tracking": {"enabled": True}}
    canary.run("submit", before, "--force", values=tracked, code=0)
    canary.run("change", after, "--force", values=tracked, code=2)
    far.take("orders")


def by_id(command: str) -> Round:
    def go(canary: Canary, far: FarSide) -> None:
        canary.run(command, "ORD-1", "--json", code=0)
        canary.run(command, "ORD-1", "", code=2)
        far.take("orders")

    return go


def grade(canary: Canary, far: FarSide) -> None:
    canary.run("grade", canary.write("grading.json", grading()), "--force", "--json", code=0)
    assert PATIENT.encode() in far.take("gradings")[0]
    for eye in (
        PATIENT,
        {"Gradable": PATIENT},
        {"Gradable": True, "Findings": [{"Finding": PATIENT, "Result": PATIENT}]},
    ):
        canary.run("grade", canary.write("wrong.json", grading() | {"OD": eye}))
    canary.run("grade", canary.write("text.json", PATIENT), code=2)


def upload(canary: Canary, far: FarSide) -> None:
    canary.run("upload", canary.write("right.jpg", PICTURE), "--json", code=0)
    # its user has typed the name, and sees it again; nobody else does
    canary.run("upload", canary.write(f"{PATIENT}.jpg", PICTURE), show=True, code=0)
    canary.run("upload", canary.directory / "none.jpg", code=2)


def events(canary: Canary, far: FarSide) -> None:
    kinds = ("OrderCreationReceipt", "ImageReceipt", "OrderGradedEvent", "OrderCancelled", "SomethingNewEvent")

    def come() -> None:
        far.send("events", *UNREADABLE, *(event(kind, number) for number, kind in enumerate(kinds)))

    for options in (("--json",), ("--once",)):
        come()
        canary.run("events", *canary.wait, *options)
    come()
    canary.run("events", *canary.wait, "--show-patient-data", show=True, code=0)
    assert PATIENT in canary.printed[-1]
    tracked = canary.values | {"tracking": {"enabled": True}}
    come()
    canary.run("events", *canary.wait, values=tracked, code=0)
    canary.run("events", "--from-dead-letters")
    canary.run("deadletters", "discard", "--all", "--yes")


def results(canary: Canary, far: FarSide) -> None:
    folder = str(canary.directory / "reports")
    undecodable = {"Type": "PDF", "Encoding": "Base64", "Content": f"{PATIENT}!"}

    def come(**more: Any) -> None:
        far.send("results", UNREADABLE[0], result(1, ResultsDocument=undecodable), result(2, **more))

    come()
    canary.run("results", *canary.wait, "--save-to", folder, "--raw", "--json", code=1)
    come(Patient={"Name": {"Last": PATIENT}, "Dob": BORN})
    canary.run("results", *canary.wait, "--save-to", folder, "--name", "{patientLocalId}/{orderLocalId}", code=1)
    come()
    named = ("--name", "{patientLastName}/{patientFirstName} {orderLocalId}")
    canary.run(
        "results", *canary.wait, "--save-to", folder, *named, "--csv", canary.directory / "results.csv", show=True
    )
    assert any(PATIENT in path.parent.name for path in Path(folder).rglob("*.html"))
    # a file where the patient's directory should be, and a disk that is full
    (canary.directory / "taken").mkdir(mode=0o700)
    canary.write(f"taken/{PATIENT} Last", "a file").chmod(0o600)
    far.send("results", result(3))
    canary.run("results", *canary.wait, "--save-to", canary.directory / "taken", *named, code=1)
    if Path("/dev/full").exists():
        far.send("results", result(4))
        canary.run("results", *canary.wait, "--csv", "/dev/full", code=1)
    canary.run("results", *canary.wait, "--show-patient-data", show=True)
    come()
    canary.run("results", *canary.wait, "--once")
    canary.run("results", "--from-dead-letters", "--save-to", folder)
    canary.run("deadletters", "discard", "--all", "--yes")


def deadletters(canary: Canary, far: FarSide) -> None:
    """All of them: each needs what the others do."""
    far.send(
        "results", *UNREADABLE, result(1, ResultsDocument={"Type": "PDF", "Encoding": "Base64", "Content": PATIENT})
    )
    canary.run("results", *canary.wait, "--save-to", canary.directory / "reports", code=1)
    for face in canary.faces:
        canary.run("deadletters", "list", *face)
    ids = [line["id"] for line in canary.lines()]
    assert len(ids) == len(UNREADABLE) + 1
    for face in canary.faces:
        canary.run("deadletters", "show", *ids, *face)
    canary.run("deadletters", "show", *ids, "--show-patient-data", show=True)
    assert PATIENT in canary.printed[-1]
    canary.run("deadletters", "replay", *ids, code=1)
    canary.run("deadletters", "replay", *ids, "--to", "elsewhere", "--json", code=1)
    canary.run("results", "--from-dead-letters")
    canary.run("deadletters", "discard", ids[0], "--json")
    canary.run("deadletters", "discard", "--all", "--yes")


def outbox(canary: Canary, far: FarSide) -> None:
    """All of them: each needs what the others do."""
    values = canary.values | {"outbox": {"enabled": True, "wait": 20.0}, "tracking": {"enabled": True}}
    picture = canary.write("right.jpg", PICTURE)
    huge = order("ORD-2")
    huge["Patient"]["AdditionalInfo"] = PATIENT * 1_100_000  # more than Pub/Sub takes, and it takes the most
    canary.run("submit", canary.write("huge.json", huge), "--image", f"{picture}:OD", "--force", values=values, code=1)
    canary.run("submit", canary.write("order.json", order()), "--image", f"{picture}:OD", "--force", values=values,
               code=0)  # fmt: skip
    away = canary.changed(nothing_there)
    canary.run(
        "submit", canary.directory / "order.json", "--force", values=away | {"outbox": {"enabled": True}}, code=0
    )
    for options in ((), ("--json",)):
        canary.run("outbox", "list", *options, values=values, code=0)
    numbers = [line["number"] for line in canary.lines()]
    assert len(numbers) == 2
    canary.run("outbox", "flush", values=away, code=1)
    canary.run("outbox", "retry", values=values, code=0)
    canary.run("outbox", "flush", "--json", values=values, code=1)
    canary.run("outbox", "flush", values=values, code=1)
    canary.run("outbox", "retry", "99", values=values)
    canary.run("outbox", "discard", str(numbers[0]), values=values, code=0)
    canary.run("outbox", "list", values=values, code=0)
    with canary.watching(), CloudDirect(Settings.of(canary.values)) as client:
        canary.note(client, client.outbox, client.outbox.waiting(), client.settings, client.settings.endpoints)
    far.take("orders")


def track(canary: Canary, far: FarSide) -> None:
    values = canary.values | {"tracking": {"enabled": True, "receipt_within": 0.001}}
    canary.run("submit", canary.write("order.json", order()), "--force", values=values, code=0)
    canary.run("track", values=values, code=0)
    far.send("events", event("OrderCreationReceipt", 1), event("ImageReceipt", 2))
    canary.run("events", *canary.wait, values=values, code=0)
    canary.run("track", values=values, code=0)
    canary.run("track", "--json", values=values, code=0)
    canary.run("track", "--show-patient-data", values=values, show=True, code=0)
    assert PATIENT in canary.printed[-1]
    canary.run("track", "--overdue", "ORD-9", values=values, code=3)
    far.take("orders")


def watch(canary: Canary, far: FarSide) -> None:
    track(canary, far)
    values = canary.values | {"tracking": {"enabled": True}}
    moment = threading.Event()
    for options in ((), ("--json",)):
        canary.run_until(lambda: moment.wait(1), "watch", "--every", "0.2", *options, values=values, code=0)


def images(canary: Canary, far: FarSide) -> None:
    """Both of them."""
    far.share("shared/1.jpg")
    for options in ((), ("--json",)):
        canary.run("images", "list", *options, code=0)
    canary.run("images", "list", "--show-patient-data", "--json", show=True, code=0)
    assert PATIENT in canary.printed[-1]
    folder = canary.directory / "shared"
    canary.run("images", "fetch", "shared/1.jpg", "--to", folder, "--json", code=0)
    canary.run("images", "fetch", "shared/1.jpg", "--to", folder, code=1)
    canary.run("images", "fetch", "shared/2.jpg", "--to", folder, code=1)
    # a key that names the patient: who lists or fetches it sees it, in what is printed
    far.share(f"{PATIENT}/1.jpg")
    canary.run("images", "list", show=True, code=0)
    canary.run("images", "fetch", "--prefix", "", "--to", folder, show=True, code=0)
    below_a_file = canary.write("file", "x") / "below"
    canary.run("images", "fetch", "--prefix", "", "--to", below_a_file, show=True, code=1)


def sandbox(canary: Canary, far: FarSide) -> None:
    values = canary.values
    picture = canary.write("right.jpg", PICTURE)
    bad = order("ORD-2")
    bad["Patient"]["Dob"] = PATIENT
    with canary.watching(), CloudDirect(Settings.of(values)) as client:
        queue = client._connections.queue("orders")
        for body in (json.dumps(bad).encode(), *UNREADABLE[:3]):
            queue.broker.send(queue.name, Message(body=body))
    canary.run("submit", canary.write("order.json", order()), "--image", f"{picture}:OD", "--force", code=0)
    canary.run("results", *canary.wait)  # what another round has left must not end this one before it begins

    def finished() -> None:
        with CloudDirect(Settings.of(values)) as client:
            for incoming in client.results(timeout=60):
                with incoming as found:
                    canary.note(found, incoming, incoming.delivery, incoming.delivery.message)
                return

    faults = ("--fault", "duplicates=0.5", "--fault", "unknown_kinds=0.5", "--fault", "malformed=0.5")
    canary.run_until(finished, "sandbox", *faults, code=0)
    assert any("OrderCreationReceipt" in said for said in canary.said)
    canary.run("events", *canary.wait, "--json")
    canary.run("results", *canary.wait)


def inspect(canary: Canary, far: FarSide) -> None:
    for number, body in enumerate((*UNREADABLE, order(), grading(), result(1), event("OrderGradedEvent", 1))):
        file = canary.write(f"{number}.json", body)
        canary.run("inspect", file)
        canary.run("inspect", file, "--json")
        canary.run("inspect", file, "--show-patient-data", show=True)
    canary.run("inspect", "-", stdin=UNREADABLE[1], code=1)


def demo(canary: Canary, far: FarSide) -> None:
    provider = canary.values["endpoints"]["orders"]["provider"]
    canary.run("demo", "--provider", provider, "--dir", canary.directory / "demo", code=0)
    canary.run("demo", "--provider", "nobody", code=2)


def init(canary: Canary, far: FarSide) -> None:
    provider = canary.values["endpoints"]["orders"]["provider"]
    for expected in (0, 2):
        canary.run("init", "--provider", provider, "--path", canary.directory / "first.toml", code=expected)


def just(*arguments: str) -> Round:
    return lambda canary, far: (canary.run(*arguments), canary.run(*arguments, "--json"))


#: What is done with each command.
ROUNDS: dict[str, Round] = {
    "cancel": by_id("cancel"), "change": change, "check": just("check", "--sandbox"),
    "deadletters discard": deadletters,
    "deadletters list": deadletters, "deadletters replay": deadletters, "deadletters show": deadletters, "demo": demo,
    "events": events, "grade": grade, "images fetch": images, "images list": images, "init": init, "inspect": inspect,
    "outbox discard": outbox, "outbox flush": outbox, "outbox list": outbox, "outbox retry": outbox,
    "providers": just("providers"), "resend": by_id("resend"), "results": results, "sandbox": sandbox,
    "schema": just("schema"), "submit": submit, "track": track, "upload": upload, "watch": watch,
}  # fmt: skip

#: Rounds that show the same over a cloud as over this machine: what they send and receive goes the way of "submit" and
#: "events". Over a cloud with ``--long``.
ALIKE = ("change", "demo", "init", "inspect", "providers", "schema", "track", "watch")

#: How each command that needs settings is run where they, or the services that they name, are wrong.
STANDARD: dict[str, tuple[str, ...]] = {
    "cancel": ("cancel", "ORD-1", "--force"), "change": ("change", "order.json", "--force"),
    "check": ("check", "--sandbox"),
    "deadletters discard": ("deadletters", "discard", "ID"), "deadletters list": ("deadletters", "list"),
    "deadletters replay": ("deadletters", "replay", "ID"), "deadletters show": ("deadletters", "show", "ID"),
    "events": ("events", "--wait", "0", "--once"), "grade": ("grade", "grading.json", "--force"),
    "images fetch": ("images", "fetch", "k.jpg"), "images list": ("images", "list"),
    "outbox discard": ("outbox", "discard", "1"), "outbox flush": ("outbox", "flush"),
    "outbox list": ("outbox", "list"), "outbox retry": ("outbox", "retry"), "resend": ("resend", "ORD-1", "--force"),
    "results": ("results", "--wait", "0", "--save-to", "reports"), "sandbox": ("sandbox",),
    "submit": ("submit", "order.json", "--image", "right.jpg:OD", "--force"), "track": ("track",),
    "upload": ("upload", "right.jpg"), "watch": ("watch",),
}  # fmt: skip
