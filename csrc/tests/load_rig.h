/// @file load_rig.h
/// Threads that allocate, free, fault, fork and pin while something else moves memory under them. Each knows what its pages hold.
#ifndef PM_TESTS_LOAD_RIG_H
#define PM_TESTS_LOAD_RIG_H

#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "tests/range_rig.h"

enum { LOAD_PAGES = 512, LOAD_BLOCKS = 32 };

struct load {
	struct pm_machine *m;
	_Atomic bool stop;
	_Atomic uint64_t operations;
	_Atomic uint64_t longest_ns; ///< that one operation of a worker took
	pthread_barrier_t barrier;
};

struct worker {
	struct load *load;
	uint32_t cpu;
	uint64_t random;
	pthread_t thread;
};

static inline uint64_t draw(struct worker *w)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return w->random >> 8;
}

static inline uint64_t load_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/// Blocks of its own, by the plain allocator: a range that holds one cannot be emptied, and must not hand it out twice.
static inline void churn_blocks(struct worker *w, uint64_t *blocks)
{
	struct pm_machine *m = w->load->m;
	uint64_t i = draw(w) % LOAD_BLOCKS;
	uint32_t order = (uint32_t)(i % 4);

	if (blocks[i] != UINT64_MAX) {
		CHECK_EQ(pm_free(m, w->cpu, blocks[i], order), PM_OK);
		blocks[i] = UINT64_MAX;
	} else if (pm_alloc(m, w->cpu, order, draw(w) % 8 ? RIG_MOVABLE : RIG_UNMOVABLE, &blocks[i]) != PM_OK) {
		blocks[i] = UINT64_MAX;
	}
}

static inline uint8_t byte_of(const struct worker *w, uint64_t page, uint32_t version)
{
	return (uint8_t)(w->cpu * 31 + page * 7 + version);
}

/// One page of the worker's own: written, read, forked off, pinned, thrown away.
static inline void use_page(struct worker *w, uint64_t space, uint64_t addr, uint8_t *versions)
{
	struct pm_machine *m = w->load->m;
	uint64_t page = draw(w) % LOAD_PAGES, at = addr + page * PAGE + draw(w) % 1000, pin, pfn, child;
	uint8_t byte = byte_of(w, page, versions[page]);
	enum pm_status status;
	size_t done;

	switch (draw(w) % 8) {
	case 0:
		CHECK_EQ(pm_unmap(m, w->cpu, space, addr + page * PAGE, PAGE), PM_OK);
		REQUIRE(pm_map(m, w->cpu, space, &(struct pm_map_request){ .addr = addr + page * PAGE, .length = PAGE, .prot = RW, .flags = PM_MAP_FIXED }, &pfn) == PM_OK);
		byte = byte_of(w, page, ++versions[page]);
		status = pm_fill(m, w->cpu, space, addr + page * PAGE, byte, PAGE, &done);
		CHECK_EQ(status, PM_OK);
		break;
	case 1:
		status = pm_pin(m, w->cpu, space, at, PM_PIN_DIRECT_IO, true, &pfn, &pin);
		if (CHECK_EQ(status, PM_OK)) {
			struct pm_pte_info pte;

			/* Where it is pinned, there it stays. */
			usleep(20);
			CHECK(pm_lookup(m, w->cpu, space, at, &pte) == PM_OK && pte.kind == PM_PTE_PRESENT && pte.pfn == pfn);
			CHECK_EQ(pm_unpin(m, w->cpu, pin), PM_OK);
		}
		break;
	case 2:
		if (draw(w) % 8 == 0 && CHECK_EQ(pm_space_fork(m, w->cpu, space, &child), PM_OK)) {
			uint8_t other = 0;

			CHECK_EQ(pm_read(m, w->cpu, child, at, &other, 1, &done), PM_OK);
			CHECK_EQ(other, byte);
			CHECK_EQ(pm_space_exit(m, w->cpu, child), PM_OK);
		}
		break;
	case 3:
	case 4:
		byte = byte_of(w, page, ++versions[page]);
		CHECK_EQ(pm_fill(m, w->cpu, space, addr + page * PAGE, byte, PAGE, &done), PM_OK);
		break;
	default: {
		uint8_t got = 0;

		CHECK_EQ(pm_read(m, w->cpu, space, at, &got, 1, &done), PM_OK);
		CHECK_EQ(got, byte);
		break;
	}
	}
}

static inline void *load_work(void *arg)
{
	struct worker *w = arg;
	struct pm_machine *m = w->load->m;
	uint64_t blocks[LOAD_BLOCKS], space = 0, addr = 0, i;
	uint8_t versions[LOAD_PAGES] = { 0 };
	size_t done;

	for (i = 0; i < LOAD_BLOCKS; i++)
		blocks[i] = UINT64_MAX;
	REQUIRE(pm_space_create(m, &space) == PM_OK);
	REQUIRE(pm_map(m, w->cpu, space, &(struct pm_map_request){ .length = LOAD_PAGES * PAGE, .prot = RW }, &addr) == PM_OK);
	for (i = 0; i < LOAD_PAGES; i++)
		CHECK_EQ(pm_fill(m, w->cpu, space, addr + i * PAGE, byte_of(w, i, 0), PAGE, &done), PM_OK);
	pthread_barrier_wait(&w->load->barrier);
	while (!atomic_load(&w->load->stop)) {
		uint64_t begin = load_now_ns(), took, longest;

		churn_blocks(w, blocks);
		use_page(w, space, addr, versions);
		took = load_now_ns() - begin;
		atomic_fetch_add_explicit(&w->load->operations, 2, memory_order_relaxed);
		longest = atomic_load_explicit(&w->load->longest_ns, memory_order_relaxed);
		while (took > longest && !atomic_compare_exchange_weak(&w->load->longest_ns, &longest, took))
			;
	}
	for (i = 0; i < LOAD_BLOCKS; i++)
		if (blocks[i] != UINT64_MAX)
			CHECK_EQ(pm_free(m, w->cpu, blocks[i], (uint32_t)(i % 4)), PM_OK);
	CHECK_EQ(pm_space_exit(m, w->cpu, space), PM_OK);
	return NULL;
}

#endif
