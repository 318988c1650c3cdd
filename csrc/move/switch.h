/// A frame's place in the page cache or the swap cache goes to another frame, in one step: a lookup sees the one or the other.
#ifndef PM_MOVE_SWITCH_H
#define PM_MOVE_SWITCH_H

#include "move/migrate.h"

/// References that belong to a frame that no entry maps: `extra` of the caller's, one of each cache, one of private data.
uint32_t pm_switch_expected(const struct pm_page *page, uint32_t extra);

/// Gives what `from` is to `to`: its place in the caches with the caches' references, its private data with that reference, its owner and index. Both
/// frames are locked. With `frozen` only if `from` has no reference beyond those and isolation's, and the caches' references go with
/// their place: `from` has none afterwards, isolation's is the caller's to give back (pm_page_unfreeze). Without `frozen` it keeps one for each cache, which is the caller's then.
/// PM_ERR_BEYOND: `from` is not in its place any more (truncated). PM_ERR_AGAIN: somebody else has a reference.
enum pm_status pm_switch(struct pm_call *call, struct pm_pfn from, struct pm_pfn to, bool frozen);

#endif
