"""`Lab`: the way in from a notebook."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack

import pandas as pd

from varco_nats._ipython import shortened
from varco_nats._masks._mask import Mask
from varco_nats.config import NatsEventBusSettings
from varco_nats_widgets._session.handle import Handle
from varco_nats_widgets._session.job import InThread, Job, Twin, awaiting, blocking
from varco_nats_widgets._session.progress import Progress, ProgressCallback
from varco_nats_widgets.decoders import DecoderLike, DecoderTable
from varco_nats_widgets.durability import Durability
from varco_nats_widgets.frames._query import (
    MAX_BYTES,
    EventType,
    FrameOptions,
    LoadOptions,
    Moment,
    frame_query,
    warn_about,
    warn_caller,
    warn_of_times,
)
from varco_nats_widgets.lab._bus import LabBus
from varco_nats_widgets.lab._permissions import Permissions, reading_permissions

if TYPE_CHECKING:  # imported when they are first used: many a notebook only looks
    from varco_nats.replay import ReplayControl, ReplayPlan, ReplayReport
    from varco_nats_widgets.dead_letters import DeadLetters
    from varco_nats_widgets.dead_letters._index.filter import FilterOptions
    from varco_nats_widgets.delivery import Delivery
    from varco_nats_widgets.experiment import Comparison, Experiment, ExperimentOptions, Faults
    from varco_nats_widgets.explorer import Explorer
    from varco_nats_widgets.export import ExportResult, Format
    from varco_nats_widgets.lab._replay_history import HistoryOptions
    from varco_nats_widgets.live import LiveFrame
    from varco_nats_widgets.publish import Publication
    from varco_nats_widgets.publish._planning import Content
    from varco_nats_widgets.record import DeliveryRecord
    from varco_nats_widgets.record._bus import Observable
    from varco_nats_widgets.stores import KeyValues, Objects


class Lab:
    """A server to look at and to play with: its channels as DataFrames, and a bus.

    `Lab()` connects to the servers in `VARCO_NATS_SERVERS`, or starts a local server where that
    is not set. `Lab("nats://host:4222")` connects there; both log in as `NATS_*` variables say
    (see `NatsConnectionSettings`). `Lab(settings)` takes everything from the settings.

    It does its network work on a thread of its own, so that a busy cell stalls nothing. Methods
    are plain: `lab.frame("orders")`. Each has an awaitable twin of the same name under `aio`, for
    any event loop: `await lab.aio.frame("orders")`.

    In a notebook, the first one has Tab complete channel names, and has pandas show formulas in
    frames as text (`display.html.use_mathjax`): what a stranger published is not typeset.

    Looking disturbs nobody: nothing is acknowledged or taken from a service. Handlers that are
    registered on `lab.bus` consume through durables of their own, named `lab-` and a random
    number whatever `durable_name` the settings have, so that they too get every message and take
    none away. They are deleted by `close()`; those of a killed kernel expire after 10 minutes.

    With `read_only=True`, or `VARCO_NATS_READ_ONLY=1`, it only looks: whatever would publish,
    replay, discard, or create or delete something on the server raises `ReadOnlyError` before
    anything is sent, and views have no buttons for it. `lab.permissions()` has what makes the
    server refuse it too. Experiments work, as they have servers of their own.

    Args:
        server: URLs joined by `,`, or settings; None as above.
        context: instead of a server, the name of a context of the `nats` command, whose login, TLS,
            JetStream domain and API prefix it has too; "" is the one that `nats context select`
            chose. See `varco_nats.connection`.
        decoders: how payloads are read that are not JSON, by channel or subject:
            `{"orders": "msgpack", "dev.*.gps": Protobuf("gps.proto", "Fix"), "*": "auto"}`; or one
            for all, such as the serializer that a service gave its bus. See
            `varco_nats_widgets.decoders`.
        mask: fields whose values are never shown, by the names of their columns:
            `["customer.email", "*.iban", "headers.authorization"]`; `*` stands for any number of
            levels, also none. Those of `VARCO_NATS_MASK`, joined by `,`, are masked as well.
        mask_key: with it equal values have equal pseudonyms, so that they can be joined and
            counted; without it, and without `VARCO_NATS_MASK_KEY`, they are `***`.
        read_only: whether it only looks; None is as the settings or `VARCO_NATS_READ_ONLY` say.

    Raises:
        DecoderError: a decoder that there is not, or a key that is no channel; says which.
        MaskPatternError: a pattern that cannot be read.
        SettingsError: there is no such context, or it cannot be used; names those there are.
        ServerUnreachableError, AuthenticationError, JetStreamUnavailableError: no use of the
            server; nothing is left behind.
        ServerBinaryNotFoundError, LocalServerError: no local server could be started.

    Example:
        lab = Lab()
        lab.channels()
        lab.frame("orders", last="10m")
        lab["orders"].last
        lab.close()
    """

    @shortened
    def __init__(
        self,
        server: str | NatsEventBusSettings | None = None,
        *,
        context: str | None = None,
        decoders: Mapping[str, DecoderLike] | DecoderLike | None = None,
        mask: str | Iterable[str] | None = None,
        mask_key: str | None = None,
        read_only: bool | None = None,
    ) -> None:
        self._handle = Handle.open(
            server,
            context=context,
            decoders=DecoderTable(decoders),
            mask=Mask.with_environment(mask, mask_key),
            read_only=read_only,
        )
        self._session = self._handle.session
        if decoders is not None and (
            complaint := self._session.call(self._session.warn_of_decoders()).wait()
        ):
            warn_caller(complaint)
        self._bus: LabBus | None = None

    def __repr__(self) -> str:
        session = self._session
        states = [", read-only"] * session.read_only + [", closed"] * session.closed
        return f"Lab({session.label}{''.join(states)})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def __lab_handle__(self) -> Handle:
        return self._handle

    @property
    def aio(self) -> LabAio:
        """The awaitable twins of this object's methods."""
        return LabAio(self)

    @property
    def settings(self) -> NatsEventBusSettings:
        """The settings in use, with this Lab's own `durable_name`."""
        return self._session.settings

    @property
    def bus(self) -> LabBus:
        """The event bus, started when first asked for; `Lab` says who gets the messages."""
        if self._bus is None:
            self._session.bus()
            self._bus = LabBus(self._handle)
        return self._bus

    def __getitem__(self, channel: str) -> Channel:
        """The channel of that name; Tab completes it.

        Raises:
            UnknownChannelError: it holds no messages; names those that do.
            InvalidChannelError: no channel can have that name.
        """
        self._session.read(self._session.view.require(channel)).wait()
        return Channel(self, channel)

    def __iter__(self) -> Iterator[str]:
        """The names of the channels that hold messages, sorted."""
        return iter(self._session.read(self._session.view.names()).wait())

    def __contains__(self, channel: object) -> bool:
        return any(name == channel for name in self)

    def _ipython_key_completions_(self) -> list[str]:
        return self._session.names_for_completion()

    @blocking
    def channels(self, *, stream: str | None = None) -> Job[pd.DataFrame]:
        """The channels that hold messages, or the subjects of another stream.

        Args:
            stream: another stream than that of the settings; `lab.streams()` has the names.

        Returns:
            Index `channel` (or `subject`); columns `messages`; `per_second`, messages stored per
            second over the last 10 s, or over the last 20,000 messages of the stream where that is
            less; of the consumers that get its messages, `consumers`, how many, and `durables`,
            the names of the services' among them; of those on it alone, as what a consumer of
            several channels has left cannot be told apart, `lag`, the most messages that one has
            yet to get, missing where there is none, `ack_pending` and `redelivered`, messages in
            the hands of services, and those among them delivered more than once; `bytes`, missing
            where the stream holds several channels, as NATS counts bytes by stream; `first_seq`,
            `last_seq`; `first_time`, `last_time` (UTC). What is said of consumers is missing where
            this login may not list them.

        Raises:
            StreamNotFoundError: no such stream; names those there are.
            PermissionDeniedError: this login may not look; says what to allow.
        """
        return self._session.read(self._session.view.listed(stream))

    @blocking
    def streams(self) -> Job[pd.DataFrame]:
        """All streams of the account, also those that varco did not make.

        Returns:
            Index `stream`; columns `kind` (`stream`; or `key-value bucket` or `object store`, which
            `lab.kv` and `lab.objects` read), `subjects`, `messages`, `bytes`, `distinct_subjects`,
            `first_seq`, `last_seq`, `first_time`, `last_time` (UTC), `consumers`, `retention`,
            `storage`, `replicas`, and the limits `max_messages`, `max_messages_per_subject`,
            `max_bytes`, `max_age`, missing where there is none.
        """
        return self._session.read(self._session.view.streams())

    @blocking
    def buckets(self) -> Job[pd.DataFrame]:
        """The key-value buckets of the account; `lab.kv(bucket)` has their values.

        Returns:
            Index `bucket`; columns `keys`, without deleted ones, missing where there are more than
            100,000; `values`, all revisions that are kept, marks of deletes among them; `bytes`;
            `history`, the revisions kept of a key; `ttl`, after which values expire; `replicas`;
            `storage`; `description`; `copy_of`, the stream that it copies; `last_change` (UTC).
        """
        from varco_nats_widgets._session.buckets import KEY_VALUES
        from varco_nats_widgets.stores._places import buckets_frame

        return self._session.read(buckets_frame(self._session.connection, KEY_VALUES))

    @blocking
    def kv(self, bucket: str, *, decoder: DecoderLike | None = None) -> Job[KeyValues]:
        """A key-value bucket: its values now, as they were, and as they change.

        Args:
            bucket: its name; `lab.buckets()` has them.
            decoder: reads every value; default is what this Lab's `decoders` say for the key, and
                else `"auto"`.

        Raises:
            UnknownBucketError: there is no such bucket; names those there are.

        Example:
            lab.kv("config")
            lab.kv("config").history("limits.orders")
        """
        from varco_nats_widgets.stores._key_values import open_key_values

        return self._session.read(open_key_values(self._handle, bucket, decoder))

    @blocking
    def object_stores(self) -> Job[pd.DataFrame]:
        """The object stores of the account; `lab.objects(store)` has their objects.

        Returns:
            Index `store`; columns `objects`, without deleted ones; `bytes`; `ttl`, after which
            they expire; `replicas`; `storage`; `description`; `copy_of`, the stream that it copies;
            `last_change` (UTC).
        """
        from varco_nats_widgets._session.buckets import OBJECTS
        from varco_nats_widgets.stores._places import buckets_frame

        return self._session.read(buckets_frame(self._session.connection, OBJECTS))

    @blocking
    def objects(self, store: str) -> Job[Objects]:
        """The objects of an object store, to list, open, read and save.

        Args:
            store: its name; `lab.object_stores()` has them.

        Raises:
            UnknownBucketError: there is no such store; names those there are.

        Example:
            lab.objects("reports")
            pd.read_csv(lab.objects("reports").open("2026-01.csv"))
        """
        from varco_nats_widgets.stores._objects import open_objects

        return self._session.read(open_objects(self._handle, store))

    @blocking
    def consumers(
        self, channel: str | None = None, *, stream: str | None = None
    ) -> Job[pd.DataFrame]:
        """The consumers of the channels, a service's durables among them, looked at only.

        Args:
            channel: only those that get this channel's messages; of another `stream`, a subject.
            stream: another stream than that of the settings.

        Returns:
            Index `consumer`; columns `channel` (or `subject`), `*` and `>` standing for many;
            `durable`; `type` (`pull` or `push`); `lag`, messages it has yet to get;
            `ack_pending`, delivered and not acknowledged; `redelivered`; `delivered_seq` and
            `ack_floor_seq`, stream sequences; `last_active` (UTC); `waiting`, open requests of
            services for more; `paused`; `ack_policy`; `ack_wait`; `max_deliver`, missing where
            it has no bound.

        Raises:
            StreamNotFoundError: no such stream; names those there are.
        """
        consumers = self._session.view.consumers(channel, stream)
        return self._session.read(consumers, call="consumers")

    @blocking
    def durability(
        self, channel: str | None = None, *, stream: str | None = None
    ) -> Job[Durability]:
        """What the channel's real configuration promises about its messages, and what not.

        Looks at the stream's retention, limits, copies and duplicate window, at the consumers'
        acks and deliveries, at the server's version, and at its `sync_interval` where that is
        known: NATS does not tell it to clients.

        Args:
            channel: a channel, which need not hold messages; of another `stream`, a subject, or
                all of it if None.
            stream: another stream than that of the settings.

        Raises:
            StreamNotFoundError: no such stream; names those there are.
            InvalidChannelError: no channel can have that name.
            UnknownChannelError: it has neither messages nor a consumer, and is the name of another
                stream or of a subject there.
        """
        return self._session.read(self._session.durability(channel, stream), call="durability")

    @blocking
    def frame(
        self,
        channel: str | Iterable[str] | None = None,
        *,
        stream: str | None = None,
        subject: str | Iterable[str] | None = None,
        last: timedelta | str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        start_seq: int | None = None,
        end_seq: int | None = None,
        limit: int | None = None,
        newest_first: bool = False,
        event_type: EventType | Iterable[EventType] | None = None,
        headers: bool | Iterable[str] = False,
        times: str | Iterable[str] = (),
        max_bytes: int | None = MAX_BYTES,
        decoder: DecoderLike | None = None,
        progress: ProgressCallback | bool | None = None,
    ) -> Job[pd.DataFrame]:
        """The events stored in a channel, in several together, or in any stream.

        Args:
            channel: one name or several.
            stream: instead of a channel, any stream; `lab.streams()` has the names.
            subject: with it or alone, one subject or several, also with `*` and `>`; column
                `channel` then holds the subject. All subjects if None.
            last: stored within this time until now: `"10m"`, `"2h"`, a timedelta.
            since: stored then or later: a datetime with its zone, text (`"2026-05-01 10:00"`,
                UTC unless it says otherwise), or how long ago (`"10m"`, a timedelta).
            until: stored before then.
            start_seq: lowest stream sequence, included.
            end_seq: highest stream sequence, included.
            limit: at most this many rows.
            newest_first: rows from the newest to the oldest; with `limit`, the newest ones.
            event_type: only events of this type or these, by class or name.
            headers: True gives a column `headers` with a dict in each row; names, such as
                `["traceparent", "tenant"]`, a column of text each, `headers.tenant`, missing where
                a message has none. The case of a header does not matter.
            times: fields that become times, such as `"ts"` or `["ts", "customer.born"]`: ISO 8601,
                or seconds, milliseconds, microseconds or nanoseconds since 1970, told apart by
                their size. A value that is no time becomes NaT, with a warning.
            max_bytes: stop before the payloads read are more than this, in bytes, with a warning;
                default 1 GiB.
            decoder: reads every payload, such as `"msgpack"` or `"auto"`; default is what this
                Lab's `decoders` say.
            progress: called about ten times a second with the messages read and how many there
                are. None shows a bar in a notebook when it takes more than a second; False none.

        Returns:
            Index `seq`, the stream sequence; columns `stored_at`, `channel`, `event_type`,
            `event_id`, `timestamp`, then the payload's fields, nested ones as `outer.inner`, one
            whose name is taken as `data.<name>`, those beyond 1,000 as a dict in `data.more`.
            Times are UTC. A payload that is no object is in column `value`; one that cannot be
            read has `decode_error`, and `raw`, its bytes. `frame.attrs["decoders"]` says how each
            channel was read, where that is not plain JSON by default.
            `frame.attrs["completeness"]` has `expected` (messages there were), `loaded`,
            `filtered` (left out by `event_type`), `gaps` (messages that went while it was read)
            and `truncated_by` (`"limit"`, `"max_bytes"` or None); `frame.attrs["times"]`, of each
            field in `times`, has `units` (how many values were in which), `wrong` (values that are
            no times) and `example`, one of them; None if no message has the field.

        Raises:
            UnknownChannelError: a channel holds no messages; names those that do.
            InvalidChannelError: no channel can have that name.
            StreamNotFoundError: no such stream; names those there are.
            ServerUnreachableError: the server went away and stayed away.
            PermissionDeniedError: this login may not read there; says what to allow.
            ValueError, TypeError: another argument that cannot be read.
            KeyboardInterrupt: it was interrupted; says how far it was. Nothing is left behind.
            StoppedError: it was awaited, and the button beside the bar was clicked, which
                ipykernel 7 has.
        """
        query = frame_query(
            channel,
            stream=stream,
            subject=subject,
            last=last,
            since=since,
            until=until,
            start_seq=start_seq,
            end_seq=end_seq,
            limit=limit,
            newest_first=newest_first,
            event_type=event_type,
            headers=headers,
            times=times,
            max_bytes=max_bytes,
        )
        shown = Progress(f"loading {query.what}", progress)
        loading = self._session.view.frame(query, shown, decoder)
        return self._session.read(
            loading, shown, finish=lambda frame: self._session.check_mask(warn_about(frame))
        )

    @blocking
    def live(
        self,
        channel: str | Iterable[str] | None = None,
        *,
        stream: str | None = None,
        subject: str | Iterable[str] | None = None,
        event_type: EventType | Iterable[EventType] | None = None,
        where: Callable[[dict[str, Any]], object] | str | None = None,
        headers: bool | Iterable[str] = False,
        last: timedelta | str | None = None,
        since: Moment | None = None,
        start_seq: int | None = None,
        times: str | Iterable[str] = (),
        max_rows: int = 10_000,
        max_bytes: int = 64 * 1024**2,
        stored: bool = True,
    ) -> Job[LiveFrame]:
        """What arrives in a channel, or in several, as a frame that grows: `live.df`.

        It ends with `stop()`, with the lab, or when no variable and no output has it any more.
        Run the cell that makes and shows it again, and the old one ends, as the new one takes its
        name and its output; `Out` forgets it too. One that another variable has goes on.

        Args:
            channel, stream, subject: as in `frame`; they need not hold messages yet, which the
                frame then says.
            headers: as in `frame`.
            event_type: only events of this type or these, by class or name.
            where: only events for which this is true: a condition, such as
                `'headers.tenant == "acme" and total > 100'`, or a function of a row as a dict. Both
                are asked about what the frame would show: fields in `times` as times, None for
                what is none, and masks instead of masked values.
            last, since: begin with what was stored within this time, or since then, as in
                `frame`; by default with what comes from now on.
            start_seq: begin at this stream sequence.
            times: as in `frame`; what is no time is said in the frame's `notice`.
            max_rows: rows that are kept; older ones fall out and are counted.
            max_bytes: bytes of payload that are kept, likewise.
            stored: False for what passes by, on subjects that no stream keeps too:
                `lab.live(subject="core.>", stored=False)`. It is never known to be complete: what
                was published before, or while this was disconnected, as the server also does with
                what reads too slowly, or paused, is not seen. The frame's `notice` and
                `interruptions` say how often that was; the index is `arrival`, and `received_at`
                when a message came here. Of a flood that is more than it can read, it may slow
                down who publishes, as the server does with every subscriber that falls behind.

        Raises:
            InvalidChannelError: no channel can have that name.
            ServerUnreachableError: the server is away.
            PermissionDeniedError: this login may not subscribe there.
            ConditionError: `where` is a text that is no condition; says where.
            ValueError, TypeError: another argument that cannot be used.
        """
        from varco_nats_widgets.live._live import open_live

        opening = open_live(
            self._handle,
            channel,
            stream=stream,
            subject=subject,
            event_type=event_type,
            where=where,
            headers=headers,
            last=last,
            since=since,
            start_seq=start_seq,
            times=times,
            max_rows=max_rows,
            max_bytes=max_bytes,
            stored=stored,
        )
        return self._session.read(opening, call="live")

    @blocking
    def explore(
        self, *channels: str | Iterable[str], stream: str | None = None, page_size: int = 200
    ) -> Job[Explorer]:
        """A widget over all of this: pick channels, seek, filter, open messages, follow.

        Without channels and stream it opens on the channels of this lab, or, where they hold
        nothing, on the stream of the server with the newest message.

        Args:
            channels: those to begin with, also as a list.
            stream: instead of the channels, any stream with its subjects.
            page_size: events on a page.

        Raises:
            UnknownChannelError: a channel holds no messages; names those that do.
            StreamNotFoundError: no such stream; names those there are.
        """
        from varco_nats_widgets.explorer import Explorer

        return InThread(lambda: Explorer(self, *channels, stream=stream, page_size=page_size))

    @cached_property  # IPython completes on no `property` where jedi is switched off
    def dead_letters(self) -> DeadLetters:
        """The dead letters of the stream's queue: `.groups()`, `.frame(…)`, `.entry(…)`.

        `lab.dead_letters()` is the widget that shows them, with a filter as in `.frame`. The
        queue need not exist yet. It is the same object each time, with its edits and its plan;
        `DeadLetters(lab)` makes another. `DeadLetters.of_stream(lab, "ORDERS_DLQ")` opens dead
        letters that another framework, or a service's own code, wrote to a stream.
        """
        from varco_nats_widgets.dead_letters import DeadLetters

        return DeadLetters(self)

    @blocking
    def capture_exhausted(self) -> Job[None]:
        """Have the server keep what it tells of messages that services give up.

        For `lab.exhausted`, which finds what was given up from then on. Makes the stream
        `{stream_name}-exhausted`, where no other stream keeps it: the newest 100,000 of the last
        30 days, until `stop_capturing_exhausted`. No service notices.

        Raises:
            StreamMismatchError: another stream has that name.
            ReadOnlyError: this lab only looks.
        """
        from varco_nats.dlq._advisories import capture

        self._session.check_may_change("lab.capture_exhausted()")
        return self._session.read(capture(self._session.connection, self._session.settings))

    @blocking
    def stop_capturing_exhausted(self) -> Job[None]:
        """Delete that stream with what it kept, if it is there.

        Raises:
            ReadOnlyError: this lab only looks.
        """
        from varco_nats.dlq._advisories import stop_capture

        self._session.check_may_change("lab.stop_capturing_exhausted()")
        return self._session.read(stop_capture(self._session.connection, self._session.settings))

    @blocking
    def exhausted(self, channel: str, *, limit: int | None = 10_000) -> Job[pd.DataFrame]:
        """The messages that a service without a dead letter queue gave up; takes nothing.

        Those since `capture_exhausted` are certain. Before it, of a service of varco's nothing is
        known. A consumer with `max_deliver` on the server says how many it gave up: then all
        that it may be of are here, the newest `limit`, and `certain` is False; unless as many are
        in the hands of the service.

        Args:
            channel: whose messages.
            limit: at most this many rows; certain ones, then newer ones, come first.

        Returns:
            Index `seq`, the stream sequence; columns `channel`, `stored_at` (UTC), `event_type`,
            `event_id`, `consumer`, `deliveries`, `certain`, `given_up_at` (UTC), `reason` (the
            error's type, of varco's services), `in_queue` (whether it is a dead letter by now),
            `handled_by` (the run of `lab.replays()` that had it), `entry_id` (of its dead
            letter). `frame.attrs["completeness"]` has `captured_since`; `unidentified`, how many
            more each consumer gave up; `gone`, given up and no longer stored; `truncated_by`.

        Warns:
            UserWarning: nothing is captured.

        Raises:
            InvalidChannelError: no channel can have that name.
            StreamNotFoundError: the stream does not exist.
            ServerUnreachableError: the server went away and stayed away.
        """
        from varco_nats_widgets.lab._exhausted import exhausted, warn_if_not_captured

        finding = exhausted(self._session, channel, limit)
        return self._session.read(finding, finish=warn_if_not_captured)

    @blocking
    def dead_letter(
        self,
        rows: pd.DataFrame | Iterable[int],
        *,
        channel: str | None = None,
        note: str = "",
        again: bool = False,
    ) -> Job[list[str]]:
        """Put messages that a service gave up into the dead letter queue, to be replayed there.

        One that is there already is not stored again; repeat the call where it failed.

        Args:
            rows: of `lab.exhausted(…)`, or stream sequences.
            channel: with sequences, whose.
            note: why; kept in the entries' error message, with who did it.
            again: also what a run had before.

        Returns:
            The ids of the entries, for `lab.dead_letters`.

        Raises:
            ReplayRefusedError: a run had some before, or nobody gave them up; nothing was stored.
            DeadLetterError: some could not be stored, or are gone; says how many.
            ReadOnlyError: this lab only looks.
            ValueError: an argument that cannot be used.
        """
        from varco_nats_widgets.lab._exhausted import dead_letter

        self._session.check_may_change("lab.dead_letter()")
        return self._session.read(dead_letter(self._session, rows, channel, note, again))

    @blocking
    def replays(self, replay_id: str | None = None) -> Job[pd.DataFrame]:
        """What was replayed and discarded on this stream, by whom, why and with what outcome.

        Args:
            replay_id: a run, for what became of each of its entries or messages.

        Returns:
            Index `replay_id`, the newest first; columns `started_at` (UTC), `who` (user and
            host), `kind` (`replay`, `history`, `discard`), `state` (`done`, `cancelled`, `died`
            and so on), `outcome` (how many messages had each), `planned`, `to`, `note`,
            `ended_at`, `ended_because` (where it ended early), `rate`, `speed`, `canary` (how
            many went first), `came_back` (how many of them), `again`, `exported_to` (the file that
            has what was discarded), `history` (which messages of which channel), `source`,
            `target`, and `plan`, its summary. Of one run: index `entry_id` or `message`, columns
            `outcome` (missing where it died or still runs), `why`, `seq`, `removed`, `edited`.

        Raises:
            LookupError: there is no run `replay_id`.
        """
        from varco_nats_widgets.lab._replay_history import replays_of

        return self._session.read(replays_of(self._session, replay_id))

    @blocking
    def plan_replay(self, channel: str, **options: Unpack[HistoryOptions]) -> Job[ReplayPlan]:
        """What a replay of a channel's stored messages would send; sends nothing.

        Args:
            channel: whose messages.
            options: `last`, `since`, `until`, `start_seq`, `end_seq`, `limit`: which of them, as
                in `frame`. `to`: the channel they go to, by default of the same name. `target`:
                a lab or settings, where that is on another server or stream. `live`: whether
                they may go to the very channel they come from. `transform`: from a payload to
                the one to send, None to leave it out. `new_event_ids`, `again`, `note`: as in
                `dead_letters.plan`.

        Raises:
            ReplayRefusedError: they would go to the very channel, and `live` is not set.
            InvalidChannelError, ValueError: an argument that cannot be used.
            UnknownChannelError: it holds no messages, and is the name of another stream or of a
                subject there.
        """
        from varco_nats_widgets.lab._replay_history import plan_history

        return self._session.read(plan_history(self._session, channel, **options))

    @blocking
    def replay(
        self,
        channel: str | ReplayPlan,
        *,
        speed: float | None = None,
        rate: float | None = None,
        control: ReplayControl | None = None,
        progress: ProgressCallback | bool | None = None,
        **options: Unpack[HistoryOptions],
    ) -> Job[ReplayReport]:
        """Send a channel's stored messages again, in order, to another place.

        Interrupted or killed, the same call goes on where it was: nothing is stored twice. Where
        it is awaited and cancelled, what it sent is settled first.

        Args:
            channel: whose messages; or a plan that `plan_replay` made, with its `target`.
            speed: 1.0 is the pace at which they were stored, 10.0 ten times that; None is as fast
                as possible.
            rate: messages per second at most.
            control: pauses, resumes and cancels it, from another thread or task.
            progress: as in `frame`.
            options: as in `plan_replay`.

        Raises:
            ReplayRefusedError, InvalidChannelError, UnknownChannelError, ValueError: as in
                `plan_replay`.
            ReplayHeldError: another run is at the same replay.
            ReplayError: it did not begin; nothing was sent.
            ReadOnlyError: this lab, whose server keeps the log, or the target only looks.
        """
        self._session.check_may_change("lab.replay()")
        shown = Progress(f"replaying {channel!r}", progress)
        from varco_nats_widgets.lab._replay_history import replay_history

        running = replay_history(
            self._session,
            channel,
            shown,
            speed=speed,
            rate=rate,
            control=control,
            options=options,
        )
        return self._session.call(running, shown)

    @blocking
    def publish(
        self,
        channel: str | None,
        event: Content,
        *,
        subject: str | None = None,
        event_type: EventType | None = None,
        headers: Mapping[str, object] | None = None,
        count: int = 1,
        rate: float | None = None,
        template: bool = True,
        check: bool = True,
        stored: bool = True,
        decoder: DecoderLike | None = None,
        run: bool = False,
        progress: ProgressCallback | bool | None = None,
    ) -> Job[Publication]:
        """What would be published, exactly; `.run()` sends it.

        A dict for a channel becomes an event of varco's: with its type, an id and a time. For a
        subject it is JSON, or whatever this Lab's decoders say that is there.

        In each text of a dict, in a payload that is a text, and in headers, `{n}` stands for the
        number of the message from 1, `{uuid}` for a new UUID, the same wherever it is in one
        message, and `{now}` for the time of sending. A text that is only `{n}` becomes the number.

        Args:
            channel: where to; None with `subject`.
            event: an event of varco's, a dict or another JSON value; or text or bytes, which are
                the payload as it is sent.
            subject: instead of a channel, any subject, also of a stream that varco did not make.
            event_type: of a dict, by class or name; else its `__event_type__`, else what the
                channel's newest 20 messages have.
            headers: sent with each message.
            count: how many messages, at most 1,000,000. Each but the first gets an event id and a
                time of its own, unless these were given.
            rate: messages per second; None is as fast as the server takes them.
            template: whether `{n}`, `{uuid}` and `{now}` stand for something.
            check: whether what the class of the event refuses is not sent, where the class is
                known here.
            stored: False also sends what no stream stores: only who listens just then gets it.
            decoder: writes the payload, such as `"msgpack"`; default is as for reading.
            run: send it at once if nothing is wrong with it.
            progress: of `run`, as in `frame`.

        Returns:
            The publication: shown, it says what is sent where, who handles it, how large it is, how
            long it takes, and what is wrong. Every run is in `lab.published()` and, at INFO, in
            the logger `varco_nats`.

        Raises:
            EventTypeError: which type of event a dict is is not known.
            CannotEncodeError: the decoder cannot write it.
            InvalidChannelError, ValueError, TypeError: an argument that cannot be used.
            ReadOnlyError: this lab only looks.
            PublicationRefusedError, UnpublishedError: of `run`, as in `Publication.run`.

        Example:
            lab.publish("orders", {"order_id": "7", "total": 12.5})
            lab.publish("orders", {"order_id": "load-{n}"}, count=500, rate=50).run()
            lab.publish(None, {"value": 21.5}, subject="dev.rome.007.temp")
        """
        self._session.check_may_change("lab.publish()")
        from varco_nats_widgets.publish._planning import Planner, request_of
        from varco_nats_widgets.publish._publication import RunAtOnce

        request = request_of(
            channel,
            event,
            subject=subject,
            event_type=event_type,
            headers=headers,
            count=count,
            rate=rate,
            template=template,
            check=check,
            stored=stored,
            decoder=decoder,
        )
        planning = self._session.read(Planner(self._handle).plan(request))
        return planning if not run else RunAtOnce(planning, progress)

    @blocking
    def publish_file(
        self,
        path: Path | str,
        channel: str | None = None,
        *,
        subject: str | None = None,
        rate: float | None = None,
        check: bool = True,
        stored: bool = True,
        run: bool = False,
        progress: ProgressCallback | bool | None = None,
    ) -> Job[Publication]:
        """The same of the messages in a file, in their order; it is read into memory.

        Of NDJSON that `export` wrote, payloads keep their bytes; of Parquet and CSV, events are
        made of the rows again, with what `export(times=)` made times in ISO 8601. Other files are
        lines of JSON or rows of a table, a message each.

        Args:
            path: `.ndjson`, `.jsonl`, `.parquet`, `.csv`, or a data set that `export` wrote.
            channel: where all of them go; None is where each came from, which only a file that
                `export` wrote says.
            subject: instead of a channel, any subject.
            rate, check, stored, run, progress: as in `publish`.

        Raises:
            FileNotFoundError: there is nothing at `path`.
            ValueError: it cannot be read, or does not say where its messages go.
            ReadOnlyError, PublicationRefusedError, UnpublishedError: as in `publish`.
        """
        self._session.check_may_change("lab.publish_file()")
        from varco_nats_widgets.publish._file import plan_file
        from varco_nats_widgets.publish._publication import RunAtOnce

        planning = self._session.read(
            plan_file(
                self._handle,
                path,
                channel=channel,
                subject=subject,
                rate=rate,
                check=check,
                stored=stored,
            )
        )
        return planning if not run else RunAtOnce(planning, progress)

    @blocking
    def published(self) -> Job[pd.DataFrame]:
        """What this Lab has published by `publish` and `publish_file` since it was opened.

        Returns:
            A row for each run of a publication, the first one first; index `run`; columns
            `started_at`, `ended_at` (UTC), `where` (channel or subject), `stream`, `messages` (in
            all); `stored`, `duplicates` (not stored again), `refused`, `in_doubt`, `unstored` (no
            stream keeps them) and `not_sent`, how many had this outcome; `first_seq`, `last_seq`.
        """
        from varco_nats_widgets.publish._sending import publishing_of

        return InThread(lambda: publishing_of(self._session).frame())

    @blocking
    def export(
        self,
        channel: str | Iterable[str] | None,
        path: Path | str,
        *,
        stream: str | None = None,
        subject: str | Iterable[str] | None = None,
        format: Format | None = None,  # noqa: A002 - what pandas and others call it
        partition_by: Literal["day", "hour"] | None = None,
        rows_per_file: int | None = None,
        headers: bool | Iterable[str] = False,
        overwrite: bool = False,
        progress: ProgressCallback | bool | None = None,
        **options: Unpack[FrameOptions],
    ) -> Job[ExportResult]:
        """Write stored events to a file or a Parquet data set, in bounded memory.

        `varco_nats_widgets.load(path)` makes the same frame of it. After an interruption of any
        kind, the same call goes on where it was. In Parquet a column whose name differs from
        another's by case only gets a `_`, as Spark and others do not tell them apart.

        Args:
            channel: one name or several; None with `stream` or `subject`.
            path: `.parquet`, `.ndjson` or `.csv`; without a suffix a folder, a data set.
            stream, subject, headers, progress: as in `frame`.
            format: `"parquet"`, `"dataset"`, `"ndjson"` or `"csv"`, where the suffix does not say.
            partition_by: for a data set, a folder for each `"day"` or `"hour"`.
            rows_per_file: for a data set; default 1,000,000.
            overwrite: replace what is at `path`.
            options: which events, and `times`, as in `frame`; in NDJSON, whose lines hold the
                payloads as they are stored, the times are beside them, as `times`.

        Raises:
            FileExistsError: something is at `path`.
            ValueError: an argument that cannot be read or does not go with the format.
            UnknownChannelError, StreamNotFoundError, ServerUnreachableError: as in `frame`.
            StoppedError: as in `frame`; the same call goes on from there.
        """
        query = frame_query(channel, stream=stream, subject=subject, **options)
        shown = Progress(f"exporting {query.what}", progress)
        writing = self._session.view.export(
            query,
            path,
            shown,
            format=format,
            partition_by=partition_by,
            rows_per_file=rows_per_file,
            headers=headers,
            overwrite=overwrite,
        )

        def finish(done: ExportResult) -> ExportResult:
            warn_of_times(done.times)
            return self._session.check_mask(done)

        return self._session.read(writing, shown, finish=finish)

    @blocking
    def permissions(self, *streams: str, consumers: bool = True) -> Job[Permissions]:
        """The NATS permissions of a login that can read everything here and change nothing.

        For the configuration of the server, or for whoever administers it: `print` them, or take
        `to_dict()`. They are for a lab with `read_only=True` that logs in that way, with these
        settings: its stream, those of its dead letters, of its log of replays and of captured
        advisories, its JetStream domain or API prefix, and its inbox prefix.

        They keep out mistakes, also those of other clients with this login: nothing can be
        published, acknowledged, deleted, and no durable created. They do not keep out an attacker,
        as NATS has no finer permissions for readers (all of this was tried on nats-server 2.15):

        - A request may name any subject for its answer, which a stream stores that captures it.
        - It can create consumers in the server's memory, which cost it something and expire.
        - By the name of a service's consumer it can change that one's configuration, and take
          messages from it, which the service gets later, as they are not acknowledged.
        - It sees the names and the configuration of all streams and of these streams' consumers,
          and with the usual inbox prefix the answers to all clients of the account: log in with
          `connect_kwargs={"inbox_prefix": "_INBOX_reader"}` to see only its own.

        The second and third need consumers; without them, reading is slower, and for streams that
        do not allow direct get very slow. Against the first only an account of its own helps, into
        which the requests are imported.

        What a login with these permissions leaves behind: a consumer expires after 30 s, as it may
        not delete it. A run of a replay that died is shown as running, as it may not ask for it.

        Args:
            streams: other streams that can be read, as in `lab.frame(stream=…)`.
            consumers: whether it may read through consumers, which acknowledge nothing.
        """
        session = self._session
        return InThread(
            lambda: reading_permissions(
                session.settings, session.connection, streams, consumers=consumers
            )
        )

    @blocking
    def record(
        self,
        what: str | Observable | Iterable[str | Observable] | None = None,
        *,
        max_rows: int = 500_000,
    ) -> Job[DeliveryRecord]:
        """What happens from now on to each message of a channel, or on a bus of this process.

        A bus tells everything, handlers included, but not what a `@listen(deduplicator=)`
        skipped. Of services elsewhere only what the server shows is recorded: what is stored,
        advisories of naks and given up messages, each ack where the consumer samples them
        (`sample_freq`), and else the consumers' positions, looked at four times a second. A
        message that a `@listen(dlq=)` keeps is acknowledged, and seen as that. No consumer is
        touched. What a record leaves out is said in its `remarks`.

        Args:
            what: one channel or several, all if None; or a bus, such as `lab.bus`, or several of
                one stream: an event that two services handle is handled 2 times then.
            max_rows: with more, the oldest events fall out; `record.dropped` counts them.

        Returns:
            The record, live until its `stop()`, the lab's `close()`, or until it is garbage.

        Raises:
            InvalidChannelError: no channel can have that name.
            StreamNotFoundError: the stream does not exist.
            TypeError: `what` is no channel and no bus, or some of both.
            ValueError: `what` is an empty list, or buses of several streams.
        """
        from varco_nats_widgets.record._open import open_record

        return self._session.read(open_record(self._handle, what, max_rows))

    @blocking
    def faults(self) -> Job[pd.DataFrame]:
        """What experiments can break: index `fault`; columns `description`, `consumers`."""
        from varco_nats_widgets.experiment import fault_frame

        return InThread(fault_frame)

    @blocking
    def experiment(
        self,
        semantics: str = "at_least_once",
        faults: Faults = "none",
        *,
        progress: ProgressCallback | bool | None = None,
        **options: Unpack[ExperimentOptions],
    ) -> Job[Experiment]:
        """Do what the semantics promise, with a real server and processes, broken on purpose.

        It has a local server of its own, a producer and consumers in processes of their own;
        nothing of this lab's server is touched, and nothing is left behind.

        Args:
            semantics: `"at_most_once"`, `"at_least_once"` or `"exactly_once"`.
            faults: one or several of `lab.faults()`, by name or as `Fault`, each at its own event.
            progress: as in `frame`, in events published.
            options: `events`, how many, 1 to 1,000, default 20; `at`, the number of the event
                that is struck, by default in the middle; `seed`, of the event ids only;
                `ack_wait` and `duplicate_window`, seconds, by default short ones that show the
                fault; `max_deliver`, default 3; `retry`, how often a `RetryPolicy` has the
                handler called in one delivery, default 1; `dlq`, whether the bus has a dead
                letter queue, default True, or `"listen"`, where the handler has its own, by
                `@listen(dlq=)`; `deduplicator`, whether the consumer has varco-core's
                `InMemoryDeduplicator`, default False.

        Returns:
            The experiment, over: `record` with all that happened, and `verdict`.

        Raises:
            TypeError: an option that there is not.
            ValueError: an argument that cannot be used.
            ExperimentError: it could not be carried out.
            ServerBinaryNotFoundError: there is no nats-server on this machine.

        Example:
            lab.experiment("at_least_once", "kill_after_handler").verdict.text
        """
        from varco_nats_widgets.experiment._experiment import new_experiment

        return new_experiment(self._handle, semantics, faults, progress, **options)

    @blocking
    def compare(
        self,
        faults: Faults = "none",
        *,
        progress: ProgressCallback | bool | None = None,
        **options: Unpack[ExperimentOptions],
    ) -> Job[Comparison]:
        """The same experiment under all three semantics, at the same time.

        Args:
            faults, progress, options: as in `experiment`.

        Returns:
            `frame` has what was measured side by side, `experiments` each one by semantics.
        """
        from varco_nats_widgets.experiment._comparison import new_comparison

        return new_comparison(self._handle, faults, progress, **options)

    @blocking
    def delivery(
        self,
        what: DeliveryRecord
        | Experiment
        | Comparison
        | str
        | Observable
        | Iterable[str | Observable]
        | None = None,
    ) -> Job[Delivery]:
        """A widget of each message's way: a timeline to step through, sums, windows, latencies.

        Args:
            what: a record, an experiment or a comparison; one channel or several, or buses, to
                show what happens there from now on; None for controls to run an experiment.

        Raises:
            InvalidChannelError, StreamNotFoundError, TypeError, ValueError: as `record`.

        Example:
            lab.delivery()
            lab.delivery("orders")
            lab.delivery(lab.experiment("exactly_once", "puback_lost"))
        """
        from varco_nats_widgets.delivery._delivery import delivery_of

        return InThread(lambda: delivery_of(self, what))

    @blocking
    def close(self) -> Job[None]:
        """Disconnect, delete this Lab's durables, end its thread and its local server.

        Running handlers get up to 5 s to finish. Closing twice does nothing.
        """
        return InThread(self._handle.close)


