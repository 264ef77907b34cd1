"""The lines of Python that load what an explorer shows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from varco_nats_widgets.decoders import DecoderLike
from varco_nats_widgets.explorer._paging import Filters

_IMPORT = "from varco_nats_widgets import where"


def page_code(
    channels: Sequence[str],
    filters: Filters,
    first: int,
    last: int,
    since: datetime | None = None,
    stream: str | None = None,
    decoder: DecoderLike | None = None,
) -> str:
    """What loads the matching messages with sequences `first` to `last`.

    Args:
        since: a time that says the same as `first`, and more to a reader.
        stream: another stream, whose subjects `channels` are then.
        decoder: what reads the payloads, where that is not as the lab says.
    """
    if not channels:
        return ""
    begin = f"start_seq={first}" if since is None else f"since={str(since.astimezone(UTC))!r}"
    arguments = [_place(channels, stream), begin, f"end_seq={last}"]
    if filters.event_types:
        arguments.append(f"event_type={_one_or_list(filters.event_types)}")
    if filters.headers:
        names = filters.headers
        arguments.append(f"headers={names if isinstance(names, bool) else list(names)!r}")
    arguments += _decoder(decoder)
    code = f"lab.frame({', '.join(arguments)})"
    matching = [repr(filters.condition.source)] if filters.condition is not None else []
    matching += [f"text={filters.text!r}"] if filters.text else []
    matching += ["in_headers=True"] if filters.text and filters.in_headers else []
    if not matching:
        return code
    return f"{_IMPORT}; {code}.pipe(where, {', '.join(matching)}, tidy=True)"


def rows_code(
    channels: Sequence[str],
    seqs: Sequence[int],
    stream: str | None = None,
    decoder: DecoderLike | None = None,
) -> str:
    """What loads the messages with these sequences, which ascend; the rest as in `page_code`."""
    if not seqs or not channels:
        return ""
    arguments = [_place(channels, stream), f"start_seq={seqs[0]}", f"end_seq={seqs[-1]}"]
    code = f"lab.frame({', '.join(arguments + _decoder(decoder))})"
    whole = list(range(seqs[0], seqs[-1] + 1)) == list(seqs)
    return code if whole else f"{code}.loc[{list(seqs)!r}]"


def _decoder(decoder: DecoderLike | None) -> list[str]:
    if decoder is None:
        return []
    return [f"decoder={decoder!r}" if isinstance(decoder, str) else "decoder=decoder"]


def _place(channels: Sequence[str], stream: str | None) -> str:
    names = _one_or_list(channels)
    return names if stream is None else f"stream={stream!r}, subject={names}"


def _one_or_list(names: Sequence[str]) -> str:
    return repr(names[0] if len(names) == 1 else list(names))
