/// The census, the bound and the planner: what is there, what can be had, and that it is had with the fewest moves.
#include <pthread.h>

#include "tests/picture.h"

/// What a run may move, by struct pm_compact_result: so many times what was planned, and a batch.
enum { MOVES_FACTOR = 4, MOVES_SLACK = 512 };

static void a_census_sees_every_frame_once(void)
{
	struct picture p = picture_open("..a. uffc 44.. 4444 .... ....", true);
	uint32_t frames[6][PM_NR_STANDING];
	uint64_t pin, pfn;

	REQUIRE(pm_pin(p.m, 0, p.space, p.addr, PM_PIN_LONG, true, &pfn, &pin) == PM_OK);
	REQUIRE(pm_blocks_census(p.m, 2, 0, 6, frames[0]) == PM_OK);
	CHECK_EQ(pfn, 2);
	CHECK_EQ(frames[0][PM_STAND_FREE], 3);
	CHECK_EQ(frames[0][PM_STAND_PINNED], 1);
	CHECK_EQ(frames[1][PM_STAND_UNMOVABLE], 1);
	/* Memory alone is not to be reclaimed, and moves. */
	CHECK_EQ(frames[1][PM_STAND_UNEVICTABLE], 2);
	CHECK_EQ(frames[1][PM_STAND_PCP], 1);
	CHECK_EQ(frames[3][PM_STAND_MOVABLE], 4);
	CHECK_EQ(frames[4][PM_STAND_FREE], 4);
	CHECK_EQ(frames[5][PM_STAND_FREE], 4);
	CHECK_EQ(pm_unpin(p.m, 0, pin), PM_OK);
	picture_close(&p);
}

static void a_census_of_parts_of_a_block(void)
{
	struct picture p = picture_open("8888 8888 .... ....", false);
	uint32_t frames[8][PM_NR_STANDING];
	unsigned int i;

	REQUIRE(pm_blocks_census(p.m, 1, 0, 8, frames[0]) == PM_OK);
	for (i = 0; i < 8; i++)
		CHECK_EQ(frames[i][i < 4 ? PM_STAND_MOVABLE : PM_STAND_FREE], 2);
	CHECK_EQ(pm_blocks_census(p.m, 1, 8, 0, frames[0]), PM_OK);
	CHECK_EQ(pm_blocks_census(p.m, 1, 8, 1, frames[0]), PM_ERR_RANGE);
	CHECK_EQ(pm_blocks_census(p.m, PM_MAX_ORDER + 1, 0, 1, frames[0]), PM_ERR_INVAL);
	CHECK(strcmp(pm_standing_name(PM_STAND_PINNED), "pinned") == 0);
	CHECK(pm_standing_name(PM_NR_STANDING) == NULL);
	picture_close(&p);
}

static struct pm_bound bound_of(struct picture *p, uint32_t order, uint64_t wanted)
{
	struct pm_bound bound;

	REQUIRE(pm_compact_bound(p->m, PM_EVERY_ZONE, order, wanted, &bound) == PM_OK);
	return bound;
}

static void the_bound_counts_free_frames_and_what_stays(void)
{
	/* Free: 9 frames, so two blocks of four; one has nothing that stays in it but is free already. */
	struct picture p = picture_open("a..a aaa. u... ....", false);
	struct pm_bound bound = bound_of(&p, 2, PM_ALL_BLOCKS);
	struct pm_bound none;

	CHECK_EQ(bound.free_frames, 10);
	CHECK_EQ(bound.possible, 3);
	CHECK_EQ(bound.blocks, 1);
	CHECK_EQ(bound.bound, 2);
	CHECK_EQ(bound.wanted, 1);
	CHECK_EQ(bound.minimum, 2);
	CHECK_EQ(bound_of(&p, 2, 0).minimum, 0);
	/* No block of eight can come free: something stays in one, and there are too few free frames for the other. */
	CHECK_EQ(bound_of(&p, 3, PM_ALL_BLOCKS).bound, 1);
	CHECK_EQ(pm_compact_bound(p.m, 1, 2, 1, &none), PM_ERR_INVAL);
	CHECK_EQ(pm_compact_bound(p.m, PM_EVERY_ZONE, PM_MAX_ORDER + 1, 1, &none), PM_ERR_INVAL);
	/* More than a number has bits. */
	CHECK_EQ(pm_compact_bound(p.m, PM_EVERY_ZONE, 64, 1, &none), PM_ERR_INVAL);
	picture_close(&p);
}

