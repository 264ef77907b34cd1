"""`Handle`: what a `Lab` and everything made by it hold, so that their session stays open."""

from __future__ import annotations

import os
import threading
import weakref
from itertools import chain, count
from typing import Protocol, Self

from varco_nats._masks._mask import Mask
from varco_nats.config import NatsEventBusSettings, without_credentials
from varco_nats.server import LocalNats
from varco_nats_widgets._notebook import prepare_notebook
from varco_nats_widgets._session.reopening import lab_code
from varco_nats_widgets._session.session import Session, open_sessions
from varco_nats_widgets.decoders import DecoderTable

_SERVERS_VARIABLE = "VARCO_NATS_SERVERS"


class Handle:
    """A reference to a session. The session ends with `close()`, or when this is garbage.

    All objects that work on one session hold the same handle.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        # with a callback, it is cleared before any finalizer is called
        handle_of = weakref.ref(self, lambda _: None)
        self._finalizer = weakref.finalize(self, _shut, handle_of, session)

    def close(self) -> None:
        """End the session; more than one call does nothing."""
        if self._finalizer.detach() is not None:
            self.session.shut()

    @classmethod
    def open(
        cls,
        server: str | NatsEventBusSettings | None,
        *,
        context: str | None = None,
        decoders: DecoderTable | None = None,
        mask: Mask | None = None,
        read_only: bool | None = None,
    ) -> Self:
        """Open a session with a server, or with one that it starts; see `Lab`."""
        settings, local = _resolve(server, context)
        if read_only is not None:
            settings = settings.model_copy(update={"read_only": read_only})
        if settings.serializer is not None:  # the channels are read as the service reads them
            table = decoders or DecoderTable()
            decoders = table.with_default(settings.serializer, settings.wildcard_subject())
        where = ",".join(without_credentials(url) for url in settings.to_servers_list())
        label = where if local is None else _local_label()
        if context is not None:
            from varco_nats.connection import selected_context

            context = selected_context(context)
            label += f", context {context}"
        handle: Self | None = None
        try:
            session = Session(settings, label, local, decoders, mask)
            handle = cls(session)
            session.code = lab_code(server, settings, context=context, decoders=decoders, mask=mask)
            session.call(session.open()).wait()
        except BaseException:
            if handle is not None:
                handle.close()
            elif local is not None:
                local.close()
            raise
        prepare_notebook()
        return handle


def _shut(handle_of: weakref.ref[Handle], session: Session) -> None:
    """End the session: at once where the process ends, on a thread of its own as garbage.

    Garbage is collected at any moment on any thread, which may hold what the closing waits for.
    """
    if handle_of() is None:
        threading.Thread(target=session.shut, name="Lab closing").start()
    else:
        session.shut()


class SessionOwner(Protocol):
    """A `Lab`, or its `bus` or `aio`, which share its session."""

    @property
    def __lab_handle__(self) -> Handle:
        """The handle; its name keeps it out of Tab completion, as it is not for users."""


def _local_label() -> str:
    """What a local server is called: with a number, where there are others that are open."""
    taken = {session.label for session in open_sessions()}
    names = chain(["local server"], (f"local server {number}" for number in count(2)))
    return next(name for name in names if name not in taken)


def _resolve(
    server: str | NatsEventBusSettings | None, context: str | None
) -> tuple[NatsEventBusSettings, LocalNats | None]:
    if context is not None:
        if server is not None:
            raise ValueError("give a server or context=, not both: each says where to connect")
        from varco_nats.connection import settings_of_context  # which needs much to log in

        return settings_of_context(context), None
    if isinstance(server, NatsEventBusSettings):
        return server, None
    if server is not None and not isinstance(server, str):
        raise TypeError(
            f"Lab takes a URL like 'nats://host:4222' or NatsEventBusSettings, "
            f"not {type(server).__name__}"
        )
    if server is None and not os.environ.get(_SERVERS_VARIABLE, "").strip():
        local = LocalNats().start()
        return NatsEventBusSettings(servers=local.url, connect_kwargs={}), local
    settings = NatsEventBusSettings() if server is None else NatsEventBusSettings(servers=server)
    from varco_nats.connection import NatsConnectionSettings

    login = NatsConnectionSettings(servers=",".join(settings.to_servers_list())).to_nats_kwargs()
    return settings.model_copy(
        update={"connect_kwargs": {**login, **settings.connect_kwargs}}
    ), None
