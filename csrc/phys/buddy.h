/// The buddy free lists of one zone: put a block back with merging, take one with splitting.
#ifndef PM_PHYS_BUDDY_H
#define PM_PHYS_BUDDY_H

#include "phys/machine.h"

/// Order of the free block headed by `pfn` if it is one of `order`; false otherwise, and for a frame outside the zone.
bool pm_buddy_is_free(const struct pm_machine *m, const struct pm_zone *zone, struct pm_pfn pfn, unsigned int order);

/// Puts a block on a list of type `migratetype`, at the tail or the head, without merging.
void pm_buddy_add(struct pm_machine *m, struct pm_zone *zone, struct pm_pfn pfn, unsigned int order, unsigned int migratetype, bool tail) PM_REQUIRES(zone->lock);

/// Takes a block of exactly `order` off its list. Returns the type of the list it was on.
unsigned int pm_buddy_del(struct pm_machine *m, struct pm_zone *zone, struct pm_pfn pfn, unsigned int order) PM_REQUIRES(zone->lock);

/// Moves a free block to the tail of the list of another type.
void pm_buddy_move(struct pm_machine *m, struct pm_zone *zone, struct pm_pfn pfn, unsigned int order, unsigned int migratetype) PM_REQUIRES(zone->lock);

/// Gives a block back: merges with its buddies as far as their types allow, then places it (REFERENCE section 4, "Merge").
void pm_buddy_free(struct pm_machine *m, struct pm_zone *zone, struct pm_pfn pfn, unsigned int order, unsigned int migratetype) PM_REQUIRES(zone->lock);

/// pm_buddy_free() but for the count of free frames: the caller adds up, and tells pm_buddy_count() once for many blocks.
void pm_buddy_free_uncounted(struct pm_machine *m, struct pm_zone *zone, struct pm_pfn pfn, unsigned int order, unsigned int migratetype)
	PM_REQUIRES(zone->lock);

/// Counts frames that came to or left the lists of a type.
void pm_buddy_count(struct pm_zone *zone, unsigned int migratetype, int64_t frames) PM_REQUIRES(zone->lock);

/// Returns the rest of a block of `high`, of which the first 2^low frames were taken, to the heads of the lists.
void pm_buddy_expand(struct pm_machine *m, struct pm_zone *zone, struct pm_pfn pfn, unsigned int low, unsigned int high, unsigned int migratetype) PM_REQUIRES(zone->lock);

/// Takes the first block of the smallest sufficient order from the lists of one type; nil if there is none.
struct pm_pfn pm_buddy_take_smallest(struct pm_machine *m, struct pm_zone *zone, unsigned int order, unsigned int migratetype) PM_REQUIRES(zone->lock);

/// Takes up to `most` blocks of `order` that follow one another, as many as pm_buddy_take_smallest() would give in a row from the block that
/// it would split first; what is left of that block goes back to the lists as those calls would leave it. Returns how many; the first in `ret`.
uint32_t pm_buddy_take_run(struct pm_machine *m, struct pm_zone *zone, unsigned int order, unsigned int migratetype, uint32_t most, struct pm_pfn *ret)
	PM_REQUIRES(zone->lock);

/// The free block that covers `pfn`: its head, and its order in `ret_order`; nil if the frame is not free.
struct pm_pfn pm_buddy_find(const struct pm_machine *m, const struct pm_zone *zone, struct pm_pfn pfn, unsigned int *ret_order) PM_REQUIRES(zone->lock);

/// The type of the list that the free block headed by `pfn` is on; PM_NR_MIGRATETYPES if there is none.
unsigned int pm_buddy_list_type(const struct pm_machine *m, const struct pm_zone *zone, struct pm_pfn pfn) PM_REQUIRES(zone->lock);

/// Takes the block of `order` at `pfn` out of the free block that covers it; the rest goes back to the heads of the lists, halves
/// first, as when a larger block is split. False, and nothing done, if it is not all free.
bool pm_buddy_take_exact(struct pm_machine *m, struct pm_zone *zone, struct pm_pfn pfn, unsigned int order) PM_REQUIRES(zone->lock);

/// pm_take() of frames of an isolated pageblock, for whoever isolated it.
enum pm_status pm_take_isolated(struct pm_machine *m, uint64_t pfn, uint32_t order, uint32_t migratetype);

#endif
