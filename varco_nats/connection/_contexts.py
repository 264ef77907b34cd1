"""Contexts of the `nats` command as settings: how to reach a server, and the login for it.

`nats context save` writes them to `$XDG_CONFIG_HOME/nats/context/NAME.json` (`~/.config` where that
is not set), and `nats context select` the name of one to `nats/context.txt`. The format is that of
the package natscontext in https://github.com/nats-io/jsm.go.
"""

from __future__ import annotations

import base64
import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from nats.aio.client import RawCredentials
from varco_core.connection.ssl import SSLConfig

from varco_nats.config import NatsEventBusSettings
from varco_nats.connection._login_files import (
    are_credentials,
    check_credentials_file,
    check_name,
    check_seed_file,
)
from varco_nats.errors import SettingsError

_DEFAULT_URL = "nats://127.0.0.1:4222"
_LOGINS = ("user", "creds", "nkey", "user_jwt", "token")  # the first that is there counts
_HONOURED = {
    *_LOGINS,
    *("url", "password", "user_seed", "cert", "key", "ca", "tls_first", "inbox_prefix"),
    *("jetstream_domain", "jetstream_api_prefix"),
}
_WITHOUT_EFFECT = {"name", "description", "color_scheme"}
_REFUSED = {
    "socks_proxy": "a SOCKS proxy cannot be used; reach the server without one",
    "nsc": "the nsc command is not asked; write the login to a file with 'nsc generate creds' and "
    "name it in 'creds'",
    "windows_cert_store": "the certificate store of Windows cannot be read; name files in 'cert' "
    "and 'key'",
}
_SCHEME = re.compile(r"(op|nsc|env|data|file):")


def contexts() -> list[str]:
    """The names of the contexts that there are, sorted."""
    return sorted(path.stem for path in _folder().glob("context/*.json") if path.stat().st_size)


def selected_context(name: str = "") -> str:
    """`name`, or the name of the context that `nats context select` chose where it is "".

    Raises:
        SettingsError: none is selected.
    """
    if name:
        return name
    try:
        chosen = (_folder() / "context.txt").read_text().strip()
    except OSError:
        chosen = ""
    if not chosen:
        problem = f"none is selected; name one ({_those()}), or run 'nats context select'"
        raise SettingsError("context", [problem])
    return chosen


def settings_of_context(name: str = "", **changes: Any) -> NatsEventBusSettings:
    """Settings of a bus that reaches the server of a context, with its login.

    Servers, login, TLS, inbox prefix, JetStream domain and API prefix are those of the context
    alone, and no `NATS_*` variable adds to them; the rest comes from `VARCO_NATS_*` and `changes`.
    Of several logins the first of user, creds, nkey and JWT counts, as for `nats`. Credentials and
    nkeys are read from their files at each connect, as they may be renewed.

    Args:
        name: of the context; "" is the one that `nats context select` chose.
        changes: other settings.

    Raises:
        SettingsError: there is no such context, it cannot be read, or it asks for something that
            cannot be done here; says what. No message shows a secret.

    Warns:
        UserWarning: something in it is not known here, and left out.

    Example:
        bus = NatsEventBus(settings_of_context("prod", durable_name="order-service"))
    """
    name = selected_context(name)
    values = _read(name)
    problems: list[str] = []
    found = _settings(values, problems)
    if problems:
        raise SettingsError(f"context {name!r}", problems)
    known = _HONOURED | _WITHOUT_EFFECT | _REFUSED.keys()
    if unknown := sorted(values.keys() - known):
        warnings.warn(
            f"context {name!r} sets {', '.join(unknown)}, which is left out here", stacklevel=2
        )
    try:
        return NatsEventBusSettings(**{**found, **changes})
    except SettingsError as error:
        raise SettingsError(f"context {name!r}", error.problems) from None


def _folder() -> Path:
    root = os.environ.get("XDG_CONFIG_HOME")
    return (Path(root) if root else Path.home() / ".config") / "nats"


def _those() -> str:
    there = contexts()
    names = ", ".join(map(repr, there[:20])) + (", …" if len(there) > 20 else "")
    return f"there are {names}" if there else f"there are none in {_folder() / 'context'}"


