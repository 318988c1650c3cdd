/// Allocations that find no block, and kcompactd: what each policy does in which order, and when the background works.
#include "phys/machine.h"
#include "tests/compact_rig.h"

enum { MS = 1000 * 1000, COSTLY = PM_COSTLY_ORDER + 2 };

static enum cr_what every_other(uint64_t pfn)
{
	return pfn % 2 ? CR_ANON : CR_FREE;
}

/// Only one frame a pageblock is free.
static enum cr_what nearly_full(uint64_t pfn)
{
	return pfn % PB == 1 ? CR_FREE : CR_ANON;
}

static enum cr_what all_stuck(uint64_t pfn)
{
	return pfn % 4 == 3 ? CR_STUCK : CR_FREE;
}

static void open_with(struct compact_rig *r, enum cr_what (*what)(uint64_t))
{
	cr_open(r, 16, NULL, PM_CONTENTS_PRIVATE, 0);
	cr_lay(r, 0, what);
}

static void end(struct compact_rig *r)
{
	cr_check(r);
	cr_close(r);
}

static struct pm_slow_request ask(uint32_t order, uint32_t policy)
{
	return (struct pm_slow_request){ .order = order, .gfp = PM_GFP_HIGHUSER_MOVABLE, .policy = policy, .strategy = PM_STRATEGY_LINUX };
}

/// Allocates, checks that what is there is a block of the order, and gives it back.
static struct pm_slow_report get(struct compact_rig *r, const struct pm_slow_request *request)
{
	struct pm_slow_report report;
	uint64_t pfn = PM_NO_FRAME;

	CHECK_EQ(pm_alloc_slow(r->m, 0, request, &report, &pfn), PM_OK);
	REQUIRE(pfn != PM_NO_FRAME);
	CHECK_EQ(pfn % (1u << request->order), 0);
	CHECK_EQ(rig_frame(r->m, pfn).order, request->order);
	CHECK_EQ(rig_frame(r->m, pfn).state, PM_STATE_USED);
	CHECK_EQ(pm_free(r->m, 0, pfn, request->order), PM_OK);
	return report;
}

static void what_is_there_costs_nothing(void)
{
	struct compact_rig r;
	struct pm_slow_request request = ask(0, PM_POLICY_LINUX);
	struct pm_slow_report report;

	open_with(&r, every_other);
	report = get(&r, &request);
	CHECK(!report.slow && !report.compactions && !report.reclaims);
	end(&r);
}

/// With half of memory free in single frames, a costly request moves and does not reclaim; the block is captured.
static void linux_compacts_first_for_costly_orders(void)
{
	struct compact_rig r;
	uint32_t order;

	for (order = PM_COSTLY_ORDER + 1; order <= PB_ORDER; order++) {
		struct pm_slow_request request = ask(order, PM_POLICY_LINUX);
		struct pm_slow_report report;

		open_with(&r, every_other);
		report = get(&r, &request);
		CHECK_EQ(report.slow, 1);
		CHECK_EQ(report.compactions, 1);
		CHECK_EQ(report.priority, PM_COMPACT_ASYNC);
		CHECK_EQ(report.status, PM_COMPACTED_CAPTURED);
		CHECK_EQ(report.captured, 1);
		CHECK_EQ(report.reclaims, 0);
		CHECK(report.moved > 0 && report.scanned >= report.moved);
		end(&r);
	}
}

/// A small movable request reclaims first, as in 6.x; a small unmovable one compacts first.
static void linux_reclaims_first_for_small_movable_requests(void)
{
	struct compact_rig r;
	struct pm_slow_request request = ask(1, PM_POLICY_LINUX);
	struct pm_slow_report report;

	open_with(&r, every_other);
	report = get(&r, &request);
	CHECK(report.reclaims >= 1 && report.reclaimed > 0);
	end(&r);
	open_with(&r, every_other);
	request.gfp = PM_GFP_KERNEL;
	/* Its first try looks at pageblocks of its own type only. */
	REQUIRE(pm_set_pageblock_type(r.m, 0, PM_MT_UNMOVABLE) == PM_OK);
	report = get(&r, &request);
	CHECK_EQ(report.compactions, 1);
	CHECK_EQ(report.reclaims, 0);
	end(&r);
}

/// With too little free memory compaction is left out, and reclaim makes room.
static void reclaim_makes_room(void)
{
	uint32_t policy;

	for (policy = 0; policy < PM_NR_POLICIES; policy++) {
		struct compact_rig r;
		struct pm_slow_request request = ask(COSTLY, policy);
		struct pm_slow_report report;
		uint64_t pfn = 0;
		enum pm_status status;

		open_with(&r, nearly_full);
		/* All but a few frames above LOW are used: order 0 is low as well. */
		r.m->zone[0].wmark[PM_WMARK_LOW] = 64;
		request.gfp |= PM_GFP_RETRY_MAYFAIL;
		status = pm_alloc_slow(r.m, 0, &request, &report, &pfn);
		CHECK(report.reclaims >= 1 && report.reclaimed >= 32);
		if (policy == PM_POLICY_LINUX)
			CHECK_EQ(status, PM_OK);
		if (policy == PM_POLICY_PIGGIN)
			CHECK_EQ(report.compactions, 0);
		if (!status)
			CHECK_EQ(pm_free(r.m, 0, pfn, COSTLY), PM_OK);
		r.m->zone[0].wmark[PM_WMARK_LOW] = 0;
		end(&r);
	}
}

