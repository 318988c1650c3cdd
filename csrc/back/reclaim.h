/// Giving memory back: which pages, and how.
///
/// Each zone has its pages on lists by age (virt/reference.h): anonymous and of files, active and inactive. Pages move from active to inactive when
/// the inactive list is short; at the old end of the inactive list they are looked at. One that was used since becomes active; one that was
/// not is given up: a clean one at once, a dirty one once it is written out. An anonymous page is written to swap, which it enters for this.
#ifndef PM_BACK_RECLAIM_H
#define PM_BACK_RECLAIM_H

#include "back/back.h"

/// Most pages that are taken off a list at once.
enum { PM_RECLAIM_BATCH = 32 };

/// One call's effort.
struct pm_reclaim {
	struct pm_call *call;
	bool ignore_use; ///< also pages that were used lately
	bool writes;	 ///< dirty pages are written out
	bool retries;	 ///< also those that could not be written out the last time
	uint64_t freed;	 ///< (out) frames
	uint64_t begun;	 ///< (out) pages under writeback that may come free when it ends
	struct pm_pfn *begun_pages; ///< NULL, or room for them; each gets a reference
	size_t nr_begun_pages;
};

/// Looks at one isolated page, with the reference that isolation holds, and gives it back to its list or frees it.
void pm_reclaim_page(struct pm_reclaim *reclaim, struct pm_pfn pfn);

/// Tries to free `nr` frames of a zone. Waits for transfers where nothing else helps. A wait's status; what was freed is in `ret` also then.
enum pm_status pm_reclaim_zone(struct pm_call *call, uint32_t zone, uint64_t nr, uint64_t *ret);

/// The hook of virt: for an allocation that fails.
enum pm_status pm_reclaim_for(struct pm_call *call, uint32_t order, uint32_t gfp, uint64_t *ret);

#endif
