"""The lines of Python that load what an explorer shows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from varco_nats_widgets.decoders import DecoderLike
from varco_nats_widgets.explorer._paging import Filters

_IMPORT = "from varco_nats_widgets import where"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the messages are, and what reads them."""

    stream: str | None
    """Another stream than the lab's."""
    names: Sequence[str]
    """The channels; of another stream the subjects, all of them if there is none here."""
    decoder: DecoderLike | None = None
    """Where that is not as the lab says."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to load."""
        return self.stream is None and not self.names

    @property
    def arguments(self) -> list[str]:
        """What says it to `lab.frame`."""
        names = [_one_or_list(self.names)] if self.names else []
        if self.stream is None:
            return names
        return [f"stream={self.stream!r}", *(f"subject={name}" for name in names)]

    @property
    def reading(self) -> list[str]:
        """What says to `lab.frame` how to read it."""
        if self.decoder is None:
            return []
        return [f"decoder={self.decoder!r}" if isinstance(self.decoder, str) else "decoder=decoder"]


def page_code(
    place: Place, filters: Filters, first: int, last: int, since: datetime | None = None
) -> str:
    """What loads the matching messages with sequences `first` to `last`.

    Args:
        since: a time that says the same as `first`, and more to a reader.
    """
    if place.is_empty:
        return ""
    begin = f"start_seq={first}" if since is None else f"since={str(since.astimezone(UTC))!r}"
    arguments = [*place.arguments, begin, f"end_seq={last}"]
    if filters.event_types:
        arguments.append(f"event_type={_one_or_list(filters.event_types)}")
    if filters.headers:
        names = filters.headers
        arguments.append(f"headers={names if isinstance(names, bool) else list(names)!r}")
    arguments += place.reading
    code = f"lab.frame({', '.join(arguments)})"
    matching = [repr(filters.condition.source)] if filters.condition is not None else []
    matching += [f"text={filters.text!r}"] if filters.text else []
    matching += ["in_headers=True"] if filters.text and filters.in_headers else []
    if not matching:
        return code
    return f"{_IMPORT}; {code}.pipe(where, {', '.join(matching)}, tidy=True)"


def rows_code(place: Place, seqs: Sequence[int]) -> str:
    """What loads the messages with these sequences, which ascend."""
    if not seqs or place.is_empty:
        return ""
    arguments = [*place.arguments, f"start_seq={seqs[0]}", f"end_seq={seqs[-1]}", *place.reading]
    code = f"lab.frame({', '.join(arguments)})"
    whole = list(range(seqs[0], seqs[-1] + 1)) == list(seqs)
    return code if whole else f"{code}.loc[{list(seqs)!r}]"


def _one_or_list(names: Sequence[str]) -> str:
    return repr(names[0] if len(names) == 1 else list(names))