def _read(name: str) -> dict[str, Any]:
    """What the context's file sets; what is empty is not set."""

    def refuse(problem: str) -> SettingsError:
        return SettingsError(f"context {name!r}", [problem])

    if not isinstance(name, str) or ".." in name or {"/", "\\", "\0"} & set(name):
        raise refuse(f"is no name of a context; {_those()}")
    path = _folder() / "context" / f"{name}.json"
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError:
        near = get_close_matches(name, contexts(), n=1)
        raise refuse(
            f"there is none; {f'did you mean {near[0]!r}?' if near else _those()}"
        ) from None
    except OSError as error:
        raise refuse(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:  # whose text may quote the file
        raise refuse(f"{path} is no JSON") from None
    if not isinstance(values, dict):
        raise refuse(f"{path} holds no JSON object")
    return {key: value for key, value in values.items() if value}


def _settings(values: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    """The settings that `values` stand for; what is wrong with them goes to `problems`."""
    for key, reason in _REFUSED.items():
        if key in values:
            problems.append(f"{key}: {reason}")
    problems += [
        f"{key}: must be {'true or false' if key == 'tls_first' else 'text'}"
        for key in sorted(_HONOURED & values.keys())
        if not isinstance(values[key], bool if key == "tls_first" else str)
    ]
    if problems:
        return {}
    kwargs: dict[str, Any] = {}
    for key, value in _kwargs(values, problems):
        kwargs[key] = value
    return {
        "servers": values.get("url", _DEFAULT_URL),
        "jetstream_domain": values.get("jetstream_domain"),
        "jetstream_api_prefix": values.get("jetstream_api_prefix"),
        "connect_kwargs": kwargs,
    }


def _kwargs(values: Mapping[str, Any], problems: list[str]) -> Iterator[tuple[str, Any]]:
    """The keyword arguments of `nats.connect` for the login, TLS and the inbox prefix."""
    login = next((key for key in _LOGINS if key in values), None)
    if login != "token" and "token" in values:
        problems.append(f"token: cannot be sent together with {login}; keep one of them")
    try:
        if login is not None:
            yield from _login(login, values)
    except ValueError as error:
        problems.append(f"{login}: {error}")
    try:
        if (context := _tls(values)) is not None:
            yield "tls", context
    except (ValueError, OSError) as error:  # an ssl.SSLError is an OSError
        problems.append(f"cert, key, ca: {error}")
    if "inbox_prefix" in values:
        yield "inbox_prefix", values["inbox_prefix"]
    if "tls_first" in values:
        yield "tls_handshake_first", True


def _login(kind: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    if kind == "user":
        yield "user", values["user"]
        yield "password", _secret(values.get("password", ""))
    elif kind == "token":
        yield "token", _secret(values["token"])
    elif kind == "user_jwt":
        yield from _jwt(_secret(values["user_jwt"]), _secret(values.get("user_seed", "")))
    elif _SCHEME.match(values[kind]) and not values[kind].startswith("file:"):
        content = _secret(values[kind])
        if kind == "nkey":
            yield "nkeys_seed_str", content
        elif are_credentials(content.encode()):
            yield "user_credentials", RawCredentials(content)
        else:
            raise ValueError("holds no user JWT and nkey seed")
    elif kind == "nkey":
        yield "nkeys_seed", str(check_seed_file(_path(values[kind])))
    else:
        yield "user_credentials", str(check_credentials_file(_path(values[kind])))


def _jwt(jwt: str, seed: str) -> Iterator[tuple[str, Any]]:
    """A JWT that stands in the context; without a seed, the server must not ask for a signature."""
    if seed:
        text = f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n"
        text += f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        yield "user_credentials", RawCredentials(text)
    else:
        yield "user_jwt_cb", jwt.encode
        yield "signature_cb", lambda _nonce: b""


def _secret(value: str) -> str:
    """A secret, which may stand elsewhere: `env://NAME`, `file://PATH`, or `data:;base64,…`."""
    found = _SCHEME.match(value)
    if found is None:
        return value
    if found[1] == "env":
        variable = value.removeprefix("env://")
        if secret := os.environ.get(variable):
            return secret
        raise ValueError(f"the variable {variable!r} is not set")
    if found[1] == "data":
        head, comma, payload = value.partition(",")
        if not comma or "base64" not in head.split(";"):
            raise ValueError("is a 'data:' without ';base64,'")
        return base64.b64decode(payload).decode().rstrip("\r\n")
    if found[1] == "file":
        try:
            return check_name(_path(value)).read_text().rstrip("\r\n")
        except OSError as error:
            raise ValueError(f"{_path(value)} cannot be read: {error.strerror}") from None
    raise ValueError(f"'{found[1]}:' is not asked; put the key into a file and name that")


def _path(value: str) -> Path:
    """A file, with `~` and variables such as `$HOME` in its name."""
    return Path(os.path.expandvars(value.removeprefix("file://"))).expanduser()


def _tls(values: Mapping[str, Any]) -> Any:
    """How TLS is spoken; None leaves that to the server and the URL."""
    files = {name: _path(values[key]) for key, name in _TLS_FILES.items() if key in values}
    for path in files.values():
        if not check_name(path).is_file():
            raise ValueError(f"there is no file {path}")
    return SSLConfig(**files).build_ssl_context() if files else None


_TLS_FILES = {"cert": "client_cert", "key": "client_key", "ca": "ca_cert"}
