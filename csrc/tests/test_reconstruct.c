/// The reconstruction, one mechanism at a time, on event lists small enough to follow by hand. One zone of 4096 frames, pageblock
/// order 9; what is free at the start is said frame by frame.
#include "tests/story.h"

static void takes_and_gives(void)
{
	struct story *s = begin();

	set_free(s, 64, 16);
	(void)add(s, PM_EV_ZONE_LOCKED, 64, 2);
	(void)add(s, PM_EV_PCPU_DRAIN, 64, 2);
	(void)add(s, PM_EV_FREE, 128, 5);
	plan(s);
	CHECK_EQ(blocks(s, 4, PM_MT_MOVABLE), 1);
	play(s, 2);
	CHECK_EQ(blocks(s, 2, PM_MT_MOVABLE), 1);
	CHECK_EQ(blocks(s, 3, PM_MT_MOVABLE), 1);
	play(s, 3);
	CHECK_EQ(blocks(s, 4, PM_MT_MOVABLE), 1);
	play(s, 4);
	CHECK_EQ(nr_free(s), 48);
	end(s, true);
}

/// What the reader of the snapshot saw of the events while it read does not matter: the last word on each frame counts.
static void decides_the_snapshot_by_content(void)
{
	struct story *s = begin();
	size_t last;

	set_free(s, 64, 1);
	s->in.n_chunks = 1;
	(void)add(s, PM_EV_ZONE_LOCKED, 70, 0); /* older than the reading: ignored */
	(void)add(s, PM_EV_ZONE_LOCKED, 64, 0);
	(void)add(s, PM_EV_PCPU_DRAIN, 64, 0);
	(void)add(s, PM_EV_PCPU_DRAIN, 65, 0);
	last = add(s, PM_EV_KSWAPD_WAKE, PM_NO_PFN32, 0);
	(void)add(s, PM_EV_ZONE_LOCKED, 64, 1);
	s->chunk_begin_ns[0] = s->time_ns[2];
	s->chunk_end_ns[0] = s->time_ns[4];
	plan(s);
	CHECK_EQ(pm_reconstruct_first(s->r), last);
	CHECK_EQ(blocks(s, 1, PM_MT_MOVABLE), 1);
	CHECK_EQ(nr_free(s), 2);
	end(s, true);
	CHECK_EQ(s->counts[PM_RC_BEFORE_SNAPSHOT], 4);
}

/// A FREE of a per-CPU order whose frame is taken from the free lists, with no drain between, went there directly.
static void finds_direct_frees(void)
{
	struct story *s = begin();
	size_t free_event;

	free_event = add(s, PM_EV_FREE, 10, 0);
	(void)add(s, PM_EV_ZONE_LOCKED, 10, 0);
	(void)add(s, PM_EV_FREE, 20, 0); /* on the CPU's list: nothing moves */
	plan(s);
	play(s, free_event + 1);
	CHECK_EQ(nr_free(s), 1);
	play(s, free_event + 2);
	CHECK_EQ(nr_free(s), 0);
	end(s, true);
	CHECK_EQ(s->counts[PM_RC_FREE_DIRECT], 1);
}

/// A list is drained from its tail: what was freed before a drained frame, in the middle of a refill, never was on it.
static void finds_direct_frees_by_the_drains(void)
{
	struct story *s = begin();

	set_free(s, 64, 2);
	(void)add(s, PM_EV_ZONE_LOCKED, 64, 0);
	s->arg0[1] = 1;
	(void)add(s, PM_EV_FREE, 10, 0); /* in an interrupt of the refill */
	(void)add(s, PM_EV_ZONE_LOCKED, 65, 0);
	(void)add(s, PM_EV_FREE, 12, 0);
	(void)add(s, PM_EV_PCPU_DRAIN, 12, 0);
	plan(s);
	end(s, true);
	CHECK_EQ(s->counts[PM_RC_FREE_DIRECT], 1);
}

