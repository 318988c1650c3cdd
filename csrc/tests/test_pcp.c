/// Per-CPU lists: what they hold, when they fill and drain, how they tune themselves.
#include <pthread.h>

#include "phys/machine.h"
#include "tests/rig.h"

/// A Normal zone of 1 GiB: batch 63, high_min = LOW / cpus.
static struct pm_machine *gibibyte(uint32_t nr_cpus)
{
	struct pm_settings settings;

	pm_settings_default(&settings);
	return rig_one_zone(262144, nr_cpus, settings);
}

static void a_refill_doubles(void)
{
	struct pm_machine *m = gibibyte(1);
	uint32_t factor;
	int i;

	CHECK(rig_alloc(m, 0, RIG_MOVABLE) != UINT64_MAX);
	CHECK_EQ(rig_pcp(m, 0, 0).count, 62);
	CHECK_EQ(rig_pcp(m, 0, 0).high, 1286 + 63);
	CHECK_EQ(rig_counters(m).pcp_refill, 63);
	for (factor = 1; factor <= 5; factor++) {
		CHECK_EQ(rig_pcp(m, 0, 0).alloc_factor, factor);
		while (rig_pcp(m, 0, 0).count)
			CHECK(rig_alloc(m, 0, RIG_MOVABLE) != UINT64_MAX);
		CHECK(rig_alloc(m, 0, RIG_MOVABLE) != UINT64_MAX);
		CHECK_EQ(rig_pcp(m, 0, 0).count, (63 << factor) - 1);
	}
	CHECK_EQ(rig_pcp(m, 0, 0).alloc_factor, 5);
	for (i = 1; i <= 4; i++) {
		CHECK_EQ(pm_free(m, 0, (uint64_t)i, 0), PM_OK);
		CHECK_EQ(rig_pcp(m, 0, 0).alloc_factor, 5 >> i);
	}
	rig_destroy(m);
}

static void larger_orders_refill_fewer(void)
{
	struct pm_machine *m = gibibyte(1);

	CHECK(rig_alloc(m, 3, RIG_MOVABLE) != UINT64_MAX);
	CHECK_EQ(rig_counters(m).pcp_refill, 63 >> 3);
	CHECK_EQ(rig_pcp(m, 0, 0).count, ((63 >> 3) - 1) * 8);
	CHECK(rig_alloc(m, PB_ORDER, RIG_MOVABLE) != UINT64_MAX);
	CHECK_EQ(rig_counters(m).pcp_refill, (63 >> 3) + 2);
	CHECK(rig_alloc(m, PM_COSTLY_ORDER + 1, RIG_MOVABLE) != UINT64_MAX); /* not an order that the lists hold */
	CHECK_EQ(rig_counters(m).pcp_refill, (63 >> 3) + 2);
	CHECK_EQ(rig_counters(m).alloc, 3);
	rig_destroy(m);
}

static void freed_last_allocated_first(void)
{
	struct pm_machine *m = gibibyte(2);
	uint64_t a = rig_alloc(m, 0, RIG_MOVABLE), b = rig_alloc(m, 0, RIG_MOVABLE);

	CHECK_EQ(pm_free(m, 0, a, 0), PM_OK);
	CHECK_EQ(pm_free(m, 0, b, 0), PM_OK);
	CHECK_EQ(rig_frame(m, b).state, PM_STATE_PCP);
	CHECK_EQ(rig_alloc(m, 0, RIG_MOVABLE), b);
	CHECK_EQ(rig_alloc(m, 0, RIG_MOVABLE), a);
	/* On whose lists a block goes is decided by who frees it. */
	CHECK_EQ(pm_free(m, 1, a, 0), PM_OK);
	CHECK_EQ(rig_pcp(m, 1, 0).count, 1);
	CHECK_EQ(rig_counters(m).free, 3);
	rig_destroy(m);
}

