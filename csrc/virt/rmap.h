/// The reverse map: from a frame to every entry that maps it, and what reclaim and writeback do by it.
#ifndef PM_VIRT_RMAP_H
#define PM_VIRT_RMAP_H

#include "virt/area.h"
#include "virt/reference.h"

/// Who looks at the places where a frame may be mapped.
struct pm_rmap_visitor {
	/// An area whose range holds the frame, and the address the frame has there. Whether it is mapped there, the entry tells, under
	/// its table's lock. False ends the walk.
	bool (*visit)(struct pm_rmap_visitor *visitor, struct pm_vma *vma, uint64_t addr);
	struct pm_call *call;
	struct pm_pfn pfn;
	uint64_t nr_visited; ///< areas looked at so far
};

/// Goes through the areas of the frame's anon_vma or file, a parent before its children. The frame is locked, or otherwise kept from changing what it
/// belongs to; the lock of its anon_vma's family or of its file's areas is held for reading meanwhile.
void pm_rmap_walk(struct pm_rmap_visitor *visitor);

/// The same by what a frame belonged to, for one that no entry maps at the moment. The anon_vma's family is locked for reading by the caller; the file's areas
/// are by the walk.
void pm_rmap_walk_links(struct pm_rmap_visitor *visitor, struct pm_anon *anon, uint64_t index);
void pm_rmap_walk_areas(struct pm_rmap_visitor *visitor, struct pm_mapping *mapping, uint64_t index);

/// Is the frame mapped at this address of this area? Then the table's lock is held, and `*ret` is the entry.
/// pm_rmap_unlock_entry() gives it back. False: nothing is held.
bool pm_rmap_lock_entry(struct pm_vma *vma, uint64_t addr, struct pm_pfn pfn, struct pm_table **ret_leaf, _Atomic uint64_t **ret);

void pm_rmap_unlock_entry(struct pm_table *leaf);

/// The frame's page offset in its file or in anonymous memory, in the swap cache or not. The frame is locked or mapped.
uint64_t pm_page_index(struct pm_machine *m, struct pm_pfn pfn);

/// How many entries were marked young since the last time; clears the marks. With `*ret_locked` true if an area is mlocked. Frame locked.
uint32_t pm_rmap_referenced(struct pm_call *call, struct pm_pfn pfn, bool *ret_locked);

/// Takes the write permission and the dirty marks away from all entries, so that the next write is noticed again; flushes. Frame locked.
/// Returns whether one was dirty.
bool pm_rmap_clean(struct pm_call *call, struct pm_pfn pfn);

/// Unmaps a locked frame everywhere for reclaim: entries of an anonymous frame, which is in the swap cache, become swap entries; those of a file frame go. One
/// flush at the end. Dirty entries make the frame dirty.
/// @return PM_OK: nothing maps it now. PM_ERR_PINNED: it is pinned, and all is as before. PM_ERR_BUSY: an area is mlocked (the frame is marked so now). PM_ERR_AGAIN: still mapped.
enum pm_status pm_rmap_unmap(struct pm_call *call, struct pm_pfn pfn);

/// Unmaps [first, first + nr) of a file wherever it is mapped (truncate, drop). Private copies stay unless `even_private`.
void pm_rmap_unmap_file(struct pm_call *call, struct pm_mapping *mapping, uint64_t first, uint64_t nr, bool even_private);

#endif
