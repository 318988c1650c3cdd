#include "phys/buddy.h"
#include "phys/pageblock.h"

void pm_pageblock_set_range(struct pm_machine *m, struct pm_pfn pfn, unsigned int order, unsigned int migratetype)
{
	uint32_t first = pfn.v >> PM_PAGEBLOCK_ORDER, i;

	for (i = 0; i < 1u << (order - PM_PAGEBLOCK_ORDER); i++)
		pm_pageblock_write_type(&m->tables.pageblocks[first + i], migratetype);
}

static struct pm_pfn pageblock_start(struct pm_pfn pfn)
{
	return pm_pfn(pfn.v & ~(uint32_t)(PM_PAGEBLOCK_NR_PAGES - 1));
}

bool pm_pageblock_count(struct pm_machine *m, const struct pm_zone *zone, struct pm_pfn pfn, struct pm_pageblock_use *ret)
{
	struct pm_pfn start = pageblock_start(pfn);
	uint32_t i = 0;

	*ret = (struct pm_pageblock_use){ 0, 0 };
	if (start.v < zone->start || start.v + PM_PAGEBLOCK_NR_PAGES > zone->end)
		return false;
	while (i < PM_PAGEBLOCK_NR_PAGES) {
		uint32_t word = pm_frame_word(pm_frame_of(m, pm_pfn_add(start, i)));
		enum pm_frame_kind kind = pm_word_kind(word);
		uint32_t nr = kind == PM_FRAME_NONE ? 1 : 1u << pm_word_order(word);

		if (nr > PM_PAGEBLOCK_NR_PAGES - i)
			nr = PM_PAGEBLOCK_NR_PAGES - i;
		if (kind == PM_FRAME_FREE)
			ret->nr_free += nr;
		else if (pm_word_in_use(word) && pm_word_migratetype(word) == PM_MT_MOVABLE)
			ret->nr_movable += nr;
		i += nr;
	}
	return true;
}

void pm_pageblock_move_free(struct pm_machine *m, struct pm_zone *zone, struct pm_pfn pfn, unsigned int migratetype)
{
	struct pm_pfn start = pageblock_start(pfn);
	uint32_t i = 0;

	if (pm_pageblock_of(m, start)->free_order) {
		pm_buddy_move(m, zone, start, pm_pageblock_of(m, start)->free_order, migratetype);
		return;
	}
	while (i < PM_PAGEBLOCK_NR_PAGES) {
		struct pm_pfn at = pm_pfn_add(start, i);
		uint32_t word = pm_frame_word(pm_frame_of(m, at));

		if (pm_word_kind(word) == PM_FRAME_FREE)
			pm_buddy_move(m, zone, at, pm_word_order(word), migratetype);
		i += pm_word_kind(word) == PM_FRAME_NONE ? 1 : 1u << pm_word_order(word);
	}
}

void pm_pageblock_free(struct pm_machine *m, struct pm_zone *zone, struct pm_pfn pfn, unsigned int order)
{
	unsigned int part = order < PM_PAGEBLOCK_ORDER ? order : PM_PAGEBLOCK_ORDER;
	uint32_t i;

	/* The word of a larger block's head must go before its parts do. */
	pm_frame_set_word(pm_frame_of(m, pfn), 0);
	for (i = 0; i < 1u << order; i += 1u << part) {
		struct pm_pfn at = pm_pfn_add(pfn, i);

		pm_buddy_free(m, zone, at, part, pm_pageblock_type(pm_pageblock_of(m, at)));
	}
}

void pm_pageblock_split_large(struct pm_machine *m, struct pm_zone *zone, struct pm_pfn pfn)
{
	unsigned int order, migratetype;
	struct pm_pfn head = pm_buddy_find(m, zone, pfn, &order);

	if (pm_pfn_is_nil(head) || order <= PM_PAGEBLOCK_ORDER)
		return;
	migratetype = pm_buddy_del(m, zone, head, order);
	while (order > PM_PAGEBLOCK_ORDER) {
		struct pm_pfn half;

		order--;
		half = pm_pfn(pfn.v & ~((1u << order) - 1));
		pm_buddy_add(m, zone, pm_pfn_buddy(half, order), order, migratetype, true);
	}
	pm_buddy_add(m, zone, pageblock_start(pfn), PM_PAGEBLOCK_ORDER, migratetype, true);
}

/// Puts a whole free pageblock back through the merge, now that its type allows it.
static void remerge(struct pm_machine *m, struct pm_zone *zone, struct pm_pfn pfn) PM_REQUIRES(zone->lock)
{
	struct pm_pfn start = pageblock_start(pfn);
	unsigned int migratetype;

	/* The buddy of a zone's first or last pageblock may belong to another zone. */
	if (!pm_buddy_is_free(m, zone, start, PM_PAGEBLOCK_ORDER))
		return;
	migratetype = pm_buddy_del(m, zone, start, PM_PAGEBLOCK_ORDER);
	pm_buddy_free(m, zone, start, PM_PAGEBLOCK_ORDER, migratetype);
}

/// The zone of a pageblock that may change as a whole, or the reason why it may not.
static enum pm_status whole_pageblock(struct pm_machine *m, uint64_t pfn, struct pm_zone **ret)
{
	struct pm_zone *zone = pm_zone_of(m, pfn);
	uint64_t start = pfn & ~(uint64_t)(PM_PAGEBLOCK_NR_PAGES - 1);

