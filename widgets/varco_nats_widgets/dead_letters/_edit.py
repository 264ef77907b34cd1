"""A payload edited by hand: what it becomes, what differs, and whether it is an event. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from difflib import unified_diff
from functools import lru_cache
from typing import Any, NoReturn
from uuid import UUID

from varco_nats._masks._mask import Mask
from varco_nats._masks._unmask import MaskedValueError, hidden, without
from varco_nats._nats.direct import StoredMessage
from varco_nats.dlq._codec import StoredEntry
from varco_nats.errors import CannotEncodeError, VarcoNatsError
from varco_nats.replay._edit import json_object, rewritten, written
from varco_nats_widgets.dead_letters._index.filter import event_message, event_of
from varco_nats_widgets.frames._decoding import JSON, WITHHELD, Decoded, Decoding, as_json
from varco_nats_widgets.frames._payload import decode
from varco_nats_widgets.publish._event_class import class_of, class_problems
from varco_nats_widgets.publish._pretty import compact, pretty


class InvalidPayloadError(VarcoNatsError, ValueError):
    """An edited payload that is no JSON object, or that its event class refuses.

    Attributes:
        entry_id: of the entry that was to be edited.
        problems: one line for each thing that is wrong, naming the field.
    """

    def __init__(self, entry_id: UUID, problems: list[str]) -> None:
        self.entry_id = entry_id
        self.problems = tuple(problems)
        super().__init__(
            f"the new payload of dead letter {entry_id} is not valid: {'; '.join(problems)}"
        )


@dataclass(frozen=True, slots=True)
class PayloadEdit:
    """What a replay of one entry sends instead of the event as it came.

    40,000 of them take 40 MB where an event has 300 bytes: it is kept as it came and as it is sent.
    """

    entry_id: UUID
    data: bytes = field(repr=False)
    """The payload to send."""
    checked_by: str | None
    """The event class that accepts it; None where the class is not known in this process."""
    shown: bytes = field(repr=False)
    """The payload as it is shown: where values are masked, without them."""
    came: bytes = field(repr=False)
    """The event as it came, as it is shown."""

    @property
    def diff(self) -> str:
        """The changed lines of the JSON, in unified format; "" if no line that is shown changed."""
        return _diff(self.came, self.shown)

    def __repr__(self) -> str:
        return f"PayloadEdit({self.entry_id})"


def edited(
    entry_id: UUID,
    before: bytes,
    after: str | bytes | dict[str, Any],
    mask: Mask | None = None,
    last: bytes | None = None,
) -> PayloadEdit:
    """The edit that replaces `before`.

    Args:
        after: the new payload, as JSON or as a dict. What is masked in it keeps its value.
        mask: how values are hidden where the payload is shown.
        last: what the edit before this one made of it, None where there is none.

    Raises:
        InvalidPayloadError: it is no JSON object, or the class of its event refuses it.
    """
    if mask is not None:
        after = _restored(entry_id, before, after, mask, last)
    data = _bytes(entry_id, before, after)
    try:
        checked_by = _checked(entry_id, data)
    except InvalidPayloadError as error:
        if mask is None:
            raise
        true = json_object(data) or {}
        masks = [*hidden(mask.fields(true), true)]
        problems = [without(problem, masks) for problem in error.problems]
        raise InvalidPayloadError(entry_id, problems) from None
    came, sent = (_shown(payload, mask) for payload in (before, data))
    return PayloadEdit(entry_id, data, checked_by, sent, came)


def edited_event(
    stored: StoredEntry,
    after: str | bytes | dict[str, Any],
    decoding: Decoding,
    last: bytes | None = None,
) -> PayloadEdit:
    """The edit that replaces the event of an entry, written by the decoder that reads it.

    Args:
        stored: the entry as it is stored.
        after, last: as in `edited`.
        decoding: how the messages of channels are read, under the names of these.

    Raises:
        InvalidPayloadError: as in `edited`; or its decoder cannot write it, with the reason.
    """
    entry_id, message = stored.entry.entry_id, event_message(stored)
    came = _decoded(message, decoding)
    if came is None:
        return edited(entry_id, event_of(stored) or b"", after, decoding.mask, last)
    last_value = None if last is None else decoding.true(message._replace(data=last)).value
    before = as_json(came.value)
    edit = edited(
        entry_id,
        before,
        after,
        decoding.mask,
        None if last is None else as_json(last_value),
    )
    data = message.data
    if pretty(edit.data) != pretty(before):
        decoder = decoding.decoder_of(message)
        try:
            data = decoder.edit(data, json.loads(edit.data), message.headers or {})
        except CannotEncodeError as error:
            problem = str(error)
            if (mask := decoding.mask) is not None:  # it may quote values
                now = json.loads(edit.data)
                for true in (came.value, now):
                    problem = without(problem, hidden(mask.payload(true), true))
            raise InvalidPayloadError(entry_id, [problem]) from None
    return replace(edit, data=data)


def true_event(
    stored: StoredEntry, decoding: Decoding, last: bytes | None = None
) -> dict[str, Any] | None:
    """The fields of an entry's event, or of what its last edit made of it; None if it has none.

    Args:
        stored, decoding, last: as in `edited_event`.
    """
    message = event_message(stored)
    came = _decoded(message, decoding)
    if came is None:
        return json_object((event_of(stored) or b"") if last is None else last)
    if last is not None:
        came = decoding.true(message._replace(data=last))
    return json_object(as_json(came.value))


def _decoded(message: StoredMessage, decoding: Decoding) -> Decoded | None:
    """What a message says that is not JSON; None where it is, or where it cannot be read."""
    if decoding.decoder_of(message).name == JSON:
        return None
    came = decoding.true(message)
    return None if came.decoder == JSON or came.problem is not None else came


@lru_cache(maxsize=8)  # a view shows that of one edit again and again
def _diff(came: bytes, sent: bytes) -> str:
    then, now = (pretty(payload).split("\n") for payload in (came, sent))
    return "\n".join(unified_diff(then, now, "as it came", "edited", lineterm="", n=2))


def _checked(entry_id: UUID, data: bytes) -> str | None:
    """The event class that accepts the payload, None where it is not known in this process."""
    found, problem = decode(data)
    if problem is None and not isinstance(found, dict):
        problem = "it is no JSON object, which an event is"
    if problem is not None:
        raise InvalidPayloadError(entry_id, [problem])
    return _check(entry_id, found, data)


def _shown(data: bytes, mask: Mask | None) -> bytes:
    if mask is None:
        return data
    true = json_object(data)
    if true is None:
        return WITHHELD
    return written(mask.fields(true)).encode(errors="backslashreplace")


def _restored(
    entry_id: UUID,
    before: bytes,
    after: str | bytes | dict[str, Any],
    mask: Mask,
    last: bytes | None,
) -> str | bytes | dict[str, Any]:
    """What was typed, with the true values where it still has masks."""
    try:
        if not isinstance(after, dict):
            json.loads(after, parse_constant=_refuse)
    except (ValueError, RecursionError):  # `_bytes` says what is wrong with it
        return after
    if isinstance(after, str):
        after = after.encode(errors="surrogatepass")
    typed = after if isinstance(after, dict) else json_object(after)
    if typed is None:
        return after
    came = json_object(before) or {}
    true = came if last is None else json_object(last) or {}
    try:
        restored: dict[str, Any] = mask.restore(
            typed, mask.fields(true), true, known=hidden(mask.fields(came), came)
        )
    except MaskedValueError as error:
        raise InvalidPayloadError(entry_id, [str(error)]) from None
    return restored


def _bytes(entry_id: UUID, before: bytes, after: str | bytes | dict[str, Any]) -> bytes:
    try:
        if isinstance(after, bytes):
            return after
        if isinstance(after, dict):
            return rewritten(before, after)
        json.loads(after, parse_constant=_refuse)
        data = compact(after).encode()
        return before if pretty(data) == pretty(before) else data
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InvalidPayloadError(entry_id, [f"not JSON: {error.msg} at {where}"]) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidPayloadError(entry_id, [f"not to be written as JSON: {error}"]) from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _check(entry_id: UUID, found: dict[str, Any], data: bytes) -> str | None:
    """The name of the event's class, None if there is none of this type in this process."""
    if problems := class_problems(found, data):
        raise InvalidPayloadError(entry_id, problems)
    known = class_of(found)
    return None if known is None else known.__name__
