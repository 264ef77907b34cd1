"""The files that an export wrote: nothing else is ever removed.

They are recognised by their names and first bytes. Files that others put beside them stay, under
whatever name, and links are never followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

LOCK = "lock"
STATE = "state.json"
DATA = "data"
REPLACED = "data-replaced"
INFO = b'{\n "version": '
BOM = b"\xef\xbb\xbf"

_PARQUET = b"PAR1"
_FILES = {  # the first bytes of the files in the folder of an unfinished export; `lock` is empty
    re.compile(LOCK): (b"",),
    re.compile(rf"{re.escape(STATE)}(\.new)?"): (b'{"query": {"format": "',),
    re.compile(r"spill-\d{6,}\.arrow"): (b"ARROW1",),
    re.compile(r"rows(\.[^.]+)?"): (BOM + b'"seq"', b'{"seq":', _PARQUET),
}
_PARTS = {re.compile(r"part-\d{6,}\.parquet"): (_PARQUET,)}
_PARTITION = re.compile(r"stored_(day|hour)_*=\d{4}-\d\d-\d\d(T\d\d)?")


def foreign(folder: Path) -> Path | None:
    """A file in the folder of an unfinished export that no export wrote; None if there is none."""
    return next((path for path, ours in _contents(folder) if not ours), None)


def foreign_in_data_set(folder: Path) -> Path | None:
    """A file in the folder of a data set that no export wrote; None if there is none."""
    return next((path for path, ours in _data_set(folder) if not ours), None)


def parts(folder: Path) -> list[Path]:
    """The files of a data set that an export wrote."""
    return [path for path, ours in _data_set(folder) if ours and not path.is_dir()]


def is_info(path: Path) -> bool:
    """Whether an export wrote this `.info.json` file, which describes the file beside it."""
    return _is_known({re.compile(re.escape(path.name)): (INFO,)}, path)


def remove(folder: Path, keep: str = "") -> None:
    """Remove the files of an unfinished export, and the folders that are empty then.

    Args:
        keep: the name of a file that stays.
    """
    if not folder.is_dir():
        return
    for path, ours in sorted(_contents(folder), reverse=True):  # files before their folder
        if ours and path.name != keep:
            with suppress(OSError):  # the folder is not empty, or the file is in use
                (path.rmdir if path.is_dir() else path.unlink)()
    with suppress(OSError):
        folder.rmdir()


def _contents(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Everything in the folder of an unfinished export, and whether an export wrote it."""
    for path in folder.iterdir():
        if path.name in (DATA, REPLACED) and _is_folder(path):
            yield path, True
            yield from _data_set(path)
        else:
            yield path, _is_known(_FILES, path)


def _data_set(folder: Path) -> Iterator[tuple[Path, bool]]:
    for path in folder.iterdir():
        if _PARTITION.fullmatch(path.name) and _is_folder(path):
            yield path, True
            yield from ((inner, _is_known(_PARTS, inner)) for inner in path.iterdir())
        else:
            yield path, _is_known(_PARTS, path)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _is_known(names: Mapping[re.Pattern[str], tuple[bytes, ...]], path: Path) -> bool:
    """Whether the file has one of these names and, as far as it goes, the first bytes for it."""
    for name, beginnings in names.items():
        if name.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                head = file.read(max(map(len, beginnings)) or 1)
            return any(b.startswith(head) or (b and head.startswith(b)) for b in beginnings)
    return False
