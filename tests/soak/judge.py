"""What was promised, and whether it was kept: ledgers and fault log beside what the streams hold.

Broken promises, whatever the faults:
- lost: a publish was acknowledged, and some replica does not have the event at that sequence
- stored twice: an event under `exactly_once` and `at_most_once`, a replay under each
- stored out of order: events of one producer and channel that were published one after the other
- never handled: neither handled nor dead-lettered, under `at_least_once` and `exactly_once`
- dead letters lost: an event that always fails is neither in the queue nor replayed
- handled twice: under `at_most_once` with no fault of a server nearby, under `exactly_once` with
  none at all. Twice is: begun twice under `at_most_once`, else come to a good end twice.
- handled out of order: what one process gets first deliveries of (delivery count 1), of one
  channel, has rising sequences, unless a server had a fault nearby, after which it may count anew
- silent: nothing acknowledged to a producer, or nothing begun by a consumer, for `SILENT_SECONDS`
- a live frame or a frame that lacks, repeats or makes up rows; replicas that differ; raw errors,
  leaks, growth, and processes that do not go on or do not end

A fault is nearby when it was under way between the two events or had ended less than `AFTERMATH`
before. A process that stood still, as on a busy machine, had a fault; where the soak's own did,
the servers had one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from tests.soak.chaos import NETWORK, PROCESS, SERVER
from tests.soak.ledger import Reading
from tests.soak.streams import Contents
from tests.soak.worker import ACK_WAIT, AT_LEAST_ONCE, AT_MOST_ONCE, EXACTLY_ONCE

FAULT_LOG = "faults.ledger"
AFTERMATH = 5.0
"""Seconds after its end in which a fault still shows: elections, reconnects, redeliveries."""
SILENT_SECONDS = 90.0
"""Longer than any fault, with those that may follow it at once."""
GROWTH_BYTES = {"watcher": 300_000_000}
"""How much a process may grow after its first minute; a watcher holds frames."""

_GROWTH_BYTES = 60_000_000  # of the others
_GROWING_SINCE = 60.0
_SHOWN = 5  # violations of one kind that are shown
_AROUND = 10.0  # seconds around a violation whose faults are named
_NOBODY_DID = ("was deleted",)  # what is told of things that the soak never does

_ROWS = (
    *("acknowledged", "acknowledged and lost", "longest silence in s"),
    *("stored twice", "stored out of order", "replicas differ"),
    *("never handled", "handled twice, server fault nearby"),
    *("handled twice, other fault nearby", "handled twice, no fault nearby"),
    *("handled out of order", "handled out of order, server fault"),
    *("dead letters replayed", "replayed twice", "dead letters lost"),
    *("dead letters left", "dead letters not replayed"),
    *("seen live", "live gaps", "live repeats", "live rows not stored"),
    *("frames asked for", "frames not whole"),
)
_ROWS_OF_ALL = ("refused with an error of ours", "raw errors", "wrong log lines", "left behind")


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
    count: int
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


class Violation(NamedTuple):
    promise: str
    semantics: str
    text: str


class Verdict:
    """A table of counts, and what was broken."""

    def __init__(self, semantics: Collection[str]) -> None:
        self.semantics = tuple(semantics)
        self.counts: dict[str, Counter[str]] = {
            row: Counter(dict.fromkeys(self.semantics, 0)) for row in _ROWS
        } | {row: Counter({"": 0}) for row in _ROWS_OF_ALL}
        self.violations: list[Violation] = []

    def count(self, row: str, semantics: str = "", number: int = 1) -> None:
        self.counts.setdefault(row, Counter())[semantics] += number

    def broken(self, promise: str, semantics: str, text: str) -> None:
        self.count(promise, semantics)
        self.violations.append(Violation(promise, semantics, text))

    def __str__(self) -> str:
        kinds = Counter((v.promise, v.semantics) for v in self.violations)
        lines = [" " * 36 + "".join(f"{name:>16}" for name in self.semantics)]
        for row, counts in self.counts.items():
            cells = [
                f"{n:,}{' !!' if (row, name) in kinds else '   '}" for name, n in counts.items()
            ]
            lines.append(f"{row:36}" + "".join(f"{cell:>16}" for cell in cells))
        for (promise, semantics), times in kinds.items():
            lines.append(f"\nbroken {times} times: {promise} {semantics}")
            found = [v.text for v in self.violations if v[:2] == (promise, semantics)]
            lines += [f"  {text}" for text in found[:_SHOWN]]
        return "\n".join([*lines, "", "broken promises: see above" if kinds else "all kept"])


class Judge:
    """Compares the ledgers in `folder` with what the streams hold.

    Args:
        streams: of each semantics, what its stream and its queue hold.
        problems: what the scenario saw: the broken promise, and details.
    """

    def __init__(
        self, folder: Path, streams: dict[str, Contents], problems: Iterable[tuple[str, str]] = ()
    ) -> None:
        self._streams = streams
        self._problems = list(problems)
        self._verdict = Verdict(streams)
        self._began, self._healed, self._faults = _read_faults(folder / FAULT_LOG)
        ledgers = [path for path in sorted(folder.glob("*.ledger")) if path.name != FAULT_LOG]
        self._processes = {path.stem: _read_process(path) for path in ledgers}
        for process in self._processes.values():
            self._faults += [
                Fault(PROCESS, "standstill of", process.name, line["begin"], line["at"])
                for line in process.others
                if line["what"] == "stall"
            ]

    def verdict(self) -> Verdict:
        for name, contents in self._streams.items():
            members = [p for p in self._processes.values() if name in p.semantics]
            self._silence(name, members)
            self._publishing(name, contents, members)
            self._dead_letters(name, contents)
            self._handling(name, contents, members)
            for process in members:
                if process.program == "watcher":
                    self._watching(name, contents, process)
        for process in self._processes.values():
            self._process(process)
        for promise, text in self._problems:
            self._verdict.broken(promise, "", text)
        return self._verdict

    def _silence(self, name: str, members: list[Process]) -> None:
        longest = self._verdict.counts["longest silence in s"]
        for process in members:
            work = [ack["at"] for ack in process.acks] + [run.begin for run in process.begun]
            life = [at for at, _ in process.memory]
            if process.program not in ("producer", "consumer") or not life:
                continue
            work = [life[0], *(at for at in work if at < self._healed), min(life[-1], self._healed)]
            for before, after in pairwise(work):
                longest[name] = max(longest[name], round(after - before))
                if after - before > SILENT_SECONDS:
                    text = f"{process.name} from {self._at(before)} to {self._at(after)}"
                    self._verdict.broken("silent", name, text)

    def _publishing(self, name: str, contents: Contents, members: list[Process]) -> None:
        verdict, messages = self._verdict, contents.messages
        places: dict[str, list[int]] = defaultdict(list)
        for seq, message in messages.items():
            if message.replay_of is None:
                places[message.event].append(seq)
        for process in members:
            last: dict[str, int] = {}
            for ack in process.acks:
                verdict.count("acknowledged", name)
                event, seq, channel = ack["event"], ack["seq"], ack["channel"]
                copies = places.get(event, [])
                text = f"event {event} of {process.name} as {seq} at {self._at(ack['at'])}"
                if not copies or seq not in (None, *copies):
                    text += f", stored at {copies}; {self._around(ack['at'], ack['at'])}"
                    verdict.broken("acknowledged and lost", name, text)
                elif absent := contents.missing.get(seq or copies[0]):
                    verdict.broken("acknowledged and lost", name, f"{text}, not on {absent}")
                if ack["alone"]:
                    if seq <= last.get(channel, 0):
                        text += f", after one as {last[channel]}"
                        verdict.broken("stored out of order", name, text)
                    last[channel] = seq
        for event, copies in places.items():
            if len(copies) > 1 and name == AT_LEAST_ONCE:
                verdict.count("stored twice", name)
            elif len(copies) > 1:
                verdict.broken("stored twice", name, f"event {event} at {copies}")
        for difference in contents.differences:
            verdict.broken("replicas differ", name, difference)

    def _dead_letters(self, name: str, contents: Contents) -> None:
        verdict = self._verdict
        replays = Counter(m.replay_of for m in contents.messages.values() if m.replay_of)
        verdict.count("dead letters replayed", name, len(replays))
        verdict.count("dead letters left", name, len(contents.dead))
        for entry, times in replays.items():
            if times > 1:
                verdict.broken("replayed twice", name, f"dead letter {entry}: {times} times")
        for entry in contents.dead.keys() - replays.keys():
            text = f"dead letter {entry} of event {contents.dead[entry]}"
            verdict.broken("dead letters not replayed", name, text)
        if name != AT_MOST_ONCE:
            entries = _entries(contents)
            for event, copies in _failing(contents).items():
                if len(entries[event]) < copies:
                    text = f"event {event}, stored {copies} times: {entries[event] or 'none'}"
                    verdict.broken("dead letters lost", name, text)

    def _handling(self, name: str, contents: Contents, members: list[Process]) -> None:
        begun: dict[tuple[int, str], list[Run]] = defaultdict(list)
        good: dict[tuple[int, str], list[Run]] = defaultdict(list)
        for process in members:
            self._order(name, process)
            for run in process.begun:
                begun[run.seq, run.event].append(run)
                if run in process.good:
                    good[run.seq, run.event].append(run)
        dead, failing = _entries(contents), _failing(contents)
        for seq, message in contents.messages.items():
            if (seq, message.event) in good or message.event in dead or message.event in failing:
                continue
            runs = [f"{run.process} at {self._at(run.begin)}" for run in begun[seq, message.event]]
            if name == AT_MOST_ONCE:
                self._verdict.count("never handled", name)
            else:
                text = f"{message.channel} {seq}, event {message.event}, begun by {runs}"
                self._verdict.broken("never handled", name, text)
        for runs in (begun if name == AT_MOST_ONCE else good).values():
            if len(runs) > 1:
                self._twice(name, sorted(runs, key=lambda run: run.begin))

    def _twice(self, name: str, runs: list[Run]) -> None:
        first, again = runs[0], runs[1]
        involved = {first.process, again.process}
        families = {fault.family for fault in self._nearby(first.begin, again.begin, involved)}
        near = "server" if SERVER in families else "other" if families else "no"
        row = f"handled twice, {near} fault nearby"
        allowed = {AT_MOST_ONCE: near == "server", EXACTLY_ONCE: near != "no"}
        if allowed.get(name, True):
            self._verdict.count(row, name)
            return
        times = ", ".join(f"{r.process} at {self._at(r.begin)} (count {r.count})" for r in runs)
        around = self._around(first.begin, again.begin, involved)
        self._verdict.broken(row, name, f"{first.channel} {first.seq}: {times}; {around}")

    def _order(self, name: str, process: Process) -> None:
        highest: dict[str, Run] = {}
        known = set()
        for run in process.begun:
            if run.count != 1 or (run.seq, run.event) in known:
                continue
            known.add((run.seq, run.event))
            before = highest.get(run.channel)
            if before is None or before.seq < run.seq:
                highest[run.channel] = run
                continue
            # what is handled now may have been delivered up to an ack wait ago
            faults = self._nearby(before.begin - ACK_WAIT, run.begin, {process.name})
            if any(fault.family == SERVER for fault in faults):
                self._verdict.count("handled out of order, server fault", name)
                continue
            text = f"{process.name}: {run.channel} {run.seq} at {self._at(run.begin)} after "
            text += f"{before.seq} at {self._at(before.begin)}; "
            text += self._around(before.begin, run.begin, {process.name})
            self._verdict.broken("handled out of order", name, text)

    def _watching(self, name: str, contents: Contents, process: Process) -> None:
        verdict, seen = self._verdict, Counter(process.live[name])
        verdict.count("seen live", name, len(seen))
        for seq in contents.messages.keys() - seen.keys():
            verdict.broken("live gaps", name, f"{contents.messages[seq].channel} {seq}")
        for seq, times in seen.items():
            if times > 1:
                verdict.broken("live repeats", name, f"{seq}, {times} times")
            if seq not in contents.messages:
                verdict.broken("live rows not stored", name, str(seq))
        for line in process.others:
            if line["what"] != "frame" or line["semantics"] != name:
                continue
            verdict.count("frames asked for", name)
            span = range(line["start"], line["end"] + 1)
            stored = [contents.messages[seq] for seq in span if seq in contents.messages]
            there = sum(message.channel == line["channel"] for message in stored)
            rows, told = line["rows"], line["told"]
            if (told["gaps"], told["expected"], told["loaded"], rows) != (0, there, there, there):
                text = f"{line['channel']} in {span}: {rows} rows of {there}, it says {told}"
                around = self._around(line["at"], line["at"])
                verdict.broken("frames not whole", name, f"{text}; {around}")

    def _process(self, process: Process) -> None:
        verdict, name = self._verdict, process.name
        for line in process.others:
            what, around = line["what"], self._around(line["at"], line["at"], {name})
            text = f"{name} at {self._at(line['at'])}: {line.get('call') or line.get('text')!r} "
            text += f"{_short(line.get('error', ''))}; {around}"
            if what == "refused":
                verdict.count("refused with an error of ours")
            elif what == "raw" or (
                what == "log" and (line["error"] or line["logger"] == "asyncio")
            ):
                verdict.broken("raw errors", "", text)
            elif what == "log":
                if "\n" in line["text"] or any(words in line["text"] for words in _NOBODY_DID):
                    verdict.broken("wrong log lines", "", text)
            elif what == "left" and (line["tasks"] or line["threads"]):
                text = f"{name}: {line['tasks']}, {line['threads']}"
                verdict.broken("left behind", "", text)
        if process.stderr.strip():
            verdict.broken("raw errors", "", f"stderr of {name}: {process.stderr.strip()}")
        since = process.memory[0][0] + _GROWING_SINCE if process.memory else 0.0
        sizes = [size for at, size in process.memory if at >= since]
        bound = GROWTH_BYTES.get(process.program, _GROWTH_BYTES)
        if sizes and min(sizes[-3:]) - sizes[0] > bound:
            text = f"{name}: from {sizes[0]:,} to {min(sizes[-3:]):,} bytes, bound {bound:,}"
            verdict.broken("memory growth", "", text)

    def _nearby(self, begin: float, end: float, processes: Collection[str]) -> Iterator[Fault]:
        """The faults between two times that can have touched one of these processes."""
        proxied = any(self._processes[name].proxied for name in processes)
        for fault in self._faults:
            if fault.begin <= end and fault.end + AFTERMATH >= begin:
                touched = {SERVER: True, NETWORK: proxied, PROCESS: fault.target in processes}
                if touched.get(fault.family, False):
                    yield fault

    def _around(self, begin: float, end: float, processes: Collection[str] = ()) -> str:
        """The faults around, in words."""
        found = [
            f"{fault.kind} {fault.target} {self._at(fault.begin)} to {self._at(fault.end)}"
            for fault in self._faults
            if fault.begin < end + _AROUND and fault.end > begin - _AROUND
            if fault.family in (SERVER, NETWORK) or fault.target in processes
        ]
        return f"around: {', '.join(found) or 'no fault'}"

    def _at(self, time: float) -> str:
        return f"{time - self._began:.1f} s"


def _entries(contents: Contents) -> dict[str, set[str]]:
    """The ids of all dead letters of each event, in the queue or replayed."""
    found: dict[str, set[str]] = defaultdict(set)
    for entry, event in contents.dead.items():
        found[event].add(entry)
    for message in contents.messages.values():
        if message.replay_of is not None:
            found[message.event].add(message.replay_of)
    return found


def _failing(contents: Contents) -> Counter[str]:
    """The events whose handlers always fail, and how often each is stored."""
    return Counter(message.event for message in contents.messages.values() if message.fails)


def _short(trace: str) -> str:
    """A traceback's last line, and where in the packages it came from."""
    lines = trace.strip().splitlines()
    ours = [line.strip() for line in lines if line.startswith("  File") and "/varco_nats" in line]
    return " from ".join([*lines[-1:], *ours[-1:]])


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
