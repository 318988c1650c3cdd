/// Compaction where things go wrong: no memory at any moment, calls that come back half way, bad arguments. Contents stay exact, and nothing is lost.
#include "tests/compact_rig.h"

static enum cr_what every_other(uint64_t pfn)
{
	if (pfn % PB == PB - 1)
		return CR_PINNED;
	if (pfn < 64)
		return CR_LARGE;
	return pfn % 2 ? CR_ANON : CR_FREE;
}

static void open_rig(struct compact_rig *r, uint32_t wait_slices)
{
	cr_open(r, 8, NULL, PM_CONTENTS_PRIVATE, wait_slices);
	cr_lay(r, 3, every_other);
}

/// What is free, owned and counted is what it was: compaction neither makes nor loses frames.
static void check_conserved(struct compact_rig *r, uint64_t nr_free)
{
	struct pm_zone_info zone = rig_zone(r->m, 0);

	CHECK_EQ(zone.nr_free + zone.nr_pcp + zone.nr_isolated, nr_free);
}

typedef enum pm_status (*attempt)(struct compact_rig *r);

static enum pm_status whole_zone(struct compact_rig *r)
{
	struct pm_compact_request request = cr_all();
	struct pm_compact_result result;

	return pm_compact(r->m, 0, &request, &result);
}

static enum pm_status captured_block(struct compact_rig *r)
{
	struct pm_compact_request request = cr_one(PB_ORDER - 1, PM_COMPACT_SYNC_LIGHT);
	struct pm_compact_result result;
	enum pm_status status;

	request.flags = PM_COMPACT_CAPTURE;
	status = pm_compact(r->m, 0, &request, &result);
	if (!status && result.captured != PM_NO_FRAME)
		CHECK_EQ(pm_free(r->m, 0, result.captured, PB_ORDER - 1), PM_OK);
	return status;
}

static enum pm_status slow_allocation(struct compact_rig *r)
{
	struct pm_slow_request request = { .order = 6, .gfp = PM_GFP_HIGHUSER_MOVABLE | PM_GFP_NORETRY, .strategy = PM_STRATEGY_LINUX };
	struct pm_slow_report report;
	uint64_t pfn;
	enum pm_status status = pm_alloc_slow(r->m, 0, &request, &report, &pfn);

	if (!status)
		CHECK_EQ(pm_free(r->m, 0, pfn, 6), PM_OK);
	return status;
}

static enum pm_status background(struct compact_rig *r)
{
	struct pm_kcompactd_report report;

	return pm_kcompactd_tick(r->m, 0, 0, &report);
}

static enum pm_status given_moves(struct compact_rig *r)
{
	struct pm_migrate_result results[32];
	uint64_t from[32], to[32];
	struct pm_compact_result result;
	size_t n = 0;
	uint64_t pfn;

	for (pfn = 65; n < 32; pfn += 2) {
		from[n] = pfn;
		to[n++] = 4 * PB + pfn - 1;
	}
	return pm_compact_moves(r->m, 0, PB_ORDER, PM_MIGRATE_SYNC, PM_PROTOCOL_ENTRY, n, from, to, results, &result);
}

/// Lets the n-th request for memory fail, once and from then on, for n from 1 until the call gets through without meeting it.
static void every_failure_of(attempt call)
{
	unsigned int forever;

	for (forever = 0; forever < 2; forever++) {
		uint64_t nth, requests = 1;

		/* The first rounds try every request; a whole zone asks for a thousand, so it goes on in larger steps. */
		for (nth = 1; requests >= nth; nth += nth < 40 ? 1 : nth / 8) {
			struct compact_rig r;
			struct pm_zone_info zone;
			uint64_t ignored;
			enum pm_status status;

			open_rig(&r, 0);
			zone = rig_zone(r.m, 0);
			REQUIRE(pm_fail_allocations(r.m, nth, forever, &ignored) == PM_OK);
			status = call(&r);
			CHECK(status == PM_OK || status == PM_ERR_NOMEM || status == PM_ERR_WATERMARK || status == PM_ERR_NO_BLOCK);
			REQUIRE(pm_fail_allocations(r.m, 0, false, &requests) == PM_OK);
			check_conserved(&r, zone.nr_free + zone.nr_pcp);
			cr_check(&r);
			/* And then it works. */
			status = call(&r);
			CHECK(status == PM_OK || status == PM_ERR_NO_BLOCK);
			cr_check(&r);
			cr_close(&r);
		}
	}
}

