/// The simulation: hand-made events on small machines. Every test ends with a valid machine that has all its frames.
#include "tests/scene.h"

static void a_request_is_freed_wherever_it_lies(void)
{
	struct scene s;

	open_scene(&s, rig_bare());
	add(&s, PM_EV_ALLOC, 5000, 3, 1); /* nobody's frame 5000 with us */
	add(&s, PM_EV_ALLOC, 6000, 0, 2);
	play(&s, 0);
	CHECK_EQ(s.nr_start - frames_at_hand(s.m), 9);
	add(&s, PM_EV_FREE, 5000, 3, 1);
	add(&s, PM_EV_FREE_BATCHED, 5000, 0, ID_NONE);
	play(&s, 2);
	CHECK_EQ(stats(&s).allocated, 2);
	CHECK_EQ(stats(&s).freed, 1);
	CHECK_EQ(stats(&s).ignored, 1);
	close_scene(&s, 1);
}

static void a_block_is_freed_in_pieces(void)
{
	struct scene s;

	open_scene(&s, rig_bare());
	add(&s, PM_EV_ALLOC, 512, 4, 1);
	add(&s, PM_EV_FREE, 512 + 8, 2, 1);
	add(&s, PM_EV_FREE, 512 + 3, 0, 1);
	play(&s, 0);
	CHECK_EQ(stats(&s).freed, 2);
	CHECK(stats(&s).split > 0);
	CHECK_EQ(s.nr_start - frames_at_hand(s.m), 11);
	/* The same piece again is refused, and nothing is freed. */
	add(&s, PM_EV_FREE, 512 + 3, 0, 1);
	play(&s, 3);
	CHECK_EQ(stats(&s).refused, 1);
	close_scene(&s, 11);
}

static void what_cannot_be_explained_is_counted(void)
{
	struct scene s;
	size_t i;

	open_scene(&s, rig_bare());
	add(&s, PM_EV_ALLOC, PM_NO_PFN32, 9, ID_NONE);
	i = add(&s, PM_EV_FREE, 77, 0, ID_NONE);
	s.l.resolution[i] = PM_RES_FREE_OF_FREE;
	add(&s, PM_EV_FREE, 78, 0, 5); /* never allocated */
	i = add(&s, PM_EV_FREE, 79, 0, ID_NONE);
	s.l.resolution[i] = PM_RES_COMPACTION_RETURN;
	play(&s, 0);
	CHECK_EQ(stats(&s).kernel_failed, 1);
	CHECK_EQ(stats(&s).unresolved, 2);
	CHECK_EQ(stats(&s).ignored, 1);
	close_scene(&s, 0);
}

static void hostile_events_are_refused(void)
{
	struct scene s;
	size_t i;

	open_scene(&s, rig_bare());
	i = add(&s, PM_EV_ALLOC, 1, 0, 1);
	s.l.cpu[i] = 2;
	CHECK_EQ(pm_simulation_run(s.sim, &s.l.ev, 0, 1), PM_ERR_INVAL);
	s.l.cpu[i] = 0;
	s.l.allocation[i] = MAX_IDS;
	CHECK_EQ(pm_simulation_run(s.sim, &s.l.ev, 0, 1), PM_ERR_INVAL);
	s.l.allocation[i] = 1;
	s.l.order[i] = 11;
	CHECK_EQ(pm_simulation_run(s.sim, &s.l.ev, 0, 1), PM_ERR_INVAL);
	CHECK_EQ(pm_simulation_learn(s.sim, &s.l.ev, 0, 1), PM_ERR_INVAL);
	CHECK_EQ(pm_simulation_run(s.sim, &s.l.ev, 0, 2), PM_ERR_INVAL);
	CHECK_EQ(pm_simulation_run(s.sim, &s.l.ev, 1, 0), PM_ERR_INVAL);
	close_scene(&s, 0);
}