/// Piggin: enough is free, so one easy try is made, and it is enough; nothing is reclaimed. Where it fails, reclaim follows.
static void piggin_coalesces_before_it_reclaims(void)
{
	struct compact_rig r;
	struct pm_slow_request request = ask(COSTLY, PM_POLICY_PIGGIN);
	struct pm_slow_report report;
	uint64_t pfn;

	open_with(&r, every_other);
	report = get(&r, &request);
	CHECK_EQ(report.compactions, 1);
	CHECK_EQ(report.priority, PM_COMPACT_ASYNC);
	CHECK_EQ(report.reclaims, 0);
	end(&r);
	open_with(&r, all_stuck);
	CHECK_EQ(pm_alloc_slow(r.m, 0, &request, &report, &pfn), PM_ERR_NO_BLOCK);
	CHECK_EQ(report.compactions, 1);
	CHECK(report.reclaims >= 1);
	end(&r);
}

static void reclaim_policy_never_moves(void)
{
	struct compact_rig r;
	struct pm_slow_request request = ask(1, PM_POLICY_RECLAIM);
	struct pm_slow_report report;

	open_with(&r, every_other);
	report = get(&r, &request);
	CHECK_EQ(report.compactions, 0);
	CHECK_EQ(report.moved, 0);
	CHECK(report.reclaimed > 0);
	end(&r);
}

/// Nobody can make a block: the call ends, with the reason, having tried as often as the flags say.
static void what_cannot_be_had_ends(void)
{
	struct compact_rig r;
	struct pm_slow_request request = ask(COSTLY, PM_POLICY_LINUX);
	struct pm_slow_report report;
	uint64_t pfn;

	open_with(&r, all_stuck);
	CHECK_EQ(pm_alloc_slow(r.m, 0, &request, &report, &pfn), PM_ERR_NO_BLOCK);
	CHECK_EQ(report.compactions, 2);
	CHECK_EQ(report.reclaims, 1);
	CHECK_EQ(report.priority, PM_COMPACT_SYNC_LIGHT);
	/* A small order tries the hardest way as well. */
	request.order = 2;
	CHECK_EQ(pm_alloc_slow(r.m, 0, &request, &report, &pfn), PM_ERR_NO_BLOCK);
	CHECK_EQ(report.priority, PM_COMPACT_FULL);
	/* Who may not wait only wakes kcompactd. */
	request.gfp = PM_GFP_NOWAIT;
	CHECK_EQ(pm_alloc_slow(r.m, 0, &request, &report, &pfn), PM_ERR_NO_BLOCK);
	CHECK(report.slow && !report.compactions && !report.reclaims);
	request.policy = PM_NR_POLICIES;
	CHECK_EQ(pm_alloc_slow(r.m, 0, &request, &report, &pfn), PM_ERR_INVAL);
	end(&r);
}

/* ---- kcompactd ---- */

static struct pm_kcompactd_report tick(struct compact_rig *r, uint64_t now_ns)
{
	struct pm_kcompactd_report report;

	CHECK_EQ(pm_kcompactd_tick(r->m, 0, now_ns, &report), PM_OK);
	return report;
}

static void set_proactiveness(struct compact_rig *r, uint32_t proactiveness)
{
	struct pm_compact_settings settings;

	REQUIRE(pm_compact_settings(r->m, &settings) == PM_OK);
	settings.proactiveness = proactiveness;
	REQUIRE(pm_set_compact_settings(r->m, &settings) == PM_OK);
}

/// It works for a request that was refused, once, and not without one.
static void kcompactd_works_for_requests(void)
{
	struct compact_rig r;
	struct pm_slow_request request = ask(COSTLY, PM_POLICY_LINUX);
	struct pm_slow_report slow;
	struct pm_kcompactd_report report;
	uint64_t pfn;

	open_with(&r, every_other);
	set_proactiveness(&r, 0);
	CHECK_EQ(tick(&r, 0).order, 0);
	request.gfp = PM_GFP_HIGHUSER_MOVABLE & ~PM_GFP_DIRECT_RECLAIM;
	CHECK_EQ(pm_alloc_slow(r.m, 0, &request, &slow, &pfn), PM_ERR_NO_BLOCK);
	report = tick(&r, 1 * MS);
	CHECK_EQ(report.order, COSTLY);
	CHECK_EQ(report.compact.status, PM_COMPACTED_SUCCESS);
	CHECK(report.compact.moved > 0);
	CHECK_EQ(pm_alloc_slow(r.m, 0, &request, &slow, &pfn), PM_OK);
	CHECK(!slow.slow);
	CHECK_EQ(pm_free(r.m, 0, pfn, COSTLY), PM_OK);
	CHECK_EQ(tick(&r, 2 * MS).order, 0);
	end(&r);
}

