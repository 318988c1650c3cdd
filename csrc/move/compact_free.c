/// The free scanner: blocks to move to, from the end of a zone downwards. What it takes off the free lists nobody else knows until it is
/// used, or given back at the end.
#include "move/compact_linux.h"

#include "phys/buddy.h"
#include "phys/pageblock.h"
#include "phys/watermark.h"

/// Is it a pageblock to move things to? Not one that begins with a block as large as what is wanted: that would be spoilt.
static bool suitable_target(const struct pm_scan *scan, uint32_t pfn) PM_REQUIRES(scan->zone->lock)
{
	const struct pm_machine *m = scan->run->call->m;
	const struct pm_pageblock *block = pm_pageblock_of(m, pm_pfn(pfn));
	uint32_t word = pm_frame_word(pm_frame_of(m, pm_pfn(pfn)));
	unsigned int type = pm_pageblock_type(block), order = block->free_order;

	if (!order && pm_word_kind(word) == PM_FRAME_FREE)
		order = pm_word_order(word);
	if ((block->free_order || pm_word_kind(word) == PM_FRAME_FREE) && order >= scan->order)
		return false;
	return type == PM_MT_MOVABLE || (scan->ignore_type && type != PM_MT_ISOLATE);
}

/// The free block headed by a frame; false: there is none. `*ret_nr`: how far the next one is at least.
static bool free_head(const struct pm_machine *m, uint32_t pfn, unsigned int *ret_order, uint32_t *ret_nr)
{
	uint32_t word = pm_frame_word(pm_frame_of(m, pm_pfn(pfn)));
	const struct pm_pageblock *block = pm_pageblock_of(m, pm_pfn(pfn));

	if (pm_pfn_aligned(pm_pfn(pfn), PM_PAGEBLOCK_ORDER) && block->free_order) {
		*ret_order = block->free_order;
		*ret_nr = 1u << block->free_order;
		return true;
	}
	*ret_order = pm_word_order(word);
	*ret_nr = pm_word_kind(word) == PM_FRAME_NONE ? 1 : 1u << pm_word_order(word);
	return pm_word_kind(word) == PM_FRAME_FREE;
}

/// Takes a free block, unless the zone would come too near to its MIN mark: what moves must not cost others their reserves.
static bool take_block(struct pm_scan *scan, struct pm_zone *zone, struct pm_pfn pfn, unsigned int order) PM_REQUIRES(zone->lock)
{
	struct pm_machine *m = scan->run->call->m;
	uint32_t i;

	if (!pm_watermark_enough(zone, 0, zone->wmark[PM_WMARK_MIN] + ((uint64_t)1 << order), 0, 0))
		return false;
	(void)pm_buddy_del(m, zone, pfn, order);
	pm_frame_set_word(pm_frame_of(m, pfn), pm_word(PM_FRAME_USED, PM_MT_MOVABLE, order));
	zone->nr_alloc++;
	/* What fills half a pageblock makes it movable. */
	for (i = 0; order >= PM_PAGEBLOCK_ORDER - 1 && i < 1u << order; i += PM_PAGEBLOCK_NR_PAGES)
		if (pm_pageblock_type(pm_pageblock_of(m, pm_pfn_add(pfn, i))) < PM_MT_HIGHATOMIC)
			pm_pageblock_write_type(pm_pageblock_of(m, pm_pfn_add(pfn, i)), PM_MT_MOVABLE);
	pm_chain_push_back(&m->tables, &scan->free[order], pfn, order);
	scan->nr_free += 1u << order;
	scan->run->result->isolated += (uint64_t)1 << order;
	return true;
}

/// Takes free blocks of [*pfn, end) of one pageblock until there is enough. False: a block could not be taken, and no other will.
static bool isolate_block(struct pm_scan *scan, struct pm_zone *zone, uint32_t *pfn, uint32_t end) PM_REQUIRES(zone->lock)
{
	const struct pm_machine *m = scan->run->call->m;
	uint32_t start = *pfn;
	bool taken = true;

	while (*pfn < end) {
		unsigned int order;
		uint32_t nr;

		if (free_head(m, *pfn, &order, &nr)) {
			taken = take_block(scan, zone, pm_pfn(*pfn), order);
			if (!taken)
				break;
			*pfn += nr;
			if (scan->nr_free >= scan->pending)
				break;
			continue;
		}
		*pfn += nr;
	}
	if (*pfn > end)
		*pfn = end;
	scan->run->result->scanned_free += *pfn - start;
	return taken;
}

/// The zone's lock; who does not want to wait says so later, to its caller, as in 6.x.
static void lock_zone(struct pm_scan *scan) PM_NO_TSA
{
	if (pm_trylock(&scan->zone->lock))
		return;
	if (scan->mode == PM_MIGRATE_ASYNC)
		scan->contended = true;
	pm_lock(&scan->zone->lock);
}