static void the_cheapest_blocks_are_emptied_into_the_dearest(void)
{
	struct picture p = picture_open("aaa. a... aa.. u... faf. ...a", false);
	struct pm_compact_result result = picture_compact(&p, PM_STRATEGY_PLANNER, 2, 2);

	CHECK_EQ(result.blocks_before, 0);
	CHECK_EQ(result.blocks_after, 2);
	CHECK_EQ(result.moved, 2);
	CHECK_EQ(result.status, PM_COMPACTED_SUCCESS);
	/* Single holes first, and first where something stays, which keeps the block from being of use. */
	CHECK(picture_is(&p, "aaa. .... aa.. ua.. fafa ...."));
	picture_close(&p);
}

static void it_ends_at_the_bound(void)
{
	struct picture p = picture_open("aaa. a... aa.. u... faf. ...a", false);
	struct pm_bound bound = bound_of(&p, 2, PM_ALL_BLOCKS);
	struct pm_compact_result result = picture_compact(&p, PM_STRATEGY_PLANNER, 2, PM_ALL_BLOCKS);

	CHECK_EQ(bound.bound, 3);
	CHECK_EQ(result.blocks_after, 3);
	CHECK_EQ(result.moved, bound.minimum);
	result = picture_compact(&p, PM_STRATEGY_PLANNER, 2, PM_ALL_BLOCKS);
	CHECK_EQ(result.moved, 0);
	picture_close(&p);
}

static void a_large_block_goes_to_the_smallest_place_that_holds_it(void)
{
	struct picture p = picture_open("22.. .... u... aa.. uua. aaaa", false);

	/* Not to the four that are free together in the block to be emptied, and not to what would be cut for it. */
	CHECK_EQ(picture_compact(&p, PM_STRATEGY_PLANNER, 3, 1).blocks_after, 1);
	CHECK(picture_is(&p, ".... .... u.22 aa.. uua. aaaa"));
	picture_close(&p);
}

static void large_blocks_come_first_so_that_small_ones_leave_them_room(void)
{
	/* The single frame comes first in memory. It must not take one of the two that are together. */
	struct picture p = picture_open("a.22 .... aaaa aa.. u.aa aaaa", false);

	CHECK_EQ(picture_compact(&p, PM_STRATEGY_PLANNER, 3, 1).blocks_after, 1);
	CHECK(picture_is(&p, ".... .... aaaa aa22 uaaa aaaa"));
	picture_close(&p);
}

static void a_block_that_cannot_be_emptied_is_passed_over(void)
{
	struct picture p = picture_open("a... .aa. aaa. a.aa", false);
	struct pm_compact_result result;
	uint64_t pin, pfn;

	REQUIRE(pm_pin(p.m, 0, p.space, p.addr, PM_PIN_LONG, true, &pfn, &pin) == PM_OK && pfn == 0);
	result = picture_compact(&p, PM_STRATEGY_PLANNER, 2, 1);
	CHECK_EQ(result.blocks_after, 1);
	CHECK_EQ(result.moved, 2);
	CHECK_EQ(pm_unpin(p.m, 0, pin), PM_OK);
	picture_close(&p);
}

static void a_large_block_without_room_is_split(void)
{
	struct picture p = picture_open("22.. .... u.a. u.a. aaaa aaaa", false);
	struct pm_compact_result result = picture_compact(&p, PM_STRATEGY_PLANNER, 3, PM_ALL_BLOCKS);

	CHECK_EQ(result.blocks_after, 1);
	CHECK_EQ(result.moved, 2);
	CHECK_EQ(result.split, 1);
	CHECK(picture_is(&p, ".... .... u?a? u?a? aaaa aaaa"));
	picture_close(&p);
}

static void a_block_larger_than_the_wanted_one_is_split(void)
{
	struct picture p = picture_open("8888 8888 .... u.u. u.u. u.u. u.u. uuuu", false);
	struct pm_compact_result result = picture_compact(&p, PM_STRATEGY_PLANNER, 2, PM_ALL_BLOCKS);

	CHECK_EQ(result.blocks_after, 3);
	CHECK_EQ(result.moved, 8);
	CHECK_EQ(result.split, 1);
	CHECK(picture_is(&p, ".... .... .... u1u1 u1u1 u1u1 u1u1 uuuu"));
	picture_close(&p);
}

static void nothing_to_gain_moves_nothing(void)
{
	struct picture p = picture_open("aaa. aaa. uuu. aaaa", false);
	struct pm_compact_result result = picture_compact(&p, PM_STRATEGY_PLANNER, 2, PM_ALL_BLOCKS);

	CHECK_EQ(result.moved, 0);
	CHECK_EQ(result.blocks_after, 0);
	CHECK(picture_is(&p, "aaa. aaa. uuu. aaaa"));
	picture_close(&p);
}