/// The lists hold at most about high frames; a longer run of frees makes them longer.
static void a_full_list_drains_and_grows(void)
{
	struct pm_machine *m = gibibyte(1);
	static uint64_t pfns[20000];
	struct pm_pcp_info before, after;
	size_t n;

	REQUIRE(pm_alloc_bulk(m, 0, 0, RIG_MOVABLE, 20000, pfns, &n) == PM_OK);
	CHECK_EQ(pm_drain(m, 0), PM_OK);
	CHECK_EQ(rig_pcp(m, 0, 0).count, 0);
	CHECK_EQ(pm_load_pcp(m, 0, 0, 0, 0, 0), PM_OK);
	before = rig_pcp(m, 0, 0);
	REQUIRE(pm_free_bulk(m, 0, 0, 20000, pfns, &n) == PM_OK);
	after = rig_pcp(m, 0, 0);
	CHECK(after.high > before.high_min);
	CHECK(after.high <= after.high_max);
	CHECK(after.count < after.high);
	CHECK_EQ(after.free_count, 63 << 5);
	CHECK(rig_counters(m).pcp_drain > 0);
	/* What was freed first went back first; the last is still in some CPU's cache. */
	CHECK_EQ(rig_frame(m, pfns[0]).state, PM_STATE_FREE);
	CHECK_EQ(rig_frame(m, pfns[19999]).state, PM_STATE_PCP);
	rig_destroy(m);
}

static void zones_short_of_memory_keep_short_lists(void)
{
	struct pm_machine *m = gibibyte(1);
	static uint64_t pfns[262144];
	size_t n;

	REQUIRE(pm_alloc_bulk(m, 0, 0, RIG_MOVABLE, 262144, pfns, &n) == PM_ERR_WATERMARK);
	CHECK_EQ(rig_zone(m, 0).below_high, 1);
	CHECK_EQ(pm_load_pcp(m, 0, 0, 8000, 0, 0), PM_OK);
	CHECK_EQ(pm_free(m, 0, pfns[0], 0), PM_OK);
	CHECK_EQ(rig_pcp(m, 0, 0).high, 8000 - 63);
	REQUIRE(pm_free_bulk(m, 0, 0, n - 1, pfns + 1, &n) == PM_OK);
	CHECK_EQ(rig_zone(m, 0).below_high, 0); /* a drain saw that there is enough again */
	rig_destroy(m);
}

static void active_reclaim_keeps_short_lists(void)
{
	struct pm_machine *m = gibibyte(1);
	uint64_t pfns[512];
	size_t n;

	REQUIRE(pm_alloc_bulk(m, 0, 0, RIG_MOVABLE, 512, pfns, &n) == PM_OK);
	CHECK_EQ(pm_drain(m, PM_ALL_CPUS), PM_OK);
	CHECK_EQ(pm_set_reclaim_active(m, 0, true), PM_OK);
	CHECK_EQ(rig_zone(m, 0).reclaim_active, 1);
	/* Four batches are let be, and no more. */
	REQUIRE(pm_free_bulk(m, 0, 0, (63 << 2) - 1, pfns, &n) == PM_OK);
	CHECK_EQ(rig_pcp(m, 0, 0).count, (63 << 2) - 1);
	REQUIRE(pm_free_bulk(m, 0, 0, 200, pfns + (63 << 2) - 1, &n) == PM_OK);
	CHECK(rig_pcp(m, 0, 0).count < 63 << 2);
	CHECK_EQ(pm_load_pcp(m, 0, 0, 8000, 0, 0), PM_OK);
	CHECK_EQ(pm_free(m, 0, pfns[511], 0), PM_OK);
	CHECK_EQ(rig_pcp(m, 0, 0).high, 8000 - 63);
	CHECK_EQ(pm_set_reclaim_active(m, 1, true), PM_ERR_INVAL);
	rig_destroy(m);
}

/// Many frees of orders 1-3 in a row keep memory from merging: they go back at once.
static void high_orders_in_a_row_go_back(void)
{
	static uint64_t pfns[400];
	uint32_t order;
	size_t n;

	for (order = 1; order <= PM_COSTLY_ORDER; order++) {
		struct pm_machine *m = gibibyte(1);
		size_t blocks = 1600u >> order;

		REQUIRE(pm_alloc_bulk(m, 0, order, RIG_UNMOVABLE, blocks < 400 ? blocks : 400, pfns, &n) == PM_OK);
		CHECK_EQ(pm_drain(m, PM_ALL_CPUS), PM_OK);
		REQUIRE(pm_free_bulk(m, 0, order, n, pfns, &n) == PM_OK);
		CHECK(rig_pcp(m, 0, 0).count < 800);
		/* One alone does not: what the lists have learnt stays. */
		REQUIRE(pm_alloc_bulk(m, 0, order, RIG_UNMOVABLE, 1, pfns, &n) == PM_OK);
		CHECK_EQ(pm_load_pcp(m, 0, 0, 8000, 0, 0), PM_OK);
		CHECK_EQ(pm_free(m, 0, pfns[0], order), PM_OK);
		CHECK_EQ(rig_pcp(m, 0, 0).high, 8000);
		rig_destroy(m);
	}
}

