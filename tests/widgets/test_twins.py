"""A plain method and its awaitable twin: one signature and docstring, which Shift-Tab shows."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import pytest
from varco_nats_widgets.dead_letters import DeadLetters, DeadLettersAio
from varco_nats_widgets.delivery import Delivery, DeliveryAio
from varco_nats_widgets.explorer import Explorer, ExplorerAio
from varco_nats_widgets.lab import Lab, LabAio
from varco_nats_widgets.live import LiveFrame
from varco_nats_widgets.live._live import LiveAio
from varco_nats_widgets.stores import KeyValues, LiveKeyValues, Objects
from varco_nats_widgets.stores._key_values import KeyValuesAio
from varco_nats_widgets.stores._live import LiveKeyValuesAio
from varco_nats_widgets.stores._objects import ObjectsAio

from tests.widgets.kernel import Kernel, kernel

PAIRS = [
    (Lab, LabAio),
    (DeadLetters, DeadLettersAio),
    (Explorer, ExplorerAio),
    (LiveFrame, LiveAio),
    (Delivery, DeliveryAio),
    (KeyValues, KeyValuesAio),
    (LiveKeyValues, LiveKeyValuesAio),
    (Objects, ObjectsAio),
]
TWINS = [
    pytest.param(plain, aio, name, id=f"{plain.__name__}.{name}")
    for plain, aio in PAIRS
    for name in vars(aio)
    if not name.startswith("_") and (plain, name) != (Lab, "dead_letters")
]


@pytest.mark.parametrize(("plain", "aio", "name"), TWINS)
def test_a_twin_has_the_parameters_the_result_and_the_docstring_of_the_plain_method(
    plain: type, aio: type, name: str
) -> None:
    method, twin = getattr(plain, name), getattr(aio, name)

    assert inspect.iscoroutinefunction(twin)
    assert not inspect.iscoroutinefunction(method)
    signature = inspect.signature(method)
    assert inspect.signature(twin) == signature
    assert "Job" not in str(signature)
    assert "args" not in signature.parameters
    assert method.__doc__
    assert twin.__doc__ == method.__doc__
    assert (method.__qualname__, method.__module__) == (
        f"{plain.__name__}.{name}",
        plain.__module__,
    )
    assert (twin.__qualname__, twin.__module__) == (f"{aio.__name__}.{name}", aio.__module__)


def test_what_a_method_gives_is_in_its_signature() -> None:
    frame = str(inspect.signature(Lab.frame))
    assert frame.startswith("(self, channel: 'str | Iterable[str] | None' = None, *, stream: ")
    assert frame.endswith(") -> 'pd.DataFrame'")
    assert str(inspect.signature(Lab.dead_letter)).endswith(") -> 'list[str]'")


@pytest.fixture(scope="module")
def ipython() -> Iterator[Kernel]:
    with kernel() as started:
        assert started.run("from varco_nats_widgets import Lab; lab = Lab()").error == ""
        yield started
        started.run("lab.close()")


@pytest.mark.timeout(180)  # it starts a kernel
@pytest.mark.parametrize("owner", ["lab", "lab.aio"])
def test_shift_tab_and_tab_in_a_notebook(ipython: Kernel, owner: str) -> None:
    shown = ipython.inspect(f"{owner}.frame")
    assert "channel: 'str | Iterable[str] | None' = None" in shown
    assert "progress: 'ProgressCallback | bool | None' = None" in shown
    assert "-> 'pd.DataFrame'" in shown
    assert "The events stored in a channel, in several together, or in any stream." in shown
    assert "UnknownChannelError: a channel holds no messages" in shown
    assert "Job" not in shown
    assert "def frame(" in ipython.inspect(f"{owner}.frame", detail=1)  # the source, with `??`

    assert {"frame", "plan_replay"} <= {
        name.rpartition(".")[2] for name in ipython.complete(f"{owner}.")
    }
    assert "newest_first=" in ipython.complete(f"{owner}.frame('orders', newe")
    letters = "lab.dead_letters" + owner.removeprefix("lab")
    plan = ipython.inspect(f"{letters}.plan")
    assert "transform: 'Transform | None' = None" in plan
    assert "What a replay would send: a dry run" in plan
    # what it takes as `**given`, as the order counts
    steps = {"set", "rename", "convert", "remove", "map", "absolute", "python", "steps"}
    assert {f"{name}=" for name in steps} <= {*ipython.complete(f"{letters}.fix('matching', ")}
    assert ipython.complete(f"{letters}.fix(map={{}}, err") == ["error=", "error_type="]
    assert ipython.complete(f"{letters}.frame(tenant") == ["tenant_id="]
    assert ipython.complete(f"{letters}.plan(error_t") == ["error_type="]
    assert "convert: 'Mapping[str, Kind] | None' = None" in ipython.inspect(f"{letters}.fix")


@pytest.mark.timeout(180)
def test_tab_in_a_notebook_without_jedi(ipython: Kernel) -> None:
    ipython.run("%config Completer.use_jedi = False")
    try:
        assert "absolute=" in ipython.complete("lab.dead_letters.fix(")
        assert ipython.complete("lab.dead_letters.frame(tenant") == ["tenant_id="]
    finally:
        ipython.run("%config Completer.use_jedi = True")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("call", ["lab.frame(limit=0)", "await lab.aio.frame(limit=0)"])
def test_a_traceback_begins_in_the_method_that_was_called(ipython: Kernel, call: str) -> None:
    cell = ipython.run(call)
    assert cell.error == "ValueError: no channel was given; lab.channels() shows those there are"
    whole = ipython.run("%tb").traceback
    files = re.findall(r"^File .*/(\w+\.py):\d+, in (\w+(?:\.\w+)*)", whole, re.M)
    assert files[0] == ("_lab.py", "Lab.frame")
    assert "job.py" not in whole
