/// Marks, reserves and who may go how far below them.
#include "tests/rig.h"

static void one_gibibyte(void)
{
	struct pm_settings settings;
	struct pm_machine *m;
	struct pm_zone_info zone;

	pm_settings_default(&settings);
	m = rig_one_zone(262144, 1, settings);
	zone = rig_zone(m, 0);
	CHECK_EQ(zone.wmark[0], 1024);
	CHECK_EQ(zone.wmark[1], 1286);
	CHECK_EQ(zone.wmark[2], 1548);
	CHECK_EQ(zone.wmark[3], 1810);
	CHECK_EQ(rig_pcp(m, 0, 0).batch, 63);
	CHECK_EQ(rig_pcp(m, 0, 0).high_min, 1286);
	CHECK_EQ(rig_pcp(m, 0, 0).high_max, 262144 / 8);
	rig_destroy(m);
}

static void limits_of_min_free(void)
{
	struct pm_settings settings;
	struct pm_machine *m;

	pm_settings_default(&settings);
	m = rig_one_zone(512, 1, settings); /* isqrt(16 * 2048) = 181 KiB */
	CHECK_EQ(rig_zone(m, 0).wmark[0], 45);
	CHECK_EQ(rig_pcp(m, 0, 0).batch, 1);
	rig_destroy(m);
	m = rig_one_zone(64, 1, settings); /* clamped up to 128 KiB */
	CHECK_EQ(rig_zone(m, 0).wmark[0], 32);
	rig_destroy(m);
	settings.min_free_kbytes = INT32_MAX;
	m = rig_one_zone(1 << 20, 3, settings);
	CHECK_EQ(rig_zone(m, 0).wmark[0], INT32_MAX / 4);
	CHECK_EQ(rig_alloc_status(m, 0, PM_GFP_KERNEL), PM_ERR_WATERMARK);
	rig_destroy(m);
}

static void movable_zones_and_reserves(void)
{
	struct pm_zone_layout zones[] = {
		{ PM_ZONE_MOVABLE, 1 << 20, 1 << 18 }, { PM_ZONE_DMA, 0, 4096 }, { PM_ZONE_NORMAL, 1 << 18, 1 << 18 }, { PM_ZONE_DMA32, 4096, (1 << 18) - 4096 }
	};
	struct pm_layout layout = { .zones = zones, .nr_zones = 4, .nr_cpus = 1 };
	struct pm_machine *m;
	struct pm_zone_info zone;

	pm_settings_default(&layout.settings);
	m = rig_create(&layout);
	CHECK_EQ(rig_zone(m, 0).wmark[0], 128);
	/* Of the 1448 frames that 2 GiB keep free, without the Movable zone, the Normal zone's half. */
	CHECK_EQ(rig_zone(m, 2).wmark[0], 724);
	zone = rig_zone(m, 1);
	CHECK_EQ(zone.lowmem_reserve[0], 0);
	CHECK_EQ(zone.lowmem_reserve[1], ((1 << 18) - 4096) / 256);
	CHECK_EQ(zone.lowmem_reserve[2], ((1 << 18) - 4096 + (1 << 18)) / 256);
	CHECK_EQ(zone.lowmem_reserve[3], ((1 << 18) - 4096 + (1 << 19)) / 256);
	CHECK_EQ(rig_zone(m, 2).lowmem_reserve[3], (1 << 18) / 32);
	/* First choice is the highest zone that the flags allow. */
	CHECK_EQ(rig_alloc(m, 9, RIG_MOVABLE) >> 18, 4);
	CHECK_EQ(rig_alloc(m, 9, PM_GFP_KERNEL) >> 18, 1);
	CHECK(rig_alloc(m, 9, PM_GFP_KERNEL | PM_GFP_DMA32) >= 4096);
	CHECK(rig_alloc(m, 9, PM_GFP_KERNEL | PM_GFP_DMA) < 4096);
	rig_destroy(m);
}

/// How many single frames a kind of request gets from a machine of 1024 frames with MIN at 128.
static uint64_t frames_left(uint32_t gfp, uint32_t order)
{
	struct pm_settings settings = rig_bare();
	struct pm_machine *m;
	uint64_t left;

	settings.min_free_kbytes = 512;
	m = rig_one_zone(1024, 1, settings);
	CHECK_EQ(rig_zone(m, 0).wmark[0], 128);
	while (rig_alloc(m, order, gfp) != UINT64_MAX)
		;
	left = rig_zone(m, 0).nr_free;
	CHECK_EQ(rig_counters(m).fail_watermark, 1);
	rig_destroy(m);
	return left;
}

static void who_may_go_below_min(void)
{
	CHECK_EQ(frames_left(PM_GFP_KERNEL, 0), 128);
	CHECK_EQ(frames_left(PM_GFP_KERNEL, 3), 128);
	CHECK_EQ(frames_left(PM_GFP_KERNEL | PM_GFP_HIGH, 0), 64);
	CHECK_EQ(frames_left(PM_GFP_NOWAIT, 0), 128);
	CHECK_EQ(frames_left(PM_GFP_ATOMIC, 0), 48);
	CHECK_EQ(frames_left(PM_GFP_ATOMIC | PM_GFP_NOMEMALLOC, 0), 64);
	CHECK_EQ(frames_left(PM_GFP_KERNEL | PM_GFP_MEMALLOC, 0), 0);
	CHECK_EQ(frames_left(PM_GFP_KERNEL | PM_GFP_MEMALLOC | PM_GFP_NOMEMALLOC, 0), 128);
}

