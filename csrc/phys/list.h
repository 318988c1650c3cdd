/// Doubly linked lists of blocks of one order. The links live in the frame table, or for blocks of at least a pageblock in the
/// pageblock table; a list knows which by its order.
#ifndef PM_PHYS_LIST_H
#define PM_PHYS_LIST_H

#include "phys/frame.h"

/// A list of blocks. Guarded by the lock of what it belongs to: a zone's free area or a CPU's per-CPU lists.
struct pm_list {
	uint32_t first;
	uint32_t last;
	_Atomic uint32_t nr; ///< blocks on the list; written under the lock, and read without it by the watermark checks
};

/// The two tables, as the list functions need them. (C)
struct pm_tables {
	struct pm_frame *frames;	 ///< [nr_frames]
	struct pm_pageblock *pageblocks; ///< [nr_pageblocks]
};

static inline void pm_list_init(struct pm_list *list)
{
	list->first = PM_NIL_PFN;
	list->last = PM_NIL_PFN;
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

static inline struct pm_link *pm_link_of(const struct pm_tables *t, uint32_t pfn, unsigned int order)
{
	return order < PM_PAGEBLOCK_ORDER ? &t->frames[pfn].link : &t->pageblocks[pfn >> PM_PAGEBLOCK_ORDER].link;
}

static inline void pm_list_push_front(const struct pm_tables *t, struct pm_list *list, struct pm_pfn pfn, unsigned int order)
{
	*pm_link_of(t, pfn.v, order) = (struct pm_link){ PM_NIL_PFN, list->first };
	if (list->first != PM_NIL_PFN)
		pm_link_of(t, list->first, order)->prev = pfn.v;
	else
		list->last = pfn.v;
	list->first = pfn.v;
	pm_list_count(list, 1);
}

static inline void pm_list_push_back(const struct pm_tables *t, struct pm_list *list, struct pm_pfn pfn, unsigned int order)
{
	*pm_link_of(t, pfn.v, order) = (struct pm_link){ list->last, PM_NIL_PFN };
	if (list->last != PM_NIL_PFN)
		pm_link_of(t, list->last, order)->next = pfn.v;
	else
		list->first = pfn.v;
	list->last = pfn.v;
	pm_list_count(list, 1);
}

static inline void pm_list_remove(const struct pm_tables *t, struct pm_list *list, struct pm_pfn pfn, unsigned int order)
{
	struct pm_link link = *pm_link_of(t, pfn.v, order);

	PM_ASSERT_SLOW(pm_list_nr(list) > 0);
	if (link.prev != PM_NIL_PFN)
		pm_link_of(t, link.prev, order)->next = link.next;
	else
		list->first = link.next;
	if (link.next != PM_NIL_PFN)
		pm_link_of(t, link.next, order)->prev = link.prev;
	else
		list->last = link.prev;
	pm_list_count(list, (uint32_t)-1);
}

/// Takes the first block. The list must not be empty.
static inline struct pm_pfn pm_list_pop_front(const struct pm_tables *t, struct pm_list *list, unsigned int order)
{
	uint32_t pfn = list->first;
	uint32_t next = pm_link_of(t, pfn, order)->next;

	PM_ASSERT_SLOW(pm_list_nr(list) > 0);
	list->first = next;
	if (next != PM_NIL_PFN)
		pm_link_of(t, next, order)->prev = PM_NIL_PFN;
	else
		list->last = PM_NIL_PFN;
	pm_list_count(list, (uint32_t)-1);
	return pm_pfn(pfn);
}

#endif