static void every_failure(void)
{
	every_failure_of(whole_zone);
	every_failure_of(captured_block);
	every_failure_of(background);
	every_failure_of(given_moves);
}

/// Reclaim writes to swap and frees, so free frames are not conserved here; contents are.
static void every_failure_of_a_slow_allocation(void)
{
	uint64_t nth, requests = 1, ignored;

	for (nth = 1; requests >= nth; nth++) {
		struct compact_rig r;
		enum pm_status status;

		open_rig(&r, 0);
		REQUIRE(pm_fail_allocations(r.m, nth, true, &ignored) == PM_OK);
		status = slow_allocation(&r);
		CHECK(status == PM_OK || status == PM_ERR_NOMEM || status == PM_ERR_WATERMARK || status == PM_ERR_NO_BLOCK);
		REQUIRE(pm_fail_allocations(r.m, 0, false, &requests) == PM_OK);
		cr_check(&r);
		cr_close(&r);
	}
}

/// A call with limited waits comes back now and then; resumed until it is through, it has done what an unlimited one does.
static void resumed_calls_do_the_same(void)
{
	enum { PAGEBLOCKS = 320 };
	struct pm_map_request map = { .length = (uint64_t)PAGEBLOCKS * PB * CR_PAGE, .prot = PM_PROT_READ | PM_PROT_WRITE };
	struct pm_compact_result results[2];
	unsigned int limited, returns = 0;

	for (limited = 0; limited < 2; limited++) {
		struct pm_machine *m = rig_one_zone((uint64_t)PAGEBLOCKS * PB, 1, rig_bare());
		struct pm_compact_request request = cr_all();
		struct pm_memory_options options;
		uint64_t space, addr, i;
		enum pm_status status;

		pm_memory_options_default(&options);
		options.contents = PM_CONTENTS_NONE;
		options.wait_slices = limited * 4;
		REQUIRE(pm_memory_enable(m, &options) == PM_OK && pm_space_create(m, &space) == PM_OK && pm_map(m, 0, space, &map, &addr) == PM_OK);
		for (i = 0; i < (uint64_t)PAGEBLOCKS * PB; i++) {
			uint64_t done;

			REQUIRE(pm_touch(m, 0, space, addr + i * CR_PAGE, CR_PAGE, true, &done) == PM_OK);
		}
		for (i = 0; i < (uint64_t)PAGEBLOCKS * PB; i += 2)
			REQUIRE(pm_unmap(m, 0, space, addr + i * CR_PAGE, CR_PAGE) == PM_OK);
		while ((status = pm_compact(m, 0, &request, &results[limited])) == PM_ERR_INTR) {
			returns++;
			request.resume = &results[limited];
		}
		CHECK_EQ(status, PM_OK);
		CHECK_EQ(results[limited].status, PM_COMPACTED_COMPLETE);
		CHECK_EQ(pm_space_exit(m, 0, space), PM_OK);
		rig_destroy(m);
	}
	CHECK(returns >= 1);
	CHECK_EQ(results[0].blocks_before, results[1].blocks_before);
	CHECK_EQ(results[0].moved, results[1].moved);
	CHECK_EQ(results[0].blocks_after, results[1].blocks_after);
	CHECK_EQ(results[0].scanned_migrate, results[1].scanned_migrate);
}

