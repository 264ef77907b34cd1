"""The context in which an event is published, and in which it is handled: the correlation id, the
tenant and the span.

varco-core and OpenTelemetry keep them in context variables; a message carries them as headers. A
module that this process has not imported is not imported for it: nothing can be set there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager

from varco_core.event.base import Event

from varco_nats._varco_core import CORRELATION_IDS

CORRELATION_ID = "X-Correlation-ID"
"""The name that varco's HTTP middleware has for it, and for the tenant."""
TENANT_ID = "X-Tenant-Id"
TRACE_PARENT = "traceparent"
"""Of W3C Trace Context, with `tracestate`: the span in which the event was published."""

_TENANCY = "varco_core.service.tenant"
_TRACES = "opentelemetry.trace"


def headers_of_context() -> dict[str, str]:
    """The headers of an event that is published here; empty where nothing is set."""
    headers: dict[str, str] = {}
    for variable in CORRELATION_IDS:
        if (correlation_id := variable.get()) and _is_valid(correlation_id):
            headers[CORRELATION_ID] = correlation_id
            break
    tenant_id = _current_tenant()
    if tenant_id and _is_valid(tenant_id):
        headers[TENANT_ID] = tenant_id
    if _TRACES in sys.modules:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        TraceContextTextMapPropagator().inject(headers)
    return headers


def context_of(
    headers: Mapping[str, str] | None, event: Event | None
) -> AbstractContextManager[None] | None:
    """The context in which a message was published; None if it says nothing of it.

    Args:
        event: the event in it. Its own `correlation_id`, as varco's entity events have it, counts
            where no header has any: an outbox publishes outside of the context of the request.
    """
    correlation_id = tenant_id = None
    traced = False
    if headers is not None:
        correlation_id = headers.get(CORRELATION_ID)
        tenant_id = headers.get(TENANT_ID)
        traced = TRACE_PARENT in headers and _TRACES in sys.modules
    if not correlation_id and event is not None:
        correlation_id = event.__dict__.get("correlation_id")
    if not (correlation_id or tenant_id or traced):
        return None
    return _entered(
        str(correlation_id) if correlation_id else None, tenant_id, headers if traced else None
    )


def tenant_of(headers: Mapping[str, str] | None) -> str | None:
    """The tenant in whose context a message was published, or else that of the caller."""
    return (headers or {}).get(TENANT_ID) or _current_tenant()


def leave_request() -> None:
    """Leave the correlation id and the span of the code that started this task.

    They are those of a request or of the start of the service, of which the messages that the task
    handles are no part. A tenant stays, as a service may run a bus for each.
    """
    for variable in CORRELATION_IDS:
        variable.set(None)
    if _TRACES in sys.modules:
        from opentelemetry import context

        context.attach(context.Context())


@contextmanager
def _entered(
    correlation_id: str | None, tenant_id: str | None, traced: Mapping[str, str] | None
) -> Iterator[None]:
    with ExitStack() as left:
        if correlation_id is not None:
            for variable in CORRELATION_IDS:
                left.callback(variable.reset, variable.set(correlation_id))
        if tenant_id and (tenancy := sys.modules.get(_TENANCY)) is not None:
            left.enter_context(tenancy.tenant_context(tenant_id))
        if traced is not None:
            from opentelemetry import context
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

            parent = TraceContextTextMapPropagator().extract(traced, context.get_current())
            left.callback(context.detach, context.attach(parent))
        yield


def _current_tenant() -> str | None:
    tenancy = sys.modules.get(_TENANCY)
    tenant_id: str | None = None if tenancy is None else tenancy.current_tenant()
    return tenant_id


def _is_valid(value: object) -> bool:
    """Whether a header can have this value; one that cannot must not keep an event back."""
    return isinstance(value, str) and value.isprintable()
