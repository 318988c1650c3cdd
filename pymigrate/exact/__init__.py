"""The exact start state, where the kernel lets us: its lists walked by a BPF program, and a start state made of them.

Needs root, a kernel with BTF, clang, and libbpf (Debian: ``apt-get install clang libbpf-dev``). Nothing else of
pymigrate needs any of it.
"""

from __future__ import annotations

from pymigrate.exact.walk import Walker, WalkError
from pymigrate.replaying.exact_start import refine

__all__ = ["WalkError", "Walker", "refine"]
