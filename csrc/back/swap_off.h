/// Bringing back what is in swap.
#ifndef PM_BACK_SWAP_OFF_H
#define PM_BACK_SWAP_OFF_H

#include "base/wait.h"

/// Goes once through all spaces and maps what their swap entries name, then takes out of the cache what no entry names. What was in the middle
/// of changing hands meanwhile may be left: once more. Out of memory, PM_ERR_IO, a wait's status: what is back stays back.
enum pm_status pm_swap_bring_back(struct pm_call *call);

/// The second half of it. Waits for frame locks and writeback.
enum pm_status pm_swap_drop_all_unnamed(struct pm_call *call);

#endif
