/// What the files of the simulation share.
#ifndef PM_REPLAY_SIMULATE_H
#define PM_REPLAY_SIMULATE_H

#include "phys/pcp.h"

/// One allocation: 8 bytes.
struct pm_sim_placed {
	uint32_t ours; ///< first frame in our machine; PM_NIL_PFN: we do not hold it
	uint8_t order;
};

/// Something happens in the background.
struct pm_sim_tick {
	uint64_t time_ns;
	uint16_t where; ///< a CPU, or the highest zone, by kind
	uint8_t kind;	///< enum pm_tick
};

/// The compaction that a thread is at.
struct pm_sim_compaction {
	uint32_t tid;
	int32_t order;		///< -1: of everything
	uint32_t end;		///< where its migrate scanner stands
	uint32_t last_migrated; ///< the pageblock from which it last took something to move, since the last drain; PM_NIL_PFN: none
	uint32_t nr_waiting;	///< frames that it has taken to move them
	uint32_t nr_held;	///< frames in `held`
	struct pm_chain held[PM_NR_ORDERS]; ///< blocks to move to, first come first; the frames' links are free, since they are used
};

/// An allocation in pieces: one that found no block with us, although the kernel had one, and got as many single frames; or one that is freed,
/// or moved, in pieces.
struct pm_sim_scatter {
	uint32_t *frames; ///< [2^order]; PM_NIL_PFN: freed
	uint32_t nr_left; ///< frames that are not freed
};

/// `ours` of an allocation in pieces, and the tag of each of them: this bit, and its number in `scatters`.
#define PM_SIM_SCATTERED 0x80000000u

/// Tag of a frame that a compaction holds: nothing moves it.
#define PM_SIM_FIXED_TAG 0xffffffffu

/// A drain that a free began: it goes on until its CPU does something else.
struct pm_sim_drain {
	struct pm_zone *zone; ///< NULL: none under way
	uint64_t nr_drain;    ///< of the zone, before
};

/// What the scanners of a probe's compaction remember of a zone.
struct pm_sim_scanners {
	uint32_t migrate, free; ///< pageblocks where they go on; equal: from the zone's ends
	uint32_t considered;	///< attempts since the last failure
	uint32_t shift;		///< of 2^shift attempts one is made
};

struct pm_simulation {
	struct pm_machine *m;
	struct pm_sim_placed *placed; ///< [nr_allocations]
	uint32_t nr_allocations;
	struct pm_simulation_options options;
	struct pm_simulation_stats stats;
	struct pm_sim_compaction *compactions; ///< [nr_compactions], one a thread, room for `room_compactions`
	uint32_t nr_compactions;
	uint32_t room_compactions;
	struct pm_sim_drain *drains; ///< [cpus]
	struct pm_sim_scatter *scatters; ///< [nr_scatters], room for `room_scatters`
	uint32_t nr_scatters;
	uint32_t room_scatters;
	struct pm_sim_tick *ticks; ///< [nr_ticks] in order of time
	size_t nr_ticks;
	size_t next_tick;
	struct pm_sim_scanners *scanners; ///< [zones]; NULL: never probed with them
};

/// Frees a whole block of ours, and notes that its CPU may be draining from now on.
bool pm_simulation_free_block(struct pm_simulation *sim, uint32_t cpu, uint32_t pfn, uint32_t order);

/// Serves a request with single frames. False if there are not enough.
bool pm_simulation_scatter(struct pm_simulation *sim, const struct pm_events *ev, size_t i, uint32_t gfp);

/// The block at `pfn`, which is an allocation of its own or nobody's, leaves in single frames, as the kernel splits what finds no room in one piece.
/// The block itself is left as it is. False: no room either.
bool pm_simulation_leave_scattered(struct pm_simulation *sim, struct pm_sim_compaction *c, uint32_t pfn);

/// A piece of an allocation has moved.
void pm_simulation_piece_moved(struct pm_simulation *sim, uint32_t index, uint32_t from, uint32_t to, unsigned int order);

