"""A failed call of the core becomes an exception that can be caught by what it means."""

from __future__ import annotations

import errno

import pytest

import pymigrate
from pymigrate import (
    AddressError,
    BusyError,
    ClosedError,
    CorruptionError,
    DeviceError,
    FrameError,
    HandleError,
    OutOfMemoryError,
    PymigrateError,
    RecordingError,
    StateError,
    SwapError,
)
from pymigrate._core import lib
from pymigrate.errors import ArgumentError, check, error_of

STATUSES = {name: getattr(lib, name) for name in dir(lib) if name.startswith("PM_ERR_")}


def test_success_raises_nothing() -> None:
    check(lib.PM_OK, pfn=7)


@pytest.mark.parametrize("name", sorted(STATUSES))
def test_every_status_has_an_exception_that_keeps_it(name: str) -> None:
    with pytest.raises(PymigrateError) as caught:
        check(STATUSES[name], pfn=7)
    assert caught.value.status == STATUSES[name]
    assert "pfn=7" in str(caught.value)
    assert len(str(caught.value)) > len("(pfn=7)") + 5


@pytest.mark.parametrize(
    ("name", "kind", "builtin"),
    [
        ("PM_ERR_NOMEM", OutOfMemoryError, MemoryError),
        ("PM_ERR_WATERMARK", OutOfMemoryError, MemoryError),
        ("PM_ERR_NO_BLOCK", OutOfMemoryError, MemoryError),
        ("PM_ERR_ZONE", OutOfMemoryError, MemoryError),
        ("PM_ERR_RANGE", FrameError, ValueError),
        ("PM_ERR_DOUBLE_FREE", FrameError, ValueError),
        ("PM_ERR_ORDER", FrameError, ValueError),
        ("PM_ERR_BUSY", FrameError, ValueError),
        ("PM_ERR_RESERVED", FrameError, ValueError),
        ("PM_ERR_SYNTAX", RecordingError, ValueError),
        ("PM_ERR_TRUNCATED", RecordingError, ValueError),
        ("PM_ERR_LIMIT", RecordingError, ValueError),
        ("PM_ERR_CORRUPT", CorruptionError, PymigrateError),
        ("PM_ERR_INVAL", ArgumentError, ValueError),
        ("PM_ERR_FLAGS", ArgumentError, ValueError),
        ("PM_ERR_OWNED", FrameError, ValueError),
        ("PM_ERR_PINNED", FrameError, ValueError),
        ("PM_ERR_BUSY", BusyError, ValueError),
        ("PM_ERR_AGAIN", BusyError, ValueError),
        ("PM_ERR_INTR", BusyError, ValueError),
        ("PM_ERR_CLOSED", ClosedError, ValueError),
        ("PM_ERR_HANDLE", HandleError, ValueError),
        ("PM_ERR_STATE", StateError, RuntimeError),
        ("PM_ERR_NO_CONTENTS", StateError, RuntimeError),
        ("PM_ERR_FAULT", AddressError, ValueError),
        ("PM_ERR_ACCESS", AddressError, ValueError),
        ("PM_ERR_BEYOND", AddressError, ValueError),
        ("PM_ERR_IO", DeviceError, OSError),
        ("PM_ERR_NO_SWAP", SwapError, RuntimeError),
    ],
)
def test_statuses_are_caught_by_meaning(name: str, kind: type[PymigrateError], builtin: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        check(STATUSES[name])
    assert isinstance(caught.value, builtin)


def test_the_table_of_meanings_is_whole() -> None:
    """A new status must be given a meaning of its own: none falls through to that of a bad argument."""
    fallback = {name for name in STATUSES if type(error_of(STATUSES[name])) is ArgumentError}
    assert fallback == {"PM_ERR_INVAL", "PM_ERR_FLAGS"}


def test_a_failed_transfer_is_an_os_error_with_a_number() -> None:
    error = error_of(lib.PM_ERR_IO, done=4096)
    assert isinstance(error, OSError)
    assert error.errno == errno.EIO
    assert str(error) == "a transfer failed (done=4096)"
    assert error.details["done"] == 4096


def test_an_address_is_shown_as_one() -> None:
    error = error_of(lib.PM_ERR_FAULT, addr=0x1234)
    assert "addr=0x1234" in str(error)
    assert dict(error.details) == {"addr": 0x1234}


def test_out_of_memory_tells_which_of_the_reasons() -> None:
    reasons = set()
    for name in ("PM_ERR_NOMEM", "PM_ERR_WATERMARK", "PM_ERR_NO_BLOCK", "PM_ERR_ZONE"):
        with pytest.raises(OutOfMemoryError) as caught:
            check(STATUSES[name])
        reasons.add(caught.value.reason)
    assert reasons == {"host", "watermark", "no-block", "zone"}


def test_a_damaged_recording_names_its_place() -> None:
    with pytest.raises(RecordingError) as caught:
        check(lib.PM_ERR_SYNTAX, path="trace.txt", line=12)
    assert (caught.value.path, caught.value.line) == ("trace.txt", 12)
    assert str(caught.value).startswith("trace.txt:12: ")
    assert str(RecordingError("bad", line=3)) == "line 3: bad"
    assert str(RecordingError("bad")) == "bad"


def test_a_status_that_no_version_knows_is_still_an_error() -> None:
    with pytest.raises(PymigrateError) as caught:
        check(-12345)
    assert caught.value.status == -12345


def test_all_names_exist() -> None:
    for name in pymigrate.__all__:
        assert hasattr(pymigrate, name)
