/// Taking a block from a zone's free lists: the own list, then the fallback ladder.
#ifndef PM_PHYS_RMQUEUE_H
#define PM_PHYS_RMQUEUE_H

#include "phys/machine.h"

/// How far down the ladder the last block of a batch was found; a batch goes on from there. Starts at PM_RUNG_OWN.
enum pm_rung { PM_RUNG_OWN, PM_RUNG_CLAIM, PM_RUNG_STEAL };

/// Takes one block of `order` for `migratetype`; nil if no list that the flags allow has one.
struct pm_pfn pm_rmqueue(struct pm_machine *m, struct pm_zone *zone, unsigned int order, unsigned int migratetype, uint32_t alloc_flags, enum pm_rung *rung)
	PM_REQUIRES(zone->lock);

/// May a request retype memory when it found a block of this order? Small movable requests may not: they can be moved away later.
bool pm_rmqueue_may_claim(unsigned int order, unsigned int migratetype);

/// Which frame would pm_rmqueue() give, without taking it? Nil if none. The claim's test of the pageblock is made, nothing is moved.
struct pm_pfn pm_rmqueue_peek(struct pm_machine *m, struct pm_zone *zone, unsigned int order, unsigned int migratetype, uint32_t alloc_flags)
	PM_REQUIRES(zone->lock);

/// Is there a block of at least `order` on the request's own lists, so that it does not fall back?
bool pm_rmqueue_has_own(const struct pm_zone *zone, unsigned int order, unsigned int migratetype) PM_REQUIRES(zone->lock);

#endif
