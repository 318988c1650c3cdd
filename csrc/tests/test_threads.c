/// Several threads on several CPUs, and on one, allocate and free at random, also each other's blocks; then everything is audited.
#include <pthread.h>

#include "tests/world.h"

enum { MAX_THREADS = 8, OWN_BLOCKS = 256, FRAMES = 8192, CONTESTED = 512 };
#ifdef PM_TEST_FLAVOUR
enum { STEPS = 20000 };
#else
enum { STEPS = 200000 };
#endif

static struct world world;
static pthread_barrier_t barrier;
/// Blocks on their way from one thread to another: pfn << 4 | order, plus one; zero is an empty place.
static _Atomic uint64_t exchange[64];
static atomic_uint nr_freed;
static uint64_t contested[CONTESTED];

struct worker {
	pthread_t thread;
	uint32_t cpu;
	uint64_t random;
	uint64_t failures[16];
	struct world_block blocks[OWN_BLOCKS];
	unsigned int nr_blocks;
};

static uint64_t draw(struct worker *w)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return w->random >> 8;
}

static void get_one(struct worker *w)
{
	static const uint32_t flags[] = { PM_GFP_KERNEL, PM_GFP_HIGHUSER_MOVABLE, PM_GFP_KERNEL | PM_GFP_RECLAIMABLE, PM_GFP_ATOMIC };
	uint32_t order = draw(w) % 8 ? (uint32_t)(draw(w) % 4) : (uint32_t)(draw(w) % PM_NR_ORDERS);
	uint64_t pfn;
	enum pm_status status = pm_alloc(world.machine, w->cpu, order, flags[draw(w) % 4], &pfn);

	if (status == PM_OK)
		w->blocks[w->nr_blocks++] = (struct world_block){ pfn, order };
	else
		CHECK(status == PM_ERR_NO_BLOCK || status == PM_ERR_WATERMARK);
}

static void get_many(struct worker *w)
{
	uint64_t pfns[32];
	size_t n, i;
	enum pm_status status = pm_alloc_bulk(world.machine, w->cpu, 0, PM_GFP_HIGHUSER_MOVABLE, 32, pfns, &n);

	CHECK((status == PM_OK) == (n == 32));
	for (i = 0; i < n; i++)
		w->blocks[w->nr_blocks++] = (struct world_block){ pfns[i], 0 };
}

static struct world_block take_own(struct worker *w)
{
	unsigned int i = (unsigned int)(draw(w) % w->nr_blocks);
	struct world_block block = w->blocks[i];

	w->blocks[i] = w->blocks[--w->nr_blocks];
	return block;
}

/// Leaves a block for somebody else, and frees what lay there.
static void hand_over(struct worker *w)
{
	struct world_block block = take_own(w);
	uint64_t packed = (block.pfn << 4 | block.order) + 1;

	/* Acquire and release: a frame passes from thread to thread with what was written to it. */
	packed = atomic_exchange_explicit(&exchange[draw(w) % 64], packed, memory_order_acq_rel);
	if (packed)
		CHECK_EQ(pm_free(world.machine, w->cpu, (packed - 1) >> 4, (uint32_t)((packed - 1) & 15)), PM_OK);
}

static void *wander(void *argument)
{
	struct worker *w = argument;
	unsigned int i;

	pthread_barrier_wait(&barrier);
	for (i = 0; i < STEPS; i++) {
		uint64_t what = draw(w) % 100;

		if (what < 45 && w->nr_blocks + 1 < OWN_BLOCKS)
			get_one(w);
		else if (what < 48 && w->nr_blocks + 32 < OWN_BLOCKS)
			get_many(w);
		else if (what < 60 && w->nr_blocks)
			hand_over(w);
		else if (what == 60)
			CHECK_EQ(pm_drain(world.machine, draw(w) % 2 ? PM_ALL_CPUS : w->cpu), PM_OK);
		else if (what == 61)
			CHECK_EQ(pm_decay_pcp(world.machine, w->cpu), PM_OK);
		else if (w->nr_blocks) {
			struct world_block block = take_own(w);

			CHECK_EQ(pm_free(world.machine, w->cpu, block.pfn, block.order), PM_OK);
		}
	}
	return NULL;
}

static void run_threads(unsigned int n, uint32_t nr_cpus, void *(*body)(void *), struct worker *workers)
{
	unsigned int i;

	REQUIRE(pthread_barrier_init(&barrier, NULL, n) == 0);
	for (i = 0; i < n; i++) {
		workers[i] = (struct worker){ .cpu = i % nr_cpus, .random = 0x9e3779b97f4a7c15u * (i + 1) + n };
		REQUIRE(pthread_create(&workers[i].thread, NULL, body, &workers[i]) == 0);
	}
	for (i = 0; i < n; i++)
		REQUIRE(pthread_join(workers[i].thread, NULL) == 0);
	pthread_barrier_destroy(&barrier);
}

/// No two threads hold one frame, nothing is lost, and the audit agrees.
static void audit(const struct worker *workers, unsigned int n)
{
	unsigned int i, k;

	for (i = 0; i < n; i++)
		for (k = 0; k < workers[i].nr_blocks; k++)
			world_hold(&world, workers[i].blocks[k].pfn, workers[i].blocks[k].order);
	for (i = 0; i < 64; i++) {
		uint64_t packed = atomic_exchange(&exchange[i], 0);

		if (packed)
			world_hold(&world, (packed - 1) >> 4, (uint32_t)((packed - 1) & 15));
	}
	world_check_count(&world);
	world_validate(&world);
	while (world.nr_blocks)
		world_free(&world, 0, world.nr_blocks - 1);
	REQUIRE(pm_drain(world.machine, PM_ALL_CPUS) == PM_OK);
	world_check_count(&world);
	world_validate(&world);
}

static void threads_at_random(void)
{
	static struct worker workers[MAX_THREADS];
	unsigned int n;
	uint32_t nr_cpus;

	for (n = 2; n <= MAX_THREADS; n += 2) {
		for (nr_cpus = 1; nr_cpus <= n; nr_cpus += n - 1) {
			world_init(&world, 0, FRAMES, nr_cpus);
			run_threads(n, nr_cpus, wander, workers);
			audit(workers, n);
			world_deinit(&world);
		}
	}
}

static void *free_contested(void *argument)
{
	struct worker *w = argument;
	unsigned int i;

	pthread_barrier_wait(&barrier);
	for (i = 0; i < CONTESTED; i++) {
		enum pm_status status = pm_free(world.machine, w->cpu, contested[i], 0);

		CHECK(status == PM_OK || status == PM_ERR_DOUBLE_FREE);
		if (status == PM_OK)
			atomic_fetch_add_explicit(&nr_freed, 1, memory_order_relaxed);
	}
	return NULL;
}

/// All threads free the same blocks at once: each block is freed once.
static void one_free_wins(void)
{
	static struct worker workers[4];
	unsigned int round;

	world_init(&world, 0, FRAMES, 4);
	for (round = 0; round < 50; round++) {
		size_t n;

		REQUIRE(pm_alloc_bulk(world.machine, 0, 0, PM_GFP_KERNEL, CONTESTED, contested, &n) == PM_OK);
		atomic_store(&nr_freed, 0);
		run_threads(4, 4, free_contested, workers);
		CHECK_EQ(atomic_load(&nr_freed), CONTESTED);
		world_check_count(&world);
		world_validate(&world);
	}
	world_deinit(&world);
}

int main(void)
{
	RUN(threads_at_random);
	RUN(one_free_wins);
	return check_result();
}
