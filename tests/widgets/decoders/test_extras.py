"""A decoder whose package is not installed names the extra that has it."""

from __future__ import annotations

import tomllib
from pathlib import Path

from tests.processes import run_python

ROOT = Path(__file__).parents[3]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
GPS = Path(__file__).parent / "protos" / "gps.proto"

# In a process of its own, a finder finds none of these packages, as if they were not installed.
CODE = f"""
import sys
from importlib.abc import MetaPathFinder

hidden = {{"fastavro", "cbor2", "compression", "backports", "grpc_tools", "google.protobuf"}}

class Hiding(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in hidden:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hiding())
from varco_nats_widgets.decoders import *
from varco_nats_widgets.decoders import MissingExtraError

def tried(function):
    try:
        print(function())
    except ValueError as error:
        print(getattr(error, "extra", None), error)

tried(lambda: Avro({{"type": "int"}}))
tried(Cbor)
tried(Zstd)
tried(lambda: Protobuf({str(GPS)!r}, "Fix"))
hidden.remove("google.protobuf")
tried(lambda: Protobuf({str(GPS)!r}, "Fix"))
tried(lambda: DecoderTable({{"orders": "cbor"}}))
tried(lambda: Auto().decode(b"\\xd9\\xd9\\xf7\\x01", {{}}))
tried(lambda: Auto().decode(b"\\x28\\xb5\\x2f\\xfdabc", {{}}))
tried(lambda: Auto().decode(b"\\x01", {{"content-type": "application/cbor"}}))
tried(lambda: Auto().read(b"[1]", {{}}))
tried(lambda: Auto().read(b"text", {{}}))
tried(lambda: DecoderTable({{"a": "gzip+msgpack"}}).of("a").name)
"""


def missing(extra: str, package: str) -> str:
    return (
        f"{package} cannot be imported here; install it with: pip install 'varco-nats-kit[{extra}]'"
    )


def test_a_decoder_says_what_to_install() -> None:
    done = run_python(CODE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"avro {missing('avro', 'fastavro')}",
        f"cbor {missing('cbor', 'cbor2')}",
        f"zstd {missing('zstd', 'backports.zstd')}",
        f"protobuf {missing('protobuf', 'protobuf')}",
        f"protobuf {missing('protobuf', 'grpcio-tools')}",
        f"cbor decoders['orders']: {missing('cbor', 'cbor2')}",
        f"cbor {missing('cbor', 'cbor2')}",
        f"zstd {missing('zstd', 'backports.zstd')}",
        f"None content-type says application/cbor: {missing('cbor', 'cbor2')}; by its bytes: "
        "binary: byte 0x01 at 0",
        "([1], 'json')",
        "('text', 'text')",
        "gzip+msgpack",
    ]


def test_the_extra_decoders_has_them_all() -> None:
    assert EXTRAS["decoders"] == ["varco-nats-kit[avro,cbor,protobuf,zstd]"]
    assert {"avro", "cbor", "protobuf", "zstd"} <= EXTRAS.keys()
