"""`Objects`: the objects of an object store: listed, opened, read and saved."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pandas as pd

from varco_nats_widgets._session.buckets import OBJECTS, Bucket
from varco_nats_widgets._session.handle import Handle
from varco_nats_widgets._session.job import Job, Twin, awaiting, blocking
from varco_nats_widgets._session.progress import Progress, ProgressCallback
from varco_nats_widgets.stores._object_info import ObjectInfo
from varco_nats_widgets.stores._object_reader import copy_object
from varco_nats_widgets.stores._places import find, newest_by_subject
from varco_nats_widgets.stores._shown import shown

_IN_MEMORY = 16 * 1024 * 1024  # an open object that is larger is in a file


class Objects:
    """The objects of an object store, looked at only; made by `Lab.objects`.

    As the last expression of a cell it shows what there is. `"logo.png" in store`,
    `for name in store` and `len(store)` work, and Tab completes `store["`. `store.aio` has the
    awaitable twins of its methods.

    Example:
        store = lab.objects("reports")
        store.df
        pd.read_csv(store.open("2026-01.csv"))
        store.save("logo.png", "logo.png")
    """

    def __init__(self, handle: Handle, bucket: Bucket) -> None:
        self._handle = handle
        self._session = handle.session
        self._bucket = bucket

    def __repr__(self) -> str:
        return f"Objects({self.name!r})"

    @property
    def name(self) -> str:
        """The store's name."""
        return self._bucket.name

    @property
    def aio(self) -> ObjectsAio:
        """The awaitable twins of this object's methods."""
        return ObjectsAio(self)

    @property
    def df(self) -> pd.DataFrame:
        """The objects: `frame()`."""
        return self.frame()

    def __getitem__(self, name: str) -> bytes:
        """The bytes of an object; Tab completes its name. Raises as `read`."""
        return self.read(name)

    def __iter__(self) -> Iterator[str]:
        """The names of the objects, sorted."""
        return iter(self._session.read(self._names()).wait())

    def __len__(self) -> int:
        return len(self._session.read(self._names()).wait())

    def __contains__(self, name: object) -> bool:
        return any(each == name for each in self)

    def _ipython_key_completions_(self) -> list[str]:
        return self._session.soon(self._names())

    def _repr_html_(self) -> str:
        return shown(f"{OBJECTS} {self.name}", "object", self.frame)

    @blocking
    def frame(self, *, deleted: bool = False) -> Job[pd.DataFrame]:
        """What is in the store.

        Args:
            deleted: also what was deleted, of which only the name is left.

        Returns:
            Index `name`, sorted; columns `bytes`, `chunks`, `modified` (UTC), `digest`,
            `description`, `link_to`, as `store/name` where it is a link, and `deleted`.

        Raises:
            StreamNotFoundError: the store is gone.
            ServerUnreachableError: the server went away and stayed away.
            PermissionDeniedError: this login may not read there; says what to allow.
        """
        return self._session.read(self._frame(deleted))

    @blocking
    def read(self, name: str, *, progress: ProgressCallback | bool | None = None) -> Job[bytes]:
        """The bytes of an object, checked against its digest; a link is followed.

        Args:
            progress: called about ten times a second with the bytes read and how many there are.
                None shows a bar in a notebook when it takes more than a second; False none.

        Raises:
            UnknownEntryError: there is no such object, or it was deleted; names those there are.
            DamagedObjectError: its bytes are not those that were put.
            ServerUnreachableError: the server went away and stayed away.
        """
        bar = Progress(f"reading {name!r}", progress)
        return self._session.read(self._read(name, bar), bar)

    @blocking
    def open(self, name: str, *, progress: ProgressCallback | bool | None = None) -> Job[IO[bytes]]:
        """An object as a file that is open for reading, which can be sought in.

        It is read as a whole first, so that its digest is checked; more than 16 MiB go to a
        temporary file, which is gone when it is closed.

        Args:
            progress: as in `read`.

        Raises:
            UnknownEntryError, DamagedObjectError, ServerUnreachableError: as `read`.

        Example:
            pd.read_csv(lab.objects("reports").open("2026-01.csv"))
        """
        bar = Progress(f"opening {name!r}", progress)
        return self._session.read(self._copy(name, bar, _file_for), bar)

    @blocking
    def save(
        self,
        name: str,
        path: Path | str,
        *,
        overwrite: bool = False,
        progress: ProgressCallback | bool | None = None,
    ) -> Job[Path]:
        """Write an object to a file, whole and checked or not at all.

        Args:
            path: of the file; its folder must exist.
            overwrite: replace what is at `path`.
            progress: as in `read`.

        Returns:
            The path.

        Raises:
            FileExistsError: something is at `path`.
            FileNotFoundError: its folder does not exist.
            IsADirectoryError: `path` is a folder.
            UnknownEntryError, DamagedObjectError, ServerUnreachableError: as `read`.
        """
        target = Path(path)
        _check_target(target, overwrite=overwrite)
        bar = Progress(f"saving {name!r}", progress)
        return self._session.read(self._save(name, target, bar, overwrite), bar)

    async def _infos(self) -> list[ObjectInfo]:
        pattern = f"{self._bucket.prefix}M.>"
        found, _ = await newest_by_subject(self._session.connection, self._bucket, pattern)
        infos = [info for info in map(ObjectInfo.of, found.values()) if info is not None]
        return sorted(infos, key=lambda info: info.name)

    async def _names(self) -> list[str]:
        return [info.name for info in await self._infos() if not info.deleted]

    async def _frame(self, deleted: bool) -> pd.DataFrame:
        infos = [info for info in await self._infos() if deleted or not info.deleted]
        columns: dict[str, Any] = {
            "bytes": pd.array([info.size for info in infos], dtype="int64"),
            "chunks": pd.array([info.chunks for info in infos], dtype="int64"),
            "modified": pd.to_datetime(
                pd.Series([info.modified for info in infos], dtype=object), utc=True
            ).array,
            "digest": pd.array([info.digest or None for info in infos], dtype="str"),
            "description": pd.array([info.description or None for info in infos], dtype="str"),
            "link_to": pd.array([info.link and info.link.words for info in infos], dtype="str"),
            "deleted": pd.array([info.deleted for info in infos], dtype=bool),
        }
        names = pd.Index([info.name for info in infos], name="name", dtype="str")
        return pd.DataFrame(columns, index=names)

    async def _copy(
        self, name: str, progress: Progress, sink_for: Callable[[int], IO[bytes]]
    ) -> IO[bytes]:
        return await copy_object(self._session, self._bucket, name, self._names, progress, sink_for)

    async def _read(self, name: str, progress: Progress) -> bytes:
        memory = io.BytesIO()
        await self._copy(name, progress, lambda _: memory)
        return memory.getvalue()

    async def _save(self, name: str, target: Path, progress: Progress, overwrite: bool) -> Path:
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        try:
            (await self._copy(name, progress, lambda _: part.open("xb"))).close()
            await asyncio.to_thread(_put_in_place, part, target, overwrite=overwrite)
        finally:
            part.unlink(missing_ok=True)
        return target


