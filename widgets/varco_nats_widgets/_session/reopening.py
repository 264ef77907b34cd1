"""The code that makes a lab, and what a lab gave, once more; shown when the lab is closed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from varco_nats.config import NatsEventBusSettings

if TYPE_CHECKING:
    from varco_nats_widgets._session.session import Session

_NAMES = ("stream_name", "subject_prefix", "channel_prefix")
_PLAIN = (str, int, float, bool)


def call_code(name: str, *args: object, **options: object) -> str:
    """A call with these arguments, without those that are None; `...` for what code cannot say."""
    given = [_argument(value) for value in args if value is not None]
    given += [f"{key}={_argument(value)}" for key, value in options.items() if value is not None]
    return f"{name}({', '.join(given)})"


def lab_code(session: Session) -> str:
    """What opens a lab like this one; without the secrets that it was given."""
    settings, mask = session.settings, session.decoding.mask
    fields = NatsEventBusSettings.model_fields
    names: dict[str, object] = {
        name: value
        for name in _NAMES
        if (value := getattr(settings, name)) != fields[name].get_default()
    }
    made = call_code("NatsEventBusSettings", servers=session.label, **names) if names else ""
    server = made or repr(session.label)
    options = call_code(
        "",
        decoders=... if session.decoding.decoders else None,
        mask=list(mask.patterns) if mask else None,
        mask_key=... if mask and mask.has_key else None,
        read_only=True if session.read_only else None,
    )[1:-1]
    return f"Lab({', '.join(filter(None, (server, options)))})"


def _argument(value: object) -> str:
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, list | tuple) and all(isinstance(part, _PLAIN) for part in value):
        return repr(list(value))
    return "..."
