/// The fallback ladder (REFERENCE section 4): own list, CLAIM from the largest order down, STEAL from the smallest up.
#include "phys/buddy.h"
#include "phys/pageblock.h"
#include "phys/rmqueue.h"
#include "phys/watermark.h"

/// Where each type looks next when its own lists are empty.
static const uint8_t fallbacks[PM_NR_PCP_TYPES][PM_NR_PCP_TYPES - 1] = {
	[PM_MT_UNMOVABLE] = { PM_MT_RECLAIMABLE, PM_MT_MOVABLE },
	[PM_MT_MOVABLE] = { PM_MT_RECLAIMABLE, PM_MT_UNMOVABLE },
	[PM_MT_RECLAIMABLE] = { PM_MT_UNMOVABLE, PM_MT_MOVABLE },
};

/// The first fallback type with a block of exactly `order`; -1 if there is none.
static int fallback_type(const struct pm_zone *zone, unsigned int order, unsigned int migratetype) PM_REQUIRES(zone->lock)
{
	unsigned int i;

	for (i = 0; i < PM_NR_PCP_TYPES - 1; i++)
		if (zone->area[order].list[fallbacks[migratetype][i]].chain.first != PM_NIL_PFN)
			return fallbacks[migratetype][i];
	return -1;
}

bool pm_rmqueue_may_claim(unsigned int order, unsigned int migratetype)
{
	return order >= PM_PAGEBLOCK_ORDER / 2 || migratetype != PM_MT_MOVABLE;
}

/// Is enough of the pageblock free or of a kind with the request, so that the whole of it should change its type?
static bool worth_claiming(struct pm_machine *m, const struct pm_zone *zone, struct pm_pfn pfn, unsigned int migratetype, unsigned int from) PM_REQUIRES(zone->lock)
{
	struct pm_pageblock_use use;
	uint32_t alike = 0;

	if (!pm_pageblock_count(m, zone, pfn, &use))
		return false;
	if (migratetype == PM_MT_MOVABLE)
		alike = use.nr_movable;
	else if (from == PM_MT_MOVABLE)
		alike = PM_PAGEBLOCK_NR_PAGES - (use.nr_free + use.nr_movable);
	return use.nr_free + alike >= PM_PAGEBLOCK_NR_PAGES / 2;
}

static struct pm_pfn claim_block(struct pm_machine *m, struct pm_zone *zone, unsigned int found, unsigned int order, unsigned int migratetype, unsigned int from)
	PM_REQUIRES(zone->lock)
{
	struct pm_pfn pfn = pm_pfn(zone->area[found].list[from].chain.first);

	if (found >= PM_PAGEBLOCK_ORDER) {
		(void)pm_buddy_del(m, zone, pfn, found);
		pm_pageblock_set_range(m, pfn, found, migratetype);
		pm_buddy_expand(m, zone, pfn, order, found, migratetype);
		return pfn;
	}
	/* Mixing types below the pageblock order is what reclaim should make unnecessary: ask for more of it. */
	pm_watermark_boost(m, zone);
	if (!worth_claiming(m, zone, pfn, migratetype, from))
		return pm_pfn_nil();
	pm_pageblock_move_free(m, zone, pfn, migratetype);
	pm_pageblock_write_type(pm_pageblock_of(m, pfn), migratetype);
	return pm_buddy_take_smallest(m, zone, order, migratetype);
}

static unsigned int lowest_claim_order(unsigned int order, uint32_t alloc_flags)
{
	return (alloc_flags & PM_ALLOC_NOFRAGMENT) && order < PM_PAGEBLOCK_ORDER ? PM_PAGEBLOCK_ORDER : order;
}

static struct pm_pfn rmqueue_claim(struct pm_machine *m, struct pm_zone *zone, unsigned int order, unsigned int migratetype, uint32_t alloc_flags) PM_REQUIRES(zone->lock)
{
	int lowest = (int)lowest_claim_order(order, alloc_flags), o;

	for (o = PM_MAX_ORDER; o >= lowest; o--) {
		int from;
		struct pm_pfn pfn;

		if (!pm_rmqueue_may_claim((unsigned int)o, migratetype))
			break;
		from = fallback_type(zone, (unsigned int)o, migratetype);
		if (from < 0)
			continue;
		pfn = claim_block(m, zone, (unsigned int)o, order, migratetype, (unsigned int)from);
		if (!pm_pfn_is_nil(pfn)) {
			zone->claim[migratetype][from]++;
			return pfn;
		}
	}
	return pm_pfn_nil();
}

