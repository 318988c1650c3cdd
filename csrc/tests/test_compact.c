/// Recorded compaction in the simulation: what it holds, what moves, what it drains, and what is captured from it.
#include "tests/scene.h"

/// A range of an isolate event: [pfn, end), and how many frames were taken.
static void scan(struct scene *s, uint8_t kind, uint32_t pfn, uint32_t end, uint32_t taken)
{
	size_t i = add(s, kind, pfn, -1, ID_NONE);

	s->l.arg0[i] = end;
	s->l.arg2[i] = taken;
}

/// A free of a block that migration emptied.
static void emptied(struct scene *s, uint32_t pfn, int order)
{
	s->l.resolution[add(s, PM_EV_FREE, pfn, order, ID_NONE)] = PM_RES_MIGRATION_SOURCE;
}

/// Where an allocation stands with us that the events made: the only used block of its order.
static uint64_t place_of(struct scene *s, unsigned int order)
{
	uint64_t pfn;

	for (pfn = 0; pfn < NR_FRAMES; pfn++) {
		struct pm_frame_info info = rig_frame(s->m, pfn);

		if (info.state == PM_STATE_USED && info.head == pfn && info.order == order)
			return pfn;
	}
	REQUIRE(false);
	return 0;
}

static void what_moves_goes_to_what_was_held_and_its_free_follows(void)
{
	struct scene s;
	uint64_t source;

	open_scene(&s, rig_bare());
	add(&s, PM_EV_ALLOC, 0, 0, 1);
	play(&s, 0);
	source = place_of(&s, 0);
	/* Only pageblocks that are in use already are searched. */
	REQUIRE(pm_take(s.m, 4096, 1, PM_MT_MOVABLE) == PM_OK);
	add(&s, PM_EV_COMPACT_BEGIN, 0, -1, ID_NONE);
	scan(&s, PM_EV_ISOLATE_MIGRATE, (uint32_t)source, (uint32_t)source + 1, 1);
	scan(&s, PM_EV_ISOLATE_FREE, 4096, 4608, 8);
	play(&s, 1);
	/* The first block that it came to, one of two frames, is not free meanwhile. */
	CHECK_EQ(stats(&s).isolated, 2);
	CHECK_EQ(s.nr_start - frames_at_hand(s.m), 1 + 2 + 2);
	emptied(&s, (uint32_t)source, 0);
	play(&s, 4);
	CHECK_EQ(stats(&s).moved, 1);
	CHECK_EQ(stats(&s).targets_elsewhere, 0);
	CHECK_EQ(rig_frame(s.m, source).state, PM_STATE_FREE);
	CHECK_EQ(rig_frame(s.m, 4098).state, PM_STATE_USED);
	/* The end gives the other frame back; the allocation is freed where it now stands. */
	add(&s, PM_EV_COMPACT_END, 0, -1, ID_NONE);
	add(&s, PM_EV_FREE, 4242, 0, 1);
	play(&s, 5);
	CHECK_EQ(stats(&s).returned, 1);
	CHECK_EQ(stats(&s).freed, 1);
	CHECK_EQ(rig_frame(s.m, 4098).state, PM_STATE_FREE);
	close_scene(&s, 2);
}

static void without_holding_the_free_lists_provide(void)
{
	struct scene s;
	uint64_t source;

	open_scene_without(&s, rig_bare(), offsetof(struct pm_simulation_options, compaction_hold));
	add(&s, PM_EV_ALLOC, 0, 0, 1);
	play(&s, 0);
	source = place_of(&s, 0);
	REQUIRE(pm_take(s.m, 4096, 1, PM_MT_MOVABLE) == PM_OK);
	scan(&s, PM_EV_ISOLATE_MIGRATE, (uint32_t)source, (uint32_t)source + 1, 1);
	scan(&s, PM_EV_ISOLATE_FREE, 4096, 4608, 8);
	emptied(&s, (uint32_t)source, 0);
	play(&s, 1);
	CHECK_EQ(stats(&s).isolated, 0);
	CHECK_EQ(stats(&s).targets_elsewhere, 1);
	close_scene(&s, 3);
}

