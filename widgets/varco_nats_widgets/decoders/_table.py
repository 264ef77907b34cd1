"""Which decoder is for which channel."""

from __future__ import annotations

from collections.abc import Mapping

from varco_nats.errors import DecoderError
from varco_nats_widgets.decoders._decoder import DecoderLike, Format
from varco_nats_widgets.decoders._json import Json
from varco_nats_widgets.decoders._of import decoder_of

_MAX_KEPT = 10_000
_RANKS = {"*": 1, ">": 2}  # a name is more specific than these


class DecoderTable:
    """The decoders of a Lab by channel or subject.

    A key is the name of a channel, a subject, or either with NATS's wildcards: `*` for one token
    of a name, `>` for all that follow. The channel's own key comes first, then the subject's, then
    the wildcards from the most specific one on: they are compared token by token from the left,
    where a name comes before `*` and `*` before `>`. `"*"` alone is for everything that has no
    other. What no key matches is JSON.

    Args:
        decoders: whatever `decoder_of` takes, by channel or subject; or one for all.

    Raises:
        DecoderError: a key is no name or pattern, or its value no decoder; the error names the key.
        MissingExtraError: a decoder needs a package that is not installed.
    """

    def __init__(self, decoders: Mapping[str, DecoderLike] | DecoderLike | None = None) -> None:
        self._decoders: dict[str, Format] = {}
        if decoders is not None and not isinstance(decoders, Mapping):
            self._decoders["*"] = decoder_of(decoders)
            decoders = None
        for key, spec in (decoders or {}).items():
            _check(key)
            try:
                self._decoders[key] = decoder_of(spec)
            except DecoderError as error:
                error.args = (f"decoders[{key!r}]: {error}",)
                raise
        self._wildcards = sorted(filter(_is_wildcard, self._decoders), key=_specificity)
        self._default: Format = Json()
        self._found: dict[tuple[str, str], Format] = {}
        self._used: set[str] = set()

    def __bool__(self) -> bool:
        """Whether any decoder was given."""
        return bool(self._decoders) or type(self._default) is not Json

    def otherwise(self, decoder: DecoderLike) -> DecoderTable:
        """The same decoders, with this one for what none of their keys matches."""
        table = DecoderTable()
        table._decoders, table._wildcards = self._decoders, self._wildcards
        table._used, table._default = self._used, decoder_of(decoder)
        return table

    def of(self, channel: str, subject: str = "") -> Format:
        """The decoder for messages of this channel and subject."""
        found = self._found.get((channel, subject))
        if found is None:
            if len(self._found) >= _MAX_KEPT:
                self._found.clear()
            found = self._found[channel, subject] = self._look_up(channel, subject)
        return found

    @property
    def names(self) -> dict[str, str]:
        """The names of the decoders by key."""
        return {key: decoder.name for key, decoder in self._decoders.items()}

    @property
    def unused(self) -> tuple[str, ...]:
        """The keys that were for no message so far."""
        return tuple(key for key in self._decoders if key not in self._used)

    def _look_up(self, channel: str, subject: str) -> Format:
        for name in (channel, subject):
            if name in self._decoders and not _is_wildcard(name):
                return self._use(name)
        for pattern in self._wildcards:
            if pattern == "*" or matches(pattern, channel) or matches(pattern, subject):
                return self._use(pattern)
        return self._default

    def _use(self, key: str) -> Format:
        self._used.add(key)
        return self._decoders[key]


def _check(key: object) -> None:
    if not isinstance(key, str):
        raise DecoderError(f"decoders[{key!r}]: the key is no text with a channel or a pattern")
    parts = key.split(".")
    problem = None
    if not all(parts):
        problem = "a token of its name is empty"
    elif ">" in parts[:-1]:
        problem = "'>' can only be the last token"
    elif any(len(part) > 1 and ("*" in part or ">" in part) for part in parts):
        problem = "'*' and '>' stand for whole tokens between dots, not for letters"
    elif any(character.isspace() for character in key):
        problem = "it has white space"
    if problem is not None:
        raise DecoderError(
            f"decoders[{key!r}]: {problem}; a key is a channel such as 'orders' or a pattern such "
            "as 'dev.*.gps', 'eu.>' or '*'"
        )


def _is_wildcard(key: str) -> bool:
    return not _RANKS.keys().isdisjoint(key.split("."))


def _specificity(pattern: str) -> list[int]:
    # "*" alone is for everything, as ">" is, and comes after it
    return [3] if pattern == "*" else [_RANKS.get(part, 0) for part in pattern.split(".")]


def matches(pattern: str, name: str) -> bool:
    """Whether the key of a decoder is for a channel or subject."""
    if not name:
        return False
    wanted, parts = pattern.split("."), name.split(".")
    if wanted[-1] == ">":
        wanted = wanted[:-1]
        if len(parts) <= len(wanted):
            return False
        parts = parts[: len(wanted)]
    return len(wanted) == len(parts) and all(
        part in ("*", found) for part, found in zip(wanted, parts, strict=True)
    )
