"""The code that makes a lab, and what a lab gave, once more; shown when the lab is closed."""

from __future__ import annotations

from varco_nats._masks._mask import Mask
from varco_nats.config import NatsEventBusSettings, has_login, without_credentials
from varco_nats_widgets.decoders import DecoderTable

_NAMES = ("stream_name", "subject_prefix", "channel_prefix")
_PLAIN = (str, int, float, bool)


def call_code(name: str, *args: object, **options: object) -> str:
    """A call with these arguments, without those that are None; `...` for what code cannot say."""
    return f"{name}({', '.join(_arguments(args, options))})"


def lab_code(
    server: str | NatsEventBusSettings | None,
    settings: NatsEventBusSettings,
    *,
    context: str | None = None,
    decoders: DecoderTable | None = None,
    mask: Mask | None = None,
) -> str:
    """What opens a lab like one that was opened by `server` or `context`, with `...` for secrets.

    Args:
        settings: what became of `server`.
    """
    servers = settings.to_servers_list()
    where = ",".join(map(without_credentials, servers))
    special: dict[str, object] = {
        name: getattr(settings, name)
        for name in _NAMES
        if getattr(settings, name) != NatsEventBusSettings.model_fields[name].get_default()
    }
    own = server.connect_kwargs if isinstance(server, NatsEventBusSettings) else {}
    if own or any(map(has_login, servers)):
        special["connect_kwargs"] = ...
    if context is not None:
        place = f"context={context!r}"
    elif special:
        place = call_code("NatsEventBusSettings", servers=where, **special)
    else:
        place = repr(where)
    options = _arguments(
        (),
        {
            "decoders": ... if decoders else None,
            "mask": list(mask.patterns) if mask else None,
            "mask_key": ... if mask and mask.has_key else None,
            "read_only": True if settings.read_only else None,
        },
    )
    return f"Lab({', '.join([place, *options])})"


def _arguments(args: tuple[object, ...], options: dict[str, object]) -> list[str]:
    given = [_argument(value) for value in args if value is not None]
    return given + [f"{k}={_argument(value)}" for k, value in options.items() if value is not None]


def _argument(value: object) -> str:
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, list | tuple) and all(isinstance(part, _PLAIN) for part in value):
        return repr(list(value))
    return "..."
