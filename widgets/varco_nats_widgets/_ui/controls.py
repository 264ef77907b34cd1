"""Stock controls in the house's way: sizes, captions, text from data as text."""

from __future__ import annotations

from typing import Any

import ipywidgets

from varco_nats_widgets.frames._cells import clean, escape

MAX_TEXT = 2000
"""Characters of one text that a view shows."""


def button(label: str, icon: str, tooltip: str) -> Any:
    return ipywidgets.Button(description=label, icon=icon, tooltip=tooltip)


def text_field(label: str, hint: str, width: str, label_width: str, flex: str = "") -> Any:
    """A field whose value comes when it is left, or at Enter."""
    layout = {"width": width, **({"flex": flex} if flex else {})}
    return ipywidgets.Text(
        description=label,
        placeholder=hint,
        continuous_update=False,
        layout=layout,
        style={"description_width": label_width},
    )


def caption(text: str) -> Any:
    return ipywidgets.HTML(text_html(text))


def row(*children: Any) -> Any:
    """Controls beside each other, on several lines where they do not fit."""
    made = ipywidgets.HBox(list(children))
    made.add_class("varco-row-of")
    return made


def text_html(text: str) -> str:
    """`text` for an `ipywidgets.HTML`, shown as it is."""
    shown = escape(clean(text, MAX_TEXT))
    return f'<span class="tex2jax_ignore mathjax_ignore">{shown}</span>'


def all_of(widget: Any) -> list[Any]:
    """A widget and those within it, the inner ones first."""
    inner = [one for child in getattr(widget, "children", ()) for one in all_of(child)]
    return [*inner, widget]
