"""A Google Pub/Sub server for tests, in memory, spoken to by the real SDK over gRPC.

    with PubSubServer() as server:
        topic = server.add_topic("projects/p/topics/orders")
        name = server.add_subscription("projects/p/subscriptions/orders", topic, ordered=True)
        os.environ["PUBSUB_EMULATOR_HOST"] = server.endpoint

What it imitates, and from where: the RPC reference of google.pubsub.v1 (Publisher, Subscriber) and google.iam.v1
(TestIamPermissions), and these pages of the Pub/Sub documentation: "Quotas and limits", "Order messages",
"Exactly-once delivery", "Handle message failures", "Filter messages from a subscription", "Replay and purge
messages", "Access control with IAM". Faults are ordered by RPC, see `faults`.

The way of a message: `service` (a call: counted, checked against `access` and `faults`), `store` (topics to
subscriptions), `subscription` (what is ready, leased, in backoff), `lanes` (ordering keys), `delivery` (pulls,
streams, settlements).

Where the documentation leaves a choice, the server is strict, so that a client which relies on luck fails:

* An acknowledgement after the lease ended succeeds and has no effect; the message comes again.
* A returned message of an ordering key takes the later ones of its batch with it, while the client still has them.
* A waiting pull is not answered before the caller's deadline: it ends with DEADLINE_EXCEEDED.
* Ack ids are long, and requests of more than 512 KiB of them are refused.

Not imitated: push, export and BigQuery subscriptions, schemas, regions, quotas by the minute, message transforms,
retention on topics, and duplicates that nobody caused. A key has one batch out even within one stream. Ids of one
batch that fail on an exactly-once subscription are named while the others are acknowledged.

Google's own emulator (`official`; version 0.8.20 was compared) differs from this server: it

* ignores filters and retry policies; forwards to a dead-letter topic only when the source is pulled again;
* answers an empty pull without messages shortly before the caller's deadline;
* takes requests over 10 MB, attribute keys and ordering keys of any length, reserved and empty keys, lease changes
  over 600 s and acknowledgement deadlines under 10 s;
* holds the whole key after a returned message until the rest of its batch is settled, and then delivers what was
  not yet delivered before what comes back;
* refuses a foreign ack id on an exactly-once subscription with the whole request and without ErrorInfo;
* has no DetachSubscription, no TestIamPermissions, no credentials and no faults.
"""

from __future__ import annotations

from .faults import CutStream, Delay, Drop, Stall, Status
from .server import PubSubServer

__all__ = ["CutStream", "Delay", "Drop", "PubSubServer", "Stall", "Status"]
