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

/// More tasks than this do not compact at once; the one not heard of for longest is forgotten.
enum { PM_NR_COMPACTORS = 64 };

/// Zones that are told apart by where compaction of them begins; what begins beyond these counts as the last.
enum { PM_RESOLVE_NR_ZONES = 8 };

/// Owner of a frame: one of these, or OWNER_ID + id. UNKNOWN is 0, so that a table from calloc costs nothing until it is touched.
enum {
	PM_OWNER_UNKNOWN = 0, ///< not free at the start, or nothing is known
	PM_OWNER_FREE = 1,    ///< in the free lists
	PM_OWNER_PCP = 2,     ///< free, in a per-CPU list
	PM_OWNER_EMPTIED = 3, ///< migration took what was in it; its free is still to come
	PM_OWNER_INITIAL = 4, ///< holds what lay in frame origin[] at the start
	PM_OWNER_ID = 5	      ///< + id of an allocation of the recording
};

static inline bool pm_owner_is_free(uint32_t owner)
{
	return owner == PM_OWNER_FREE || owner == PM_OWNER_PCP;
}

/// Where a block goes when it is freed: orders up to the costly one, and that of a pageblock, have per-CPU lists.
static inline uint32_t pm_owner_freed(int8_t order)
{
	return order <= PM_COSTLY_ORDER || order == PM_PAGEBLOCK_ORDER ? PM_OWNER_PCP : PM_OWNER_FREE;
}

/// A migration entry that was set and not yet removed.
struct pm_pending {
	uint32_t tid;
	uint32_t page_low;
	uint32_t page_high;
	uint32_t pfn;
};

/// A block that left its frames without a PTE event: what owned it, until a free or a neighbour tells where it went.
struct pm_floating {
	uint32_t owner;	 ///< PM_OWNER_INITIAL or an id
	uint32_t origin; ///< where it lay at the start, for PM_OWNER_INITIAL
	uint32_t taken;	 ///< frames of it that were found again
	int8_t order;
};

/// Floating blocks of one order, first in, first out.
struct pm_floating_queue {
	struct pm_floating *items;
	size_t head;
	size_t n;
	size_t room;
};

/// A task that compacts: its FREEs are not those of an owner.
struct pm_compactor {
	uint32_t tid;
	bool active;	   ///< since compaction began: may give back what it took
	bool migrating;	   ///< between isolating and the end of the migration
	uint32_t low;	   ///< frames isolated for this migration, [low, high)
	uint32_t high;
	uint64_t emptied;  ///< frames that this migration emptied
	uint32_t last_to;  ///< destination of the last PTE move, or PM_NO_PFN32
	uint32_t run;	   ///< blocks of order 0 that floated since then, and nothing else did; all are at the queue's end
	uint64_t used;	   ///< for eviction
};

/// One allocation of the recording.
struct pm_allocation {
	uint32_t live;	///< frames not yet freed
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
	uint32_t zone_starts[PM_RESOLVE_NR_ZONES]; ///< [nr_zones] ascending, as far as compaction names them
	uint32_t nr_zones;
	struct pm_floating_queue floating[PM_RESOLVE_NR_ZONES + 1][PM_NR_ORDERS]; ///< by pm_resolve_zone(): compaction moves within a zone
	struct pm_compactor compactors[PM_NR_COMPACTORS];
	uint64_t tick;
	struct pm_resolve_stats stats;
};

/// When the frame was read into the start snapshot; `ret_latest` is when it was surely read. 0: before all events.
uint64_t pm_resolve_read_ns(const struct pm_resolve_input *in, uint32_t pfn, uint64_t *ret_latest);

/// An event of compaction: begins and ends sessions and migrations.
void pm_compactor_event(struct pm_resolve *r, size_t i);
/// The compactor that event i belongs to, or NULL.
struct pm_compactor *pm_compactor_of(struct pm_resolve *r, uint32_t tid);
/// The block at `pfn` leaves its frames to a place that is not known.
enum pm_status pm_floating_add(struct pm_resolve *r, struct pm_compactor *c, uint32_t pfn, int8_t order);
/// Takes 2^order frames of the block that has floated longest in the zone of `pfn`: `ret` is what owns them. False: nothing floats there.
bool pm_floating_take(struct pm_resolve *r, uint32_t pfn, int8_t order, struct pm_floating *ret);
/// Learns from all events where zones begin, as far as compaction goes through them.
void pm_resolve_find_zones(struct pm_resolve *r);
/// A PTE move of a compactor went to `to`: blocks that floated just before it lie between its last destination and this one.
void pm_floating_settle(struct pm_resolve *r, struct pm_compactor *c, uint32_t to);

enum pm_status pm_resolve_set(struct pm_resolve *r, size_t i);
enum pm_status pm_resolve_remove(struct pm_resolve *r, size_t i);

#endif