/// Nothing is taken from a pageblock that is free as a whole: compaction is there to make such.
static void a_free_pageblock_stays_whole(void)
{
	struct scene s;

	open_scene(&s, rig_bare());
	scan(&s, PM_EV_ISOLATE_MIGRATE, 0, 1, 1);
	scan(&s, PM_EV_ISOLATE_FREE, 4096, 4608, 8);
	play(&s, 0);
	CHECK_EQ(stats(&s).isolated, 0);
	close_scene(&s, 0);
}

/// Compaction leaves a zone its minimum.
static void what_a_zone_needs_is_not_held(void)
{
	struct pm_settings settings = rig_bare();
	struct scene s;

	settings.min_free_kbytes = 64; /* 16 frames */
	open_scene(&s, settings);
	rig_fill(s.m, NR_FRAMES, RIG_MOVABLE);
	rig_free_range(s.m, 4096, 4096 + 24);
	s.nr_start = frames_at_hand(s.m);
	CHECK_EQ(rig_zone(s.m, 0).wmark[0], 16);
	scan(&s, PM_EV_ISOLATE_MIGRATE, 0, 32, 32);
	/* A block of 16 and one of 8 are free: neither may go. */
	scan(&s, PM_EV_ISOLATE_FREE, 4096, 4608, 32);
	play(&s, 0);
	CHECK_EQ(stats(&s).isolated, 0);
	rig_free_range(s.m, 5120, 5121);
	s.nr_start++;
	scan(&s, PM_EV_ISOLATE_FREE, 4096 + 16, 4608, 32);
	play(&s, 2);
	CHECK_EQ(stats(&s).isolated, 8);
	close_scene(&s, 8);
}

/// The fast search takes one block, of the recorded order, from the upper half of what is left.
static void the_fast_search_takes_one_block_from_the_list(void)
{
	struct scene s;

	open_scene(&s, rig_bare());
	rig_fill(s.m, NR_FRAMES, RIG_MOVABLE);
	rig_free_range(s.m, 1024, 1028);
	rig_free_range(s.m, 6144, 6148);
	rig_free_range(s.m, 7168, 7169);
	s.nr_start = frames_at_hand(s.m);
	scan(&s, PM_EV_FAST_ISOLATE_FREE, 4096, 8192, 4);
	play(&s, 0);
	CHECK_EQ(stats(&s).isolated, 4);
	CHECK_EQ(rig_frame(s.m, 6144).state, PM_STATE_USED);
	CHECK_EQ(rig_frame(s.m, 1024).state, PM_STATE_FREE);
	CHECK_EQ(rig_frame(s.m, 7168).state, PM_STATE_FREE);
	/* It found nothing: nothing is taken. */
	scan(&s, PM_EV_FAST_ISOLATE_FREE, 4096, 8192, 0);
	add(&s, PM_EV_COMPACT_END, 0, -1, ID_NONE);
	play(&s, 1);
	CHECK_EQ(stats(&s).returned, 4);
	close_scene(&s, 0);
}

static void what_the_kernel_holds_does_not_move(void)
{
	struct scene s;

	open_scene(&s, rig_bare());
	REQUIRE(pm_take(s.m, 640, 0, PM_MT_UNMOVABLE) == PM_OK);
	s.nr_start = frames_at_hand(s.m);
	emptied(&s, 640, 0);
	emptied(&s, 641, 0); /* free with us */
	play(&s, 0);
	CHECK_EQ(stats(&s).moved, 0);
	CHECK_EQ(stats(&s).not_moved, 2);
	CHECK_EQ(rig_frame(s.m, 640).state, PM_STATE_USED);
	close_scene(&s, 0);
}

