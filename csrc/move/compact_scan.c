/// The migrate scanner: what can move, from the start of a zone upwards. It reads without a lock, so what it finds is a guess; the engine looks again.
#include "move/compact_linux.h"

#include "phys/buddy.h"
#include "virt/reference.h"

/// What a frame is to the scanner.
enum found { FOUND_FREE, FOUND_MOVABLE, FOUND_STUCK };

struct look {
	enum found found;
	uint32_t nr; ///< frames until the next block
};

/// May a page on a list by age move? Those who wait for nothing leave out what is being written.
static bool page_may_move(struct pm_scan *scan, const struct pm_page *page, uint32_t flags)
{
	uint64_t counts = pm_page_counts(page);

	if (!(flags & PM_PG_LRU))
		return false;
	/* Each mapping has one reference. Who has more, has it pinned, or is about to do something with it. A page in the swap cache has that one too. */
	if ((flags & PM_PG_ANON) && !(flags & PM_PG_SWAPCACHE) && pm_counts_refs(counts) > pm_counts_maps(counts)) {
		scan->run->result->failed[PM_WHY_PINNED]++;
		return false;
	}
	return scan->mode != PM_MIGRATE_ASYNC || !(flags & PM_PG_WRITEBACK);
}

/// A block as large as what is wanted is none the better for being elsewhere.
static bool too_large(const struct pm_scan *scan, unsigned int order)
{
	return order >= PM_PAGEBLOCK_ORDER || order >= scan->order;
}

static struct look look_at(struct pm_scan *scan, uint32_t pfn)
{
	const struct pm_machine *m = scan->run->call->m;
	struct look look = { .found = FOUND_STUCK };
	uint32_t word, flags;

	pm_yield(PM_AT_WORD, pm_frame_of(m, pm_pfn(pfn)));
	word = pm_frame_word(pm_frame_of(m, pm_pfn(pfn)));
	look.nr = 1u << pm_word_order(word);
	switch (pm_word_kind(word)) {
	case PM_FRAME_FREE:
		look.found = FOUND_FREE;
		return look;
	case PM_FRAME_OWNED:
		break;
	case PM_FRAME_NONE:
		look.nr = 1;
		return look;
	default:
		return look;
	}
	flags = pm_page_flags(pm_page_of(m, pm_pfn(pfn)));
	if (flags & PM_PG_OWNER) {
		if ((flags & PM_PG_MOVABLE_OPS) && !too_large(scan, pm_word_order(word)))
			look.found = FOUND_MOVABLE;
	} else if (pm_word_order(word) == 0 && page_may_move(scan, pm_page_of(m, pm_pfn(pfn)), flags)) {
		look.found = FOUND_MOVABLE;
	}
	return look;
}

/// Is all of the pageblock free? Its frames say nothing then: only the table of pageblocks does.
static bool is_free(struct pm_scan *scan, uint32_t pfn)
{
	bool free = false;
	unsigned int order;

	pm_lock(&scan->zone->lock);
	for (order = PM_PAGEBLOCK_ORDER; order < PM_NR_ORDERS && !free; order++)
		free = pm_buddy_is_free(scan->run->call->m, scan->zone, pm_pfn(pfn & ~((1u << order) - 1)), order);
	pm_unlock(&scan->zone->lock);
	return free;
}

static uint32_t next_block(const struct pm_scan *scan, uint32_t pfn)
{
	return (pfn | ((1u << scan->order) - 1)) + 1;
}

static void forget_found(struct pm_scan *scan)
{
	scan->nr = 0;
	scan->nr_frames = 0;
}

/// Frames [pfn, end) of one pageblock. Returns where it stopped.
static uint32_t scan_block(struct pm_scan *scan, uint32_t pfn, uint32_t end)
{
	/* Who waits for nothing gives a block up with the first frame that is stuck: the rest of it would move in vain. */
	bool leave = scan->direct && scan->mode == PM_MIGRATE_ASYNC;
	uint32_t start = pfn, limit = leave ? next_block(scan, pfn) : end;

	while (pfn < end && scan->nr_frames < PM_COMPACT_CLUSTER) {
		struct look look;

		if (pfn >= limit) {
			/* What was found in the block before moves before the next one is looked at. */
			if (scan->nr)
				break;
			limit = next_block(scan, pfn);
		}
		look = look_at(scan, pfn);
		if (look.found == FOUND_MOVABLE) {
			scan->from[scan->nr++] = pfn;
			scan->nr_frames += look.nr;
		}
		pfn += look.nr;
		if (look.found == FOUND_STUCK && leave) {
			forget_found(scan);
			pfn = pfn > limit ? pfn : limit;
		}
	}
	if (pfn > end)
		pfn = end;
	scan->run->result->scanned_migrate += pfn - start;
	return pfn;
}

/// A compaction that does not look at everything goes on from here the next time.
static void note_progress(struct pm_scan *scan, uint32_t pfn)
{
	if (pfn > pm_hint(&scan->hints->cached_migrate[0]))
		pm_hint_set(&scan->hints->cached_migrate[0], pfn);
	if (scan->mode != PM_MIGRATE_ASYNC && pfn > pm_hint(&scan->hints->cached_migrate[1]))
		pm_hint_set(&scan->hints->cached_migrate[1], pfn);
}

/// Is it a pageblock that this run may empty? A request that does not wait keeps to its own type, lest it make a mess elsewhere.
static bool suitable_source(const struct pm_scan *scan, uint32_t pfn)
{
	unsigned int type = pm_pageblock_type(pm_pageblock_of(scan->run->call->m, pm_pfn(pfn)));

	return scan->mode != PM_MIGRATE_ASYNC || !scan->direct || type == scan->migratetype;
}

void pm_scan_migrate(struct pm_scan *scan)
{
	uint32_t pfn = scan->migrate_pfn, start = scan->zone->start;

	forget_found(scan);
	for (;;) {
		uint32_t end = (pfn | (PM_PAGEBLOCK_NR_PAGES - 1)) + 1;
		bool whole = pm_pfn_aligned(pm_pfn(pfn), PM_PAGEBLOCK_ORDER) || pfn == start, scanned = false;

		if (end > scan->free_pfn)
			break;
		if (whole && pm_compact_skipped(scan, pfn)) {
			scan->run->result->skipped_pageblocks++;
		} else if (suitable_source(scan, pfn)) {
			uint32_t stopped = end;

			/* The scan of a free pageblock goes over all of it as well. */
			if (whole && is_free(scan, pfn))
				scan->run->result->scanned_migrate += end - pfn;
			else
				stopped = scan_block(scan, pfn, end);
			if (stopped == end && !scan->nr) {
				if (whole)
					pm_compact_set_skip(scan, pfn);
				note_progress(scan, end);
			}
			end = stopped;
			scanned = true;
		}
		pfn = end;
		/* One pageblock at a time: what was found moves, or the run looks whether it is to go on. */
		if (scanned)
			break;
	}
	scan->migrate_pfn = pfn;
	scan->pending = scan->nr_frames;
}
