/// Strategy linux, rule by rule, on layouts made by hand: pageblocks filled with pages, and no watermarks unless a test says so.
#include "phys/machine.h"
#include "tests/compact_rig.h"

enum { TALL = 4 }; ///< order of the large blocks in these layouts: sixteen frames

/* ---- layouts. Low pageblocks are emptied, high ones filled. ---- */

static enum cr_what every_other(uint64_t pfn)
{
	return pfn % 2 ? CR_ANON : CR_FREE;
}

/// Low: pages, and at the start one block of sixteen. High: holes of one frame.
static enum cr_what large_without_room(uint64_t pfn)
{
	if (pfn < 1 << TALL)
		return CR_LARGE;
	return every_other(pfn);
}

/// The same, but high there is room for it, in one place.
static enum cr_what large_with_room(uint64_t pfn)
{
	if (pfn >= 15 * PB + 32 && pfn < 15 * PB + 32 + (1 << TALL))
		return CR_FREE;
	return large_without_room(pfn);
}

/// The last pageblock is free, the others half so.
static enum cr_what last_is_whole(uint64_t pfn)
{
	return pfn >= 15 * PB ? CR_FREE : every_other(pfn);
}

/// A pinned page in the first pageblock.
static enum cr_what one_pinned(uint64_t pfn)
{
	return pfn == 33 ? CR_PINNED : every_other(pfn);
}

/// In the first half of the zone nothing can move; it stands on every fourth frame.
static enum cr_what stuck_below(uint64_t pfn)
{
	return pfn < 8 * PB ? (pfn % 4 == 3 ? CR_STUCK : CR_FREE) : every_other(pfn);
}

/// Nothing can move at all.
static enum cr_what all_stuck(uint64_t pfn)
{
	return pfn % 4 == 3 ? CR_STUCK : CR_FREE;
}

/// Every block of sixteen in the first pageblock has fifteen pages, and a frame at its end that cannot move.
static enum cr_what stuck_at_each_end(uint64_t pfn)
{
	if (pfn < PB)
		return pfn % (1 << TALL) == (1 << TALL) - 1 ? CR_STUCK : CR_ANON;
	return every_other(pfn);
}

/// Blocks of eight, 64 of them, and nothing else is free.
static enum cr_what blocks_of_eight(uint64_t pfn)
{
	return pfn % 128 < 8 ? CR_FREE : CR_ANON;
}

static enum cr_what few_free(uint64_t pfn)
{
	return pfn % PB == 1 ? CR_FREE : CR_ANON;
}

/* ---- the rig's ends ---- */

static void open_with(struct compact_rig *r, enum cr_what (*what)(uint64_t), const struct pm_settings *settings)
{
	cr_open(r, 16, settings, PM_CONTENTS_PRIVATE, 0);
	cr_lay(r, TALL, what);
}

static void end(struct compact_rig *r)
{
	cr_check(r);
	cr_close(r);
}

static struct pm_compact_zone_info hints(struct compact_rig *r)
{
	struct pm_compact_zone_info info;

	REQUIRE(pm_compact_zone_info(r->m, 0, &info) == PM_OK);
	return info;
}

static bool is_free(struct compact_rig *r, uint64_t pfn)
{
	return rig_frame(r->m, pfn).state == PM_STATE_FREE;
}

/* ---- everything, as /proc/sys/vm/compact_memory ---- */

