"""What tells the cause of a failure by its error message."""

from __future__ import annotations

import pytest
from varco_nats_widgets.dead_letters._index.cause import cause_of, normalised
from varco_nats_widgets.sample._failures import failures


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        ('order o-17: "Ada" is 3 years', "order o-<n>: <value> is <n> years"),
        ("can't find 'x' at 0x7ffe12ab", "can't find <value> at <hex>"),
        ("user 6f9619ff-8b86-d011-b42d-00cf4fc964ff gone", "user <id> gone"),
        ("USER 6F9619FF-8B86-D011-B42D-00CF4FC964FF gone", "USER <id> gone"),
        ("-5, +5, 5, 1_000, 1,000.5 and 1.5e-7", "<n>, <n>, <n>, <n>, <n> and <n>"),
        ("cannot reach 10.0.0.17:5432", "cannot reach <n>:<n>"),
        ("at 2026-05-04T10:00:00.123456Z", "at <time>"),
        ("at 2026-05-04 10:00:00+02:00, 10:11:12", "at <time>, <time>"),
        ("due 2026-05-04", "due <time>"),
        ("commit 9fceb02d0ae598e95dc970b74767f19372d61af8", "commit <id>"),
        ("trace 01J9ZK3W5Q8M7N6P5R4S3T2V1X", "trace <id>"),
        ("deadbeef is a word, feedface too", "deadbeef is a word, feedface too"),
        ("'total'", "'total'"),
        ("'o-17'", "<value>"),
        ("'Ada' has no wallet", "<value> has no wallet"),
        ("KeyError: 'country' (order 7)", "KeyError: 'country' (order <n>)"),
        ("KeyError: 'o-17'", "KeyError: <value>"),
        ("'NoneType' object has no attribute 'total'",) * 2,
        ("name 'totl' is not defined",) * 2,
        ("the name 'Ada' is taken", "the name <value> is taken"),
        ("f() got an unexpected keyword argument 'vat'",) * 2,
        (
            "f() missing 2 required arguments: 'a' and 'b'",
            "f() missing <n> required arguments: 'a' and <value>",
        ),
        ('null value in column "total" of relation "orders"',) * 2,
        ("No module named 'shop.tax'",) * 2,
        ("undefined (reading 'total')",) * 2,
        ("no field 'x' in 'customer'", "no field 'x' in <value>"),
        ("not a number: 'abc'", "not a number: <value>"),
        ("it's the customers' \"it's\"", "it's the customers' <value>"),
        (r"said 'it\'s' and `x y`", "said <value> and <value>"),
        ("unterminated 'quote here", "unterminated 'quote here"),
        ("two\n  lines\tand  spaces ", "two lines and spaces"),
        ("x[3] f(2)-3", "x[<n>] f(<n>)-<n>"),
        ("größer als 5 µs", "größer als <n> µs"),
        ("", ""),
        ("\ud800 12", "\ud800 <n>"),
    ],
)
def test_what_differs_is_taken_out_of_a_message(message: str, wanted: str) -> None:
    assert normalised(message) == cause_of(message) == wanted


@pytest.mark.parametrize("mark", ["'", '"', "\\'", "`", "a1", "-", "1.", "0x", "2026-"])
def test_long_hostile_messages_end(mark: str) -> None:
    assert len(cause_of(mark * 200_000)) <= 301


def test_a_long_message_shows_that_it_was_cut() -> None:
    text = "the warehouse had no answer " * 11
    assert normalised(text + "today") == f"{text[:300].rstrip()}…"
    assert normalised(text[:300]) == text[:300].rstrip()
    assert normalised("'" + "x" * 2000 + "'").endswith("…")
    assert cause_of("it's " * 300) == cause_of("it's " * 301)


# Tracebacks

PYTHON = """Traceback (most recent call last):
  File "/srv/shop/clients/warehouse.py", line {line}, in reserve
    answer = await self._http.post(path)
             ^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/srv/.venv/lib/python3.13/site-packages/httpx/_client.py", line 1859, in post
    return await self.request("POST", url)
  [Previous line repeated {line} more times]
httpx.ReadTimeout: no answer of wms-{line}
within {line} s"""
CHAINED = """Traceback (most recent call last):
  File "/srv/shop/first.py", line 1, in first
    pass
KeyError: 'first'

During handling of the above exception, another exception occurred:

"""
GROUP = """  + Exception Group Traceback (most recent call last):
  |   File "/srv/shop/main.py", line 9, in main
  |     async with TaskGroup():
  | ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "/srv/shop/clients/stock.py", line {line}, in take
    |     raise ValueError
    | ValueError: {line} left
    +------------------------------------"""
