/// Probes of a simulation: is a block there, and what each strategy does to make one. Every test ends with a valid machine that has all its frames.
#include "tests/scene.h"

enum { PAGEBLOCK = 1 << PM_PAGEBLOCK_ORDER, ORDER = PM_PAGEBLOCK_ORDER };

static struct pm_probe probe(struct scene *s, uint32_t strategy)
{
	struct pm_probe found;

	CHECK_EQ(pm_simulation_probe(s->sim, 0, ORDER, strategy, &found), PM_OK);
	CHECK(rig_valid(s->m));
	return found;
}

/// Memory is full but for every other frame; pageblock 3 has only 10 frames left, and a frame of pageblock 5 belongs to allocation 1.
static void open_fragmented(struct scene *s, uint32_t owned)
{
	const uint32_t id = 1;
	const uint8_t order = 0;
	uint64_t pfn;

	open_scene(s, rig_bare());
	fragment(s);
	for (pfn = 3 * PAGEBLOCK + 1; pfn < 4 * PAGEBLOCK - 20; pfn += 2)
		REQUIRE(pm_free(s->m, 0, pfn, 0) == PM_OK);
	s->nr_start = frames_at_hand(s->m);
	REQUIRE(pm_simulation_place(s->sim, 1, &id, &owned, &order) == PM_OK);
}

static void a_probe_that_only_looks_changes_nothing(void)
{
	uint64_t before[NR_FRAMES / PAGEBLOCK], after[NR_FRAMES / PAGEBLOCK];
	struct scene s;
	struct pm_probe found;

	open_scene(&s, rig_bare());
	found = probe(&s, PM_PROBE_NONE);
	CHECK_EQ(found.there, 1);
	CHECK_EQ(found.there_after, 1);
	close_scene(&s, 0);

	open_fragmented(&s, 5 * PAGEBLOCK + 1);
	REQUIRE(pm_free_digest(s.m, NR_FRAMES / PAGEBLOCK, before) == PM_OK);
	found = probe(&s, PM_PROBE_NONE);
	REQUIRE(pm_free_digest(s.m, NR_FRAMES / PAGEBLOCK, after) == PM_OK);
	CHECK_EQ(found.there, 0);
	CHECK_EQ(found.there_after, 0);
	CHECK_EQ(found.moved, 0);
	CHECK(!memcmp(before, after, sizeof(before)));
	close_scene(&s, 0);
}

/// The least: the 10 frames of the emptiest pageblock. What the recording frees later is found where it went.
static void the_planner_moves_the_least(void)
{
	struct scene s;
	struct pm_probe found;

	open_fragmented(&s, 4 * PAGEBLOCK - 1);
	found = probe(&s, PM_PROBE_PLANNER);
	CHECK_EQ(found.there, 0);
	CHECK_EQ(found.there_after, 1);
	CHECK_EQ(found.moved, 10);
	CHECK_EQ(stats(&s).targets_elsewhere, 0);
	found = probe(&s, PM_PROBE_PLANNER);
	CHECK_EQ(found.there, 1);
	CHECK_EQ(found.moved, 0);
	add(&s, PM_EV_FREE, 4 * PAGEBLOCK - 1, 0, 1);
	play(&s, 0);
	CHECK_EQ(stats(&s).freed, 1);
	CHECK_EQ(probe(&s, PM_PROBE_NONE).there, 1);
	s.nr_start++;
	close_scene(&s, 0);
}

static void what_stays_is_never_moved(void)
{
	struct scene s;
	struct pm_probe found;
	uint32_t strategy;

	for (strategy = PM_PROBE_LINUX; strategy < PM_NR_PROBE_STRATEGIES; strategy++) {
		uint64_t pfn;

		open_scene(&s, rig_bare());
		rig_fill(s.m, NR_FRAMES, RIG_UNMOVABLE);
		for (pfn = 0; pfn < NR_FRAMES; pfn += 2)
			REQUIRE(pm_free(s.m, 0, pfn, 0) == PM_OK);
		s.nr_start = frames_at_hand(s.m);
		found = probe(&s, strategy);
		CHECK_EQ(found.there_after, 0);
		CHECK_EQ(found.moved, 0);
		close_scene(&s, 0);
	}
}

