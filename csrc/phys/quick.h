/// The quick way of one allocation and one free: plenty of memory in the first zone, and nothing for the CPU's lists to decide.
///
/// Each function does exactly what the general way in alloc.c would do, or does nothing and returns false: then the general way
/// decides. Written for an order that is known when it is compiled, and without a call, so that the public functions need no stack:
/// an atomic instruction waits for every store before it, so each store that is saved is time saved twice. For the same reason all
/// that can be read before the lock is read before it.
#ifndef PM_PHYS_QUICK_H
#define PM_PHYS_QUICK_H

#include "phys/pcp.h"

#define PM_QUICK static inline __attribute__((always_inline))

/// Takes a block from a CPU's list for a request of class `class` on a CPU that exists.
PM_QUICK bool pm_quick_alloc(const struct pm_machine *m, uint32_t cpu, unsigned int order, const struct pm_request_class *class, uint64_t *ret)
{
	const struct pm_tables tables = m->tables;
	const uint32_t word = class->word | order;
	struct pm_pcp *pcp;
	struct pm_chain *list;
	struct pm_pfn pfn;

	if (PM_UNLIKELY(!class->quick) || PM_UNLIKELY(!pm_watermark_plenty(class->quick, order, (unsigned int)class->highest)))
		return false;
	pcp = pm_opaque(pm_pcp_of(m, cpu, class->first));
	list = pm_opaque(&pcp->list[pm_pcp_index(order, class->migratetype)]);
	if (PM_UNLIKELY(!pm_trylock(&pcp->lock)))
		return false;
	if (PM_UNLIKELY(pm_chain_empty(list))) {
		pm_unlock(&pcp->lock);
		return false;
	}
	pfn = pm_chain_pop_front(&tables, list, order);
	pm_frame_set_word(&tables.frames[pfn.v], word);
	pcp->free_count >>= 1;
	pcp->count -= 1 << order;
	pcp->nr_alloc++;
	pm_unlock(&pcp->lock);
	*ret = pfn.v;
	return true;
}

/// Puts a block on a CPU's list, if it is a used block of this order and the lists have room. Where there are no per-CPU lists they have
/// no room: their length is 0.
PM_QUICK bool pm_quick_free(const struct pm_machine *m, uint32_t cpu, uint64_t pfn, unsigned int order)
{
	const struct pm_tables tables = m->tables;
	const struct pm_pageblock *block;
	struct pm_frame *frame;
	struct pm_chain *list;
	struct pm_pcp *pcp;
	unsigned int type;
	uint32_t word;

	if (PM_UNLIKELY(pfn >= m->nr_frames))
		return false;
	frame = &tables.frames[pfn];
	pm_prefetch_write(frame);
	block = &tables.pageblocks[pfn >> PM_PAGEBLOCK_ORDER];
	word = pm_frame_word(frame);
	type = pm_pageblock_queue(block);
	/* A used block lies in a zone. */
	if (PM_UNLIKELY((word & ~(uint32_t)0xf0) != pm_word(PM_FRAME_USED, 0, order)) || PM_UNLIKELY(type >= PM_NR_PCP_TYPES) ||
	    PM_UNLIKELY(pm_pcp_short(&m->zone[block->zone])))
		return false;
	pcp = pm_opaque(pm_pcp_of(m, cpu, block->zone));
	list = pm_opaque(&pcp->list[pm_pcp_index(order, type)]);
	if (PM_UNLIKELY(!pm_trylock(&pcp->lock)))
		return false;
	/* The type once more: a pageblock that was isolated, and the lists drained, gets nothing to them any more. */
	if (PM_UNLIKELY(!pm_pcp_has_room(pcp, order)) || PM_UNLIKELY(pm_pageblock_queue(block) != type) || PM_UNLIKELY(!pm_frame_begin_free(frame, word))) {
		pm_unlock(&pcp->lock);
		return false;
	}
	pm_pcp_push(&tables, pcp, list, pm_pfn(pfn), order);
	pm_unlock(&pcp->lock);
	return true;
}

#endif
