/// What a machine keeps for migration: objects that are stepped, and counts.
#ifndef PM_MOVE_MOVE_H
#define PM_MOVE_MOVE_H

#include "move/migrate.h"

/// Handles of migrations that are stepped; beside enum pm_object_kind.
enum { PM_OBJECT_MIGRATION = 17, PM_OBJECT_RANGE = 18 };

/// Attempts a folio gets (REFERENCE section 2): in batches that never sleep, then one by one.
enum { PM_ASYNC_TRIES = 10, PM_BATCH_TRIES = 3, PM_SINGLE_TRIES = 7 };

struct pm_compact_state;

struct pm_move {
	struct pm_pool steppers; ///< struct pm_stepper
	struct pm_pool ranges;	 ///< struct pm_range_op
	_Atomic uint64_t moved[PM_NR_PROTOCOLS]; ///< (A) statistics, all of them
	_Atomic uint64_t failed[PM_NR_WHY];
	_Atomic uint64_t batches, flushes, swap_slots, writeouts;
	_Atomic(struct pm_compact_state *) compact; ///< what strategy linux remembers; made by the first compaction
};

/// A migration with a handle. One thread at a time takes a step.
struct pm_stepper {
	struct pm_pooled pooled;
	_Atomic uint32_t busy; ///< (A) 1 while a thread is at it
	struct pm_migration migration; ///< (U) of that thread
	uint64_t given;	       ///< (C) the destination, where the caller gave it
	uint32_t protocol;     ///< (C) enum pm_migrate_protocol
};

static inline void pm_move_count(_Atomic uint64_t *counter, uint64_t n)
{
	/* Relaxed: statistics. */
	(void)atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/// pm_migrate() for who is inside a call already, with a checked request. Destinations come from `supply`, unless that is NULL.
enum pm_status pm_migrate_frames(struct pm_call *call, const struct pm_migrate_request *request, struct pm_supply *supply, struct pm_migrate_result *results, size_t *ret);

/// Makes it, if nobody has. PM_ERR_NOMEM.
enum pm_status pm_move_init(struct pm_machine *m);
/// Undoes the migrations that are not over, and gives it back. No call is inside, and the spaces are still there.
void pm_move_destroy(struct pm_machine *m);

#endif