/// `pfn` of pm_simulation_free_piece(): whichever is left.
#define PM_SIM_ANY_PIECE 0xffffffffu

/// Frees 2^order frames of a larger allocation, or of one in pieces: those that stand in it where `pfn` stood in the recording's. False if they
/// are not all held.
bool pm_simulation_free_piece(struct pm_simulation *sim, uint32_t cpu, uint32_t id, uint32_t pfn, unsigned int order);

/// Frees the memory behind `scatters`.
void pm_simulation_forget_scatters(struct pm_simulation *sim);

/// The used block that covers a frame of ours: its head in `ret`, and its order; -1 if there is none.
int pm_simulation_used_order(const struct pm_machine *m, uint32_t pfn, uint32_t *ret);

/// A recorded event of compaction: follows its scanners, holds what they find, and drains a CPU's lists where the kernel does.
void pm_simulation_note_compaction(struct pm_simulation *sim, const struct pm_events *ev, size_t i);

/// The compaction of a thread; NULL: it has never compacted.
struct pm_sim_compaction *pm_simulation_compaction(struct pm_simulation *sim, uint32_t tid);

/// A block to move to: from what the compaction (NULL: none) holds, else from the zone's movable free lists. Nil: no room.
struct pm_pfn pm_simulation_target(struct pm_simulation *sim, struct pm_zone *zone, struct pm_sim_compaction *c, unsigned int order);

/// May this used block be moved? Not what the kernel itself holds, nor what is held in pieces, nor by a compaction.
bool pm_simulation_can_move(const struct pm_simulation *sim, uint32_t pfn);

/// What stands in a block that can move goes to another, which a compaction (NULL: none) provides. The block itself is left as it is, still
/// marked as used. False: no room.
bool pm_simulation_leave(struct pm_simulation *sim, struct pm_sim_compaction *c, uint32_t pfn);

/// A request that our free lists cannot serve: with the block that the kernel gave it, once that is empty with us.
bool pm_simulation_capture(struct pm_simulation *sim, const struct pm_events *ev, size_t i, uint64_t *ret);

/// Can [start, end) be emptied? Every frame in it must be free, or in a block that can move and does not reach out of it. `cost`, unless NULL: frames
/// that would move.
bool pm_simulation_can_empty(const struct pm_simulation *sim, uint32_t start, uint32_t end, uint32_t *cost);

/// Empties what can be emptied: everything in it moves out, its free blocks leave the lists, and its frames are nobody's. Adds the frames that moved to
/// `moved`. False: not all found room; what is empty is free again.
bool pm_simulation_empty(struct pm_simulation *sim, struct pm_zone *zone, struct pm_sim_compaction *c, uint32_t start, uint32_t end, uint64_t *moved);

/// A compaction that holds nothing.
struct pm_sim_compaction pm_simulation_no_compaction(uint32_t tid);

/// The free scanner: takes the free blocks that begin in a range of a movable pageblock, until there are as many frames as wait to be moved.
void pm_simulation_scan_free(struct pm_simulation *sim, struct pm_sim_compaction *c, uint32_t start, uint32_t end);

/// The end of a compaction: what it holds still goes back.
void pm_simulation_release(struct pm_simulation *sim, struct pm_sim_compaction *c, uint32_t cpu);

/// A probe: what is there, and what it does about it.
struct pm_sim_probe {
	struct pm_simulation *sim;
	uint32_t cpu;
	unsigned int order;
	uint64_t moved; ///< frames so far
};

/// Would a zone serve a movable request of the probe's order?
bool pm_simulation_zone_serves(const struct pm_sim_probe *probe, const struct pm_zone *zone);

/// Compaction of a zone as in Linux, until it serves the request.
void pm_simulation_scan_zone(struct pm_sim_probe *probe, struct pm_zone *zone);

/// A recorded free of a block that migration had emptied: moves what stands there with us. False if that is nothing movable, or there is no room.
bool pm_simulation_move(struct pm_simulation *sim, const struct pm_events *ev, size_t i);

#endif
