"""`NatsEventBus`: varco's event bus on a JetStream stream."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import Context, copy_context
from functools import partial
from typing import Annotated, Self

from providify import Inject, InjectMeta, Instance, PostConstruct, PreDestroy, Singleton
from varco_core.event.base import (
    CHANNEL_ALL,
    CHANNEL_DEFAULT,
    AbstractEventBus,
    ErrorPolicy,
    Event,
    EventMiddleware,
    Subscription,
)
from varco_core.event.dlq import AbstractDeadLetterQueue
from varco_core.serialization import Serializer

from varco_nats._json import FastJsonEventSerializer
from varco_nats._log import logger as _logger
from varco_nats._nats import provenance
from varco_nats._nats.client import Connection, connect
from varco_nats._nats.context import headers_of_context
from varco_nats._nats.provenance import MESSAGE_ID
from varco_nats._nats.puback import PubAck
from varco_nats._nats.stream import check_captured, ensure_event_stream
from varco_nats._read_only import check_may_change
from varco_nats._varco_core import PRIORITY, QUALIFIER
from varco_nats.bus._batch import OutgoingMessage
from varco_nats.bus._consumer import ChannelConsumer
from varco_nats.bus._dispatch import Dispatcher
from varco_nats.bus._duplicates import Duplicates, Unhandled
from varco_nats.bus._process import MessageProcessor
from varco_nats.bus._publisher import Publisher
from varco_nats.bus._ticker import Ticker
from varco_nats.config import NatsDeliverySemantics, NatsEventBusSettings, without_credentials
from varco_nats.errors import (
    AlreadyStartedError,
    ChannelNotCapturedError,
    ConnectError,
    JetStreamUnavailableError,
    NoStreamForChannelError,
    NotStartedError,
    PublishError,
    PublishTimeoutError,
    StreamNotFoundError,
    StreamUnavailableError,
    VarcoNatsError,
)
from varco_nats.observe import Observation, Observer, Observers
from varco_nats.subjects import validate_channel

_OTHER_LOOP = (
    "on another event loop than this one; start it, or ask the container for it, on the loop of "
    "the application: an asyncio.run() before that has a loop of its own"
)
_TICK_SECONDS = 1.0
_OPENED_AT_ONCE = 32  # consumers; a server that makes more at once answers the last ones too late


@Singleton(priority=PRIORITY, qualifier=QUALIFIER)
class NatsEventBus(AbstractEventBus):
    """An event bus whose channels are subjects of one JetStream stream.

    Publishing returns when the server has stored the event. Each channel that has a subscription
    is consumed through one durable pull consumer, which all processes with the same
    `durable_name` share; it starts at the channel's first message. Handlers of a channel run one
    message at a time, in order, unless `concurrency` says otherwise. A handler for all channels
    (`CHANNEL_ALL`) is given the messages of the channels that are consumed; it opens none.

    Under `at_most_once` messages are acknowledged about one round trip ahead of their handlers;
    they are gone when the process dies before it handles them. After any loss of the connection the
    bus connects again; `connection_error` and `consumer_errors` say what is wrong meanwhile.

    Use from one event loop; `subscribe` may be called before or after `start()`, from any thread.

    Args:
        config: the settings.
        error_policy: what one handler's error means for the others; see `ErrorPolicy`.
        middleware: wrapped around the handlers, the first one outermost.
        serializer: default that of the settings, else `JsonEventSerializer`.
        dlq: takes messages that are given up; without one they are terminated and logged.

    Example:
        async with NatsEventBus(NatsEventBusSettings(durable_name="order-service")) as bus:
            consumer.register_to(bus)
            await bus.publish(OrderPlacedEvent(order_id="1"), channel="orders")
    """

    def __init__(
        self,
        config: Inject[NatsEventBusSettings],
        *,
        error_policy: ErrorPolicy = ErrorPolicy.COLLECT_ALL,
        middleware: Instance[EventMiddleware] | list[EventMiddleware] | None = None,
        serializer: Annotated[Serializer[Event] | None, InjectMeta(optional=True)] = None,
        dlq: Annotated[AbstractDeadLetterQueue | None, InjectMeta(optional=True)] = None,
    ) -> None:
        self._config = config
        self._serializer = serializer or config.serializer or FastJsonEventSerializer()
        self._dlq = dlq
        self._observers = Observers()
        self._unhandled = Unhandled()
        self._dispatcher = Dispatcher(error_policy, _middleware_list(middleware))
        self._connection: Connection | None = None
        self._publisher: Publisher | None = None
        self._duplicates: Duplicates | None = None
        self._processor: MessageProcessor | None = None
        self._ticker = Ticker(min(config.ack_wait_seconds / 6, _TICK_SECONDS))
        self._opening = asyncio.Semaphore(_OPENED_AT_ONCE)
        self._consumers: dict[str, ChannelConsumer] = {}
        self._consumer_errors: dict[str, Exception] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context: Context | None = None
        self._lifecycle = asyncio.Lock()
        self._started = False
        self._subjects: dict[str, str] = {}
        self._captured: set[str] = set()  # channels that the stream is known to capture

    def __repr__(self) -> str:
        config = self._config
        servers = ",".join(without_credentials(url) for url in config.to_servers_list())
        return (
            f"NatsEventBus(servers={servers!r}, stream={config.stream_name!r}, "
            f"durable={config.durable_name!r}, semantics={config.delivery_semantics.value!r}, "
            f"subscriptions={len(self._dispatcher)}, started={self._started}, "
            f"connected={self._connection is not None and self._connection.is_connected})"
        )

    @property
    def config(self) -> NatsEventBusSettings:
        """The settings that it was made with."""
        return self._config

    @property
    def connection_error(self) -> ConnectError | None:
        """Why a started bus has no connection at the moment; it connects again by itself."""
        return None if self._connection is None else self._connection.problem

    @property
    def consumer_errors(self) -> dict[str, Exception]:
        """Why each channel that cannot be consumed at the moment cannot; the bus keeps trying.

        While there is no connection these are all channels.
        """
        lost = self.connection_error
        if lost is not None:
            return dict.fromkeys(self._consumers, lost)
        return dict(self._consumer_errors)

    # Lifecycle

    @PostConstruct
    async def start(self) -> None:
        """Connect, find or create the stream, and consume every subscribed channel.

        Does nothing if it is started. A bus that was stopped can be started again.

        Raises:
            AlreadyStartedError: it is started on another event loop.
            ServerUnreachableError, AuthenticationError: see `ConnectError`.
            JetStreamUnavailableError: the server has no JetStream.
            StreamNotFoundError: there is no stream and `auto_create_stream` is False.
            StreamMismatchError: the stream captures other subjects. It is a
                `ChannelNotCapturedError` where it does not capture a channel that is subscribed.
            ConsumerMismatchError: a durable exists for something else.
            LimitReachedError: a limit allows no stream or no more consumers.
        """
        async with self._lifecycle:
            loop = asyncio.get_running_loop()
            if self._started:
                if self._loop is not loop:  # which may have ended, and its connections with it
                    raise AlreadyStartedError("NatsEventBus", _OTHER_LOOP)
                return
            self._loop = loop
            self._context = copy_context()
            try:
                await self._open()
            except BaseException:
                await self._close()
                raise

    async def _open(self) -> None:
        config = self._config
        self._connection = connection = await connect(config, name=config.durable_name)
        self._opening = asyncio.Semaphore(_OPENED_AT_ONCE)
        info = await ensure_event_stream(connection, config, create=config.auto_create_stream)
        exactly_once = config.delivery_semantics is NatsDeliverySemantics.EXACTLY_ONCE
        window = info.config.duplicate_window
        if exactly_once and window != config.duplicate_window_seconds:
            _logger.warning(
                "stream %s has a duplicate window of %g s, not the %g s of the settings",
                config.stream_name,
                window,
                config.duplicate_window_seconds,
            )
        self._processor = MessageProcessor(
            config, self._dispatcher, self._serializer, self._observers, self._dlq, self._unhandled
        )
        publisher = Publisher(
            connection,
            timeout=config.publish_timeout_seconds,
            attempts=config.publish_attempts,
            retry_timeouts=config.delivery_semantics is not NatsDeliverySemantics.AT_MOST_ONCE,
            observers=self._observers,
            check=partial(check_captured, connection, config, again=True, wait=0),
        )
        await publisher.start()
        while missing := self._dispatcher.channels() - self._consumers.keys():
            # more subscriptions may be added while these open
            self._consumers |= {channel: self._new_consumer(channel) for channel in missing}
            try:
                async with asyncio.TaskGroup() as opening:
                    for channel in missing:
                        opening.create_task(self._consumers[channel].open())
            except BaseExceptionGroup as group:
                raise group.exceptions[0] from group.exceptions[0].__cause__
        self._duplicates = Duplicates(connection, publisher, self._unhandled, self._observers)
        self._publisher = publisher
        self._started = True
        self._reconcile()  # a subscription may have been cancelled while these opened

    @PreDestroy
    async def stop(self) -> None:
        """Wait for running handlers, hand back what was prefetched, and disconnect.

        Waits up to `drain_timeout_seconds`, and does nothing if the bus is not started. What runs
        can publish meanwhile.
        """
        async with self._lifecycle:
            await self._close()

    async def _close(self) -> None:
        self._started = False
        consumers, self._consumers = list(self._consumers.values()), {}
        await asyncio.gather(*(consumer.stop() for consumer in consumers), *self._closing)
        publisher, self._publisher = self._publisher, None  # what the last handlers publish with
        if publisher is not None:
            await publisher.drain(self._config.drain_timeout_seconds)
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
        self._processor = None
        self._consumer_errors.clear()
        self._captured.clear()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # Consuming

    def subscribe(
        self,
        event_type: type[Event] | str,
        handler: Callable[[Event], Awaitable[None] | None],
        *,
        channel: str = CHANNEL_ALL,
        filter: Callable[[Event], bool] | None = None,  # noqa: A002 - varco's signature
        priority: int = 0,
    ) -> Subscription:
        """Run `handler` for events of a type, or of a type name, on a channel.

        On a started bus the consumer opens in the background; a failure is logged, shown in
        `consumer_errors`, and followed by another attempt.

        Raises:
            InvalidChannelError: the channel is neither `CHANNEL_ALL` nor a channel name.
            ReadOnlyError: the settings say `read_only`.
        """
        check_may_change(self._config, "subscribe()")  # it acknowledges, through a durable
        if channel != CHANNEL_ALL:
            validate_channel(channel)
        subscription = self._dispatcher.subscribe(
            event_type, handler, channel, filter, priority, self._subscriptions_changed
        )
        self._subscriptions_changed()
        return subscription

    def _subscriptions_changed(self) -> None:
        if self._started and self._loop is not None:
            # not in the context of the caller, a request for example, which its tasks would keep
            self._loop.call_soon_threadsafe(self._reconcile, context=self._context)

    def _reconcile(self) -> None:
        """Open consumers for new channels, and close those of channels without subscriptions."""
        if not self._started:
            return
        wanted = self._dispatcher.channels()
        for channel in wanted - self._consumers.keys():
            self._consumers[channel] = self._new_consumer(channel)
            self._consumers[channel].start_retrying()
        for channel in self._consumers.keys() - wanted:
            self._consumer_errors.pop(channel, None)
            task = asyncio.create_task(self._consumers.pop(channel).stop())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _new_consumer(self, channel: str) -> ChannelConsumer:
        assert self._connection is not None
        assert self._processor is not None

        def on_error(error: Exception | None) -> None:
            if error is None:
                self._consumer_errors.pop(channel, None)
            else:
                self._consumer_errors[channel] = error

        return ChannelConsumer(
            self._connection,
            self._config,
            channel,
            self._processor,
            on_error,
            self._ticker,
            self._opening,
        )

    # Publishing

    async def publish(self, event: Event, *, channel: str = CHANNEL_DEFAULT) -> None:
        """Store `event` on `channel`; returns when the server has it.

        Under `exactly_once` an event whose id was stored within the duplicate window is not stored
        again: a producer's retry, also by an outbox after a crash. A WARNING says so, unless it is
        a retry of this very call. It is stored again if this bus was delivered the stored one and
        gave it up without a dead letter, so that an inbox that shares the bus can repeat it. What
        another process gave up is not known here: give an inbox's poller a bus of its own with
        `at_least_once` where several processes share its table.

        Raises:
            InvalidChannelError: the channel name is unusable; nothing was sent.
            NotStartedError: the bus is not started; nothing was sent.
            ReadOnlyError: the settings say `read_only`; nothing was sent.
            PayloadTooLargeError: it is larger than the server takes; nothing was sent.
            PublishError: it is not known to be stored, after `publish_attempts`; or the stream does
                not capture the channel, and it was not sent.
        """
        await self.publish_acked(event, channel=channel)

    async def publish_acked(self, event: Event, *, channel: str = CHANNEL_DEFAULT) -> PubAck:
        """Like `publish`, returning where it is stored and whether it was a duplicate."""
        message = self._message(event, channel, headers_of_context())
        publisher, duplicates = self._publishing("publish")
        if channel not in self._captured:
            await self._check_captured(channel)
        ack = await publisher.publish(message)
        if ack.duplicate:
            [ack] = await duplicates.settle([message], [ack])
        return ack

    async def publish_many(self, events: list[tuple[Event, str]]) -> None:
        """Store `(event, channel)` pairs in order, pipelined.

        Raises:
            InvalidChannelError, PayloadTooLargeError: one event cannot be sent; none was.
            PublishError: the stream does not capture the channel of one; none was sent.
            NotStartedError, ReadOnlyError: see `publish`; nothing was sent.
            PublishManyError: names those that are not known to be stored; the others are.
        """
        await self.publish_many_acked(events)

    async def publish_many_acked(self, events: Sequence[tuple[Event, str]]) -> list[PubAck]:
        """Like `publish_many`, returning one PubAck for each event, in order."""
        context = headers_of_context()
        messages = [self._message(event, channel, context) for event, channel in events]
        publisher, duplicates = self._publishing("publish_many")
        for channel in {channel for _, channel in events} - self._captured:
            await self._check_captured(channel)
        acks = await publisher.publish_many(messages)
        return await duplicates.settle(messages, acks)

    def _publishing(self, operation: str) -> tuple[Publisher, Duplicates]:
        check_may_change(self._config, f"{operation}()")
        if self._publisher is None or self._duplicates is None:
            raise NotStartedError("NatsEventBus", operation)
        return self._publisher, self._duplicates

    async def _check_captured(self, channel: str) -> None:
        connection, config = self._connection, self._config
        assert connection is not None
        try:
            await check_captured(connection, config, channel, wait=config.publish_timeout_seconds)
        except (
            ChannelNotCapturedError,
            StreamNotFoundError,
            JetStreamUnavailableError,
        ) as error:
            raise NoStreamForChannelError(channel, 0, str(error)) from error
        except (ConnectError, StreamUnavailableError) as error:
            raise PublishTimeoutError(channel, 0, str(error)) from error
        except VarcoNatsError as error:
            raise PublishError(channel, 0, str(error)) from error
        self._captured.add(channel)

    def _message(self, event: Event, channel: str, context: Mapping[str, str]) -> OutgoingMessage:
        subject = self._subjects.get(channel)
        if subject is None:
            subject = self._subjects[channel] = self._config.subject_name(channel)
        headers = provenance.headers_of(event)
        if headers is None:  # it is no replay, which keeps the context of the original
            if self._config.delivery_semantics is NatsDeliverySemantics.EXACTLY_ONCE:
                headers = {MESSAGE_ID: str(event.event_id), **context}
            elif context:
                headers = dict(context)
        return OutgoingMessage(channel, subject, self._serializer.serialize(event), headers, event)

    # Observing

    def observe(self, observer: Observer) -> Observation:
        """Call `observer` with a `DeliveryEvent` for each thing that happens to a message.

        It is called on the bus's event loop and should be quick; what it raises is logged. Events
        that are sent, or whose PubAcks arrive, in one piece have the same time.
        """
        return self._observers.add(observer)


def connection_of(bus: NatsEventBus) -> Connection | None:
    """The connection of a started bus, for this project only: `Connection` is not public."""
    return bus._connection  # noqa: SLF001 - the class above is this module's own


def _middleware_list(
    middleware: Instance[EventMiddleware] | list[EventMiddleware] | None,
) -> list[EventMiddleware]:
    if middleware is None or isinstance(middleware, list):
        return middleware or []
    return list(middleware.get_all()) if middleware.resolvable() else []
