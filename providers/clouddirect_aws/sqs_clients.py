"""The SQS clients of one broker: made when first needed, one for each side, so that no side uses up another's pool."""

from __future__ import annotations

import platform
import threading
from typing import TYPE_CHECKING, Literal, NamedTuple

import boto3

from clouddirect_aws.session import AwsSession
from clouddirect_aws.sqs_answers import read_as_json
from clouddirect_aws.sqs_errors import see_that_it_is_sqs
from clouddirect_aws.sqs_places import Place, check_name, is_url, place_of_url

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

    from clouddirect_aws.broker_options import AwsBrokerOptions

__all__ = ["Side", "SqsClients"]

Side = Literal["send", "poll", "settle"]

_USER_AGENT = f"clouddirect boto3/{boto3.__version__} python/{platform.python_version()}"

#: Seconds of the longest poll that SQS knows.
_LONGEST_POLL = 20
#: Seconds that a call may last when there is less time than usual, as when a broker is closed: a client for each.
_HURRIES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


class _Key(NamedTuple):
    side: Side
    region: str | None
    endpoint: str | None
    timeout: float


class SqsClients:
    """Clients by side, place and patience, and the places of queues."""

    def __init__(self, options: AwsBrokerOptions) -> None:
        """No I/O."""
        self._options = options
        self._session = AwsSession(options)
        self._lock = threading.Lock()
        self._clients: dict[_Key, SQSClient] = {}
        self._places: dict[str, Place] = {}
        self._native: SQSClient | None = None

    def get(self, side: Side, place: Place, timeout: float) -> SQSClient:
        """Return the client whose calls last at most ``timeout`` seconds, connecting included."""
        options = self._options
        usual = options.connect_timeout + options.read_timeout
        if timeout < usual:
            usual = max([hurry for hurry in _HURRIES if hurry <= timeout], default=_HURRIES[0])
        key = _Key(side, place.region, place.endpoint, usual)
        with self._lock:
            client = self._clients.get(key)
            if client is None:
                connecting = min(options.connect_timeout, usual / 2)
                reading = usual - connecting + (options.poll_seconds if side == "poll" else 0)
                client = self._session.client(
                    "sqs",
                    region=place.region,
                    endpoint_url=place.endpoint,
                    connect_timeout=connecting,
                    read_timeout=reading,
                    max_pool_connections=max(options.pool_size, options.send_concurrency if side == "send" else 1),
                    # we build every parameter ourselves, and the SDK's complaints quote values
                    parameter_validation=False,
                    # a text of our own is taken as it is; the SDK's takes it a quarter of a call's time to put together
                    user_agent=_USER_AGENT,
                )
                read_as_json(client)
                self._clients[key] = client
        return client

    def place(self, queue: str, side: Side, timeout: float) -> Place:
        """Return where a queue is; a name is asked for once, with the client of the side that needs it.

        Raises:
            ConfigurationError: its name or URL does not fit.
            UnavailableError: what answered was not SQS.
            botocore.exceptions.ClientError: GetQueueUrl failed.
        """
        place = self._places.get(queue)
        if place is None:
            if is_url(queue):
                place = place_of_url(queue, self._options.region)
            else:
                check_name(queue)
                owner = self._options.queue_owner
                client = self.get("settle" if side == "poll" else side, Place(""), timeout)
                answer = client.get_queue_url(
                    QueueName=queue, **({} if owner is None else {"QueueOwnerAWSAccountId": owner})
                )
                see_that_it_is_sqs(answer)
                place = Place(answer["QueueUrl"])
            self._places[queue] = place
        return place

    def forget(self, queue: str) -> None:
        """Ask for a queue's URL again, for the queue was not where it had been."""
        self._places.pop(queue, None)

    def native(self) -> SQSClient:
        """Return a client for whatever a caller wants to do: one of its own, which checks what it is given."""
        with self._lock:
            if self._native is None:
                region = next((key.region for key in self._clients if key.region is not None), None)
                reading = self._options.read_timeout + _LONGEST_POLL
                self._native = self._session.client("sqs", region=region, read_timeout=reading)
            return self._native

    def close(self) -> None:
        """Close all connections."""
        self._session.close()
