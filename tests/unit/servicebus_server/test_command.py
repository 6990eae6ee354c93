"""The server as a command, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage
from azure.servicebus.exceptions import ServiceBusError, ServiceBusServerBusyError

from emulators.servicebus.__main__ import main

TESTS = Path(__file__).resolve().parents[2]


@contextmanager
def running(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run the command; what it prints first ends with an empty line."""
    command = [sys.executable, "-m", "emulators.servicebus", "--port", "0", *map(str, arguments)]
    process = subprocess.Popen(command, cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        with process:
            yield process
    finally:
        process.kill()


def said(process: subprocess.Popen[str]) -> dict[str, str]:
    """Return the connection strings it prints, by the name of their key."""
    strings = {}
    while line := process.stdout.readline().strip():
        name, _, string = line.partition(": ")
        strings[name] = string
    return strings


def tell(process: subprocess.Popen[str], command: str) -> str:
    process.stdin.write(f"{command}\n")
    process.stdin.flush()
    return process.stdout.readline().strip() if command != "quit" else ""


def test_it_prints_connection_strings_that_work_and_obeys(clients, receive_one):
    arguments = ["--queue", "orders:lock=30,max_deliveries=1,dead_letter_expired", "--topic", "events:a,b:lock=5"]
    keys = ["--key", "s=c2VuZA==:Send:orders", "--key", "all=YWxs"]
    with running(*arguments, *keys, "--fault", "transfer:busy") as process:
        strings = said(process)
        client = clients.client(None, string=strings["s (Send)"])
        sender = clients.enter(client.get_queue_sender("orders"))
        with pytest.raises(ServiceBusServerBusyError):
            sender.send_messages(ServiceBusMessage("x"))
        sender.send_messages(ServiceBusMessage("x"))
        client = clients.client(None, string=strings["all (Listen,Manage,Send)"])
        clients.enter(client.get_topic_sender("events")).send_messages(ServiceBusMessage("e"))
        assert "active=1" in tell(process, "counts events/Subscriptions/b")
        receiver = clients.enter(client.get_queue_receiver("orders"))
        receiver.abandon_message(receive_one(receiver))
        assert "dead=1" in tell(process, "counts orders")
        assert tell(process, "fault transfer:drop") == "added"
        with pytest.raises(ServiceBusError):
            sender.send_messages(ServiceBusMessage("y"))
        assert tell(process, "fault transfer:quota:times=all") == "added"
        assert tell(process, "clear") == "cleared"
        sender.send_messages(ServiceBusMessage("y"))
        assert "unknown command" in tell(process, "dance")
        assert "could not be found" in tell(process, "counts nowhere")
        assert tell(process, "cut").endswith("connections reset")
        tell(process, "quit")
        assert process.wait(10) == 0


def test_tls(clients, certificate):
    with running("--queue", "orders", "--tls", *certificate.files) as process:
        place = process.stdout.readline().split()[-1]
        (string,) = said(process).values()
        client = clients.client(None, string=string, custom_endpoint_address=f"sb://{place}", **certificate.options)
        clients.enter(client.get_queue_sender("orders")).send_messages(ServiceBusMessage("x"))
        assert "active=1" in tell(process, "counts orders")
        tell(process, "quit")


def test_a_port_that_is_taken_or_none(start, capsys):
    for port in (start().port, 99_999):
        assert main(["--port", str(port)]) == 1
        assert "cannot listen" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--queue", "orders:colour=red"], "no setting 'colour'"),
        (["--queue", ":lock=3"], "a name is missing"),
        (["--queue", "orders:lock=soon"], "'soon'"),
        (["--queue", "orders:lock=-1"], "must not be negative"),
        (["--queue", "orders:sessions=0"], "takes no value"),
        (["--topic", "events"], "a name is missing"),
        (["--key", "name"], "a name is missing"),
        (["--key", "name=key:Dance"], "unknown rights"),
        (["--fault", "transfer:explode"], "explode"),
        (["--tls", "/no/chain.pem", "/no/key.pem"], "No such file"),
    ],
)
def test_wrong_use(arguments, reason, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert f"argument {arguments[0]}: " in said
    assert reason in said.splitlines()[-1]


def test_it_is_gone_when_its_process_is(clients):
    with running("--queue", "orders") as process:
        (string,) = list(said(process).values())[-1:]
        process.terminate()
        process.wait(10)
    with pytest.raises(ServiceBusError):
        ServiceBusClient.from_connection_string(string, retry_total=0).get_queue_sender("orders").__enter__()
