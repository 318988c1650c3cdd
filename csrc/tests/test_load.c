/// Loading a snapshot: block by block, in the order of the lists.
#include "tests/rig.h"

static struct pm_machine *empty(uint32_t nr_cpus, bool pcp)
{
	static const struct pm_range hole = { PB + 88, PB + 98 }, reserved = { PB + 188, PB + 198 };
	struct pm_zone_layout zone = { PM_ZONE_NORMAL, 0, 4 * PB };
	struct pm_layout layout = {
		.zones = &zone, .nr_zones = 1, .holes = &hole, .nr_holes = 1, .reserved = &reserved, .nr_reserved = 1, .nr_cpus = nr_cpus, .start = PM_START_UNPLACED,
		.settings = rig_bare(),
	};

	layout.settings.pcp = pcp;
	return rig_create(&layout);
}

static enum pm_status load_one(struct pm_machine *m, uint64_t pfn, uint8_t order, uint8_t place, uint8_t type, uint16_t cpu)
{
	size_t n;

	return pm_load_blocks(m, 1, &pfn, &order, &place, &type, &cpu, &n);
}

static void lists_come_out_in_the_order_they_were_loaded(void)
{
	struct pm_machine *m = empty(1, false);
	const uint64_t pfns[] = { 40, 8, 24, 2 * PB };
	const uint8_t orders[] = { 0, 0, 0, PB_ORDER + 1 }, places[] = { 1, 1, 1, 3 }, types[] = { 1, 1, 1, 2 };
	size_t n;

	CHECK_EQ(pm_load_blocks(m, 4, pfns, orders, places, types, NULL, &n), PM_OK);
	CHECK_EQ(n, 4);
	CHECK_EQ(rig_zone(m, 0).nr_unplaced, 4 * PB - 20 - 3 - 2 * PB);
	CHECK(rig_valid(m));
	CHECK_EQ(rig_alloc(m, 0, RIG_MOVABLE), 40);
	CHECK_EQ(rig_alloc(m, 0, RIG_MOVABLE), 8);
	CHECK_EQ(rig_alloc(m, 0, RIG_MOVABLE), 24);
	CHECK_EQ(pm_free(m, 0, 2 * PB, PB_ORDER + 1), PM_OK);
	rig_destroy(m);
}

static void per_cpu_lists(void)
{
	struct pm_machine *m = empty(2, true);

	CHECK_EQ(load_one(m, 5, 0, PM_PLACE_PCP, PM_MT_MOVABLE, 1), PM_OK);
	CHECK_EQ(load_one(m, 4, 0, PM_PLACE_PCP, PM_MT_MOVABLE, 1), PM_OK);
	CHECK_EQ(load_one(m, 2 * PB, PB_ORDER, PM_PLACE_PCP, PM_MT_MOVABLE, 0), PM_OK);
	CHECK_EQ(load_one(m, 8, 3, PM_PLACE_FREE, PM_MT_MOVABLE, 0), PM_OK);
	CHECK_EQ(rig_pcp(m, 1, 0).count, 2);
	CHECK_EQ(rig_pcp(m, 0, 0).count, PB);
	CHECK(rig_valid(m));
	CHECK_EQ(load_one(m, 16, 4, PM_PLACE_PCP, PM_MT_MOVABLE, 0), PM_ERR_INVAL);
	CHECK_EQ(load_one(m, 16, 0, PM_PLACE_PCP, PM_MT_HIGHATOMIC, 0), PM_ERR_INVAL);
	CHECK_EQ(load_one(m, 16, 0, PM_PLACE_PCP, PM_MT_MOVABLE, 2), PM_ERR_INVAL);
	CHECK_EQ(pm_load_pcp(m, 1, 0, 50, 5, 63), PM_OK);
	CHECK_EQ(rig_pcp(m, 1, 0).high, 50);
	CHECK_EQ(rig_pcp(m, 1, 0).alloc_factor, 5);
	CHECK_EQ(rig_pcp(m, 1, 0).free_count, 63);
	rig_destroy(m);
}

/// A machine without per-CPU lists has none after a length was loaded either.
static void a_length_for_lists_that_are_not_there(void)
{
	struct pm_machine *m = rig_one_zone(4 * PB, 1, rig_bare());
	uint64_t pfn = rig_alloc(m, 0, RIG_MOVABLE);

	CHECK_EQ(pm_load_pcp(m, 0, 0, 100, 0, 0), PM_OK);
	CHECK_EQ(pm_free(m, 0, pfn, 0), PM_OK);
	CHECK_EQ(rig_pcp(m, 0, 0).count, 0);
	CHECK_EQ(rig_frame(m, pfn).state, PM_STATE_FREE);
	rig_destroy(m);
}

