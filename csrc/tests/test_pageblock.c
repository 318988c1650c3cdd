/// Pageblock types, isolation and the high-order atomic reserve.
#include "tests/rig.h"

static void isolation_hides_free_memory(void)
{
	struct pm_machine *m = rig_one_zone(4 * PB, 1, rig_bare());
	uint64_t pfn = rig_alloc(m, 0, RIG_MOVABLE);

	CHECK_EQ(pfn, 0);
	CHECK_EQ(pm_set_isolated(m, 100, true), PM_OK);
	CHECK_EQ(rig_zone(m, 0).nr_isolated, PB - 1);
	CHECK_EQ(rig_zone(m, 0).nr_free, 3 * PB);
	CHECK_EQ(rig_frame(m, 0).pageblock_type, PM_MT_ISOLATE);
	CHECK_EQ(pm_set_isolated(m, 0, true), PM_ERR_BUSY);
	CHECK(rig_valid(m));
	/* What is freed in it stays away from the others, however much is missing. */
	CHECK_EQ(pm_free(m, 0, pfn, 0), PM_OK);
	CHECK_EQ(rig_zone(m, 0).nr_isolated, PB);
	while ((pfn = rig_alloc(m, 0, RIG_MOVABLE)) != UINT64_MAX)
		CHECK(pfn >= PB);
	CHECK_EQ(pm_set_isolated(m, 0, false), PM_OK);
	CHECK_EQ(pm_set_isolated(m, 0, false), PM_ERR_BUSY);
	CHECK_EQ(rig_zone(m, 0).nr_isolated, 0);
	CHECK_EQ(rig_frame(m, 0).pageblock_type, PM_MT_MOVABLE);
	CHECK(rig_alloc(m, 0, RIG_MOVABLE) < PB);
	rig_destroy(m);
}

static void isolation_splits_and_merges_large_blocks(void)
{
	struct pm_machine *m = rig_one_zone(2 << PM_MAX_ORDER, 1, rig_bare());

	CHECK_EQ(pm_set_isolated(m, PB, true), PM_OK);
	CHECK_EQ(rig_blocks(m, 0, PB_ORDER, PM_MT_MOVABLE), 1);
	CHECK_EQ(rig_blocks(m, 0, PB_ORDER, PM_MT_ISOLATE), 1);
	CHECK_EQ(pm_set_isolated(m, 0, true), PM_OK);
	CHECK_EQ(rig_blocks(m, 0, PB_ORDER + 1, PM_MT_ISOLATE), 1);
	CHECK(rig_valid(m));
	CHECK_EQ(pm_set_isolated(m, PB, false), PM_OK);
	CHECK_EQ(pm_set_isolated(m, 0, false), PM_OK);
	CHECK_EQ(rig_blocks(m, 0, PM_MAX_ORDER, PM_MT_MOVABLE), 2);
	rig_destroy(m);
}

/// A block that was on a per-CPU list when its pageblock was isolated goes to the ISOLATE lists when it drains.
static void isolation_catches_per_cpu_blocks(void)
{
	struct pm_settings settings = rig_bare();
	struct pm_machine *m;
	uint64_t pfn, other;

	settings.pcp = 1;
	settings.pcp_batch = 4;
	settings.pcp_high_min = 16;
	m = rig_one_zone(4 * PB, 1, settings);
	pfn = rig_alloc(m, 0, RIG_MOVABLE);
	other = rig_alloc(m, 0, RIG_MOVABLE);
	CHECK_EQ(pm_free(m, 0, pfn, 0), PM_OK);
	CHECK_EQ(pm_set_isolated(m, pfn, true), PM_OK);
	CHECK_EQ(pm_free(m, 0, other, 0), PM_OK); /* past the lists */
	CHECK_EQ(rig_frame(m, other).state, PM_STATE_FREE);
	CHECK_EQ(rig_frame(m, other).migratetype, PM_MT_ISOLATE);
	CHECK_EQ(pm_drain(m, 0), PM_OK);
	CHECK_EQ(rig_zone(m, 0).nr_isolated, PB);
	CHECK_EQ(rig_zone(m, 0).nr_pcp, 0);
	rig_destroy(m);
}

