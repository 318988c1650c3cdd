/// Split, merge and where a freed block goes on its list.
#include "tests/rig.h"

static void a_split_leaves_one_block_of_each_order(void)
{
	struct pm_machine *m = rig_one_zone(1024, 1, rig_bare());
	uint32_t o;

	CHECK_EQ(rig_alloc(m, 0, RIG_MOVABLE), 0);
	for (o = 0; o < PM_MAX_ORDER; o++)
		CHECK_EQ(rig_blocks(m, 0, o, PM_MT_MOVABLE), 1);
	CHECK_EQ(rig_zone(m, 0).nr_free, 1023);
	CHECK_EQ(pm_free(m, 0, 0, 0), PM_OK);
	CHECK_EQ(rig_blocks(m, 0, PM_MAX_ORDER, PM_MT_MOVABLE), 1);
	CHECK_EQ(rig_zone(m, 0).nr_free, 1024);
	rig_destroy(m);
}

static void all_frames_merge_back_in_any_order(void)
{
	struct pm_machine *m = rig_one_zone(4096, 1, rig_bare());
	uint64_t i;

	rig_fill(m, 4096, RIG_MOVABLE);
	CHECK_EQ(rig_zone(m, 0).nr_free, 0);
	/* 1031 is prime to 4096: each frame comes once. */
	for (i = 0; i < 4096; i++)
		CHECK_EQ(pm_free(m, 0, i * 1031 % 4096, 0), PM_OK);
	CHECK_EQ(rig_blocks(m, 0, PM_MAX_ORDER, PM_MT_MOVABLE), 4);
	rig_destroy(m);
}

/// The last freed block comes first, except one whose pair would merge further: that one waits at the tail.
static void the_tail_rule(void)
{
	struct pm_machine *m = rig_one_zone(1024, 1, rig_bare());

	rig_fill(m, 1024, RIG_MOVABLE);
	rig_free_range(m, 8, 9);
	rig_free_range(m, 16, 17);
	rig_free_range(m, 6, 8);
	CHECK_EQ(rig_blocks(m, 0, 1, PM_MT_MOVABLE), 1);
	rig_free_range(m, 4, 5); /* the pair 4-5 stands beside the free pair 6-7: tail */
	rig_free_range(m, 32, 33);
	CHECK_EQ(rig_alloc(m, 0, RIG_MOVABLE), 32);
	CHECK_EQ(rig_alloc(m, 0, RIG_MOVABLE), 16);
	CHECK_EQ(rig_alloc(m, 0, RIG_MOVABLE), 8);
	CHECK_EQ(rig_alloc(m, 0, RIG_MOVABLE), 4);
	CHECK_EQ(rig_alloc(m, 0, RIG_MOVABLE), 6);
	rig_destroy(m);
}

/// From order 9 on there is no pair to wait for: always the head.
static void large_blocks_go_to_the_head(void)
{
	struct pm_machine *m = rig_one_zone(4096, 1, rig_bare());
	uint64_t pfns[8], i;

	for (i = 0; i < 8; i++)
		pfns[i] = rig_alloc(m, 9, RIG_MOVABLE);
	CHECK_EQ(pm_free(m, 0, pfns[2], 9), PM_OK);
	CHECK_EQ(pm_free(m, 0, pfns[5], 9), PM_OK);
	CHECK_EQ(rig_alloc(m, 9, RIG_MOVABLE), pfns[5]);
	CHECK_EQ(rig_alloc(m, 9, RIG_MOVABLE), pfns[2]);
	/* Not even beside a free block of order 10. */
	CHECK_EQ(pm_free(m, 0, pfns[5], 9), PM_OK);
	CHECK_EQ(pm_free(m, 0, pfns[0], 9), PM_OK);
	CHECK_EQ(pm_free(m, 0, pfns[1], 9), PM_OK);
	CHECK_EQ(pm_free(m, 0, pfns[2], 9), PM_OK);
	CHECK_EQ(rig_alloc(m, 9, RIG_MOVABLE), pfns[2]);
	rig_destroy(m);
}

