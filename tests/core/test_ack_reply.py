"""Where a delivered message is stored, as its reply subject says."""

from __future__ import annotations

import pytest

from varco_nats._nats.delivery import ack_fields

FIELDS = "orders.svc-orders.2.1207.1210.1767225600123456789.3"


@pytest.mark.parametrize(
    "reply",
    [f"$JS.ACK.{FIELDS}", f"$JS.ACK.hub.ACCOUNTHASH.{FIELDS}", f"$JS.ACK._.HASH.{FIELDS}.x7Qa"],
    ids=["short", "with a domain", "with a token at the end"],
)
def test_each_form_has_the_same_fields(reply: str) -> None:
    assert ack_fields(reply) == FIELDS.split(".")
