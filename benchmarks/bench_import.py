"""What importing clouddirect costs, beside pydantic, which it is built on.

    python benchmarks/bench_import.py [--repeats N] [--json]

Each import runs in a fresh interpreter with warm bytecode; the time is that of the import statement alone. The pairs
are interleaved and the medians compared. Limits: `import clouddirect` at most 1.5 × `import pydantic`, `from
clouddirect import CloudDirect` at most 3 × `from pydantic import BaseModel`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys

PAIRS = [
    ("import clouddirect", "import pydantic", 1.5),
    ("from clouddirect import CloudDirect", "from pydantic import BaseModel", 3.0),
]


def seconds(statement: str) -> float:
    """Time one import in a fresh interpreter."""
    script = f"import time; began = time.perf_counter(); {statement}; print(time.perf_counter() - began)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    for ours, theirs, limit in PAIRS:
        seconds(ours), seconds(theirs)  # write the bytecode
        pairs = [(seconds(ours), seconds(theirs)) for _ in range(arguments.repeats)]
        mine, other = (statistics.median(column) for column in zip(*pairs, strict=True))
        row = {"ours": ours, "beside": theirs, "ours_ms": round(mine * 1e3, 2), "beside_ms": round(other * 1e3, 2),
               "ratio": round(mine / other, 2), "limit": limit}  # fmt: skip
        line = f"{ours}: {mine * 1e3:.2f} ms; {theirs}: {other * 1e3:.2f} ms; ratio {mine / other:.2f} (limit {limit})"
        print(json.dumps(row) if arguments.json else line)


if __name__ == "__main__":
    main()
