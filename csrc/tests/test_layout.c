/// Making machines: holes, reserved frames, layouts that contradict themselves, very large and very small ones.
#include "tests/rig.h"

static void holes_and_reserved_frames(void)
{
	struct pm_zone_layout zone = { PM_ZONE_NORMAL, 1000, 3000 };
	struct pm_range holes[] = { { 0, 1010 }, { 2000, 2048 } }, reserved[] = { { 1005, 1020 }, { 1100, 1101 }, { 3990, 5000 } };
	struct pm_layout layout = { .zones = &zone, .nr_zones = 1, .holes = holes, .nr_holes = 2, .reserved = reserved, .nr_reserved = 3, .nr_cpus = 2, .settings = rig_bare() };
	struct pm_machine *m = rig_create(&layout);
	struct pm_zone_info info = rig_zone(m, 0);
	uint64_t pfn;

	CHECK_EQ(info.spanned, 3000);
	CHECK_EQ(info.present, 3000 - 10 - 48);
	CHECK_EQ(info.managed, info.present - 10 - 1 - 10);
	CHECK_EQ(info.nr_free, info.managed);
	CHECK_EQ(pm_nr_frames(m), 4000);
	CHECK_EQ(pm_nr_zones(m), 1);
	CHECK_EQ(pm_nr_cpus(m), 2);
	CHECK_EQ(rig_frame(m, 5).state, PM_STATE_HOLE);
	CHECK_EQ(rig_frame(m, 1005).state, PM_STATE_HOLE);
	CHECK_EQ(rig_frame(m, 1015).state, PM_STATE_RESERVED);
	CHECK_EQ(rig_frame(m, 2047).state, PM_STATE_HOLE);
	CHECK_EQ(rig_frame(m, 3995).state, PM_STATE_RESERVED);
	CHECK_EQ(rig_frame(m, 1020).state, PM_STATE_FREE);
	CHECK_EQ(pm_free(m, 0, 1100, 0), PM_ERR_RESERVED);
	CHECK_EQ(pm_free(m, 0, 2001, 0), PM_ERR_RANGE);
	CHECK_EQ(pm_take(m, 1100, 0, PM_MT_MOVABLE), PM_ERR_RESERVED);
	CHECK_EQ(pm_take(m, 2001, 0, PM_MT_MOVABLE), PM_ERR_RANGE);
	CHECK(rig_valid(m));
	while ((pfn = rig_alloc(m, 0, RIG_MOVABLE)) != UINT64_MAX)
		CHECK(pfn >= 1020 && pfn != 1100 && !(pfn >= 2000 && pfn < 2048) && pfn < 3990);
	CHECK_EQ(rig_counters(m).alloc, info.managed);
	rig_destroy(m);
}

static void memory_is_given_out_lowest_first(void)
{
	struct pm_machine *m = rig_one_zone(8192, 1, rig_bare());
	uint64_t i;

	for (i = 0; i < 8; i++)
		CHECK_EQ(rig_alloc(m, PB_ORDER + 1, RIG_MOVABLE), i * 2 * PB);
	rig_destroy(m);
}

static void nothing_is_anywhere_at_first(void)
{
	struct pm_zone_layout zone = { PM_ZONE_NORMAL, 0, 2 * PB };
	struct pm_layout layout = { .zones = &zone, .nr_zones = 1, .nr_cpus = 1, .start = PM_START_UNPLACED, .settings = rig_bare() };
	struct pm_machine *m = rig_create(&layout);

	CHECK_EQ(rig_zone(m, 0).nr_unplaced, 2 * PB);
	CHECK_EQ(rig_frame(m, 3).state, PM_STATE_UNPLACED);
	CHECK_EQ(rig_alloc_status(m, 0, RIG_MOVABLE), PM_ERR_WATERMARK);
	CHECK_EQ(pm_free(m, 0, 3, 0), PM_ERR_ORDER);
	rig_destroy(m);
}

/// A zone all of whose frames are holes or reserved serves nobody, and is no zone for those who need it.
static void a_zone_without_memory(void)
{
	struct pm_zone_layout zones[] = { { PM_ZONE_DMA, 0, PB }, { PM_ZONE_NORMAL, PB, PB } };
	struct pm_range reserved = { 0, PB };
	struct pm_layout layout = { .zones = zones, .nr_zones = 2, .reserved = &reserved, .nr_reserved = 1, .nr_cpus = 1, .settings = rig_bare() };
	struct pm_machine *m = rig_create(&layout);

	CHECK_EQ(rig_alloc_status(m, 0, PM_GFP_DMA), PM_ERR_ZONE);
	CHECK(rig_alloc(m, 0, PM_GFP_KERNEL) >= PB);
	rig_destroy(m);
}

static enum pm_status create(const struct pm_layout *layout)
{
	struct pm_machine *m = NULL;
	enum pm_status status = pm_machine_create(layout, &m);

	pm_machine_destroy(m);
	return status;
}

