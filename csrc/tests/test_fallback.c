/// The fallback ladder: own list, CLAIM, STEAL, and what each does to pageblocks.
#include "tests/rig.h"

static void a_whole_pageblock_is_retyped(void)
{
	struct pm_machine *m = rig_one_zone(2 << PM_MAX_ORDER, 1, rig_bare());

	CHECK_EQ(rig_alloc(m, 0, RIG_UNMOVABLE), 0);
	CHECK_EQ(rig_counters(m).claim[PM_MT_UNMOVABLE][PM_MT_MOVABLE], 1);
	CHECK_EQ(rig_frame(m, PB).pageblock_type, PM_MT_UNMOVABLE);
	CHECK_EQ(rig_frame(m, 1 << PM_MAX_ORDER).pageblock_type, PM_MT_MOVABLE);
	CHECK_EQ(rig_zone(m, 0).watermark_boost, 0);
	CHECK_EQ(rig_alloc(m, PB_ORDER, RIG_UNMOVABLE), PB);
	rig_destroy(m);
}

/// Pageblocks 0..3 become unmovable, reclaimable, movable, movable, all frames used.
static struct pm_machine *mixed(struct pm_settings settings)
{
	struct pm_machine *m = rig_one_zone(4 * PB, 1, settings);

	rig_fill(m, 4 * PB, RIG_MOVABLE);
	CHECK_EQ(pm_set_pageblock_type(m, 0, PM_MT_UNMOVABLE), PM_OK);
	CHECK_EQ(pm_set_pageblock_type(m, PB, PM_MT_RECLAIMABLE), PM_OK);
	return m;
}

static void each_type_has_its_order_of_fallbacks(void)
{
	struct pm_machine *m = mixed(rig_bare());

	/* One single frame of each type: too little to claim a pageblock, so it is stolen. */
	rig_free_range(m, 0, 1);
	rig_free_range(m, 2 * PB, 2 * PB + 1);
	CHECK_EQ(rig_alloc(m, 0, RIG_RECLAIMABLE), 0); /* unmovable before movable */
	rig_free_range(m, PB, PB + 1);
	CHECK_EQ(rig_alloc(m, 0, RIG_UNMOVABLE), PB); /* reclaimable before movable */
	CHECK_EQ(rig_alloc(m, 0, RIG_UNMOVABLE), 2 * PB);
	rig_free_range(m, 0, 1);
	rig_free_range(m, PB, PB + 1);
	CHECK_EQ(rig_alloc(m, 0, RIG_MOVABLE), PB); /* reclaimable before unmovable */
	CHECK_EQ(rig_alloc(m, 0, RIG_MOVABLE), 0);
	CHECK_EQ(rig_counters(m).steal[PM_MT_MOVABLE][PM_MT_UNMOVABLE], 1);
	CHECK_EQ(rig_frame(m, 0).pageblock_type, PM_MT_UNMOVABLE);
	CHECK_EQ(rig_alloc_status(m, 0, RIG_MOVABLE), PM_ERR_WATERMARK);
	rig_destroy(m);
}

static void half_a_pageblock_is_claimed(void)
{
	struct pm_machine *m = mixed(rig_bare());

	/* Half of an unmovable pageblock but for one frame is free: that is not half of it. The request steals the smallest block. */
	rig_free_range(m, 1, PB / 4);
	rig_free_range(m, PB / 2, 3 * PB / 4);
	CHECK_EQ(rig_alloc(m, 0, RIG_RECLAIMABLE), 1);
	CHECK_EQ(rig_counters(m).steal[PM_MT_RECLAIMABLE][PM_MT_UNMOVABLE], 1);
	rig_free_range(m, 0, 2);
	CHECK_EQ(rig_alloc(m, 0, RIG_RECLAIMABLE), 0); /* half: claimed, from the largest block down */
	CHECK_EQ(rig_counters(m).claim[PM_MT_RECLAIMABLE][PM_MT_UNMOVABLE], 1);
	CHECK_EQ(rig_frame(m, PB - 1).pageblock_type, PM_MT_RECLAIMABLE);
	rig_destroy(m);
}

