"""The awaitable twins of `DeadLetters`' methods."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack
from uuid import UUID

import pandas as pd

from varco_nats.replay import Canary, ReplayPlan, ReplayReport
from varco_nats_widgets._session.progress import ProgressCallback
from varco_nats_widgets._session.session import Session
from varco_nats_widgets.dead_letters._edit import PayloadEdit
from varco_nats_widgets.dead_letters._entry import DeadLetter
from varco_nats_widgets.dead_letters._export import DeadLetterExport
from varco_nats_widgets.dead_letters._filter import FilterOptions
from varco_nats_widgets.dead_letters._replaying import Replaying, Target, settings_of
from varco_nats_widgets.dead_letters._work import Entries, Work, as_entry_id

if TYPE_CHECKING:
    from varco_nats.replay._plan import Transform


class DeadLettersAio:
    """The methods of `DeadLetters`, to be awaited on any event loop."""

    def __init__(self, letters: Any, session: Session, work: Work, replaying: Replaying) -> None:
        self._of = letters
        self._session = session
        self._work = work
        self._replaying = replaying

    def __repr__(self) -> str:
        return f"{self._of!r}.aio"

    async def frame(
        self,
        *,
        limit: int | None = None,
        newest_first: bool = False,
        progress: ProgressCallback | bool | None = None,
        **filters: Unpack[FilterOptions],
    ) -> pd.DataFrame:
        """See `DeadLetters.frame`."""
        looking, shown = self._of._frame(limit, newest_first, progress, filters)
        return await self._session.look_async(looking, shown)

    async def groups(
        self,
        *,
        progress: ProgressCallback | bool | None = None,
        **filters: Unpack[FilterOptions],
    ) -> pd.DataFrame:
        """See `DeadLetters.groups`."""
        looking, shown = self._of._groups(progress, filters)
        return await self._session.look_async(looking, shown)

    async def entry(
        self, entry_id: UUID | str, *, progress: ProgressCallback | bool | None = None
    ) -> DeadLetter:
        """See `DeadLetters.entry`."""
        looking, shown = self._of._entry(entry_id, progress)
        return await self._session.look_async(looking, shown)

    async def count(self) -> int:
        """See `DeadLetters.count`."""
        return await self._session.look_async(self._of._look.count())

    async def filter(self, **filters: Unpack[FilterOptions]) -> None:
        """See `DeadLetters.filter`."""
        await self._do(self._work.filter, filters)

    async def refresh(self) -> None:
        """See `DeadLetters.refresh`."""
        await self._do(self._work.refresh)

    async def choose(self, *groups: str) -> None:
        """See `DeadLetters.choose`."""
        await self._do(self._work.choose, groups)

    async def older(self) -> None:
        """See `DeadLetters.older`."""
        await self._do(self._work.older)

    async def newer(self) -> None:
        """See `DeadLetters.newer`."""
        await self._do(self._work.newer)

    async def oldest(self) -> None:
        """See `DeadLetters.oldest`."""
        await self._do(self._work.oldest)

    async def newest(self) -> None:
        """See `DeadLetters.newest`."""
        await self._do(self._work.newest)

    async def open(self, entry_id: UUID | str) -> DeadLetter:
        """See `DeadLetters.open`."""
        return await self._do(self._work.open, as_entry_id(entry_id))

    async def edit(
        self, entry_id: UUID | str, payload: str | bytes | dict[str, Any]
    ) -> PayloadEdit:
        """See `DeadLetters.edit`."""
        return await self._do(self._replaying.edit, as_entry_id(entry_id), payload)

    async def revert(self, entry_id: UUID | str) -> None:
        """See `DeadLetters.revert`."""
        await self._do(self._replaying.revert, as_entry_id(entry_id))

    async def plan(
        self,
        entries: Entries | None = None,
        *,
        to: str | None = None,
        target: Target | None = None,
        transform: Transform | None = None,
        new_event_ids: bool = False,
        again: bool = False,
        note: str = "",
        **filters: Unpack[FilterOptions],
    ) -> ReplayPlan:
        """See `DeadLetters.plan`."""
        return await self._do(
            self._replaying.plan,
            entries,
            filters,
            to=to,
            target=settings_of(target),
            transform=transform,
            new_event_ids=new_event_ids,
            again=again,
            note=note,
        )

    async def forget_plan(self) -> None:
        """See `DeadLetters.forget_plan`."""
        await self._do(self._replaying.forget_plan)

    async def run(
        self,
        plan: ReplayPlan | None = None,
        *,
        rate: float | None = None,
        canary: Canary | int | None = None,
        confirm: int | None = None,
        progress: ProgressCallback | bool | None = None,
    ) -> ReplayReport:
        """See `DeadLetters.run`. Where this is cancelled, what it sent is settled first."""
        return await self._session.work_async(*self._of._run(plan, rate, canary, confirm, progress))

    async def export(
        self,
        path: str | Path,
        entries: Entries | None = None,
        *,
        overwrite: bool = False,
        progress: ProgressCallback | bool | None = None,
        **filters: Unpack[FilterOptions],
    ) -> DeadLetterExport:
        """See `DeadLetters.export`."""
        return await self._session.work_async(
            *self._of._export(path, entries, overwrite, progress, filters)
        )

    async def discard(
        self,
        entries: Entries | None = None,
        *,
        exported_to: str | Path | None = None,
        word: str = "",
        confirm: int | None = None,
        note: str = "",
        progress: ProgressCallback | bool | None = None,
        **filters: Unpack[FilterOptions],
    ) -> ReplayReport:
        """See `DeadLetters.discard`."""
        return await self._session.work_async(
            *self._of._discard(entries, filters, exported_to, word, confirm, note, progress)
        )

    async def replays(self, replay_id: str | None = None) -> pd.DataFrame:
        """See `DeadLetters.replays`."""
        return await self._do(self._replaying.log, replay_id)

    async def retry(self) -> None:
        """See `DeadLetters.retry`."""
        await self._do(self._work.retry)

    async def _do[**P, T](
        self, work: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **options: P.kwargs
    ) -> T:
        return await self._session.hop(self._work.act(work, *args, **options))
