/// Capture: the block that comes together while compaction gives frames back goes to the compacting task in the step in which it does, so
/// that nobody else can take it from the free lists first.
#ifndef PM_PHYS_CAPTURE_H
#define PM_PHYS_CAPTURE_H

#include "phys/machine.h"

struct pm_capture {
	unsigned int order;
	unsigned int migratetype; ///< of the request
	struct pm_pfn pfn;	  ///< nil until it is had
};

/// Gives n allocated frames of order 0 back to the free lists of their zone, past the per-CPU lists. The first whole block of capture's order that
/// this makes is taken out at once, as if allocated. `capture` NULL: none is.
void pm_free_captured(struct pm_machine *m, struct pm_zone *zone, size_t n, const uint64_t *pfns, struct pm_capture *capture);

/// Takes the block of capture's order around a frame, if all of it is free. False: it is not, or it is of a type that the request may not have.
bool pm_capture_at(struct pm_machine *m, struct pm_zone *zone, struct pm_pfn pfn, struct pm_capture *capture);

#endif