static void follows_the_scanner(void)
{
	struct story *s = begin();

	set_free(s, 512, 4);
	set_free(s, 520, 1);
	set_free(s, 1024, 1);
	set_free(s, 1025 + 14, 1);
	set_free(s, 1024 + 64, 2);
	(void)add_range(s, PM_EV_ISOLATE_FREE, 512, 1024, 512, 5);
	/* Every 32nd frame: 1024 is seen, 1039 is not, 1088 is; 16 looks and one frame more. */
	(void)add_range(s, PM_EV_ISOLATE_FREE, 1024, 1536, 17, 3);
	plan(s);
	play(s, 2);
	CHECK_EQ(nr_free(s), 4);
	play(s, 3);
	CHECK_EQ(nr_free(s), 1);
	CHECK(is_free(s, 1039));
	end(s, true);
	CHECK_EQ(s->counts[PM_RC_SCAN_EXACT], 2);
}

/// A compound page of order 2 at the start shifts the looks by 3: 1536, 1571, 1603, ...
static void steps_over_compound_pages(void)
{
	struct story *s = begin();

	set_free(s, 1536 + 32, 1);
	set_free(s, 1536 + 35, 1);
	(void)add_range(s, PM_EV_ISOLATE_FREE, 1536, 2048, 19, 1);
	plan(s);
	end(s, true);
	CHECK_EQ(s->counts[PM_RC_SCAN_EXACT], 1);
}

static void finds_what_fast_isolate_took_beside_a_scan(void)
{
	struct story *s = begin();

	set_free(s, 512, 4);
	set_free(s, 544, 8);
	set_free(s, 2048, 8);
	(void)add_range(s, PM_EV_FAST_ISOLATE_FREE, 0, 3072, 8, 8);
	(void)add_range(s, PM_EV_ISOLATE_FREE, 512, 1024, 512, 4);
	plan(s);
	play(s, 2);
	CHECK_EQ(nr_free(s), 12);
	CHECK(is_free(s, 2048));
	CHECK(!is_free(s, 544));
	end(s, true);
}

/// The one block of two that is freed later, without having been taken, was taken now.
static void finds_what_fast_isolate_took_by_what_is_freed(void)
{
	struct story *s = begin();

	set_free(s, 544, 8);
	set_free(s, 2048, 8);
	(void)add_range(s, PM_EV_FAST_ISOLATE_FREE, 0, 3072, 8, 8);
	(void)add(s, PM_EV_FREE, 2048, 3);
	(void)add(s, PM_EV_PCPU_DRAIN, 2048, 3);
	(void)add(s, PM_EV_ZONE_LOCKED, 544, 3);
	plan(s);
	play(s, 2);
	CHECK(!is_free(s, 2048));
	CHECK(is_free(s, 544));
	play(s, 4);
	CHECK(is_free(s, 2048));
	end(s, true);
	CHECK(s->counts[PM_RC_PASSES] > 1);
}

/// Nothing tells: a block that nobody speaks of again is as good as another, and the counts are right.
static void takes_a_silent_block(void)
{
	struct story *s = begin();

	set_free(s, 544, 8);
	set_free(s, 2048, 8);
	(void)add_range(s, PM_EV_FAST_ISOLATE_FREE, 0, 3072, 8, 8);
	(void)add(s, PM_EV_ZONE_LOCKED, 544, 0);
	plan(s);
	play(s, 2);
	CHECK(is_free(s, 544));
	CHECK_EQ(nr_free(s), 8);
	end(s, true);
	CHECK_EQ(s->counts[PM_RC_FAST_SILENT], 1);
}

