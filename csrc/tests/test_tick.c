/// Ticks: background work happens when the host lets time pass, and equal ticks do equal things.
#include "tests/check.h"
#include "tests/space_rig.h"

#define SECOND ((uint64_t)1000000000)

static struct space_rig make(uint64_t swap)
{
	struct space_rig_options o = space_options();
	struct pm_tick_report report;
	struct space_rig rig;

	o.nr_frames = 16384;
	o.pcp = true;
	o.swap = swap;
	rig = space_rig_make(&o);
	/* What compaction keeps until the machine goes. */
	REQUIRE(pm_tick(rig.m, 0, 0, &report) == PM_OK);
	rig.pieces = space_pieces(rig.m);
	return rig;
}

static struct pm_tick_report tick(struct pm_machine *m, uint64_t ns)
{
	struct pm_tick_report report;

	REQUIRE(pm_tick(m, 0, ns, &report) == PM_OK);
	return report;
}

static void lists_decay_once_a_second(void)
{
	struct space_rig rig = make(0);
	uint64_t pfns[3000];
	struct pm_pcp_info busy, quiet;
	size_t done, i;

	/* Frames come and go, so the lists learn to hold many. */
	for (i = 0; i < 20; i++) {
		REQUIRE(pm_alloc_bulk(rig.m, 1, 0, PM_GFP_KERNEL, 3000, pfns, &done) == PM_OK);
		REQUIRE(pm_free_bulk(rig.m, 1, 0, 3000, pfns, &done) == PM_OK);
	}
	REQUIRE(pm_pcp_info(rig.m, 1, 0, &busy) == PM_OK);
	CHECK(busy.count > 0);
	CHECK_EQ(tick(rig.m, SECOND - 1).drained, 0);
	REQUIRE(pm_pcp_info(rig.m, 1, 0, &quiet) == PM_OK);
	CHECK_EQ(quiet.high, busy.high);
	(void)tick(rig.m, 1);
	REQUIRE(pm_pcp_info(rig.m, 1, 0, &quiet) == PM_OK);
	CHECK(quiet.high < busy.high);
	CHECK_EQ(pm_clock_now(rig.m), SECOND);
	/* An hour: all that decays has decayed. */
	CHECK(tick(rig.m, 3600 * SECOND).drained > 0);
	REQUIRE(pm_pcp_info(rig.m, 1, 0, &quiet) == PM_OK);
	CHECK_EQ(quiet.high, quiet.high_min);
	CHECK(quiet.count <= quiet.high);
	space_rig_end(&rig);
}

static void kswapd_keeps_memory_free(void)
{
	struct space_rig rig = make(16384);
	uint64_t space = space_make(rig.m), at = space_map(rig.m, space, 20000), done, page;
	struct pm_zone_info zone;

	/* Until just below the LOW mark. */
	zone = rig_zone(rig.m, 0);
	for (page = 0; zone.nr_free >= zone.wmark[1]; page++) {
		REQUIRE(pm_touch(rig.m, 0, space, at + page * PAGE, PAGE, true, &done) == PM_OK);
		zone = rig_zone(rig.m, 0);
	}
	CHECK(tick(rig.m, 1000).reclaimed > 0);
	zone = rig_zone(rig.m, 0);
	CHECK(zone.nr_free >= zone.wmark[2]);
	CHECK_EQ(tick(rig.m, 1000).reclaimed, 0);
	space_exit(rig.m, space);
	space_rig_end(&rig);
}

static void what_is_refused(void)
{
	struct pm_machine *m = rig_one_zone(1024, 2, rig_bare());
	struct space_rig rig = make(0);
	struct pm_tick_report report;

	CHECK_EQ(pm_tick(m, 0, 1, &report), PM_ERR_STATE);
	CHECK_EQ(pm_tick(rig.m, 4, 1, &report), PM_ERR_INVAL);
	CHECK_EQ(pm_tick(rig.m, 0, (uint64_t)1 << 62, &report), PM_ERR_INVAL);
	CHECK_EQ(pm_clock_now(rig.m), 0);
	pm_machine_destroy(m);
	space_rig_end(&rig);
}

int main(void)
{
	RUN(lists_decay_once_a_second);
	RUN(kswapd_keeps_memory_free);
	RUN(what_is_refused);
	return check_result();
}
