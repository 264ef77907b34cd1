"""What the headers mean that are known: those of NATS, varco, CloudEvents and tracing. Pure."""

from __future__ import annotations

_KNOWN = {
    # NATS: https://docs.nats.io/nats-concepts/jetstream/headers
    "Nats-Msg-Id": "The id by which the stream recognises a duplicate: within its duplicate window "
    "it stores a message with this id once.",
    "Nats-Expected-Stream": "The publisher wanted it stored in this stream, or not at all.",
    "Nats-Expected-Last-Msg-Id": "The publisher wanted it stored only after the message with this "
    "id.",
    "Nats-Expected-Last-Sequence": "The publisher wanted it stored only if this was the last "
    "sequence of the stream.",
    "Nats-Expected-Last-Subject-Sequence": "The publisher wanted it stored only if this was the "
    "last sequence of its subject; 0 means that there was none.",
    "Nats-Expected-Last-Subject-Sequence-Subject": "The subject, or pattern, for which the last "
    "sequence that is expected counts, instead of the message's own.",
    "Nats-Rollup": "It replaced the older messages: all of its subject (sub) or all of the stream "
    "(all).",
    "Nats-TTL": "How long the server keeps it; never means as long as the stream's limits allow.",
    "Nats-Marker-Reason": "The server put it in the place of a message that went: it was too old "
    "(MaxAge), purged (Purge) or deleted (Remove).",
    "Nats-Incr": "What this message adds to the counter of its subject.",
    "Nats-Counter-Sources": "What the counters that this stream sources from had counted.",
    "Nats-Schedule": "When the server publishes it again, once or repeatedly.",
    "Nats-Schedule-Target": "The subject that the scheduled message is published to.",
    "Nats-Schedule-TTL": "How long the server keeps the message that it publishes by schedule.",
    "Nats-Scheduler": "The subject of the schedule by which the server published it.",
    "Nats-Schedule-Next": "When the schedule by which the server published it comes next; purge "
    "means never.",
    "Nats-Stream-Source": "Where it was first stored, as this stream mirrors or sources another: "
    "that stream, the sequence there, and the filters.",
    "Nats-Stream": "The stream from which the server republished it.",
    "Nats-Subject": "The subject under which it was stored where it was republished from.",
    "Nats-Sequence": "Its stream sequence where it was republished from.",
    "Nats-Last-Sequence": "The sequence of the message before it under its subject, where it was "
    "republished from; 0 means that there was none.",
    "Nats-Time-Stamp": "When it was stored where it was republished from.",
    "Nats-Msg-Size": "The size in bytes of the message of which only the headers were sent.",
    # varco
    "Varco-Replay-Of": "It is a replay: of the dead letter with this id, or of the message with "
    "this stream:sequence.",
    "Varco-Replay-Id": "The run that replayed it; lab.replays() lists the runs.",
    "Varco-Replay-Count": "How often it had been replayed by then, this time included.",
    "Varco-Delivery-Count": "How often it had been delivered before this replay, in all.",
    "X-Correlation-ID": "The correlation id, which all events have that one request has caused; "
    "handlers run in it.",
    "X-Tenant-Id": "The tenant for whom it was published; handlers run for that tenant.",
    # tracing: https://www.w3.org/TR/trace-context/
    "traceparent": "The trace that it belongs to (W3C): version, trace id, id of the span that "
    "published it, and flags, of which 01 means that the trace is recorded.",
    "tracestate": "What tracing systems add to traceparent (W3C), one entry each.",
    "baggage": "Names and values that travel with the trace (W3C).",
    # content
    "content-type": "The format of the payload, such as application/json.",
    "content-encoding": "How the payload is compressed, such as gzip or zstd.",
    # CloudEvents: https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/nats-protocol-binding.md
    "ce-specversion": "It is a CloudEvent in binary mode, of this version of the specification.",
    "ce-type": "The type of the CloudEvent.",
    "ce-id": "The id of the CloudEvent, which is unique for its source.",
    "ce-source": "The source of the CloudEvent, as a URI.",
    "ce-subject": "What in its source the CloudEvent is about.",
    "ce-time": "When the CloudEvent happened.",
    "ce-datacontenttype": "The format of the CloudEvent's data.",
    "ce-dataschema": "The schema of the CloudEvent's data, as a URI.",
}
_BY_NAME = {name.casefold(): text for name, text in _KNOWN.items()}
_FAMILIES = {
    "nats-expected-": "The publisher wanted it stored only if this holds.",
    "nats-": "A header of NATS, which the server acts on or has set.",
    "varco-": "A header of varco.",
    "ce-": "An attribute of the CloudEvent, which its producer added.",
}


def header_meaning(name: str) -> str:
    """What a header means, in a sentence or two, whatever its case; "" where that is not known."""
    wanted = name.casefold()
    if wanted in _BY_NAME:
        return _BY_NAME[wanted]
    return next((text for start, text in _FAMILIES.items() if wanted.startswith(start)), "")
