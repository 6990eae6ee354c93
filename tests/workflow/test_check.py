"""`check_up` on every provider: both sides hold up with just their rights, and each failure is told for what it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clouddirect.orders.checkup import Finding, check_up
from clouddirect.settings import Settings
from emulators.clouds import CLOUDS, Cloud, both_sides

#: Endpoints of each side, and what they are for.
SIDES = {
    "endpoints.orders": "send", "endpoints.gradings": "send", "endpoints.events": "receive",
    "endpoints.results": "receive", "endpoints.results.dead_letter_receive": "receive", "stores.images": "write",
    "stores.shared_images": "read", "sandbox.endpoints.orders": "receive", "sandbox.endpoints.gradings": "receive",
    "sandbox.endpoints.events": "send", "sandbox.endpoints.results": "send", "sandbox.stores.images": "read",
    "sandbox.stores.shared_images": "write",
}  # fmt: skip


@pytest.fixture(scope="module", params=sorted(CLOUDS))
def cloud(request: pytest.FixtureRequest) -> Iterator[tuple[str, Cloud]]:
    with CLOUDS[request.param]() as running:
        yield request.param, running


def checked(values: dict[str, Any], directory: Path) -> dict[str, Finding]:
    settings = Settings.of(values | {"data_dir": str(directory)})
    return {one.name: one for one in check_up(settings, sandbox=True)}


def test_least_privilege_suffices_for_both_sides(cloud: tuple[str, Cloud], tmp_path: Path) -> None:
    values = both_sides(cloud[1])
    values["endpoints"]["results"]["dead_letter_receive"] = cloud[1].dead_letters("results")
    found = checked(values, tmp_path)
    assert {name: found[name].access for name in found if "." in name} == SIDES
    assert {name: (one.state, one.detail) for name, one in found.items() if one.state == "failed"} == {}
    assert found["endpoints.results"].state in ("ok", "likely")


def test_each_failure_is_told_for_what_it_is(cloud: tuple[str, Cloud], tmp_path: Path) -> None:
    """A credential of the other side, a queue that is not there, a store's wrong name; all the others hold up."""
    provider, made = cloud
    values = both_sides(made)
    values["endpoints"]["results"] = made.queue("results", "send")
    values["endpoints"]["events"] |= {"queue": "no-such-queue"} | ({"create": False} if provider == "local" else {})
    if provider == "aws":
        values["endpoints"]["events"]["queue"] = made.queue("events", "receive")["queue"].replace("events", "nothing")
    values["stores"]["shared_images"] |= {"container": "no-such-container"} | (
        {"create": False} if provider == "local" else {}
    )
    found = checked(values, tmp_path)
    failed = {name: one for name, one in found.items() if one.state == "failed"}
    told = {name: one.part for name, one in failed.items()}
    assert set(told) <= {"endpoints.results", "endpoints.events", "stores.shared_images"}
    if provider == "aws":
        # SQS tells a credential nothing of what it may not see, so that "unverified" is all that can be said
        assert found["endpoints.results"].state in ("failed", "unverified")
        assert found["endpoints.events"].state in ("failed", "unverified")
    else:
        assert told["endpoints.results"] == "credential"
        # a connection string of one queue is for no other, which is seen before anything is asked
        expected = ("settings",) if provider == "azure" else ("resource", "credential")
        assert told["endpoints.events"] in expected
    assert told["stores.shared_images"] in ("resource", "credential")
    assert all(one.error is not None and (one.remedy or one.part == "settings") for one in failed.values())
