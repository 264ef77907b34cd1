"""What ledgers and fault log say, as the judge reads it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.soak.chaos import NETWORK, PROCESS, SERVER
from tests.soak.ledger import Reading

FAULT_LOG = "faults.ledger"
AFTERMATH = 5.0
"""Seconds after its end in which a fault still shows: elections, reconnects, redeliveries."""

_AROUND = 10.0  # seconds around a violation whose faults are named


class Fault(NamedTuple):
    family: str
    kind: str
    target: str
    begin: float
    end: float


class Run(NamedTuple):
    """One run of a handler."""

    process: str
    channel: str
    seq: int
    event: str
    count: int  # type: ignore[assignment]
    begin: float


@dataclass
class Process:
    """What one ledger says."""

    name: str
    program: str = ""
    semantics: tuple[str, ...] = ()
    proxied: bool = False
    acks: list[dict[str, Any]] = field(default_factory=list)
    begun: list[Run] = field(default_factory=list)
    good: set[Run] = field(default_factory=set)
    """Those that came to a good end."""
    memory: list[tuple[float, int]] = field(default_factory=list)
    live: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    others: list[dict[str, Any]] = field(default_factory=list)
    stderr: str = ""


class Evidence:
    """All ledgers in `folder`, and the fault log."""

    def __init__(self, folder: Path) -> None:
        self.began, self.healed, self.faults = _read_faults(folder / FAULT_LOG)
        ledgers = [path for path in sorted(folder.glob("*.ledger")) if path.name != FAULT_LOG]
        self.processes = {path.stem: _read_process(path) for path in ledgers}
        for process in self.processes.values():
            for line in process.others:
                if line["what"] == "stall":
                    times = line["begin"], line["at"]
                    self.faults.append(Fault(PROCESS, "standstill of", process.name, *times))

    def nearby(self, begin: float, end: float, processes: Collection[str]) -> Iterator[Fault]:
        """The faults between two times that can have touched one of these processes."""
        proxied = any(self.processes[name].proxied for name in processes)
        for fault in self.faults:
            if fault.begin <= end and fault.end + AFTERMATH >= begin:
                touched = {SERVER: True, NETWORK: proxied, PROCESS: fault.target in processes}
                if touched.get(fault.family, False):
                    yield fault

    def around(self, begin: float, end: float, processes: Collection[str] = ()) -> str:
        """The faults around, in words."""
        found = [
            f"{fault.kind} {fault.target} {self.at(fault.begin)} to {self.at(fault.end)}"
            for fault in self.faults
            if fault.begin < end + _AROUND and fault.end > begin - _AROUND
            if fault.family in (SERVER, NETWORK) or fault.target in processes
        ]
        return f"around: {', '.join(found) or 'no fault'}"

    def at(self, time: float) -> str:
        return f"{time - self.began:.1f} s"


def _read_process(path: Path) -> Process:
    process = Process(path.stem)
    latest: dict[tuple[int, str], Run] = {}
    for line in Reading(path).new():
        match line["what"]:
            case "process":
                process.program, process.proxied = line["program"], line["proxied"]
                process.semantics = tuple(line["semantics"])
            case "ack":
                process.acks.append(line)
            case "begin":
                fields = line["channel"], line["seq"], line["event"], line["count"], line["at"]
                run = latest[line["seq"], line["event"]] = Run(path.stem, *fields)
                process.begun.append(run)
            case "end":
                process.good.add(latest[line["seq"], line["event"]])
            case "memory":
                process.memory.append((line["at"], line["bytes"]))
            case "live":
                process.live[line["semantics"]] += line["seqs"]
            case _:
                process.others.append(line)
    stderr = path.with_suffix(".stderr")
    process.stderr = stderr.read_text(errors="replace") if stderr.exists() else ""
    return process


def _read_faults(path: Path) -> tuple[float, float, list[Fault]]:
    """When the soak began and was healed, and its faults; one without an end lasts for ever."""
    began, healed, faults, begun = 0.0, float("inf"), [], {}
    for line in Reading(path).new():
        match line["what"]:
            case "soak":
                began = line["at"]
            case "healed":
                healed = line["at"]
            case "begin":
                begun[line["number"]] = line
            case "end":
                faults.append(_fault(begun.pop(line["number"]), line["at"]))
            case "stall":
                fault = Fault(SERVER, "standstill of", "the soak", line["begin"], line["at"])
                faults.append(fault)
    return began, healed, faults + [_fault(line, float("inf")) for line in begun.values()]


def _fault(line: dict[str, Any], end: float) -> Fault:
    return Fault(line["family"], line["kind"], line["target"], line["at"], end)
