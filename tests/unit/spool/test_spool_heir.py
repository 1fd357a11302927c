"""What a source appends after its spool was closed, because another configuration has taken over."""

from __future__ import annotations

from pathlib import Path

import pytest

from logferry.shipper.spool import Spool, SpoolSettings
from logferry.shipper.spool.writer import SpoolClosedError


def test_what_cannot_be_read_again_goes_to_the_heir(tmp_path: Path) -> None:
    """Lines of a pipe are in the new spool; lines with a position are read again, and so refused here."""
    old, new = Spool(SpoolSettings(tmp_path, "shop")), Spool(SpoolSettings(tmp_path, "shop"))
    old.heir = new
    old.append([b"{}"], b"", "pipe")
    old.close()
    assert old.append([b"{}", b"{}"], b"", "pipe") == 1
    assert (old.accepted, new.accepted) == (1, 2)
    with pytest.raises(SpoolClosedError):
        old.append([b"{}"], b"here", "file")
    with pytest.raises(SpoolClosedError):
        old.append([], b"", "file/part")  # a position that is given up is given up by whoever reads now
    new.close()


def test_without_an_heir_the_source_ends(tmp_path: Path) -> None:
    """At the end of the process nobody takes it."""
    spool = Spool(SpoolSettings(tmp_path, "shop"))
    spool.close()
    with pytest.raises(SpoolClosedError):
        spool.append([b"{}"], b"", "pipe")
