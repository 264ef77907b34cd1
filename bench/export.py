"""A channel into files: rows per second, and memory, of `lab.export` beside a frame written whole.

    python bench/export.py                   1,000,000 events
    python bench/export.py --events 100000

The alternative is `lab.frame(...)` and pandas' own writer, which holds the frame in memory. Each
measurement is a process of its own, which exports a small channel first. Memory is how far the
process's largest resident size (`ru_maxrss`) rose above its resident size just before.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from frames import FLAT, channel
from varco_nats_widgets import Lab

from varco_nats.server import LocalNats

WANTED_MB = 300
WARM = 1000
FORMATS = {"parquet": ".parquet", "dataset": "", "ndjson": ".ndjson", "csv": ".csv"}
_FILL = [sys.executable, str(Path(__file__).with_name("frames.py")), "--measure", "fill"]
_FILL += ["--kind", FLAT]


def write_frame(lab: Lab, channel: str, path: Path) -> None:
    """The whole frame, then the file."""
    frame = lab.frame(channel, max_bytes=None)
    if path.suffix == ".csv":
        frame.to_csv(path)
    elif path.suffix == ".ndjson":
        frame.reset_index().to_json(path, orient="records", lines=True, date_format="iso")
    else:
        frame.to_parquet(path)


def measure(side: str, kind: str, url: str, count: int) -> dict[str, float]:
    """Write once; for a process that does nothing else."""
    with Lab(url) as lab, tempfile.TemporaryDirectory() as folder:

        def write(rows: int) -> None:
            path, name = Path(folder) / f"c{rows}{FORMATS[kind]}", channel(FLAT, rows)
            if side == "export":
                assert lab.export(name, path).rows == rows
            else:
                write_frame(lab, name, path)

        write(WARM)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        before = pages * resource.getpagesize()
        started = time.perf_counter()
        write(count)
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    return {"rate": count / seconds, "peak": peak / 1e6}


def in_new_process(*arguments: str) -> dict[str, float]:
    command = [sys.executable, __file__, *arguments]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    result: dict[str, float] = json.loads(found)
    return result


def report(url: str, count: int, rounds: int) -> bool:
    """Measure and print; whether what is wanted was met."""
    print(f"{count:,} events{'':6}rows/s   peak MB   whole frame: rows/s   peak MB")
    worst = 0.0
    for kind in FORMATS:
        cells = []
        for side in ("export", "frame") if kind != "dataset" else ("export",):
            given = ["--measure", side, "--kind", kind, "--url", url, "--events", str(count)]
            found = [in_new_process(*given) for _ in range(rounds)]
            rate, peak = (
                statistics.median(measured[key] for measured in found) for key in ("rate", "peak")
            )
            cells += [f"{rate:,.0f}", f"{peak:,.0f}"]
            if side == "export":
                worst = max(worst, peak)
        widths = (20, 10, 22, 10)
        row = "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=False))
        print(f"{kind:10}{row}", flush=True)
    met = worst < WANTED_MB
    print(f"peak of an export {worst:,.0f} MB, wanted < {WANTED_MB}: {'met' if met else 'MISSED'}")
    return met


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=1, help="the median of so many")
    parser.add_argument("--measure", choices=["export", "frame"], help=argparse.SUPPRESS)
    parser.add_argument("--kind", choices=list(FORMATS), help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure, given.kind, given.url, given.events)))
        return
    with LocalNats() as server:
        sizes = f"{WARM},{given.events}"
        subprocess.run([*_FILL, "--url", server.url, "--sizes", sizes], check=True)
        met = report(server.url, given.events, given.rounds)
    sys.exit(not met)


if __name__ == "__main__":
    main()