/// Half of the frames come together at the start. The scanners meet in the middle, where the last batch finds the free scanner's pageblock taken.
static void all_of_a_zone(void)
{
	struct pm_compact_request request = cr_all();
	uint32_t protocol;

	for (protocol = 0; protocol < PM_NR_PROTOCOLS; protocol++) {
		struct compact_rig r;
		struct pm_compact_result result;

		open_with(&r, every_other, NULL);
		request.protocol = protocol;
		result = cr_compact(&r, &request);
		CHECK_EQ(result.status, PM_COMPACTED_COMPLETE);
		CHECK_EQ(result.zone[0].status, PM_COMPACTED_COMPLETE);
		CHECK_EQ(result.blocks_before, 0);
		CHECK_EQ(result.blocks_after, 7);
		CHECK_EQ(result.moved, 7 * PB / 2 + PB / 2 - 32);
		/* Each frame is looked at once, by one of the two. */
		CHECK_EQ(result.scanned_migrate, 8 * PB);
		CHECK(result.scanned_free <= 8 * PB && result.scanned_free >= 7 * PB);
		CHECK(result.captured == PM_NO_FRAME && result.zone[0].stopped_pfn == PM_NO_FRAME);
		CHECK_EQ(result.batches, 8 * PB / 2 / 32);
		end(&r);
	}
}

/// The pageblocks below the frame are empty, nothing of those above has moved, and another run does the rest.
static void a_run_ends_where_it_is_told_to(void)
{
	struct compact_rig r;
	struct pm_compact_request request = cr_all();
	struct pm_compact_result result;

	open_with(&r, every_other, NULL);
	request.stop_pfn[0] = 3 * PB;
	result = cr_compact(&r, &request);
	CHECK_EQ(result.zone[0].status, PM_COMPACTED_TOLD);
	CHECK_EQ(result.zone[0].migrate_pfn, 3 * PB);
	CHECK_EQ(result.moved, 3 * PB / 2);
	CHECK_EQ(result.blocks_after, 3);
	/* Where the scanners meet first, nothing is left to be told. */
	request.stop_pfn[0] = 15 * PB;
	result = cr_compact(&r, &request);
	CHECK_EQ(result.zone[0].status, PM_COMPACTED_COMPLETE);
	CHECK_EQ(result.blocks_after, 7);
	end(&r);
}

/// With small blocks at hand a large one finds no room, and that ends the zone: one page-cache folio makes compact_memory useless.
static void no_room_for_a_large_block_is_final(void)
{
	struct compact_rig r;
	struct pm_compact_request request = cr_all();
	struct pm_compact_result result;

	open_with(&r, large_without_room, NULL);
	result = cr_compact(&r, &request);
	CHECK_EQ(result.status, PM_COMPACTED_NO_DESTINATION);
	CHECK_EQ(result.zone[0].stopped_pfn, 0);
	CHECK_EQ(result.zone[0].stopped_order, TALL);
	CHECK_EQ(result.failed[PM_WHY_NO_MEMORY], 1 << TALL);
	CHECK_EQ(result.blocks_after, 0);
	/* What was taken to move to is back. */
	CHECK_EQ(rig_zone(r.m, 0).nr_free, r.nr_frames / 2 - (1 << TALL) / 2);
	end(&r);
	/* Where there is room for it among the blocks taken, it moves whole, and the zone is gone through. */
	open_with(&r, large_with_room, NULL);
	result = cr_compact(&r, &request);
	CHECK_EQ(result.status, PM_COMPACTED_COMPLETE);
	CHECK(result.blocks_after >= 7);
	CHECK(is_free(&r, 0));
	end(&r);
}

/// A block that can be split goes in pieces where there is no room for the whole, as a clean folio of a file does; contents and all.
static void what_can_be_split_goes_in_pieces(void)
{
	struct compact_rig r;
	struct pm_compact_request request = cr_all();
	struct pm_compact_result result;
	uint64_t pfn;

	cr_open(&r, 16, NULL, PM_CONTENTS_PRIVATE, 0);
	r.large_kind = PM_OWNER_MOVABLE_OPS;
	cr_lay(&r, TALL, large_without_room);
	result = cr_compact(&r, &request);
	CHECK_EQ(result.status, PM_COMPACTED_COMPLETE);
	CHECK_EQ(result.split, 1);
	CHECK(result.blocks_after >= 7);
	CHECK(is_free(&r, 0) && is_free(&r, (1 << TALL) - 1));
	/* Its number is that of its first frame now. */
	CHECK_EQ(pm_owner_frame(r.m, 0, r.owner, r.large[0], &pfn), PM_OK);
	CHECK_EQ(rig_frame(r.m, pfn).order, 0);
	end(&r);
	/* Where there is room for the whole, it stays whole. */
	cr_open(&r, 16, NULL, PM_CONTENTS_PRIVATE, 0);
	r.large_kind = PM_OWNER_MOVABLE_OPS;
	cr_lay(&r, TALL, large_with_room);
	result = cr_compact(&r, &request);
	CHECK_EQ(result.status, PM_COMPACTED_COMPLETE);
	CHECK_EQ(pm_owner_frame(r.m, 0, r.owner, r.large[0], &pfn), PM_OK);
	CHECK_EQ(result.split, 0);
	CHECK_EQ(rig_frame(r.m, pfn).order, TALL);
	end(&r);
}

