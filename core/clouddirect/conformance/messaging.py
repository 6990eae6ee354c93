"""`MessagingConformance`: what every message broker passes, ours and third parties'.

Inherit it in a test module, override what `MessagingHarness` asks for, and run it with pytest::

    class TestMyMessaging(MessagingConformance):
        def make_broker(self, **runtime):
            return MyBroker(options_of_this_test, BrokerRuntime(**runtime))

        def new_queue(self, **wishes):
            return make_a_queue_by_your_own_means(**wishes)

        def missing_queue(self):
            return "no-such-queue"

Each case states its promise in its docstring. A case for which the harness has nothing to offer, or that needs a
capability the provider does not declare, is skipped with the reason; that what is not declared is refused is a case of
its own. The suite runs in real time, so it suits real services as well as test servers.
"""

from __future__ import annotations

from clouddirect.conformance.messaging_access import AccessCases
from clouddirect.conformance.messaging_content import ContentCases
from clouddirect.conformance.messaging_harness import MessagingHarness
from clouddirect.conformance.messaging_leases import LeaseCases
from clouddirect.conformance.messaging_load import LoadCases
from clouddirect.conformance.messaging_settling import SettlingCases
from clouddirect.conformance.messaging_timing import TimingCases

__all__ = ["MessagingConformance", "MessagingHarness"]


class MessagingConformance(ContentCases, SettlingCases, LeaseCases, TimingCases, LoadCases, AccessCases):
    """All cases; see `MessagingHarness` for what a provider's test class overrides."""