static void a_request_without_a_block_gets_single_frames(void)
{
	struct scene s;

	open_scene_without(&s, rig_bare(), offsetof(struct pm_simulation_options, capture));
	fragment(&s);
	add(&s, PM_EV_ALLOC, 1024, 4, 1);
	add(&s, PM_EV_ALLOC, 2048, 3, 2);
	play(&s, 0);
	CHECK_EQ(stats(&s).scattered, 2);
	CHECK_EQ(stats(&s).failed, 0);
	CHECK_EQ(s.nr_start - frames_at_hand(s.m), 24);
	add(&s, PM_EV_FREE, 1024, 4, 1);
	add(&s, PM_EV_FREE, 2048 + 4, 2, 2);
	add(&s, PM_EV_FREE, 2048 + 4, 2, 2); /* twice */
	play(&s, 2);
	CHECK_EQ(stats(&s).freed, 2);
	CHECK_EQ(stats(&s).refused, 1);
	close_scene(&s, 4);
}

static void a_request_that_nothing_can_serve_fails_whole(void)
{
	struct scene s;

	open_scene(&s, rig_bare());
	rig_fill(s.m, NR_FRAMES - 3, RIG_MOVABLE);
	s.nr_start = frames_at_hand(s.m);
	add(&s, PM_EV_ALLOC, 1024, 4, 1);
	add(&s, PM_EV_FREE, 1024, 4, 1);
	play(&s, 0);
	CHECK_EQ(stats(&s).failed, 1);
	CHECK_EQ(stats(&s).unresolved, 1);
	close_scene(&s, 0);
}

/// The end of kswapd's work in the lower zone only: the upper one's flag stays.
static void reclaim_goes_up_to_the_zone_that_asked(void)
{
	const struct pm_zone_layout zones[] = { { PM_ZONE_DMA32, 0, 4096 }, { PM_ZONE_NORMAL, 4096, 4096 } };
	struct pm_layout layout = { .zones = zones, .nr_zones = 2, .nr_cpus = 1, .settings = rig_bare() };
	const uint64_t times[] = { 1, 2, 3 };
	const uint8_t kinds[] = { PM_TICK_RECLAIM_BEGIN, PM_TICK_RECLAIM_BEGIN, PM_TICK_RECLAIM_END };
	const uint16_t first_zone[] = { 0, 1, 0 };
	size_t i;

	for (i = 1; i <= 3; i++) {
		struct scene s;

		open_scene(&s, rig_bare());
		pm_simulation_destroy(s.sim);
		rig_destroy(s.m);
		s.m = rig_create(&layout);
		REQUIRE(pm_simulation_create(s.m, MAX_IDS, &s.options, &s.sim) == PM_OK);
		REQUIRE(pm_simulation_set_ticks(s.sim, i, times, kinds, first_zone) == PM_OK);
		add(&s, PM_EV_MIGRATE_PAGES, 1, -1, ID_NONE);
		play(&s, 0);
		CHECK_EQ(rig_zone(s.m, 0).reclaim_active, i < 3);
		CHECK_EQ(rig_zone(s.m, 1).reclaim_active, i > 1);
		pm_simulation_destroy(s.sim);
		rig_destroy(s.m);
	}
}

/// A timer that drained nothing, although the lists would have had something to drain, has not run: `high` stays.
static void a_quiet_tick_that_would_drain_has_not_run(void)
{
	const uint64_t times[] = { 1, 2000 };
	const uint8_t kinds[] = { PM_TICK_DECAY_QUIET, PM_TICK_DECAY_QUIET };
	const uint16_t cpus[] = { 0, 0 }, no_cpu[] = { 0, 9 };
	struct scene s;

	open_scene(&s, with_lists());
	REQUIRE(pm_load_pcp(s.m, 0, 0, 512, 0, 0) == PM_OK);
	CHECK_EQ(pm_simulation_set_ticks(s.sim, 2, times, kinds, no_cpu), PM_ERR_INVAL);
	REQUIRE(pm_simulation_set_ticks(s.sim, 2, times, kinds, cpus) == PM_OK);
	add(&s, PM_EV_ALLOC, 1, 0, 1);
	play(&s, 0);
	CHECK_EQ(stats(&s).decays, 1);
	CHECK(rig_pcp(s.m, 0, 0).high < 512 + 8);
	/* Now its lists hold more than a decayed `high`. */
	REQUIRE(pm_load_pcp(s.m, 0, 0, 16, 0, 0) == PM_OK);
	while (rig_pcp(s.m, 0, 0).count <= 16)
		REQUIRE(rig_alloc(s.m, 1, RIG_MOVABLE) != UINT64_MAX && rig_alloc(s.m, 2, RIG_MOVABLE) != UINT64_MAX && rig_alloc(s.m, 3, RIG_MOVABLE) != UINT64_MAX);
	REQUIRE(pm_load_pcp(s.m, 0, 0, 16, 0, 0) == PM_OK);
	s.nr_start = frames_at_hand(s.m) + 1;
	add(&s, PM_EV_MIGRATE_PAGES, 1, -1, ID_NONE);
	play(&s, 1);
	CHECK_EQ(stats(&s).decays, 1);
	CHECK_EQ(stats(&s).decays_skipped, 1);
	close_scene(&s, 1);
}

