/// @file draw.h
/// Random numbers for tests that search: a seed replays a run, and every failure prints the command that does.
#ifndef PM_TESTS_DRAW_H
#define PM_TESTS_DRAW_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/check.h"

struct draw {
	uint64_t state;
};

/// Any seed will do, 0 too: neighbouring seeds give unlike runs.
static inline void draw_init(struct draw *d, uint64_t seed)
{
	uint64_t mix = (seed + 1) * 0x9e3779b97f4a7c15u;

	mix = (mix ^ mix >> 30) * 0xbf58476d1ce4e5b9u;
	d->state = (mix ^ mix >> 27) | 1;
}

/// A number in [0, below).
static inline uint64_t draw_below(struct draw *d, uint64_t below)
{
	d->state ^= d->state << 13;
	d->state ^= d->state >> 7;
	d->state ^= d->state << 17;
	return (d->state >> 11) % below;
}

/// True once in `n` times.
static inline bool draw_once_in(struct draw *d, uint64_t n)
{
	return draw_below(d, n) == 0;
}

/// Which seeds main() runs: `argv[1]` alone if there is one, else [0, nr).
static inline void draw_seeds(int argc, char **argv, uint64_t nr, uint64_t *ret_first, uint64_t *ret_end)
{
	*ret_first = argc > 1 ? strtoull(argv[1], NULL, 0) : 0;
	*ret_end = argc > 1 ? *ret_first + 1 : nr;
}

/// Runs `test` with each seed, and stops at the first that fails.
static inline int draw_run(int argc, char **argv, uint64_t nr, void (*test)(uint64_t seed))
{
	uint64_t seed, end;

	for (draw_seeds(argc, argv, nr, &seed, &end); seed < end; seed++) {
		test(seed);
		if (check_result() != EXIT_SUCCESS) {
			fprintf(stderr, "seed %llu failed; replay: %s %llu\n", (unsigned long long)seed, argv[0], (unsigned long long)seed);
			return EXIT_FAILURE;
		}
	}
	return EXIT_SUCCESS;
}

#endif
