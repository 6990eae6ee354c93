"""What the tests of the object model share: published samples, and messages written for these tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SAMPLES = Path(__file__).parents[3] / ".." / "shared" / "domain" / "samples"

GUID = "63e3c9ef-66ac-4154-b0c2-494515eb99a7"


@pytest.fixture
def sample() -> Callable[[str], bytes]:
    """Reads a published sample; skips where the samples are not beside the checkout."""

    def read(name: str) -> bytes:
        if not SAMPLES.is_dir():
            pytest.skip("the published samples are not beside this checkout")
        return (SAMPLES / name).read_bytes()

    return read


@pytest.fixture
def new_order() -> dict[str, Any]:
    """A new order without a fault, in its wire form."""
    return {
        "Version": "2.3.1",
        "ClientGuid": GUID,
        "OrderControlCode": "NW",
        "Site": {"LocalId": "PC1"},
        "Camera": {
            "LocalId": "CAM-7",
            "Images": [
                {
                    "Taken": "2025-03-04T09:15:42.1234567+01:00",
                    "AzureBlobStorage": {"Container": "images", "FileName": "a.jpg"},
                    "Laterality": "OD",
                },
                {
                    "Taken": "2025-03-04T09:16:42+01:00",
                    "AzureBlobStorage": {"Container": "images", "FileName": "b.jpg"},
                    "Laterality": "OS",
                    "ImageContext": "SecondaryViewField",
                },
            ],
        },
        "Order": {"EvaluationTypes": ["DR", "AMD"], "LocalId": "ORD-1", "ScheduledTime": "3/4/2025", "State": "FL"},
        "Patient": {
            "LocalId": "MRN-1",
            "Name": {"First": "Jane", "Last": "Roe"},
            "Dob": "12/1/1961",
            "Genders": [{"Context": "BirthGender", "Gender": "F"}],
            "DxCode": "E11.9",
        },
        "OrderingProvider": {"NPI": "1234567893"},
    }


@pytest.fixture
def order_result() -> dict[str, Any]:
    """A graded result without a fault, in its wire form: right eye graded, left eye ungradable."""
    return {
        "Version": "2.3.1",
        "Timestamp": "2025-03-05T10:00:00.1234567+00:00",
        "TransactionId": "0c5b8b0e-3a83-4ce5-8f39-3f8cf1f0a7d2",
        "ResultCode": "F",
        "Success": True,
        "Site": {"LocalId": "PC1"},
        "ResultsDocument": {"Type": "PDF", "Encoding": "Base64", "Content": "JVBERi0xLjcK"},
        "Images": [{"LocalId": "I1", "Laterality": "OD", "Camera": {"LocalId": "CAM-7"}}],
        "Order": {"LocalId": "ORD-1", "PatientOrderId": 12, "Status": "Complete", "EvaluationTypes": ["DR"]},
        "Patient": {"LocalId": "MRN-1", "Name": {"First": "Jane", "Last": "Roe"}, "Dob": "12/1/1961"},
        "Gradings": {
            "Notes": [{"Date": "2025-03-05T09:00:00+00:00", "Text": "Clear media."}],
            "Pathology": True,
            "OD": {"Gradable": True, "Findings": [{"Finding": "Diabetic Retinopathy", "Result": "Mild"}]},
            "OS": {"Gradable": False, "UngradableReasons": ["Blurred"]},
        },
    }
