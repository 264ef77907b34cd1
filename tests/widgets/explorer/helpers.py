"""Events, and what the tests of this folder do with an explorer."""

from __future__ import annotations

import ast
import asyncio
from typing import Any

import pandas as pd
from varco_core.event.base import Event
from varco_nats_widgets import Lab
from varco_nats_widgets.explorer import Explorer


class ExplorerOrder(Event):
    __event_type__ = "explored.placed"

    number: int
    total: float = 1.0
    customer: dict[str, str]


class ExplorerRefund(Event):
    __event_type__ = "explored.refunded"

    number: int


def orders(*numbers: int, channel: str = "orders") -> list[tuple[Event, str]]:
    names = ("Ada", "Björn", "$x^2$ <b>Bob</b>")
    return [
        (
            ExplorerOrder(number=n, total=n * 1.5, customer={"name": names[n % 3]})
            if n % 10
            else ExplorerRefund(number=n),
            channel,
        )
        for n in numbers
    ]


async def publish(lab: Lab, *numbers: int, channel: str = "orders") -> None:
    await lab.bus.publish_many(orders(*numbers, channel=channel))


async def explore(lab: Lab, *channels: str, **options: Any) -> Explorer:
    return await asyncio.to_thread(lambda: Explorer(lab, *channels, **options))


def numbers(explorer: Explorer) -> list[int]:
    return [int(n) for n in explorer.df.get("number", ())]


def evaluate(code: str, lab: Lab) -> pd.DataFrame:
    """What a cell with this line shows."""
    *before, last = ast.parse(code).body
    names: dict[str, Any] = {"lab": lab}
    exec(compile(ast.Module(before, []), "code", "exec"), names)
    assert isinstance(last, ast.Expr)
    return eval(compile(ast.Expression(last.value), "code", "eval"), names)


async def assert_code_loads_the_page(explorer: Explorer, lab: Lab) -> None:
    loaded = await asyncio.to_thread(evaluate, explorer.code, lab)
    assert loaded.equals(explorer.df), explorer.code
