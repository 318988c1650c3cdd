/// Allocate, free, split, tag, and looking at frames.
#include "tests/rig.h"

static void a_block_split_is_freed_in_parts(void)
{
	struct pm_machine *m = rig_one_zone(2 * PB, 1, rig_bare());
	uint64_t pfn = rig_alloc(m, 4, RIG_RECLAIMABLE);

	CHECK_EQ(pm_split(m, pfn, 3, 0), PM_ERR_ORDER);
	CHECK_EQ(pm_split(m, pfn + 1, 0, 0), PM_ERR_ORDER);
	CHECK_EQ(pm_split(m, pfn, 4, 5), PM_ERR_INVAL);
	CHECK_EQ(pm_split(m, pfn, PM_NR_ORDERS, 0), PM_ERR_INVAL);
	CHECK_EQ(pm_split(m, 5000, 0, 0), PM_ERR_RANGE);
	CHECK_EQ(pm_split(m, pfn, 4, 2), PM_OK);
	CHECK_EQ(rig_frame(m, pfn + 12).order, 2);
	CHECK_EQ(rig_frame(m, pfn + 12).migratetype, PM_MT_RECLAIMABLE);
	CHECK(rig_valid(m));
	CHECK_EQ(pm_free(m, 0, pfn, 4), PM_ERR_ORDER);
	CHECK_EQ(pm_free(m, 0, pfn + 8, 2), PM_OK);
	CHECK_EQ(pm_split(m, pfn + 8, 2, 0), PM_ERR_DOUBLE_FREE);
	CHECK_EQ(pm_split(m, pfn, 2, 2), PM_OK);
	CHECK_EQ(pm_free(m, 0, pfn, 2), PM_OK);
	CHECK_EQ(pm_free(m, 0, pfn + 4, 2), PM_OK);
	CHECK_EQ(pm_free(m, 0, pfn + 12, 2), PM_OK);
	CHECK_EQ(rig_zone(m, 0).nr_free, 2 * PB);
	CHECK_EQ(rig_blocks(m, 0, PB_ORDER + 1, PM_MT_RECLAIMABLE), 1);
	rig_destroy(m);
}

static void tags(void)
{
	struct pm_machine *m = rig_one_zone(2 * PB, 1, rig_bare());
	uint64_t pfn = rig_alloc(m, 3, RIG_MOVABLE);

	CHECK_EQ(pm_set_tag(m, pfn, 77), PM_OK);
	CHECK_EQ(rig_frame(m, pfn + 5).tag, 77);
	CHECK_EQ(rig_frame(m, pfn + 5).head, pfn);
	CHECK_EQ(pm_set_tag(m, pfn + 1, 1), PM_ERR_ORDER);
	CHECK_EQ(pm_set_tag(m, 99999, 1), PM_ERR_RANGE);
	CHECK_EQ(pm_set_tag(m, PB, 1), PM_ERR_ORDER);
	rig_destroy(m);
}

static void bulk_and_counters(void)
{
	struct pm_zone_layout zones[] = { { PM_ZONE_DMA32, 0, 2 * PB }, { PM_ZONE_NORMAL, 2 * PB, 2 * PB } };
	struct pm_layout layout = { .zones = zones, .nr_zones = 2, .nr_cpus = 2, .settings = rig_bare() };
	static uint64_t pfns[4 * PB];
	struct pm_machine *m;
	size_t n;

	memset(layout.settings.lowmem_reserve_ratio, 0, sizeof(layout.settings.lowmem_reserve_ratio));
	layout.settings.pcp = 1;
	m = rig_create(&layout);
	/* Over both zones. */
	CHECK_EQ(pm_alloc_bulk(m, 0, 1, RIG_MOVABLE, 2 * PB, pfns, &n), PM_OK);
	CHECK_EQ(n, 2 * PB);
	CHECK_EQ(rig_counters(m).alloc, 2 * PB);
	CHECK_EQ(pm_alloc_bulk(m, 0, 0, RIG_MOVABLE, 1, pfns + 2 * PB, &n), PM_ERR_WATERMARK);
	CHECK_EQ(n, 0);
	CHECK_EQ(pm_free_bulk(m, 1, 1, 2 * PB, pfns, &n), PM_OK);
	CHECK_EQ(n, 2 * PB);
	CHECK_EQ(rig_counters(m).free, 2 * PB);
	CHECK_EQ(pm_drain(m, PM_ALL_CPUS), PM_OK);
	CHECK_EQ(rig_zone(m, 0).nr_free + rig_zone(m, 1).nr_free, 4 * PB);
	CHECK_EQ(pm_alloc_bulk(m, 0, 0, RIG_MOVABLE, 0, NULL, &n), PM_OK);
	CHECK_EQ(pm_free_bulk(m, 0, 0, 0, NULL, &n), PM_OK);
	CHECK_EQ(pm_alloc_bulk(m, 2, 0, RIG_MOVABLE, 1, pfns, &n), PM_ERR_INVAL);
	CHECK_EQ(pm_free_bulk(m, 2, 0, 1, pfns, &n), PM_ERR_INVAL);
	CHECK_EQ(pm_free_bulk(m, 0, PM_NR_ORDERS, 1, pfns, &n), PM_ERR_INVAL);
	CHECK_EQ(pm_free(m, 2, 0, 0), PM_ERR_INVAL);
	CHECK_EQ(pm_free(m, 0, 0, PM_NR_ORDERS), PM_ERR_INVAL);
	pfns[0] = UINT64_MAX;
	CHECK_EQ(pm_free_bulk(m, 0, 0, 1, pfns, &n), PM_ERR_RANGE);
	rig_destroy(m);
}

