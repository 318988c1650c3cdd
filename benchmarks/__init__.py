"""Benchmarks: what is compared with what stands beside it, in one run, printed as ratios.

`python -m benchmarks.alloc` from the root of a checkout; it builds its own drivers in build/bench.
"""
