"""What a connection may send that only looks; everything else is refused. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from varco_nats.config import StreamSettings
from varco_nats.errors import ReadOnlyError

_LINE_END = b"\r\n"
_INBOX = "_INBOX."  # the usual prefix, which other processes have even where this one has its own
_NAME = r"[^.]+"
_READER = r"[^.]+-[0-9a-f]{32}"  # as `ReadingConsumer` names the consumers that it makes

_LOOKS = re.compile(
    "|".join(
        (
            "INFO",
            r"STREAM\.(?:NAMES|LIST)",
            rf"STREAM\.(?:INFO|MSG\.GET)\.{_NAME}",
            rf"DIRECT\.GET\.{_NAME}(?:\..+)?",
            rf"CONSUMER\.(?:NAMES|LIST)\.{_NAME}",
            rf"CONSUMER\.INFO\.{_NAME}\.{_NAME}",
            rf"CONSUMER\.(?:MSG\.NEXT|DELETE)\.{_NAME}\.{_READER}",
        )
    )
)
_CREATES_CONSUMER = re.compile(rf"CONSUMER\.CREATE\.{_NAME}")
_CHANGES = {
    "STREAM.CREATE": "create stream {}",
    "STREAM.UPDATE": "change stream {}",
    "STREAM.DELETE": "delete stream {}",
    "STREAM.PURGE": "delete messages of stream {}",
    "STREAM.MSG.DELETE": "delete a message of stream {}",
    "CONSUMER.CREATE": "create a consumer of stream {}",
    "CONSUMER.DURABLE.CREATE": "create a consumer of stream {}",
    "CONSUMER.DELETE": "delete a consumer of stream {}",
    "CONSUMER.MSG.NEXT": "take messages from a consumer of stream {}",
}


def check_may_change(settings: StreamSettings, operation: str) -> None:
    """Refuse `operation` early and by its name, before the connection refuses what it would send.

    Raises:
        ReadOnlyError: the settings say `read_only`.
    """
    if settings.read_only:
        raise ReadOnlyError(operation)


def check_only_looks(commands: bytes, api: str, inbox_prefix: str) -> None:
    """Refuse commands of the protocol that would change something.

    Args:
        api: what the subjects of requests to JetStream begin with.
        inbox_prefix: what the inboxes of the connection begin with.

    Raises:
        ReadOnlyError: one of the commands publishes something else than a question.
    """
    for subject, payload in _published(commands):
        request = subject.removeprefix(f"{api}.")
        if request == subject:
            # a question to a process whether it is still there
            is_question = subject.startswith((_INBOX, f"{inbox_prefix}.")) and not payload
            if not is_question:
                raise ReadOnlyError(f"publish to {subject!r}")
        elif not _LOOKS.fullmatch(request) and not _creates_reader(request, payload):
            raise ReadOnlyError(_words(request, subject))


def _published(commands: bytes) -> Iterator[tuple[str, bytes]]:
    """The subject and the payload, with its headers, of each message among the commands."""
    start = 0
    while (end := commands.find(_LINE_END, start)) >= 0:
        words = commands[start:end].split()
        start = end + len(_LINE_END)
        if words and words[0].upper() in (b"PUB", b"HPUB"):
            size = int(words[-1])
            yield words[1].decode(errors="replace"), commands[start : start + size]
            start += size + len(_LINE_END)


def _creates_reader(request: str, payload: bytes) -> bool:
    """Whether a request creates a consumer as `ReadingConsumer` does, which only reads."""
    if not _CREATES_CONSUMER.fullmatch(request):
        return False
    try:
        config: dict[str, Any] = json.loads(payload)["config"]
        return (
            re.fullmatch(_READER, config["name"]) is not None
            and config["ack_policy"] == "none"
            and not config.get("durable_name")
            and not config.get("deliver_subject")
        )
    except (ValueError, LookupError, TypeError):
        return False


def _words(request: str, subject: str) -> str:
    """What a request to JetStream would do, such as `delete stream orders`."""
    for change, words in _CHANGES.items():
        if request.startswith(f"{change}."):
            return words.format(request.removeprefix(f"{change}.").split(".")[0])
    return f"publish to {subject!r}"
