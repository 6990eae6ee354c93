"""The rules for grading submissions, events and order results. Known from the IRIS integration guide."""

from clouddirect.errors import InvalidMessageError
from clouddirect.orders.models.checks import Checks, Problem, is_guid
from clouddirect.orders.models.events import Event, UnknownEvent
from clouddirect.orders.models.grading import PUBLISHED_FINDINGS, EyeSideGrading, Finding, GradingSubmission
from clouddirect.orders.models.result import OrderResult

__all__ = ["problems_event", "problems_grading", "problems_result"]


def problems_grading(grading: GradingSubmission) -> list[Problem]:
    """All that is wrong with a grading submission. IRIS tells of no failure, so errors here would be silence there."""
    checks = Checks()
    checks.version(grading.version)
    checks.client_guid(grading.client_guid)
    checks.required("LocalId", grading.local_id, "Order.LocalId of the order to grade")
    if grading.site is None or grading.site.local_id is None:
        checks.warning("Site.LocalId", "is missing")
    if grading.od is None and grading.os is None:
        checks.error("OD", "is missing, and OS as well: say what was found in at least one eye")
    for path, eye in (("OD", grading.od), ("OS", grading.os)):
        if eye is not None:
            _submitted_eye(path, eye, checks)
    checks.formats(grading)
    return checks.found


def _submitted_eye(path: str, eye: EyeSideGrading, checks: Checks) -> None:
    if eye.missing_eye_reason is not None:
        for name, value in (
            ("Gradable", eye.gradable),
            ("UngradableReasons", eye.ungradable_reasons),
            ("Findings", eye.findings),
        ):
            if value is not None and value != []:
                checks.error(f"{path}.{name}", "must not be given: a missing eye has only MissingEyeReason")
    elif eye.gradable is None:
        checks.error(f"{path}.Gradable", "is required: true, or false with a reason, or MissingEyeReason alone")
    elif eye.gradable:
        if eye.ungradable_reasons:
            checks.error(f"{path}.UngradableReasons", "must not be given for a gradable eye")
        for index, finding in enumerate(eye.findings):
            _finding(f"{path}.Findings[{index}]", finding, checks)
    else:
        if eye.findings:
            checks.error(f"{path}.Findings", "must not be given: an ungradable eye has none")
        if len(eye.ungradable_reasons) != 1:
            checks.error(f"{path}.UngradableReasons", "must hold exactly one reason for an ungradable eye")


def _finding(path: str, finding: Finding, checks: Checks) -> None:
    if finding.finding is None:
        checks.error(f"{path}.Finding", "is required")
        return
    if finding.finding not in PUBLISHED_FINDINGS:
        checks.warning(f"{path}.Finding", "is not a published finding")
        return
    results = PUBLISHED_FINDINGS[finding.finding]
    if results == ():
        if finding.result is not None:
            checks.warning(f"{path}.Result", "must not be given with this finding")
    elif finding.result is None:
        checks.warning(f"{path}.Result", "is missing: this finding has a level")
    elif results is not None and finding.result not in results:
        checks.warning(f"{path}.Result", "is not a published level of this finding")


def problems_event(event: Event) -> list[Problem]:
    """What is odd about an event. Only one without a kind is an error; everything else can be processed."""
    checks = Checks()
    if checks.required("ResultObjectType", event.result_object_type, "it names the kind of the event") and isinstance(
        event, UnknownEvent
    ):
        checks.warning("ResultObjectType", "is a kind of event that this library does not know")
    _envelope(event, checks)
    if event.order_local_id is None:
        checks.warning("OrderLocalId", "is missing: the event cannot be matched to an order")
    checks.formats(event)
    return checks.found


def problems_result(result: OrderResult) -> list[Problem]:
    """What is odd about an order result. Only a report that cannot be decoded is an error."""
    checks = Checks()
    _envelope(result, checks)
    if result.order_local_id is None:
        checks.warning("Order.LocalId", "is missing: the result cannot be matched to an order")
    if result.gradings is None and result.success is not False:
        checks.warning("Gradings", "is missing, although the result does not say that it failed")
    for side, eye in result.gradings.eyes() if result.gradings else []:
        _graded_eye(f"Gradings.{side}", eye, checks)
    try:
        result.report()
    except InvalidMessageError as error:
        path, _, message = str(error).partition(": ")
        checks.error(path, message)
    checks.formats(result)
    return checks.found


def _graded_eye(path: str, eye: EyeSideGrading, checks: Checks) -> None:
    if eye.gradable is None and eye.missing_eye_reason is None:
        checks.warning(f"{path}.Gradable", "is missing: findings cannot be relied on")
    elif eye.gradable is False:
        if eye.findings:
            checks.warning(f"{path}.Findings", "are given although the eye is ungradable: do not rely on them")
        if not eye.ungradable_reasons and eye.missing_eye_reason is None:
            checks.warning(f"{path}.UngradableReasons", "is missing: nothing says why the eye is ungradable")
    for index, finding in enumerate(eye.findings):
        if finding.finding is None:
            checks.warning(f"{path}.Findings[{index}].Finding", "is missing")


def _envelope(message: Event | OrderResult, checks: Checks) -> None:
    if message.transaction_id is None:
        checks.warning("TransactionId", "is missing: a repeated message cannot be told from a new one")
    elif not is_guid(message.transaction_id):
        checks.warning("TransactionId", "is not a GUID")
    if message.timestamp is None:
        checks.warning("Timestamp", "is missing")
