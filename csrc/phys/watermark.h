/// Watermarks, reserves and the check that a request may go ahead (REFERENCE section 4).
#ifndef PM_PHYS_WATERMARK_H
#define PM_PHYS_WATERMARK_H

#include "phys/machine.h"

/// What a request may do, decided from its gfp flags and how often it was tried.
enum pm_alloc_flags {
	PM_ALLOC_WMARK_MASK = 0x3,	///< which mark: PM_WMARK_MIN, _LOW or _HIGH
	PM_ALLOC_NO_WATERMARKS = 0x4,
	PM_ALLOC_MIN_RESERVE = 0x10,	///< high priority: half of MIN may be used
	PM_ALLOC_NON_BLOCK = 0x20,	///< cannot wait: a further quarter
	PM_ALLOC_HIGHATOMIC = 0x40,	///< may use the high-order atomic reserve
	PM_ALLOC_NOFRAGMENT = 0x80,	///< no block of another type below the pageblock order
	PM_ALLOC_RESERVES = PM_ALLOC_MIN_RESERVE | PM_ALLOC_NON_BLOCK | PM_ALLOC_HIGHATOMIC
};

/// Computes min_free_kbytes (unless set), all marks and the low-memory reserves. Before anyone uses the machine, or with its lock `resize`.
void pm_watermarks_setup(struct pm_machine *m);

/// Is the amount of free memory enough for a request of `order` at `mark`, whether or not there is a block?
bool pm_watermark_enough(const struct pm_zone *zone, unsigned int order, uint64_t mark, unsigned int highest, uint32_t alloc_flags);

/// May a request of `order`, which may use zones up to kind `highest`, be served at `mark`? Reads without the lock, as the kernel.
bool pm_watermark_ok(const struct pm_zone *zone, unsigned int order, uint64_t mark, unsigned int highest, uint32_t alloc_flags);

/// Works out `plenty` anew after a change of the boost or of the free HIGHATOMIC frames.
void pm_watermark_update(struct pm_zone *zone);

/// Is there so much free that a request of `order` passes every mark? A quick yes; a no means that a closer look is needed. Nobody has to
/// ask whether the zone is known to be below HIGH: that only means which of the marks is looked at.
static inline bool pm_watermark_plenty(const struct pm_zone *zone, unsigned int order, unsigned int highest)
{
	/* Relaxed, as in pm_watermark_ok(). For order > 0 a block must be there too: the largest lists are the ones to ask first. */
	uint64_t free = atomic_load_explicit(&zone->nr_free, memory_order_relaxed);
	uint64_t need = atomic_load_explicit(&zone->plenty[highest], memory_order_relaxed) + ((uint64_t)1 << order) - 1;

	return free > need && (order == 0 || pm_list_nr(&zone->area[PM_MAX_ORDER].list[PM_MT_MOVABLE]));
}

/// The mark named by the flags, with the boost.
uint64_t pm_watermark(const struct pm_zone *zone, unsigned int which);

/// A pageblock was claimed by a fallback: raises the marks for a while.
void pm_watermark_boost(const struct pm_machine *m, struct pm_zone *zone) PM_REQUIRES(zone->lock);

#endif
