"""What all tests share: hypothesis profiles, and which tests run again under sanitizers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# `HYPOTHESIS_PROFILE=random` draws new examples each time; `ci` repeats itself, so that a red build is a real change.
_COMMON = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("dev", _COMMON, max_examples=50)
settings.register_profile("ci", _COMMON, max_examples=100, derandomize=True, print_blob=True)
settings.register_profile("random", _COMMON, max_examples=500, print_blob=True)
settings.register_profile("sanitizer", _COMMON, max_examples=15, derandomize=True)
_FLAVOUR = os.environ.get("PYMIGRATE_TEST_FLAVOUR", "release")
_DEFAULT = "sanitizer" if _FLAVOUR != "release" else "ci" if os.environ.get("CI") else "dev"
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", _DEFAULT))

HERE = Path(__file__).resolve().parent
SANITIZED = [HERE / name for name in ("unit", "machine", "recording")]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks as `asan` what works on the core in small steps and is not slow."""
    for item in items:
        # A recorder's children would run under the sanitizer, too.
        records = "this_machine" in getattr(item, "fixturenames", ())
        if any(map(item.path.is_relative_to, SANITIZED)) and item.get_closest_marker("slow") is None and not records:
            item.add_marker(pytest.mark.asan)


def pytest_report_header() -> str:
    return f"pymigrate: flavour {_FLAVOUR}"
