/// Behaviour follows mm/page_alloc.c of Linux 6.18 as REFERENCE section 4 gives it.
#include "phys/buddy.h"
#include "phys/watermark.h"

/// Buddies of these types may merge at pageblock order and above: no list has to keep them apart.
static bool mergeable(unsigned int migratetype)
{
	return migratetype < PM_MT_HIGHATOMIC;
}

void pm_buddy_count(struct pm_zone *zone, unsigned int migratetype, int64_t frames)
{
	/* Plain read and write would do under the lock; relaxed atomics because the watermark checks read without it. */
	if (migratetype == PM_MT_ISOLATE) {
		zone->nr_isolated += (uint64_t)frames;
		return;
	}
	atomic_store_explicit(&zone->nr_free, atomic_load_explicit(&zone->nr_free, memory_order_relaxed) + (uint64_t)frames, memory_order_relaxed);
	if (PM_UNLIKELY(migratetype == PM_MT_HIGHATOMIC)) {
		atomic_store_explicit(&zone->nr_free_highatomic,
				      atomic_load_explicit(&zone->nr_free_highatomic, memory_order_relaxed) + (uint64_t)frames, memory_order_relaxed);
		pm_watermark_update(zone);
	}
}

bool pm_buddy_is_free(const struct pm_machine *m, const struct pm_zone *zone, struct pm_pfn pfn, unsigned int order)
{
	uint32_t word;

	if (PM_UNLIKELY(pfn.v < zone->start || pfn.v >= zone->end))
		return false;
	if (order >= PM_PAGEBLOCK_ORDER)
		return pm_pfn_aligned(pfn, PM_PAGEBLOCK_ORDER) && pm_pageblock_of(m, pfn)->free_order == order;
	word = pm_frame_word(pm_frame_of(m, pfn));
	return pm_word_kind(word) == PM_FRAME_FREE && pm_word_order(word) == order;
}

/// Writes where a free block is: in the frame's word, or for a large one in the pageblock table.
static void mark_free(struct pm_machine *m, struct pm_pfn pfn, unsigned int order, unsigned int migratetype)
{
	if (order >= PM_PAGEBLOCK_ORDER) {
		struct pm_pageblock *block = pm_pageblock_of(m, pfn);

		block->free_order = (uint8_t)order;
		block->free_list = (uint8_t)migratetype;
	} else {
		pm_frame_set_word(pm_frame_of(m, pfn), pm_word(PM_FRAME_FREE, migratetype, order));
	}
}

void pm_buddy_add(struct pm_machine *m, struct pm_zone *zone, struct pm_pfn pfn, unsigned int order, unsigned int migratetype, bool tail)
{
	struct pm_list *list = &zone->area[order].list[migratetype];

	mark_free(m, pfn, order, migratetype);
	if (tail)
		pm_list_push_back(&m->tables, list, pfn, order);
	else
		pm_list_push_front(&m->tables, list, pfn, order);
	pm_buddy_count(zone, migratetype, (int64_t)1 << order);
}

/// The type of the list that a free block is on.
static unsigned int list_type(const struct pm_machine *m, struct pm_pfn pfn, unsigned int order)
{
	if (order >= PM_PAGEBLOCK_ORDER)
		return pm_pageblock_of(m, pfn)->free_list;
	return pm_word_migratetype(pm_frame_word(pm_frame_of(m, pfn)));
}

/// Takes a block off its list and forgets that it is free; the counters are the caller's.
static unsigned int unlink_block(struct pm_machine *m, struct pm_zone *zone, struct pm_pfn pfn, unsigned int order) PM_REQUIRES(zone->lock)
{
	unsigned int migratetype = list_type(m, pfn, order);

	pm_list_remove(&m->tables, &zone->area[order].list[migratetype], pfn, order);
	if (order >= PM_PAGEBLOCK_ORDER)
		pm_pageblock_of(m, pfn)->free_order = 0;
	else
		pm_frame_set_word(pm_frame_of(m, pfn), 0);
	return migratetype;
}

unsigned int pm_buddy_del(struct pm_machine *m, struct pm_zone *zone, struct pm_pfn pfn, unsigned int order)
{
	unsigned int migratetype = unlink_block(m, zone, pfn, order);

	pm_buddy_count(zone, migratetype, -((int64_t)1 << order));
	return migratetype;
}

