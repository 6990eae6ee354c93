"""The whole workflow over every provider and over mixes of them: one program, one settings file a mix, no more rights
than each side needs."""

from __future__ import annotations

import itertools
import json
import os
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing
from pathlib import Path

import pytest

from clouddirect.messaging import BrokerRuntime, Capabilities
from clouddirect.orders.connections import Connections
from clouddirect.plugins import open_broker_with
from clouddirect.sandbox import Sandbox, demo_image
from clouddirect.settings import Settings, load_settings
from emulators.clouds import CLOUDS, QUEUES, Cloud, both_sides
from workflow.mixing import MIXES, PROVIDERS, ROLES, ROUNDS, Mix, Room, differences, environment, files, tables
from workflow.privileges import KEY, Right, held, needed
from workflow.whole_workflow import (
    CANCELLED,
    CHANGED,
    GRADED_AS,
    IMAGE_FIRST,
    ORDER_FIRST,
    Account,
    whole_workflow,
)

#: What comes of an order with two images, in the order of the stages.
GRADED = {
    "OrderCreationReceipt": 1, "ImageReceipt": 2, "ReadyForGradingEvent": 1, "GradingReceipt": 1, "OrderGradedEvent": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def clouds() -> Iterator[Mapping[str, Cloud]]:
    """All four, started once; side by side, since they wait for their processes."""
    with ExitStack() as running, ThreadPoolExecutor() as pool:
        started = {provider: pool.submit(running.enter_context, CLOUDS[provider]()) for provider in PROVIDERS}
        yield {provider: cloud.result() for provider, cloud in started.items()}


@pytest.fixture(scope="module")
def images() -> dict[str, bytes]:
    """Two pictures, and two that say whose they are."""
    found = {eye: demo_image(1, eye) for eye in ("OD", "OS")}
    return found | {f"own {eye}": demo_image(2, eye, patient_id="P-2") for eye in ("OD", "OS")}


class Stage:
    """A mix with queues and containers of its own: the client's settings, from its file and the environment, and the
    platform's; the platform has shared an image."""

    def __init__(self, mix: Mix, clouds: Mapping[str, Cloud], directory: Path) -> None:
        self.name = mix.name
        self.where = mix.where
        self.directory = directory
        self._config = directory / "clouddirect.toml"
        self._config.write_text(mix.text, encoding="utf-8")
        rooms: dict[str, Cloud] = {name: Room(clouds[mix.where[name]], mix.name) for name in ROLES}
        here = both_sides(rooms, stage_delay=0.0, image_wait=30.0)
        values = tomllib.loads(mix.text)
        self._environment = environment(values, here) | {"CLOUDDIRECT_DATA_DIR": str(directory / "ours")}
        for name in QUEUES:
            if mix.where[name] == "aws":  # closing waits for the polls under way
                here["sandbox"]["endpoints"][name]["poll_seconds"] = 1
                self._environment[f"CLOUDDIRECT_ENDPOINTS__{name.upper()}__POLL_SECONDS"] = "1"
        self.platform = Settings.of(
            {
                "client_guid": values["client_guid"],
                "data_dir": str(directory / "platform"),
                # graded by the program alone, so that every grading is submitted
                "sandbox": here["sandbox"] | {"sites": [values["site"]], "auto_grade": False},
            }
        )
        with self.far() as far:
            store = far.store("shared_images").store
            store.put(KEY, b"a shared image", content_type="image/jpeg", metadata={"patient": "Müller"})

    def load(self, environment: pytest.MonkeyPatch) -> None:
        """Load the client's settings; leave in the environment the secrets that they refer to, and nothing else."""
        with pytest.MonkeyPatch.context() as now:
            for name, value in self._environment.items():
                now.setenv(name, value)
            self.ours = load_settings(self._config)
        for name in self._environment.keys() - {name for name in self._environment if name.startswith("CLOUDDIRECT_")}:
            assert name not in os.environ, f"{name} is another mix's, or belongs to this machine"
            environment.setenv(name, self._environment[name])

    def far(self) -> AbstractContextManager[Connections]:
        """The platform's side of every queue and store."""
        return closing(Connections(self.platform.sandbox.endpoints, self.platform.sandbox.stores, where="sandbox."))


@pytest.fixture(scope="module", params=ROUNDS, ids=lambda mixes: "+".join(mix.name for mix in mixes))
def prepared(
    request: pytest.FixtureRequest, clouds: Mapping[str, Cloud], tmp_path_factory: pytest.TempPathFactory
) -> list[Stage]:
    """Mixes that are run at the same time: they wait for their brokers most of the time."""
    return [Stage(mix, clouds, tmp_path_factory.mktemp(mix.name)) for mix in request.param]


@pytest.fixture
def stages(prepared: list[Stage], monkeypatch: pytest.MonkeyPatch) -> list[Stage]:
    for stage in prepared:
        stage.load(monkeypatch)
    return prepared


def with_each(stages: list[Stage], do: Callable[[Stage], None]) -> None:
    """Do something with all mixes at the same time; raises what went wrong, saying with which."""
    with ThreadPoolExecutor(len(stages)) as pool:
        done = {stage.name: pool.submit(do, stage) for stage in stages}
    errors = []
    for name, one in done.items():
        error = one.exception()
        if error is not None:
            error.add_note(f"in the mix {name}")
            errors.append(error)
    if errors:
        raise BaseExceptionGroup("some mixes do not work", errors)


def test_the_whole_workflow(stages: list[Stage], images: dict[str, bytes]) -> None:
    def run(stage: Stage) -> None:
        with Sandbox(stage.platform) as sandbox:
            sandbox.start()
            account = whole_workflow(stage.ours, stage.directory, images)
        everything_came_once(account)
        the_results_are_about_the_orders(account, stage.ours)
        the_shared_image_is_here(account)
        assert left_over(stage) == {"orders": [], "gradings": [], "events": [], "results": []}

    with_each(stages, run)


def test_no_credential_can_do_more_than_its_side_needs(stages: list[Stage]) -> None:
    def attempt(stage: Stage) -> None:
        found, tried = held(stage.ours)
        assert found - needed() == set(), "a credential has more rights than its side needs"
        assert needed() - found == set(), "what an endpoint needs was refused: the attempts prove nothing"
        for name, other in itertools.product(QUEUES, QUEUES):
            together = name == other or stage.where[name] == stage.where[other] != "local"
            assert (Right(name, "send", other) in tried) is (Right(name, "receive", other) in tried) is together
        assert {Right("images", action, "images") for action in ("put", "get", "list")} <= tried
        assert {Right("shared_images", action, "shared_images") for action in ("put", "get", "list", "delete")} <= tried

    with_each(stages, attempt)


def everything_came_once(account: Account) -> None:
    assert account.events == {
        IMAGE_FIRST: Counter(GRADED),
        ORDER_FIRST: Counter(GRADED),
        CHANGED: Counter(GRADED),
        CANCELLED: Counter(OrderCreationReceipt=1, OrderCancelled=1),
    }
    assert set(account.results) == {IMAGE_FIRST, ORDER_FIRST, CHANGED}
    again, first = account.again, account.results[IMAGE_FIRST]
    assert again is not None
    assert again.transaction_id != first.transaction_id
    assert again.report() == first.report()


def the_results_are_about_the_orders(account: Account, ours: Settings) -> None:
    store = ours.stores.require("images")
    for local_id, result in account.results.items():
        assert result.gradings is not None
        assert dict(result.gradings.eyes()) == GRADED_AS
        assert {image.file_name for image in result.images} == account.uploaded[local_id]
        assert {image.container_name for image in result.images} == {store.wire_container or store.container}
        report = account.reports[local_id]
        assert report is not None
        assert report.read_bytes().startswith(b"%PDF")
    patients = {one: result.patient for one, result in account.results.items()}
    named = {one: patient.name.last for one, patient in patients.items() if patient and patient.name}
    assert named == {IMAGE_FIRST: "Single", ORDER_FIRST: "Single", CHANGED: "Married"}


def the_shared_image_is_here(account: Account) -> None:
    (shared,) = account.shared
    assert shared.path.read_bytes() == b"a shared image"
    assert json.loads(shared.metadata_path.read_text(encoding="utf-8")) == {
        "key": KEY, "content_type": "image/jpeg", "metadata": {"patient": "Müller"},
    }  # fmt: skip


def left_over(stage: Stage) -> dict[str, list[bytes]]:
    """What is still in each queue, for who receives from it."""
    with stage.far() as far, closing(Connections(stage.ours.endpoints, stage.ours.stores)) as near:
        receivers = {"orders": far, "gradings": far, "events": near, "results": near}

        def look(name: str) -> list[bytes]:
            queue = receivers[name].queue(name)
            return [delivery.message.body for delivery in queue.broker.receive(queue.name, 10)]

        with ThreadPoolExecutor() as pool:
            return dict(zip(receivers, pool.map(look, receivers), strict=True))


#: The rows of the table of differences, and what they tell of.
ABILITIES: Mapping[str, Callable[[Capabilities], float]] = {
    "largest message": lambda can: can.max_message_bytes,
    "longest delay of a message": lambda can: can.max_delay,
    "longest lease that can be asked for": lambda can: (can.max_lease or 0) if can.settable_lease else 0,
    "longest delay after a failure that the broker keeps itself": lambda can: can.max_nack_delay,
    "shortest wait of one receive": lambda can: can.min_receive_wait,
    "drops a repeat of a message id": lambda can: can.deduplication,
    "keeps the order of a key": lambda can: can.ordering,
    "counts deliveries": lambda can: can.delivery_count,
    "has a dead-letter queue of its own": lambda can: can.native_dead_letter,
}
_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "MB": 10**6, "second": 1, "minute": 60, "hour": 3600, "day": 86400}


