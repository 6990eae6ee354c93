"""Submit an order with two images. Needs settings: `clouddirect init --provider local` makes a first file."""

from clouddirect import CloudDirect
from clouddirect.orders import ImageFile
from clouddirect.orders.models import Name, Order, OrderRequest, Patient, PersonGender

order = OrderRequest(
    order=Order(local_id="ORD-1001", evaluation_types=["DR", "Glaucoma"]),
    patient=Patient(
        local_id="MRN-77",
        name=Name(first="Ann", last="Example"),
        dob="1961-12-01",
        genders=[PersonGender(context="BirthGender", gender="F")],
    ),
)
images = [ImageFile(source="right.jpg", laterality="OD"), ImageFile(source="left.jpg", laterality="OS")]

with CloudDirect.from_settings() as iris:
    submission = iris.submit(order, images=images)
    print("sent as message", submission.receipt.message_id)
    for warning in submission.warnings:
        print("look at", warning.path, warning.message)
