"""Which limit of a stream, an account or a server JetStream refuses something for."""

from __future__ import annotations

from varco_nats._nats.error_codes import ErrorCode
from varco_nats.errors import LimitReachedError

CONSUMERS = "max_consumers"
FEWER_CONSUMERS = "delete consumers that nobody uses, or raise it"

_MAKE_ROOM = "delete messages, or raise it"
_LIMITS: dict[int, tuple[str, str, str]] = {
    ErrorCode.ACCOUNT_RESOURCES_EXCEEDED: ("max_file or max_mem", "the account", _MAKE_ROOM),
    ErrorCode.INSUFFICIENT_RESOURCES: (
        "max_file_store or max_memory_store",
        "the server",
        _MAKE_ROOM,
    ),
    ErrorCode.MAXIMUM_CONSUMERS_LIMIT: (
        CONSUMERS,
        "the stream or the account",
        FEWER_CONSUMERS,
    ),
    ErrorCode.MAXIMUM_STREAMS_LIMIT: (
        "max_streams",
        "the account",
        "delete streams that nobody uses, or raise it",
    ),
    ErrorCode.MEMORY_RESOURCES_EXCEEDED: ("max_mem", "the account or the server", _MAKE_ROOM),
    ErrorCode.STORAGE_RESOURCES_EXCEEDED: ("max_file", "the account or the server", _MAKE_ROOM),
    ErrorCode.STREAM_MESSAGE_EXCEEDS_MAXIMUM: (
        "max_msg_size",
        "the stream",
        "send a reference to the data instead, or raise it",
    ),
    ErrorCode.STREAM_MAX_BYTES_REQUIRED: (
        "max_bytes_required",
        "the account",
        "have an administrator create the stream with max_bytes, as this package sets none",
    ),
    ErrorCode.CONSUMER_MAX_PENDING_ACK_EXCESS: (
        "max_ack_pending",
        "the stream, the account or the server",
        "lower 'prefetch', of which a consumer asks for eight times as much and at least for "
        "1,000, or raise it",
    ),
}
_FULL = {  # by the description, as all have the code 10077
    "maximum messages exceeded": "max_msgs",
    "maximum bytes exceeded": "max_bytes",
    "maximum messages per subject exceeded": "max_msgs_per_subject",
}


def limit_reached(code: int | None, description: str | None) -> LimitReachedError | None:
    """The error for an answer of JetStream that says that a limit is reached; else None."""
    reason = f"{description} (error code {code})"
    if code == ErrorCode.STREAM_STORE_FAILED and description in _FULL:
        return LimitReachedError(_FULL[description], "the stream", reason, _MAKE_ROOM)
    if code not in _LIMITS:
        return None
    limit, of, advice = _LIMITS[code]
    return LimitReachedError(limit, of, reason, advice)