/// With too little free memory it does not begin; once kswapd has made some, it does. The request is not forgotten meanwhile.
static void kcompactd_waits_for_free_memory(void)
{
	struct compact_rig r;
	uint64_t pfn, dropped = 0;

	open_with(&r, nearly_full);
	set_proactiveness(&r, 0);
	CHECK_EQ(pm_kcompactd_wake(r.m, COSTLY, PM_GFP_HIGHUSER_MOVABLE), PM_OK);
	CHECK_EQ(pm_kcompactd_wake(r.m, PM_NR_ORDERS, PM_GFP_HIGHUSER_MOVABLE), PM_ERR_INVAL);
	CHECK_EQ(tick(&r, 0).order, 0);
	for (pfn = 0; pfn < r.nr_frames && dropped < 3 << COSTLY; pfn += 3)
		if (r.addr_of[pfn]) {
			cr_drop(&r, pfn);
			dropped++;
		}
	CHECK_EQ(tick(&r, 1).order, COSTLY);
	end(&r);
}

/// Every 500 ms the score is looked at: above the high mark it compacts down to the low one.
static void kcompactd_is_proactive(void)
{
	struct compact_rig r;
	struct pm_kcompactd_report report;

	open_with(&r, every_other);
	report = tick(&r, 0);
	CHECK_EQ(report.score_before, 99);
	CHECK_EQ(report.proactive, 1);
	CHECK(report.score_after <= 80);
	CHECK(report.compact.status == PM_COMPACTED_SUCCESS && report.compact.moved > 0);
	/* Not all of it: the zone was left once it was at the low mark. */
	CHECK(report.score_after > 60);
	CHECK_EQ(report.next_ns, 500 * MS);
	/* Between the marks, and before its time, it does nothing. */
	CHECK_EQ(tick(&r, 499 * MS).proactive, 0);
	CHECK_EQ(tick(&r, 500 * MS).proactive, 0);
	set_proactiveness(&r, 100);
	report = tick(&r, 1000 * MS);
	CHECK_EQ(report.proactive, 1);
	CHECK(report.score_after < 20);
	end(&r);
}

/// What cannot be made better is left alone for 64 times as long; 0 switches it off; while kswapd works it waits.
static void kcompactd_backs_off(void)
{
	struct compact_rig r;
	struct pm_kcompactd_report report;

	open_with(&r, all_stuck);
	set_proactiveness(&r, 0);
	CHECK_EQ(tick(&r, 0).proactive, 0);
	set_proactiveness(&r, 20);
	REQUIRE(pm_set_reclaim_active(r.m, 0, true) == PM_OK);
	CHECK_EQ(tick(&r, 500 * MS).proactive, 0);
	REQUIRE(pm_set_reclaim_active(r.m, 0, false) == PM_OK);
	report = tick(&r, 1000 * MS);
	CHECK_EQ(report.proactive, 1);
	CHECK_EQ(report.score_after, report.score_before);
	CHECK_EQ(report.next_ns, (1000 + 64 * 500ull) * MS);
	CHECK_EQ(tick(&r, 32999ull * MS).proactive, 0);
	CHECK_EQ(tick(&r, 33000ull * MS).proactive, 1);
	end(&r);
}

/// The skip hints that a request's compaction left behind are forgotten at the next tick, once all of the zone was gone over.
static void kcompactd_forgets_old_hints(void)
{
	struct compact_rig r;
	struct pm_compact_request request = cr_one(PB_ORDER, PM_COMPACT_SYNC_LIGHT);
	struct pm_compact_zone_info info;

	open_with(&r, all_stuck);
	set_proactiveness(&r, 0);
	(void)cr_compact(&r, &request);
	REQUIRE(pm_compact_zone_info(r.m, 0, &info) == PM_OK);
	CHECK(info.skipped >= 15);
	(void)tick(&r, 0);
	REQUIRE(pm_compact_zone_info(r.m, 0, &info) == PM_OK);
	CHECK_EQ(info.skipped, 0);
	end(&r);
}

int main(void)
{
	RUN(what_is_there_costs_nothing);
	RUN(linux_compacts_first_for_costly_orders);
	RUN(linux_reclaims_first_for_small_movable_requests);
	RUN(reclaim_makes_room);
	RUN(piggin_coalesces_before_it_reclaims);
	RUN(reclaim_policy_never_moves);
	RUN(what_cannot_be_had_ends);
	RUN(kcompactd_works_for_requests);
	RUN(kcompactd_waits_for_free_memory);
	RUN(kcompactd_is_proactive);
	RUN(kcompactd_backs_off);
	RUN(kcompactd_forgets_old_hints);
	return check_result();
}