/// A free block as large as what is wanted is not filled up.
static void whole_blocks_are_no_targets(void)
{
	struct compact_rig r;
	struct pm_compact_request request = cr_all();
	struct pm_compact_result result;

	open_with(&r, last_is_whole, NULL);
	result = cr_compact(&r, &request);
	CHECK_EQ(result.blocks_before, 1);
	CHECK(rig_frame(r.m, 15 * PB).order >= PB_ORDER && is_free(&r, 15 * PB));
	CHECK(result.blocks_after >= 7);
	end(&r);
}

static void pinned_pages_are_passed_by(void)
{
	struct compact_rig r;
	struct pm_compact_request request = cr_all();
	struct pm_compact_result result;

	open_with(&r, one_pinned, NULL);
	result = cr_compact(&r, &request);
	CHECK_EQ(result.failed[PM_WHY_PINNED], 1);
	CHECK_EQ(result.status, PM_COMPACTED_COMPLETE);
	CHECK(!is_free(&r, 33) && is_free(&r, 31) && is_free(&r, 35));
	CHECK_EQ(result.blocks_after, 6);
	end(&r);
}

/// Movable pageblocks alone are filled, or unmovable ones would be stuck for good.
static void only_movable_pageblocks_are_filled(void)
{
	struct compact_rig r;
	struct pm_compact_request request = cr_all();
	struct pm_compact_result result;
	uint64_t pfn;

	open_with(&r, every_other, NULL);
	REQUIRE(pm_set_pageblock_type(r.m, 15 * PB, PM_MT_UNMOVABLE) == PM_OK);
	REQUIRE(pm_set_pageblock_type(r.m, 14 * PB, PM_MT_RECLAIMABLE) == PM_OK);
	result = cr_compact(&r, &request);
	for (pfn = 14 * PB; pfn < r.nr_frames; pfn++)
		CHECK_EQ(is_free(&r, pfn), pfn % 2 == 0);
	CHECK(result.blocks_after >= 5);
	end(&r);
	/* The last resort takes any. */
	open_with(&r, every_other, NULL);
	REQUIRE(pm_set_pageblock_type(r.m, 15 * PB, PM_MT_UNMOVABLE) == PM_OK);
	request = cr_one(PB_ORDER, PM_COMPACT_FULL);
	CHECK_EQ(cr_compact(&r, &request).status, PM_COMPACTED_SUCCESS);
	CHECK(!is_free(&r, 15 * PB));
	end(&r);
}

