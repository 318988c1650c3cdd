/// Work on a range of frames: isolating it, emptying it, taking it or sending it offline. An object that goes through enum pm_range_state, by
/// pm_range_run(), as far as one call may work at a time.
#ifndef PM_MOVE_RANGE_H
#define PM_MOVE_RANGE_H

#include "move/move.h"

/// What stands at a place of a range.
enum pm_range_what {
	PM_RW_FREE,
	PM_RW_PCP,     ///< in a CPU's list
	PM_RW_MOVABLE, ///< whatever keeps it for now
	PM_RW_PINNED,  ///< until somebody unpins it
	PM_RW_PASSING, ///< allocated as movable and without an owner: on its way to one, or a caller's own for good
	PM_RW_FIXED    ///< nobody can move it; also holes, and what is reserved or offline
};

/// A block, or a stretch of frames that are no block.
struct pm_range_seen {
	uint32_t head;
	uint32_t nr;
	enum pm_range_what what;
	bool hole; ///< FIXED: there is no frame
};

/// Where a frame was, and where it is.
struct pm_range_moved {
	uint32_t from;
	uint32_t to;
};

/// A range that the search found.
struct pm_range_candidate {
	uint32_t start;
	uint32_t cost; ///< frames that would have to move
};

struct pm_range_op {
	struct pm_pooled pooled;
	_Atomic uint32_t busy;	    ///< (A) 1 while a thread is at it; all from `handle` on is (U) that thread's
	_Atomic uint64_t cancelled; ///< (A) the handle that pm_range_cancel() was called with last
	uint64_t handle;	    ///< (C)
	struct pm_range_request request; ///< (C) checked
	struct pm_zone *zone;	    ///< of the range at hand
	enum pm_range_state state;
	enum pm_status status;	    ///< why it failed
	uint32_t start, end;	    ///< the range at hand
	uint32_t at;		    ///< how far the state has come
	uint32_t isolated;	    ///< pageblocks isolated by us, from that of `start` on
	uint32_t pass;		    ///< over what stands in the range, from 1
	uint32_t starved;	    ///< passes in a row that found no memory to move to
	uint64_t in_the_way;	    ///< frames of this pass that were not free
	uint64_t moved_now;	    ///< frames that moved in this pass
	bool hard;		    ///< CHECKING: something can never move
	uint32_t search_zone;	    ///< SEARCHING: place in the list of zones
	bool no_memory;		    ///< this pass found no memory to move to
	struct pm_range_moved *moves; ///< [nr_moves] to be put back after a failure
	size_t nr_moves, room_moves;
	uint32_t rounds;	    ///< over the moves, putting back
	uint32_t kept;		    ///< of this round, moves that have to wait for the next
	struct pm_obstacle *obstacles; ///< [nr_obstacles]
	size_t nr_obstacles, room_obstacles;
	struct pm_range_candidate candidates[PM_RANGE_MAX_CANDIDATES];
	uint32_t nr_candidates, next_candidate;
	uint64_t moved, put_back, passes, tried; ///< as in struct pm_range_info
};

/// Is it to be given up? Sequentially consistent: half of the sleeper's pattern.
static inline bool pm_range_cancelled(const struct pm_range_op *op)
{
	return atomic_load(&op->cancelled) == op->handle;
}

/// One call of pm_range_run().
struct pm_range_run {
	struct pm_call *call;
	struct pm_range_op *op;
	int64_t budget; ///< what a limited call may still do: a frame looked at counts 1
};

enum { PM_RANGE_BUDGET = 1 << 20, PM_RANGE_MOVE_COST = 128 };

/// Has the call done as much as it may in one go?
static inline bool pm_range_spent(struct pm_range_run *run, int64_t work)
{
	run->budget -= work;
	return run->call->limited && run->budget <= 0;
}

/* ---- range_scan.c ---- */

/// Calls `visit` for what stands in [from, to) of a zone, in order; holes too. It returns false to stop. Under the zone lock, a block of the largest
/// order at a time. Returns where it stopped: the end of the last that was visited, `to` at the end.
uint32_t pm_range_walk(struct pm_machine *m, struct pm_zone *zone, uint32_t from, uint32_t to, bool (*visit)(const struct pm_range_seen *seen, void *arg), void *arg);

/// SEARCHING: fills in the candidates. PM_ERR_INTR: not done yet; PM_ERR_NOMEM.
enum pm_status pm_range_search(struct pm_range_run *run);

/// CHECKING: notes what can never move. PM_ERR_BUSY: there is such; PM_ERR_AGAIN: something may be on its way to an owner; PM_ERR_INTR, PM_ERR_NOMEM.
enum pm_status pm_range_check(struct pm_range_run *run);

/// Notes an obstacle. PM_ERR_NOMEM.
enum pm_status pm_range_note(struct pm_machine *m, struct pm_range_op *op, uint32_t pfn, uint32_t nr, uint32_t reason);

/* ---- range_move.c ---- */

/// EVACUATING: one batch of frames moves away. PM_ERR_BUSY: something is there that can never move. PM_ERR_INTR, PM_ERR_CLOSED, PM_ERR_NOMEM.
/// With `op->at` at the end, the pass is over.
enum pm_status pm_range_evacuate(struct pm_range_run *run);

/// ROLLING_BACK: moves what had moved away back, as far as it can. PM_ERR_INTR: not done yet.
enum pm_status pm_range_put_back(struct pm_range_run *run);

/* ---- range.c ---- */

/// Goes through the states until it is over, or the call has to come back: PM_ERR_INTR, PM_ERR_CLOSED.
enum pm_status pm_range_work(struct pm_range_run *run);

/// Undoes what is not over, and ends an isolation.
void pm_range_undo(struct pm_range_run *run);

/// Gives back what the objects hold that are left when the machine goes.
void pm_range_end_all(struct pm_machine *m);

#endif
