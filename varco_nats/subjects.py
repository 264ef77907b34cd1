"""The names on the wire, of channels, subjects and durables, and which of them are valid.

Open this to see which subject or durable a channel has.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from functools import lru_cache
from urllib.parse import quote, unquote

from varco_nats.errors import InvalidChannelError

_PLAIN = re.compile(r"[A-Za-z0-9.-]+")
_NAME = re.compile(r"[^\s.*>/\\\x00-\x1f\x7f\ud800-\udfff]+")
_MAX_CHANNEL = 500
_MAX_SUBJECT = 3000  # bytes; a protocol line has 4096, with reply subject, stream and consumer
_MAX_ENCODED = 2000  # bytes, as many as `_MAX_CHANNEL` characters can have
_MAX_SHORTENED = 100  # characters, which can become twelve bytes each
_MAX_DURABLE = 200
_MAX_NAME_BYTES = 255  # of a stream or consumer (JSMaxNameLen)


LEGACY_DEAD_LETTERS = "__dlq__"
"""How the subject ends under which the released package stores dead letters by default."""


def dead_letter_name(name: str) -> str:
    """The name of the dead letters' stream for stream `name`, or the root of their subjects for
    the prefix `name`."""
    return f"{name}-dlq"


def legacy_dead_letters(subject_prefix: str, channel_prefix: str) -> str:
    """The subject under which the released package stores dead letters by default."""
    return f"{subject_prefix}.{channel_prefix}{LEGACY_DEAD_LETTERS}"


def replay_log_name(name: str) -> str:
    """The same for the log of replays."""
    return f"{name}-replays"


def exhausted_name(name: str) -> str:
    """The name of the stream that keeps what the server says of messages that stream `name`'s
    consumers gave up."""
    return f"{name}-exhausted"


def subject_problem(subject: object, longest: int = _MAX_CHANNEL) -> str | None:
    """What is wrong with `subject` as a subject without wildcards, or None.

    Args:
        longest: how many characters it may have.
    """
    if not isinstance(subject, str):
        return f"is {type(subject).__name__}, not str"
    if not subject:
        return "is empty"
    if subject.isspace():
        return "is blank"
    for char in subject:
        if char.isspace() or unicodedata.category(char).startswith("C"):
            return f"contains white space or a control character ({char!r})"
        if char in "*>":
            return f"contains the wildcard {char!r}"
    if len(subject) > longest:
        return f"has {len(subject):,} characters, more than {longest}"
    if "" in subject.split("."):
        return "has an empty part (a '.' at an end, or two in a row)"
    return None


@lru_cache(maxsize=4096)
def validate_channel(channel: str) -> str:
    """Return `channel` if it can be published to.

    Raises:
        InvalidChannelError: it is empty or blank, has an empty token, white space, a control
            character, `*` or `>`.
    """
    if problem := subject_problem(channel):
        raise InvalidChannelError(channel, problem)
    return channel


def name_problem(name: str, longest: int = _MAX_NAME_BYTES) -> str | None:
    """What is wrong with `name` as the name of a stream or durable, or None.

    Args:
        longest: how many bytes of UTF-8 it may have.
    """
    if not _NAME.fullmatch(name):
        return "must not be empty or contain white space, '.', '*', '>', '/' or '\\'"
    if (size := len(name.encode())) > longest:
        return f"has {size:,} bytes, more than {longest}; choose a shorter name"
    return None


def subject_for(subject_prefix: str, channel_prefix: str, channel: str) -> str:
    """The subject of `channel`: `{subject_prefix}.{channel_prefix}{channel}`.

    Raises:
        InvalidChannelError: see `validate_channel`; or the subject is too long for the server.
    """
    subject = f"{subject_prefix}.{channel_prefix}{validate_channel(channel)}"
    if (size := len(subject.encode())) > _MAX_SUBJECT:
        reason = f"makes a subject of {size:,} bytes, more than {_MAX_SUBJECT:,}"
        raise InvalidChannelError(channel, reason, "use a shorter name, or shorter prefixes")
    return subject


def channel_from(subject_prefix: str, channel_prefix: str, subject: str) -> str | None:
    """The channel of `subject`, or None if it does not have these prefixes."""
    head = f"{subject_prefix}.{channel_prefix}"
    return subject[len(head) :] if subject.startswith(head) and len(subject) > len(head) else None


def durable_for(durable_name: str, channel: str) -> str:
    """The name of the durable consumer of `durable_name` on `channel`; no two channels share one.

    It is `{durable_name}-{channel}` with `_` for `.`. For a channel with any character except ASCII
    letters, digits, `-` and `.`, and for a very long one, `__` and a hash follow, with which no
    other name can end.
    """
    readable = re.sub(r"[^A-Za-z0-9-]", "_", validate_channel(channel))
    name = f"{durable_name}-{readable}"
    fits = len(name) <= _MAX_DURABLE and len(name.encode()) <= _MAX_NAME_BYTES
    if _PLAIN.fullmatch(channel) and fits:
        return name
    end = f"__{hashlib.sha256(channel.encode()).hexdigest()[:10]}"
    name = name[:_MAX_DURABLE]
    while len(name.encode()) > _MAX_NAME_BYTES - len(end):
        name = name[:-1]
    return name + end


def released_durable(durable_name: str, channel: str) -> str | None:
    """What the released varco-nats calls the durable of `channel`; channels may share that name.

    None if it is a name that the server does not take.
    """
    name = f"{durable_name}-{validate_channel(channel).replace('.', '_')}"
    return None if name_problem(name) else name


@lru_cache(maxsize=4096)
def encode_channel(channel: str) -> str:
    """Any channel name as valid subject tokens; in a valid one only `%` is encoded.

    Dead letters of other backends have names that are not valid here (`""`, `"*"`). A name that is
    too long for a subject is replaced by its beginning and a hash.
    """
    if not channel:
        return "%"
    if subject_problem(channel) is None:
        return channel.replace("%", "%25")
    encoded = _quoted(channel)
    if len(encoded) > _MAX_ENCODED:
        digest = hashlib.sha256(channel.encode(errors="surrogatepass")).hexdigest()[:16]
        encoded = _quoted(f"{channel[:_MAX_SHORTENED]}… {digest}")
    return encoded


def _quoted(channel: str) -> str:
    return quote(channel, safe="", errors="surrogatepass").replace(".", "%2E").replace("*", "%2A")


def decode_channel(tokens: str) -> str:
    """The inverse of `encode_channel`, except for a name that was too long."""
    try:
        return "" if tokens == "%" else unquote(tokens, errors="surrogatepass")
    except UnicodeDecodeError:
        return tokens
