"""A credential that another takes the place of: the next client sends what waits, and handles nothing twice."""

from __future__ import annotations

import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from clouddirect.errors import AuthenticationError
from clouddirect.orders import CloudDirect
from clouddirect.settings import Settings
from faults.providers import PROVIDERS
from faults.rehearsal import Platform, new_order, picture, platform


def new_key(at: Platform) -> dict[str, Any]:
    """The ``orders`` endpoint with another key than before."""
    endpoint, cloud = at.site.values["endpoints"]["orders"], at.site.cloud
    if at.provider == "azure":
        from emulators.servicebus import SEND, AccessKey

        key = cloud._bus.authority.keys["orders-send"] = AccessKey("orders-send", uuid.uuid4().hex, [SEND], "orders")
        found = {"connection_string": cloud._bus.connection_string("orders", key=key)}
    else:  # each time another user with a key of its own
        found = cloud.queue("orders", "send")
    assert at.site.broker is not None
    return {**endpoint, **at.site.broker.through(found)}


@pytest.mark.parametrize("provider", ["aws", "azure"])
def test_a_credential_is_replaced(provider: str, tmp_path: Path) -> None:
    fault = PROVIDERS[provider].broker_revoked
    assert fault is not None
    with platform(provider, tmp_path / "platform") as at:
        values = {**at.site.values, "data_dir": tmp_path / "data", "outbox": {"enabled": True, "wait": 30.0}}
        with fault(at.site):
            with CloudDirect(Settings.of(values)) as old:
                submission = old.submit(new_order(), [picture()])
                assert submission.receipt is None
                (waiting,) = old.outbox.waiting()
                assert str(waiting.error).startswith(AuthenticationError.__name__)
            values["endpoints"] = {**values["endpoints"], "orders": new_key(at)}
            with closing(CloudDirect(Settings.of(values))) as new:
                assert new.flush_outbox().errors == {}
                assert new.outbox.count() == 0
            assert submission.order.order is not None
            at.wait_for_the_result(str(submission.order.order.local_id), 60)
        assert at.again(submission.message_id) == 0