/// A movable request counts the pageblock's movable frames as its own kind; an unmovable one those that are neither free nor movable.
static void frames_alike_help_a_claim(void)
{
	struct pm_machine *m = mixed(rig_bare());

	rig_free_range(m, 16, 32);
	CHECK_EQ(rig_alloc(m, 0, RIG_MOVABLE), 16);
	CHECK_EQ(rig_counters(m).claim[PM_MT_MOVABLE][PM_MT_UNMOVABLE], 1);
	CHECK_EQ(rig_frame(m, 0).pageblock_type, PM_MT_MOVABLE);
	rig_destroy(m);

	m = mixed(rig_bare());
	rig_free_range(m, 2 * PB, 2 * PB + 16);
	CHECK_EQ(rig_alloc(m, 0, RIG_UNMOVABLE), 2 * PB); /* all others are movable: stolen */
	CHECK_EQ(rig_counters(m).steal[PM_MT_UNMOVABLE][PM_MT_MOVABLE], 1);
	rig_destroy(m);
}

/// Free frames and those alike count together: neither is half of this pageblock alone.
static void free_and_alike_count_together(void)
{
	struct pm_machine *m = rig_one_zone(2 * PB, 1, rig_bare());
	uint64_t i;

	CHECK_EQ(pm_take(m, PB, PB_ORDER, PM_MT_UNMOVABLE), PM_OK);
	for (i = 0; i < 5 * PB / 8; i++)
		CHECK_EQ(pm_take(m, i, 0, i < PB / 4 ? PM_MT_MOVABLE : PM_MT_UNMOVABLE), PM_OK);
	CHECK_EQ(pm_set_pageblock_type(m, 0, PM_MT_UNMOVABLE), PM_OK);
	CHECK(rig_alloc(m, 0, RIG_MOVABLE) < PB);
	CHECK_EQ(rig_counters(m).claim[PM_MT_MOVABLE][PM_MT_UNMOVABLE], 1);
	CHECK_EQ(rig_frame(m, 0).pageblock_type, PM_MT_MOVABLE);
	rig_destroy(m);
}

/// Used frames that nobody can move do not help a movable request to a pageblock.
static void frames_unlike_do_not(void)
{
	struct pm_machine *m = rig_one_zone(2 << PM_MAX_ORDER, 1, rig_bare());

	rig_fill(m, 2 << PM_MAX_ORDER, RIG_UNMOVABLE);
	rig_free_range(m, 16, 32);
	CHECK_EQ(rig_alloc(m, 0, RIG_MOVABLE), 16);
	CHECK_EQ(rig_counters(m).claim[PM_MT_MOVABLE][PM_MT_UNMOVABLE], 0);
	CHECK_EQ(rig_counters(m).steal[PM_MT_MOVABLE][PM_MT_UNMOVABLE], 1);
	CHECK_EQ(rig_frame(m, 0).pageblock_type, PM_MT_UNMOVABLE);
	rig_destroy(m);
}

/// Below half the pageblock order a movable request takes one block and leaves the types alone.
static void small_movable_requests_do_not_claim(void)
{
	struct pm_machine *m = mixed(rig_bare());

	rig_free_range(m, 16, 24);
	CHECK_EQ(rig_alloc(m, 0, RIG_MOVABLE), 16);
	CHECK_EQ(rig_counters(m).steal[PM_MT_MOVABLE][PM_MT_UNMOVABLE], 1);
	CHECK_EQ(rig_frame(m, 0).pageblock_type, PM_MT_UNMOVABLE);
	rig_destroy(m);
}

/// A try at a claim below the pageblock order asks for more reclaim, up to a limit.
static void a_claim_boosts_the_watermarks(void)
{
	struct pm_settings settings = rig_bare();
	struct pm_machine *m;
	uint64_t i;

	settings.min_free_kbytes = 64;
	m = mixed(settings);
	for (i = 0; i < 3; i++) {
		rig_free_range(m, 2 * PB + 32 * i, 2 * PB + 16 + 32 * i);
		CHECK(rig_alloc(m, 0, PM_GFP_ATOMIC | PM_GFP_MEMALLOC) != UINT64_MAX);
		CHECK_EQ(rig_zone(m, 0).watermark_boost, PB);
	}
	rig_destroy(m);
	settings.watermark_boost_factor = 0;
	m = mixed(settings);
	rig_free_range(m, 2 * PB, 2 * PB + 16);
	CHECK_EQ(rig_alloc(m, 0, PM_GFP_ATOMIC | PM_GFP_MEMALLOC), 2 * PB);
	CHECK_EQ(rig_zone(m, 0).watermark_boost, 0);
	rig_destroy(m);
}