static void the_edges_of_a_zone_do_not_merge(void)
{
	struct pm_zone_layout zones[] = { { PM_ZONE_DMA32, 512 + 3, 512 - 3 }, { PM_ZONE_NORMAL, 1024, 512 + 5 } };
	struct pm_layout layout = { .zones = zones, .nr_zones = 2, .nr_cpus = 1, .settings = rig_bare() };
	struct pm_machine *m;
	uint64_t pfn;

	memset(layout.settings.lowmem_reserve_ratio, 0, sizeof(layout.settings.lowmem_reserve_ratio));
	m = rig_create(&layout);

	CHECK_EQ(rig_zone(m, 0).nr_free, 509);
	CHECK_EQ(rig_zone(m, 1).nr_free, 517);
	while ((pfn = rig_alloc(m, 0, RIG_MOVABLE)) != UINT64_MAX)
		;
	rig_free_range(m, 515, 1024 + 517);
	CHECK_EQ(rig_blocks(m, 0, 0, PM_MT_MOVABLE), 1);
	CHECK_EQ(rig_blocks(m, 0, 8, PM_MT_MOVABLE), 1);
	CHECK_EQ(rig_blocks(m, 1, 9, PM_MT_MOVABLE), 1);
	CHECK_EQ(rig_blocks(m, 1, 2, PM_MT_MOVABLE), 1);
	CHECK_EQ(rig_blocks(m, 1, 0, PM_MT_MOVABLE), 1);
	rig_destroy(m);
}

static void take_splits_around_a_given_frame(void)
{
	struct pm_machine *m = rig_one_zone(2048, 1, rig_bare());

	CHECK_EQ(pm_take(m, 1024 + 13, 0, PM_MT_UNMOVABLE), PM_OK);
	CHECK_EQ(rig_frame(m, 1024 + 13).state, PM_STATE_USED);
	CHECK_EQ(rig_frame(m, 1024 + 13).migratetype, PM_MT_UNMOVABLE);
	CHECK_EQ(rig_frame(m, 1024 + 12).order, 0);
	CHECK_EQ(rig_frame(m, 1024 + 14).order, 1);
	CHECK_EQ(rig_frame(m, 1024 + 8).order, 2);
	CHECK_EQ(rig_frame(m, 1024).order, 3);
	CHECK_EQ(pm_take(m, 1024 + 13, 0, PM_MT_UNMOVABLE), PM_ERR_BUSY);
	CHECK_EQ(pm_take(m, 1024 + 12, 1, PM_MT_MOVABLE), PM_ERR_BUSY);
	CHECK_EQ(pm_take(m, 1024 + 13, 1, PM_MT_MOVABLE), PM_ERR_ORDER);
	CHECK_EQ(pm_take(m, 0, 10, PM_MT_RECLAIMABLE), PM_OK);
	CHECK_EQ(pm_take(m, 0, 11, PM_MT_MOVABLE), PM_ERR_INVAL);
	CHECK_EQ(pm_take(m, 0, 0, PM_MT_HIGHATOMIC), PM_ERR_INVAL);
	CHECK_EQ(pm_take(m, 2048, 0, PM_MT_MOVABLE), PM_ERR_RANGE);
	CHECK_EQ(pm_free(m, 0, 1024 + 13, 0), PM_OK);
	CHECK_EQ(pm_free(m, 0, 0, 10), PM_OK);
	CHECK_EQ(rig_blocks(m, 0, 10, PM_MT_MOVABLE), 2);
	rig_destroy(m);
}

static void buddies_of_different_types(void)
{
	struct pm_machine *m = rig_one_zone(1024, 1, rig_bare());

	/* Unmovable and movable pageblocks merge, and the freed one's type wins. */
	CHECK_EQ(rig_alloc(m, 9, RIG_MOVABLE), 0);
	CHECK_EQ(pm_set_pageblock_type(m, 0, PM_MT_UNMOVABLE), PM_OK);
	CHECK_EQ(pm_free(m, 0, 0, 9), PM_OK);
	CHECK_EQ(rig_blocks(m, 0, 10, PM_MT_UNMOVABLE), 1);
	CHECK_EQ(rig_frame(m, 600).pageblock_type, PM_MT_UNMOVABLE);
	/* The atomic reserve stays apart. */
	CHECK_EQ(rig_alloc(m, 9, RIG_UNMOVABLE), 0);
	CHECK_EQ(pm_set_pageblock_type(m, 0, PM_MT_HIGHATOMIC), PM_OK);
	CHECK_EQ(pm_free(m, 0, 0, 9), PM_OK);
	CHECK_EQ(rig_blocks(m, 0, 9, PM_MT_HIGHATOMIC), 1);
	CHECK_EQ(rig_blocks(m, 0, 9, PM_MT_UNMOVABLE), 1);
	CHECK_EQ(rig_zone(m, 0).nr_free_highatomic, 512);
	rig_destroy(m);
}

int main(void)
{
	RUN(a_split_leaves_one_block_of_each_order);
	RUN(all_frames_merge_back_in_any_order);
	RUN(the_tail_rule);
	RUN(large_blocks_go_to_the_head);
	RUN(the_edges_of_a_zone_do_not_merge);
	RUN(take_splits_around_a_given_frame);
	RUN(buddies_of_different_types);
	return check_result();
}