/// What one compaction maps, no other took.
static void leaves_a_block_to_the_task_that_fills_it(void)
{
	struct story *s = begin();
	size_t i;

	set_free(s, 544, 1);
	set_free(s, 2048, 1);
	i = add(s, PM_EV_COMPACT_BEGIN, 0, -1);
	s->tid[i] = OTHER;
	(void)add(s, PM_EV_COMPACT_BEGIN, 0, -1);
	(void)add_range(s, PM_EV_FAST_ISOLATE_FREE, 0, 3072, 1, 1);
	i = add_range(s, PM_EV_FAST_ISOLATE_FREE, 0, 3072, 1, 1);
	s->tid[i] = OTHER;
	i = add(s, PM_EV_REMOVE_MIGRATION_PTE, 544, 0);
	s->tid[i] = OTHER;
	(void)add(s, PM_EV_REMOVE_MIGRATION_PTE, 2048, 0);
	(void)add(s, PM_EV_COMPACT_END, 0, -1);
	i = add(s, PM_EV_COMPACT_END, 0, -1);
	s->tid[i] = OTHER;
	plan(s);
	play(s, 4);
	CHECK(is_free(s, 544));
	CHECK(!is_free(s, 2048));
	end(s, true);
}

/// The drain that completes a block gives it to the compacting task; only its ALLOC tells.
static void finds_captured_blocks(void)
{
	struct story *s = begin();
	size_t drain;

	set_free(s, 64, 3);
	drain = add(s, PM_EV_PCPU_DRAIN, 67, 0);
	(void)add(s, PM_EV_KSWAPD_WAKE, PM_NO_PFN32, 0);
	(void)add(s, PM_EV_ALLOC, 64, 2);
	plan(s);
	CHECK_EQ(nr_free(s), 3);
	play(s, drain + 1);
	CHECK_EQ(nr_free(s), 0);
	end(s, true);
	CHECK_EQ(s->counts[PM_RC_CAPTURE], 1);
}

/// A capture of another type is announced before the drain.
static void finds_announced_captures(void)
{
	struct story *s = begin();
	size_t i;

	set_free(s, 64, 3);
	i = add(s, PM_EV_EXTFRAG, 64, 2);
	s->arg0[i] = 2;
	s->arg1[i] = PM_MT_RECLAIMABLE;
	(void)add(s, PM_EV_PCPU_DRAIN, 67, 0);
	(void)add(s, PM_EV_ALLOC, 64, 2);
	plan(s);
	play(s, i + 2);
	CHECK_EQ(nr_free(s), 0);
	end(s, true);
}

/// A destination that migration did not use goes back to compaction's own list first, and to the free lists at its end.
static void knows_what_compaction_keeps(void)
{
	struct story *s = begin();
	size_t held;

	set_free(s, 512, 16);
	(void)add(s, PM_EV_COMPACT_BEGIN, 0, -1);
	(void)add_range(s, PM_EV_ISOLATE_FREE, 512, 1024, 512, 16);
	held = add(s, PM_EV_FREE, 512, 4);
	(void)add(s, PM_EV_MIGRATE_PAGES, PM_NO_PFN32, -1);
	(void)add(s, PM_EV_FREE, 512, 4);
	(void)add(s, PM_EV_COMPACT_END, 0, -1);
	plan(s);
	play(s, held + 1);
	CHECK_EQ(nr_free(s), 0);
	play(s, held + 3);
	CHECK_EQ(nr_free(s), 16);
	end(s, true);
	CHECK_EQ(s->counts[PM_RC_FREE_HELD], 1);
}

/// A claim of a whole pageblock is told by extfrag alone, one of less by zone_locked as well; both change the type.
static void follows_claims(void)
{
	struct story *s = begin();
	size_t i;

	set_free(s, 512, 512);
	i = add(s, PM_EV_EXTFRAG, 512, 0);
	s->migratetype[i] = PM_MT_UNMOVABLE;
	s->arg0[i] = 9;
	s->arg1[i] = PM_MT_MOVABLE;
	s->arg2[i] = 1;
	i = add(s, PM_EV_ZONE_LOCKED, 514, 1);
	s->migratetype[i] = PM_MT_RECLAIMABLE;
	i = add(s, PM_EV_EXTFRAG, 514, 1);
	s->migratetype[i] = PM_MT_RECLAIMABLE;
	s->arg0[i] = 1;
	s->arg1[i] = PM_MT_UNMOVABLE;
	s->arg2[i] = 1;
	plan(s);
	CHECK_EQ(blocks(s, 9, PM_MT_MOVABLE), 1);
	play(s, 2);
	CHECK_EQ(blocks(s, 8, PM_MT_UNMOVABLE), 1);
	play(s, 4);
	CHECK_EQ(blocks(s, 8, PM_MT_RECLAIMABLE), 1);
	CHECK_EQ(nr_free(s), 509);
	end(s, true);
}

