/// Compaction among real threads that allocate, free, fault, fork, pin and compact too: contents exact, counts right, progress made.
#include <pthread.h>
#include <time.h>

#include "tests/check.h"
#include "tests/rig.h"

enum { PAGE = PM_PAGE_SIZE, PAGEBLOCKS = 24, ROUNDS = 12, HELD = 4, THREADS_MAX = 8, PAGES = 96 };

struct stage {
	struct pm_machine *m;
	atomic_bool stop;
	atomic_ullong moved, captured, gained, allocated, failed, kicked, stall_ns_max;
	uint64_t share; ///< pages of a compactor's space
	pthread_barrier_t barrier;
};

struct actor {
	struct stage *stage;
	unsigned int number;
	uint64_t random;
	pthread_t thread;
};

static uint64_t draw(struct actor *actor)
{
	actor->random ^= actor->random << 13;
	actor->random ^= actor->random >> 7;
	actor->random ^= actor->random << 17;
	return actor->random;
}

static bool alright(enum pm_status status)
{
	/* Memory may be short for a moment while others fork and move. */
	return status == PM_OK || status == PM_ERR_WATERMARK || status == PM_ERR_NO_BLOCK;
}

static void note_longest(struct stage *stage, const struct timespec *from)
{
	struct timespec to;
	unsigned long long ns, longest = atomic_load(&stage->stall_ns_max);

	clock_gettime(CLOCK_MONOTONIC, &to);
	ns = (unsigned long long)(to.tv_sec - from->tv_sec) * 1000000000u + (unsigned long long)(to.tv_nsec - from->tv_nsec);
	while (ns > longest && !atomic_compare_exchange_weak(&stage->stall_ns_max, &longest, ns))
		;
}

/// Writes, checks, forks, pins and gives pages back in a space of its own.
static void use_memory(struct actor *actor, uint64_t space, uint64_t addr, uint64_t *written)
{
	struct stage *stage = actor->stage;
	uint64_t page = draw(actor) % PAGES, at = addr + page * PAGE, value = draw(actor) | 1, seen = 0, child, pin, pfn;
	uint32_t cpu = actor->number;
	struct timespec from;
	size_t done;

	clock_gettime(CLOCK_MONOTONIC, &from);
	switch (draw(actor) % 8) {
	case 0:
		if (!CHECK(alright(pm_space_fork(stage->m, cpu, space, &child))))
			break;
		if (pm_read(stage->m, cpu, child, at, &seen, sizeof(seen), &done) == PM_OK)
			CHECK_EQ(seen, written[page]);
		CHECK_EQ(pm_space_exit(stage->m, cpu, child), PM_OK);
		break;
	case 1:
		if (pm_pin(stage->m, cpu, space, at, PM_PIN_DIRECT_IO, false, &pfn, &pin) == PM_OK)
			CHECK_EQ(pm_unpin(stage->m, cpu, pin), PM_OK);
		break;
	case 2:
		CHECK_EQ(pm_unmap(stage->m, cpu, space, at, PAGE), PM_OK);
		CHECK_EQ(pm_map(stage->m, cpu, space, &(struct pm_map_request){ .addr = at, .length = PAGE, .prot = PM_PROT_READ | PM_PROT_WRITE, .flags = PM_MAP_FIXED }, &seen), PM_OK);
		written[page] = 0;
		break;
	default:
		if (pm_write(stage->m, cpu, space, at, &value, sizeof(value), &done) == PM_OK)
			written[page] = value;
		break;
	}
	page = draw(actor) % PAGES;
	seen = 0;
	if (CHECK(alright(pm_read(stage->m, cpu, space, addr + page * PAGE, &seen, sizeof(seen), &done))) && done == sizeof(seen))
		CHECK_EQ(seen, written[page]);
	note_longest(stage, &from);
}

/// Blocks of an owner that moves them, each under its number. Few are large: one that finds no room ends a compaction.
static void use_owner(struct actor *actor, uint64_t owner, uint32_t *numbers, size_t n)
{
	size_t i = draw(actor) % n;

	if (numbers[i] != UINT32_MAX) {
		CHECK_EQ(pm_owner_free(actor->stage->m, actor->number, owner, numbers[i]), PM_OK);
		numbers[i] = UINT32_MAX;
	} else if (pm_owner_alloc(actor->stage->m, actor->number, owner, draw(actor) % 32 ? 0 : 2, PM_GFP_HIGHUSER_MOVABLE, &numbers[i]) != PM_OK) {
		numbers[i] = UINT32_MAX;
	}
}

