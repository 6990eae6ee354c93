"""Rules for dates that contradict each other or today. They warn: nothing is known of how IRIS takes such dates."""

from datetime import date, datetime, timedelta

from clouddirect.orders.models.checks import Checks
from clouddirect.orders.models.order import OrderRequest

__all__ = ["check_dates"]

#: An exam further away than this is taken for a slip of the keyboard.
_FAR = timedelta(days=5 * 365)


def check_dates(order: OrderRequest, checks: Checks, today: date) -> None:
    """Warn of dates that make no sense; ``today`` is the latest day that it may be anywhere."""
    born = order.patient.dob if order.patient else None
    if born is not None and born > today:
        born = None  # an error already
    scheduled = _day(order.order.scheduled_time) if order.order else None
    if scheduled is not None:
        if abs(scheduled - today) > _FAR:
            checks.warning("Order.ScheduledTime", "is more than five years away")
        if born is not None and scheduled < born:
            checks.warning("Order.ScheduledTime", "is before the patient's birth")
    for index, image in enumerate(order.camera.images or [] if order.camera else []):
        taken = _day(image.taken)
        if taken is None:
            continue
        if taken > today:
            checks.warning(f"Camera.Images[{index}].Taken", "lies in the future")
        if born is not None and taken < born:
            checks.warning(f"Camera.Images[{index}].Taken", "is before the patient's birth")
    plan = order.health_plan
    if plan is not None:
        begins, ends = _day(plan.effective_date), _day(plan.expiration_date)
        if begins is not None and ends is not None and ends < begins:
            checks.warning("HealthPlan.ExpirationDate", "is before EffectiveDate")


def _day(value: date | datetime | None) -> date | None:
    return value.date() if isinstance(value, datetime) else value