static void decay(void)
{
	struct pm_machine *m = gibibyte(1);
	static uint64_t pfns[4000];
	size_t n;
	int i;

	REQUIRE(pm_alloc_bulk(m, 0, 0, RIG_MOVABLE, 4000, pfns, &n) == PM_OK);
	CHECK_EQ(pm_drain(m, PM_ALL_CPUS), PM_OK);
	CHECK_EQ(pm_load_pcp(m, 0, 0, 8000, 0, 0), PM_OK);
	REQUIRE(pm_free_bulk(m, 0, 0, 4000, pfns, &n) == PM_OK);
	CHECK_EQ(rig_pcp(m, 0, 0).count, 4000);
	CHECK_EQ(pm_decay_pcp(m, 0), PM_OK);
	CHECK_EQ(rig_pcp(m, 0, 0).high, 7000);
	CHECK_EQ(rig_pcp(m, 0, 0).count, 4000);
	for (i = 0; i < 40; i++)
		CHECK_EQ(pm_decay_pcp(m, 0), PM_OK);
	CHECK_EQ(rig_pcp(m, 0, 0).high, 1286);
	CHECK_EQ(rig_pcp(m, 0, 0).count, 1286);
	CHECK_EQ(pm_decay_pcp(m, 1), PM_ERR_INVAL);
	CHECK_EQ(pm_drain(m, 1), PM_ERR_INVAL);
	rig_destroy(m);
}

/// A decay drains a batch of 63 at a time, and each batch ends with a whole block: from lists of pairs it takes 64.
static void decay_goes_by_batches(void)
{
	struct pm_machine *m = gibibyte(1);
	static uint64_t pfns[900];
	size_t n, i;

	REQUIRE(pm_alloc_bulk(m, 0, 1, RIG_MOVABLE, 900, pfns, &n) == PM_OK);
	CHECK_EQ(pm_drain(m, PM_ALL_CPUS), PM_OK);
	for (i = 0; i < 900; i += 300) {
		/* A long run of frees of pairs would drain by itself. */
		CHECK_EQ(pm_load_pcp(m, 0, 0, 8000, 0, 0), PM_OK);
		REQUIRE(pm_free_bulk(m, 0, 1, 300, pfns + i, &n) == PM_OK);
	}
	CHECK_EQ(rig_pcp(m, 0, 0).count, 1800);
	CHECK_EQ(pm_load_pcp(m, 0, 0, 1674, 0, 0), PM_OK);
	CHECK_EQ(pm_decay_pcp(m, 0), PM_OK);
	CHECK_EQ(rig_pcp(m, 0, 0).high, 1465);
	/* 335 frames too many: five batches of 63, and one of 20. */
	CHECK_EQ(rig_pcp(m, 0, 0).count, 1800 - 5 * 64 - 20);
	rig_destroy(m);
}

static void fixed_sizes(void)
{
	struct pm_settings settings;
	struct pm_machine *m;
	uint64_t pfns[256];
	size_t n;
	int32_t high;

	pm_settings_default(&settings);
	for (high = 0; high <= 64; high += 32) {
		settings.pcp_high_min = settings.pcp_high_max = high;
		settings.pcp_batch = 16;
		m = rig_one_zone(262144, 1, settings);
		CHECK_EQ(rig_pcp(m, 0, 0).batch, 16);
		REQUIRE(pm_alloc_bulk(m, 0, 0, RIG_MOVABLE, 256, pfns, &n) == PM_OK);
		REQUIRE(pm_free_bulk(m, 0, 0, 256, pfns, &n) == PM_OK);
		CHECK(rig_pcp(m, 0, 0).count <= high);
		rig_destroy(m);
	}
	/* A minimum above the maximum raises it. */
	settings.pcp_high_min = 128;
	m = rig_one_zone(262144, 1, settings);
	CHECK_EQ(rig_pcp(m, 0, 0).high_max, 128);
	rig_destroy(m);
}

static uint64_t draw(uint64_t *random, uint64_t below)
{
	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	return (*random >> 11) % below;
}