/// A call of kcompactd with limited waits gets through a zone that is larger than what it may look at in one go: what it has only looked at does not count.
static void a_limited_kcompactd_gets_through(void)
{
	enum { PAGEBLOCKS = 4096 };
	struct pm_machine *m = rig_one_zone((uint64_t)PAGEBLOCKS * PB, 1, rig_bare());
	struct pm_kcompactd_report report;
	struct pm_memory_options options;
	uint64_t owner, i;
	uint32_t number;

	pm_memory_options_default(&options);
	options.contents = PM_CONTENTS_NONE;
	options.wait_slices = 4;
	REQUIRE(pm_memory_enable(m, &options) == PM_OK && pm_owner_create(m, PM_OWNER_UNMOVABLE, &owner) == PM_OK);
	/* Every pageblock has half of its frames, in one piece that stays: nothing can move, and the score is 100. */
	for (i = 0; i < 2 * PAGEBLOCKS; i++)
		REQUIRE(pm_owner_alloc(m, 0, owner, PB_ORDER - 1, PM_GFP_KERNEL, &number) == PM_OK && number == i);
	for (i = 0; i < 2 * PAGEBLOCKS; i++) {
		uint64_t pfn;

		REQUIRE(pm_owner_frame(m, 0, owner, (uint32_t)i, &pfn) == PM_OK);
		if (pfn % PB)
			REQUIRE(pm_owner_free(m, 0, owner, (uint32_t)i) == PM_OK);
	}
	CHECK_EQ(pm_kcompactd_tick(m, 0, 0, &report), PM_OK);
	CHECK_EQ(report.proactive, 1);
	CHECK_EQ(report.compact.status, PM_COMPACTED_COMPLETE);
	CHECK_EQ(pm_owner_destroy(m, 0, owner), PM_OK);
	rig_destroy(m);
}

static void bad_arguments(void)
{
	struct compact_rig r;
	struct pm_machine *bare = rig_one_zone(4 * PB, 1, rig_bare());
	struct pm_compact_request good = cr_all(), bad[9];
	struct pm_compact_result result, beyond = { 0 };
	struct pm_compact_zone_info info;
	unsigned int i;

	CHECK_EQ(pm_compact(bare, 0, &good, &result), PM_ERR_STATE);
	rig_destroy(bare);
	open_rig(&r, 0);
	for (i = 0; i < 9; i++)
		bad[i] = good;
	bad[0].strategy = PM_NR_STRATEGIES;
	bad[1].order = PM_NR_ORDERS;
	bad[2].zone = 1;
	bad[3].priority = PM_COMPACT_FULL + 1;
	bad[4].protocol = PM_NR_PROTOCOLS;
	bad[5].flags = 2;
	bad[6].blocks = 0;
	bad[7].flags = PM_COMPACT_CAPTURE;
	beyond.resume_zone = 2;
	bad[8].resume = &beyond;
	for (i = 0; i < 9; i++)
		if (!CHECK_EQ(pm_compact(r.m, 0, &bad[i], &result), PM_ERR_INVAL))
			fprintf(stderr, "  request %u\n", i);
	CHECK_EQ(pm_compact(r.m, 99, &good, &result), PM_ERR_INVAL);
	CHECK_EQ(pm_compact_zone_info(r.m, 1, &info), PM_ERR_INVAL);
	CHECK(pm_strategy_name(PM_NR_STRATEGIES) == NULL && pm_alloc_policy_name(PM_NR_POLICIES) == NULL);
	CHECK(strcmp(pm_strategy_name(PM_STRATEGY_LINUX), "linux") == 0);
	for (i = 0; i < PM_NR_COMPACTED; i++)
		CHECK(strcmp(pm_compact_status_text(i), "unknown status") != 0);
	CHECK(strcmp(pm_compact_status_text(PM_NR_COMPACTED), "unknown status") == 0);
	pm_machine_shut(r.m);
	CHECK_EQ(pm_compact(r.m, 0, &good, &result), PM_ERR_CLOSED);
	pm_machine_destroy(r.m);
	free(r.addr_of);
	free(r.pins);
	free(r.large);
	free(r.large_at);
}

int main(void)
{
	RUN(every_failure);
	RUN(every_failure_of_a_slow_allocation);
	RUN(resumed_calls_do_the_same);
	RUN(a_limited_kcompactd_gets_through);
	RUN(bad_arguments);
	return check_result();
}
