"""What the sinks' tests share."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest

from logferry.shipper.core import columns as told


@pytest.fixture(scope="session", autouse=True)
def models_read_once() -> Iterator[None]:
    """Give all sessions of botocore one loader: each would read a megabyte of its service's model anew."""
    from botocore import session

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "create_loader", functools.cache(session.create_loader))
        yield


@pytest.fixture(scope="module")
def small_frames_too() -> Iterator[None]:
    """What is right for a frame of a few lines is tried with it, though nobody reads its columns."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(told, "_WORTH", 1)
        yield
