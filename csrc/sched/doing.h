/// One operation under way, and what the files of operations share: operations.c (spaces, files, swap), operations_access.c (contents),
/// operations_move.c (migration), operations_block.c (users' blocks, compaction, ranges).
#ifndef PM_SCHED_DOING_H
#define PM_SCHED_DOING_H

#include "sched/world.h"

struct pm_doing {
	struct pm_world *world;
	struct pm_world_state *state;
	struct pm_machine *m;
	const struct pm_operation *op;
	uint32_t task, index, cpu;
	uint64_t space, addr;
	uint32_t place;
	uint32_t start;	  ///< time
	uint32_t changes; ///< of the page, at the start
	bool gone, readonly, exited;
};

static inline bool pm_world_has(const struct pm_world *world, uint32_t kind)
{
	return (world->kinds >> kind & 1) != 0;
}

/// The time, which goes on by one.
static inline uint32_t pm_doing_now(const struct pm_doing *d)
{
	return pm_model_tick(&d->state->model);
}

/// Fails the run if nothing in the program can bring this status about.
void pm_doing_check_status(const struct pm_doing *d, enum pm_status status);
/// An access was allowed: nothing that ended before it began may have forbidden it.
void pm_doing_check_access(const struct pm_doing *d, bool write);

enum pm_status pm_do_read(struct pm_doing *d);
enum pm_status pm_do_write(struct pm_doing *d);
/// Writes to a frame as a device does: whatever happens to the mapping meanwhile, the space sees it.
enum pm_status pm_do_poke(struct pm_doing *d);
enum pm_status pm_do_file_read(struct pm_doing *d);
enum pm_status pm_do_file_write(struct pm_doing *d);
enum pm_status pm_do_migrate(struct pm_doing *d);
enum pm_status pm_do_block(struct pm_doing *d);
/// Can the program bring this status about, by what it does with blocks and ranges?
bool pm_block_explained(const struct pm_doing *d, enum pm_status status);
/// Does the program move frames but by migrations?
bool pm_world_moves_blocks(const struct pm_world *world);
/// May memory be short for a moment?
bool pm_world_short(const struct pm_world *world);
/// Operations of these kinds (a bit each), those before the tasks included.
uint32_t pm_world_count(const struct pm_world *world, uint32_t kinds);

#endif