static void states_of_frames(void)
{
	struct pm_zone_layout zone = { PM_ZONE_NORMAL, 8, 4 * PB - 8 };
	struct pm_range hole = { 16, 20 }, reserved = { 32, 34 };
	struct pm_layout layout = { .zones = &zone, .nr_zones = 1, .holes = &hole, .nr_holes = 1, .reserved = &reserved, .nr_reserved = 1, .nr_cpus = 1, .settings = rig_bare() };
	struct pm_machine *m;
	static uint8_t states[4 * PB];
	struct pm_frame_info info;
	uint64_t used, pcp, i;

	layout.settings.pcp = 1;
	layout.settings.pcp_high_min = 64;
	m = rig_create(&layout);
	used = rig_alloc(m, 4, RIG_RECLAIMABLE);
	pcp = rig_alloc(m, 1, RIG_MOVABLE);
	CHECK_EQ(pm_free(m, 0, pcp, 1), PM_OK);
	REQUIRE(pm_frame_states(m, 0, 4 * PB, states) == PM_OK);
	for (i = 0; i < 4 * PB; i++) {
		REQUIRE(pm_frame_info(m, i, &info) == PM_OK);
		CHECK_EQ(states[i] & 7, info.state);
		if (info.state >= PM_STATE_FREE)
			CHECK_EQ(states[i] >> 3, info.migratetype);
	}
	CHECK_EQ(states[used + 15], PM_STATE_USED | PM_MT_RECLAIMABLE << 3);
	CHECK_EQ(states[pcp + 1] & 7, PM_STATE_PCP);
	CHECK_EQ(states[7], PM_STATE_HOLE);
	CHECK_EQ(states[17], PM_STATE_HOLE);
	CHECK_EQ(states[33], PM_STATE_RESERVED);
	/* A window that begins inside a block. */
	REQUIRE(pm_frame_states(m, used + 3, 2, states) == PM_OK);
	CHECK_EQ(states[0], PM_STATE_USED | PM_MT_RECLAIMABLE << 3);
	REQUIRE(pm_frame_states(m, 33, 4, states) == PM_OK);
	CHECK_EQ(states[0], PM_STATE_RESERVED);
	CHECK_EQ(pm_frame_states(m, 4 * PB, 0, states), PM_OK);
	CHECK_EQ(pm_frame_states(m, 4 * PB, 1, states), PM_ERR_RANGE);
	CHECK_EQ(pm_frame_states(m, 1, SIZE_MAX, states), PM_ERR_RANGE);
	CHECK_EQ(pm_frame_info(m, 4 * PB, &info), PM_ERR_RANGE);
	CHECK_EQ(pm_free(m, 0, pcp + 1, 0), PM_ERR_ORDER);
	rig_destroy(m);
}