def amount(cell: str) -> float:
    """Bytes, seconds, or a truth value as 1 or 0."""
    if cell in ("none", "no", "yes"):
        return float(cell == "yes")
    number, unit = cell.split()
    return float(number) * _UNITS[unit.removesuffix("s")]


# -- the page -----------------------------------------------------------------------------------------------


def test_every_provider_of_one_thing_meets_every_provider_of_another() -> None:
    for one, other in itertools.permutations(("orders", "events", "results", "images"), 2):
        met = {(mix.where[one], mix.where[other]) for mix in MIXES}
        assert met == set(itertools.product(PROVIDERS, PROVIDERS)), f"{one} × {other}"
    for broker in ("events", "results"):
        met = {(mix.where[broker], mix.where["shared_images"]) for mix in MIXES}
        assert met == set(itertools.product(PROVIDERS, PROVIDERS)), f"{broker} × shared_images"


def test_the_page_shows_whole_files_and_its_mixes_are_made_of_their_tables() -> None:
    shown = [tomllib.loads(text) for text in files()]
    assert {mix.text for mix in MIXES} >= set(files())
    assert all({name for _, name, _ in tables(values)} == set(ROLES) for values in shown)
    alone = {mix.name: tomllib.loads(mix.text) for mix in MIXES if mix.name in PROVIDERS}
    assert set(alone) == set(PROVIDERS)
    assert len(shown) == len(PROVIDERS) + 2
    assert sorted(mix.name for mixes in ROUNDS for mix in mixes) == sorted(mix.name for mix in MIXES)
    for values in shown:
        for part, name, table in tables(values):
            assert table == alone[table["provider"]][part][name]


def test_the_table_of_differences_is_true(tmp_path: Path) -> None:
    options = {
        "aws": {"region": "us-east-1", "access_key_id": "id", "secret_access_key": "secret"},
        "azure": {"fully_qualified_namespace": "acme.servicebus.windows.net", "key_name": "name", "key": "c2VjcmV0"},
        "gcp": {"project": "acme-clinic", "access_token": "token"},
        "local": {"path": str(tmp_path / "queues.db")},
    }
    table = differences()
    assert {row: set(cells) for row, cells in table.items()} == {row: set(PROVIDERS) for row in ABILITIES}
    for provider in PROVIDERS:
        with open_broker_with(provider, options[provider], BrokerRuntime()) as broker:
            can = broker.capabilities("orders")
        for row, ability in ABILITIES.items():
            told = table[row][provider]
            assert amount(told) == pytest.approx(float(ability(can)), rel=1e-3), f"{provider}: {row}: {told}"
