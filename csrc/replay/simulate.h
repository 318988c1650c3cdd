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
	uint16_t cpu;
	uint8_t kind; ///< enum pm_tick
};

/// What is known of the compaction that runs on a CPU.
struct pm_sim_compaction {
	int32_t order;	     ///< -1: of everything
	uint32_t start;	     ///< the range that its migrate scanner last took from
	uint32_t end;
	uint32_t free_pfn;   ///< where its free scanner looks next, going down; PM_NIL_PFN: at the zone's end
	uint32_t failed_order; ///< the free scanner found nothing of this order or more
	uint32_t moved_from; ///< where it first moved something since the last drain; PM_NIL_PFN: nowhere
};

/// A request that found no block with us, although the kernel had one (after compaction, say): it gets as many single frames.
struct pm_sim_scatter {
	uint32_t *frames; ///< [2^order]; PM_NIL_PFN: freed
	uint32_t nr_left;
};

/// `ours` of an allocation in single frames: this bit, and its number in `scatters`.
#define PM_SIM_SCATTERED 0x80000000u

/// Tag of such a frame: nothing moves it.
#define PM_SIM_SCATTER_TAG 0xffffffffu

/// A drain that a free began: it goes on until its CPU does something else.
struct pm_sim_drain {
	struct pm_zone *zone; ///< NULL: none under way
	uint64_t nr_drain;    ///< of the zone, before
};

struct pm_simulation {
	struct pm_machine *m;
	struct pm_sim_placed *placed; ///< [nr_allocations]
	uint32_t nr_allocations;
	struct pm_simulation_options options;
	struct pm_simulation_stats stats;
	struct pm_sim_compaction *compactions; ///< [cpus]
	struct pm_sim_drain *drains; ///< [cpus]
	uint8_t *skip; ///< by pageblock: the free scanner found nothing there; forgotten when kswapd goes to sleep
	struct pm_sim_scatter *scatters; ///< [nr_scatters], room for `room_scatters`
	uint32_t nr_scatters;
	uint32_t room_scatters;
	struct pm_sim_tick *ticks; ///< [nr_ticks] in order of time
	size_t nr_ticks;
	size_t next_tick;
};

/// Frees a whole block of ours, and notes that its CPU may be draining from now on.
bool pm_simulation_free_block(struct pm_simulation *sim, uint32_t cpu, uint32_t pfn, uint32_t order);

/// Serves a request with single frames. False if there are not enough.
bool pm_simulation_scatter(struct pm_simulation *sim, const struct pm_events *ev, size_t i, uint32_t gfp);

/// Frees [offset, offset + 2^order) of an allocation in single frames. False if they are not all held.
bool pm_simulation_free_scattered(struct pm_simulation *sim, uint32_t cpu, uint32_t index, uint32_t offset, unsigned int order);

/// Frees the memory behind `scatters`.
void pm_simulation_forget_scatters(struct pm_simulation *sim);

/// A recorded event of compaction: follows its scanners, and drains a CPU's lists where the kernel does.
void pm_simulation_note_compaction(struct pm_simulation *sim, const struct pm_events *ev, size_t i);

/// A recorded free of a frame that migration had emptied: moves the block that stands there with us. False if there is none, or no room.
bool pm_simulation_move(struct pm_simulation *sim, const struct pm_events *ev, size_t i);

#endif
