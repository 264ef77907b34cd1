"""What the tests of decoders share: values, and what every decoder must hold."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from varco_nats_widgets.decoders import Decoder

from varco_nats.errors import CannotDecodeError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)

quick = settings(
    max_examples=60,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def plain_values(integers: int = 2**63) -> st.SearchStrategy[Any]:
    """Values made of what JSON has."""
    scalars = (
        st.none()
        | st.booleans()
        | st.integers(-integers, integers - 1)
        | st.floats(allow_nan=False)
        | TEXT
    )
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
        max_leaves=12,
    )


def is_plain(value: Any) -> bool:
    if type(value) is dict:
        return all(type(key) is str and is_plain(each) for key, each in value.items())
    if type(value) is list:
        return all(map(is_plain, value))
    return type(value) in (str, int, float, bool, type(None))


def equal(one: Any, other: Any) -> bool:
    """Equal, kinds included, and NaN equal to itself."""
    if type(one) is not type(other):
        return False
    if type(one) is dict:
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if type(one) is list:
        return len(one) == len(other) and all(map(equal, one, other))
    if type(one) is float and math.isnan(one):
        return math.isnan(other)
    return bool(one == other)


def what_it_says(decoder: Decoder, data: bytes, headers: dict[str, str] | None = None) -> Any:
    """The value in `data`; or the text of the error that says why there is none."""
    try:
        return decoder.decode(data, headers or {})
    except CannotDecodeError as error:
        return f"error: {error}"


def decodes_or_says_why(decoder: Decoder, data: bytes) -> None:
    """Whatever the bytes are: a plain value, or an error of ours."""
    assert is_plain(what_it_says(decoder, data))
