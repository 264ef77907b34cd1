"""Values that are never shown: which fields they are in, what stands for them, and back. Pure."""

from __future__ import annotations

import hmac
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from difflib import get_close_matches
from types import NoneType
from typing import Any
from uuid import UUID

from varco_nats._masks._events import TYPE_KEY, is_envelope
from varco_nats._masks._patterns import Automaton, MaskPatternError, Roots, State
from varco_nats._masks._unmask import BLANK, PSEUDONYM, restored

_PATTERNS_VARIABLE = "VARCO_NATS_MASK"
_KEY_VARIABLE = "VARCO_NATS_MASK_KEY"
_CLOUD_EVENT = "ce-"  # before the attributes of a CloudEvent in the headers of its message
_WITH_HEADERS = "with its headers"  # instead of channels, as headers are not always read
_MAX_CHANNELS = 10_000
_NAMED = 3
_MAX_DEPTH = 64  # what is nested deeper is masked whole, if a pattern may mean something in it
_LEAVES = frozenset(
    {str, int, float, bool, NoneType, bytes, Decimal, UUID, datetime, date, time, timedelta}
)


OWN = {
    "event_id": ("event_id", "id"),
    "event_type": (TYPE_KEY, "type"),
    "timestamp": ("timestamp", "time"),
}
"""The columns that an event has besides its payload's: its field, and that of an envelope."""


