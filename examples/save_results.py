"""Handle events and results until the first report is on disk."""

from pathlib import Path

from clouddirect import CloudDirect
from clouddirect.orders import ImageFile, save_report
from clouddirect.orders.models import Event, Name, Order, OrderRequest, OrderResult, Patient, PersonGender


def on_event(event: Event) -> None:
    print(event.order_local_id, event.result_object_type)


def on_result(result: OrderResult) -> None:
    print("report saved as", save_report(result, "reports"))
    iris.stop()


with CloudDirect.from_settings() as iris:
    iris.submit(
        OrderRequest(
            order=Order(local_id="ORD-1002", evaluation_types=["DR"]),
            patient=Patient(
                local_id="MRN-78",
                name=Name(first="Ben", last="Example"),
                dob="1958-03-09",
                genders=[PersonGender(context="BirthGender", gender="M")],
            ),
        ),
        images=[ImageFile(source="right.jpg", laterality="OD")],
    )
    iris.run(on_event, on_result)

assert list(Path("reports").glob("*.pdf"))
