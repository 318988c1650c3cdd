/// Both forms of coalescing on the same memory, by hand: what each correction of 2004's review changes. The block that is wanted has order 2, four frames, or 3.
#include "tests/picture.h"

static struct pm_compact_result corrected(struct picture *p, uint32_t order)
{
	return picture_compact(p, PM_STRATEGY_COALESCE_2004, order, PM_ALL_BLOCKS);
}

static struct pm_compact_result proposed(struct picture *p, uint32_t order)
{
	return picture_compact(p, PM_STRATEGY_COALESCE_2004_RFC, order, PM_ALL_BLOCKS);
}

/// The frames that things may go to are single ones, so that they are no seeds; and in blocks that are of no use.
#define HOLES " u.u. u.u. u.u. u.u. u.u. u.u."

static void both_complete_the_block_around_a_seed(void)
{
	struct picture p = picture_open("..aa aaaa" HOLES, false), q = picture_open("uuuu ..aa uuuu" HOLES, false);
	struct pm_compact_result result = corrected(&p, 2);

	CHECK_EQ(result.blocks_after, 1);
	CHECK_EQ(result.moved, 2);
	CHECK(picture_is(&p, ".... aaaa u?u? u?u? u?u? u?u? u?u? u?u?"));
	/* The proposal looks backwards first. Here something that stays stops it there. */
	result = proposed(&q, 2);
	CHECK_EQ(result.blocks_after, 1);
	CHECK_EQ(result.moved, 2);
	picture_close(&p);
	picture_close(&q);
}

static void growing_away_from_the_buddy_makes_a_run_and_no_block(void)
{
	const char *text = "aaaa aa.. aaaa" HOLES, *backwards = "aaaa ..aa aaaa" HOLES;
	struct picture p = picture_open(text, false), q = picture_open(text, false), r = picture_open(backwards, false), s = picture_open(backwards, false);

	/* Backwards is where the buddy is. */
	CHECK_EQ(corrected(&p, 2).blocks_after, 1);
	CHECK_EQ(proposed(&q, 2).blocks_after, 1);
	/* Here the buddy comes after the seed, and what comes before is another block's. */
	CHECK_EQ(corrected(&r, 2).blocks_after, 1);
	CHECK_EQ(proposed(&s, 2).blocks_after, 0);
	picture_close(&p);
	picture_close(&q);
	picture_close(&r);
	picture_close(&s);
}

static void nothing_moves_unless_everything_can(void)
{
	const char *text = "..au uuuu" HOLES;
	struct picture p = picture_open(text, false), q = picture_open(text, false);
	struct pm_compact_result result = corrected(&p, 2);

	CHECK_EQ(result.moved, 0);
	CHECK(picture_is(&p, text));
	result = proposed(&q, 2);
	CHECK_EQ(result.moved, 1);
	CHECK_EQ(result.blocks_after, 0);
	picture_close(&p);
	picture_close(&q);
}

static void what_is_pinned_is_seen_before_others_move(void)
{
	struct picture p = picture_open("..aa uuuu" HOLES, false);
	uint64_t pin, pfn;

	REQUIRE(pm_pin(p.m, 0, p.space, p.addr + PM_PAGE_SIZE, PM_PIN_SHORT, true, &pfn, &pin) == PM_OK && pfn == 3);
	CHECK_EQ(corrected(&p, 2).moved, 0);
	CHECK(picture_is(&p, "..aa uuuu" HOLES));
	CHECK_EQ(pm_unpin(p.m, 0, pin), PM_OK);
	CHECK_EQ(corrected(&p, 2).moved, 2);
	picture_close(&p);
}

static void a_frame_without_references_may_lie_in_a_per_cpu_list(void)
{
	/* Of the pair beside the seed one is in CPU 3's list: it has no reference, and is not free. */
	const char *text = "uuuu ..ca uuuu" HOLES;
	struct picture p = picture_open(text, true), q = picture_open(text, true);

	CHECK_EQ(corrected(&p, 2).moved, 0);
	CHECK(picture_is(&p, text));
	CHECK_EQ(proposed(&q, 2).moved, 1);
	picture_close(&p);
	picture_close(&q);
}

