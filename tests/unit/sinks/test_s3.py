"""S3: which events go into which object, and that sending again overwrites."""

from __future__ import annotations

import gzip
import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logferry.shipper.core.template import Template
from logferry.shipper.model import Batch
from logferry.shipper.sinks.s3 import S3Config
from logferry.shipper.sinks.s3.objects import Archive, Piece

SPOOL = "0123456789abcdef" * 2


def archive(key: str = "{service}/{date}/{hour}/{host}-{first_event_id}") -> Archive:
    return Archive(Template.parse(key), "gzip")


def batch_of(rows: list[tuple[int, str]], first: int) -> Batch:
    lines = [
        orjson.dumps({"timestamp": f"2026-01-31T{hour:02}:00:00.000000Z", "service": name, "n": first + n})
        for n, (hour, name) in enumerate(rows)
    ]
    return Batch(SPOOL, range(first, first + len(rows)), lines)


def put(bucket: dict[str, bytes], batch: Batch) -> None:
    made = archive()
    for piece in made.pieces(batch):
        bucket[piece.key] = made.content(batch, piece)


def numbers(bucket: dict[str, bytes]) -> list[int]:
    return [
        json.loads(line)["n"] for content in bucket.values() for line in gzip.decompress(content).splitlines()
    ]


@given(st.data(), st.lists(st.tuples(st.integers(8, 10), st.sampled_from("ab")), min_size=1, max_size=60))
def test_whatever_is_lost_between_sending_and_noting_each_event_is_there_once(
    data: st.DataObject, rows: list[tuple[int, str]]
) -> None:
    """Batches of any size, each put up to three times with another end: a kill reads again from its start."""
    bucket: dict[str, bytes] = {}
    at = 0
    while at < len(rows):
        for _ in range(data.draw(st.integers(0, 2), "kills")):
            end = data.draw(st.integers(at + 1, len(rows)), "end")
            put(bucket, batch_of(rows[at:end], at + 1))
        end = data.draw(st.integers(at + 1, len(rows)), "committed")
        put(bucket, batch_of(rows[at:end], at + 1))
        at = end
    assert sorted(numbers(bucket)) == list(range(1, len(rows) + 1))


@pytest.mark.parametrize(
    ("line", "key"),
    [
        (
            b'{"timestamp":"2026-01-31T23:59:59.999999Z","service":"a/../b","host":".."}',
            "a_.._b/2026-01-31/23/__",
        ),
        (
            b'{"timestamp":"2026-01-31T23:30:00-01:00","service":"","host":"\xc3\xa9 x"}',
            "-/2026-02-01/00/__x",
        ),
        (b'{"timestamp":null,"service":{},"host":7}', "-/undated/00/7"),
        (b"nonsense", "-/undated/00/-"),
    ],
)
def test_keys_of_odd_events(line: bytes, key: str) -> None:
    """A value never makes a directory, and the hour is that of UTC."""
    (piece,) = archive().pieces(Batch(SPOOL, [7], [line]))
    assert piece.key == f"{key}-{SPOOL}-7.ndjson.gz"


def test_a_key_is_of_the_own_spool_whatever_id_an_event_brings() -> None:
    """An id from elsewhere may come again with other events behind it: it must not overwrite these."""
    line = orjson.dumps({"event_id": "f" * 32 + "-1", "service": "s"})
    (piece,) = archive().pieces(Batch(SPOOL, [7], [line]))
    assert piece.key.endswith(f"{SPOOL}-7.ndjson.gz")


def test_the_same_events_make_the_same_bytes() -> None:
    """gzip's header holds no time."""
    batch = batch_of([(8, "a")] * 700, 1)
    made = archive()
    (piece,) = made.pieces(batch)
    assert made.content(batch, piece) == made.content(batch, piece)
    first = json.loads(gzip.decompress(made.content(batch, piece)).splitlines()[0])
    assert first["event_id"] == f"{SPOOL}-1"


def test_parquet_keeps_whatever_it_is_given() -> None:
    """Each event is a row under its id: other types, other fields, no time, no event at all."""
    import io

    import pyarrow.parquet as pq

    from logferry.shipper.sinks.s3.parquet import ParquetMaker

    lines = [
        b'{"timestamp":"2026-03-01T08:00:00.5Z","message":"m","n":7,"line":"seven"}',
        b'{"timestamp":"soon","message":{"a":1},"n":99999999999999999999}',
        b'{"event_id":"' + b"f" * 32 + b'-3","message":"from elsewhere"}',
        b'{"torn":',
        b"nothing \xff",
        b"{}",
    ]
    maker = ParquetMaker({"n": "integer"})
    batch = Batch(SPOOL, range(1, 7), lines)
    content = maker.content(batch, Piece("k", range(6)))
    rows = {row["event_id"]: row for row in pq.read_table(io.BytesIO(content)).to_pylist()}
    assert set(rows) == {*(f"{SPOOL}-{n}" for n in (1, 2, 4, 5, 6)), "f" * 32 + "-3"}
    assert (rows[f"{SPOOL}-1"]["n"], json.loads(rows[f"{SPOOL}-1"]["fields"])) == (7, {"line": "seven"})
    kept = json.loads(rows[f"{SPOOL}-2"]["fields"])
    assert (kept["timestamp"], kept["message"]) == ("soon", {"a": 1})
    assert rows[f"{SPOOL}-4"]["message"] == '{"torn":'
    assert rows[f"{SPOOL}-5"]["message"].startswith("nothing")
    assert content == maker.content(batch, Piece("k", range(6))), "the same events are other bytes"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bucket": "No_Bucket"}, "bucket"),
        ({"key": "{service}/{date}"}, "first_event_id"),
        ({"key": "{trace_id}-{first_event_id}"}, "of each event"),
        ({"key": "/a-{first_event_id}"}, "beginning"),
        ({"key": "a b-{first_event_id}"}, "letters"),
        ({"kms_key_id": "k"}, "server_side_encryption"),
    ],
)
def test_what_cannot_work_is_refused(options: dict[str, Any], words: str) -> None:
    """Said at the start, not at the first batch."""
    with pytest.raises(ValueError, match=words):
        S3Config(**({"bucket": "logs"} | options))
