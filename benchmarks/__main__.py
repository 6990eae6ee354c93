"""Every comparison with the vendors' SDKs and with peers, in one table.

    python -m benchmarks [--only NAME …] [--quick] [--write]

Runs the scripts beside this one, one after another, each against servers that it starts itself on this machine, and
prints a table in Markdown: ours, the SDK (or the bare thing underneath) at its best, the ratio and what it must reach,
the peers; beside these API calls a message, memory, and bytes on the wire. ``--write`` puts it into docs/benchmarks.md,
in place of the last run. The exit code is 1 if a limit was missed. ``--quick`` takes few rounds and small files, to see
that everything runs; its figures mean nothing. A whole run takes about half an hour; keep the machine quiet meanwhile.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__: list[str] = []

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
BEGINS, ENDS = "<!-- last run: begins -->", "<!-- last run: ends -->"

Report = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        what: what was compared.
        ours, theirs: with their units.
        ratio: ours to theirs, in speed, or in time where ``limit`` is at most.
        limit: what the ratio must reach, such as ``>= 0.9``; empty if nothing is promised.
        others: peers and other measures.
    """

    what: str
    ours: str
    theirs: str
    ratio: float
    limit: str = ""
    others: str = ""

    @property
    def holds(self) -> bool:
        """Whether the limit is kept."""
        sign, _, bound = self.limit.partition(" ")
        return not sign or (self.ratio >= float(bound) if sign == ">=" else self.ratio <= float(bound))

    def __str__(self) -> str:
        verdict = "" if self.holds else " **missed**"
        limit = self.limit.replace(">=", "≥").replace("<=", "≤")
        return f"| {self.what} | {self.ours} | {self.theirs} | {self.ratio:.2f}{verdict} | {limit} | {self.others} |"


def imports(reports: list[Report]) -> Iterator[Row]:
    """bench_import."""
    for one in reports:
        theirs = f"{one['beside_ms']} ms (`{one['beside']}`)"
        yield Row(f"`{one['ours']}`", f"{one['ours_ms']} ms", theirs, one["ratio"], f"<= {one['limit']}")


def models(reports: list[Report]) -> Iterator[Row]:
    """bench_models."""
    for case in reports[0]["cases"]:
        limit = f"<= {case['limit']}" if case["limit"] else ""
        theirs = f"{case['json_us']} µs (`json`)"
        yield Row(f"{case['case']}, {case['bytes']} bytes", f"{case['models_us']} µs", theirs, case["ratio"], limit)


def local_broker(reports: list[Report]) -> Iterator[Row]:
    """bench_local_broker."""
    (report,) = reports
    for what, name in (("send_many", "local send_many"), ("receive_ack", "local receive and ack")):
        one = report[what]
        ours, bare = (f"{report['messages'] / one[side]:,.0f}/s" for side in ("broker_s", "bare_s"))
        yield Row(name, ours, f"{bare} (bare sqlite3)", one["ratio"], f"<= {one['limit']}")


def local_store(reports: list[Report]) -> Iterator[Row]:
    """bench_local_store."""
    for one in reports:
        ours, copied = (f"{one['size_mib'] / one[name]:,.0f} MiB/s" for name in ("seconds", "copy_seconds"))
        yield Row(f"{one['benchmark']}, {one['size_mib']} MiB", ours, f"{copied} (copyfile, fsync)", one["ratio"])


def servicebus(reports: list[Report]) -> Iterator[Row]:
    """bench_servicebus."""
    for one in reports:
        rates = one["per_second"]
        pattern = {side: rate for side, rate in rates.items() if "new for each" in side}
        raw = {side: rate for side, rate in rates.items() if side.startswith("sdk") and side not in pattern}
        best = max(raw, key=raw.__getitem__)
        ours, theirs = f"{rates['broker']:,.0f}/s", f"{raw[best]:,.0f}/s ({best})"
        limit = ">= 0.9" if one["limit"] < 1 else ""
        yield Row(f"azure {one['what']}", ours, theirs, rates["broker"] / raw[best], limit)
        for side, rate in pattern.items():
            yield Row(f"azure {one['what']}", ours, f"{rate:,.1f}/s ({side})", rates["broker"] / rate, ">= 1000")


_AWS = {"send": "aws send_many", "receive": "aws receive and delete"}


def sqs(reports: list[Report]) -> Iterator[Row]:
    """bench_sqs."""
    (calls,) = (one for one in reports if one["what"] == "calls")
    for one in reports:
        if one is calls:
            continue
        for name in ("boto3", "kombu"):
            ours, theirs = f"{one['broker_per_s']:,.0f}/s", f"{one[f'{name}_per_s']:,.0f}/s ({name})"
            yield Row(_AWS[one["what"]], ours, theirs, one[f"to_{name}"], f">= {one[f'limit_{name}']}")
    for what in ("send", "receive", "delete"):
        yield Row(f"aws API calls a message, {what}", f"{calls[what]:.4f}", "0.1 (the optimum)", calls[what] / 0.1,
                  f"<= {calls['limit'] / 0.1:.2f}")  # fmt: skip