class Mask:
    """Hides the values of some fields.

    A pattern is the path of a field, as its column is called: `customer.email`. `*` (or `**`)
    stands for any number of levels, also none: `*.iban` is each field `iban`, wherever it is;
    `customer.*` is all that is in `customer`. Within a name it stands for any characters:
    `*_email`. Upper and lower case are the same. Fields in the elements of lists are found like
    those of an object. `headers.authorization` is a header; the same field of a payload is masked
    as well. An object or list that a pattern names is masked as a whole. A `data.` at the beginning
    counts for nothing, as the columns of dead letters have it.

    With a key, equal values get equal pseudonyms, in each session with the same key; without, all
    get `***`. Only None stays None.
    """

    def __init__(self, patterns: tuple[str, ...], key: str | None) -> None:
        self.patterns = patterns
        self._key = None if key is None else key.encode(errors="surrogatepass")
        self._session_key = secrets.token_bytes(16)
        self._automaton = Automaton(patterns)
        self._unmatched = set(range(len(patterns)))
        self._told: set[tuple[str, str]] = set()  # patterns, and the channels that were named
        self._channels: set[str] = set()
        self._has_read = [False, False]  # payloads, headers

    @property
    def has_key(self) -> bool:
        """Whether equal values have equal pseudonyms in all sessions with the same key."""
        return self._key is not None

    @classmethod
    def parse(cls, patterns: str | Iterable[str], key: str | None = None) -> Mask:
        """The mask of these patterns.

        Args:
            patterns: several, or a text with commas between them.
            key: makes pseudonyms of the values; without it they are blanks.

        Raises:
            MaskPatternError: one that cannot be read.
            ValueError: the key is empty.
        """
        if key is not None and not key:
            raise ValueError("mask_key is empty; without a key leave it out, and values are ***")
        if isinstance(patterns, str):
            patterns = [pattern for pattern in patterns.split(",") if pattern.strip()]
        given = list(patterns)
        for pattern in given:
            if not isinstance(pattern, str):
                raise MaskPatternError(pattern, "a pattern is a text such as 'customer.email'")
        return cls(tuple(dict.fromkeys(pattern.strip() for pattern in given)), key)

    @classmethod
    def with_environment(
        cls, patterns: str | Iterable[str] | None = None, key: str | None = None
    ) -> Mask | None:
        """The mask of these patterns and those of `VARCO_NATS_MASK`; None without any.

        Args:
            patterns: those that were given.
            key: the key that was given; without one that of `VARCO_NATS_MASK_KEY` counts.

        Raises:
            MaskPatternError, ValueError: as in `parse`.
        """
        if isinstance(patterns, str):
            patterns = patterns.split(",")
        everywhere = os.environ.get(_PATTERNS_VARIABLE, "").split(",")
        given = [*(patterns or ()), *(pattern for pattern in everywhere if pattern.strip())]
        if key is None:
            key = os.environ.get(_KEY_VARIABLE) or None
        return cls.parse(given, key) or None

    def __repr__(self) -> str:
        return f"Mask({', '.join(map(repr, self.patterns))})"

    def __bool__(self) -> bool:
        return bool(self.patterns)

    @property
    def unmatched(self) -> tuple[str, ...]:
        """The patterns that have matched nothing so far."""
        return tuple(self.patterns[index] for index in sorted(self._unmatched))

    def note_read(self, channel: str) -> None:
        """Know that messages of this channel are read, to say so in `complaint`."""
        if len(self._channels) < _MAX_CHANNELS:
            self._channels.add(channel)

    def complaint(self, columns: Iterable[str] = (), *, once: bool = False) -> str:
        """What to say of patterns that have matched nothing though there were rows; "" if nothing.

        Args:
            columns: the names of columns, among which the right one may be.
            once: whether to leave out what was said before: of a pattern, each channel.
        """
        payloads, headers = self._has_read
        of_headers = self._automaton.of_headers
        payload_patterns = self._unmatched - of_headers if payloads else set()
        header_patterns = self._unmatched & of_headers if headers else set()
        parts = []
        for indices, names in (
            (payload_patterns, sorted(self._channels) or [""]),
            (header_patterns, [_WITH_HEADERS]),
        ):
            found = [self.patterns[index] for index in sorted(indices)]
            if once:
                names = [n for n in names if any((p, n) not in self._told for p in found)]
                self._told |= {(pattern, name) for pattern in found for name in names}
            if found and names:
                parts.append(_no_message(found, names, [str(name) for name in columns]))
        return "; ".join(parts)

    @property
    def fingerprint(self) -> list[str]:
        """The same for masks that hide the same fields in the same way."""
        return [*self.patterns, self.of("fingerprint")]

    @property
    def hides_payloads(self) -> bool:
        """Whether a payload may hold what is to be hidden, and not only headers.

        The bytes of one that cannot be decoded are then not shown either.
        """
        return len(self._automaton.of_headers) < len(self.patterns)

    def fields(self, event: dict[str, Any]) -> dict[str, Any]:
        """The fields of an event with the masked values; `event` itself if there are none."""
        self._has_read[0] = True
        return self._fields(event, self._automaton.roots)

    def _fields(self, event: dict[str, Any], roots: Roots) -> dict[str, Any]:
        if not is_envelope(event):
            return self._object(event, roots.event, 1)
        shown = self._object(event, roots.envelope, 1)
        if self.hides_payloads and shown.get("data_base64") is not None:
            # it is a payload of its own, and nobody knows what is where in it
            shown = {**shown, "data_base64": self.of(event["data_base64"])}
        return shown

    @property
    def hides_own(self) -> bool:
        """Whether an event's id, type or time may be hidden."""
        return any(map(self._owns, OWN))

    def _owns(self, column: str) -> frozenset[int]:
        """The patterns that mean a column that is not of the payload alone."""
        roots = self._automaton.roots
        return frozenset().union(
            *(self._step(root, name).matched for root, name in zip(roots, OWN[column], strict=True))
        )

    def own(self, column: str, value: str | None, *, is_identity: bool = False) -> str | None:
        """An event's id, type or time as it is shown in a column of that name.

        Args:
            is_identity: whether different values must stay different, also without a key.
        """
        matched = self._owns(column)
        if value is None or not matched:
            return value
        self._unmatched -= matched
        shown: str = (
            self._of(value, self._key or self._session_key) if is_identity else self.of(value)
        )
        return shown

    def payload(self, value: Any) -> Any:
        """A payload of any kind with the masked values; itself if there are none."""
        if type(value) is dict:
            return self.fields(value)
        self._has_read[0] = True
        matched, inside = self._automaton.value
        if matched:  # it is the column of what is no object
            self._unmatched -= matched
            return self.of(value)
        return self._value(value, frozenset() if inside is None else inside.elements, 1)

    def _value(self, value: Any, elements: frozenset[int], depth: int) -> Any:
        """A payload that is no object, or an element of one that is a list.

        A text is masked whole, as nobody knows what is where in it.

        Args:
            elements: patterns that mean whatever is in the list.
        """
        if type(value) is dict:
            return self._fields(value, self._automaton.element_roots)
        if isinstance(value, (list, tuple)) and depth <= _MAX_DEPTH:
            return [self._value(inner, elements, depth + 1) for inner in value]
        if elements and depth > 1:
            self._unmatched -= elements
            return self.of(value)
        is_clear = type(value) in _LEAVES and type(value) not in (str, bytes)
        return value if is_clear or not self.hides_payloads else self.of(value)

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """The headers with the masked values."""
        self._has_read[1] = self._has_read[1] or bool(headers)
        matched, inside = self._automaton.headers
        shown = dict(headers)
        for name, value in headers.items():
            found = matched if inside is None else matched | self._step(inside, name).matched
            if name.lower().startswith(_CLOUD_EVENT):  # it is an attribute of the event as well
                attribute = name[len(_CLOUD_EVENT) :]
                found |= self._step(self._automaton.roots.envelope, attribute).matched
            if found:
                self._unmatched -= found
                shown[name] = self.of(value)
        return shown

    def restore(
        self,
        edited: object,
        shown: object,
        true: object,
        known: Iterable[tuple[str, Any]] = (),
    ) -> Any:
        """What was edited of `shown`, with the true values where it still has masks.

        A value that was written over a mask stays. A pseudonym may have moved, a blank may not,
        except with an element of a list, if it is certain which.

        Args:
            known: more pseudonyms, with the values that they stand for.

        Raises:
            MaskedValueError: a mask of which it is not known what it stands for.
        """
        return restored(edited, shown, true, known)

    def of(self, value: object) -> Any:
        """What stands for a value; None for None."""
        return self._of(value, self._key)

    def _of(self, value: object, key: bytes | None) -> Any:
        if value is None:
            return None
        data = None if key is None else _bytes_of(value)
        if key is None or data is None:
            return BLANK
        return f"{PSEUDONYM}{hmac.digest(key, data, 'sha256')[:8].hex()}"

    def _step(self, state: State, name: object) -> Any:
        text = name if type(name) is str else str(name)
        return state.steps.get(text) or state.step(text)

    def _object(self, value: dict[str, Any], state: State, depth: int) -> dict[str, Any]:
        shown: dict[str, Any] | None = None
        for name, inner in value.items():
            matched, inside = self._step(state, name)
            if matched:
                if self._unmatched:
                    self._unmatched -= matched
                new = self.of(inner)
            elif inside is None or type(inner) in _LEAVES:
                continue
            else:
                new = self._nested(inner, inside, depth + 1)
            if new is not inner:
                if shown is None:
                    shown = dict(value)
                shown[name] = new
        return value if shown is None else shown

    def _nested(self, value: Any, state: State, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            return self.of(value)
        if isinstance(value, dict):
            return self._object(value, state, depth)
        if isinstance(value, (list, tuple)):
            elements = [self._element(inner, state, depth) for inner in value]
            same = all(new is inner for new, inner in zip(elements, value, strict=True))
            return value if same else elements
        # whatever an object of a class that is not known here may show
        return value if isinstance(value, (str, float)) else self.of(value)

    def _element(self, value: Any, state: State, depth: int) -> Any:
        if isinstance(value, (dict, list, tuple)):
            return self._nested(value, state, depth + 1)
        if state.elements:
            self._unmatched -= state.elements
            return self.of(value)
        return value if type(value) in _LEAVES else self._nested(value, state, depth)


def _no_message(patterns: list[str], names: list[str], columns: list[str]) -> str:
    """That no message of these channels has a field that the patterns mean."""
    fields = []
    for pattern in patterns:
        near = get_close_matches(pattern, columns, n=1)
        fields.append(f"{pattern!r}{f' (did you mean {near[0]!r}?)' if near else ''}")
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    where = f" of {', '.join(names[:_NAMED])}{more}" if names != [""] else ""
    read = "that was read"
    if names == [_WITH_HEADERS]:
        where, read = "", f"that was read {_WITH_HEADERS}"
    return f"mask: no message{where} {read} has {' or '.join(fields)}"


def _bytes_of(value: object) -> bytes | None:
    """The same bytes for equal values, 1 and 1.0 but not "1"; None if there can be none."""
    if type(value) is str:
        return b"s" + value.encode(errors="surrogatepass")
    if type(value) is bytes:
        return b"b" + value
    if isinstance(value, Decimal):  # a number of JSON with all its digits
        value = float(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    try:
        return b"j" + json.dumps(value, sort_keys=True, default=repr).encode()
    except (TypeError, ValueError, RecursionError):  # names of several kinds, or nested too deep
        return None
