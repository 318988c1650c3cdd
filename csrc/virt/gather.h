/// Unmapping in batches: entries are cleared, one flush is made for all of them, and only then are the frames given back.
#ifndef PM_VIRT_GATHER_H
#define PM_VIRT_GATHER_H

#include "virt/area.h"

enum { PM_GATHER_FRAMES = 2 * PM_TABLE_ENTRIES };

struct pm_gather {
	struct pm_call *call;
	struct pm_space *space;
	bool alone; ///< nobody else accesses the space while it is held for writing: no atomic exchange, no flush
	size_t n;
	uint64_t pfns[PM_GATHER_FRAMES]; ///< unmapped, their map counts and references still there
};

/// The space is held for writing from here to pm_gather_finish().
void pm_gather_begin(struct pm_gather *gather, struct pm_call *call, struct pm_space *space);
void pm_gather_finish(struct pm_gather *gather);

/// Clears all entries of [start, end), which lies in one area.
void pm_gather_range(struct pm_gather *gather, struct pm_vma *vma, uint64_t start, uint64_t end);

/// A page that leaves a space and is in the swap cache without an entry that names its slot: the slot is given back with it. Where somebody
/// has the page locked it stays for reclaim to find. The caller has a reference.
void pm_gather_forget_swap(struct pm_call *call, struct pm_pfn pfn);

/// Clears an entry and returns what it was.
static inline uint64_t pm_pte_clear(_Atomic uint64_t *entry, bool alone)
{
	uint64_t pte;

	if (!alone)
		return atomic_exchange(entry, 0);
	pte = pm_pte_load(entry);
	pm_pte_store(entry, 0);
	return pte;
}

#endif
