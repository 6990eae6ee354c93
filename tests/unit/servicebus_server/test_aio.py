"""The SDK's asynchronous client."""

from __future__ import annotations

import asyncio

import pytest
from azure.servicebus import NEXT_AVAILABLE_SESSION, ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient
from azure.servicebus.exceptions import ServiceBusAuthenticationError, ServiceBusServerBusyError

from emulators.servicebus import AccessKey, Point, QueueSettings, server_busy


def connect(server, **options):
    return ServiceBusClient.from_connection_string(
        options.pop("string", server.connection_string()), **{"retry_total": 0, **options}
    )


def test_send_receive_and_settle(start):
    server = start("orders")

    async def scenario():
        async with connect(server) as client, client.get_queue_sender("orders") as sender:
            await sender.send_messages([ServiceBusMessage(str(number)) for number in range(4)])
            async with client.get_queue_receiver("orders", prefetch_count=10) as receiver:
                received = []
                while len(received) < 4:
                    received += await receiver.receive_messages(4, max_wait_time=10)
                assert [str(message) for message in received] == ["0", "1", "2", "3"]
                await receiver.complete_message(received[0])
                await receiver.dead_letter_message(received[1], "why")
                await receiver.defer_message(received[2])
                assert await receiver.renew_message_lock(received[3])
                assert server.counts("orders").locked == 1
                (deferred,) = await receiver.receive_deferred_messages(received[2].sequence_number)
                await receiver.abandon_message(deferred)
        counts = server.wait_for_counts("orders", locked=0)
        assert (counts.active, counts.deferred, counts.dead) == (1, 1, 1)

    asyncio.run(scenario())


def test_sessions(start):
    server = start(QueueSettings("orders", sessions=True))

    async def scenario():
        async with connect(server) as client, client.get_queue_sender("orders") as sender:
            await sender.send_messages([ServiceBusMessage("a", session_id="s"), ServiceBusMessage("b", session_id="s")])
            async with client.get_queue_receiver("orders", session_id=NEXT_AVAILABLE_SESSION) as receiver:
                assert receiver.session.session_id == "s"
                await receiver.session.set_state("state")
                assert await receiver.session.get_state() == b"state"
                async for message in receiver:
                    await receiver.complete_message(message)
                    if str(message) == "b":
                        break

    asyncio.run(scenario())
    assert server.counts("orders").active == 0


def test_tls(start, certificate):
    server = start("orders", tls=certificate.files)

    async def scenario():
        options = {"custom_endpoint_address": server.endpoint, **certificate.options}
        async with connect(server, **options) as client, client.get_queue_sender("orders") as sender:
            await sender.send_messages(ServiceBusMessage("x" * 200_000))

    asyncio.run(scenario())
    assert server.counts("orders").active == 1


def test_errors(start):
    server = start("orders")

    async def scenario():
        wrong = server.connection_string(key=AccessKey("nobody", "d3Jvbmc="))
        async with connect(server, string=wrong) as client:
            with pytest.raises(ServiceBusAuthenticationError):
                await client.get_queue_sender("orders").__aenter__()
        async with connect(server) as client, client.get_queue_sender("orders") as sender:
            server.faults.add(Point.TRANSFER, server_busy())
            with pytest.raises(ServiceBusServerBusyError):
                await sender.send_messages(ServiceBusMessage("x"))

    asyncio.run(scenario())
    assert server.counts("orders").active == 0
