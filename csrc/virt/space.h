/// An address space, and calls that work on one.
#ifndef PM_VIRT_SPACE_H
#define PM_VIRT_SPACE_H

#include "virt/epoch.h"
#include "virt/table.h"

struct pm_space {
	struct pm_pooled pooled;
	/// Rank SPACE. Held for reading by faults, for writing by all that changes areas; `areas` (S) below is guarded by it.
	struct pm_rwsem lock;
	struct pm_interval_tree areas; ///< (S) struct pm_vma, by page number
	/// Of the protocol "semaphore": held for writing while one of the space's pages moves, for reading by forks, and by faults that met such a page.
	/// No rank: migrations take several, in the order of their handles, and nothing else under them but what they need themselves.
	struct pm_rwsem migrate;
	bool made;		       ///< (U) of who makes a space: `migrate` outlives it
	struct pm_table *top;	       ///< (C)
	_Atomic uint64_t handle;       ///< (A) written once, at the end of a fork when the areas can be found already
	struct pm_cpumask cpus;	       ///< (A) bits set while `lock` is held for reading, never cleared: CPUs that have accessed it
	/// (A) calls by threads that do not own their CPU's slot. Never set anew: a call with an old handle may be counted here for a moment.
	_Atomic uint32_t users;
	_Atomic uint64_t exiting;      ///< (A) from pm_space_exit() on: the handle that exits; another one's is of no account
	_Atomic uint64_t nr_tables;    ///< (A) without the top
	struct pm_lock anon_lock;      ///< rank OBJECTS: of two faults that give an area its anon_vma, one wins
};

/// Finds a space and keeps it from dying until pm_space_leave(). One at a time for a call.
/// PM_ERR_HANDLE, and the statuses of a wait.
enum pm_status pm_space_enter(struct pm_call *call, uint64_t handle, struct pm_space **ret);
void pm_space_leave(struct pm_call *call, struct pm_space *space);

/// Both in one, for public functions: pm_call_begin() and pm_space_enter().
enum pm_status pm_space_call(struct pm_machine *m, uint32_t cpu, uint64_t handle, struct pm_call *call, struct pm_space **ret);
void pm_space_done(struct pm_call *call, struct pm_space *space);

/// A space that nobody knows yet. PM_ERR_NOMEM.
enum pm_status pm_space_make(struct pm_call *call, struct pm_space **ret);
/// Makes it visible.
void pm_space_publish(struct pm_call *call, struct pm_space *space);
/// Unmaps everything and gives the space back. Nobody knows it (any more).
void pm_space_end(struct pm_call *call, struct pm_space *space);

#endif