/// One block at a time has a quick way of its own through the lists; it must do what a bulk request for one block does, to the frame.
static void one_by_one_is_like_bulk(void)
{
	enum { HELD = 3000, STEPS = 40000 };
	static const uint32_t flags[] = { RIG_MOVABLE, RIG_UNMOVABLE, RIG_RECLAIMABLE, PM_GFP_ATOMIC };
	static uint64_t held[HELD];
	static uint32_t held_order[HELD];
	struct pm_settings settings;
	struct pm_machine *a, *b;
	uint64_t random = 0x9e3779b97f4a7c15u, pfn;
	uint32_t nr = 0, i;
	size_t n;

	pm_settings_default(&settings);
	settings.min_free_kbytes = 2048;
	a = rig_one_zone(32768, 2, settings);
	b = rig_one_zone(32768, 2, settings);
	for (i = 0; i < STEPS; i++) {
		uint32_t cpu = (uint32_t)draw(&random, 2);

		if (nr < HELD && draw(&random, 5) < (i / 5000 % 2 ? 1 : 4)) {
			uint32_t order = draw(&random, 3) ? 0 : draw(&random, 8) ? (uint32_t)draw(&random, 5) : 9, gfp = flags[draw(&random, 4)];
			uint64_t other = UINT64_MAX;
			enum pm_status status = pm_alloc(a, cpu, order, gfp, &pfn);

			CHECK_EQ(pm_alloc_bulk(b, cpu, order, gfp, 1, &other, &n), status);
			if (status != PM_OK)
				continue;
			REQUIRE(CHECK_EQ(other, pfn));
			held[nr] = pfn;
			held_order[nr++] = order;
		} else if (nr) {
			uint32_t k = (uint32_t)draw(&random, nr);

			CHECK_EQ(pm_free(a, cpu, held[k], held_order[k]), PM_OK);
			CHECK_EQ(pm_free_bulk(b, cpu, held_order[k], 1, &held[k], &n), PM_OK);
			held[k] = held[--nr];
			held_order[k] = held_order[nr];
		}
		if (i % 1000 == 0) {
			struct pm_pcp_info x = rig_pcp(a, cpu, 0), y = rig_pcp(b, cpu, 0);

			CHECK(memcmp(&x, &y, sizeof(x)) == 0);
		}
	}
	CHECK_EQ(rig_counters(a).alloc, rig_counters(b).alloc);
	CHECK(rig_counters(a).fail_watermark + rig_counters(a).fail_no_block > 0);
	rig_destroy(a);
	rig_destroy(b);
}

static void arguments(void)
{
	struct pm_machine *m = gibibyte(2);
	struct pm_pcp_info info;

	CHECK_EQ(pm_pcp_info(m, 2, 0, &info), PM_ERR_INVAL);
	CHECK_EQ(pm_pcp_info(m, 0, 1, &info), PM_ERR_INVAL);
	CHECK_EQ(pm_load_pcp(m, 2, 0, 0, 0, 0), PM_ERR_INVAL);
	CHECK_EQ(pm_load_pcp(m, 0, 1, 0, 0, 0), PM_ERR_INVAL);
	CHECK_EQ(pm_load_pcp(m, 0, 0, UINT32_MAX, 0, 0), PM_ERR_INVAL);
	CHECK_EQ(pm_load_pcp(m, 0, 0, 0, 6, 0), PM_ERR_INVAL);
	CHECK_EQ(pm_load_pcp(m, 0, 0, 0, 0, UINT32_MAX), PM_ERR_INVAL);
	rig_destroy(m);
}

/// Lists that may not hold a batch fetch one block at a time.
static void lists_shorter_than_a_batch(void)
{
	struct pm_settings settings;
	struct pm_machine *m;

	pm_settings_default(&settings);
	settings.pcp_high_min = 8;
	settings.pcp_high_max = 8;
	m = rig_one_zone(262144, 1, settings);
	CHECK(rig_alloc(m, 0, RIG_MOVABLE) != UINT64_MAX);
	CHECK_EQ(rig_counters(m).pcp_refill, 1);
	CHECK_EQ(rig_pcp(m, 0, 0).count, 0);
	rig_destroy(m);
	/* A batch, where they may hold just that. */
	settings.pcp_high_min = 63;
	settings.pcp_high_max = 63;
	m = rig_one_zone(262144, 1, settings);
	CHECK(rig_alloc(m, 0, RIG_MOVABLE) != UINT64_MAX);
	CHECK_EQ(rig_counters(m).pcp_refill, 63);
	rig_destroy(m);
}