/// Blocks that follow one another on a per-CPU list go back as larger ones, but each pageblock's under its own type.
static void a_run_ends_with_its_pageblock(void)
{
	struct pm_settings settings = rig_bare();
	uint32_t order;

	settings.pcp = 1;
	settings.pcp_high_min = 8 * PB;
	settings.pcp_high_max = 8 * PB;
	for (order = 0; order < 2; order++) {
		struct pm_machine *m = rig_one_zone(4 * PB, 1, settings);
		uint64_t i;

		for (i = 0; i < 2 * PB; i += 1u << order)
			CHECK_EQ(pm_take(m, i, order, PM_MT_MOVABLE), PM_OK);
		for (i = 0; i < 2 * PB; i += 1u << order)
			CHECK_EQ(pm_free(m, 0, i, order), PM_OK);
		CHECK_EQ(rig_zone(m, 0).nr_pcp, 2 * PB);
		CHECK_EQ(pm_set_isolated(m, PB, true), PM_OK);
		CHECK_EQ(pm_drain(m, 0), PM_OK);
		CHECK_EQ(rig_zone(m, 0).nr_isolated, PB);
		CHECK_EQ(rig_zone(m, 0).nr_free, 3 * PB);
		CHECK_EQ(rig_blocks(m, 0, PB_ORDER, PM_MT_MOVABLE), 1);
		rig_destroy(m);
	}
}

static void a_type_moves_its_free_blocks(void)
{
	struct pm_machine *m = rig_one_zone(4 * PB, 1, rig_bare());

	CHECK_EQ(rig_alloc(m, 0, RIG_MOVABLE), 0);
	CHECK_EQ(pm_set_pageblock_type(m, 0, PM_MT_RECLAIMABLE), PM_OK);
	CHECK_EQ(rig_blocks(m, 0, PB_ORDER - 1, PM_MT_RECLAIMABLE), 1);
	CHECK_EQ(rig_blocks(m, 0, PB_ORDER, PM_MT_MOVABLE), 1);
	CHECK_EQ(pm_set_isolated(m, 0, true), PM_OK);
	CHECK_EQ(pm_set_pageblock_type(m, 0, PM_MT_HIGHATOMIC), PM_OK); /* takes effect when the isolation ends */
	CHECK_EQ(rig_frame(m, 0).pageblock_type, PM_MT_ISOLATE);
	CHECK(rig_valid(m));
	CHECK_EQ(pm_set_isolated(m, 0, false), PM_OK);
	CHECK_EQ(rig_zone(m, 0).nr_free_highatomic, PB - 1);
	CHECK_EQ(rig_zone(m, 0).nr_reserved_highatomic, PB);
	CHECK_EQ(pm_set_pageblock_type(m, 0, PM_MT_ISOLATE), PM_ERR_INVAL);
	CHECK_EQ(pm_set_pageblock_type(m, 4 * PB, PM_MT_MOVABLE), PM_ERR_RANGE);
	rig_destroy(m);
}

static void pageblocks_that_an_edge_cuts(void)
{
	struct pm_zone_layout zone = { PM_ZONE_NORMAL, 100, 2 * PB + 76 - 100 };
	struct pm_range hole = { PB + 88, PB + 188 };
	struct pm_layout layout = { .zones = &zone, .nr_zones = 1, .holes = &hole, .nr_holes = 1, .nr_cpus = 1, .settings = rig_bare() };
	struct pm_machine *m = rig_create(&layout);

	CHECK_EQ(pm_set_isolated(m, 200, true), PM_ERR_INVAL);
	CHECK_EQ(pm_set_isolated(m, 2 * PB + 26, true), PM_ERR_INVAL);
	CHECK_EQ(pm_set_isolated(m, 50, true), PM_ERR_RANGE);
	CHECK_EQ(pm_set_isolated(m, PB + 138, true), PM_ERR_RANGE);
	CHECK_EQ(pm_set_isolated(m, PB + 38, true), PM_OK);
	CHECK_EQ(rig_zone(m, 0).nr_isolated, PB - 100);
	rig_destroy(m);
}

