/// Split, merge and where a freed block goes on its list.
#include "tests/rig.h"

static void a_split_leaves_one_block_of_each_order(void)
{
	struct pm_machine *m = rig_one_zone(2 * PB, 1, rig_bare());
	uint32_t o;

	CHECK_EQ(rig_alloc(m, 0, RIG_MOVABLE), 0);
	for (o = 0; o <= PB_ORDER; o++)
		CHECK_EQ(rig_blocks(m, 0, o, PM_MT_MOVABLE), 1);
	CHECK_EQ(rig_zone(m, 0).nr_free, 2 * PB - 1);
	CHECK_EQ(pm_free(m, 0, 0, 0), PM_OK);
	CHECK_EQ(rig_blocks(m, 0, PB_ORDER + 1, PM_MT_MOVABLE), 1);
	CHECK_EQ(rig_zone(m, 0).nr_free, 2 * PB);
	rig_destroy(m);
}

static void all_frames_merge_back_in_any_order(void)
{
	struct pm_machine *m = rig_one_zone(8 * PB, 1, rig_bare());
	uint64_t i;

	rig_fill(m, 8 * PB, RIG_MOVABLE);
	CHECK_EQ(rig_zone(m, 0).nr_free, 0);
	/* 1031 is prime to a power of two: each frame comes once. */
	for (i = 0; i < 8 * PB; i++)
		CHECK_EQ(pm_free(m, 0, i * 1031 % (8 * PB), 0), PM_OK);
	CHECK_EQ(rig_blocks(m, 0, PM_MAX_ORDER, PM_MT_MOVABLE), 8 * PB >> PM_MAX_ORDER);
	rig_destroy(m);
}