static void occupancy(void)
{
	struct pm_zone_layout zone = { PM_ZONE_NORMAL, 0, 4 * PB };
	struct pm_range reserved = { 0, 64 };
	struct pm_layout layout = { .zones = &zone, .nr_zones = 1, .reserved = &reserved, .nr_reserved = 1, .nr_cpus = 1, .settings = rig_bare() };
	struct pm_machine *m;
	uint32_t counts[3][PM_NR_OCCUPANTS], one[PM_NR_OCCUPANTS], i, bin;

	layout.settings.pcp = 1;
	layout.settings.pcp_high_min = 64;
	m = rig_create(&layout);
	CHECK(rig_alloc(m, 8, RIG_UNMOVABLE) != UINT64_MAX);
	CHECK(rig_alloc(m, 5, RIG_RECLAIMABLE) != UINT64_MAX);
	CHECK_EQ(pm_free(m, 0, rig_alloc(m, 0, RIG_MOVABLE), 0), PM_OK);
	REQUIRE(pm_occupancy(m, 1, one) == PM_OK);
	CHECK_EQ(one[PM_OCC_ABSENT], 64);
	CHECK_EQ(one[PM_OCC_UNMOVABLE], 256);
	CHECK_EQ(one[PM_OCC_RECLAIMABLE], 32);
	CHECK_EQ(one[PM_OCC_PCP], rig_zone(m, 0).nr_pcp);
	CHECK_EQ(one[PM_OCC_FREE_LARGE] % PB, 0);
	CHECK_EQ(one[PM_OCC_FREE_LARGE] + one[PM_OCC_FREE_SMALL], rig_zone(m, 0).nr_free);
	REQUIRE(pm_occupancy(m, 3, counts[0]) == PM_OK);
	for (i = 0; i < PM_NR_OCCUPANTS; i++) {
		uint32_t sum = 0;

		for (bin = 0; bin < 3; bin++)
			sum += counts[bin][i];
		CHECK_EQ(sum, one[i]);
	}
	CHECK_EQ(pm_occupancy(m, 0, one), PM_ERR_INVAL);
	CHECK_EQ(pm_occupancy(m, 2049, one), PM_ERR_INVAL);
	rig_destroy(m);
}

static void the_scalar_form(void)
{
	struct pm_machine *m = rig_one_zone(2 * PB, 1, rig_bare());

	CHECK_EQ(pm_alloc_pfn(m, 0, 3, RIG_MOVABLE), 0);
	CHECK_EQ(pm_alloc_pfn(m, 0, 0, RIG_MOVABLE), 8);
	CHECK_EQ(pm_alloc_pfn(m, 1, 0, RIG_MOVABLE), PM_ERR_INVAL);
	CHECK_EQ(pm_alloc_pfn(m, 0, PB_ORDER + 1, RIG_MOVABLE), PM_ERR_WATERMARK);
	rig_destroy(m);
}

/// A bulk call in one number: all were done, or the status and how many were done before it.
static void the_scalar_form_of_bulk(void)
{
	struct pm_machine *m = rig_one_zone(2 * PB, 1, rig_bare());
	uint64_t pfns[1100];

	CHECK_EQ(pm_alloc_pfns(m, 0, 1, RIG_MOVABLE, 3, pfns), 3);
	CHECK_EQ(pfns[2], 4);
	pfns[2] = 0;
	CHECK_EQ(pm_free_pfns(m, 0, 1, 3, pfns), -(2 << 8 | -PM_ERR_DOUBLE_FREE));
	CHECK_EQ(pm_free_pfns(m, 1, 1, 3, pfns), PM_ERR_INVAL);
	pfns[0] = 4;
	CHECK_EQ(pm_free_pfns(m, 0, 1, 1, pfns), 1);
	CHECK_EQ(pm_alloc_pfns(m, 0, 0, RIG_MOVABLE, 1100, pfns), -(2 * PB << 8 | -PM_ERR_WATERMARK));
	CHECK_EQ(pm_alloc_pfns(m, 0, PM_NR_ORDERS, RIG_MOVABLE, 1, pfns), PM_ERR_INVAL);
	rig_destroy(m);
}

static void the_tables(void)
{
	struct pm_machine *m = rig_one_zone(2 * PB, 1, rig_bare());
	const uint32_t *frames = pm_frame_table(m);
	const uint8_t *pageblocks = pm_pageblock_table(m);

	CHECK_EQ(rig_alloc(m, PB_ORDER, RIG_RECLAIMABLE), 0);
	CHECK_EQ(frames[0], 3 << 8 | PM_MT_RECLAIMABLE << 4 | PB_ORDER);
	CHECK_EQ(pageblocks[16 + 10], PB_ORDER); /* the second pageblock is a free block */
	rig_destroy(m);
}

static void looking_past_the_last_zone(void)
{
	struct pm_machine *m = rig_one_zone(2 * PB, 1, rig_bare());
	uint64_t nr[PM_NR_ORDERS * PM_NR_MIGRATETYPES];
	struct pm_zone_info zone;

	CHECK_EQ(pm_zone_info(m, 1, &zone), PM_ERR_INVAL);
	CHECK_EQ(pm_free_blocks(m, 1, nr), PM_ERR_INVAL);
	rig_destroy(m);
}

int main(void)
{
	RUN(a_block_split_is_freed_in_parts);
	RUN(tags);
	RUN(bulk_and_counters);
	RUN(states_of_frames);
	RUN(occupancy);
	RUN(the_scalar_form);
	RUN(the_scalar_form_of_bulk);
	RUN(the_tables);
	RUN(looking_past_the_last_zone);
	return check_result();
}