/// A sparse scan counts one block less than we hold there: it was gone, so the fast search before it is what took it.
static void a_sparse_scan_tells_what_was_gone(void)
{
	struct story *s = begin();

	set_free(s, 512, 1);
	set_free(s, 1024, 1);
	set_free(s, 1056, 1);
	set_free(s, 1088, 2);
	(void)add_range(s, PM_EV_FAST_ISOLATE_FREE, 0, 3072, 1, 1);
	(void)add_range(s, PM_EV_ISOLATE_FREE, 1024, 1536, 17, 3);
	plan(s);
	play(s, 2);
	CHECK(is_free(s, 512));
	CHECK(!is_free(s, 1024));
	play(s, 3);
	CHECK_EQ(nr_free(s), 1);
	end(s, true);
	CHECK_EQ(s->counts[PM_RC_SCAN_EXACT], 1);
}

/// A full scan counts one block more than we hold there: the fast search before it took another.
static void a_full_scan_tells_what_was_still_there(void)
{
	struct story *s = begin();
	size_t i;

	set_free(s, 544, 1);
	set_free(s, 2048, 1);
	(void)add_range(s, PM_EV_FAST_ISOLATE_FREE, 0, 3072, 1, 1);
	i = add_range(s, PM_EV_ISOLATE_FREE, 512, 1024, 512, 1);
	s->tid[i] = OTHER;
	plan(s);
	play(s, 2);
	CHECK(is_free(s, 544));
	CHECK(!is_free(s, 2048));
	end(s, true);
	CHECK(s->counts[PM_RC_PASSES] > 1);
}

/// No free block fits what a fast search took, but the task fills one that lacks a frame freed before: that FREE went to the free lists.
static void a_filled_block_tells_of_a_direct_free(void)
{
	struct story *s = begin();
	size_t i;

	set_free(s, 544, 6);
	set_free(s, 551, 1);
	i = add(s, PM_EV_FREE, 550, 0);
	s->tid[i] = OTHER;
	(void)add(s, PM_EV_COMPACT_BEGIN, 0, -1);
	(void)add_range(s, PM_EV_FAST_ISOLATE_FREE, 0, 3072, 8, 8);
	(void)add(s, PM_EV_REMOVE_MIGRATION_PTE, 544, 0);
	(void)add(s, PM_EV_COMPACT_END, 0, -1);
	plan(s);
	play(s, i + 1);
	CHECK(is_free(s, 550));
	CHECK_EQ(nr_free(s), 8);
	play(s, s->ev.n);
	CHECK_EQ(nr_free(s), 0);
	end(s, true);
	CHECK_EQ(s->counts[PM_RC_FREE_DIRECT], 1);
}

static void counts_what_it_cannot_explain(void)
{
	struct story *s = begin();

	set_free(s, 64, 4);
	(void)add(s, PM_EV_ZONE_LOCKED, 100, 0);	/* not free */
	(void)add(s, PM_EV_ZONE_LOCKED, 66, 0);		/* inside a block */
	(void)add(s, PM_EV_PCPU_DRAIN, 64, 0);		/* free already */
	(void)add(s, PM_EV_ZONE_LOCKED, 65, 1);		/* not aligned */
	(void)add(s, PM_EV_ZONE_LOCKED, FRAMES, 0);	/* outside */
	(void)add_range(s, PM_EV_FAST_ISOLATE_FREE, 0, 4096, 256, 256);
	(void)add_range(s, PM_EV_ISOLATE_FREE, 1024, 1536, 512, 9);
	plan(s);
	CHECK_EQ(s->counts[PM_RC_TAKE_OWNED], 1);
	CHECK_EQ(s->counts[PM_RC_TAKE_INSIDE], 1);
	CHECK_EQ(s->counts[PM_RC_GIVE_FREE], 1);
	CHECK_EQ(s->counts[PM_RC_MALFORMED], 2);
	CHECK_EQ(s->counts[PM_RC_FAST_UNKNOWN], 1);
	CHECK_EQ(s->counts[PM_RC_SCAN_OTHER], 1);
	end(s, false);
}

