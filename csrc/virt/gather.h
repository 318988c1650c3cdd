/// Unmapping in batches: entries are cleared, one flush is made for all of them, and only then are the frames given back.
#ifndef PM_VIRT_GATHER_H
#define PM_VIRT_GATHER_H

#include "virt/area.h"

enum { PM_GATHER_FRAMES = 2 * PM_TABLE_ENTRIES };

struct pm_gather {
	struct pm_call *call;
	struct pm_space *space;
	bool alone; ///< nobody else accesses the space while it is held for writing: no atomic exchange, no flush
	bool noted; ///< in pm_virt.unflushed
	size_t n;
	uint64_t pfns[PM_GATHER_FRAMES]; ///< unmapped, their map counts and references still there; PM_GATHER_DIRTY or-ed in
};

/// A file's page whose entry was dirty: the mark goes to the page only after the flush. Before it a writeback could take the mark away again, and
/// the last write through an old translation would be lost.
#define PM_GATHER_DIRTY ((uint64_t)1 << 63)

/// The space is held for writing from here to pm_gather_finish().
void pm_gather_begin(struct pm_gather *gather, struct pm_call *call, struct pm_space *space);
void pm_gather_finish(struct pm_gather *gather);

/// Clears all entries of [start, end), which lies in one area.
void pm_gather_range(struct pm_gather *gather, struct pm_vma *vma, uint64_t start, uint64_t end);

/// After the flush: gives n unmapped frames (as in struct pm_gather) back, their map counts and references with them. Dirty marks go to the pages; a page that
/// is in the swap cache without an entry that names its slot gives the slot back, unless somebody has it locked: then reclaim finds it. The array is used up.
void pm_gather_give_back(struct pm_call *call, size_t n, uint64_t *pfns);

/// Before an entry that maps `page` is cleared, with a flush to follow. While a write through the old translation may still go on, whoever makes the page clean
/// finds no entry any more, and learns from this that he has to flush too, or he would write out half of what is being written.
static inline void pm_gather_note(struct pm_virt *virt, uint64_t pte, const struct pm_page *page, bool *noted)
{
	if (*noted || !(pte & PM_PTE_WRITE) || pm_page_test(page, PM_PG_ANON))
		return;
	*noted = true;
	/* Sequentially consistent: before the entry is cleared; partner of the load in pm_rmap_clean(). */
	(void)atomic_fetch_add(&virt->unflushed, 1);
}

/// After the flush.
static inline void pm_gather_noted(struct pm_virt *virt, bool *noted)
{
	if (*noted)
		(void)atomic_fetch_sub(&virt->unflushed, 1);
	*noted = false;
}

/// Clears an entry and returns what it was.
static inline uint64_t pm_pte_clear(_Atomic uint64_t *entry, bool alone)
{
	uint64_t pte;

	if (!alone)
		return pm_pte_exchange(entry, 0);
	pte = pm_pte_load(entry);
	pm_pte_store(entry, 0);
	return pte;
}

#endif
