/// Doubly linked lists of blocks of one order. The links live in the frame table, or for blocks of at least a pageblock in the
/// pageblock table; a list knows which by its order.
///
/// What nobody needs is not written: `last` means nothing while `first` is nil, nor does the first block's `prev`. So to take the
/// first block touches no other.
#ifndef PM_PHYS_LIST_H
#define PM_PHYS_LIST_H

#include "phys/frame.h"

/// A list of blocks without a count: a CPU's, guarded by the lock of its per-CPU lists.
struct pm_chain {
	uint32_t first;
	uint32_t last; ///< undefined while `first` is PM_NIL_PFN
};

/// A list of blocks with its count: a zone's free area has these, guarded by the zone's lock.
struct pm_list {
	struct pm_chain chain;
	_Atomic uint32_t nr; ///< blocks on the list; written under the lock, and read without it by the watermark checks
};

/// The two tables, as the list functions need them. (C)
struct pm_tables {
	struct pm_frame *frames;	 ///< [nr_frames]
	struct pm_pageblock *pageblocks; ///< [nr_pageblocks]
};

static inline struct pm_link *pm_link_of(const struct pm_tables *t, uint32_t pfn, unsigned int order)
{
	return order < PM_PAGEBLOCK_ORDER ? &t->frames[pfn].link : &t->pageblocks[pfn >> PM_PAGEBLOCK_ORDER].link;
}

static inline void pm_chain_init(struct pm_chain *chain)
{
	*chain = (struct pm_chain){ PM_NIL_PFN, PM_NIL_PFN };
}

static inline bool pm_chain_empty(const struct pm_chain *chain)
{
	return chain->first == PM_NIL_PFN;
}

static inline void pm_chain_push_front(const struct pm_tables *t, struct pm_chain *chain, struct pm_pfn pfn, unsigned int order)
{
	uint32_t next = chain->first;

	pm_link_of(t, pfn.v, order)->next = next;
	if (PM_LIKELY(next != PM_NIL_PFN))
		pm_link_of(t, next, order)->prev = pfn.v;
	else
		chain->last = pfn.v;
	chain->first = pfn.v;
}

static inline void pm_chain_push_back(const struct pm_tables *t, struct pm_chain *chain, struct pm_pfn pfn, unsigned int order)
{
	*pm_link_of(t, pfn.v, order) = (struct pm_link){ chain->last, PM_NIL_PFN };
	if (chain->first != PM_NIL_PFN)
		pm_link_of(t, chain->last, order)->next = pfn.v;
	else
		chain->first = pfn.v;
	chain->last = pfn.v;
}

/// pm_chain_push_back() for `nr` blocks, at least one, that follow one another.
static inline void pm_chain_push_back_run(const struct pm_tables *t, struct pm_chain *chain, struct pm_pfn pfn, uint32_t nr, unsigned int order)
{
	uint32_t step = 1u << order, end = pfn.v + (nr << order), at;

	for (at = pfn.v; at != end; at += step)
		*pm_link_of(t, at, order) = (struct pm_link){ at - step, at + step };
	pm_link_of(t, end - step, order)->next = PM_NIL_PFN;
	pm_link_of(t, pfn.v, order)->prev = chain->last;
	if (chain->first != PM_NIL_PFN)
		pm_link_of(t, chain->last, order)->next = pfn.v;
	else
		chain->first = pfn.v;
	chain->last = end - step;
}

/// Takes the first block. There must be one.
static inline struct pm_pfn pm_chain_pop_front(const struct pm_tables *t, struct pm_chain *chain, unsigned int order)
{
	uint32_t pfn = chain->first;

	PM_ASSERT_SLOW(pfn != PM_NIL_PFN);
	chain->first = pm_link_of(t, pfn, order)->next;
	return pm_pfn(pfn);
}

static inline void pm_chain_remove(const struct pm_tables *t, struct pm_chain *chain, struct pm_pfn pfn, unsigned int order)
{
	struct pm_link link = *pm_link_of(t, pfn.v, order);

	PM_ASSERT_SLOW(chain->first != PM_NIL_PFN);
	if (chain->first == pfn.v) {
		chain->first = link.next;
		return;
	}
	pm_link_of(t, link.prev, order)->next = link.next;
	if (link.next != PM_NIL_PFN)
		pm_link_of(t, link.next, order)->prev = link.prev;
	else
		chain->last = link.prev;
}

/// Turns a list so that it begins with a block of its own: what stood before it goes to the end.
static inline void pm_chain_turn(const struct pm_tables *t, struct pm_chain *chain, struct pm_pfn pfn, unsigned int order)
{
	uint32_t before;

	if (chain->first == pfn.v)
		return;
	before = pm_link_of(t, pfn.v, order)->prev;
	pm_link_of(t, chain->last, order)->next = chain->first;
	pm_link_of(t, chain->first, order)->prev = chain->last;
	pm_link_of(t, before, order)->next = PM_NIL_PFN;
	chain->first = pfn.v;
	chain->last = before;
}

static inline void pm_list_init(struct pm_list *list)
{
	pm_chain_init(&list->chain);
	atomic_init(&list->nr, 0);
}

/// Relaxed: under the lock it is exact, elsewhere a hint.
static inline uint32_t pm_list_nr(const struct pm_list *list)
{
	return atomic_load_explicit(&list->nr, memory_order_relaxed);
}

/// Relaxed load and store instead of a read-modify-write: the lock keeps other writers out.
static inline void pm_list_count(struct pm_list *list, uint32_t change)
{
	atomic_store_explicit(&list->nr, pm_list_nr(list) + change, memory_order_relaxed);
}

static inline void pm_list_push_front(const struct pm_tables *t, struct pm_list *list, struct pm_pfn pfn, unsigned int order)
{
	pm_chain_push_front(t, &list->chain, pfn, order);
	pm_list_count(list, 1);
}

static inline void pm_list_push_back(const struct pm_tables *t, struct pm_list *list, struct pm_pfn pfn, unsigned int order)
{
	pm_chain_push_back(t, &list->chain, pfn, order);
	pm_list_count(list, 1);
}

static inline void pm_list_remove(const struct pm_tables *t, struct pm_list *list, struct pm_pfn pfn, unsigned int order)
{
	PM_ASSERT_SLOW(pm_list_nr(list) > 0);
	pm_chain_remove(t, &list->chain, pfn, order);
	pm_list_count(list, (uint32_t)-1);
}

#endif
