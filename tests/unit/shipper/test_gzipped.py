"""Bodies as gzip, whichever library is there."""

from __future__ import annotations

import gzip
import runpy
import sys

import pytest

from logferry.shipper.core import gzipped


@pytest.mark.parametrize("missing", [(), ("isal.isal_zlib",), ("isal.isal_zlib", "cramjam")], ids=len)
def test_what_is_compressed_comes_back(missing: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """With each library that may be there; the same body always gives the same bytes."""
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    compressed = runpy.run_path(gzipped.__file__)["gzipped"]
    body = b"".join(b'{"order":%d}\n' % number for number in range(1000))
    for whole in (body, b""):
        assert gzip.decompress(compressed(whole)) == whole
        assert compressed(whole) == compressed(whole)
    assert gzip.decompress(compressed(body, b"", b"more", body)) == body + b"more" + body
    assert gzip.decompress(compressed()) == b""
    assert len(compressed(body)) * 3 < len(body)
