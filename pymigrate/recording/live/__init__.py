"""The recorder: tracepoints from tracefs, snapshots of every frame and samples, put together to a recording."""

from __future__ import annotations

from pymigrate.recording.live.recorder import RecordOptions, RecordResult, record
from pymigrate.recording.live.tracefs import DEFAULT_EVENTS, RecordError

__all__ = ["DEFAULT_EVENTS", "RecordError", "RecordOptions", "RecordResult", "record"]