/// Takes a block the slow way, and keeps it for a while, so that large ones are rare.
static void use_blocks(struct actor *actor, uint64_t *held, uint32_t *orders)
{
	size_t i = draw(actor) % HELD;
	struct pm_slow_request request = { .order = (uint32_t)(draw(actor) % (PB_ORDER + 1)), .gfp = PM_GFP_HIGHUSER_MOVABLE | PM_GFP_NORETRY, .policy = (uint32_t)(draw(actor) % PM_NR_POLICIES) };
	struct pm_slow_report report;
	uint64_t pfn;
	enum pm_status status;

	if (held[i] != PM_NO_FRAME) {
		CHECK_EQ(pm_free(actor->stage->m, actor->number, held[i], orders[i]), PM_OK);
		held[i] = PM_NO_FRAME;
		return;
	}
	status = pm_alloc_slow(actor->stage->m, actor->number, &request, &report, &pfn);

	CHECK(alright(status));
	atomic_fetch_add(&actor->stage->captured, report.captured);
	if (status) {
		atomic_fetch_add(&actor->stage->failed, 1);
		return;
	}
	atomic_fetch_add(&actor->stage->allocated, 1);
	held[i] = pfn;
	orders[i] = request.order;
}

static void *worker(void *arg)
{
	struct actor *actor = arg;
	struct stage *stage = actor->stage;
	struct pm_map_request request = { .length = PAGES * PAGE, .prot = PM_PROT_READ | PM_PROT_WRITE };
	uint64_t space, addr, owner, written[PAGES] = { 0 };
	uint64_t held[HELD];
	uint32_t numbers[16], orders[HELD], i;

	for (i = 0; i < 16; i++)
		numbers[i] = UINT32_MAX;
	for (i = 0; i < HELD; i++)
		held[i] = PM_NO_FRAME;
	CHECK_EQ(pm_space_create(stage->m, &space), PM_OK);
	CHECK_EQ(pm_map(stage->m, actor->number, space, &request, &addr), PM_OK);
	CHECK_EQ(pm_owner_create(stage->m, PM_OWNER_MOVABLE_OPS, &owner), PM_OK);
	pthread_barrier_wait(&stage->barrier);
	for (i = 0; !atomic_load(&stage->stop); i++) {
		use_memory(actor, space, addr, written);
		use_owner(actor, owner, numbers, 16);
		if (i % 4 == 0)
			use_blocks(actor, held, orders);
	}
	for (i = 0; i < PAGES; i++) {
		uint64_t seen = 0;
		size_t done;

		CHECK_EQ(pm_read(stage->m, actor->number, space, addr + i * PAGE, &seen, sizeof(seen), &done), PM_OK);
		CHECK_EQ(seen, written[i]);
	}
	for (i = 0; i < HELD; i++)
		if (held[i] != PM_NO_FRAME)
			CHECK_EQ(pm_free(stage->m, actor->number, held[i], orders[i]), PM_OK);
	CHECK_EQ(pm_owner_destroy(stage->m, actor->number, owner), PM_OK);
	CHECK_EQ(pm_space_exit(stage->m, actor->number, space), PM_OK);
	return NULL;
}

/// Moves a third of a space's pages to wherever the allocator has room, which is where large blocks have come free.
static void scatter(struct actor *actor, uint64_t space, uint64_t addr)
{
	struct stage *stage = actor->stage;
	struct pm_migrate_request request = { .mode = PM_MIGRATE_SYNC };
	uint64_t i;

	for (i = 0; i < stage->share; i += 512) {
		struct pm_migrate_result results[512];
		uint64_t pfns[512], j;
		size_t n = 0, moved;

		for (j = i; j < stage->share && j < i + 512; j++) {
			struct pm_pte_info pte;

			if (draw(actor) % 3 == 0 && pm_lookup(stage->m, actor->number, space, addr + j * PAGE, &pte) == PM_OK && pte.kind == PM_PTE_PRESENT)
				pfns[n++] = pte.pfn;
		}
		request.pfns = pfns;
		request.n = n;
		CHECK_EQ(pm_migrate(stage->m, actor->number, &request, results, &moved), PM_OK);
	}
}