JAVA = """com.shop.RefundError: refund {line} of o-{line} was rejected
\tat java.base/java.util.Optional.orElseThrow(Optional.java:403)
\tat com.shop.returns.RefundService$$FastClass$$6f1c2a.invoke(<generated>)
\tat app//com.shop.returns.RefundService.refund(RefundService.java:{line}) ~[shop.jar:1.{line}]
\tat com.shop.returns.ReturnConsumer.onReturn(ReturnConsumer.java:77)
Caused by: java.net.SocketException: reset after {line} ms
\tat com.shop.net.Socket.read(Socket.java:{line})
\t... 14 more"""
NET = """System.InvalidOperationException: order {line} is not there
 ---> System.Net.Http.HttpRequestException: 50{line}
   at Shop.Net.Http.SendAsync(Request r) in /src/Shop/Net/Http.cs:line {line}
   --- End of inner exception stack trace ---
   at System.Linq.ThrowHelper.ThrowNoElementsException()
   at Shop.Clients.Warehouse.ReserveAsync(String id) in C:\\Shop\\Clients\\Warehouse.cs:line {line}
   at Shop.Consumers.Orders.HandleAsync(OrderPlaced e) in /src/Shop/Consumers/Orders.cs:line 88
--- End of stack trace from previous location ---"""
NODE = """TypeError: Cannot read properties of undefined (reading 'o-{line}')
    at node:internal/process/task_queues:95:5
    at Object.get (/srv/node_modules/lodash/get.js:{line}:7)
    at async Warehouse.reserve (/srv/shop/lib/warehouse.js:{line}:17)
    at async OrderConsumer.onOrder (file:///srv/shop/consumers/orders.mjs:88:5) {{
  [cause]: Error: {line}
      at first (/srv/shop/first.js:1:1)
}}"""
WAREHOUSE = (
    "httpx.ReadTimeout: no answer of wms-<n> within <n> s — reserve (shop/clients/warehouse.py)"
)


@pytest.mark.parametrize(
    ("trace", "wanted"),
    [
        (PYTHON, WAREHOUSE),
        ("reserving failed for o-{line}:\n" + PYTHON, WAREHOUSE),
        (CHAINED + PYTHON, WAREHOUSE),
        (PYTHON[PYTHON.index("\n") - 9 :], WAREHOUSE),  # a header has the end of a long one
        ("line = split(row)\n" + PYTHON.partition("\n")[2], WAREHOUSE),
        ("  " + PYTHON.replace("\n", "\n  "), WAREHOUSE),
        (PYTHON.replace("shop/clients", "site-packages"), WAREHOUSE.partition(" — ")[0]),
        (CHAINED + PYTHON.partition("httpx.")[0], "KeyError: 'first' — first (srv/shop/first.py)"),
        (GROUP, "ValueError: <n> left"),
        (JAVA, "com.shop.RefundError: refund <n> of o-<n> was rejected"),
        (NET, "System.InvalidOperationException: order <n> is not there"),
        (NODE, "TypeError: Cannot read properties of undefined (reading <value>)"),
        ("Error: {line}\n    at /srv/shop/x.js:{line}:5", "Error: <n> — srv/shop/x.js"),
        ("Error: {line}\n    at Shop.Cart.Add(Int32 n)", "Error: <n> — Cart.Add"),
    ],
)
def test_a_traceback_is_what_was_raised_last_and_where(trace: str, wanted: str) -> None:
    frames = {
        GROUP: "take (shop/clients/stock.py)",
        JAVA: "RefundService.refund (RefundService.java)",
        NET: "Warehouse.ReserveAsync (Shop/Clients/Warehouse.cs)",
        NODE: "Warehouse.reserve (shop/lib/warehouse.js)",
    }
    causes = {cause_of(trace.format(line=line)) for line in (4, 41, 4711)}
    assert len(causes) == 1
    cause = causes.pop()
    if trace in frames:
        assert cause.startswith(wanted)
        assert cause.endswith(f" — {frames[trace]}")
    else:
        assert cause == wanted


@pytest.mark.parametrize(
    "message",
    [
        "closed\n  at noon (see below)\n  at one",
        "Traceback (most recent call last):",
        "Traceback (most recent call last):\n  File",
        'Traceback (most recent call last):\n  File "x.py", line 3, in x\n    y',
        "no traceback\n   at ",
        GROUP.partition("\n  | ExceptionGroup")[0],
    ],
)
def test_what_is_no_whole_traceback_is_a_message(message: str) -> None:
    assert cause_of(message) == normalised(message)


def test_the_message_of_a_traceback_is_short() -> None:
    cause = cause_of(PYTHON.format(line=3) + " and so on" * 100)
    assert cause.endswith("… — reserve (shop/clients/warehouse.py)")
    assert len(cause) < 220


def test_a_night_of_failures_has_few_causes() -> None:
    messages = [entry.error_message for entry in failures(3000)]
    causes = {cause_of(message) for message in messages}
    assert len(causes) == 6
    assert max(map(len, causes)) < 230
