"""What happens to one delivered message, from its bytes to its acknowledgement."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from varco_core.event.base import Event
from varco_core.event.dlq import AbstractDeadLetterQueue, DeadLetterEntry
from varco_core.serialization import Serializer

from varco_nats._log import logger as _logger
from varco_nats._nats.advisories import DEAD_LETTERED, GIVEN_UP
from varco_nats._nats.context import context_of, tenant_of
from varco_nats._nats.delivery import MessageDelivery, current_delivery, entry_id_of
from varco_nats._nats.provenance import MESSAGE_ID
from varco_nats.bus._acks import ACK, NAK
from varco_nats.bus._dispatch import Dispatcher
from varco_nats.bus._duplicates import Unhandled
from varco_nats.bus._outcome import Outcome, decide, nak_delay
from varco_nats.config import NatsDeliverySemantics, NatsEventBusSettings
from varco_nats.errors import DeadLetterError
from varco_nats.observe import DeliveryKind, Observers

_UNKNOWN = (None, None)
# reported for each message that succeeds, so that the lookup would be felt
_DELIVERED, _HANDLED, _ACKED = DeliveryKind.DELIVERED, DeliveryKind.HANDLED, DeliveryKind.ACKED
_MAX_FAILING = 10_000  # messages whose first failure is remembered


class Answers(Protocol):
    """Sends acknowledgements to the server: of any kind, or acks that the server confirms."""

    async def answer(self, delivery: MessageDelivery, payload: bytes) -> None: ...

    def confirm(self, delivery: MessageDelivery) -> Awaitable[object]: ...


@dataclass(slots=True)
class MessageProcessor:
    """Decodes, dispatches and settles messages by the delivery table of the README."""

    settings: NatsEventBusSettings
    dispatcher: Dispatcher
    serializer: Serializer[Event]
    observers: Observers
    dlq: AbstractDeadLetterQueue | None
    unhandled: Unhandled
    _semantics: NatsDeliverySemantics = field(init=False)
    _failed_first: dict[tuple[str, int], datetime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._semantics = self.settings.delivery_semantics

    async def process(self, delivery: MessageDelivery, answers: Answers) -> None:
        """Handle one message and settle it; raises nothing except `CancelledError`."""
        if not self.dispatcher.wants(delivery.channel):  # the subscription was just cancelled
            if self._semantics is NatsDeliverySemantics.AT_MOST_ONCE:
                _logger.warning(
                    "channel %r: message %d is gone (at_most_once): it was acknowledged before its "
                    "subscription was cancelled",
                    delivery.channel,
                    delivery.seq,
                )
            else:
                await answers.answer(delivery, NAK)
            return
        delivery.comes_again = self._semantics is not NatsDeliverySemantics.AT_MOST_ONCE
        event: Event | None = None
        error: BaseException | None = None
        try:
            event = self.serializer.deserialize(delivery.payload)
        except Exception as problem:
            error = problem
        context = context_of(delivery.headers, event)
        if context is None:
            await self._handle(delivery, event, error, answers)
        else:
            with context:
                await self._handle(delivery, event, error, answers)

    async def _handle(
        self,
        delivery: MessageDelivery,
        event: Event | None,
        error: BaseException | None,
        answers: Answers,
    ) -> None:
        """Run the handlers and settle the message; `error` says why it has no event."""
        if event is not None:
            error = await self._run_handlers(event, delivery, answers)
        outcome = decide(
            self._semantics,
            failed=error is not None,
            decodable=event is not None,
            keep_trying=_is_dead_letter_failure(error),
            num_delivered=delivery.num_delivered,
            max_deliver=self.settings.max_deliver,
        )
        if error is not None:
            lost = outcome is Outcome.GIVE_UP and self.dlq is None
            if lost and not self._give_up(delivery):
                outcome = Outcome.NAK
            self._log_failure(delivery, error, outcome)
        elif delivery.failed_handler and not self._give_up(delivery):
            outcome = Outcome.NAK  # its error was ignored (FIRE_FORGET)
        if outcome is Outcome.ACK:  # the busy path
            await answers.answer(delivery, ACK)
            if self.observers.all and event is not None:
                self.observers.notify(
                    _ACKED, delivery.channel, event, delivery.seq, delivery.num_delivered
                )
        elif outcome is Outcome.ACK_CONFIRMED:
            await answers.confirm(delivery)
        else:
            await self._settle(outcome, delivery, event, error, answers)

    async def _run_handlers(
        self, event: Event, delivery: MessageDelivery, answers: Answers
    ) -> BaseException | None:
        """What the handlers raised, or None."""
        delivery.event = event
        token = current_delivery.set(delivery)
        observers = self.observers
        if observers.all:
            observers.notify(
                _DELIVERED, delivery.channel, event, delivery.seq, delivery.num_delivered
            )
        try:
            await self.dispatcher.dispatch(event, delivery.channel)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():  # by stop(), which waited long enough
                if self._semantics is not NatsDeliverySemantics.AT_MOST_ONCE:
                    await answers.answer(delivery, NAK)
                raise
            return error  # the handler cancelled something itself
        except Exception as error:
            return error
        finally:
            current_delivery.reset(token)
            delivery.handling = False
        if observers.all:
            if delivery.dead_letter is None:
                observers.notify(
                    _HANDLED, delivery.channel, event, delivery.seq, delivery.num_delivered
                )
            else:
                self._notify(DeliveryKind.FAILED, delivery, event, delivery.dead_letter)
                self._notify(DeliveryKind.DEAD_LETTERED, delivery, event, delivery.dead_letter)
        return None

    async def _settle(
        self,
        outcome: Outcome,
        delivery: MessageDelivery,
        event: Event | None,
        error: BaseException | None,
        answers: Answers,
    ) -> None:
        if error is not None:
            self._notify(DeliveryKind.FAILED, delivery, event, error)
            if delivery.num_delivered == 1:
                self._note_first_failure(delivery)
            if delivery.dead_letter is not None:  # by another of its handlers
                self._notify(DeliveryKind.DEAD_LETTERED, delivery, event, delivery.dead_letter)
        if outcome is Outcome.GIVE_UP and self.dlq is not None:
            # so that its headers and delivery count are kept
            token = current_delivery.set(delivery)
            delivery.handling = True
            try:
                await self.dlq.push(self._dead_letter(delivery, event, error))
            except Exception as problem:
                _logger.error(
                    "channel %r: message %d could not be dead-lettered and comes again: %s",
                    delivery.channel,
                    delivery.seq,
                    problem,
                )
                outcome = Outcome.NAK
            else:
                await answers.answer(delivery, f"+TERM {DEAD_LETTERED}".encode())
                self._notify(DeliveryKind.DEAD_LETTERED, delivery, event, error)
                return
            finally:
                current_delivery.reset(token)
                delivery.handling = False
        if outcome is Outcome.NAK:
            await answers.answer(delivery, self._nak(delivery))
            self._notify(DeliveryKind.NAKED, delivery, event, error)
        elif outcome is Outcome.GIVE_UP:
            reason = f"{GIVEN_UP}: {type(error).__name__}"
            await answers.answer(delivery, f"+TERM {reason}".encode())
            self._notify(DeliveryKind.TERMINATED, delivery, event, error)

    def acked(self, delivery: MessageDelivery, confirmed: bool) -> None:
        """Report what became of an ack that the server was to confirm."""
        if confirmed:
            if self.observers.all:
                self._notify(_ACKED, delivery, delivery.event)
            return
        _logger.warning(
            "channel %r: message %d is not handled: its ack was not confirmed in time"
            if self._semantics is NatsDeliverySemantics.AT_MOST_ONCE
            else "channel %r: message %d was handled, but its ack was not confirmed; it may come "
            "again",
            delivery.channel,
            delivery.seq,
        )

    def _give_up(self, delivery: MessageDelivery) -> bool:
        """Note that no dead letter keeps a message; False if it has to be delivered again."""
        message_id = (delivery.headers or {}).get(MESSAGE_ID)
        return self.unhandled.give_up((delivery.seq, message_id))

    def _nak(self, delivery: MessageDelivery) -> bytes:
        settings = self.settings
        delay = nak_delay(
            settings.nak_delay_seconds, delivery.num_delivered, settings.ack_wait_seconds
        )
        return b"-NAK " + json.dumps({"delay": int(delay * 1e9)}).encode() if delay else NAK

    def _dead_letter(
        self, delivery: MessageDelivery, event: Event | None, error: BaseException | None
    ) -> DeadLetterEntry:
        now = datetime.now(UTC)
        return DeadLetterEntry(
            entry_id=entry_id_of(delivery.stream, delivery.durable, delivery.seq, delivery.payload),
            event=event,
            channel=delivery.channel,
            handler_name=delivery.failed_handler,
            error_type=type(error).__name__,
            error_message=str(error),
            attempts=delivery.num_delivered,
            first_failed_at=self._failed_first.get((delivery.durable, delivery.seq), now),
            last_failed_at=now,
            source_ref=delivery.source_ref,
            tenant_id=tenant_of(delivery.headers),
            payload=delivery.payload,
        )

    def _note_first_failure(self, delivery: MessageDelivery) -> None:
        self._failed_first[delivery.durable, delivery.seq] = datetime.now(UTC)
        if len(self._failed_first) > _MAX_FAILING:
            del self._failed_first[next(iter(self._failed_first))]

    def _log_failure(
        self, delivery: MessageDelivery, error: BaseException, outcome: Outcome
    ) -> None:
        gone = outcome is Outcome.NOTHING or (outcome is Outcome.GIVE_UP and self.dlq is None)
        consequence = {
            Outcome.NOTHING: "it is gone (at_most_once)",
            Outcome.NAK: "it comes again",
            Outcome.GIVE_UP: "it goes to the dead letter queue"
            if self.dlq is not None
            else "it is terminated; give the bus a dlq to keep such messages",
        }[outcome]
        _logger.log(
            logging.ERROR if gone else logging.WARNING,
            "channel %r: message %d failed in delivery %d of %d (%s: %s); %s",
            delivery.channel,
            delivery.seq,
            delivery.num_delivered,
            self.settings.max_deliver,
            type(error).__name__,
            error,
            consequence,
            exc_info=error if delivery.failed_handler else None,
        )

    def _notify(
        self,
        kind: DeliveryKind,
        delivery: MessageDelivery,
        event: Event | None,
        error: BaseException | str | None = None,
    ) -> None:
        if self.observers.all:
            self.observers.notify(
                kind,
                delivery.channel,
                _UNKNOWN if event is None else event,
                delivery.seq,
                delivery.num_delivered,
                error,
            )


def _is_dead_letter_failure(error: BaseException | None) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_is_dead_letter_failure(inner) for inner in error.exceptions)
    return isinstance(error, DeadLetterError)
