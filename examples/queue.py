"""Send and receive with the embedded broker: no account, no server."""

import clouddirect
from clouddirect import Message

with clouddirect.open_broker("local", path="queues.db", create=True) as broker:
    results = broker.send_many("numbers", [Message(body=str(number).encode()) for number in range(100)])
    assert all(result.ok for result in results)

    total = 0
    while deliveries := broker.receive("numbers", max_messages=10):
        total += sum(int(delivery.message.body) for delivery in deliveries)
        broker.ack_many(deliveries)
    print("the sum is", total)