/// A block that finds no block of its order leaves in single frames; pieces of it are freed wherever they are.
static void a_large_block_leaves_in_single_frames(void)
{
	const uint32_t id = 3, pfn = 512;
	const uint8_t order = 3;
	struct scene s;
	size_t i;

	open_scene(&s, rig_bare());
	fragment(&s);
	/* The frames around are taken, so that no block of 8 comes about but this one. */
	for (i = 512; i < 520; i += 2)
		REQUIRE(pm_take(s.m, i, 0, PM_MT_MOVABLE) == PM_OK);
	for (i = 512; i < 520; i++)
		REQUIRE(pm_free(s.m, 0, i, 0) == PM_OK);
	REQUIRE(pm_take(s.m, 512, 3, PM_MT_MOVABLE) == PM_OK);
	REQUIRE(pm_simulation_place(s.sim, 1, &id, &pfn, &order) == PM_OK);
	s.nr_start = frames_at_hand(s.m) + 8;
	emptied(&s, 512, 3);
	play(&s, 0);
	CHECK_EQ(stats(&s).moved, 1);
	CHECK_EQ(stats(&s).no_target, 0);
	CHECK_EQ(s.nr_start - frames_at_hand(s.m), 8);
	/* A moved piece names a frame that says nothing about which of them it is: all can be freed all the same. */
	for (i = 0; i < 8; i++)
		s.l.resolution[add(&s, PM_EV_FREE, 4000, 0, 3)] = PM_RES_FREED_MOVED;
	play(&s, 1);
	CHECK_EQ(stats(&s).freed, 8);
	CHECK_EQ(stats(&s).refused, 0);
	close_scene(&s, 0);
}

/// A piece of a block that is freed in part moves by itself, and is still found.
static void a_piece_moves_and_is_freed_where_it_is(void)
{
	struct scene s;
	uint64_t block;

	open_scene(&s, rig_bare());
	add(&s, PM_EV_ALLOC, 512, 2, 1);
	play(&s, 0);
	block = place_of(&s, 2);
	add(&s, PM_EV_FREE, 512, 0, 1);
	emptied(&s, (uint32_t)block + 1, 0);
	play(&s, 1);
	CHECK_EQ(stats(&s).moved, 1);
	CHECK_EQ(rig_frame(s.m, block + 1).state, PM_STATE_FREE);
	add(&s, PM_EV_FREE, 513, 0, 1);
	play(&s, 3);
	CHECK_EQ(stats(&s).freed, 2);
	CHECK_EQ(s.nr_start - frames_at_hand(s.m), 2);
	close_scene(&s, 2);
}

/// No block of 16 is free. The one that the kernel's request got holds 8 movable frames with us: they leave, and the request gets it.
static void a_request_gets_the_block_that_compaction_emptied(void)
{
	struct scene s;

	open_scene(&s, rig_bare());
	fragment(&s);
	add(&s, PM_EV_ALLOC, 1024, 4, 1);
	play(&s, 0);
	CHECK_EQ(stats(&s).captured, 1);
	CHECK_EQ(stats(&s).scattered, 0);
	CHECK_EQ(rig_frame(s.m, 1024).state, PM_STATE_USED);
	CHECK_EQ(rig_frame(s.m, 1024).order, 4);
	CHECK_EQ(s.nr_start - frames_at_hand(s.m), 16);
	add(&s, PM_EV_FREE, 1024, 4, 1);
	play(&s, 1);
	CHECK_EQ(stats(&s).freed, 1);
	close_scene(&s, 0);
}

static void a_block_with_something_fixed_in_it_is_not_emptied(void)
{
	struct scene s;

	open_scene(&s, rig_bare());
	fragment(&s);
	REQUIRE(pm_take(s.m, 1026, 0, PM_MT_UNMOVABLE) == PM_OK);
	s.nr_start = frames_at_hand(s.m);
	add(&s, PM_EV_ALLOC, 1024, 4, 1);
	play(&s, 0);
	CHECK_EQ(stats(&s).captured, 0);
	CHECK_EQ(stats(&s).scattered, 1);
	close_scene(&s, 16);
}

static void where_there_is_no_room_nothing_is_lost(void)
{
	struct scene s;

	open_scene(&s, rig_bare());
	rig_fill(s.m, NR_FRAMES, RIG_MOVABLE);
	rig_free_range(s.m, 1024, 1028);
	s.nr_start = frames_at_hand(s.m);
	/* Four frames are free, all of them in the block itself: twelve cannot leave. */
	add(&s, PM_EV_ALLOC, 1024, 4, 1);
	play(&s, 0);
	CHECK_EQ(stats(&s).captured, 0);
	CHECK_EQ(stats(&s).failed, 1);
	close_scene(&s, 0);
}

