"""ipywidgets' controls with the sizes and captions that all views use; data is shown as text."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import ipywidgets

from varco_nats_widgets.frames._cells import clean, escape

MAX_TEXT = 2000
"""Characters of one text that a view shows."""

_FIELD_SECONDS = 0.2


async def fields_are_here() -> None:
    """Wait for what was typed before a click: the kernel may get it after the click.

    JupyterLab sends each widget's messages over a subshell of its own, where the kernel has them.
    """
    await asyncio.sleep(_FIELD_SECONDS)


def button(label: str, icon: str, tooltip: str, on_click: Callable[[], object]) -> Any:
    made = ipywidgets.Button(description=label, icon=icon, tooltip=tooltip)
    made.on_click(lambda _: on_click())
    return made


def scaled(width: str) -> str:
    """A width in pixels that follows the size of JupyterLab's font; any other as it is."""
    if not width.endswith("px"):
        return width
    return f"calc({width.removesuffix('px')} / 13 * var(--jp-ui-font-size1, 13px))"


def text_field(label: str, hint: str, width: str, label_width: str, flex: str = "") -> Any:
    """A field whose value arrives when the user leaves it or presses Enter."""
    layout = {"width": scaled(width), **({"flex": flex} if flex else {})}
    return ipywidgets.Text(
        description=label,
        placeholder=hint,
        continuous_update=False,
        layout=layout,
        style={"description_width": scaled(label_width)},
    )


def dropdown(label: str, options: Sequence[Any], width: str, label_width: str) -> Any:
    """A choice of `options`: texts, or pairs of a text and its value."""
    return ipywidgets.Dropdown(
        description=label,
        options=options,
        layout={"width": scaled(width)},
        style={"description_width": scaled(label_width)},
    )


def checkbox(label: str, *, checked: bool = False) -> Any:
    return ipywidgets.Checkbox(
        description=label, value=checked, indent=False, layout={"width": "auto"}
    )


def caption(text: str) -> Any:
    return ipywidgets.HTML(text_html(text))


def row(*children: Any) -> Any:
    """Controls beside each other, on several lines where they do not fit."""
    made = ipywidgets.HBox(list(children))
    made.add_class("varco-row-of")
    return made


def tab_pages(pages: Mapping[str, Any]) -> Any:
    """A page for each title, of which the first is open."""
    return ipywidgets.Tab(list(pages.values()), titles=list(pages), selected_index=0)


def open_page(tabs: Any) -> Any:
    """The page that is open."""
    return tabs.children[tabs.selected_index or 0]


def turn_to(tabs: Any, page: Any) -> None:
    """Open a page."""
    tabs.selected_index = tabs.children.index(page)


def text_html(text: str) -> str:
    """`text` for an `ipywidgets.HTML`, shown as it is."""
    shown = escape(clean(text, MAX_TEXT))
    return f'<span class="tex2jax_ignore mathjax_ignore">{shown}</span>'


def all_parts(widget: Any) -> Iterator[Any]:
    """All that a widget is made of, and the widget itself as the last."""
    for child in getattr(widget, "children", ()):
        yield from all_parts(child)
    yield widget


def close_all(widget: Any) -> None:
    """Close a widget and all that it is made of, which ipywidgets would keep otherwise."""
    for part in all_parts(widget):
        for closed in (part.layout, getattr(part, "style", None), part):
            if closed is not None:
                closed.close()