def pubsub(reports: list[Report]) -> Iterator[Row]:
    """bench_pubsub."""
    for one in reports:
        single = one["what"] == "single"
        form = (lambda value: f"{value:.2f} ms") if single else (lambda value: f"{value:,.0f}/s")
        values, ours, best = one["values"], one["ours"], one["best"]
        others = ", ".join(f"{way}: {form(value)}" for way, value in values.items() if way not in (ours, best))
        limit = f"{'<=' if single else '>='} {one['limit']}"
        yield Row(f"gcp {ours}", form(values[ours]), f"{form(values[best])} ({best})", one["ratio"], limit, others)


def transfers(reports: list[Report]) -> Iterator[Row]:
    """bench_transfers."""
    cases: dict[tuple[Any, ...], dict[str, Report]] = {}
    for one in reports:
        case = (one["cloud"], one["direction"], one["size_mib"], one["place"])
        cases.setdefault(case, {})[one["way"]] = one
    for (cloud, direction, size, place), ways in cases.items():
        ours, sdk, obstore = (ways[name] for name in ("clouddirect", "sdk", "obstore"))
        promised = place == "line" and size == 200
        what = f"{cloud} {direction}, {size} MiB, {place}"
        others = f"obstore: {obstore['mib_per_s']} MiB/s"
        if size >= 20:
            others += f"; memory {ours['memory_mib']:.0f} MiB, SDK {sdk['memory_mib']:.0f}"
            others += f", obstore {obstore['memory_mib']:.0f}"
        speeds = (f"{way['mib_per_s']} MiB/s" for way in (ours, sdk))
        yield Row(what, *speeds, ours["speed_ratio"], ">= 0.95" if promised else "", others)
        if promised and cloud == "azure":
            memory = (f"{way['memory_mib']:.0f} MiB" for way in (ours, sdk))
            yield Row(f"{what}: memory", *memory, ours["memory_ratio"], "<= 0.5")


def wire(reports: list[Report]) -> Iterator[Row]:
    """bench_transfers --bytes."""
    for one in reports:
        what = f"{one['cloud']} {one['direction']}, {one['size_mib']} MiB: bytes of bodies on the wire"
        yield Row(what, f"{one['wire_ratio']:.4f} of the file's", "1", one["wire_ratio"], "<= 1.1",
                  f"{one['requests']} requests")  # fmt: skip


#: Name, command, what makes rows of its reports, and what makes it quick.
COMPARISONS: dict[str, tuple[list[str], Callable[[list[Report]], Iterator[Row]], list[str]]] = {
    "import": (["bench_import.py"], imports, ["--repeats", "2"]),
    "models": (["bench_models.py"], models, ["--count", "100", "--repeats", "1"]),
    "local-broker": (["bench_local_broker.py"], local_broker,
                     ["--messages", "500", "--repeats", "1", "--idle-seconds", "1", "--arrivals", "3"]),
    "local-store": (["bench_local_store.py"], local_store, ["--sizes", "1", "--rounds", "1"]),
    "servicebus": (["bench_servicebus.py"], servicebus, ["--messages", "200", "--rounds", "1"]),
    "sqs": (["bench_sqs.py"], sqs, ["--messages", "200", "--rounds", "1"]),
    "pubsub": (["bench_pubsub.py"], pubsub, ["--messages", "500", "--rounds", "1", "--singles", "10"]),
    "transfers": (["bench_transfers.py"], transfers, ["--sizes", "1", "20", "--rounds", "1", "--places", "loopback"]),
    "wire": (["bench_transfers.py", "--bytes", "--sizes", "40"], wire, ["--sizes", "10"]),
}  # fmt: skip


def run(name: str, quick: bool) -> list[Row]:
    """Run one script and return its rows."""
    command, rows, quickly = COMPARISONS[name]
    print(f"{name} …", file=sys.stderr, flush=True)
    words = [sys.executable, str(HERE / command[0]), "--json", *command[1:], *(quickly if quick else [])]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {done.returncode}")
    return list(rows([json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]))


def main() -> None:
    """Run what is asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(COMPARISONS), default=list(COMPARISONS), metavar="NAME",
                        help=f"some of: {', '.join(COMPARISONS)}")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="few rounds and small files; the figures mean nothing")
    parser.add_argument("--write", nargs="?", type=Path, const=PAGE, metavar="PAGE",
                        help="put the table into docs/benchmarks.md, or another page")  # fmt: skip
    options = parser.parse_args()
    lines = [
        f"{datetime.date.today().isoformat()}, `python -m benchmarks`, Python {platform.python_version()}, "
        f"{platform.system()}, {os.cpu_count()} cores, servers on the same machine:",
        "",
        "| comparison | ours | at its best | ratio | must reach | others |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    print("\n".join(lines), flush=True)
    rows = []
    for name in options.only:
        for row in run(name, options.quick):
            rows.append(row)
            print(row, flush=True)
    if options.write:
        before, _, rest = options.write.read_text(encoding="utf-8").partition(BEGINS)
        table = "\n".join([*lines, *map(str, rows)])
        options.write.write_text(f"{before}{BEGINS}\n{table}\n{ENDS}{rest.partition(ENDS)[2]}", encoding="utf-8")
    sys.exit(any(not row.holds for row in rows))


if __name__ == "__main__":
    main()
