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
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from tests.soak.chaos import SERVER
from tests.soak.evidence import Evidence, Process, Run
from tests.soak.streams import Contents
from tests.soak.verdict import Verdict
from tests.soak.worker import ACK_WAIT, AT_LEAST_ONCE, AT_MOST_ONCE, EXACTLY_ONCE

SILENT_SECONDS = 90.0
"""Longer than any fault, with those that may follow it at once."""

_GROWTH_BYTES = {"watcher": 300_000_000}  # after the first minute; it holds frames
_GROWTH_BYTES_OF_OTHERS = 60_000_000
_GROWING_SINCE = 60.0
_NOBODY_DID = ("was deleted",)  # what is told of things that the soak never does


class Judge:
    """Compares the ledgers in `folder` with what the streams hold.

    Args:
        streams: of each semantics, what its stream and its queue hold.
        problems: what the scenario saw: the broken promise, and details.
    """

    def __init__(
        self, folder: Path, streams: dict[str, Contents], problems: Iterable[tuple[str, str]] = ()
    ) -> None:
        self._evidence = evidence = Evidence(folder)
        self._nearby, self._around, self._at = evidence.nearby, evidence.around, evidence.at
        self._streams = streams
        self._problems = list(problems)
        self._verdict = Verdict(streams)

    def verdict(self) -> Verdict:
        for name, contents in self._streams.items():
            members = [p for p in self._evidence.processes.values() if name in p.semantics]
            self._silence(name, members)
            self._publishing(name, contents, members)
            self._dead_letters(name, contents)
            self._handling(name, contents, members)
            for process in members:
                if process.program == "watcher":
                    self._watching(name, contents, process)
        for process in self._evidence.processes.values():
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
            work = [
                life[0],
                *(at for at in work if at < self._evidence.healed),
                min(life[-1], self._evidence.healed),
            ]
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
            key = seq, message.event
            if key in good or message.event in dead or message.event in failing:
                continue
            if name != AT_MOST_ONCE:
                begins = [f"{run.process} at {self._at(run.begin)}" for run in begun[key]]
                text = f"{message.channel} {seq}, event {message.event}, begun by {begins}"
                self._verdict.broken("never handled", name, text)
            elif key not in begun:  # what failed is gone as well, and was handled
                self._verdict.count("never handled", name)
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
            what = line["what"]
            where = (
                f"{name} at {self._at(line['at'])}; {self._around(line['at'], line['at'], {name})}"
            )
            text = f"{line.get('call') or line.get('text')!r} {_short(line.get('error', ''))}"
            if what == "refused":
                verdict.count("refused with an error of ours")
            elif what == "raw" or (
                what == "log" and (line["error"] or line["logger"] == "asyncio")
            ):
                verdict.broken("raw errors", "", text, where)
            elif what == "log":
                if "\n" in line["text"] or any(words in line["text"] for words in _NOBODY_DID):
                    verdict.broken("wrong log lines", "", text, where)
            elif what == "left" and (line["tasks"] or line["threads"]):
                verdict.broken("left behind", "", f"{line['tasks']}, {line['threads']}", name)
        if process.stderr.strip():
            verdict.broken("raw errors", "", process.stderr.strip(), f"stderr of {name}")
        since = process.memory[0][0] + _GROWING_SINCE if process.memory else 0.0
        sizes = [size for at, size in process.memory if at >= since]
        bound = _GROWTH_BYTES.get(process.program, _GROWTH_BYTES_OF_OTHERS)
        if sizes and min(sizes[-3:]) - sizes[0] > bound:
            text = f"{name}: from {sizes[0]:,} to {min(sizes[-3:]):,} bytes, bound {bound:,}"
            verdict.broken("memory growth", "", text)


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