/// A refill doubles only as far as the lists have room, less one batch.
static void a_refill_leaves_room(void)
{
	static const uint64_t refilled[] = { 63, 63 + 126, 63 + 126 + 137 };
	struct pm_settings settings;
	struct pm_machine *m;
	uint64_t i;
	int k;

	pm_settings_default(&settings);
	settings.pcp_high_min = 200;
	settings.pcp_high_max = 200;
	m = rig_one_zone(262144, 1, settings);
	for (k = 0; k < 3; k++) {
		for (i = rig_counters(m).alloc; i <= (k ? refilled[k - 1] : 0); i++)
			CHECK(rig_alloc(m, 0, RIG_MOVABLE) != UINT64_MAX);
		CHECK_EQ(rig_counters(m).pcp_refill, refilled[k]);
	}
	rig_destroy(m);
}

/// Many blocks in one call leave a machine as the same blocks in as many calls do.
static void bulk_is_like_one_by_one(void)
{
	static uint64_t a_pfns[600], b_pfns[600];
	struct pm_settings settings;
	struct pm_machine *a, *b;
	struct pm_pcp_info x, y;
	size_t n, i, k;

	pm_settings_default(&settings);
	settings.pcp_batch = 10;
	settings.pcp_high_min = 40;
	settings.pcp_high_max = 100;
	a = rig_one_zone(65536, 1, settings);
	b = rig_one_zone(65536, 1, settings);
	for (k = 1; k < 600; k += 7) {
		REQUIRE(pm_alloc_bulk(a, 0, 0, RIG_MOVABLE, k, a_pfns, &n) == PM_OK);
		for (i = 0; i < k; i++)
			b_pfns[i] = rig_alloc(b, 0, RIG_MOVABLE);
		CHECK(memcmp(a_pfns, b_pfns, k * sizeof(*a_pfns)) == 0);
		REQUIRE(pm_free_bulk(a, 0, 0, k, a_pfns, &n) == PM_OK);
		for (i = 0; i < k; i++)
			CHECK_EQ(pm_free(b, 0, b_pfns[i], 0), PM_OK);
		x = rig_pcp(a, 0, 0);
		y = rig_pcp(b, 0, 0);
		CHECK(memcmp(&x, &y, sizeof(x)) == 0);
		CHECK_EQ(rig_counters(a).pcp_drain, rig_counters(b).pcp_drain);
		CHECK_EQ(rig_counters(a).free, rig_counters(b).free);
	}
	rig_destroy(a);
	rig_destroy(b);
}

/// A drain takes as many blocks as it was asked for, also of a run that would make a larger block.
static void a_drain_takes_no_more(void)
{
	struct pm_zone_layout zone = { PM_ZONE_NORMAL, 0, 4 * PB };
	struct pm_layout layout = { .zones = &zone, .nr_zones = 1, .nr_cpus = 1, .start = PM_START_UNPLACED, .settings = rig_bare() };
	const uint64_t pfns[] = { 7, 6, 5, 4, 3, 2, 1, 0 };
	const uint8_t orders[8] = { 0 }, places[] = { 2, 2, 2, 2, 2, 2, 2, 2 }, types[] = { 1, 1, 1, 1, 1, 1, 1, 1 };
	const uint16_t cpus[8] = { 0 };
	struct pm_machine *m;
	size_t n;

	layout.settings.pcp = 1;
	layout.settings.pcp_high_min = 5;
	layout.settings.pcp_high_max = 5;
	m = rig_create(&layout);
	REQUIRE(pm_load_blocks(m, 8, pfns, orders, places, types, cpus, &n) == PM_OK);
	CHECK_EQ(pm_load_pcp(m, 0, 0, 5, 0, 0), PM_OK);
	CHECK_EQ(pm_decay_pcp(m, 0), PM_OK);
	CHECK_EQ(rig_pcp(m, 0, 0).count, 5);
	CHECK_EQ(rig_frame(m, 2).state, PM_STATE_FREE);
	CHECK_EQ(rig_frame(m, 3).state, PM_STATE_PCP);
	rig_destroy(m);
}

/// A block counts with all its frames: the second huge one is too much for these lists.
static void huge_blocks_fill_the_lists(void)
{
	struct pm_settings settings;
	struct pm_machine *m;
	uint64_t a, b;

	pm_settings_default(&settings);
	settings.pcp_high_min = 2 * PB - 24;
	settings.pcp_high_max = 2 * PB - 24;
	m = rig_one_zone(262144, 1, settings);
	a = rig_alloc(m, PB_ORDER, RIG_MOVABLE);
	b = rig_alloc(m, PB_ORDER, RIG_MOVABLE);
	CHECK_EQ(pm_drain(m, 0), PM_OK);
	CHECK_EQ(pm_free(m, 0, a, PB_ORDER), PM_OK);
	CHECK_EQ(rig_pcp(m, 0, 0).count, PB);
	CHECK_EQ(pm_free(m, 0, b, PB_ORDER), PM_OK);
	CHECK(rig_pcp(m, 0, 0).count < 2 * PB - 24);
	CHECK_EQ(rig_frame(m, a).state, PM_STATE_FREE);
	rig_destroy(m);
}

