/// Where a frame moves to.
#ifndef PM_MOVE_DESTINATION_H
#define PM_MOVE_DESTINATION_H

#include "virt/reference.h"

/// Flags with which a destination anywhere is allocated. Not by reclaim: to move a page must not cost another one.
enum { PM_DEST_ANY_GFP = PM_GFP_HIGHUSER_MOVABLE & ~PM_GFP_DIRECT_RECLAIM };

/// An owned block of 2^order frames as the destination asks, with one reference. PM_ERR_NOMEM: there is none; a wait's status.
enum pm_status pm_destination_alloc(struct pm_call *call, const struct pm_destination *destination, struct pm_pfn from, unsigned int order, struct pm_pfn *ret);

#endif