/// Compacts all the time, by everything there is, and spoils what it has gained.
static void *compactor(void *arg)
{
	struct actor *actor = arg;
	struct stage *stage = actor->stage;
	struct pm_map_request map = { .length = stage->share * PAGE, .prot = PM_PROT_READ | PM_PROT_WRITE };
	uint64_t space, addr, done, i, now_ns = 0;
	uint32_t cpu = actor->number, round;

	CHECK_EQ(pm_space_create(stage->m, &space), PM_OK);
	CHECK_EQ(pm_map(stage->m, cpu, space, &map, &addr), PM_OK);
	for (i = 0; i < stage->share; i++)
		CHECK(alright(pm_touch(stage->m, cpu, space, addr + i * PAGE, PAGE, true, &done)));
	for (i = 0; i < stage->share; i += 2)
		CHECK_EQ(pm_unmap(stage->m, cpu, space, addr + i * PAGE, PAGE), PM_OK);
	pthread_barrier_wait(&stage->barrier);
	for (round = 0; round < ROUNDS; round++) {
		struct pm_compact_request request;
		struct pm_compact_result result;
		struct pm_kcompactd_report report;

		scatter(actor, space, addr);
		pm_compact_request_default(&request);
		request.priority = (uint32_t)(draw(actor) % 3);
		request.protocol = (uint32_t)(draw(actor) % PM_NR_PROTOCOLS);
		if (draw(actor) % 2)
			request.blocks = 1 + draw(actor) % 4;
		CHECK_EQ(pm_compact(stage->m, cpu, &request, &result), PM_OK);
		atomic_fetch_add(&stage->moved, result.moved);
		if (result.blocks_after > result.blocks_before)
			atomic_fetch_add(&stage->gained, result.blocks_after - result.blocks_before);
		now_ns += 1000000000u;
		CHECK_EQ(pm_kcompactd_tick(stage->m, cpu, now_ns, &report), PM_OK);
		atomic_fetch_add(&stage->kicked, report.order || report.proactive);
	}
	CHECK_EQ(pm_space_exit(stage->m, cpu, space), PM_OK);
	return NULL;
}

/// So many threads, of which two compact where there are more than two, and one otherwise.
static void play(unsigned int threads)
{
	struct pm_settings settings;
	struct pm_memory_options options;
	struct stage stage = { 0 };
	struct actor actors[THREADS_MAX];
	unsigned int i, workers = threads > 2 ? threads - 2 : 1;
	struct pm_zone_info zone;
	uint64_t freed;

	pm_settings_default(&settings);
	stage.m = rig_one_zone((uint64_t)PAGEBLOCKS * PB, THREADS_MAX, settings);
	pm_memory_options_default(&options);
	REQUIRE(pm_memory_enable(stage.m, &options) == PM_OK);
	REQUIRE(pm_swap_on(stage.m, &(struct pm_swap_options){ (uint64_t)PAGEBLOCKS * PB, 0 }) == PM_OK);
	/* Compactors fill most of memory, so that large blocks are rare. */
	stage.share = (uint64_t)PAGEBLOCKS * PB * 9 / 10 / (threads - workers);
	REQUIRE(pm_set_compact_settings(stage.m, &(struct pm_compact_settings){ .proactiveness = 100, .extfrag_threshold = 500 }) == PM_OK);
	pthread_barrier_init(&stage.barrier, NULL, threads);
	for (i = 0; i < threads; i++) {
		actors[i] = (struct actor){ .stage = &stage, .number = i, .random = 0x9e3779b97f4a7c15u * (i + 1) + threads };
		REQUIRE(pthread_create(&actors[i].thread, NULL, i < workers ? worker : compactor, &actors[i]) == 0);
	}
	for (i = workers; i < threads; i++)
		pthread_join(actors[i].thread, NULL);
	atomic_store(&stage.stop, true);
	for (i = 0; i < workers; i++)
		pthread_join(actors[i].thread, NULL);
	printf("%u threads: %llu frames moved, %llu blocks gained, %llu of %llu blocks allocated (%llu captured), kcompactd worked %llu times, longest stall %.3f ms\n", threads,
	       atomic_load(&stage.moved), atomic_load(&stage.gained), atomic_load(&stage.allocated), atomic_load(&stage.allocated) + atomic_load(&stage.failed), atomic_load(&stage.captured),
	       atomic_load(&stage.kicked), (double)atomic_load(&stage.stall_ns_max) / 1e6);
	CHECK(atomic_load(&stage.moved) > 0);
	CHECK(atomic_load(&stage.gained) > 0);
	CHECK(atomic_load(&stage.allocated) > 0);
	CHECK(atomic_load(&stage.kicked) > 0);
	/* A page in the swap cache whose last user went while somebody had it locked is reclaim's to free. */
	CHECK_EQ(pm_reclaim(stage.m, 0, 0, (uint64_t)PAGEBLOCKS * PB, &freed), PM_OK);
	CHECK(rig_valid(stage.m));
	zone = rig_zone(stage.m, 0);
	CHECK_EQ(zone.nr_free + zone.nr_pcp, (uint64_t)PAGEBLOCKS * PB);
	rig_destroy(stage.m);
	pthread_barrier_destroy(&stage.barrier);
}

static void two_threads(void)
{
	play(2);
}

static void four_threads(void)
{
	play(4);
}

static void eight_threads(void)
{
	play(8);
}

int main(void)
{
	RUN(two_threads);
	RUN(four_threads);
	RUN(eight_threads);
	return check_result();
}