/// The buddy of a zone's edge belongs to its neighbour: isolating one must leave the other alone.
static void neighbouring_zones_are_left_alone(void)
{
	struct pm_zone_layout zones[] = { { PM_ZONE_DMA32, 0, PB }, { PM_ZONE_NORMAL, PB, 2 * PB } };
	struct pm_layout layout = { .zones = zones, .nr_zones = 2, .nr_cpus = 1, .settings = rig_bare() };
	struct pm_machine *m = rig_create(&layout);

	CHECK_EQ(rig_blocks(m, 1, PB_ORDER, PM_MT_MOVABLE), 2);
	CHECK_EQ(pm_set_isolated(m, 0, true), PM_OK);
	CHECK_EQ(pm_set_pageblock_type(m, PB, PM_MT_RECLAIMABLE), PM_OK);
	CHECK_EQ(rig_zone(m, 0).nr_isolated, PB);
	CHECK_EQ(rig_zone(m, 0).nr_free, 0);
	CHECK_EQ(rig_zone(m, 1).nr_free, 2 * PB);
	CHECK(rig_valid(m));
	CHECK_EQ(pm_set_isolated(m, 0, false), PM_OK);
	rig_destroy(m);
}

/// Blocks whose pageblocks changed while they were used go back a pageblock at a time.
static void a_used_block_over_changed_pageblocks(void)
{
	struct pm_machine *m = rig_one_zone(4 * PB, 1, rig_bare());

	CHECK_EQ(rig_alloc(m, PB_ORDER + 1, RIG_MOVABLE), 0);
	CHECK_EQ(pm_set_isolated(m, PB, true), PM_OK);
	CHECK_EQ(pm_free(m, 0, 0, PB_ORDER + 1), PM_OK);
	CHECK_EQ(rig_zone(m, 0).nr_isolated, PB);
	CHECK_EQ(rig_blocks(m, 0, PB_ORDER, PM_MT_MOVABLE), 1);
	CHECK(rig_valid(m));
	rig_destroy(m);
}

enum { URGENT = PM_GFP_ATOMIC };

static void urgent_blocks_leave_a_reserve(void)
{
	struct pm_settings settings = rig_bare();
	struct pm_machine *m;
	uint64_t nr = 0, pfn;

	settings.min_free_kbytes = 4 * 8 * PB;
	m = rig_one_zone(65536, 1, settings);
	/* Down to where only urgent requests are served; those are the ones that reserve. */
	while (rig_alloc(m, 0, RIG_MOVABLE) != UINT64_MAX)
		;
	CHECK_EQ(rig_zone(m, 0).nr_reserved_highatomic, 0);
	pfn = rig_alloc(m, 3, URGENT);
	CHECK(pfn != UINT64_MAX);
	CHECK_EQ(rig_frame(m, pfn).pageblock_type, PM_MT_HIGHATOMIC);
	CHECK_EQ(rig_zone(m, 0).nr_reserved_highatomic, PB);
	CHECK_EQ(rig_counters(m).highatomic_reserved, 1);
	CHECK(rig_valid(m));
	/* A hundredth of the zone, rounded up to a pageblock. */
	while (rig_alloc(m, 3, URGENT) != UINT64_MAX)
		;
	CHECK_EQ(rig_zone(m, 0).nr_reserved_highatomic, (655 + PB - 1) / PB * PB);
	CHECK(rig_valid(m));
	CHECK_EQ(pm_unreserve_highatomic(m, PM_MT_MOVABLE, &nr), PM_OK);
	CHECK_EQ(nr, (655 + PB - 1) / PB);
	CHECK_EQ(rig_zone(m, 0).nr_reserved_highatomic, 0);
	CHECK_EQ(pm_unreserve_highatomic(m, PM_MT_HIGHATOMIC, &nr), PM_ERR_INVAL);
	rig_destroy(m);
}

