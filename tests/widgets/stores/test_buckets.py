"""Which streams are buckets, without a server; and what is said of them elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
from varco_nats_widgets import Lab
from varco_nats_widgets._session.buckets import bucket_of, kind_of, reading_call

from varco_nats.errors import StreamNotFoundError, UnknownChannelError

TRANSFORMS = {"subject_transforms": [{"src": "$KV.a.>", "dest": "$KV.b.>"}]}


@pytest.mark.parametrize(
    ("config", "kind", "prefix"),
    [
        ({"name": "KV_a", "subjects": ["$KV.a.>"]}, "key-value bucket", "$KV.a."),
        ({"name": "KV_a-b_C", "subjects": ["$KV.a-b_C.>"]}, "key-value bucket", "$KV.a-b_C."),
        ({"name": "KV_a", "subjects": ["other.>"]}, "stream", ""),
        ({"name": "KV_", "subjects": ["$KV.>"]}, "stream", ""),
        ({"name": "KV_a b", "subjects": ["$KV.a b.>"]}, "stream", ""),
        ({"name": "KV_copy", "mirror": {"name": "KV_a"}}, "key-value bucket", "$KV.a."),
        (
            {"name": "KV_copy", "mirror": {"name": "KV_a", **TRANSFORMS}},
            "key-value bucket",
            "$KV.b.",
        ),
        ({"name": "MIRROR_a", "mirror": {"name": "KV_a"}}, "stream", ""),
        ({"name": "KV_all", "sources": [{"name": "KV_a"}]}, "key-value bucket", "$KV.all."),
        ({"name": "OBJ_o", "subjects": ["$O.o.C.>", "$O.o.M.>"]}, "object store", "$O.o."),
        ({"name": "OBJ_copy", "mirror": {"name": "OBJ_o"}}, "object store", "$O.o."),
        ({"name": "TELEMETRY", "subjects": ["dev.>"]}, "stream", ""),
    ],
)
def test_a_stream_is_what_it_is(config: dict[str, Any], kind: str, prefix: str) -> None:
    assert kind_of(config) == kind
    found = bucket_of(config)
    assert (found.prefix if found else "") == prefix


def test_a_key_is_what_follows() -> None:
    found = bucket_of({"name": "KV_a", "subjects": ["$KV.a.>"]})
    assert found is not None
    assert found.key_of("$KV.a.x.y") == "x.y"
    assert reading_call("KV_config") == "lab.kv('config')"
    assert reading_call("OBJ_reports") == "lab.objects('reports')"
    assert reading_call("TELEMETRY") is None


def test_streams_say_what_they_are_and_errors_what_reads_them(lab: Lab, suffix: str) -> None:
    kinds = lab.streams()["kind"]
    assert kinds[f"KV_config{suffix}"] == "key-value bucket"
    assert kinds[f"OBJ_reports{suffix}"] == "object store"
    assert kinds[f"TELEMETRY{suffix}"] == "stream"
    for channel in (f"KV_config{suffix}", f"config{suffix}"):
        with pytest.raises(UnknownChannelError, match=rf"lab\.kv\('config{suffix}'\)"):
            lab.frame(channel)
    with pytest.raises(StreamNotFoundError, match=rf"mean lab\.objects\('reports{suffix}'\)\?"):
        lab.frame(stream=f"reports{suffix}")
    with pytest.raises(ValueError, match=r"lab\.live\(subject='core\.x\.y', stored=False\)"):
        lab.frame(subject="core.x.y")