/// A free block of 2^f frames is taken only while MIN + 2^f are left: moving must not use up what urgent requests need.
static void reserves_are_kept(void)
{
	struct compact_rig r;
	struct pm_compact_request request = cr_all();
	struct pm_compact_result result;

	open_with(&r, every_other, NULL);
	/* MIN is all that is free: half of the frames. Set by hand, since nobody could lay this out in a machine that keeps so much. */
	r.m->zone[0].wmark[PM_WMARK_MIN] = 8 * PB;
	result = cr_compact(&r, &request);
	CHECK_EQ(result.moved, 0);
	CHECK_EQ(result.status, PM_COMPACTED_NO_DESTINATION);
	CHECK_EQ(result.zone[0].stopped_order, 0);
	/* Ten more than MIN and what is taken: ten can be taken, not the eleventh. */
	r.m->zone[0].wmark[PM_WMARK_MIN] = 8 * PB - 11;
	result = cr_compact(&r, &request);
	CHECK_EQ(result.moved, 10);
	CHECK_EQ(result.status, PM_COMPACTED_NO_DESTINATION);
	r.m->zone[0].wmark[PM_WMARK_MIN] = 8 * PB - 33;
	result = cr_compact(&r, &request);
	CHECK_EQ(result.status, PM_COMPACTED_COMPLETE);
	r.m->zone[0].wmark[PM_WMARK_MIN] = 0;
	end(&r);
}

/* ---- for a request ---- */

static void a_request_ends_with_its_block(void)
{
	struct compact_rig r;
	struct pm_compact_request request = cr_one(PB_ORDER, PM_COMPACT_SYNC_LIGHT);
	struct pm_compact_result result;

	open_with(&r, every_other, NULL);
	result = cr_compact(&r, &request);
	CHECK_EQ(result.status, PM_COMPACTED_SUCCESS);
	CHECK_EQ(result.blocks_after, 1);
	CHECK_EQ(result.moved, PB / 2);
	/* Three more, from where it had come to. */
	request.blocks = 3;
	result = cr_compact(&r, &request);
	CHECK_EQ(result.status, PM_COMPACTED_SUCCESS);
	CHECK_EQ(result.blocks_before, 1);
	CHECK_EQ(result.blocks_after, 4);
	CHECK(result.moved <= 3 * PB / 2);
	end(&r);
}

/// The block goes to the compacting task in the step in which it comes together: it is never on a free list.
static void capture(void)
{
	uint32_t order;

	for (order = 1; order <= PB_ORDER; order++) {
		struct compact_rig r;
		struct pm_compact_request request = cr_one(order, PM_COMPACT_SYNC_LIGHT);
		struct pm_compact_result result;

		request.flags = PM_COMPACT_CAPTURE;
		open_with(&r, every_other, NULL);
		result = cr_compact(&r, &request);
		CHECK_EQ(result.status, PM_COMPACTED_CAPTURED);
		REQUIRE(result.captured != PM_NO_FRAME);
		CHECK_EQ(result.captured % (1u << order), 0);
		CHECK_EQ(rig_frame(r.m, result.captured).state, PM_STATE_USED);
		CHECK_EQ(rig_frame(r.m, result.captured).order, order);
		CHECK_EQ(rig_frame(r.m, result.captured).migratetype, PM_MT_MOVABLE);
		CHECK(order < PB_ORDER || result.blocks_after == 0);
		CHECK_EQ(pm_free(r.m, 0, result.captured, order), PM_OK);
		end(&r);
	}
}

/// An unmovable request gets no block out of the middle of a movable pageblock by capture: it would spoil it.
static void capture_keeps_types_apart(void)
{
	struct compact_rig r;
	struct pm_compact_request request = cr_one(TALL, PM_COMPACT_SYNC_LIGHT);

	request.flags = PM_COMPACT_CAPTURE;
	request.gfp = PM_GFP_KERNEL;
	open_with(&r, every_other, NULL);
	CHECK_EQ(cr_compact(&r, &request).captured, PM_NO_FRAME);
	end(&r);
}