static void a_wanted_zone_is_the_only_one_that_changes(void)
{
	struct pm_zone_layout zones[2] = { { PM_ZONE_NORMAL, 0, PB }, { PM_ZONE_MOVABLE, PB, PB } };
	struct pm_layout layout = { .zones = zones, .nr_zones = 2, .nr_cpus = 1, .settings = rig_bare() };
	struct pm_map_request request = { .length = (uint64_t)PB * PM_PAGE_SIZE, .prot = PM_PROT_READ | PM_PROT_WRITE };
	struct pm_compact_request compact;
	struct pm_compact_result result;
	struct pm_memory_options options;
	struct pm_machine *m = rig_create(&layout);
	uint64_t space, addr, done, i, before = 0;

	pm_memory_options_default(&options);
	options.contents = PM_CONTENTS_NONE;
	REQUIRE(pm_memory_enable(m, &options) == PM_OK);
	REQUIRE(pm_space_create(m, &space) == PM_OK && pm_map(m, 0, space, &request, &addr) == PM_OK);
	REQUIRE(pm_touch(m, 0, space, addr, request.length, true, &done) == PM_OK);
	/* Every other page goes, whichever zone it is in. */
	for (i = 0; i < PB; i += 2)
		REQUIRE(pm_unmap(m, 0, space, addr + i * PM_PAGE_SIZE, PM_PAGE_SIZE) == PM_OK);
	for (i = 0; i < PM_NR_MIGRATETYPES; i++)
		before += rig_blocks(m, 1, 0, (uint32_t)i);
	pm_compact_request_default(&compact);
	compact.strategy = PM_STRATEGY_PLANNER;
	compact.order = 2;
	compact.zone = 0;
	REQUIRE(pm_compact(m, 0, &compact, &result) == PM_OK);
	for (i = 0; i < PM_NR_MIGRATETYPES; i++)
		before -= rig_blocks(m, 1, 0, (uint32_t)i);
	CHECK_EQ(before, 0);
	rig_destroy(m);
}

/* ---- failures, and others at work ---- */

/// Memory that changed so much that a plan of one frame took a thousand: the run says so, and leaves the rest alone.
static void far_more_moves_than_planned_end_it(void)
{
	struct picture p = picture_open("aaa. a... aa.. u... faf. ...a", false);
	struct pm_compact_request request;
	struct pm_compact_result before = { .planned = 1, .moved = MOVES_FACTOR + MOVES_SLACK, .captured = PM_NO_FRAME }, result;

	pm_compact_request_default(&request);
	request.strategy = PM_STRATEGY_PLANNER;
	request.order = 2;
	request.resume = &before;
	REQUIRE(pm_compact(p.m, 0, &request, &result) == PM_OK);
	CHECK_EQ(result.status, PM_COMPACTED_DEAR);
	CHECK_EQ(result.moved, before.moved);
	CHECK(picture_is(&p, "aaa. a... aa.. u... faf. ...a"));
	/* One frame more is in the budget: the cheapest block's, and no other's. */
	before.moved--;
	REQUIRE(pm_compact(p.m, 0, &request, &result) == PM_OK);
	CHECK_EQ(result.status, PM_COMPACTED_DEAR);
	CHECK_EQ(result.moved, before.moved + 1);
	CHECK_EQ(result.blocks_after, 1);
	/* Memory that stands still is not held back: the first plan's moves are all that it takes. */
	request.resume = NULL;
	REQUIRE(pm_compact(p.m, 0, &request, &result) == PM_OK);
	CHECK_EQ(result.status, PM_COMPACTED_SUCCESS);
	CHECK_EQ(result.moved, result.planned);
	picture_close(&p);
}

static void every_failure_of_memory_leaves_the_machine_sound(void)
{
	uint64_t nth, requests;
	bool failed = true;

	for (nth = 1; failed; nth++) {
		struct picture p = picture_open("aaa. a... aa.. u... faf. ...a 22u. u.22 4444 u.u.", false);
		struct pm_compact_request request;
		struct pm_compact_result result;
		enum pm_status status;

		pm_compact_request_default(&request);
		request.strategy = PM_STRATEGY_PLANNER;
		request.order = 2;
		REQUIRE(pm_fail_allocations(p.m, nth, false, &requests) == PM_OK);
		status = pm_compact(p.m, 0, &request, &result);
		CHECK(status == PM_OK || status == PM_ERR_NOMEM);
		REQUIRE(pm_fail_allocations(p.m, 0, false, &requests) == PM_OK);
		failed = requests >= nth;
		CHECK(failed || (status == PM_OK && result.blocks_after > result.blocks_before));
		picture_close(&p);
	}
	CHECK(nth > 8);
}

enum { THREADS = 3, ROUNDS = 200, ENOUGH = 3000, SHARED_PAGES = 512 };

struct crowd {
	struct pm_machine *m;
	_Atomic uint32_t stop;
};

