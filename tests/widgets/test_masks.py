"""Masks: which fields they hide, what stands for the values, and the way back."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

import pytest
from varco_nats_widgets.frames._payload import flatten, take_apart

from varco_nats._masks._mask import Mask
from varco_nats._masks._patterns import MaskPatternError
from varco_nats._masks._unmask import MaskedValueError, hidden, without

CLOUD = {"specversion": "1.0", "type": "Paid", "id": "1", "source": "/shop", "time": "2026-01-01"}


@pytest.mark.parametrize(
    ("pattern", "event", "columns"),
    [
        ("email", {"email": "x", "a": {"email": 1}}, {"email"}),
        ("customer.email", {"customer": {"email": "x", "id": 1}, "email": "y"}, {"customer.email"}),
        ("customer", {"customer": {"email": "x"}, "customer_id": 1}, {"customer"}),
        ("*.iban", {"iban": 1, "a": {"iban": 2, "b": {"iban": 3}}}, {"iban", "a.iban", "a.b.iban"}),
        ("**.iban", {"iban": 1, "a": {"iban": 2}}, {"iban", "a.iban"}),
        ("a.*.iban", {"a": {"iban": 1, "b": {"iban": 2}}, "iban": 3}, {"a.iban", "a.b.iban"}),
        ("a.*", {"a": {"b": 1, "c": {"d": 2}}, "e": 3}, {"a.b", "a.c"}),
        ("*_mail", {"home_mail": 1, "mail": 2, "work_mail": 3}, {"home_mail", "work_mail"}),
        ("a*b*c.d", {"a1b2c": {"d": 1}, "abcx": {"d": 2}}, {"a1b2c.d"}),
        ("Customer.EMAIL", {"customer": {"Email": "x"}}, {"customer.Email"}),
        # a field whose name has a dot is called like a nested one
        ("customer.email", {"customer.email": "x"}, {"customer.email"}),
        ("a.b.c", {"a.b": {"c": 1}, "a": {"b.c": 2}}, {"a.b.c", "data.a.b.c"}),
        # names that columns have: taken ones, those of dead letters, of the event itself
        ("data.channel", {"channel": "x"}, {"data.channel"}),
        ("channel", {"channel": "x"}, {"data.channel"}),
        ("data.email", {"email": "x"}, {"email"}),
        ("data.email", {"data": {"email": "x"}}, {"data.email"}),
        ("email", {"data": {"email": "x"}}, {"data.email"}),
        ("data", {"data": {"email": "x"}, "b": 1}, {"data"}),
        ("event_type", {"__event_type__": "Paid", "a": 1}, {"event_type"}),
        ("event_id", {"event_id": "1", "a": 1}, {"event_id"}),
        ("timestamp", {"timestamp": "2026", "a": 1}, {"timestamp"}),
        ("event_id", {**CLOUD, "data": {"a": 1}}, {"event_id"}),
        ("event_type", {**CLOUD, "data": {"a": 1}}, {"event_type"}),
        ("timestamp", {**CLOUD, "data": {"a": 1}}, {"timestamp"}),
        ("ce.source", {**CLOUD, "data": {"source": 1}}, {"ce.source"}),
        ("ce.source", {"source": 1}, set()),
        ("email", {**CLOUD, "data": {"email": "x", "a": 1}}, {"email"}),
        ("*.email", {**CLOUD, "data": {"email": "x", "b": {"email": 1}}}, {"email", "b.email"}),
        ("data.source", {**CLOUD, "data": {"source": 1}}, {"ce.source", "source"}),
        ("nothing", {**CLOUD, "data_base64": "aWJhbg=="}, {"data_base64"}),
        ("data", {**CLOUD, "data": [1, 2]}, {"data"}),
        # no column is called so
        ("headers.tenant", {"headers": {"tenant": "x"}, "tenant": 1}, {"headers.tenant"}),
        ("nothing", {"a": {"b": 1}}, set()),
    ],
)
def test_a_pattern_means_the_fields_that_its_columns_show(
    pattern: str, event: dict[str, Any], columns: set[str]
) -> None:
    before = copy.deepcopy(event)
    shown = Mask.parse([pattern]).fields(event)
    assert event == before
    assert {name for name, value in _columns(shown).items() if value == "***"} == columns
    assert (shown is event) == (not columns)
    kept = {name: value for name, value in _columns(event).items() if name in _columns(shown)}
    assert all(_columns(shown)[name] in ("***", value) for name, value in kept.items())


def _columns(event: dict[str, Any]) -> dict[str, Any]:
    """The columns of an event as a frame has them."""
    event_type, event_id, timestamp, payload = take_apart(event)
    own = {"event_type": event_type, "event_id": event_id, "timestamp": timestamp}
    return {**flatten(payload), **{name: v for name, v in own.items() if v is not None}}


@pytest.mark.parametrize(
    ("pattern", "event", "shown"),
    [
        ("items.iban", {"items": [{"iban": 1, "a": 2}, {"a": 3}]},
         {"items": [{"iban": "***", "a": 2}, {"a": 3}]}),
        ("*.iban", {"a": [[{"iban": 1}], "x"]}, {"a": [[{"iban": "***"}], "x"]}),
        ("items", {"items": [1, 2]}, {"items": "***"}),
        ("items.*", {"items": ["x", {"a": 1}, None]}, {"items": ["***", {"a": "***"}, None]}),
        ("a", {"a": None}, {"a": None}),
        ("a", {"a": True}, {"a": "***"}),
        ("a", {"a": 10**400}, {"a": "***"}),
        ("*", {"a": 1, "b": {"c": 1}}, {"a": "***", "b": "***"}),
        ("*.a", {"b": {1: {"a": 1}}}, {"b": {1: {"a": "***"}}}),
    ],
)  # fmt: skip
def test_lists_and_values_of_every_kind(
    pattern: str, event: dict[str, Any], shown: dict[str, Any]
) -> None:
    assert Mask.parse([pattern]).fields(event) == shown


def test_what_is_nested_too_deep_or_of_an_unknown_class_is_masked_whole() -> None:
    deep: Any = {"iban": "secret"}
    for _ in range(5000):
        deep = {"a": deep}
    value: Any = Mask.parse("*.iban").fields(deep)
    for _ in range(64):
        value = value["a"]
    assert value == "***"
    shown = Mask.parse("*.iban").fields({"a": {1, 2}, "b": MaskPatternError("x", "y")})
    assert shown == {"a": "***", "b": "***"}
    assert Mask.parse("other.iban").fields({"a": {1}}) == {"a": {1}}


def test_headers() -> None:
    headers = {"Authorization": "Bearer x", "tenant": "acme", "a.b": "c"}
    for patterns in ("headers.authorization", "*.authorization", "headers.auth*"):
        mask = Mask.parse(patterns)
        assert mask.headers(headers) == {**headers, "Authorization": "***"}
        assert not mask.unmatched
    assert Mask.parse("headers").headers(headers) == dict.fromkeys(headers, "***")
    assert Mask.parse("headers.*").headers(headers) == dict.fromkeys(headers, "***")
    assert Mask.parse("headers.a.b").headers(headers)["a.b"] == "***"
    assert Mask.parse("authorization,a").headers(headers) == headers


def test_a_payload_that_is_no_object() -> None:
    mask = Mask.parse("iban")
    assert mask.payload("IBAN: DE89") == "***"  # nobody knows what is where in it
    assert mask.payload(b"DE89") == "***"
    assert mask.payload(42) == 42
    assert mask.payload(None) is None
    assert mask.payload([{"iban": 1, "a": 2}, 3]) == [{"iban": "***", "a": 2}, 3]
    assert Mask.parse("value").payload(42) == "***"
    assert Mask.parse("value.*").payload([1, [2], {"a": 3}]) == ["***", ["***"], {"a": "***"}]
    assert Mask.parse("value.iban").payload([{"iban": 1, "a": 2}]) == [{"iban": "***", "a": 2}]
    assert Mask.parse("ce.source").payload([CLOUD]) == [{**CLOUD, "source": "***"}]
    pseudonym = Mask.parse("*.iban", "key")
    assert pseudonym.payload([{"iban": 1}]) == [pseudonym.payload({"iban": 1})]
    assert Mask.parse("headers.x").payload("text") == "text"
    assert not Mask.parse("headers.x").hides_payloads
    assert mask.hides_payloads


def test_pseudonyms_are_the_same_for_equal_values_under_a_key() -> None:
    mask, again, other = (Mask.parse("*.id", key) for key in ("k1", "k1", "k2"))
    event = {"id": "o-1", "a": {"id": "o-1"}, "b": [{"id": 1}, {"id": 1.0}, {"id": "1"}]}
    shown = mask.fields(event)
    assert shown == again.fields(event)
    assert shown["id"] == shown["a"]["id"] == mask.of("o-1")
    assert shown["id"].startswith("masked-")
    assert len(shown["id"]) == 23
    assert shown["id"] != other.fields(event)["id"]
    one, one_as_float, text = (element["id"] for element in shown["b"])
    assert one == one_as_float != text
    assert mask.of({"a": 1, "b": 2}) == mask.of({"b": 2, "a": 1})
    assert "k1" not in repr(mask)


def test_what_a_pattern_has_never_matched_is_known() -> None:
    mask = Mask.parse(["a", "b.*", "headers.c", "d"])
    assert len(mask.unmatched) == 4
    mask.fields({"a": None, "b": ["x"]})
    mask.headers({"C": "x"})
    assert mask.unmatched == tuple("d")


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("", "names no field"), (".", "names no field"), ("a..b", "beside a dot"),
        ("a.", "beside a dot"), ("items[0].iban", "items.iban"), ("a[]", "list"), (7, "a text"),
    ],
)  # fmt: skip
def test_a_pattern_that_cannot_be_read_is_refused_by_name(pattern: Any, reason: str) -> None:
    with pytest.raises(MaskPatternError, match=reason) as caught:
        Mask.parse(["fine", pattern])
    assert caught.value.pattern == pattern
    assert repr(pattern) in str(caught.value)


def test_an_empty_key_is_refused() -> None:
    with pytest.raises(ValueError, match="mask_key is empty"):
        Mask.parse("a", "")


def test_names_without_end_do_not_fill_the_memory() -> None:
    mask = Mask.parse("*.iban")
    for number in range(50_000):
        mask.fields({f"n{number}": 1})
    assert len(mask._automaton.roots.event.steps) <= 20_000
    assert mask.fields({"n1": {"iban": 1}}) == {"n1": {"iban": "***"}}


TRUE = {
    "email": "ada@example.com",
    "total": 5,
    "items": [{"sku": "A", "iban": "DE1"}, {"sku": "B", "iban": "DE2"}],
    "card": {"number": "4111", "cvc": 123},
}


@pytest.mark.parametrize("key", [None, "key"])
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {}),
        ({"total": 6}, {"total": 6}),
        ({"email": "new"}, {"email": "new"}),
        ({"card": {"number": "4222"}}, {"card": {"number": "4222"}}),
        ({"items": "reversed"}, {"items": TRUE["items"][::-1]}),  # type: ignore[index]
        ({"items": "without the first"}, {"items": TRUE["items"][1:]}),  # type: ignore[index]
        ({"items": "other skus"}, {"items": [{"sku": "A2", "iban": "DE1"},
                                             {"sku": "B2", "iban": "DE2"}]}),
        ({"items": "another first"}, {"items": [{"sku": "C"}, *TRUE["items"]]}),  # type: ignore[misc]
    ],
)  # fmt: skip
def test_what_stayed_masked_keeps_its_true_value(
    key: str | None, changes: dict[str, Any], expected: dict[str, Any]
) -> None:
    mask = Mask.parse("email,*.iban,card", key)
    shown = mask.fields(TRUE)
    items = shown["items"]
    made = {
        "reversed": items[::-1],
        "without the first": items[1:],
        "other skus": [{**item, "sku": f"{item['sku']}2"} for item in items],
        "another first": [{"sku": "C"}, *items],
    }
    edited = {**shown, **changes}
    if isinstance(edited["items"], str):
        edited["items"] = made[edited["items"]]
    assert mask.restore(json.loads(json.dumps(edited)), shown, TRUE) == {**TRUE, **expected}


@pytest.mark.parametrize(
    ("edited", "field"),
    [
        ({"mail": "***"}, "mail"),
        ({"card": {"number": "***"}}, "card.number"),
        ({"items": [{"sku": "B2", "iban": "***"}]}, "items[0].iban"),
        # the first was taken away, the second changed, and another added
        ({"items": [{"sku": "B2", "iban": "***"}, {"sku": "C", "iban": "DE3"}]}, "items[0].iban"),
        ({"other": [{"a": "masked-0123456789abcdef"}]}, "other[0].a"),
    ],
)
def test_a_mask_that_may_stand_for_several_values_is_refused(
    edited: dict[str, Any], field: str
) -> None:
    mask = Mask.parse("email,*.iban,card")
    with pytest.raises(MaskedValueError, match="stands for a masked value") as caught:
        mask.restore(edited, mask.fields(TRUE), TRUE)
    assert caught.value.field == field


def test_elements_that_look_alike_are_not_confused() -> None:
    mask = Mask.parse("items.iban")
    true = {"items": [{"iban": 1}, {"iban": 2}, {"a": 3}]}
    shown = mask.fields(true)
    assert mask.restore({"items": [{"iban": "***"}] * 2 + [{"a": 4}]}, shown, true) == {
        "items": [{"iban": 1}, {"iban": 2}, {"a": 4}]
    }
    with pytest.raises(MaskedValueError, match=r"items\[0\].iban"):
        mask.restore({"items": [{"iban": "***"}, {"a": 3}]}, shown, true)


def test_a_number_that_was_given_another_kind_is_changed() -> None:
    mask = Mask.parse("b")
    true = {"a": [1], "b": 2}
    for element in (1.0, True):
        restored = mask.restore({"a": [element], "b": "***"}, mask.fields(true), true)
        assert restored == {"a": [element], "b": 2}
        assert type(restored["a"][0]) is type(element)


@pytest.mark.parametrize("key", [None, "key"])
def test_restoring_what_nobody_edited_gives_the_payload(key: str | None) -> None:
    random = Random(12)

    def value(depth: int) -> Any:
        kind = random.randrange(7 if depth else 5)
        if kind == 6:
            return {random.choice("abcd"): value(depth - 1) for _ in range(random.randrange(4))}
        if kind == 5:
            return [value(depth - 1) for _ in range(random.randrange(4))]
        return random.choice([None, True, 1, "", "ab", "***", 2.5])

    for _ in range(500):
        event = {random.choice("abcd"): value(4) for _ in range(random.randrange(5))}
        mask = Mask.parse(random.choice(["a", "*.b", "a.*", "c.d", "a,*.c"]), key)
        before = copy.deepcopy(event)
        shown = mask.fields(event)
        assert mask.restore(json.loads(json.dumps(shown)), shown, event) == event == before


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("no account ada@example.com", "ada@example.com", "no account ***"),
        ("input_value='ada@exa...le.com'", "ada@example.com", "input_value='***...***'"),
        ("ADA@EXAMPLE.COM", "ada@example.com", "***"),
        ("for 'O\\'Brien-Meyer'", "O'Brien-Meyer", "for '***'"),
        ('{"a": "M\\u00fcller-Lee"}', "Müller-Lee", '{"a": "***"}'),
        ("card 4111 is 41112", 4111, "card *** is 41112"),
        ("total 4,111.5", 4111.5, "total ***"),
        ("Bob and Bobby, bob", "Bob", "*** and Bobby, ***"),
        ("b'\\xff\\x00abcdef'", b"\xff\x00abcdef", "b'***'"),
        ("[{'iban': 'DE89370400'}]", [{"iban": "DE89370400"}], "[{'iban': '***'}]"),
        ("nothing is true", True, "nothing is true"),
        ("nothing", "", "nothing"),
    ],
)
def test_a_text_is_without_the_values_that_a_mask_hides(
    text: str, value: Any, expected: str
) -> None:
    assert without(text, [("***", value)]) == expected


def test_hidden_values_are_found_by_their_masks() -> None:
    mask = Mask.parse("email,*.iban", "key")
    found = dict(hidden(mask.fields(TRUE), TRUE))
    assert found == {mask.of(v): v for v in ("ada@example.com", "DE1", "DE2")}
