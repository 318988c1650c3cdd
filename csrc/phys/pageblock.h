/// Pageblocks: their types, what moving one between types does to its free blocks, isolation and the high-order atomic reserve.
#ifndef PM_PHYS_PAGEBLOCK_H
#define PM_PHYS_PAGEBLOCK_H

#include "phys/machine.h"

/// Sets the type of the pageblocks that a block of at least pageblock order covers.
void pm_pageblock_set_range(struct pm_machine *m, struct pm_pfn pfn, unsigned int order, unsigned int migratetype);

/// What stands in a pageblock: its free frames, and the used ones whose owner could move them.
struct pm_pageblock_use {
	uint32_t nr_free;
	uint32_t nr_movable;
};

/// Counts a pageblock. False if the zone's edge cuts it, so that it cannot change its type as a whole.
bool pm_pageblock_count(struct pm_machine *m, const struct pm_zone *zone, struct pm_pfn pfn, struct pm_pageblock_use *ret) PM_REQUIRES(zone->lock);

/// Moves the free blocks inside one pageblock to the tails of the lists of another type; does not retype the pageblock.
void pm_pageblock_move_free(struct pm_machine *m, struct pm_zone *zone, struct pm_pfn pfn, unsigned int migratetype) PM_REQUIRES(zone->lock);

/// A free block larger than a pageblock would tie its pageblocks together: takes the pageblock of `pfn` out of it, so that it can be on the
/// list of its own type. The rest goes back in halves.
void pm_pageblock_split_large(struct pm_machine *m, struct pm_zone *zone, struct pm_pfn pfn) PM_REQUIRES(zone->lock);

/// Isolates a pageblock, or undoes it; also one that the zone's edge cuts. False, and nothing done, if it is so already, or offline. What CPUs' lists
/// hold of it stays there until they are drained; after that nothing comes to them any more.
bool pm_pageblock_isolate(struct pm_machine *m, struct pm_zone *zone, struct pm_pfn pfn, bool isolated) PM_REQUIRES(zone->lock);

/// Gives a block back to the free lists under the types of its pageblocks as they are now. A block larger than a pageblock goes back a
/// pageblock at a time, since its halves may have got different types while it was used.
void pm_pageblock_free(struct pm_machine *m, struct pm_zone *zone, struct pm_pfn pfn, unsigned int order) PM_REQUIRES(zone->lock);

/// After a high-order atomic allocation: keeps its pageblock in reserve, if the zone's share is not used up.
void pm_highatomic_reserve(struct pm_machine *m, struct pm_zone *zone, struct pm_pfn pfn, unsigned int order) PM_REQUIRES(zone->lock);

#endif
