/// Per-CPU lists: a few blocks of the small orders and of the huge-page order kept at hand, so that most requests need no zone lock.
#ifndef PM_PHYS_PCP_H
#define PM_PHYS_PCP_H

#include "phys/watermark.h"

/// Do the per-CPU lists hold this order?
static inline bool pm_pcp_order(unsigned int order)
{
	return order <= PM_COSTLY_ORDER || order == PM_PAGEBLOCK_ORDER;
}

/// Index of the list for a type (below PM_NR_PCP_TYPES) and an order that the lists hold.
static inline unsigned int pm_pcp_index(unsigned int order, unsigned int migratetype)
{
	if (order <= PM_COSTLY_ORDER)
		return order * PM_NR_PCP_TYPES + migratetype;
	return PM_NR_LOW_PCP_LISTS + (migratetype == PM_MT_MOVABLE);
}

static inline unsigned int pm_pcp_index_order(unsigned int index)
{
	return index < PM_NR_LOW_PCP_LISTS ? index / PM_NR_PCP_TYPES : PM_PAGEBLOCK_ORDER;
}

/// The type under which a list's blocks are noted.
static inline unsigned int pm_pcp_index_type(unsigned int index)
{
	if (index < PM_NR_LOW_PCP_LISTS)
		return index % PM_NR_PCP_TYPES;
	return index == PM_NR_LOW_PCP_LISTS ? PM_MT_UNMOVABLE : PM_MT_MOVABLE;
}

/// Makes all lists, with sizes from their zones' sizes and marks. Before anyone uses the machine.
void pm_pcp_setup(struct pm_machine *m);

/// Works the sizes out anew: the zones' sizes have changed. With the machine's lock `resize`.
void pm_pcp_resize(struct pm_machine *m);

/// Refills an empty list from the zone. Takes the zone lock. False if the zone gave nothing.
bool pm_pcp_refill(struct pm_machine *m, struct pm_zone *zone, struct pm_pcp *pcp, unsigned int order, unsigned int migratetype, uint32_t alloc_flags)
	PM_REQUIRES(pcp->lock);

/// pm_pcp_put() where the block has an order of 1-3, memory is short, or the lists have reached their length.
void pm_pcp_put_slow(struct pm_machine *m, struct pm_zone *zone, struct pm_pcp *pcp, struct pm_pfn pfn, unsigned int order, unsigned int migratetype)
	PM_REQUIRES(pcp->lock);

/// Are the lists of this zone kept short now? Then a free has to look closer.
static inline bool pm_pcp_short(const struct pm_zone *zone)
{
	/* Relaxed: both are hints. */
	return atomic_load_explicit(&zone->reclaim_active, memory_order_relaxed) | atomic_load_explicit(&zone->below_high, memory_order_relaxed);
}

/// May a block of an order that the lists hold be put without a look at what it means? Not for orders 1-3: a run of those drains.
static inline bool pm_pcp_has_room(const struct pm_pcp *pcp, unsigned int order) PM_REQUIRES(pcp->lock)
{
	return pcp->count + (1 << order) < pcp->high && order - 1 >= PM_COSTLY_ORDER;
}

/// What `nr` blocks, at least one, that were put where there is room do to the counters.
static inline void pm_pcp_count_freed(struct pm_pcp *pcp, size_t nr, unsigned int order) PM_REQUIRES(pcp->lock)
{
	int32_t frames = (int32_t)(nr << order), run = pcp->free_count + frames;

	pcp->free_count = run < pcp->free_most ? run : pcp->free_most;
	pcp->count += frames;
	pcp->nr_free += nr;
	if (PM_UNLIKELY(pcp->unsettled)) {
		pcp->alloc_factor = (uint8_t)(pcp->alloc_factor >> (nr < 7 ? nr : 7));
		pcp->prev_free_high = false;
	}
}

/// Puts a freed block on its list, where there is room.
static inline void pm_pcp_push(const struct pm_tables *t, struct pm_pcp *pcp, struct pm_chain *list, struct pm_pfn pfn, unsigned int order)
	PM_REQUIRES(pcp->lock)
{
	pm_chain_push_front(t, list, pfn, order);
	pm_pcp_count_freed(pcp, 1, order);
}

/// Puts a freed block on its list, and drains if the lists have grown too long. Takes the zone lock for a drain.
static inline void pm_pcp_put(struct pm_machine *m, struct pm_zone *zone, struct pm_pcp *pcp, struct pm_pfn pfn, unsigned int order, unsigned int migratetype)
	PM_REQUIRES(pcp->lock)
{
	if (PM_LIKELY(pm_pcp_has_room(pcp, order)) && PM_LIKELY(!pm_pcp_short(zone)))
		pm_pcp_push(&m->tables, pcp, &pcp->list[pm_pcp_index(order, migratetype)], pfn, order);
	else
		pm_pcp_put_slow(m, zone, pcp, pfn, order, migratetype);
}

/// What a decay (pm_decay_pcp()) would leave of `high`; it drains what the lists hold beyond that.
int32_t pm_pcp_decayed_high(const struct pm_pcp *pcp) PM_REQUIRES(pcp->lock);

/// Moves all blocks of one CPU and zone to the free lists.
void pm_pcp_drain_zone(struct pm_machine *m, struct pm_zone *zone, uint32_t cpu);

/// Moves about `count` frames to the free lists, list `index` first. Takes the zone lock.
void pm_pcp_drain(struct pm_machine *m, struct pm_zone *zone, struct pm_pcp *pcp, int32_t count, unsigned int index) PM_REQUIRES(pcp->lock);

#endif