static void the_count_of_gained_frames_starts_again_at_each_seed(void)
{
	/* Each seed has one frame before it that can move, and then one that stays. The second seed's count goes on from the first one's, so it thinks that it
	   has gained the two that it needs, and never looks at what comes after it: which would have made the block. */
	const char *text = "uuua ..uu uuua ..aa" HOLES;
	struct picture p = picture_open(text, false), q = picture_open(text, false);

	CHECK_EQ(corrected(&p, 2).blocks_after, 1);
	CHECK_EQ(proposed(&q, 2).blocks_after, 0);
	picture_close(&p);
	picture_close(&q);
}

static void blocks_two_orders_below_are_seeds_too(void)
{
	/* The third quarter of a block of eight: the proposal grows out of the block at its other end. */
	const char *text = "uuuu uuuu aaaa ..aa aauu uuuu" HOLES;
	struct picture p = picture_open(text, false), q = picture_open(text, false);
	struct pm_compact_result result = corrected(&p, 3);

	CHECK_EQ(result.blocks_after, 1);
	CHECK_EQ(result.moved, 6);
	result = proposed(&q, 3);
	CHECK_EQ(result.blocks_after, 0);
	CHECK(result.moved > 0);
	picture_close(&p);
	picture_close(&q);
}

static void without_seeds_nothing_happens(void)
{
	const char *text = "a.a. .a.a a..a aaaa";
	struct picture p = picture_open(text, false), q = picture_open(text, false), r = picture_open(text, false);

	CHECK_EQ(corrected(&p, 3).moved, 0);
	CHECK_EQ(proposed(&q, 3).moved, 0);
	/* The pair that straddles the middle is no seed of anything; the planner needs none. */
	CHECK_EQ(picture_compact(&r, PM_STRATEGY_PLANNER, 2, PM_ALL_BLOCKS).blocks_after, 1);
	picture_close(&p);
	picture_close(&q);
	picture_close(&r);
}

static void it_ends_with_as_many_blocks_as_were_wanted(void)
{
	struct picture p = picture_open("..aa ..aa ..aa" HOLES, false);
	struct pm_compact_result result = picture_compact(&p, PM_STRATEGY_COALESCE_2004, 2, 1);

	CHECK_EQ(result.blocks_after, 1);
	CHECK_EQ(result.moved, 2);
	CHECK_EQ(result.status, PM_COMPACTED_SUCCESS);
	picture_close(&p);
}

static void a_large_block_moves_as_one(void)
{
	struct picture p = picture_open(".... 22aa uuuu uu.. u.u. u.u.", false);

	CHECK_EQ(corrected(&p, 3).blocks_after, 1);
	CHECK(picture_is(&p, ".... .... uuuu uu22 u?u? u?u?"));
	picture_close(&p);
}

static void every_failure_of_memory_leaves_the_machine_sound(void)
{
	uint32_t strategy;

	for (strategy = PM_STRATEGY_COALESCE_2004; strategy <= PM_STRATEGY_COALESCE_2004_RFC; strategy++) {
		uint64_t nth, requests;
		bool failed = true;

		for (nth = 1; failed; nth++) {
			struct picture p = picture_open("aaaa aa.. aaaa ..fa 22.." HOLES, false);
			struct pm_compact_request request;
			struct pm_compact_result result;
			enum pm_status status;

			pm_compact_request_default(&request);
			request.strategy = strategy;
			request.order = 2;
			REQUIRE(pm_fail_allocations(p.m, nth, false, &requests) == PM_OK);
			status = pm_compact(p.m, 0, &request, &result);
			CHECK(status == PM_OK || status == PM_ERR_NOMEM);
			REQUIRE(pm_fail_allocations(p.m, 0, false, &requests) == PM_OK);
			failed = requests >= nth;
			picture_close(&p);
		}
		CHECK(nth > 5);
	}
}

int main(void)
{
	RUN(both_complete_the_block_around_a_seed);
	RUN(growing_away_from_the_buddy_makes_a_run_and_no_block);
	RUN(nothing_moves_unless_everything_can);
	RUN(what_is_pinned_is_seen_before_others_move);
	RUN(a_frame_without_references_may_lie_in_a_per_cpu_list);
	RUN(the_count_of_gained_frames_starts_again_at_each_seed);
	RUN(blocks_two_orders_below_are_seeds_too);
	RUN(without_seeds_nothing_happens);
	RUN(it_ends_with_as_many_blocks_as_were_wanted);
	RUN(a_large_block_moves_as_one);
	RUN(every_failure_of_memory_leaves_the_machine_sound);
	return check_result();
}
