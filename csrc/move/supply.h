/// Destinations that somebody else than the allocator hands out: free blocks that compaction has isolated before. What moved away from a frame can go
/// back to the free lists at once, past the per-CPU lists, so that what comes together can be captured.
#ifndef PM_MOVE_SUPPLY_H
#define PM_MOVE_SUPPLY_H

#include "base/wait.h"
#include "phys/machine.h"

struct pm_supply {
	/// A block of `order`, allocated and without an owner. PM_ERR_NOMEM: none is left, which ends the migration of all frames. A wait's status.
	enum pm_status (*get)(struct pm_supply *supply, struct pm_call *call, struct pm_pfn from, unsigned int order, struct pm_pfn *ret);
	/// Sources that were emptied: n frames of order 0, allocated and without an owner.
	void (*emptied)(struct pm_supply *supply, struct pm_call *call, size_t n, const uint64_t *pfns);
};

#endif