class ObjectsAio(Twin[Objects]):
    """The methods of `Objects`, to be awaited on any event loop."""

    frame = awaiting(Objects.frame)
    read = awaiting(Objects.read)
    open = awaiting(Objects.open)
    save = awaiting(Objects.save)


async def open_objects(handle: Handle, name: str) -> Objects:
    """The object store of that name."""
    bucket, _ = await find(handle.session.connection, OBJECTS, name)
    return Objects(handle, bucket)


def _file_for(size: int) -> IO[bytes]:
    """A file that nobody else sees; a small one needs not be closed."""
    return io.BytesIO() if size <= _IN_MEMORY else tempfile.TemporaryFile()


def _check_target(target: Path, *, overwrite: bool) -> None:
    """Refuse, before anything is read, a path that cannot be written to."""
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder; add a file name", str(target))
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "its folder does not exist", str(target))
    if target.exists() and not overwrite:
        raise _exists(target)


def _put_in_place(part: Path, target: Path, *, overwrite: bool) -> None:
    if overwrite:
        part.replace(target)
        return
    try:
        os.link(part, target)  # fails where something has come there meanwhile
    except FileExistsError:
        raise _exists(target) from None
    except OSError:  # a file system without links
        if target.exists():
            raise _exists(target) from None
        part.rename(target)


def _exists(target: Path) -> FileExistsError:
    return FileExistsError(
        errno.EEXIST, "it exists; give overwrite=True to replace it", str(target)
    )
