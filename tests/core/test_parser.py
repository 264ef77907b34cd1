"""The short way through nats-py's parser, on bytes as a server sends them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.errors import ProtocolError

from varco_nats._nats.client import Connection, NatsClient
from varco_nats._nats.inbox import ReplyInbox
from varco_nats._nats.parser import HeaderFields, header_fields
from varco_nats._nats.puback import PubAck, parse_puback, plain_pubacks, plain_successes

Taken = list[tuple[str, str, bytes, Mapping[str, str] | None]]

WIRE = b"".join(
    [
        b"MSG a.b 1 $JS.ACK.x 5\r\nhello\r\n",
        b"MSG a.b 1 r 0\r\n\r\n",
        b"MSG elsewhere 2 r 3\r\nabc\r\n",  # nobody's
        b"MSG a.b 1 r 9\r\nMSG\r\n\r\n \x00\r\n",
        b"HMSG a.b 1 r 22 25\r\nNATS/1.0\r\nTrace: 7\r\n\r\nxyz\r\n",
        b"HMSG a.b 1 28 28\r\nNATS/1.0 404 No Messages\r\n\r\n\r\n",
        b"HMSG a.c 1 r 12 14\r\nNATS/1.0\r\n\r\nno\r\n",
        b"HMSG a.c 1 54 54\r\nNATS/1.0\r\nA:1\r\n B :\t x: y \r\nb ad: 2\r\n"
        b"\xc3\xa9: 3\r\nC: \xff\xc3\xa9\r\n\r\n\r\n",
        b"+OK\r\n",
        b"MSG a.b 1 2\r\nno\r\n",  # without a reply subject
        b"MSG a.c 1 r 40000\r\n" + b"x" * 40_000 + b"\r\n",
        b"MSG \xc3\xa9 1 r 1\r\n!\r\n",
    ]
)
WANTED: Taken = [
    ("a.b", "$JS.ACK.x", b"hello", None),
    ("a.b", "r", b"", None),
    ("a.b", "r", b"MSG\r\n\r\n \x00", None),
    ("a.b", "r", b"xyz", {"Trace": "7"}),
    ("a.b", "", b"", {"Status": "404", "Description": "No Messages"}),
    ("a.c", "r", b"no", None),
    ("a.c", "", b"", {"A": "1", "B": "x: y", "C": "\ufffd\u00e9"}),
    ("a.b", "", b"no", None),
    ("a.c", "r", b"x" * 40_000, None),
    ("é", "r", b"!", None),
]


@given(st.lists(st.text("aB: \t\xe9\r\n", max_size=9), max_size=4))
def test_headers_that_are_parsed_late_are_the_same(lines: list[str]) -> None:
    block = "\r\n".join([*lines, ""]).encode()
    late: Any = HeaderFields(block)
    wanted = header_fields(block) or {}
    assert (late, dict(late), len(late)) == (wanted, wanted, len(wanted))
    assert wanted == late
    assert (late.get("a"), repr(late)) == (wanted.get("a"), repr(wanted))


def client() -> tuple[Any, Taken]:
    """One that was never connected, with a direct subscription 1."""
    taken: Taken = []
    nc = NatsClient()
    nc._direct[1] = lambda *message: taken.append(message)
    return nc, taken


async def test_whole() -> None:
    nc, taken = client()
    await nc._ps.parse(WIRE)
    assert taken == WANTED


@pytest.mark.parametrize("seed", range(40))
async def test_cut_anywhere(seed: int) -> None:
    r = random.Random(seed)
    nc, taken = client()
    left = WIRE * 3
    while left:
        size = r.choice([1, 2, 3, 10, 40, 500, 33_000])
        read, left = left[:size], left[size:]
        if r.random() < 0.5:  # as it arrives, and only the rest by the task that reads
            read = nc._ps.take(read)
        if read:
            await nc._ps.parse(read)
    assert taken == WANTED * 3


async def test_each_cut() -> None:
    head = WIRE[: WIRE.index(b"MSG a.c 1 r 40000")]
    for place in range(len(head)):
        nc, taken = client()
        await nc._ps.parse(head[:place])
        await nc._ps.parse(head[place:])
        assert taken == WANTED[:8], place


async def test_a_new_connection_begins_anew() -> None:
    nc, taken = client()
    await nc._ps.parse(b"MSG a.b 1 r 5\r\nhel")
    nc._ps.reset()
    await nc._ps.parse(b"MSG a.b 1 r 1\r\n1\r\n")
    assert taken == [("a.b", "r", b"1", None)]


async def test_what_is_no_protocol_is_refused() -> None:
    nc, taken = client()
    with pytest.raises(ProtocolError):
        await nc._ps.parse(b"MSG a.b 1 r 1\r\n1\r\nHTTP/1.1 400\r\n")
    assert len(taken) == 1


async def test_a_callback_that_fails_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    nc, taken = client()

    def fail(*message: object) -> None:
        raise ValueError("no")

    nc._direct[3] = fail
    await nc._ps.parse(b"MSG a.d 3 r 1\r\n1\r\nMSG a.b 1 r 1\r\n2\r\n")
    assert [message[2] for message in taken] == [b"2"]
    assert "receiving from a.d failed" in caplog.text


class Replies:
    """Takes the replies to a batch."""

    def __init__(self) -> None:
        self.acks: list[tuple[int, PubAck]] = []
        self.others: Taken = []

    def stored(self, acks: Sequence[tuple[int, PubAck]]) -> None:
        self.acks += acks

    def reply(self, index: int, data: bytes, headers: Mapping[str, str] | None) -> None:
        answer = parse_puback(data, headers)
        if isinstance(answer, PubAck) and not answer.duplicate:  # by the longer way
            self.acks.append((index, answer))
        else:
            self.others.append((str(index), "", data, headers))


@pytest.mark.parametrize("name", [b"s", b"\xff", "größe".encode(), b"\x01", b"\\u00e9"])
async def test_odd_name_of_a_stream_ends_no_connection(name: bytes) -> None:
    nc, _ = client()
    inbox = ReplyInbox(Connection(["nats://nowhere"]))
    inbox._prefix = "_INBOX.a."
    inbox._pubacks = plain_pubacks("_INBOX.a.", 7)
    nc._direct[7], nc._runs[7] = inbox._on_reply, inbox._take_pubacks
    replies = Replies()
    with inbox.batch(replies) as reply:
        for index, seq in enumerate([b"5", b"9" * 5000]):
            data = b'{"stream":"%b", "seq":%b}' % (name, seq)
            await nc._ps.parse(b"MSG %b%d 7 %d\r\n%b\r\n" % (reply, index, len(data), data))
    answered = [index for index, _ in replies.acks] + [int(each[0]) for each in replies.others]
    assert sorted(answered) == [0, 1]


@pytest.mark.parametrize("seed", range(20))
async def test_pubacks_of_two_batches_among_other_messages_cut_anywhere(seed: int) -> None:
    nc, taken = client()
    inbox = ReplyInbox(Connection(["nats://nowhere"]))  # as if it had subscribed as number 7
    inbox._prefix = "_INBOX.a."
    inbox._pubacks = plain_pubacks("_INBOX.a.", 7)
    nc._direct[7], nc._runs[7] = inbox._on_reply, inbox._take_pubacks
    first, second = Replies(), Replies()
    with inbox.batch(first) as one_reply, inbox.batch(second) as other_reply:

        def answer(reply: bytes, index: int, data: bytes) -> bytes:
            return b"MSG %b%d 7 %d\r\n%b\r\n" % (reply, index, len(data), data)

        def ack(reply: bytes, index: int) -> bytes:
            return answer(reply, index, b'{"stream":"s", "seq":%d}' % (index + 100))

        duplicate = b'{"stream":"s", "seq":5,"duplicate": true}'
        longer = b'{"stream":"s", "seq":6}\r\nMSG and so on'
        wire = b"".join(
            [
                *(ack(one_reply, index) for index in range(30)),
                b"MSG a.b 1 r 2\r\nhi\r\n",
                *(ack((one_reply, other_reply)[index % 2], index) for index in range(30, 60)),
                answer(other_reply, 60, duplicate),
                ack(other_reply, 61),
                answer(one_reply, 62, longer),
                b"MSG _INBOX.a.99-1 7 0\r\n\r\n",  # a batch that ended
                b"HMSG %b63 7 30 30\r\nNATS/1.0 503 No Responders\r\n\r\n\r\n" % other_reply,
                ack(one_reply, 64),
            ]
        )
        r = random.Random(seed)
        left = wire
        while left:
            size = r.choice([1, 7, 40, 300, 3000])
            await nc._ps.parse(left[:size])
            left = left[size:]
    assert first.acks == [
        (index, PubAck("s", index + 100)) for index in (*range(30), *range(30, 60, 2), 64)
    ]
    assert second.acks == [(index, PubAck("s", index + 100)) for index in (*range(31, 60, 2), 61)]
    assert first.others == [("62", "", longer, None)]
    assert [data for _, _, data, _ in second.others] == [duplicate, b""]
    assert taken == [("a.b", "r", b"hi", None)]
    inbox._on_reply("_INBOX.a.1-0", "", b"late", None)  # nobody waits for it any more
    assert len(first.others) == 1


@pytest.mark.parametrize("seed", range(20))
async def test_answers_that_only_say_success_among_others_cut_anywhere(seed: int) -> None:
    nc, _ = client()
    inbox = ReplyInbox(Connection(["nats://nowhere"]))
    inbox._prefix = "_INBOX.a."
    inbox._successes = plain_successes("_INBOX.a.", 7)
    nc._direct[7], nc._runs[7] = inbox._on_reply, inbox._take_run
    replies = Requests()
    done = b'{"type":"io.nats.jetstream.api.v1.stream_msg_delete_response","success":true}'
    others = {
        20: b'{"type":"x","error":{"code":404},"success":true}',
        30: b'{"type":"x","success":false}',
        40: done + b"\r\nMSG and so on",
    }
    with inbox.requests(replies) as reply:
        answers = [(index, others.get(index, done)) for index in range(60)]
        wire = b"".join(
            b"MSG %b%d 7 %d\r\n%b\r\n" % (reply, index, len(data), data) for index, data in answers
        )
        wire += b"MSG _INBOX.a.99-1 7 %d\r\n%b\r\n" % (len(done), done)  # of nobody
        cuts = random.Random(seed)
        while wire:
            size = cuts.randint(1, 400)
            await nc._ps.parse(wire[:size])
            wire = wire[size:]
    assert dict(replies.answers) == dict(answers)
    assert len(replies.answers) == 60


class Requests:
    """Takes the replies to a batch of requests."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes]] = []

    def succeeded(self, indices: Sequence[int]) -> None:
        done = b'{"type":"io.nats.jetstream.api.v1.stream_msg_delete_response","success":true}'
        self.answers += [(index, done) for index in indices]

    def reply(self, index: int, data: bytes, headers: Mapping[str, str] | None) -> None:
        self.answers.append((index, data))