class LabAio(Twin[Lab]):
    """The methods of `Lab`, to be awaited on any event loop."""

    channels = awaiting(Lab.channels)
    streams = awaiting(Lab.streams)
    buckets = awaiting(Lab.buckets)
    kv = awaiting(Lab.kv)
    object_stores = awaiting(Lab.object_stores)
    objects = awaiting(Lab.objects)
    consumers = awaiting(Lab.consumers)
    durability = awaiting(Lab.durability)
    frame = awaiting(Lab.frame)
    live = awaiting(Lab.live)
    explore = awaiting(Lab.explore)
    capture_exhausted = awaiting(Lab.capture_exhausted)
    stop_capturing_exhausted = awaiting(Lab.stop_capturing_exhausted)
    exhausted = awaiting(Lab.exhausted)
    dead_letter = awaiting(Lab.dead_letter)
    replays = awaiting(Lab.replays)
    plan_replay = awaiting(Lab.plan_replay)
    replay = awaiting(Lab.replay)
    publish = awaiting(Lab.publish)
    publish_file = awaiting(Lab.publish_file)
    published = awaiting(Lab.published)
    export = awaiting(Lab.export)
    permissions = awaiting(Lab.permissions)
    record = awaiting(Lab.record)
    faults = awaiting(Lab.faults)
    experiment = awaiting(Lab.experiment)
    compare = awaiting(Lab.compare)
    delivery = awaiting(Lab.delivery)
    close = awaiting(Lab.close)

    @property
    def __lab_handle__(self) -> Handle:
        return self._of.__lab_handle__

    async def dead_letters(self, **filters: Unpack[FilterOptions]) -> DeadLetters:
        """What `Lab.dead_letters` gives, with its queue read."""
        letters = self._of.dead_letters
        await letters.aio.filter(**filters)
        return letters