/// The last freed block comes first, except one whose pair would merge further: that one waits at the tail.
static void the_tail_rule(void)
{
	struct pm_machine *m = rig_one_zone(2 * PB, 1, rig_bare());

	rig_fill(m, 2 * PB, RIG_MOVABLE);
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

/// The same of a larger block, and of one that is the upper half of the pair.
static void the_tail_rule_of_upper_halves(void)
{
	struct pm_machine *m = rig_one_zone(2 * PB, 1, rig_bare());

	rig_fill(m, 2 * PB, RIG_MOVABLE);
	rig_free_range(m, 4, 8);   /* the pair 0-3 would merge with it */
	rig_free_range(m, 32, 34);
	rig_free_range(m, 2, 4);   /* upper half of that pair: tail */
	CHECK_EQ(rig_alloc(m, 1, RIG_MOVABLE), 32);
	CHECK_EQ(rig_alloc(m, 1, RIG_MOVABLE), 2);
	rig_destroy(m);
}

/// From the largest order but one on there is no pair to wait for: always the head.
static void large_blocks_go_to_the_head(void)
{
	struct pm_machine *m = rig_one_zone(4 << PM_MAX_ORDER, 1, rig_bare());
	uint64_t pfns[8], i;

	for (i = 0; i < 8; i++)
		pfns[i] = rig_alloc(m, PM_MAX_ORDER - 1, RIG_MOVABLE);
	CHECK_EQ(pm_free(m, 0, pfns[2], PM_MAX_ORDER - 1), PM_OK);
	CHECK_EQ(pm_free(m, 0, pfns[5], PM_MAX_ORDER - 1), PM_OK);
	CHECK_EQ(rig_alloc(m, PM_MAX_ORDER - 1, RIG_MOVABLE), pfns[5]);
	CHECK_EQ(rig_alloc(m, PM_MAX_ORDER - 1, RIG_MOVABLE), pfns[2]);
	/* Not even beside a free block of the largest order. */
	CHECK_EQ(pm_free(m, 0, pfns[5], PM_MAX_ORDER - 1), PM_OK);
	CHECK_EQ(pm_free(m, 0, pfns[0], PM_MAX_ORDER - 1), PM_OK);
	CHECK_EQ(pm_free(m, 0, pfns[1], PM_MAX_ORDER - 1), PM_OK);
	CHECK_EQ(pm_free(m, 0, pfns[2], PM_MAX_ORDER - 1), PM_OK);
	CHECK_EQ(rig_alloc(m, PM_MAX_ORDER - 1, RIG_MOVABLE), pfns[2]);
	rig_destroy(m);
}

static void the_edges_of_a_zone_do_not_merge(void)
{
	struct pm_zone_layout zones[] = { { PM_ZONE_DMA32, PB + 3, PB - 3 }, { PM_ZONE_NORMAL, 2 * PB, PB + 5 } };
	struct pm_layout layout = { .zones = zones, .nr_zones = 2, .nr_cpus = 1, .settings = rig_bare() };
	struct pm_machine *m;
	uint64_t pfn;

	memset(layout.settings.lowmem_reserve_ratio, 0, sizeof(layout.settings.lowmem_reserve_ratio));
	m = rig_create(&layout);

	CHECK_EQ(rig_zone(m, 0).nr_free, (PB - 3));
	CHECK_EQ(rig_zone(m, 1).nr_free, (PB + 5));
	while ((pfn = rig_alloc(m, 0, RIG_MOVABLE)) != UINT64_MAX)
		;
	rig_free_range(m, PB + 3, 3 * PB + 5);
	CHECK_EQ(rig_blocks(m, 0, 0, PM_MT_MOVABLE), 1);
	CHECK_EQ(rig_blocks(m, 0, PB_ORDER - 1, PM_MT_MOVABLE), 1);
	CHECK_EQ(rig_blocks(m, 1, PB_ORDER, PM_MT_MOVABLE), 1);
	CHECK_EQ(rig_blocks(m, 1, 2, PM_MT_MOVABLE), 1);
	CHECK_EQ(rig_blocks(m, 1, 0, PM_MT_MOVABLE), 1);
	rig_destroy(m);
}

static void take_splits_around_a_given_frame(void)
{
	struct pm_machine *m = rig_one_zone(4 * PB, 1, rig_bare());

	CHECK_EQ(pm_take(m, 2 * PB + 13, 0, PM_MT_UNMOVABLE), PM_OK);
	CHECK_EQ(rig_frame(m, 2 * PB + 13).state, PM_STATE_USED);
	CHECK_EQ(rig_frame(m, 2 * PB + 13).migratetype, PM_MT_UNMOVABLE);
	CHECK_EQ(rig_frame(m, 2 * PB + 12).order, 0);
	CHECK_EQ(rig_frame(m, 2 * PB + 14).order, 1);
	CHECK_EQ(rig_frame(m, 2 * PB + 8).order, 2);
	CHECK_EQ(rig_frame(m, 2 * PB).order, 3);
	CHECK_EQ(pm_take(m, 2 * PB + 13, 0, PM_MT_UNMOVABLE), PM_ERR_BUSY);
	CHECK_EQ(pm_take(m, 2 * PB + 12, 1, PM_MT_MOVABLE), PM_ERR_BUSY);
	CHECK_EQ(pm_take(m, 2 * PB + 13, 1, PM_MT_MOVABLE), PM_ERR_ORDER);
	CHECK_EQ(pm_take(m, 0, PB_ORDER + 1, PM_MT_RECLAIMABLE), PM_OK);
	CHECK_EQ(pm_take(m, 0, PM_NR_ORDERS, PM_MT_MOVABLE), PM_ERR_INVAL);
	CHECK_EQ(pm_take(m, 0, 0, PM_MT_HIGHATOMIC), PM_ERR_INVAL);
	CHECK_EQ(pm_take(m, 4 * PB, 0, PM_MT_MOVABLE), PM_ERR_RANGE);
	CHECK_EQ(pm_free(m, 0, 2 * PB + 13, 0), PM_OK);
	CHECK_EQ(pm_free(m, 0, 0, PB_ORDER + 1), PM_OK);
	CHECK_EQ(rig_blocks(m, 0, PM_MAX_ORDER, PM_MT_MOVABLE), 4 * PB >> PM_MAX_ORDER);
	rig_destroy(m);
}

static void buddies_of_different_types(void)
{
	struct pm_machine *m = rig_one_zone(2 * PB, 1, rig_bare());

	/* Unmovable and movable pageblocks merge, and the freed one's type wins. */
	CHECK_EQ(rig_alloc(m, PB_ORDER, RIG_MOVABLE), 0);
	CHECK_EQ(pm_set_pageblock_type(m, 0, PM_MT_UNMOVABLE), PM_OK);
	CHECK_EQ(pm_free(m, 0, 0, PB_ORDER), PM_OK);
	CHECK_EQ(rig_blocks(m, 0, PB_ORDER + 1, PM_MT_UNMOVABLE), 1);
	CHECK_EQ(rig_frame(m, PB + 88).pageblock_type, PM_MT_UNMOVABLE);
	/* The atomic reserve stays apart. */
	CHECK_EQ(rig_alloc(m, PB_ORDER, RIG_UNMOVABLE), 0);
	CHECK_EQ(pm_set_pageblock_type(m, 0, PM_MT_HIGHATOMIC), PM_OK);
	CHECK_EQ(pm_free(m, 0, 0, PB_ORDER), PM_OK);
	CHECK_EQ(rig_blocks(m, 0, PB_ORDER, PM_MT_HIGHATOMIC), 1);
	CHECK_EQ(rig_blocks(m, 0, PB_ORDER, PM_MT_UNMOVABLE), 1);
	CHECK_EQ(rig_zone(m, 0).nr_free_highatomic, PB);
	rig_destroy(m);
}

int main(void)
{
	RUN(a_split_leaves_one_block_of_each_order);
	RUN(all_frames_merge_back_in_any_order);
	RUN(the_tail_rule);
	RUN(the_tail_rule_of_upper_halves);
	RUN(large_blocks_go_to_the_head);
	RUN(the_edges_of_a_zone_do_not_merge);
	RUN(take_splits_around_a_given_frame);
	RUN(buddies_of_different_types);
	return check_result();
}