/// The boost grows by a pageblock a claim, up to its share of HIGH.
static void a_boost_has_a_limit(void)
{
	struct pm_settings settings = rig_bare();
	struct pm_machine *m;
	uint64_t i, most;

	settings.min_free_kbytes = PM_PAGE_SIZE / 1024 * 600;
	m = mixed(settings);
	most = rig_zone(m, 0).wmark[2] * 15000 / 10000;
	REQUIRE(most > PB);
	for (i = 1; i <= 8; i++) {
		rig_free_range(m, 2 * PB + 16 * i, 2 * PB + 16 * i + 16);
		CHECK(rig_alloc(m, 0, PM_GFP_ATOMIC | PM_GFP_MEMALLOC) != UINT64_MAX);
		CHECK(rig_zone(m, 0).watermark_boost <= most);
		while (rig_alloc(m, 0, RIG_UNMOVABLE | PM_GFP_MEMALLOC) != UINT64_MAX)
			;
	}
	CHECK_EQ(rig_zone(m, 0).watermark_boost, most);
	rig_destroy(m);
}

/// With defrag_mode a request rather turns to whole pageblocks than mix one, and mixes only as the last resort.
static void defrag_mode(void)
{
	struct pm_settings settings = rig_bare();
	struct pm_machine *m;

	settings.defrag_mode = 1;
	m = mixed(settings);
	rig_free_range(m, 2 * PB, 2 * PB + 16);
	rig_free_range(m, 3 * PB, 4 * PB);
	CHECK_EQ(rig_alloc(m, 0, RIG_UNMOVABLE), 3 * PB);
	CHECK_EQ(rig_counters(m).claim[PM_MT_UNMOVABLE][PM_MT_MOVABLE], 1);
	rig_destroy(m);
	m = mixed(settings);
	rig_free_range(m, 2 * PB, 2 * PB + 1);
	CHECK_EQ(rig_alloc(m, 0, RIG_UNMOVABLE), 2 * PB);
	rig_destroy(m);
}

/// Between MIN and LOW a careful request is served at the second try, and takes one block, not two.
static void defrag_mode_below_low(void)
{
	struct pm_settings settings = rig_bare();
	struct pm_machine *m;

	settings.defrag_mode = 1;
	settings.min_free_kbytes = 256 * (PM_PAGE_SIZE / 1024);
	m = rig_one_zone(4 * PB, 1, settings);
	while (rig_zone(m, 0).nr_free > 300)
		CHECK(rig_alloc(m, 0, RIG_MOVABLE) != UINT64_MAX);
	CHECK(rig_alloc(m, 0, RIG_MOVABLE) != UINT64_MAX);
	CHECK_EQ(rig_zone(m, 0).nr_free, 299);
	CHECK(rig_valid(m));
	CHECK_EQ(rig_counters(m).alloc, 4 * PB - 299);
	rig_destroy(m);
}

/// With a DMA32 zone below, the Normal zone is not mixed while DMA32 has what is asked for.
static void normal_turns_to_dma32_before_it_mixes(void)
{
	struct pm_zone_layout zones[] = { { PM_ZONE_DMA32, 0, 2 * PB }, { PM_ZONE_NORMAL, 2 * PB, 2 * PB } };
	struct pm_layout layout = { .zones = zones, .nr_zones = 2, .nr_cpus = 1, .settings = rig_bare() };
	struct pm_machine *m;
	uint64_t i;

	memset(layout.settings.lowmem_reserve_ratio, 0, sizeof(layout.settings.lowmem_reserve_ratio));
	m = rig_create(&layout);
	for (i = 0; i < 2 * PB; i++)
		CHECK(rig_alloc(m, 0, RIG_MOVABLE) >= 2 * PB);
	rig_free_range(m, 2 * PB, 2 * PB + 1);
	CHECK_EQ(rig_alloc(m, 0, RIG_UNMOVABLE), 0);
	while (rig_alloc(m, 0, PM_GFP_DMA32) != UINT64_MAX)
		;
	CHECK_EQ(rig_alloc(m, 0, RIG_UNMOVABLE), 2 * PB);
	rig_destroy(m);
}

int main(void)
{
	RUN(a_whole_pageblock_is_retyped);
	RUN(each_type_has_its_order_of_fallbacks);
	RUN(half_a_pageblock_is_claimed);
	RUN(frames_alike_help_a_claim);
	RUN(free_and_alike_count_together);
	RUN(frames_unlike_do_not);
	RUN(small_movable_requests_do_not_claim);
	RUN(a_claim_boosts_the_watermarks);
	RUN(a_boost_has_a_limit);
	RUN(defrag_mode);
	RUN(defrag_mode_below_low);
	RUN(normal_turns_to_dma32_before_it_mixes);
	return check_result();
}