/// The end of reclaim takes away what a claim added to the marks; its beginning does not.
static void reclaim_ends_a_boost(void)
{
	struct pm_settings settings = rig_bare();
	struct pm_machine *m;

	settings.min_free_kbytes = 64;
	m = rig_one_zone(4 * PB, 1, settings);
	rig_fill(m, 4 * PB, RIG_MOVABLE);
	rig_free_range(m, 2 * PB, 2 * PB + 32);
	CHECK(rig_alloc(m, 0, PM_GFP_ATOMIC | PM_GFP_MEMALLOC) != UINT64_MAX);
	CHECK_EQ(rig_zone(m, 0).watermark_boost, PB);
	CHECK_EQ(pm_set_reclaim_active(m, 0, true), PM_OK);
	CHECK_EQ(rig_zone(m, 0).watermark_boost, PB);
	CHECK_EQ(pm_set_reclaim_active(m, 0, false), PM_OK);
	CHECK_EQ(rig_zone(m, 0).watermark_boost, 0);
	rig_destroy(m);
}

/// Keeps a zone busy from another thread between two meetings.
struct busy {
	struct pm_zone *zone;
	pthread_barrier_t barrier;
};

static void *keep_busy(void *argument)
{
	struct busy *b = argument;

	pm_lock(&b->zone->lock);
	pthread_barrier_wait(&b->barrier);
	pthread_barrier_wait(&b->barrier);
	pm_unlock(&b->zone->lock);
	return NULL;
}

/// A free does not wait for a zone that another CPU is busy with: its lists grow, and are drained once the zone can be had.
static void frees_do_not_wait_for_a_busy_zone(void)
{
	struct pm_machine *m = gibibyte(1);
	struct busy b = { .zone = &m->zone[0] };
	static uint64_t pfns[20000];
	struct pm_pcp_info before;
	int32_t more;
	pthread_t thread;
	size_t n;

	REQUIRE(pm_alloc_bulk(m, 0, 0, RIG_MOVABLE, 20000, pfns, &n) == PM_OK);
	CHECK_EQ(pm_drain(m, 0), PM_OK);
	CHECK_EQ(pm_load_pcp(m, 0, 0, 0, 0, 0), PM_OK);
	before = rig_pcp(m, 0, 0);
	pthread_barrier_init(&b.barrier, NULL, 2);
	REQUIRE(pthread_create(&thread, NULL, keep_busy, &b) == 0);
	pthread_barrier_wait(&b.barrier);
	more = before.high_min + (before.batch << 5) - 1;
	REQUIRE(pm_free_bulk(m, 0, 0, (size_t)more, pfns, &n) == PM_OK);
	CHECK_EQ(rig_pcp(m, 0, 0).count, more);
	pthread_barrier_wait(&b.barrier);
	pthread_join(thread, NULL);
	pthread_barrier_destroy(&b.barrier);
	CHECK_EQ(pm_free(m, 0, pfns[more], 0), PM_OK);
	CHECK(rig_pcp(m, 0, 0).count < more);
	CHECK(rig_counters(m).pcp_drain > 0);
	rig_destroy(m);
}

int main(void)
{
	RUN(a_refill_doubles);
	RUN(larger_orders_refill_fewer);
	RUN(freed_last_allocated_first);
	RUN(a_full_list_drains_and_grows);
	RUN(zones_short_of_memory_keep_short_lists);
	RUN(active_reclaim_keeps_short_lists);
	RUN(high_orders_in_a_row_go_back);
	RUN(decay);
	RUN(decay_goes_by_batches);
	RUN(fixed_sizes);
	RUN(one_by_one_is_like_bulk);
	RUN(arguments);
	RUN(lists_shorter_than_a_batch);
	RUN(a_refill_leaves_room);
	RUN(bulk_is_like_one_by_one);
	RUN(a_drain_takes_no_more);
	RUN(huge_blocks_fill_the_lists);
	RUN(reclaim_ends_a_boost);
	RUN(frees_do_not_wait_for_a_busy_zone);
	return check_result();
}