static struct pm_pfn rmqueue_steal(struct pm_machine *m, struct pm_zone *zone, unsigned int order, unsigned int migratetype) PM_REQUIRES(zone->lock)
{
	unsigned int o;

	for (o = order; o < PM_NR_ORDERS; o++) {
		int from = fallback_type(zone, o, migratetype);
		struct pm_pfn pfn;

		if (from < 0)
			continue;
		pfn = pm_pfn(zone->area[o].list[from].chain.first);
		(void)pm_buddy_del(m, zone, pfn, o);
		pm_buddy_expand(m, zone, pfn, order, o, (unsigned int)from);
		zone->steal[migratetype][from]++;
		return pfn;
	}
	return pm_pfn_nil();
}

struct pm_pfn pm_rmqueue(struct pm_machine *m, struct pm_zone *zone, unsigned int order, unsigned int migratetype, uint32_t alloc_flags, enum pm_rung *rung)
{
	struct pm_pfn pfn;

	if (*rung == PM_RUNG_OWN) {
		pfn = pm_buddy_take_smallest(m, zone, order, migratetype);
		if (!pm_pfn_is_nil(pfn))
			return pfn;
	}
	if (*rung != PM_RUNG_STEAL) {
		pfn = rmqueue_claim(m, zone, order, migratetype, alloc_flags);
		if (!pm_pfn_is_nil(pfn)) {
			/* The claim filled the own list: the rest of a batch comes from there. */
			*rung = PM_RUNG_OWN;
			return pfn;
		}
	}
	if (alloc_flags & PM_ALLOC_NOFRAGMENT)
		return pm_pfn_nil();
	pfn = rmqueue_steal(m, zone, order, migratetype);
	if (!pm_pfn_is_nil(pfn))
		*rung = PM_RUNG_STEAL;
	return pfn;
}

/// The frame a claim would give: the head of what it found, or the first own block that moving the pageblock's free blocks would make.
static struct pm_pfn peek_claim(struct pm_machine *m, struct pm_zone *zone, unsigned int order, unsigned int migratetype, uint32_t alloc_flags) PM_REQUIRES(zone->lock)
{
	int lowest = (int)lowest_claim_order(order, alloc_flags), o;

	for (o = PM_MAX_ORDER; o >= lowest && pm_rmqueue_may_claim((unsigned int)o, migratetype); o--) {
		int from = fallback_type(zone, (unsigned int)o, migratetype);
		struct pm_pfn pfn, start;
		unsigned int best = PM_NR_ORDERS;
		uint32_t i;

		if (from < 0)
			continue;
		pfn = pm_pfn(zone->area[o].list[from].chain.first);
		if (o >= PM_PAGEBLOCK_ORDER)
			return pfn;
		if (!worth_claiming(m, zone, pfn, migratetype, (unsigned int)from))
			continue;
		start = pm_pfn(pfn.v & ~(uint32_t)(PM_PAGEBLOCK_NR_PAGES - 1));
		for (i = 0; i < PM_PAGEBLOCK_NR_PAGES; i++) {
			uint32_t word = pm_frame_word(pm_frame_of(m, pm_pfn_add(start, i)));

			if (pm_word_kind(word) != PM_FRAME_FREE || pm_word_order(word) < order || pm_word_order(word) >= best)
				continue;
			best = pm_word_order(word);
			pfn = pm_pfn_add(start, i);
		}
		return pfn;
	}
	return pm_pfn_nil();
}

bool pm_rmqueue_has_own(const struct pm_zone *zone, unsigned int order, unsigned int migratetype)
{
	unsigned int o;

	for (o = order; o < PM_NR_ORDERS; o++)
		if (zone->area[o].list[migratetype].chain.first != PM_NIL_PFN)
			return true;
	return false;
}

struct pm_pfn pm_rmqueue_peek(struct pm_machine *m, struct pm_zone *zone, unsigned int order, unsigned int migratetype, uint32_t alloc_flags)
{
	struct pm_pfn pfn;
	unsigned int o;

	for (o = order; o < PM_NR_ORDERS; o++)
		if (zone->area[o].list[migratetype].chain.first != PM_NIL_PFN)
			return pm_pfn(zone->area[o].list[migratetype].chain.first);
	pfn = peek_claim(m, zone, order, migratetype, alloc_flags);
	if (!pm_pfn_is_nil(pfn) || (alloc_flags & PM_ALLOC_NOFRAGMENT))
		return pfn;
	for (o = order; o < PM_NR_ORDERS; o++) {
		int from = fallback_type(zone, o, migratetype);

		if (from >= 0)
			return pm_pfn(zone->area[o].list[from].chain.first);
	}
	return pm_pfn_nil();
}