/// A reader that stamped in the middle of a refill got the zone lock at its end.
static void places_a_reader_behind_the_lock(void)
{
	struct story *s = begin();
	size_t i;

	(void)add(s, PM_EV_ZONE_LOCKED, 64, 0);
	i = add(s, PM_EV_ZONE_LOCKED, 65, 0);
	(void)add(s, PM_EV_ZONE_LOCKED, 66, 0);
	(void)add(s, PM_EV_ALLOC, 64, 0);
	set_free(s, 64, 4);
	plan(s);
	CHECK_EQ(pm_events_seen(&s->ev, s->time_ns[i], 0), 4);
	CHECK_EQ(pm_events_seen(&s->ev, 0, 0), 0);
	CHECK_EQ(pm_events_seen(&s->ev, s->time_ns[4], 0), 5);
	end(s, true);
}

/// A long drain lets go of the lock after each full batch, 2016 frames or the block that fills it: there a reader comes in.
static void lets_a_reader_in_between_two_batches(void)
{
	struct story *s = begin();
	size_t first = add(s, PM_EV_PCPU_DRAIN, 0, 9);
	uint32_t i;

	for (i = 1; i < 7; i++)
		(void)add(s, PM_EV_PCPU_DRAIN, 512 * i, 9);
	plan(s);
	CHECK_EQ(pm_events_seen(&s->ev, s->time_ns[first], 0), first + 4);
	CHECK_EQ(pm_events_seen(&s->ev, s->time_ns[first + 3], 0), first + 4);
	CHECK_EQ(pm_events_seen(&s->ev, s->time_ns[first + 4], 0), first + 7);
	end(s, true);
}

static void refuses_bad_input(void)
{
	struct story *s = begin();
	struct pm_reconstruct *r;

	plan(s);
	CHECK_EQ(pm_reconstruct_run(s->r, s->ev.n + 1), PM_ERR_INVAL);
	s->in.n_frames = 10;
	CHECK_EQ(pm_reconstruct_create(s->m, &s->in, &r), PM_ERR_INVAL);
	s->in.n_frames = FRAMES;
	s->in.n_chunks = 1;
	s->chunk_first_pfn[0] = FRAMES + 1;
	CHECK_EQ(pm_reconstruct_create(s->m, &s->in, &r), PM_ERR_INVAL);
	CHECK(pm_reconstruct_cause_text(PM_NR_RC_CAUSES) != NULL);
	CHECK_EQ(pm_reconstruct_operations(s->r), 0);
	end(s, true);
	pm_reconstruct_destroy(NULL);
}

int main(void)
{
	RUN(takes_and_gives);
	RUN(decides_the_snapshot_by_content);
	RUN(finds_direct_frees);
	RUN(finds_direct_frees_by_the_drains);
	RUN(follows_the_scanner);
	RUN(steps_over_compound_pages);
	RUN(finds_what_fast_isolate_took_beside_a_scan);
	RUN(finds_what_fast_isolate_took_by_what_is_freed);
	RUN(takes_a_silent_block);
	RUN(leaves_a_block_to_the_task_that_fills_it);
	RUN(finds_captured_blocks);
	RUN(finds_announced_captures);
	RUN(knows_what_compaction_keeps);
	RUN(follows_claims);
	RUN(a_sparse_scan_tells_what_was_gone);
	RUN(a_full_scan_tells_what_was_still_there);
	RUN(a_filled_block_tells_of_a_direct_free);
	RUN(counts_what_it_cannot_explain);
	RUN(places_a_reader_behind_the_lock);
	RUN(lets_a_reader_in_between_two_batches);
	RUN(refuses_bad_input);
	return check_result();
}
