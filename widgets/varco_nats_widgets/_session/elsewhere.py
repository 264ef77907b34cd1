"""Where the messages are, for who looks for them in a place that has none."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from html import escape
from typing import Any

import pandas as pd
from nats.errors import Error as NatsError

from varco_nats.config import StreamSettings
from varco_nats.errors import UnknownChannelError
from varco_nats.subjects import dead_letter_name, subject_problem
from varco_nats_widgets._session.buckets import reading_call
from varco_nats_widgets._session.facts import Facts

_CALLS = {"export": "lab.export(None, path, {})"}
_NAMED = 5  # streams that a sentence names
_COMPARED = 5_000  # subjects among which a misspelled one is looked for
_STORES = ("KV_", "OBJ_")  # begin the streams of buckets and object stores


class EmptyFrame(pd.DataFrame):
    """A frame without rows that says why where it is shown; `attrs["note"]` has the text.

    What is made of it is a plain DataFrame.
    """

    def __init__(self, frame: pd.DataFrame, note: str) -> None:
        super().__init__(frame)  # type: ignore[call-arg] # pandas' types know only __new__
        self.attrs["note"] = note

    @property
    def _constructor(self) -> Any:
        return pd.DataFrame

    def __repr__(self) -> str:
        return str(self.attrs["note"])

    def _repr_html_(self) -> str:
        return f"<p class='tex2jax_ignore mathjax_ignore'>{escape(self.attrs['note'])}</p>"


async def no_channels_note(facts: Facts, own: str) -> str:
    """What to say where the stream `own` holds no channel's messages, and where there are some."""
    made_with_it = {own, dead_letter_name(own), f"{own}-replays", f"{own}-exhausted"}
    others = [name for name in await _streams(facts) if name not in made_with_it]
    if not others:
        return "No channel holds a message yet."
    return (
        f"No channel holds a message, in the stream {own!r}. The server has the "
        f"{_listed(others)}: lab.streams() shows them, and lab.explore(stream={others[0]!r}) looks "
        "into one."
    )


async def no_consumers_note(facts: Facts, own: str) -> str | None:
    """What to say where the stream `own` is not there; None where no other is either."""
    others = [name for name in await _streams(facts) if not name.startswith(_STORES)]
    if not others or own in others:
        return None
    return (
        f"No consumers: there is no stream {own!r}. The server has the {_listed(others)}: "
        f"{_call('consumers', stream=others[0])} shows those of one."
    )


async def unknown_channel(
    facts: Facts, settings: StreamSettings, channel: str, known: Sequence[str], call: str
) -> UnknownChannelError:
    """The error for a channel that holds no messages, which says what its name may mean.

    Args:
        known: the channels that hold messages.
        call: the method of `Lab` that was called, such as `frame`.
    """
    sentence = await _meant(facts, settings, channel, known, call)
    return UnknownChannelError(channel, known, sentence=sentence)


async def named_elsewhere(facts: Facts, channel: str, call: str) -> UnknownChannelError | None:
    """The same error, only for a channel whose name is just that of a stream or of its subject."""
    if channel in await _streams(facts):
        sentence = f"{channel!r} is a stream and no channel: {_call(call, stream=channel)}"
        return UnknownChannelError(channel, (), sentence=sentence)
    with suppress(NatsError):  # this login may not ask, or the stream is gone
        for stream in await facts.stream_names(channel) if "." in channel else ():
            if await facts.subjects(stream, channel):
                return UnknownChannelError(channel, (), sentence=_is_subject(channel, stream, call))
    return None


async def _meant(
    facts: Facts, settings: StreamSettings, channel: str, known: Sequence[str], call: str
) -> str | None:
    streams = await _streams(facts)
    for name in streams:
        best = reading_call(name)
        if name == channel:
            return f"{channel!r} is a stream and no channel: {best or _call(call, stream=name)}"
        if best is not None and name.partition("_")[2] == channel:
            return f"{channel!r} is no channel: {best}"
    own = settings.channel_from_subject(channel)
    if own != channel and own in known:
        return f"{channel!r} is the subject of the channel {own!r}: {_call(call, own)}"
    if (found := await _subject(facts, channel, call)) is not None:
        return found
    if get_close_matches(channel, known):
        return None
    by_case = {name.casefold(): name for name in streams}
    if near := get_close_matches(channel.casefold(), by_case, n=1):
        name = by_case[near[0]]
        return (
            f"channel {channel!r} holds no messages; did you mean the stream {name!r}? "
            f"{_call(call, stream=name)}"
        )
    if not known and streams:
        return (
            f"channel {channel!r} holds no messages, nor does any other; the server has the "
            f"{_listed(streams)}: {_call(call, stream=streams[0])}"
        )
    return None


async def pattern_advice(facts: Facts, pattern: str, call: str = "frame") -> str | None:
    """What to call instead, where a channel was given by a pattern of another stream's subjects."""
    tokens = pattern.split(".")
    if ">" in tokens[:-1] or subject_problem(pattern.replace("*", "x").replace(">", "x")):
        return None
    try:
        found = [name for name in await facts.stream_names(pattern) if not name.startswith(_STORES)]
    except NatsError:
        return None
    if not found:
        return None
    return (
        f"for the subjects of the {_listed(found)} that it matches: "
        f"{_call(call, subject=pattern, stream=found[0])}"
    )


async def _subject(facts: Facts, subject: str, call: str) -> str | None:
    """A sentence, if another stream captures the subject."""
    if "." not in subject or subject_problem(subject):
        return None
    try:
        for stream in await facts.stream_names(subject):
            if await facts.subjects(stream, subject):
                return _is_subject(subject, stream, call)
            there = sorted(await facts.subjects(stream))[:_COMPARED]
            if near := get_close_matches(subject, there, n=1):
                return (
                    f"{subject!r} would be a subject of the stream {stream!r}, which holds none of "
                    f"that name; did you mean {near[0]!r}? "
                    + _call(call, subject=near[0], stream=stream)
                )
    except NatsError:  # this login may not ask, or the stream is gone
        pass
    return None


def _is_subject(subject: str, stream: str, call: str) -> str:
    how = _call(call, subject=subject, stream=stream)
    return f"{subject!r} is a subject of the stream {stream!r}: {how}"


def _call(call: str, channel: str | None = None, *, subject: str = "", stream: str = "") -> str:
    """How a method of `Lab` is called for this, as code."""
    if channel is not None:
        arguments = repr(channel)
    elif not subject:
        arguments = f"stream={stream!r}"
    elif call in ("explore", "consumers", "durability"):
        arguments = f"{subject!r}, stream={stream!r}"
    else:
        arguments = f"subject={subject!r}"
    return _CALLS.get(call, f"lab.{call}({{}})").format(arguments)


async def _streams(facts: Facts) -> list[str]:
    """The names of the streams, those of buckets last; none if this login may not list them."""
    try:
        names = await facts.stream_names()
    except NatsError:
        return []
    return sorted(names, key=lambda name: (name.startswith(_STORES), name))


def _listed(streams: Sequence[str]) -> str:
    named = ", ".join(map(repr, streams[:_NAMED]))
    more = len(streams) - _NAMED
    return f"stream{'s' * (len(streams) > 1)} {named}" + (f" and {more:,} more" * (more > 0))
