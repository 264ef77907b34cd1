"""The messages in a file: as an export wrote them, lines of JSON, or rows of a table."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from varco_nats._masks._unmask import BLANK, PSEUDONYM
from varco_nats._nats.direct import StoredMessage
from varco_nats._nats.provenance import MESSAGE_ID, own_headers
from varco_nats_widgets._session.handle import Handle
from varco_nats_widgets.decoders._values import plain
from varco_nats_widgets.export import load
from varco_nats_widgets.export._export import expanded
from varco_nats_widgets.export._ndjson import exported_messages, is_exported
from varco_nats_widgets.frames._cells import counted
from varco_nats_widgets.frames._decoding import Decoding
from varco_nats_widgets.frames._headers import HEADERS
from varco_nats_widgets.frames._payload import MORE, TAKEN, TYPE_KEY, VALUE
from varco_nats_widgets.publish._draft import EVENT_ID, Listed, NewMessage, Repeated
from varco_nats_widgets.publish._event import Payload, of_dict
from varco_nats_widgets.publish._planning import Planner, Target
from varco_nats_widgets.publish._publication import Publication

_LINES = (".ndjson", ".jsonl")
_MASKED = re.compile(rb'"(?:%b|%b[0-9a-f]{16})"' % (re.escape(BLANK.encode()), PSEUDONYM.encode()))
_TOLD = 5  # messages that the class of their event refuses
_OWN = {"event_type": TYPE_KEY, "event_id": "event_id", "timestamp": "timestamp"}


class Row(NamedTuple):
    """One message of a file."""

    name: str | None
    """The channel or subject that it came from, where the file says that."""
    data: bytes | None
    """Its payload, where the file has it."""
    value: Any = None
    headers: Mapping[str, str] | None = None


async def plan_file(
    handle: Handle,
    path: Path | str,
    *,
    channel: str | None,
    subject: str | None,
    rate: float | None,
    check: bool,
    stored: bool,
) -> Publication:
    """See `Lab.publish_file`."""
    if channel is not None and subject is not None:
        raise ValueError("give a channel or a subject, not both")
    file = expanded(path)
    rows = await asyncio.to_thread(lambda: list(read_rows(file)))
    planner = Planner(handle)
    if not rows:
        raise ValueError(f"{file} has no messages")
    names = {row.name for row in rows}
    given = channel or subject
    if given is None and None in names:
        raise ValueError(
            f"{file.name} does not say where its messages go; give channel= or subject="
        )
    wanted = [given] if given is not None else sorted(map(str, names))
    by_name = subject is not None or None
    targets = {name: await planner.target(name, is_subject=by_name) for name in wanted}
    problems = [text for each in targets.values() for text in planner.lost(each, stored=stored)]
    notes, refused = [f"from {file.name}"], list[str]()
    messages: list[NewMessage] = []
    newest: dict[str, list[dict[str, Any]]] = {}
    for number, row in enumerate(rows, 1):
        target = targets[given or str(row.name)]
        needs_type = row.data is None and target.channel is not None
        if needs_type and target.subject not in newest:
            newest[target.subject] = await planner.newest(target)
        message = _message(planner, row, target, newest.get(target.subject, []))
        messages.append(message)
        if len(refused) < _TOLD:
            against = planner.against(message, target.decoding)
            refused += [f"message {number}: {text}" for text in against]
        if number % 1000 == 0:
            await asyncio.sleep(0)
    if masked := sum(_MASKED.search(message.data) is not None for message in messages):
        refused.append(f"{counted(masked, 'message')} with masked values, which are no values")
    (problems if check else notes).extend(refused)
    first = targets[given or str(rows[0].name)]
    ordered = [first, *(target for target in targets.values() if target is not first)]
    return planner.publication(
        Listed(messages), messages[0], ordered, rate=rate, problems=problems, notes=notes
    )


def _message(
    planner: Planner, row: Row, target: Target, newest: list[dict[str, Any]]
) -> NewMessage:
    headers, deduplicate = own_headers(row.headers), planner.deduplicates(target)
    if row.data is not None:
        if deduplicate and (event_id := _event_id(row.data, target.decoding)):
            headers = {MESSAGE_ID: event_id, **headers}
        return NewMessage(target.subject, row.data, headers)
    payload = Payload(row.value)
    if target.channel is not None and isinstance(row.value, dict):
        payload = of_dict(target.channel, row.value, None, newest)
    draft = Repeated(
        target.subject,
        1,
        headers,
        target.format,
        payload.value,
        template=False,
        fresh=payload.fresh,
        deduplicate=deduplicate,
    )
    return draft.message(1)


def _event_id(data: bytes, decoding: Decoding) -> str | None:
    value = decoding.true(StoredMessage(0, "", 0, data, None)).value
    found = value.get(EVENT_ID) if isinstance(value, dict) else None
    return found if isinstance(found, str) else None


def read_rows(path: Path) -> Iterator[Row]:
    """The messages in a file or a data set.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: it cannot be read.
    """
    if path.suffix.lower() in _LINES:
        yield from _lines(path)
        return
    try:
        frame, ours = load(path), True
    except ValueError:  # of another program
        if path.is_dir() or path.suffix.lower() not in (".parquet", ".pq", ".csv"):
            raise
        ours = False
        frame = pd.read_csv(path) if path.suffix.lower() == ".csv" else pd.read_parquet(path)
    yield from rows_of(frame, ours=ours)


def _lines(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        lines = [line.strip() for line in file if line.strip()]
    if lines and is_exported(lines[0]):
        for message in exported_messages(lines, {}):
            yield Row(message.subject, message.data, None, message.headers)
        return
    for number, line in enumerate(lines, 1):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path.name}, line {number}: not JSON: {error}") from None
        has_type = not isinstance(value, dict) or TYPE_KEY in value
        yield Row(None, line, value) if has_type else Row(None, None, value)


def rows_of(frame: pd.DataFrame, *, ours: bool) -> Iterator[Row]:
    """The messages that the rows of a frame were made of, or that are made of those of another."""
    if "ce.specversion" in frame:
        raise ValueError("its rows were CloudEvents, which cannot be made of them; use NDJSON")
    columns = {str(name): frame.iloc[:, place].tolist() for place, name in enumerate(frame.columns)}
    for place in range(len(frame)):
        cells = {name: values[place] for name, values in columns.items()}
        row = {name: value for name, value in cells.items() if not _is_missing(value)}
        if not ours:
            yield Row(None, None, _nested(row))
            continue
        headers = row.pop(HEADERS, None) or {
            name.removeprefix(f"{HEADERS}."): row.pop(name)
            for name in list(row)
            if name in frame.attrs.get(HEADERS, ())
        }
        if isinstance(row.get("raw"), bytes):
            yield Row(row["channel"], row["raw"], None, headers)
            continue
        own = {_OWN[name]: plain(row[name]) for name in _OWN if name in row}
        rest = {name: value for name, value in row.items() if name not in TAKEN}
        value = own | _nested(rest) | row.get(MORE, {})
        if value.keys() == {VALUE}:
            value = value[VALUE]
        yield Row(row["channel"], None, value, headers)


def _nested(row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a row, `outer.inner` within `outer`."""
    made: dict[str, Any] = {}
    for name, value in row.items():
        parts = name.split(".")
        if parts[0] == "data" and len(parts) > 1 and name.removeprefix("data.") in TAKEN:
            parts = [name.removeprefix("data.")]
        place = made
        for outer in parts[:-1]:
            inner = place.setdefault(outer, {})
            place = inner if isinstance(inner, dict) else made
        place[parts[-1]] = plain(value)
    return made


def _is_missing(value: object) -> bool:
    return value is None or (not isinstance(value, (list, dict, tuple)) and bool(pd.isna(value)))  # type: ignore[call-overload]