/// Reclaim that did not help enough empties the lists of every CPU.
static void reclaim_drains_all_cpus(void)
{
	const uint64_t times[] = { 2500 };
	const uint8_t kinds[] = { PM_TICK_DRAIN_ALL };
	const uint16_t where[] = { 0 };
	struct scene s;

	open_scene(&s, with_lists());
	REQUIRE(pm_simulation_set_ticks(s.sim, 1, times, kinds, where) == PM_OK);
	add(&s, PM_EV_ALLOC, 1, 0, 1);
	s.l.cpu[add(&s, PM_EV_ALLOC, 2, 0, 2)] = 1;
	play(&s, 0);
	CHECK(rig_pcp(s.m, 0, 0).count > 0 && rig_pcp(s.m, 1, 0).count > 0);
	add(&s, PM_EV_MIGRATE_PAGES, 1, -1, ID_NONE);
	play(&s, 2);
	CHECK_EQ(rig_pcp(s.m, 0, 0).count, 0);
	CHECK_EQ(rig_pcp(s.m, 1, 0).count, 0);
	close_scene(&s, 2);
}

/// Frees on CPU 0 until its lists drain; then, in the midst of that drain, CPU 1 asks for what there is not. Is the zone noted as short of memory
/// once CPU 0 goes on?
static bool short_after_a_drain(size_t without)
{
	struct scene s;
	uint32_t id = 0;
	bool found;

	open_scene_without(&s, with_lists(), without);
	rig_fill(s.m, NR_FRAMES, RIG_MOVABLE);
	while (rig_zone(s.m, 0).nr_free == 0) {
		const uint32_t pfn = 100 + 2 * id;
		const uint8_t order = 0;

		REQUIRE(pm_simulation_place(s.sim, 1, &id, &pfn, &order) == PM_OK);
		add(&s, PM_EV_FREE, pfn, 0, (int)id);
		play(&s, id++);
	}
	s.nr_start = id;
	CHECK_EQ(pm_alloc(s.m, 1, 1, RIG_MOVABLE, &(uint64_t){ 0 }), PM_ERR_NO_BLOCK);
	CHECK_EQ(rig_zone(s.m, 0).below_high, 1);
	add(&s, PM_EV_MIGRATE_PAGES, 1, -1, ID_NONE);
	play(&s, id);
	found = rig_zone(s.m, 0).below_high;
	close_scene(&s, 0);
	return found;
}

static void the_end_of_a_drain_forgets_what_others_lacked_meanwhile(void)
{
	CHECK(!short_after_a_drain(SIZE_MAX));
	CHECK(short_after_a_drain(offsetof(struct pm_simulation_options, drain_time)));
}

