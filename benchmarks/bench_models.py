"""Reading and writing IRIS messages, beside ``json.loads`` and ``json.dumps`` of the same bytes.

    python benchmarks/bench_models.py [--json] [--count 10000] [--repeats 5]

Every case is run with both in turn, in one process, ``--count`` messages each (a tenth of it with the large report).
The ratio is that of the two times within one repeat; printed is the median over the repeats. Reading is to cost at most
ten times ``json.loads``; for writing there is no limit. The garbage collector stays on, as in a program.

``--json`` prints one object: ``{"benchmark", "python", "count", "repeats", "cases": [{"case", "bytes", "count",
"json_us", "models_us", "ratio", "limit"}]}``, times in microseconds a message.
"""

import argparse
import base64
import json
import platform
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

from clouddirect.orders.models import read_event, read_result, to_wire

READ_LIMIT = 10.0

EVENT = {
    "TransactionId": "6b1f5a52-91c5-4f0c-9d0e-5c3f0f6f1a11",
    "Timestamp": "2025-03-04T09:15:42.1234567+00:00",
    "IrisOrderId": 2204035,
    "OrderLocalId": "0c5b8b0e-3a83-4ce5-8f39-3f8cf1f0a7d2",
    "PatientLocalId": "MRN-0042",
    "ImageLocalId": "0c5b8b0e-01",
    "IrisImageId": 3377459,
    "Success": True,
    "ErrorMessage": None,
    "ResultObjectType": "ImageReceipt",
    "Version": "2.3.1",
}


def result(report_bytes: int) -> dict[str, Any]:
    """An order result as IRIS sends it, with a report of so many random bytes."""
    moment = "2025-03-04T09:15:42.1234567+00:00"
    person = {"First": "Jane", "Last": "Roe"}
    provider = {"NPI": "1234567893", "Taxonomy": "207W00000X", "Name": {"Title": "Dr", **person}, "Degrees": "MD"}
    camera = {"LocalId": "CAM-7", "SerialNumber": "CAM-7", "Manufacturer": "Example", "Model": "F1"}
    images = [
        {
            "LocalId": None,
            "Taken": moment,
            "Received": moment,
            "FileName": f"5f0c9d0e-{side}.jpg",
            "Laterality": side,
            "ImageContext": "Primary",
            "ParentLocalId": None,
            "GroupId": None,
            "GroupOrdinal": None,
            "Camera": camera,
        }
        for side in ("OD", "OS")
    ]
    findings = [
        {"Finding": "Diabetic Retinopathy", "Result": "Mild"},
        {"Finding": "Macular Edema", "Result": "None"},
    ]
    eye = {"Gradable": True, "MissingEyeReason": None, "UngradableReasons": [], "Findings": findings}
    content = base64.b64encode(random.Random(1).randbytes(report_bytes)).decode() if report_bytes else None
    return {
        "Version": "2.3.1",
        "Timestamp": moment,
        "TransactionId": "6b1f5a52-91c5-4f0c-9d0e-5c3f0f6f1a11",
        "ResultCode": "F",
        "Success": True,
        "ErrorMessage": None,
        "Site": {"LocalId": "PC1", "Name": "Clinic"},
        "ResultsDocument": {"Type": "PDF", "Encoding": "Base64", "Content": content},
        "ImageDetails": {"TotalCount": 2, "RightEyeCount": 1, "LeftEyeCount": 1, "SingleEyeOnly": False},
        "Images": images,
        "Order": {
            "PatientOrderId": 1094030,
            "Status": "Complete",
            "LocalId": "ORD-0042",
            "EvaluationTypes": ["DR"],
            "CreatedTime": moment,
            "ServicedTime": moment,
            "State": "FL",
            "SingleEyeOnly": False,
        },
        "Patient": {"LocalId": "MRN-0042", "Name": person, "Dob": "12/1/1961", "Gender": "F"},
        "OrderingProvider": provider,
        "Gradings": {
            "Notes": [{"Date": moment, "Text": "Clear media."}],
            "GradedTime": moment,
            "QueuedTime": moment,
            "CarePlanName": "Return in 6 months",
            "CarePlanDescription": "Have the patient return for another exam.",
            "Pathology": True,
            "Urgent": False,
            "Emergent": False,
            "OD": eye,
            "OS": eye,
            "DxCodes": ["E113291"],
            "Provider": provider,
        },
        "CameraOperator": {"UserName": "operator", "Name": person, "Notes": None},
        "HealthPlan": {"LocalId": "1", "Name": "Plan", "MemberId": "42"},
        "Cpt": {"Code": "92250", "Description": "Fundus photography"},
    }


def seconds(work: Callable[[Any], object], argument: Any, count: int) -> float:
    """Time of ``count`` calls."""
    start = time.perf_counter()
    for _ in range(count):
        work(argument)
    return time.perf_counter() - start


def side_by_side(
    case: str,
    size: int,
    theirs: tuple[Callable[[Any], object], Any],
    ours: tuple[Callable[[Any], object], Any],
    count: int,
    repeats: int,
    limit: float | None,
) -> dict[str, Any]:
    """Run both in turn and report the medians."""
    pairs = [(seconds(*theirs, count), seconds(*ours, count)) for _ in range(repeats)]
    return {
        "case": case,
        "bytes": size,
        "count": count,
        "json_us": round(statistics.median(pair[0] for pair in pairs) / count * 1e6, 2),
        "models_us": round(statistics.median(pair[1] for pair in pairs) / count * 1e6, 2),
        "ratio": round(statistics.median(pair[1] / pair[0] for pair in pairs), 2),
        "limit": limit,
    }


def run(count: int, repeats: int) -> dict[str, Any]:
    """All cases."""
    large = max(1, count // 10)
    cases: list[dict[str, Any]] = []
    for name, message, read, times in (
        ("event", EVENT, read_event, count),
        ("result without report", result(0), read_result, count),
        ("result with 3 KB report", result(2_250), read_result, count),
        ("result with 300 KB report", result(225_000), read_result, large),
    ):
        body = json.dumps(message, separators=(",", ":")).encode()
        model = read(body)
        size = len(body)
        cases.append(side_by_side(f"read {name}", size, (json.loads, body), (read, body), times, repeats, READ_LIMIT))
        cases.append(side_by_side(f"write {name}", size, (json.dumps, message), (to_wire, model), times, repeats, None))
    return {
        "benchmark": "models",
        "python": platform.python_version(),
        "count": count,
        "repeats": repeats,
        "cases": cases,
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--count", type=int, default=10_000, help="messages a case and repeat")
    parser.add_argument("--repeats", type=int, default=5, help="repeats, of which the median counts")
    options = parser.parse_args()
    report = run(options.count, options.repeats)
    if options.json:
        print(json.dumps(report))
        return
    print(f"{'case':<34}{'bytes':>8}{'json µs':>10}{'models µs':>11}{'ratio':>7}{'limit':>7}")
    for case in report["cases"]:
        limit = "" if case["limit"] is None else f"{case['limit']:g}"
        print(
            f"{case['case']:<34}{case['bytes']:>8}{case['json_us']:>10}{case['models_us']:>11}"
            f"{case['ratio']:>7}{limit:>7}"
        )


if __name__ == "__main__":
    main()