/// Who waits for nothing keeps to pageblocks of its own type; who waits does not.
static void async_keeps_to_its_type(void)
{
	struct compact_rig r;
	struct pm_compact_request request = cr_one(PB_ORDER, PM_COMPACT_ASYNC);
	struct pm_compact_result result;
	uint64_t pfn;

	open_with(&r, every_other, NULL);
	for (pfn = 0; pfn < 8 * PB; pfn += PB)
		REQUIRE(pm_set_pageblock_type(r.m, pfn, PM_MT_UNMOVABLE) == PM_OK);
	result = cr_compact(&r, &request);
	for (pfn = 0; pfn < 8 * PB; pfn++)
		CHECK_EQ(is_free(&r, pfn), pfn % 2 == 0);
	CHECK_EQ(result.status, PM_COMPACTED_SUCCESS);
	end(&r);
	open_with(&r, every_other, NULL);
	for (pfn = 0; pfn < 8 * PB; pfn += PB)
		REQUIRE(pm_set_pageblock_type(r.m, pfn, PM_MT_UNMOVABLE) == PM_OK);
	request.priority = PM_COMPACT_SYNC_LIGHT;
	result = cr_compact(&r, &request);
	CHECK(is_free(&r, 1));
	CHECK_EQ(result.status, PM_COMPACTED_SUCCESS);
	end(&r);
}

/// A block with a frame that is stuck will not come free: who waits for nothing moves none of it.
static void async_leaves_a_block_that_is_stuck(void)
{
	struct compact_rig r;
	struct pm_compact_request request = cr_one(TALL, PM_COMPACT_ASYNC);
	struct pm_compact_result result;

	open_with(&r, stuck_at_each_end, NULL);
	result = cr_compact(&r, &request);
	CHECK_EQ(result.status, PM_COMPACTED_SUCCESS);
	/* Of the first pageblock nothing moved: the sixteen came from the second, and were half free there. */
	CHECK(!is_free(&r, 0) && !is_free(&r, PB - 2));
	/* The pageblock that was begun is gone through. */
	CHECK_EQ(result.moved, PB / 2);
	end(&r);
	open_with(&r, stuck_at_each_end, NULL);
	request.priority = PM_COMPACT_SYNC_LIGHT;
	result = cr_compact(&r, &request);
	CHECK(is_free(&r, 0));
	end(&r);
}

/// Pageblocks in which nothing was found are not looked at again, but by the last resort.
static void skip_hints(void)
{
	struct compact_rig r;
	struct pm_compact_request request = cr_one(PB_ORDER, PM_COMPACT_SYNC_LIGHT);
	struct pm_compact_result result;

	open_with(&r, stuck_below, NULL);
	request.blocks = 9;
	result = cr_compact(&r, &request);
	CHECK(result.status == PM_COMPACTED_COMPLETE || result.status == PM_COMPACTED_PARTIAL_SKIPPED);
	CHECK(hints(&r).skipped >= 8);
	CHECK_EQ(result.skipped_pageblocks, 0);
	/* The first failure defers nothing yet but the next attempt. */
	CHECK_EQ(hints(&r).defer_shift, 1);
	CHECK_EQ(cr_compact(&r, &request).status, PM_COMPACTED_DEFERRED);
	result = cr_compact(&r, &request);
	CHECK(result.skipped_pageblocks >= 8);
	CHECK(result.scanned_migrate + result.scanned_free < 8 * PB);
	request.priority = PM_COMPACT_FULL;
	result = cr_compact(&r, &request);
	CHECK_EQ(result.skipped_pageblocks, 0);
	CHECK(result.scanned_migrate >= 8 * PB);
	end(&r);
}

/// A free frame is left to others where too few are.
static void too_little_free_memory(void)
{
	struct compact_rig r;
	struct pm_compact_request request = cr_one(PB_ORDER, PM_COMPACT_SYNC_LIGHT);
	struct pm_compact_result result;

	open_with(&r, few_free, NULL);
	result = cr_compact(&r, &request);
	CHECK_EQ(result.status, PM_COMPACTED_NOT_SUITABLE);
	CHECK_EQ(result.scanned_migrate, 0);
	/* Twice the block has to be there, and one frame more. */
	request.order = 2;
	CHECK_EQ(cr_compact(&r, &request).status, PM_COMPACTED_SUCCESS);
	request.order = 3;
	CHECK_EQ(cr_compact(&r, &request).status, PM_COMPACTED_NOT_SUITABLE);
	end(&r);
}

