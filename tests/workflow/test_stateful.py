"""Random operations, faults and restarts, on both sides of the workflow. What holds, whatever happens:

1.  Every request that the client accepts arrives at the broker: once, under its own id, in the order of acceptance.
    What has arrived is at all times the beginning of what was accepted.
2.  Every event and result that the sandbox sends is handled, and handled once, however often it comes.
3.  A repeat is the same: of each kind an order gets one TransactionId (an ImageReceipt for each image; a result as it
    was resent on request has its own).
4.  An order that is accepted ends, given time: it is either graded, and its result comes, or it is cancelled; never
    both.
5.  Nothing comes about an order that was never submitted, and no order is refused. (What the sandbox holds back on
    purpose of an order that is then cancelled is lost when it is restarted: that order's OrderCancelled is all.)
6.  What cannot be read is put aside, whole and with the reason, as often as it was sent; nothing else is put aside, and
    nothing is on hold in the outbox.
7.  The ledger never goes back, and in the end agrees with what was handled.
8.  Without faults, the first arrivals of an order's events come in the documented order.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from clouddirect.orders.ledger import STAGES
from clouddirect.orders.models import OrderRequest, UnknownEvent
from clouddirect.settings import FaultSettings
from workflow.rehearsal_world import World, transaction_of

#: As the IRIS integration guide has them.
DOCUMENTED = ["OrderCreationReceipt", "ImageReceipt", "ReadyForGradingEvent", "GradingReceipt", "OrderGradedEvent"]
PATIENTS = st.sampled_from(["MRN-A", "MRN-B", "MRN-C"])
CHANCE = st.sampled_from([0.0, 0.3, 1.0])


class Workflow(RuleBasedStateMachine):
    """A client and the sandbox."""

    orders: Bundle[OrderRequest] = Bundle("orders")

    @initialize(auto_grade=st.booleans())
    def begin(self, auto_grade: bool) -> None:
        self.world = World(auto_grade=auto_grade)
        self.submitted: list[OrderRequest] = []
        self.stages: dict[str, int] = {}
        self.faultless = True

    # -- the client -----------------------------------------------------------------------------------------

    @rule(target=orders, patient=PATIENTS, evaluation=st.sampled_from(["DR", "AMD"]), with_image=st.booleans())
    def submit(self, patient: str, evaluation: str, with_image: bool) -> OrderRequest:
        order = self.world.order(f"ORD-{len(self.submitted) + 1}", patient, evaluation)
        self.world.submit(order, with_image=with_image)
        self.submitted.append(order)
        return order

    @rule(order=orders)
    def change(self, order: OrderRequest) -> None:
        self.world.change(order)

    @rule(order=orders)
    def cancel(self, order: OrderRequest) -> None:
        self.world.cancel(str(order.order_local_id))

    @rule(order=orders)
    def resend(self, order: OrderRequest) -> None:
        self.world.resend(str(order.order_local_id))

    @rule(order=orders)
    def grade(self, order: OrderRequest) -> None:
        self.world.grade(str(order.order_local_id))

    @rule(patient=PATIENTS)
    def upload(self, patient: str) -> None:
        self.world.upload(patient)

    @rule(endpoint=st.sampled_from(["events", "results"]), fail=st.booleans(), most=st.integers(1, 5))
    def receive(self, endpoint: str, fail: bool, most: int) -> None:
        self.world.receive(endpoint, fail=fail, most=most)

    @rule()
    def end_with_an_event_in_hand(self) -> None:
        self.world.hold()

    @rule()
    def restart_client(self) -> None:
        self.world.restart_client()

    # -- the other side, and what lies between --------------------------------------------------------------

    @rule(turns=st.integers(1, 3))
    def step(self, turns: int) -> None:
        self.world.step(turns)

    @rule()
    def restart_sandbox(self) -> None:
        self.world.restart_sandbox()

    @rule(duplicates=CHANCE, delays=CHANCE, reordering=CHANCE, unknown_kinds=CHANCE, malformed=CHANCE)
    def set_faults(self, **chances: float) -> None:
        self.world.set_faults(FaultSettings(**chances))
        self.faultless = False

    @rule(line=st.sampled_from(["up", "down", "loses answers"]))
    def line(self, line: str) -> None:
        self.world.line = line

    @rule(seconds=st.sampled_from([1.0, 5.0, 30.0, 600.0]))
    def pass_time(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @rule()
    def set_the_clock_back(self) -> None:
        self.world.clock.set_back(3600.0)

    # -- what holds -----------------------------------------------------------------------------------------

    @invariant()
    def what_arrives_is_the_beginning_of_what_was_accepted(self) -> None:
        arrived = list(self.world.arrived)
        assert arrived == self.world.accepted[: len(arrived)]

    @invariant()
    def each_is_handled_once(self) -> None:
        assert len(self.world.handled) == len(set(self.world.handled))

    @invariant()
    def the_ledger_never_goes_back(self) -> None:
        for one in self.world.client.ledger.orders():
            rank = STAGES.index(one.stage)
            assert rank >= self.stages.get(one.local_id, 0)
            self.stages[one.local_id] = rank

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self.let_all_come_to_an_end()
            self.check_the_end()
        finally:
            self.world.close()

    def let_all_come_to_an_end(self) -> None:
        world = self.world
        world.line = "up"
        world.set_faults(FaultSettings())
        quiet = 0
        for turn in range(400):
            before = len(world.handled)
            for order in self.submitted:
                local_id = str(order.order_local_id)
                if world.is_finished(local_id):
                    continue
                # now and then only: an order waits as long as further images of its patient come
                if turn % 4 == 0 and "ImageReceipt" not in world.kinds(local_id):
                    assert order.patient is not None
                    world.upload(str(order.patient.local_id))
                if not world.auto_grade:
                    world.grade(local_id)
            world.pass_time(60.0)
            world.step(2)
            world.receive("events")
            world.receive("results")
            ended = all(world.is_finished(str(order.order_local_id)) for order in self.submitted)
            quiet = quiet + 1 if ended and len(world.handled) == before else 0
            if quiet == 12:  # longer than anything is delayed
                return
        raise AssertionError("some orders do not end")

    def check_the_end(self) -> None:
        world = self.world
        assert world.client.outbox.waiting() == []
        assert world.arrived == world.accepted
        assert set(world.handled) == {transaction_of(one) for one in world.sent}
        world.restart_sandbox()  # so that its faults are counted
        dead = world.dead_letters()
        assert {one.attributes["DeadLetterReason"] for one in dead} <= {"unreadable"}
        assert len(dead) == world.made["malformed"]
        known = {str(order.order_local_id) for order in self.submitted}
        assert {one.order_local_id for one in [*world.events, *world.results]} <= known
        for local_id in known:
            self.check_order(local_id)

    def check_order(self, local_id: str) -> None:
        world = self.world
        events = [one for one in world.events if one.order_local_id == local_id and not isinstance(one, UnknownEvent)]
        kinds = [str(one.result_object_type) for one in events]
        single = [kind for kind in kinds if kind != "ImageReceipt"]
        assert len(single) == len(set(single))
        assert all(one.success for one in events if str(one.result_object_type) != "OrderCancelled")
        finals = [one for one in world.results if one.order_local_id == local_id and str(one.result_code) == "F"]
        tracked = world.client.ledger.order(local_id)
        assert tracked is not None
        if "OrderCancelled" in kinds:
            assert "OrderGradedEvent" not in kinds
            assert finals == []
            assert tracked.stage == "cancelled"
        else:
            assert len(finals) == 1
            assert set(kinds) == set(DOCUMENTED)
            assert tracked.stage == "result"
        if self.faultless:
            first = [kind for kind in dict.fromkeys(kinds) if kind in DOCUMENTED]
            assert first == DOCUMENTED[: len(first)]


@pytest.mark.timeout(1200)
def test_whatever_happens(long_run: bool) -> None:
    examples, steps = (400, 50) if long_run else (60, 30)
    bounds = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    run_state_machine_as_test(Workflow, settings=bounds)  # type: ignore[no-untyped-call]