/// Plays a compaction for an order whose scanner ends at `end`; returns what its CPU's lists hold after the next look at it.
static int64_t left_in_lists(int order, uint32_t end, uint32_t nr_failed)
{
	struct scene s;
	int64_t count;

	open_scene(&s, with_lists());
	add(&s, PM_EV_ALLOC, 1, 0, 1);
	add(&s, PM_EV_COMPACT_BEGIN, 0, -1, ID_NONE);
	add(&s, PM_EV_COMPACT_FINISHED, 0, order, ID_NONE);
	scan(&s, PM_EV_ISOLATE_MIGRATE, 0, end, 1);
	s.l.arg1[add(&s, PM_EV_COMPACT_MIGRATEPAGES, 0, -1, ID_NONE)] = nr_failed;
	play(&s, 0);
	CHECK(rig_pcp(s.m, 0, 0).count > 0);
	add(&s, PM_EV_COMPACT_FINISHED, 0, order, ID_NONE);
	play(&s, 5);
	count = rig_pcp(s.m, 0, 0).count;
	CHECK_EQ(stats(&s).compaction_drains, count == 0);
	close_scene(&s, 1);
	return count;
}

static void compaction_for_an_order_drains_its_cpu(void)
{
	CHECK_EQ(left_in_lists(9, 512, 0), 0);
	/* The scanner is still in the block of 2^9 from which it moved something. */
	CHECK(left_in_lists(9, 500, 0) > 0);
	/* A block of 2^4 further, the one before may have become whole. */
	CHECK_EQ(left_in_lists(4, 500, 0), 0);
	/* A huge page is not to be had where something stayed. */
	CHECK(left_in_lists(9, 512, 1) > 0);
	/* Compaction of everything does not drain. */
	CHECK(left_in_lists(-1, 512, 0) > 0);
}

/// Two machines with the same frames free have the same digests; another frame free in a pageblock is seen there and only there.
static void a_digest_tells_where_memory_is_free(void)
{
	struct pm_machine *a = rig_one_zone(NR_FRAMES, 1, rig_bare()), *b = rig_one_zone(NR_FRAMES, 1, rig_bare());
	uint64_t da[NR_FRAMES / 512], db[NR_FRAMES / 512];
	size_t i;

	REQUIRE(pm_take(a, 1024, 1, PM_MT_MOVABLE) == PM_OK);
	REQUIRE(pm_take(b, 1025, 0, PM_MT_MOVABLE) == PM_OK && pm_take(b, 1024, 0, PM_MT_MOVABLE) == PM_OK);
	CHECK_EQ(pm_free_digest(a, NR_FRAMES / 512, da), PM_OK);
	CHECK_EQ(pm_free_digest(b, NR_FRAMES / 512, db), PM_OK);
	CHECK_EQ(memcmp(da, db, sizeof(da)), 0);
	/* The other one of the two: as many frames, at another place. */
	REQUIRE(pm_free(b, 0, 1024, 0) == PM_OK && pm_free(a, 0, 1024, 1) == PM_OK && pm_take(a, 1024, 0, PM_MT_MOVABLE) == PM_OK);
	CHECK_EQ(pm_free_digest(a, NR_FRAMES / 512, da), PM_OK);
	CHECK_EQ(pm_free_digest(b, NR_FRAMES / 512, db), PM_OK);
	for (i = 0; i < NR_FRAMES / 512; i++)
		CHECK_EQ(da[i] != db[i], i == 1024 / 512);
	CHECK_EQ(pm_free_digest(a, (size_t)1 << 20, da), PM_ERR_INVAL);
	rig_destroy(a);
	rig_destroy(b);
}

int main(void)
{
	RUN(what_moves_goes_to_what_was_held_and_its_free_follows);
	RUN(without_holding_the_free_lists_provide);
	RUN(a_free_pageblock_stays_whole);
	RUN(what_a_zone_needs_is_not_held);
	RUN(the_fast_search_takes_one_block_from_the_list);
	RUN(what_the_kernel_holds_does_not_move);
	RUN(a_large_block_leaves_in_single_frames);
	RUN(a_piece_moves_and_is_freed_where_it_is);
	RUN(a_request_gets_the_block_that_compaction_emptied);
	RUN(a_block_with_something_fixed_in_it_is_not_emptied);
	RUN(where_there_is_no_room_nothing_is_lost);
	RUN(compaction_for_an_order_drains_its_cpu);
	RUN(a_digest_tells_where_memory_is_free);
	return check_result();
}
