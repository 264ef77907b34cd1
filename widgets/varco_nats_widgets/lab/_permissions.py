"""The NATS permissions that have the server itself keep a read-only `Lab` to reading."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass

from varco_nats import subjects
from varco_nats._nats.advisories import AdvisoryKind, advisory_subject
from varco_nats._nats.client import Connection
from varco_nats.config import DEFAULT_API, NatsEventBusSettings

_INDENT = "  "


@dataclass(frozen=True)
class Permissions:
    """What a login may publish to and subscribe to, all else being denied.

    As text they are a part of the configuration of a nats-server, to be put into a user's block.

    Example:
        print(lab.permissions())
    """

    publish: tuple[str, ...]
    """The subjects that it may publish to, all of them requests that change nothing."""
    subscribe: tuple[str, ...]
    """The subjects that it may subscribe to."""

    def to_dict(self) -> dict[str, dict[str, list[str]]]:
        """The same as `{"publish": {"allow": […]}, "subscribe": {"allow": […]}}`."""
        return {
            "publish": {"allow": list(self.publish)},
            "subscribe": {"allow": list(self.subscribe)},
        }

    def __str__(self) -> str:
        lines = ["permissions {"]
        for name, allowed in (("publish", self.publish), ("subscribe", self.subscribe)):
            # in double quotes, as "$JS" would be a variable of the configuration without them
            quoted = [json.dumps(subject, ensure_ascii=False) for subject in allowed]
            lines += [f"{_INDENT}{name} {{", f"{_INDENT * 2}allow: ["]
            lines += [f"{_INDENT * 3}{subject}" for subject in quoted]
            lines += [f"{_INDENT * 2}]", f"{_INDENT}}}"]
        return "\n".join([*lines, "}"])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        where = (
            "In the configuration of the server, in the block of a user that only reads: "
            "<code>authorization { users: [ { user: …, password: …, <b>this</b> } ] }</code>"
        )
        return f"<p>{where}</p><pre>{html.escape(str(self))}</pre>"


def reading_permissions(
    settings: NatsEventBusSettings,
    connection: Connection,
    streams: Sequence[str] = (),
    *,
    consumers: bool = True,
) -> Permissions:
    """See `Lab.permissions`.

    Raises:
        ValueError: one of `streams` cannot be the name of a stream.
    """
    from varco_nats.dlq._codec import DlqNames

    for stream in streams:
        if problem := subjects.name_problem(stream):
            raise ValueError(f"stream {stream!r} {problem}")
    own = settings.stream_name
    read = dict.fromkeys([own, *streams])
    beside = [
        DlqNames.of(settings).stream,
        subjects.replay_log_name(own),
        subjects.exhausted_name(own),
    ]
    api, inbox = connection.api, connection.nc.inbox_prefix
    if connection.domain and connection.domain == connection.nc.server_info.get("domain"):
        api = (
            DEFAULT_API  # the domain's own servers check what a subject with the domain stands for
        )
    requests = ["INFO", "STREAM.NAMES", "STREAM.LIST"]
    for stream in dict.fromkeys([*read, *beside]):
        requests += [
            f"STREAM.INFO.{stream}",
            f"STREAM.MSG.GET.{stream}",
            f"DIRECT.GET.{stream}",
            f"CONSUMER.LIST.{stream}",
        ]
        # dead letters and the rest are read by direct get, and leased through consumers
        if consumers and stream in read:
            requests += [
                f"CONSUMER.CREATE.{stream}",  # with a name after it, also durables
                f"CONSUMER.INFO.{stream}.*",
                f"CONSUMER.MSG.NEXT.{stream}.*",
            ]
    return Permissions(
        publish=tuple(f"{api}.{request}" for request in requests),
        # what the server says unasked of what becomes of messages, for `Lab.record`
        subscribe=(f"{inbox}.>", *(advisory_subject(kind, own) for kind in AdvisoryKind)),
    )