static void contradictions(void)
{
	struct pm_zone_layout zones[] = { { PM_ZONE_DMA32, 0, 2 * PB }, { PM_ZONE_NORMAL, 2 * PB, 2 * PB } };
	struct pm_range ranges[] = { { 10, 20 }, { 30, 40 } };
	const struct pm_layout good = { .zones = zones, .nr_zones = 2, .holes = ranges, .nr_holes = 2, .nr_cpus = 1, .settings = rig_bare() };
	struct pm_layout bad = good;

	CHECK_EQ(create(&good), PM_OK);
	bad.start = 2;
	CHECK_EQ(create(&bad), PM_ERR_INVAL);
	bad = good;
	bad.nr_zones = PM_MAX_ZONES + 1;
	CHECK_EQ(create(&bad), PM_ERR_INVAL);
	ranges[1].start = 19;
	CHECK_EQ(create(&good), PM_ERR_INVAL);
	ranges[1] = (struct pm_range){ 30, 30 };
	CHECK_EQ(create(&good), PM_ERR_INVAL);
	bad = good;
	bad.nr_holes = 0;
	bad.reserved = ranges;
	bad.nr_reserved = 2;
	CHECK_EQ(create(&bad), PM_ERR_INVAL);
	ranges[1].end = 40;
	CHECK_EQ(create(&bad), PM_OK);
	zones[1].kind = PM_ZONE_DMA32;
	CHECK_EQ(create(&good), PM_ERR_INVAL);
	zones[1].kind = 4;
	CHECK_EQ(create(&good), PM_ERR_INVAL);
	zones[1] = (struct pm_zone_layout){ PM_ZONE_NORMAL, 2 * PB - 1, 2 * PB };
	CHECK_EQ(create(&good), PM_ERR_INVAL);
	zones[1] = (struct pm_zone_layout){ PM_ZONE_NORMAL, 2 * PB, 0 };
	CHECK_EQ(create(&good), PM_ERR_INVAL);
	zones[1] = (struct pm_zone_layout){ PM_ZONE_NORMAL, UINT64_MAX, 1 };
	CHECK_EQ(create(&good), PM_ERR_LIMIT);
}

static void settings_out_of_range(void)
{
	struct pm_zone_layout zone = { PM_ZONE_NORMAL, 0, 2 * PB };
	struct pm_layout layout = { .zones = &zone, .nr_zones = 1, .nr_cpus = 1 };
	struct pm_settings *s = &layout.settings;

	pm_settings_default(s);
	CHECK_EQ(create(&layout), PM_OK);
	s->watermark_scale_factor = 10001;
	CHECK_EQ(create(&layout), PM_ERR_INVAL);
	pm_settings_default(s);
	s->pcp_batch = 0;
	CHECK_EQ(create(&layout), PM_ERR_INVAL);
	s->pcp_batch = INT32_MAX;
	CHECK_EQ(create(&layout), PM_ERR_INVAL);
	pm_settings_default(s);
	s->pcp_high_min = INT32_MAX;
	CHECK_EQ(create(&layout), PM_ERR_INVAL);
	pm_settings_default(s);
	s->pcp_high_max = INT32_MAX;
	CHECK_EQ(create(&layout), PM_ERR_INVAL);
	pm_settings_default(s);
	s->min_free_kbytes = INT64_MAX;
	CHECK_EQ(create(&layout), PM_ERR_INVAL);
}

static void the_largest_and_the_smallest(void)
{
	struct pm_zone_layout zone = { PM_ZONE_NORMAL, 7, 1 };
	struct pm_layout layout = { .zones = &zone, .nr_zones = 1, .nr_cpus = PM_MAX_CPUS, .settings = rig_bare() };
	struct pm_machine *m = rig_create(&layout);

	CHECK_EQ(rig_alloc(m, 0, PM_GFP_KERNEL), 7);
	CHECK_EQ(rig_alloc(m, 0, PM_GFP_KERNEL), UINT64_MAX);
	CHECK_EQ(pm_free(m, PM_MAX_CPUS - 1, 7, 0), PM_OK);
	rig_destroy(m);
	/* 1 TiB; its last block is as good as its first. */
	m = rig_one_zone((uint64_t)1 << 28, 1, rig_bare());
	CHECK_EQ(pm_take(m, ((uint64_t)1 << 28) - (1 << PM_MAX_ORDER), PM_MAX_ORDER, PM_MT_MOVABLE), PM_OK);
	CHECK_EQ(pm_free(m, 0, ((uint64_t)1 << 28) - (1 << PM_MAX_ORDER), PM_MAX_ORDER), PM_OK);
	CHECK_EQ(rig_blocks(m, 0, PM_MAX_ORDER, PM_MT_MOVABLE), (1 << 28) >> PM_MAX_ORDER);
	pm_machine_destroy(m);
}

int main(void)
{
	RUN(holes_and_reserved_frames);
	RUN(memory_is_given_out_lowest_first);
	RUN(nothing_is_anywhere_at_first);
	RUN(a_zone_without_memory);
	RUN(contradictions);
	RUN(settings_out_of_range);
	RUN(the_largest_and_the_smallest);
	return check_result();
}