/// One pageblock, from `*pfn`, which is in it. False: no more can be taken.
static bool visit_block(struct pm_scan *scan, uint32_t *pfn) PM_NO_TSA
{
	uint32_t first = *pfn & ~(uint32_t)(PM_PAGEBLOCK_NR_PAGES - 1), end = first + PM_PAGEBLOCK_NR_PAGES;
	bool more = true;

	if (end > scan->zone->end)
		end = scan->zone->end;
	if (pm_compact_skipped(scan, first)) {
		*pfn = end;
		scan->run->result->skipped_pageblocks++;
		return true;
	}
	lock_zone(scan);
	if (suitable_target(scan, first)) {
		more = isolate_block(scan, scan->zone, pfn, end);
		/* Scanned in full, it has no free block left, neither for us nor for the next. */
		if (*pfn == end) {
			pm_compact_set_skip(scan, first);
			if (first < pm_hint(&scan->hints->cached_free))
				pm_hint_set(&scan->hints->cached_free, first);
		}
	} else {
		*pfn = end;
	}
	pm_unlock(&scan->zone->lock);
	return more;
}

/// Goes down from `free_pfn` until as many frames are there as wait for a destination, or the migrate scanner's pageblock is reached.
static void isolate_free(struct pm_scan *scan)
{
	/* The pageblock that the migrate scanner is in, or comes to next, is left to it. */
	uint32_t low = (scan->migrate_pfn | (PM_PAGEBLOCK_NR_PAGES - 1)) + 1, pfn = scan->free_pfn;

	while ((pfn & ~(uint32_t)(PM_PAGEBLOCK_NR_PAGES - 1)) >= low) {
		uint32_t first = pfn & ~(uint32_t)(PM_PAGEBLOCK_NR_PAGES - 1);
		bool more = visit_block(scan, &pfn);

		if (!more || scan->contended)
			break;
		/* `low` is above the first pageblock, so there is one before. */
		if (pfn >= first + PM_PAGEBLOCK_NR_PAGES || pfn >= scan->zone->end)
			pfn = first - PM_PAGEBLOCK_NR_PAGES;
		if (scan->nr_free >= scan->pending)
			break;
	}
	scan->free_pfn = pfn;
}

/// Takes a block of `order` from those at hand, a larger one in halves. False: there is none.
static bool take_from_hand(struct pm_scan *scan, unsigned int order, struct pm_pfn *ret)
{
	struct pm_machine *m = scan->run->call->m;
	unsigned int o = order;
	struct pm_pfn pfn;

	while (o < PM_NR_ORDERS && pm_chain_empty(&scan->free[o]))
		o++;
	if (o == PM_NR_ORDERS)
		return false;
	pfn = pm_chain_pop_front(&m->tables, &scan->free[o], o);
	while (o > order) {
		struct pm_pfn half = pm_pfn_add(pfn, 1u << --o);

		pm_frame_set_word(pm_frame_of(m, half), pm_word(PM_FRAME_USED, PM_MT_MOVABLE, o));
		pm_chain_push_front(&m->tables, &scan->free[o], half, o);
	}
	pm_frame_set_word(pm_frame_of(m, pfn), pm_word(PM_FRAME_USED, PM_MT_MOVABLE, order));
	*ret = pfn;
	return true;
}

static enum pm_status get(struct pm_supply *supply, struct pm_call *call, struct pm_pfn from, unsigned int order, struct pm_pfn *ret)
{
	struct pm_scan *scan = (struct pm_scan *)supply;
	uint32_t nr = 1u << order;

	(void)call;
	/* As in 6.x the scanner goes on only once its hands are empty: with small blocks in them a large one finds nothing. */
	if (!take_from_hand(scan, order, ret)) {
		if (!scan->nr_free)
			isolate_free(scan);
		if (!take_from_hand(scan, order, ret)) {
			scan->missed_pfn = from.v;
			scan->missed_order = order;
			return PM_ERR_NOMEM;
		}
	}
	scan->nr_free -= nr;
	scan->pending -= nr < scan->pending ? nr : scan->pending;
	return PM_OK;
}

static void emptied(struct pm_supply *supply, struct pm_call *call, size_t n, const uint64_t *pfns)
{
	struct pm_scan *scan = (struct pm_scan *)supply;

	pm_free_captured(call->m, scan->zone, n, pfns, scan->captures ? &scan->capture : NULL);
}

void pm_scan_free_init(struct pm_scan *scan)
{
	unsigned int order;

	scan->supply = (struct pm_supply){ .get = get, .emptied = emptied };
	scan->missed_pfn = PM_NO_FRAME;
	for (order = 0; order < PM_NR_ORDERS; order++)
		pm_chain_init(&scan->free[order]);
}

void pm_scan_free_release(struct pm_scan *scan)
{
	struct pm_machine *m = scan->run->call->m;
	uint32_t highest = 0;
	unsigned int order;

	for (order = 0; order < PM_NR_ORDERS; order++) {
		while (!pm_chain_empty(&scan->free[order])) {
			struct pm_pfn pfn = pm_chain_pop_front(&m->tables, &scan->free[order], order);
			enum pm_status status = pm_free(m, scan->run->call->cpu, pfn.v, order);

			PM_ASSERT(status == PM_OK);
			if (pfn.v > highest)
				highest = pfn.v;
		}
	}
	scan->nr_free = 0;
	/* The next one finds what is given back here. */
	highest &= ~(uint32_t)(PM_PAGEBLOCK_NR_PAGES - 1);
	if (highest > pm_hint(&scan->hints->cached_free))
		pm_hint_set(&scan->hints->cached_free, highest);
}
