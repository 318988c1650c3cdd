/// Per-CPU lists: what they hold, when they fill and drain, how they tune themselves.
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
	CHECK(rig_alloc(m, 9, RIG_MOVABLE) != UINT64_MAX);
	CHECK_EQ(rig_counters(m).pcp_refill, (63 >> 3) + 2);
	CHECK(rig_alloc(m, 4, RIG_MOVABLE) != UINT64_MAX); /* not an order that the lists hold */
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
	REQUIRE(pm_free_bulk(m, 0, 0, 512, pfns, &n) == PM_OK);
	CHECK(rig_pcp(m, 0, 0).count < 63 << 2);
	CHECK_EQ(pm_set_reclaim_active(m, 1, true), PM_ERR_INVAL);
	rig_destroy(m);
}

/// Many frees of orders 1-3 in a row keep memory from merging: they go back at once.
static void high_orders_in_a_row_go_back(void)
{
	struct pm_machine *m = gibibyte(1);
	static uint64_t pfns[400];
	size_t n;

	REQUIRE(pm_alloc_bulk(m, 0, 2, RIG_UNMOVABLE, 400, pfns, &n) == PM_OK);
	CHECK_EQ(pm_drain(m, PM_ALL_CPUS), PM_OK);
	REQUIRE(pm_free_bulk(m, 0, 2, 400, pfns, &n) == PM_OK);
	CHECK(rig_pcp(m, 0, 0).count < 800);
	rig_destroy(m);
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
	return check_result();
}