static void a_bulk_request_stops_at_the_mark(void)
{
	struct pm_settings settings = rig_bare();
	static uint64_t pfns[1024];
	size_t n;
	uint32_t pcp;

	settings.min_free_kbytes = 512;
	for (pcp = 0; pcp < 2; pcp++) {
		struct pm_machine *m;

		settings.pcp = pcp;
		settings.pcp_batch = 1;
		m = rig_one_zone(1024, 1, settings);
		CHECK_EQ(pm_alloc_bulk(m, 0, 0, PM_GFP_KERNEL, 1024, pfns, &n), PM_ERR_WATERMARK);
		/* The last refill of a per-CPU list may reach a little below. */
		CHECK(rig_zone(m, 0).nr_free >= (pcp ? 96 : 128) && rig_zone(m, 0).nr_free <= 128);
		rig_destroy(m);
	}
}

static void why_it_failed(void)
{
	struct pm_machine *m = rig_one_zone(2048, 1, rig_bare());
	uint64_t i;

	rig_fill(m, 2048, RIG_MOVABLE);
	for (i = 0; i < 2048; i += 2)
		CHECK_EQ(pm_free(m, 0, i, 0), PM_OK);
	CHECK_EQ(rig_alloc_status(m, 1, RIG_MOVABLE), PM_ERR_NO_BLOCK);
	CHECK_EQ(rig_counters(m).fail_no_block, 1);
	CHECK_EQ(rig_alloc_status(m, 0, PM_GFP_DMA), PM_ERR_ZONE);
	CHECK_EQ(rig_alloc_status(m, 0, PM_GFP_DMA | PM_GFP_HIGHMEM), PM_ERR_FLAGS);
	CHECK_EQ(rig_alloc_status(m, 0, PM_GFP_MOVABLE | PM_GFP_RECLAIMABLE), PM_ERR_FLAGS);
	CHECK_EQ(rig_alloc_status(m, 0, PM_GFP_ALL + 1), PM_ERR_INVAL);
	CHECK_EQ(rig_alloc_status(m, PM_NR_ORDERS, PM_GFP_KERNEL), PM_ERR_INVAL);
	rig_destroy(m);
}

/// A boosted mark does not fail an urgent small request.
static void a_boost_does_not_stop_the_urgent(void)
{
	struct pm_settings settings = rig_bare();
	struct pm_machine *m;

	settings.min_free_kbytes = 64;
	m = rig_one_zone(2048, 1, settings);
	rig_fill(m, 2048 - 16, RIG_MOVABLE);
	CHECK_EQ(rig_alloc(m, 0, RIG_MOVABLE), UINT64_MAX);
	while (rig_alloc(m, 0, RIG_MOVABLE | PM_GFP_MEMALLOC) != UINT64_MAX)
		;
	rig_free_range(m, 1024, 1056);
	CHECK(rig_alloc(m, 0, PM_GFP_KERNEL) != UINT64_MAX); /* tries a claim, which boosts */
	CHECK_EQ(rig_zone(m, 0).watermark_boost, PB);
	CHECK_EQ(rig_alloc_status(m, 0, PM_GFP_KERNEL), PM_ERR_WATERMARK);
	CHECK(rig_alloc(m, 0, PM_GFP_KERNEL | PM_GFP_HIGH) != UINT64_MAX);
	rig_destroy(m);
}

/// Takes frames from the free lists, past the per-CPU lists, until so many are left.
static void leave(struct pm_machine *m, uint64_t nr)
{
	uint64_t pfn = 0;

	while (rig_zone(m, 0).nr_free > nr) {
		if (rig_frame(m, pfn).state == PM_STATE_FREE)
			CHECK_EQ(pm_take(m, pfn, 0, PM_MT_MOVABLE), PM_OK);
		pfn++;
	}
}

/// A request that a per-CPU list can serve still looks at the marks: the first that finds the HIGH mark not exceeded notes it.
static void the_quick_way_looks_at_the_marks(void)
{
	struct pm_settings settings;
	struct pm_machine *m;
	uint64_t high;

	pm_settings_default(&settings);
	m = rig_one_zone(65536, 1, settings);
	CHECK(rig_alloc(m, 0, RIG_MOVABLE) != UINT64_MAX);
	REQUIRE(rig_pcp(m, 0, 0).count > 2);
	high = rig_zone(m, 0).wmark[2];
	leave(m, high + 1);
	CHECK(rig_alloc(m, 0, RIG_MOVABLE) != UINT64_MAX);
	CHECK_EQ(rig_zone(m, 0).below_high, 0);
	leave(m, high);
	CHECK(rig_alloc(m, 0, RIG_MOVABLE) != UINT64_MAX);
	CHECK_EQ(rig_zone(m, 0).below_high, 1);
	rig_destroy(m);
}

int main(void)
{
	RUN(one_gibibyte);
	RUN(limits_of_min_free);
	RUN(movable_zones_and_reserves);
	RUN(who_may_go_below_min);
	RUN(a_bulk_request_stops_at_the_mark);
	RUN(why_it_failed);
	RUN(a_boost_does_not_stop_the_urgent);
	RUN(the_quick_way_looks_at_the_marks);
	return check_result();
}