static void ticks_decay_lists_and_begin_and_end_reclaim(void)
{
	const uint64_t times[] = { 1500, 1600, 1700 };
	const uint8_t kinds[] = { PM_TICK_RECLAIM_BEGIN, PM_TICK_DECAY, PM_TICK_RECLAIM_END };
	const uint16_t cpus[] = { 0, 1, 0 };
	const uint16_t no_cpu[] = { 0, 2, 0 };
	const uint64_t backwards[] = { 3, 2, 1 };
	struct pm_pcp_info before, after;
	struct pm_zone_info zone;
	struct scene s;

	open_scene(&s, with_lists());
	REQUIRE(pm_load_pcp(s.m, 1, 0, 512, 0, 0) == PM_OK);
	REQUIRE(pm_pcp_info(s.m, 1, 0, &before) == PM_OK);
	CHECK_EQ(pm_simulation_set_ticks(s.sim, 3, times, kinds, no_cpu), PM_ERR_INVAL);
	CHECK_EQ(pm_simulation_set_ticks(s.sim, 3, backwards, kinds, cpus), PM_ERR_INVAL);
	CHECK_EQ(pm_simulation_set_ticks(s.sim, 3, times, kinds, cpus), PM_OK);
	add(&s, PM_EV_ALLOC, 1, 0, 1);
	play(&s, 0);
	CHECK_EQ(stats(&s).decays, 0);
	add(&s, PM_EV_FREE, 1, 0, 1);
	play(&s, 1);
	CHECK_EQ(stats(&s).decays, 1);
	REQUIRE(pm_pcp_info(s.m, 1, 0, &after) == PM_OK);
	CHECK_EQ(after.high, before.high - (before.high >> 3));
	REQUIRE(pm_zone_info(s.m, 0, &zone) == PM_OK);
	CHECK_EQ(zone.reclaim_active, 0);
	close_scene(&s, 0);
}

static void lists_learn_from_what_came_before(void)
{
	struct pm_pcp_info info;
	struct scene s;
	size_t i;

	open_scene(&s, with_lists());
	for (i = 0; i < 3; i++)
		add(&s, PM_EV_FREE, 100, 0, ID_NONE);
	CHECK_EQ(pm_simulation_learn(s.sim, &s.l.ev, 0, 3), PM_OK);
	REQUIRE(pm_pcp_info(s.m, 0, 0, &info) == PM_OK);
	CHECK_EQ(info.free_count, 3);
	CHECK_EQ(info.count, 0);
	/* One refill is many events of one thread. */
	for (i = 0; i < 4; i++)
		s.l.arg0[add(&s, PM_EV_ZONE_LOCKED, 100, 0, ID_NONE)] = 1;
	add(&s, PM_EV_ALLOC, 100, 0, 1);
	CHECK_EQ(pm_simulation_learn(s.sim, &s.l.ev, 3, s.l.ev.n), PM_OK);
	REQUIRE(pm_pcp_info(s.m, 0, 0, &info) == PM_OK);
	CHECK_EQ(info.alloc_factor, 1);
	CHECK_EQ(info.free_count, 1);
	close_scene(&s, 0);
}

static void allocations_older_than_the_start_are_placed(void)
{
	const uint32_t ids[] = { 3 }, pfns[] = { 640 }, wrong[] = { MAX_IDS };
	const uint8_t orders[] = { 2 };
	struct scene s;

	open_scene(&s, rig_bare());
	REQUIRE(pm_take(s.m, 640, 2, PM_MT_MOVABLE) == PM_OK);
	CHECK_EQ(pm_simulation_place(s.sim, 1, wrong, pfns, orders), PM_ERR_INVAL);
	CHECK_EQ(pm_simulation_place(s.sim, 1, ids, pfns, orders), PM_OK);
	add(&s, PM_EV_FREE, 640, 2, 3);
	play(&s, 0);
	CHECK_EQ(stats(&s).freed, 1);
	close_scene(&s, 0);
}

int main(void)
{
	RUN(a_request_is_freed_wherever_it_lies);
	RUN(a_block_is_freed_in_pieces);
	RUN(what_cannot_be_explained_is_counted);
	RUN(hostile_events_are_refused);
	RUN(a_request_without_a_block_gets_single_frames);
	RUN(a_request_that_nothing_can_serve_fails_whole);
	RUN(ticks_decay_lists_and_begin_and_end_reclaim);
	RUN(reclaim_goes_up_to_the_zone_that_asked);
	RUN(a_quiet_tick_that_would_drain_has_not_run);
	RUN(reclaim_drains_all_cpus);
	RUN(the_end_of_a_drain_forgets_what_others_lacked_meanwhile);
	RUN(lists_learn_from_what_came_before);
	RUN(allocations_older_than_the_start_are_placed);
	return check_result();
}