/// Maps, writes, reads back and unmaps, so that memory changes under whoever plans.
static void *busy(void *context)
{
	struct crowd *crowd = context;
	struct pm_map_request request = { .length = SHARED_PAGES * PM_PAGE_SIZE, .prot = PM_PROT_READ | PM_PROT_WRITE };
	uint64_t space, addr, i;
	uint32_t cpu = 1;

	REQUIRE(pm_space_create(crowd->m, &space) == PM_OK);
	while (!atomic_load(&crowd->stop)) {
		REQUIRE(pm_map(crowd->m, cpu, space, &request, &addr) == PM_OK);
		for (i = 0; i < SHARED_PAGES; i++) {
			uint64_t value = addr + i, seen = 0;
			size_t done;

			if (pm_write(crowd->m, cpu, space, addr + i * PM_PAGE_SIZE, &value, sizeof(value), &done) != PM_OK)
				continue;
			CHECK_EQ(pm_read(crowd->m, cpu, space, addr + i * PM_PAGE_SIZE, &seen, sizeof(seen), &done), PM_OK);
			CHECK_EQ(seen, value);
			if (i % 3)
				CHECK_EQ(pm_unmap(crowd->m, cpu, space, addr + i * PM_PAGE_SIZE, PM_PAGE_SIZE), PM_OK);
		}
		CHECK_EQ(pm_unmap(crowd->m, cpu, space, addr, request.length), PM_OK);
	}
	CHECK_EQ(pm_space_exit(crowd->m, cpu, space), PM_OK);
	return NULL;
}

/// A space that holds every other page of a range: there is always something to gather.
static uint64_t scatter(struct pm_machine *m)
{
	struct pm_map_request request = { .length = (uint64_t)8 * PB * PM_PAGE_SIZE, .prot = PM_PROT_READ | PM_PROT_WRITE };
	uint64_t space, addr, done, i;

	REQUIRE(pm_space_create(m, &space) == PM_OK && pm_map(m, 0, space, &request, &addr) == PM_OK);
	REQUIRE(pm_touch(m, 0, space, addr, request.length, true, &done) == PM_OK);
	for (i = 0; i < request.length; i += 2 * PM_PAGE_SIZE)
		REQUIRE(pm_unmap(m, 0, space, addr + i, PM_PAGE_SIZE) == PM_OK);
	return space;
}

static void memory_changes_while_it_plans(void)
{
	struct pm_settings settings = rig_bare();
	struct pm_memory_options options;
	struct pm_compact_request request;
	struct crowd crowd = { 0 };
	pthread_t threads[THREADS];
	uint64_t moved = 0;
	unsigned int i;

	settings.pcp = 1;
	crowd.m = rig_one_zone(16 * PB, 4, settings);
	pm_memory_options_default(&options);
	REQUIRE(pm_memory_enable(crowd.m, &options) == PM_OK);
	for (i = 0; i < THREADS; i++)
		REQUIRE(pthread_create(&threads[i], NULL, busy, &crowd) == 0);
	pm_compact_request_default(&request);
	request.strategy = PM_STRATEGY_PLANNER;
	for (i = 0; i < ROUNDS && moved < ENOUGH; i++) {
		struct pm_compact_result result;
		uint64_t space = scatter(crowd.m);

		request.order = i % 2 ? 4 : PB_ORDER;
		CHECK_EQ(pm_compact(crowd.m, 0, &request, &result), PM_OK);
		moved += result.moved;
		CHECK(result.moved <= MOVES_FACTOR * result.planned + MOVES_SLACK);
		CHECK_EQ(pm_space_exit(crowd.m, 0, space), PM_OK);
	}
	atomic_store(&crowd.stop, 1);
	for (i = 0; i < THREADS; i++)
		REQUIRE(pthread_join(threads[i], NULL) == 0);
	CHECK(moved >= ENOUGH);
	rig_destroy(crowd.m);
}

int main(void)
{
	RUN(a_census_sees_every_frame_once);
	RUN(a_census_of_parts_of_a_block);
	RUN(the_bound_counts_free_frames_and_what_stays);
	RUN(the_cheapest_blocks_are_emptied_into_the_dearest);
	RUN(it_ends_at_the_bound);
	RUN(a_large_block_goes_to_the_smallest_place_that_holds_it);
	RUN(large_blocks_come_first_so_that_small_ones_leave_them_room);
	RUN(a_block_that_cannot_be_emptied_is_passed_over);
	RUN(a_large_block_without_room_is_split);
	RUN(a_block_larger_than_the_wanted_one_is_split);
	RUN(nothing_to_gain_moves_nothing);
	RUN(a_wanted_zone_is_the_only_one_that_changes);
	RUN(every_failure_of_memory_leaves_the_machine_sound);
	RUN(far_more_moves_than_planned_end_it);
	RUN(memory_changes_while_it_plans);
	return check_result();
}
