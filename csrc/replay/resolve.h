/// @file resolve.h
/// What the files of the normalising pass share: who owns each frame, as far as the events tell.
#ifndef PM_REPLAY_RESOLVE_H
#define PM_REPLAY_RESOLVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pymigrate.h"

/// The bit of frame_flags that says that a frame lay in the free lists.
#define PM_FRAME_BUDDY (1u << 10)

/// Ids and frame numbers stay below this, so that an owner fits in 32 bits with room for the states.
#define PM_RESOLVE_LIMIT (1u << 31)

/// Owner of a frame: one of these, or OWNER_ID + id. UNKNOWN is 0, so that a table from calloc costs nothing until it is touched.
enum {
	PM_OWNER_UNKNOWN = 0, ///< not free at the start, or nothing is known
	PM_OWNER_FREE = 1,
	PM_OWNER_EMPTIED = 2, ///< migration took what was in it; its free is still to come
	PM_OWNER_INITIAL = 3, ///< holds what lay in frame origin[] at the start
	PM_OWNER_ID = 4	      ///< + id of an allocation of the recording
};

/// A migration entry that was set and not yet removed.
struct pm_pending {
	uint32_t tid;
	uint32_t page_low;
	uint32_t page_high;
	uint32_t pfn;
};

/// One allocation of the recording.
struct pm_allocation {
	uint32_t live;	///< frames not yet freed
	uint32_t moved; ///< frames that left without a PTE event and whose new place is not known yet
	int8_t order;
	bool split;	///< a piece was freed
};

struct pm_resolve {
	const struct pm_resolve_input *in;
	uint32_t *owner;  ///< by frame
	uint32_t *origin; ///< by frame, for PM_OWNER_INITIAL
	size_t n_frames;
	struct pm_allocation *allocations;
	size_t nr_allocations;
	uint32_t *initial_pfn;
	int8_t *initial_order;
	size_t nr_initial;
	size_t room_initial;
	struct pm_pending *pending; ///< in order of setting
	size_t nr_pending;
	size_t room_pending;
	struct pm_resolve_stats stats;
};

/// When the frame was read into the start snapshot; `ret_latest` is when it was surely read. 0: before all events.
uint64_t pm_resolve_read_ns(const struct pm_resolve_input *in, uint32_t pfn, uint64_t *ret_latest);

enum pm_status pm_resolve_set(struct pm_resolve *r, size_t i);
enum pm_status pm_resolve_remove(struct pm_resolve *r, size_t i);

#endif