/// A costly request that fails for want of memory, rather than of large blocks, is not helped by moving: an index of 485 of 1000.
static void not_fragmented(void)
{
	struct compact_rig r;
	struct pm_compact_request request = cr_one(4, PM_COMPACT_SYNC_LIGHT);
	struct pm_compact_settings settings;

	open_with(&r, blocks_of_eight, NULL);
	CHECK_EQ(cr_compact(&r, &request).status, PM_COMPACTED_NOT_FRAGMENTED);
	REQUIRE(pm_compact_settings(r.m, &settings) == PM_OK);
	CHECK_EQ(settings.extfrag_threshold, 500);
	settings.extfrag_threshold = 484;
	CHECK_EQ(pm_set_compact_settings(r.m, &settings), PM_OK);
	CHECK_EQ(cr_compact(&r, &request).status, PM_COMPACTED_SUCCESS);
	settings.extfrag_threshold = 1001;
	CHECK_EQ(pm_set_compact_settings(r.m, &settings), PM_ERR_INVAL);
	end(&r);
}

/// After the n-th failure 2^n - 1 attempts are left out, 63 at most; then the hints are old and forgotten. A success ends it.
static void deferral(void)
{
	struct compact_rig r;
	struct pm_compact_request request = cr_one(PB_ORDER, PM_COMPACT_SYNC_LIGHT), small = cr_one(2, PM_COMPACT_SYNC_LIGHT);
	struct pm_compact_counters counters;
	unsigned int failure, i;

	open_with(&r, all_stuck, NULL);
	for (failure = 1; failure <= 8; failure++) {
		uint32_t shift = failure < 6 ? failure : 6;
		struct pm_compact_result result = cr_compact(&r, &request);

		CHECK(result.status == PM_COMPACTED_COMPLETE || result.status == PM_COMPACTED_PARTIAL_SKIPPED);
		CHECK_EQ(hints(&r).defer_shift, shift);
		CHECK_EQ(hints(&r).order_failed, PB_ORDER);
		/* Only what begins anew looks at pageblocks: the last but one failure had 63 attempts after it. */
		CHECK_EQ(result.scanned_migrate > 0, failure == 1 || failure >= 7);
		for (i = 0; i + 1 < 1u << shift; i++)
			CHECK_EQ(cr_compact(&r, &request).status, PM_COMPACTED_DEFERRED);
	}
	pm_compact_counters(r.m, &counters);
	CHECK_EQ(counters.deferred, 1 + 3 + 7 + 15 + 31 + 63 + 63 + 63);
	CHECK_EQ(counters.failed, 8);
	/* A smaller one is not meant. It fails too, and from then on it is. */
	CHECK(cr_compact(&r, &small).status != PM_COMPACTED_DEFERRED);
	CHECK_EQ(hints(&r).order_failed, 2);
	CHECK_EQ(cr_compact(&r, &small).status, PM_COMPACTED_DEFERRED);
	/* The last resort asks nobody. */
	request.priority = PM_COMPACT_FULL;
	CHECK_EQ(cr_compact(&r, &request).status, PM_COMPACTED_COMPLETE);
	end(&r);
}

/// Pins every page, or unpins them.
static void pin_all(struct compact_rig *r)
{
	uint64_t pfn, at;

	for (pfn = 0; pfn < r->nr_frames; pfn++)
		if (r->addr_of[pfn])
			REQUIRE(pm_pin(r->m, 0, r->space, r->addr_of[pfn], PM_PIN_LONG, true, &at, &r->pins[r->nr_pins++]) == PM_OK);
}

static void unpin_all(struct compact_rig *r)
{
	while (r->nr_pins)
		CHECK_EQ(pm_unpin(r->m, 0, r->pins[--r->nr_pins]), PM_OK);
}