class Channel:
    """A channel; each property and method asks the server anew.

    Example:
        orders = lab["orders"]
        orders.last
        orders.frame(last="10m")
    """

    def __init__(self, lab: Lab, name: str) -> None:
        self._lab = lab
        self.name = name

    def __repr__(self) -> str:
        return f"Channel({self.name!r})"

    @property
    def count(self) -> int:
        """How many messages it holds now."""
        session = self._lab.__lab_handle__.session
        return session.read(session.view.count(self.name)).wait()

    @property
    def last(self) -> pd.Series[Any]:
        """Its newest event, as the row that `frame` has for it.

        Raises:
            UnknownChannelError: it holds no messages.
        """
        return self.frame(limit=1, newest_first=True).iloc[0]

    def frame(
        self, *, progress: ProgressCallback | bool | None = None, **options: Unpack[LoadOptions]
    ) -> pd.DataFrame:
        """`Lab.frame` of this channel."""
        return self._lab.frame(self.name, progress=progress, **options)

    def live(self, **options: Any) -> LiveFrame:
        """`Lab.live` of this channel."""
        return self._lab.live(self.name, **options)

    def explore(self) -> Explorer:
        """`Lab.explore`, beginning with this channel."""
        return self._lab.explore(self.name)

    def export(self, path: Path | str, **options: Any) -> ExportResult:
        """`Lab.export` of this channel."""
        return self._lab.export(self.name, path, **options)

    def consumers(self) -> pd.DataFrame:
        """`Lab.consumers` of this channel."""
        return self._lab.consumers(self.name)
