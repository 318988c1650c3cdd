/// What depends on the size of a page: sizes that an administrator and the kernel give in bytes come out in frames.
#include "tests/rig.h"

static void sizes_in_bytes(void)
{
	struct pm_settings settings;
	struct pm_machine *m;

	pm_settings_default(&settings);
	m = rig_one_zone(((uint64_t)1 << 30) >> PM_PAGE_SHIFT, 1, settings);
	/* min_free_kbytes of 1 GiB is 4 MiB; a batch is 256 KiB less one frame. */
	CHECK_EQ(rig_zone(m, 0).wmark[0] << PM_PAGE_SHIFT, 4 << 20);
	CHECK_EQ((uint64_t)(rig_pcp(m, 0, 0).batch + 1) << PM_PAGE_SHIFT, 256 << 10);
	rig_destroy(m);
	/* No larger where there is more memory. */
	m = rig_one_zone(((uint64_t)16 << 30) >> PM_PAGE_SHIFT, 1, settings);
	CHECK_EQ((uint64_t)(rig_pcp(m, 0, 0).batch + 1) << PM_PAGE_SHIFT, 256 << 10);
	rig_destroy(m);
	settings.min_free_kbytes = 1024;
	m = rig_one_zone(((uint64_t)1 << 30) >> PM_PAGE_SHIFT, 1, settings);
	CHECK_EQ(rig_zone(m, 0).wmark[0] << PM_PAGE_SHIFT, 1 << 20);
	rig_destroy(m);
}

/// Every order up to the largest can be had and given back, and the next is refused.
static void all_orders(void)
{
	struct pm_machine *m = rig_one_zone(4 << PM_MAX_ORDER, 1, rig_bare());
	uint64_t pfns[PM_NR_ORDERS];
	uint32_t order;
	size_t n;

	for (order = 0; order < PM_NR_ORDERS; order++) {
		pfns[order] = rig_alloc(m, order, RIG_MOVABLE);
		CHECK_EQ(rig_frame(m, pfns[order]).order, order);
	}
	CHECK(rig_valid(m));
	CHECK_EQ(rig_alloc_status(m, PM_NR_ORDERS, RIG_MOVABLE), PM_ERR_INVAL);
	for (order = 0; order < PM_NR_ORDERS; order++)
		CHECK_EQ(pm_free(m, 0, pfns[order], order), PM_OK);
	CHECK_EQ(rig_blocks(m, 0, PM_MAX_ORDER, PM_MT_MOVABLE), 4);
	/* In bulk as well; blocks that no per-CPU list holds count, too. */
	CHECK_EQ(pm_alloc_bulk(m, 0, PM_MAX_ORDER, RIG_MOVABLE, 2, pfns, &n), PM_OK);
	CHECK_EQ(pm_free_bulk(m, 0, PM_MAX_ORDER, 2, pfns, &n), PM_OK);
	CHECK_EQ(rig_counters(m).alloc, PM_NR_ORDERS + 2);
	CHECK_EQ(rig_counters(m).free, PM_NR_ORDERS + 2);
	rig_destroy(m);
}

int main(void)
{
	RUN(sizes_in_bytes);
	RUN(all_orders);
	return check_result();
}