void pm_buddy_move(struct pm_machine *m, struct pm_zone *zone, struct pm_pfn pfn, unsigned int order, unsigned int migratetype)
{
	(void)pm_buddy_del(m, zone, pfn, order);
	pm_buddy_add(m, zone, pfn, order, migratetype, true);
}

/// A block goes to the tail if its own buddy is about to come back: the buddy of the pair is free already, so that leaving this block
/// alone for a while may make a larger one.
static bool merge_likely(const struct pm_machine *m, const struct pm_zone *zone, struct pm_pfn pfn, unsigned int order)
{
	struct pm_pfn pair;

	if (order >= PM_MAX_ORDER - 1)
		return false;
	pair = pm_pfn(pfn.v & ~(1u << order));
	return pm_buddy_is_free(m, zone, pm_pfn_buddy(pair, order + 1), order + 1);
}

/// May a block of `migratetype` of at least the pageblock order merge with its free buddy? A buddy of another mergeable type takes over our
/// type. Smaller blocks always merge.
static bool may_merge(struct pm_machine *m, struct pm_pfn buddy, unsigned int order, unsigned int migratetype)
{
	unsigned int other = list_type(m, buddy, order);
	uint32_t i;

	if (other == migratetype)
		return true;
	if (!mergeable(migratetype) || !mergeable(other))
		return false;
	for (i = 0; i < 1u << (order - PM_PAGEBLOCK_ORDER); i++)
		pm_pageblock_write_type(&m->tables.pageblocks[(buddy.v >> PM_PAGEBLOCK_ORDER) + i], migratetype);
	return true;
}

/// Merges a block below the pageblock order with its buddies up to that order. Frames outside the zone are in none of its pageblocks or
/// never free, so that no edge has to be looked at; the counters are the caller's.
static struct pm_pfn merge_small(struct pm_machine *m, struct pm_zone *zone, struct pm_pfn pfn, unsigned int *order, unsigned int migratetype) PM_REQUIRES(zone->lock)
{
	const struct pm_tables tables = m->tables;
	unsigned int o;

	for (o = *order; o < PM_PAGEBLOCK_ORDER; o++) {
		struct pm_pfn buddy = pm_pfn_buddy(pfn, o);
		uint32_t word = pm_frame_word(&tables.frames[buddy.v]);
		unsigned int type = pm_word_migratetype(word);

		if (word != pm_word(PM_FRAME_FREE, type, o))
			break;
		/* The frames of the buddy stay free: they leave one list and are in the merged block, on a list of another type perhaps. */
		if (PM_UNLIKELY(type != migratetype)) {
			pm_buddy_count(zone, type, -((int64_t)1 << o));
			pm_buddy_count(zone, migratetype, (int64_t)1 << o);
		}
		pm_list_remove(&tables, &zone->area[o].list[type], buddy, o);
		pm_frame_set_word(&tables.frames[buddy.v], 0);
		pfn.v &= buddy.v;
	}
	*order = o;
	return pfn;
}

/// Goes on with merging from the pageblock order up.
static struct pm_pfn merge_large(struct pm_machine *m, struct pm_zone *zone, struct pm_pfn pfn, unsigned int *order, unsigned int migratetype) PM_REQUIRES(zone->lock)
{
	unsigned int o;

	for (o = *order; o < PM_MAX_ORDER; o++) {
		struct pm_pfn buddy = pm_pfn_buddy(pfn, o);

		if (!pm_buddy_is_free(m, zone, buddy, o) || !may_merge(m, buddy, o, migratetype))
			break;
		pm_buddy_count(zone, unlink_block(m, zone, buddy, o), -((int64_t)1 << o));
		pm_buddy_count(zone, migratetype, (int64_t)1 << o);
		pfn.v &= buddy.v;
	}
	*order = o;
	return pfn;
}

void pm_buddy_free_uncounted(struct pm_machine *m, struct pm_zone *zone, struct pm_pfn pfn, unsigned int order, unsigned int migratetype)
{
	struct pm_list *list;

	PM_ASSERT_SLOW(pm_pfn_aligned(pfn, order));
	/* The frame may end up inside a larger block, where its word must be zero. */
	pm_frame_set_word(pm_frame_of(m, pfn), 0);
	pfn = merge_small(m, zone, pfn, &order, migratetype);
	if (PM_UNLIKELY(order >= PM_PAGEBLOCK_ORDER))
		pfn = merge_large(m, zone, pfn, &order, migratetype);
	mark_free(m, pfn, order, migratetype);
	list = &zone->area[order].list[migratetype];
	if (merge_likely(m, zone, pfn, order))
		pm_list_push_back(&m->tables, list, pfn, order);
	else
		pm_list_push_front(&m->tables, list, pfn, order);
}

