"""What the open message of an explorer can be compared with, in the words of its view. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from varco_nats._masks._unmask import BLANK
from varco_nats_widgets.explorer._difference import Difference
from varco_nats_widgets.frames._cells import clean, counted
from varco_nats_widgets.frames._message import Message

_PREVIOUS = "previous"
_FIELDS = 30
_MAX_DEPTH = 4


def compared_of(name: str) -> tuple[int | Literal["previous"] | None, str]:
    """What the name of a comparison stands for: what with, and by which field."""
    if name.startswith("#"):
        return int(name[1:]), ""
    if name == _PREVIOUS or name.startswith(f"{_PREVIOUS}:"):
        return "previous", name.removeprefix(_PREVIOUS).removeprefix(":")
    return None, ""


def name_of_comparison(to: int | str, by: str) -> str:
    """The name of a comparison, as the browser can have it."""
    if isinstance(to, int):
        return f"#{to}"
    return clean(f"{to}:{by}" if by else to, None)


def comparisons(message: Message | None, marked: int | None, chosen: str) -> list[list[str]]:
    """The names of the comparisons there are, and what is shown for them.

    Args:
        marked: the sequence of the message that the user marked.
        chosen: the one that is chosen, which is there in any case.
    """
    named = [[_PREVIOUS, "Compare with the previous on this subject"]]
    if marked is not None:
        named.append([f"#{marked}", f"Compare with the marked #{marked:,}"])
    fields = [] if message is None else _fields(message.payload, "", 1)
    for field, _ in zip(fields, range(_FIELDS), strict=False):
        named.append([f"{_PREVIOUS}:{field}", f"… the previous with the same {clean(field)}"])
    if chosen and chosen not in [name for name, _ in named]:
        _, by = compared_of(chosen)
        words = f"… the previous with the same {clean(by)}" if by else f"Compare with {chosen}"
        named.append([chosen, words])
    return named


def _fields(value: Any, path: str, depth: int) -> Iterator[str]:
    """The fields of a payload whose values may name what the message is about."""
    if isinstance(value, dict) and depth <= _MAX_DEPTH:
        for name, inner in value.items():
            yield from _fields(inner, f"{path}.{name}" if path else str(name), depth + 1)
    elif not isinstance(value, (str, int, bool)) or value == BLANK:
        return
    elif path and clean(path, None) == path:  # else the browser could not name it
        yield path


def described_difference(difference: Difference | None) -> dict[str, Any]:
    """A difference as the view draws it; {} for none."""
    if difference is None:
        return {}
    title = f"Difference from #{difference.before.seq:,} to #{difference.after.seq:,}"
    left = f"{difference.left_out:,} more differ; " if difference.left_out else ""
    return {
        "title": title,
        "rows": [[clean(text) for text in row] for row in difference.texts()],
        "rest": f"{left}{counted(difference.same, 'value')} the same",
    }
