"""What the models of widgets share: a view that is made when it is first shown."""

from __future__ import annotations

from typing import Any

import traitlets

from varco_nats_widgets._session.shown import keep
from varco_nats_widgets._ui.model_view import ModelView, view_of


class WidgetModel(traitlets.HasTraits):
    """The state and the work behind a widget, with or without a browser."""

    def __init__(self) -> None:
        super().__init__()
        self._views: list[ModelView[Any]] = []  # one, once it is shown; it does not keep this alive

    def view(self) -> Any:
        """The widget that draws this; the same one each time, which may be shown in many places."""
        if not self._views:
            self._views.append(self._make_view())
        return self._views[0]

    def _make_view(self) -> ModelView[Any]:
        return view_of(self)

    def _repr_mimebundle_(self, **_: Any) -> Any:
        keep(self)
        return self.view().mimebundle(self._text())

    def _text(self) -> str:
        """What a notebook without widgets shows."""
        return repr(self)
