"""Protobuf."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from importlib import import_module
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from varco_nats.errors import CannotDecodeError, DecoderError, MissingExtraError
from varco_nats_widgets.decoders._decoder import TOO_DEEP, Format, Headers
from varco_nats_widgets.decoders._protobuf_values import reader_of, with_named_floats

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor
    from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
    from google.protobuf.descriptor_pool import DescriptorPool

_COMPILE_SECONDS = 60
_PATH = str | PathLike[str]


class Protobuf(Format):
    """Messages of a Protobuf type.

    Fields have the names of the `.proto` file, also those without presence that have their default
    value. Values are those of Protobuf's JSON mapping (bytes as base64 text, enums as names,
    `Timestamp` and `Duration` as text, `Struct` as an object), except that 64-bit integers and
    NaN are numbers.

    Args:
        path: a `.proto` file, or a descriptor set, as `protoc --include_imports
            --descriptor_set_out` and `buf build` write it.
        message: the name of the type, with its package only where it is ambiguous without.
        include: folders in which a `.proto` file's imports are looked for; without any it is the
            file's own folder.

    Raises:
        DecoderError: the file cannot be read or does not compile, or has no such message; the
            error says where, and which there are.
        MissingExtraError: the extra `protobuf` is not installed.
    """

    def __init__(self, path: _PATH, message: str, *, include: Iterable[_PATH] = ()) -> None:
        try:
            from google.protobuf.message import DecodeError
            from google.protobuf.message_factory import GetMessageClass
        except ImportError as error:
            raise MissingExtraError("protobuf", "protobuf") from error

        where = f"Protobuf({str(path)!r})"
        found = _loaded(Path(path), tuple(map(Path, include)), where)
        self._pool = _pool_of(found, where)
        descriptor = _find(self._pool, found, message, where)
        self._message: Any = GetMessageClass(descriptor)
        self._read = reader_of(self._pool, descriptor)
        self._empty = self._read(self._message())
        self._decode_error = DecodeError
        self.name = f"protobuf({descriptor.name})"

    def decode(self, data: bytes, headers: Headers) -> Any:
        """The fields of the message in `data`.

        Raises:
            CannotDecodeError: `data` is no message of this type, or has none of its fields.
        """
        try:
            message = self._message.FromString(data)
            value = self._read(message)
        except self._decode_error as error:
            raise CannotDecodeError(f"not {self.name}: {error}") from error
        except RecursionError as error:
            raise CannotDecodeError(TOO_DEEP) from error
        if data and value == self._empty:
            self._check_that_it_has_fields(message)
        return value

    def _check_that_it_has_fields(self, message: Any) -> None:
        """Any bytes with fields of other numbers can be read as a message: one with no fields."""
        from google.protobuf.unknown_fields import UnknownFieldSet

        if self._message.ListFields(message):
            return
        unknown: Any = UnknownFieldSet(message)
        numbers = sorted({field.field_number for field in unknown})
        if numbers:
            shown = ", ".join(map(str, numbers[:10]))
            raise CannotDecodeError(
                f"not {self.name}: it has none of its fields, only fields with the numbers {shown}"
            )

    def edit(self, data: bytes, value: object, headers: Headers) -> bytes:
        """The message with the edited value; refused where it has fields that are not known."""

        def encode() -> bytes:
            true = self._message.FromString(data)
            again = self._message.FromString(self._written(self._read(true)))
            if again != true:
                raise ValueError("it has fields that the schema does not have, or not so")
            return self._written(value)

        return self._checked(encode, value, headers)

    def _encode(self, value: object, headers: Headers) -> bytes:
        return self._written(value)

    def _written(self, value: object) -> bytes:
        from google.protobuf.json_format import ParseDict, ParseError

        if type(value) is not dict:
            raise ValueError("it is no object with fields")
        try:
            named = with_named_floats(value)
            message = ParseDict(named, self._message(), descriptor_pool=self._pool)
        except ParseError as error:  # it goes on with all fields that there are
            raise ValueError(str(error).partition("\n")[0]) from error
        data: bytes = self._message.SerializeToString(message)
        return data


def _loaded(path: Path, include: tuple[Path, ...], where: str) -> FileDescriptorSet:
    """The descriptors in a descriptor set, or of a `.proto` file."""
    from google.protobuf.descriptor_pb2 import FileDescriptorSet
    from google.protobuf.message import DecodeError

    try:
        data = path.read_bytes()
    except OSError as error:
        raise DecoderError(f"{where}: {error.strerror or error}") from error
    if path.suffix == ".proto":
        data = _compiled(path.absolute(), include, where)
    try:
        found = FileDescriptorSet.FromString(data)
    except DecodeError:
        found = FileDescriptorSet()
    if not all(file.name for file in found.file) or not found.file:
        raise DecoderError(
            f"{where}: it is no descriptor set, and no .proto file by its name; protoc writes one "
            "with --include_imports --descriptor_set_out=FILE"
        )
    return found


def _compiled(path: Path, include: tuple[Path, ...], where: str) -> bytes:
    """The descriptor set of a `.proto` file and what it imports.

    A process of its own compiles, since the compiler writes its errors to standard error.
    """
    try:
        import grpc_tools
    except ImportError as error:
        raise MissingExtraError("protobuf", "grpcio-tools") from error
    roots = [folder.absolute() for folder in include]
    if not any(path.is_relative_to(root) for root in roots):
        roots.append(path.parent)
    roots.append(Path(grpc_tools.__file__).parent / "_proto")
    with TemporaryDirectory() as folder:
        written = Path(folder) / "descriptors"
        done = subprocess.run(  # noqa: S603 - our own arguments
            [
                *(sys.executable, "-m", "grpc_tools.protoc"),
                *(f"--proto_path={root}" for root in roots),
                *("--include_imports", f"--descriptor_set_out={written}", str(path)),
            ],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_COMPILE_SECONDS,
            check=False,
        )
        if done.returncode:
            said = done.stderr.strip() or f"the compiler ended with {done.returncode}"
            raise DecoderError(f"{where} does not compile:\n{said}")
        return written.read_bytes()


def _pool_of(found: FileDescriptorSet, where: str) -> DescriptorPool:
    from google.protobuf.descriptor_pool import DescriptorPool

    pool = DescriptorPool()
    files = {file.name: file for file in found.file}
    added: set[str] = set()

    def add(name: str, wanted_by: str) -> None:
        if name in added:
            return
        added.add(name)  # before what it imports, which may be a circle in a broken set
        file = files.get(name) or _well_known(name)
        if file is None:
            raise DecoderError(
                f"{where}: it lacks {name}, which {wanted_by} imports; "
                "write it with protoc --include_imports"
            )
        for each in file.dependency:
            add(each, name)
        try:
            pool.AddSerializedFile(file.SerializeToString())
        except TypeError as error:
            raise DecoderError(f"{where}: {error}") from error

    for name in files:
        add(name, name)
    return pool


def _well_known(name: str) -> FileDescriptorProto | None:
    """A file that Protobuf itself has, which need not be in a set."""
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

    folder, _, file = name.rpartition("/")
    if folder != "google/protobuf":
        return None
    try:
        module = import_module(f"google.protobuf.{file.removesuffix('.proto')}_pb2")
    except ImportError:
        return None
    return FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)


def _find(pool: DescriptorPool, found: FileDescriptorSet, message: str, where: str) -> Descriptor:
    names = [name for file in found.file for name in _names(file.package, file.message_type)]
    matching = [name for name in names if f".{name}".endswith(f".{message}")]
    if message in names:
        matching = [message]
    if len(matching) == 1:
        return pool.FindMessageTypeByName(matching[0])
    ours = [name for name in names if not name.startswith("google.protobuf.")]
    if matching:
        raise DecoderError(f"{where}: {message!r} can be {' or '.join(matching)}")
    raise DecoderError(f"{where}: it has no message {message!r}; there are: {', '.join(ours)}")


def _names(prefix: str, messages: Iterable[Any]) -> Iterable[str]:
    """The full names of messages and those within them, but not those that entries of maps have."""
    for each in messages:
        if not each.options.map_entry:
            name = f"{prefix}.{each.name}".lstrip(".")
            yield name
            yield from _names(name, each.nested_type)