/// A hundredth of the zone that is a whole number of pageblocks is not rounded up.
static void the_reserve_ends_at_a_hundredth(void)
{
	struct pm_settings settings = rig_bare();
	struct pm_machine *m;

	settings.min_free_kbytes = 4 * 4096;
	m = rig_one_zone(200 * PB, 1, settings);
	while (rig_alloc(m, 0, RIG_MOVABLE) != UINT64_MAX)
		;
	while (rig_alloc(m, 3, URGENT) != UINT64_MAX)
		;
	CHECK_EQ(rig_zone(m, 0).nr_reserved_highatomic, 2 * PB);
	rig_destroy(m);
}

/// Who cannot wait gets the reserve rather than nothing; who can, does not.
static void the_reserve_serves_the_urgent(void)
{
	struct pm_machine *m = rig_one_zone(4 * PB, 1, rig_bare());
	uint64_t pfn;

	CHECK_EQ(pm_set_pageblock_type(m, 0, PM_MT_HIGHATOMIC), PM_OK);
	while (rig_alloc(m, 0, RIG_MOVABLE) != UINT64_MAX)
		;
	CHECK_EQ(rig_zone(m, 0).nr_free, PB);
	CHECK_EQ(rig_alloc_status(m, 0, RIG_MOVABLE), PM_ERR_WATERMARK);
	CHECK(rig_alloc(m, 0, PM_GFP_NOWAIT) < PB);
	pfn = rig_alloc(m, 2, URGENT);
	CHECK(pfn < PB);
	CHECK_EQ(pm_free(m, 0, pfn, 2), PM_OK);
	CHECK_EQ(rig_frame(m, pfn).migratetype, PM_MT_HIGHATOMIC);
	rig_destroy(m);
}

static void whole_pageblocks_are_reserved_too(void)
{
	struct pm_settings settings = rig_bare();
	struct pm_machine *m;
	uint64_t pfn;

	settings.min_free_kbytes = 8192;
	m = rig_one_zone(131072, 1, settings);
	while (rig_alloc(m, PB_ORDER, RIG_MOVABLE) != UINT64_MAX)
		;
	pfn = rig_alloc(m, PB_ORDER, URGENT);
	REQUIRE(pfn != UINT64_MAX);
	CHECK_EQ(rig_frame(m, pfn).pageblock_type, PM_MT_HIGHATOMIC);
	CHECK_EQ(pm_free(m, 0, pfn, PB_ORDER), PM_OK);
	CHECK_EQ(rig_blocks(m, 0, PB_ORDER, PM_MT_HIGHATOMIC), 1);
	CHECK(rig_valid(m));
	/* A small machine keeps no such reserve. */
	pm_machine_destroy(m);
	settings.min_free_kbytes = PB;
	m = rig_one_zone(4 * PB, 1, settings);
	while (rig_alloc(m, 0, RIG_MOVABLE) != UINT64_MAX)
		;
	CHECK(rig_alloc(m, 1, URGENT) != UINT64_MAX);
	CHECK_EQ(rig_zone(m, 0).nr_reserved_highatomic, 0);
	rig_destroy(m);
}

int main(void)
{
	RUN(isolation_hides_free_memory);
	RUN(isolation_splits_and_merges_large_blocks);
	RUN(isolation_catches_per_cpu_blocks);
	RUN(a_run_ends_with_its_pageblock);
	RUN(a_type_moves_its_free_blocks);
	RUN(pageblocks_that_an_edge_cuts);
	RUN(neighbouring_zones_are_left_alone);
	RUN(a_used_block_over_changed_pageblocks);
	RUN(urgent_blocks_leave_a_reserve);
	RUN(the_reserve_ends_at_a_hundredth);
	RUN(the_reserve_serves_the_urgent);
	RUN(whole_pageblocks_are_reserved_too);
	return check_result();
}
