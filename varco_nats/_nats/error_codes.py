"""The error codes of JetStream and the statuses of NATS that this package acts on."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class ErrorCode(IntEnum):
    """What `err_code` says in an answer of the JetStream API, named as in `server/errors.json`."""

    ACCOUNT_RESOURCES_EXCEEDED = 10002
    CLUSTER_NO_PEERS = 10005
    CLUSTER_NOT_AVAILABLE = 10008
    """The cluster or the stream has no leader at the moment; nothing was done."""
    INSUFFICIENT_RESOURCES = 10023
    MAXIMUM_CONSUMERS_LIMIT = 10026
    MAXIMUM_STREAMS_LIMIT = 10027
    MEMORY_RESOURCES_EXCEEDED = 10028
    NO_MESSAGE_FOUND = 10037
    NOT_ENABLED_FOR_ACCOUNT = 10039
    SEQUENCE_NOT_FOUND = 10043
    STORAGE_RESOURCES_EXCEEDED = 10047
    STREAM_CREATE = 10049
    """The server could not make the folder of the stream; only its log says why."""
    STREAM_MESSAGE_EXCEEDS_MAXIMUM = 10054
    STREAM_MSG_DELETE_FAILED = 10057
    """A removal failed; only the description says whether the message was not there."""
    STREAM_NAME_EXIST = 10058
    STREAM_NOT_FOUND = 10059
    STREAM_SUBJECT_OVERLAP = 10065
    STREAM_WRONG_LAST_SEQUENCE = 10071
    """It comes with the sequence of a message of that subject, which proves that it is stored."""
    NOT_ENABLED = 10076
    STREAM_STORE_FAILED = 10077
    """The stream is full, or there is another reason, which the description gives."""
    CONSUMER_WQ_MULTIPLE_UNFILTERED = 10099
    CONSUMER_WQ_CONSUMER_NOT_UNIQUE = 10100
    STREAM_MAX_BYTES_REQUIRED = 10113
    STREAM_OFFLINE = 10118
    CONSUMER_OFFLINE = 10119
    CONSUMER_MAX_PENDING_ACK_EXCESS = 10121
    CONSUMER_INACTIVE_THRESHOLD_EXCESS = 10153
    STREAM_DUPLICATE_MESSAGE_CONFLICT = 10158
    """The cluster has not agreed on an earlier attempt with this message id, and may never do."""
    STREAM_WRONG_LAST_SEQUENCE_CONSTANT = 10164
    """Another write to that subject is undecided, so that this proves nothing."""
    STREAM_OFFLINE_REASON = 10194
    CONSUMER_OFFLINE_REASON = 10195


class Status(StrEnum):
    """What the header `Status` says in a message that the server itself sends."""

    HEARTBEAT = "100"
    END_OF_BATCH = "204"
    NOT_FOUND = "404"
    REQUEST_EXPIRED = "408"
    CONFLICT = "409"
    NO_RESPONDERS = "503"
