"""The server's answer to a message that is to be stored."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from varco_nats._nats.error_codes import ErrorCode, Status
from varco_nats._nats.limits import limit_reached
from varco_nats.errors import (
    NoStreamForChannelError,
    PublishError,
    PublishRefusedError,
    VarcoNatsError,
)

_LIMITS = ("maximum ", "message too large")
_UNDECIDED = ErrorCode.STREAM_DUPLICATE_MESSAGE_CONFLICT

# anything else that JSON allows there is read by the json module
_PLAIN = rb'\{"stream":"([ !#-\[\]-~]+)", *%b"seq":([0-9]{1,20})\}'
_ANY_DOMAIN = rb'(?:"domain":"[ !#-\[\]-~]+", *)?'
_PLAIN_PUBACK = re.compile(_PLAIN % _ANY_DOMAIN)


class PubAck(NamedTuple):
    """The server's statement that a message is stored.

    Attributes:
        stream: the stream it is in.
        seq: its sequence there; that of the first copy, if it is a duplicate.
        duplicate: True if it was not stored again because its message id is known.
    """

    stream: str
    seq: int
    duplicate: bool = False


class Refusal(NamedTuple):
    """The reason for which a message is not stored, or is not known to be."""

    reason: str
    retry: bool
    """Whether sending it again can help."""
    unclear: bool = False
    """Whether it may be stored in spite of that."""
    cause: VarcoNatsError | None = None
    """The error that says why, where there is one."""
    kind: Callable[[str, int, str], PublishError] = PublishError
    """Makes the error to raise of channel, attempts and reason."""

    def error(self, channel: str, attempts: int) -> PublishError:
        """The error for an event that was sent so many times."""
        error = self.kind(channel, attempts, self.reason)
        error.__cause__ = self.cause
        return error


def parse_puback(
    data: bytes, headers: Mapping[str, str] | None, domain: str | None = None
) -> PubAck | Refusal:
    """The server's answer to one message, as it stands on the wire.

    Args:
        domain: the JetStream domain that the answer has to be from; None is any.
    """
    plain = _PLAIN_PUBACK.fullmatch(data)  # takes a third of the time of json.loads
    if plain is not None and domain is None:
        return PubAck(plain[1].decode(), int(plain[2]))
    if headers and headers.get("Status") == Status.NO_RESPONDERS:
        reason = "no stream captures its subject, or JetStream is not available"
        return Refusal(reason, retry=True, kind=NoStreamForChannelError)
    try:
        reply = json.loads(data)
        error = reply.get("error")
        if error is None and domain is not None and reply.get("domain") != domain:
            reason = (
                f"stream {reply['stream']!r} of domain {reply.get('domain')!r} has stored it, as "
                f"it captures the subject too; it is not known to be stored in domain {domain!r}"
            )
            return Refusal(reason, retry=False, unclear=True)
        if error is None:
            return PubAck(reply["stream"], reply["seq"], reply.get("duplicate", False))
    except (ValueError, KeyError, AttributeError):
        reason = "the answer is not a PubAck: another service answers on its subject"
        return Refusal(reason, retry=False, unclear=True)
    code, description = error.get("err_code"), str(error.get("description"))
    kind = partial(
        PublishRefusedError, code=error.get("code"), err_code=code, description=description
    )
    if (limit := limit_reached(code, description)) is not None:
        return Refusal(str(limit), retry=False, cause=limit, kind=kind)
    reason = f"{description} (error code {code})"
    retry = code in (_UNDECIDED, ErrorCode.CLUSTER_NOT_AVAILABLE)
    # if only the leader failed to store it, its replicas may have it
    failed = code == ErrorCode.STREAM_STORE_FAILED and not description.startswith(_LIMITS)
    return Refusal(reason, retry, unclear=failed or code == _UNDECIDED, kind=kind)


def plain_pubacks(inbox: str, sid: int, domain: str | None = None) -> re.Pattern[bytes]:
    """A pattern for a PubAck on the wire that has only stream and sequence, as nearly all have.

    Args:
        inbox: how its subject begins; a number, `-` and a number follow.
        sid: the id of the subscription that receives it.
        domain: the JetStream domain that it has to be from; None is any.

    Returns:
        The pattern, with the groups: both numbers, size, stream and sequence.
    """
    head = _head(inbox, sid)
    there = _ANY_DOMAIN if domain is None else rb'"domain":"%b", *' % re.escape(domain.encode())
    return re.compile(head + _PLAIN % there + rb"\r\n")


def plain_successes(inbox: str, sid: int) -> re.Pattern[bytes]:
    """A pattern for an answer of the JetStream API that says only that the request was carried out.

    Its arguments and its first three groups are those of `plain_pubacks`; the fourth is the text.
    """
    return re.compile(_head(inbox, sid) + rb'(\{"type":"[a-z0-9._]+", *"success":true\})\r\n')


def _head(inbox: str, sid: int) -> bytes:
    return rb"MSG %b([0-9]+)-([0-9]+) %d ([0-9]+)\r\n" % (re.escape(inbox.encode()), sid)