void pm_buddy_free(struct pm_machine *m, struct pm_zone *zone, struct pm_pfn pfn, unsigned int order, unsigned int migratetype)
{
	pm_buddy_free_uncounted(m, zone, pfn, order, migratetype);
	pm_buddy_count(zone, migratetype, (int64_t)1 << order);
}

void pm_buddy_expand(struct pm_machine *m, struct pm_zone *zone, struct pm_pfn pfn, unsigned int low, unsigned int high, unsigned int migratetype)
{
	while (high > low) {
		high--;
		pm_buddy_add(m, zone, pm_pfn_add(pfn, 1u << high), high, migratetype, false);
	}
}

struct pm_pfn pm_buddy_take_smallest(struct pm_machine *m, struct pm_zone *zone, unsigned int order, unsigned int migratetype)
{
	unsigned int o;

	for (o = order; o < PM_NR_ORDERS; o++) {
		struct pm_list *list = &zone->area[o].list[migratetype];
		struct pm_pfn pfn;

		if (list->chain.first == PM_NIL_PFN)
			continue;
		pfn = pm_pfn(list->chain.first);
		(void)pm_buddy_del(m, zone, pfn, o);
		pm_buddy_expand(m, zone, pfn, order, o, migratetype);
		return pfn;
	}
	return pm_pfn_nil();
}

uint32_t pm_buddy_take_run(struct pm_machine *m, struct pm_zone *zone, unsigned int order, unsigned int migratetype, uint32_t most, struct pm_pfn *ret)
{
	unsigned int o = order;
	uint32_t all, nr, rest;
	struct pm_pfn pfn;

	while (o < PM_NR_ORDERS && pm_chain_empty(&zone->area[o].list[migratetype].chain))
		o++;
	if (o == PM_NR_ORDERS)
		return 0;
	pfn = pm_pfn(zone->area[o].list[migratetype].chain.first);
	(void)pm_buddy_del(m, zone, pfn, o);
	all = 1u << (o - order);
	nr = most < all ? most : all;
	/* The lists below were empty; splitting one block at a time would have left on them what an aligned split of the rest leaves. */
	for (rest = nr; rest < all; rest += rest & -rest) {
		unsigned int part = order + (unsigned int)__builtin_ctz(rest);

		pm_buddy_add(m, zone, pm_pfn_add(pfn, rest << order), part, migratetype, false);
	}
	*ret = pfn;
	return nr;
}

struct pm_pfn pm_buddy_find(const struct pm_machine *m, const struct pm_zone *zone, struct pm_pfn pfn, unsigned int *ret_order)
{
	unsigned int order;

	for (order = 0; order < PM_NR_ORDERS; order++) {
		struct pm_pfn head = pm_pfn(pfn.v & ~((1u << order) - 1));

		if (pm_buddy_is_free(m, zone, head, order)) {
			*ret_order = order;
			return head;
		}
	}
	return pm_pfn_nil();
}

bool pm_buddy_take_exact(struct pm_machine *m, struct pm_zone *zone, struct pm_pfn pfn, unsigned int order)
{
	unsigned int covering, migratetype;
	struct pm_pfn head = pm_buddy_find(m, zone, pfn, &covering);

	if (pm_pfn_is_nil(head) || covering < order)
		return false;
	migratetype = pm_buddy_del(m, zone, head, covering);
	while (covering > order) {
		struct pm_pfn upper;

		covering--;
		upper = pm_pfn_add(head, 1u << covering);
		if (pfn.v >= upper.v) {
			pm_buddy_add(m, zone, head, covering, migratetype, false);
			head = upper;
		} else {
			pm_buddy_add(m, zone, upper, covering, migratetype, false);
		}
	}
	return true;
}

unsigned int pm_buddy_list_type(const struct pm_machine *m, const struct pm_zone *zone, struct pm_pfn pfn)
{
	unsigned int order;

	for (order = 0; order < PM_NR_ORDERS; order++)
		if (pm_pfn_aligned(pfn, order) && pm_buddy_is_free(m, zone, pfn, order))
			return list_type(m, pfn, order);
	return PM_NR_MIGRATETYPES;
}