	if (!zone || pm_in_ranges(m->holes, m->nr_holes, pfn) || pm_pageblock_offline(pm_pageblock_of(m, pm_pfn(pfn))))
		return PM_ERR_RANGE;
	if (start < zone->start || start + PM_PAGEBLOCK_NR_PAGES > zone->end)
		return PM_ERR_INVAL;
	*ret = zone;
	return PM_OK;
}

bool pm_pageblock_isolate(struct pm_machine *m, struct pm_zone *zone, struct pm_pfn pfn, bool isolated)
{
	struct pm_pageblock *block = pm_pageblock_of(m, pfn);
	struct pm_pfn buddy = pm_pfn_buddy(pageblock_start(pfn), PM_PAGEBLOCK_ORDER);

	if ((block->isolated != 0) == isolated || pm_pageblock_offline(block))
		return false;
	pm_pageblock_split_large(m, zone, pfn);
	pm_pageblock_write_isolated(block, isolated);
	pm_pageblock_move_free(m, zone, pfn, pm_pageblock_type(block));
	remerge(m, zone, pfn);
	/* The other half of a split block may have a buddy again as well. */
	remerge(m, zone, buddy);
	return true;
}

enum pm_status pm_set_isolated(struct pm_machine *m, uint64_t pfn, bool isolated)
{
	struct pm_zone *zone;
	enum pm_status status = whole_pageblock(m, pfn, &zone);
	bool changed;

	if (status)
		return status;
	pm_lock(&zone->lock);
	changed = pm_pageblock_isolate(m, zone, pm_pfn(pfn), isolated);
	pm_unlock(&zone->lock);
	return changed ? PM_OK : PM_ERR_BUSY;
}

enum pm_status pm_set_pageblock_type(struct pm_machine *m, uint64_t pfn, uint32_t migratetype)
{
	struct pm_zone *zone;
	struct pm_pageblock *block;
	enum pm_status status = migratetype < PM_MT_ISOLATE ? whole_pageblock(m, pfn, &zone) : PM_ERR_INVAL;

	if (status)
		return status;
	block = pm_pageblock_of(m, pm_pfn(pfn));
	pm_lock(&zone->lock);
	if (block->type == PM_MT_HIGHATOMIC)
		zone->nr_reserved_highatomic -= PM_PAGEBLOCK_NR_PAGES;
	if (migratetype == PM_MT_HIGHATOMIC)
		zone->nr_reserved_highatomic += PM_PAGEBLOCK_NR_PAGES;
	if (!block->isolated)
		pm_pageblock_split_large(m, zone, pm_pfn(pfn));
	pm_pageblock_write_type(block, migratetype);
	if (!block->isolated) {
		pm_pageblock_move_free(m, zone, pm_pfn(pfn), migratetype);
		remerge(m, zone, pm_pfn(pfn));
		remerge(m, zone, pm_pfn_buddy(pageblock_start(pm_pfn(pfn)), PM_PAGEBLOCK_ORDER));
	}
	pm_unlock(&zone->lock);
	return PM_OK;
}

/// Puts one pageblock into the reserve, unless it is in it or isolated: another thread may have retyped it since it was taken.
static void reserve_pageblock(struct pm_machine *m, struct pm_zone *zone, struct pm_pfn pfn, bool whole) PM_REQUIRES(zone->lock)
{
	struct pm_pageblock *block = pm_pageblock_of(m, pfn);
	struct pm_pageblock_use use;

	if (pm_pageblock_type(block) >= PM_MT_HIGHATOMIC || !pm_pageblock_count(m, zone, pfn, &use))
		return;
	if (!whole)
		pm_pageblock_move_free(m, zone, pfn, PM_MT_HIGHATOMIC);
	pm_pageblock_write_type(block, PM_MT_HIGHATOMIC);
	zone->nr_reserved_highatomic += PM_PAGEBLOCK_NR_PAGES;
	zone->nr_highatomic_made++;
}

void pm_highatomic_reserve(struct pm_machine *m, struct pm_zone *zone, struct pm_pfn pfn, unsigned int order)
{
	uint64_t most = pm_zone_managed(zone) / 100;
	uint32_t i;

	if (most < PM_PAGEBLOCK_NR_PAGES)
		return;
	most = (most + PM_PAGEBLOCK_NR_PAGES - 1) & ~(uint64_t)(PM_PAGEBLOCK_NR_PAGES - 1);
	if (zone->nr_reserved_highatomic >= most)
		return;
	for (i = 0; i < 1u << order; i += PM_PAGEBLOCK_NR_PAGES)
		reserve_pageblock(m, zone, pm_pfn_add(pfn, i), order >= PM_PAGEBLOCK_ORDER);
}

enum pm_status pm_unreserve_highatomic(struct pm_machine *m, uint32_t migratetype, uint64_t *ret)
{
	uint32_t i, nr = 0;

	if (migratetype >= PM_MT_HIGHATOMIC)
		return PM_ERR_INVAL;
	for (i = 0; i < m->nr_pageblocks; i++) {
		struct pm_pageblock *block = &m->tables.pageblocks[i];

		if (block->zone == PM_NO_ZONE || atomic_load_explicit(&block->type, memory_order_relaxed) != PM_MT_HIGHATOMIC)
			continue;
		if (pm_set_pageblock_type(m, (uint64_t)i << PM_PAGEBLOCK_ORDER, migratetype) == PM_OK)
			nr++;
	}
	*ret = nr;
	return PM_OK;
}
