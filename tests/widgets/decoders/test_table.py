"""Which decoder a channel or subject has."""

from __future__ import annotations

from typing import Any

import pytest
from varco_nats_widgets.decoders import DecoderTable, Json, MessagePack, Text, decoder_of

from varco_nats.errors import DecoderError


@pytest.mark.parametrize(
    ("channel", "subject", "key"),
    [
        ("orders", "shop.orders", "orders"),
        ("other", "shop.orders", "shop.orders"),
        ("orders", "shop.x", "orders"),  # the channel's key comes first
        ("dev.7.gps", "shop.dev.7.gps", "dev.*.gps"),
        ("dev.7.acc", "shop.dev.7.acc", "dev.>"),
        ("dev.7", "", "dev.>"),
        ("dev.7.gps.raw", "", "dev.>"),
        ("eu.north", "", "eu.*"),
        ("x.gps", "", "*.gps"),
        ("x.temp", "plant.7.temp", "plant.>"),  # by subject
        ("dev", "", "*"),  # `>` needs something to stand for
        ("a.b.c.d", "", "*"),
        ("", "anything", "*"),
    ],
)
def test_the_most_specific_key_is_taken(channel: str, subject: str, key: str) -> None:
    keys = ["*", "dev.>", "*.gps", "dev.*.gps", "eu.*", "eu.>", "plant.>", "orders", "shop.orders"]
    given = {each: Text() for each in keys}
    table = DecoderTable(given)
    assert table.of(channel, subject) is given[key]
    assert table.of(channel, subject) is given[key]
    assert table.unused == tuple(each for each in keys if each != key)


def test_without_a_key_it_is_json() -> None:
    table = DecoderTable({"orders": "msgpack"})
    assert isinstance(table.of("users", "shop.users"), Json)
    assert table.unused == ("orders",)
    assert isinstance(table.of("orders"), MessagePack)
    assert not table.unused
    assert table
    assert not DecoderTable()
    assert not DecoderTable(None).unused


def test_many_subjects_are_looked_up_in_bounded_memory() -> None:
    table = DecoderTable({"dev.*.gps": "text"})
    for number in range(25_000):
        assert table.of(f"dev.{number}.gps").name == "text"
    assert len(table._found) <= 10_000


@pytest.mark.parametrize(
    ("decoders", "said"),
    [
        ({"ord*": "json"}, "decoders['ord*']: '*' and '>' stand for whole tokens"),
        ({"a.>.b": "json"}, "decoders['a.>.b']: '>' can only be the last token"),
        ({"": "json"}, "decoders['']: a token of its name is empty"),
        ({"a..b": "json"}, "decoders['a..b']: a token of its name is empty"),
        ({"my orders": "json"}, "decoders['my orders']: it has white space"),
        ({7: "json"}, "decoders[7]: the key is no text"),
        (
            {"orders": 7},
            "decoders['orders']: 7 is no decoder: give one of the names auto, json",
        ),
        ({"orders": None}, "decoders['orders']: None is no decoder"),
        ({"orders": "jsn"}, "decoders['orders']: 'jsn' is no decoder: there are auto, json"),
        ({"orders": "gzip+jsn"}, "decoders['orders']: 'jsn' is no decoder"),
        ({"orders": "protobuf"}, "decoders['orders']: 'protobuf' needs its schema: Protobuf("),
        ({"orders": MessagePack}, "decoders['orders']: MessagePack is a class: give an object"),
        (["orders"], "['orders'] is no decoder: give one of the names auto, json"),
        ("jsn", "'jsn' is no decoder: there are auto, json"),
    ],
)
def test_a_mistake_is_named_with_its_key(decoders: Any, said: str) -> None:
    with pytest.raises(DecoderError) as caught:
        DecoderTable(decoders)
    assert str(caught.value).startswith(said)


def test_a_decoder_is_itself_and_names_can_be_joined() -> None:
    decoder = MessagePack()
    assert decoder_of(decoder) is decoder
    assert decoder_of("zstd+gzip+msgpack").name == "zstd+gzip+msgpack"
    assert decoder_of("cloudevents+cbor").name == "cloudevents+cbor"
