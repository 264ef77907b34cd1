"""Stock controls in the house's way: sizes, captions, text from data as text."""

from __future__ import annotations

from typing import Any

import ipywidgets

from varco_nats_widgets._cells import clean, escape

_MAX_TEXT = 2000


def button(label: str, icon: str, tooltip: str) -> Any:
    return ipywidgets.Button(description=label, icon=icon, tooltip=tooltip)


def row(*children: Any) -> Any:
    """Controls beside each other, on several lines where they do not fit."""
    made = ipywidgets.HBox(list(children))
    made.add_class("varco-row-of")
    return made


def text_html(text: str) -> str:
    """`text` for an `ipywidgets.HTML`, shown as it is."""
    shown = escape(clean(text, _MAX_TEXT))
    return f'<span class="tex2jax_ignore mathjax_ignore">{shown}</span>'


def all_of(widget: Any) -> list[Any]:
    """A widget and those within it, the inner ones first."""
    inner = [one for child in getattr(widget, "children", ()) for one in all_of(child)]
    return [*inner, widget]
