/// Strategies of defragmentation: what moves where, so that large blocks come free. A strategy is a file and a line in compact.c's table; what they share
/// (counting blocks, moving through the engine, adding up) is in compact.c.
#ifndef PM_MOVE_STRATEGY_H
#define PM_MOVE_STRATEGY_H

#include "move/move.h"
#include "move/supply.h"

/// One run of a strategy. On the stack of pm_compact().
struct pm_compaction {
	struct pm_call *call;
	const struct pm_compact_request *request; ///< checked
	struct pm_compact_result *result;	  ///< `status`, `zone`, the scanners' counts: the strategy's to fill in; moves are added up by pm_compaction_move()
	uint32_t mode;				  ///< enum pm_migrate_mode that the request's priority stands for
	bool begun;				  ///< the host knows that it has begun
	uint64_t moved_before, flushes_before;	  ///< when it was told
	uint64_t allowance;			  ///< frames that a limited call may still look at or move before it comes back with PM_ERR_INTR
	/// Only moves count for it: the call begins anew when it comes again, so what it has looked at is no progress.
	bool begins_anew;
};

struct pm_strategy_ops {
	const char *name;
	/// Runs over the zones that the request names. PM_OK however little came of it; PM_ERR_NOMEM; a wait's status.
	enum pm_status (*run)(struct pm_compaction *run);
};

/// A result with nothing in it yet.
struct pm_compact_result pm_compaction_result(void);

/// What a limited call may do in one go.
void pm_compaction_allow(struct pm_compaction *run);

/// Tells the host that the run is over, if it was told that it has begun: that is, if it came to moving anything. No lock is held.
void pm_compaction_end(struct pm_compaction *run);

/// Runs the request's strategy.
enum pm_status pm_compaction_run(struct pm_compaction *run);

extern const struct pm_strategy_ops pm_strategy_planner, pm_strategy_coalesce_2004, pm_strategy_coalesce_2004_rfc;

/// Is the zone one of those that were asked for?
static inline bool pm_compaction_wants(const struct pm_compaction *run, uint32_t zone)
{
	return run->request->zone == PM_EVERY_ZONE || run->request->zone == zone;
}

/// Free blocks of a zone of at least `order`, in units of the order. Isolated ones do not count: nobody can have them.
uint64_t pm_compaction_blocks(struct pm_machine *m, uint32_t zone, unsigned int order);

/// The same over the zones that were asked for, in units of the request's order.
uint64_t pm_compaction_all_blocks(const struct pm_compaction *run);

/// Moves n blocks, each with the order that its head says, and adds up: moved and failed frames, batches, flushes. Destinations: `to`, the i-th for the
/// i-th, or with `to` NULL `supply`'s. `results` [n]. A wait's status or PM_ERR_NOMEM: what moved until then stands.
enum pm_status pm_compaction_move(struct pm_compaction *run, const uint64_t *from, const uint64_t *to, struct pm_supply *supply, size_t n, struct pm_migrate_result *results);

/// Frames looked at or moved. PM_ERR_INTR: the call has done as much as it may in one go. PM_ERR_CLOSED: the machine is closing.
enum pm_status pm_compaction_spend(struct pm_compaction *run, uint64_t frames);

extern const struct pm_strategy_ops pm_strategy_linux;

#endif
