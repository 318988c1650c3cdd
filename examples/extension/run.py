"""A machine made in Python, used by an extension module that was never linked with pymigrate."""

from __future__ import annotations

import hostsim

from pymigrate import AddressSpace, Machine, MemoryOptions
from pymigrate.capi import machine_capsule

with Machine.from_size("64M", memory=MemoryOptions()) as machine:
    space = AddressSpace(machine)
    capsule = machine_capsule(machine)
    total, touched = hostsim.translate_many(capsule, space.handle, 1 << 32, 4096, 2048)
    # What the extension touched is this space's memory, for Python too.
    space.write(1 << 32, b"from Python")
    again, touched_again = hostsim.translate_many(capsule, space.handle, 1 << 32, 4096, 2048)
    frames = "the same" if total == again else "others"
    print(f"2048 pages by {touched} first touches, then {touched_again}; frames: {frames}")