static void success_resets_deferral(void)
{
	struct compact_rig r;
	struct pm_compact_request request = cr_one(PB_ORDER, PM_COMPACT_SYNC_LIGHT);

	open_with(&r, every_other, NULL);
	pin_all(&r);
	(void)cr_compact(&r, &request);
	CHECK_EQ(hints(&r).defer_shift, 1);
	unpin_all(&r);
	/* Deferred now, and the skip hints are in the way: a request of the last kind minds neither. */
	CHECK_EQ(cr_compact(&r, &request).status, PM_COMPACTED_DEFERRED);
	request.priority = PM_COMPACT_FULL;
	CHECK_EQ(cr_compact(&r, &request).status, PM_COMPACTED_SUCCESS);
	CHECK_EQ(hints(&r).defer_shift, 0);
	CHECK_EQ(hints(&r).order_failed, PB_ORDER + 1);
	end(&r);
}

/// Two zones: the one that was asked for, and no other; and a request goes to the zones that it may use, first choice first.
static void zones_apart(void)
{
	struct pm_zone_layout zones[2] = { { PM_ZONE_NORMAL, 0, 8 * PB }, { PM_ZONE_MOVABLE, 8 * PB, 8 * PB } };
	struct pm_layout layout = { .zones = zones, .nr_zones = 2, .nr_cpus = 1, .settings = rig_bare() };
	/* A movable zone keeps at least 32 frames. */
	struct pm_map_request map = { .length = ((uint64_t)16 * PB - 64) * CR_PAGE, .prot = PM_PROT_READ | PM_PROT_WRITE };
	struct pm_memory_options options;
	struct pm_compact_request request = cr_all();
	struct pm_compact_result result;
	struct pm_machine *m;
	uint64_t space, addr, done, i;

	/* All of both zones is to be filled. */
	memset(layout.settings.lowmem_reserve_ratio, 0, sizeof(layout.settings.lowmem_reserve_ratio));
	m = rig_create(&layout);
	pm_memory_options_default(&options);
	options.contents = PM_CONTENTS_NONE;
	REQUIRE(pm_memory_enable(m, &options) == PM_OK && pm_space_create(m, &space) == PM_OK && pm_map(m, 0, space, &map, &addr) == PM_OK);
	REQUIRE(pm_touch(m, 0, space, addr, map.length, true, &done) == PM_OK);
	for (i = 0; i < 16 * PB - 64; i += 2)
		REQUIRE(pm_unmap(m, 0, space, addr + i * CR_PAGE, CR_PAGE) == PM_OK);
	request.zone = 1;
	CHECK_EQ(pm_compact(m, 0, &request, &result), PM_OK);
	CHECK(!result.zone[0].looked_at && result.zone[1].looked_at);
	CHECK_EQ(result.blocks_after, 3);
	request = cr_one(PB_ORDER, PM_COMPACT_SYNC_LIGHT);
	request.gfp = PM_GFP_KERNEL;
	CHECK_EQ(pm_compact(m, 0, &request, &result), PM_OK);
	CHECK(result.zone[0].looked_at && !result.zone[1].looked_at);
	CHECK_EQ(result.status, PM_COMPACTED_SUCCESS);
	request.zone = 2;
	CHECK_EQ(pm_compact(m, 0, &request, &result), PM_ERR_INVAL);
	CHECK_EQ(pm_space_exit(m, 0, space), PM_OK);
	rig_destroy(m);
}

int main(void)
{
	RUN(all_of_a_zone);
	RUN(a_run_ends_where_it_is_told_to);
	RUN(no_room_for_a_large_block_is_final);
	RUN(what_can_be_split_goes_in_pieces);
	RUN(whole_blocks_are_no_targets);
	RUN(pinned_pages_are_passed_by);
	RUN(only_movable_pageblocks_are_filled);
	RUN(reserves_are_kept);
	RUN(a_request_ends_with_its_block);
	RUN(capture);
	RUN(capture_keeps_types_apart);
	RUN(async_keeps_to_its_type);
	RUN(async_leaves_a_block_that_is_stuck);
	RUN(skip_hints);
	RUN(too_little_free_memory);
	RUN(not_fragmented);
	RUN(deferral);
	RUN(success_resets_deferral);
	RUN(zones_apart);
	return check_result();
}