static void what_cannot_be_placed(void)
{
	struct pm_machine *m = empty(1, false);
	const uint64_t pfns[] = { 0, 2, 0, 9 };
	const uint8_t orders[] = { 1, 0, 0, 0 }, places[] = { 1, 3, 3, 3 }, types[] = { 1, 1, 1, 1 };
	size_t n = 99;

	CHECK_EQ(pm_load_blocks(m, 4, pfns, orders, places, types, NULL, &n), PM_ERR_BUSY);
	CHECK_EQ(n, 2);
	CHECK_EQ(load_one(m, 0, PM_NR_ORDERS, 1, 1, 0), PM_ERR_INVAL);
	CHECK_EQ(load_one(m, 1, 1, 1, 1, 0), PM_ERR_INVAL);
	CHECK_EQ(load_one(m, 8, 0, 0, 1, 0), PM_ERR_INVAL);
	CHECK_EQ(load_one(m, 8, 0, 4, 1, 0), PM_ERR_INVAL);
	CHECK_EQ(load_one(m, 8, 0, 1, 5, 0), PM_ERR_INVAL);
	CHECK_EQ(load_one(m, 4 * PB, 0, 1, 1, 0), PM_ERR_RANGE);
	CHECK_EQ(load_one(m, (uint64_t)1 << 32, 0, 1, 1, 0), PM_ERR_RANGE);
	CHECK_EQ(load_one(m, PB + 93, 0, 1, 1, 0), PM_ERR_RANGE);
	CHECK_EQ(load_one(m, PB + 192, 2, 1, 1, 0), PM_ERR_RESERVED);
	CHECK_EQ(load_one(m, PB + 96, 2, 1, 1, 0), PM_ERR_RANGE);
	rig_destroy(m);
}

static void pageblock_types_come_first(void)
{
	struct pm_machine *m = empty(1, false);
	const uint8_t types[] = { PM_MT_UNMOVABLE, PM_MT_MOVABLE, PM_MT_HIGHATOMIC, PM_MT_RECLAIMABLE };
	const uint8_t bad[] = { PM_MT_ISOLATE };

	CHECK_EQ(pm_load_pageblock_types(m, 0, 1, bad), PM_ERR_INVAL);
	CHECK_EQ(pm_load_pageblock_types(m, 0, 100, types), PM_ERR_RANGE);
	CHECK_EQ(pm_load_pageblock_types(m, UINT64_MAX, 1, types), PM_ERR_RANGE);
	CHECK_EQ(pm_load_pageblock_types(m, 0, 4, types), PM_OK);
	CHECK_EQ(pm_load_pageblock_types(m, 0, 4, types), PM_OK); /* again: counted once */
	CHECK_EQ(rig_zone(m, 0).nr_reserved_highatomic, PB);
	CHECK_EQ(load_one(m, 2 * PB, PB_ORDER, PM_PLACE_FREE, PM_MT_MOVABLE, 0), PM_OK);
	CHECK_EQ(load_one(m, 3 * PB, PB_ORDER, PM_PLACE_FREE, PM_MT_MOVABLE, 0), PM_OK);
	CHECK_EQ(rig_blocks(m, 0, PB_ORDER, PM_MT_HIGHATOMIC), 1);
	CHECK_EQ(rig_blocks(m, 0, PB_ORDER, PM_MT_RECLAIMABLE), 1);
	CHECK_EQ(pm_load_pageblock_types(m, 0, 4, types), PM_ERR_BUSY);
	rig_destroy(m);
}

/// A free block over two pageblocks unites their types, unless one of them keeps apart from the others.
static void a_large_block_over_two_types(void)
{
	struct pm_machine *m = empty(1, false);
	const uint8_t types[] = { PM_MT_MOVABLE, PM_MT_MOVABLE, PM_MT_UNMOVABLE, PM_MT_RECLAIMABLE };
	const uint8_t apart[] = { PM_MT_MOVABLE, PM_MT_HIGHATOMIC };

	CHECK_EQ(pm_load_pageblock_types(m, 0, 4, types), PM_OK);
	CHECK_EQ(load_one(m, 2 * PB, PB_ORDER + 1, PM_PLACE_FREE, PM_MT_MOVABLE, 0), PM_OK);
	CHECK_EQ(rig_blocks(m, 0, PB_ORDER + 1, PM_MT_UNMOVABLE), 1);
	CHECK_EQ(rig_frame(m, 3 * PB + 64).pageblock_type, PM_MT_UNMOVABLE);
	rig_destroy(m);
	m = empty(1, false);
	CHECK_EQ(pm_load_pageblock_types(m, 2, 2, apart), PM_OK);
	CHECK_EQ(load_one(m, 2 * PB, PB_ORDER + 1, PM_PLACE_FREE, PM_MT_MOVABLE, 0), PM_ERR_INVAL);
	rig_destroy(m);
}

/// A machine that was made with its frames free has nowhere to put them again.
static void not_into_a_machine_in_use(void)
{
	struct pm_machine *m = rig_one_zone(2 * PB, 1, rig_bare());
	const uint8_t type = PM_MT_UNMOVABLE;

	CHECK_EQ(load_one(m, 0, 0, PM_PLACE_USED, PM_MT_MOVABLE, 0), PM_ERR_BUSY);
	CHECK_EQ(pm_load_pageblock_types(m, 0, 1, &type), PM_ERR_BUSY);
	rig_destroy(m);
}

int main(void)
{
	RUN(lists_come_out_in_the_order_they_were_loaded);
	RUN(per_cpu_lists);
	RUN(a_length_for_lists_that_are_not_there);
	RUN(what_cannot_be_placed);
	RUN(pageblock_types_come_first);
	RUN(a_large_block_over_two_types);
	RUN(not_into_a_machine_in_use);
	return check_result();
}