/// Every frame that the migrate scanner meets moves: the half of pageblock 0, to the top. The next probe goes on where the last one ended.
static void the_scanners_begin_at_the_ends(void)
{
	struct scene s;
	struct pm_probe found;
	uint64_t pfn;

	open_fragmented(&s, 1);
	found = probe(&s, PM_PROBE_LINUX);
	CHECK_EQ(found.there_after, 1);
	CHECK_EQ(found.moved, PAGEBLOCK / 2);
	CHECK_EQ(pm_alloc(s.m, 0, ORDER, RIG_MOVABLE, &pfn), PM_OK);
	CHECK_EQ(pfn, 0);
	found = probe(&s, PM_PROBE_LINUX);
	CHECK_EQ(found.moved, PAGEBLOCK / 2);
	CHECK_EQ(pm_free(s.m, 0, pfn, ORDER), PM_OK);
	add(&s, PM_EV_FREE, 1, 0, 1);
	play(&s, 0);
	CHECK_EQ(stats(&s).freed, 1);
	s.nr_start++;
	close_scene(&s, 0);
}

/// After a run from end to end without success every other attempt is left out, then more.
static void failures_defer_the_scanners(void)
{
	struct scene s;
	uint64_t moved = 0;
	uint32_t n;

	open_scene(&s, rig_bare());
	rig_fill(s.m, NR_FRAMES, RIG_MOVABLE);
	/* One frame in each pageblock stays. */
	for (n = 0; n < NR_FRAMES; n++)
		if (n % PAGEBLOCK == 100 || n % 2 == 0)
			REQUIRE(pm_free(s.m, 0, n, 0) == PM_OK);
	for (n = 100; n < NR_FRAMES; n += PAGEBLOCK)
		REQUIRE(pm_take(s.m, n, 0, PM_MT_UNMOVABLE) == PM_OK);
	s.nr_start = frames_at_hand(s.m);
	moved = probe(&s, PM_PROBE_LINUX).moved;
	CHECK(moved > 0);
	CHECK_EQ(probe(&s, PM_PROBE_LINUX).moved, 0);
	CHECK_EQ(probe(&s, PM_PROBE_PLANNER).moved, 0);
	close_scene(&s, 0);
}

static void coalescing_needs_a_seed(void)
{
	struct scene s;
	struct pm_probe found;
	uint64_t pfn;

	open_scene(&s, rig_bare());
	fragment(&s);
	CHECK_EQ(probe(&s, PM_PROBE_COALESCE_2004).moved, 0);
	for (pfn = 6 * PAGEBLOCK + 1; pfn < 6 * PAGEBLOCK + PAGEBLOCK / 2; pfn += 2)
		REQUIRE(pm_free(s.m, 0, pfn, 0) == PM_OK);
	s.nr_start = frames_at_hand(s.m);
	found = probe(&s, PM_PROBE_COALESCE_2004);
	CHECK_EQ(found.there_after, 1);
	CHECK_EQ(found.moved, PAGEBLOCK / 4);
	close_scene(&s, 0);
}

/// Little enough is free that a block would not help: nothing is moved for it.
static void a_request_that_the_watermark_refuses_is_not_compacted_for(void)
{
	struct scene s;
	uint32_t strategy;
	uint64_t pfn;

	open_scene(&s, rig_bare());
	rig_fill(s.m, NR_FRAMES, RIG_MOVABLE);
	for (pfn = 0; pfn < PAGEBLOCK - 2; pfn += 2)
		REQUIRE(pm_free(s.m, 0, pfn, 0) == PM_OK);
	s.nr_start = frames_at_hand(s.m);
	for (strategy = PM_PROBE_LINUX; strategy < PM_NR_PROBE_STRATEGIES; strategy++) {
		struct pm_probe found = probe(&s, strategy);

		CHECK_EQ(found.there_after, 0);
		CHECK_EQ(found.moved, 0);
	}
	close_scene(&s, 0);
}

static void wrong_arguments_are_refused(void)
{
	struct scene s;
	struct pm_probe found;

	open_scene(&s, rig_bare());
	CHECK_EQ(pm_simulation_probe(s.sim, 2, ORDER, PM_PROBE_NONE, &found), PM_ERR_INVAL);
	CHECK_EQ(pm_simulation_probe(s.sim, 0, 0, PM_PROBE_NONE, &found), PM_ERR_INVAL);
	CHECK_EQ(pm_simulation_probe(s.sim, 0, ORDER + 1, PM_PROBE_NONE, &found), PM_ERR_INVAL);
	CHECK_EQ(pm_simulation_probe(s.sim, 0, ORDER, PM_NR_PROBE_STRATEGIES, &found), PM_ERR_INVAL);
	close_scene(&s, 0);
}

int main(void)
{
	RUN(a_probe_that_only_looks_changes_nothing);
	RUN(the_planner_moves_the_least);
	RUN(what_stays_is_never_moved);
	RUN(the_scanners_begin_at_the_ends);
	RUN(failures_defer_the_scanners);
	RUN(coalescing_needs_a_seed);
	RUN(a_request_that_the_watermark_refuses_is_not_compacted_for);
	RUN(wrong_arguments_are_refused);
	return check_result();
}
