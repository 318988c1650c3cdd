"""Adapters to other simulators in Python: `simpy_memory` (events in simulated time), `token_blocks` (KV caches)."""
