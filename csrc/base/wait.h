/// Sleeping and waking. A sleeper names what it waits for by a key (a frame number, the address of a lock); sleepers are kept in a few
/// buckets by key. All blocking of the core goes through pm_call_sleep(), all waking through pm_wake_all().
///
/// The pattern, which loses no wake-up:
///
///     pm_wait_prepare(call, &waiter, key);          queued before the last look
///     if (still to wait)
///             status = pm_call_sleep(call, &waiter); returns at once if it was woken meanwhile
///     pm_wait_finish(call, &waiter);
///     look again
///
/// Who changes what is waited for, changes it first and calls pm_wake_all() then. Both sides use sequentially consistent operations on what
/// is waited for and on the bucket's count of sleepers: either the waker sees the sleeper, or the sleeper sees the change.
#ifndef PM_BASE_WAIT_H
#define PM_BASE_WAIT_H

#include "base/lock.h"

enum { PM_NR_WAIT_BUCKETS = 256 };

/// One sleeper, on its own stack.
struct pm_waiter {
	_Atomic uint32_t woken;	       ///< (A) futex: 0 asleep, 1 woken; written under the bucket's lock
	uint64_t key;		       ///< (C) while queued
	struct pm_waiter *prev, *next; ///< (W) the bucket's lock
	bool queued;		       ///< (U) the sleeper's own
};

struct pm_wait_bucket {
	_Alignas(PM_CFG_CACHE_LINE) struct pm_lock lock; ///< rank WAIT
	_Atomic uint32_t nr;	  ///< (A) sleepers; lets a waker pass by an empty bucket
	struct pm_waiter *first; ///< (W)
};

struct pm_waits {
	struct pm_wait_bucket bucket[PM_NR_WAIT_BUCKETS];
	_Atomic uint32_t closing; ///< (A) 1: sleepers of calls that can fail give up
	/// (C) Called before a thread sleeps: does what is due (transfers that have ended) and says for how many nanoseconds it may sleep:
	/// 0 if something happened, UINT64_MAX if nothing is under way. NULL: nothing ever is.
	uint64_t (*idle)(void *context);
	void *context; ///< (C)
};

struct pm_machine;

/// One call into the core: on which CPU it works, and how long it may sleep. On the caller's stack; one thread's own.
struct pm_call {
	struct pm_machine *m;
	struct pm_waits *waits;
	uint32_t cpu;
	uint32_t slices;    ///< sleeps of at most PM_SLICE_NS that are left
	bool limited;	    ///< `slices` counts
	bool nowait;	    ///< never sleep: what would have to returns PM_ERR_AGAIN
	bool owner;	    ///< this thread owns the CPU's access slot (virt/epoch.h)
	uint8_t shared_index; ///< where a thread that does not own it is counted
	uint8_t no_memory;  ///< one more than the order of a request that got nothing, and gave up: the host is told at the end of the call
	bool reclaiming;    ///< inside reclaim: an allocation may use the reserves and does not reclaim again
};

/// Length of a sleep of a call that has to come back: four of them are below a tenth of a second by far.
enum { PM_SLICE_NS = 5 * 1000 * 1000 };

void pm_waits_init(struct pm_waits *waits);

/// Queues the sleeper. It may be woken from now on.
void pm_wait_prepare(const struct pm_call *call, struct pm_waiter *waiter, uint64_t key);

/// Sleeps until woken, or until there may be something to look at.
/// @return PM_OK: look again; PM_ERR_INTR: the call has slept as long as it may; PM_ERR_CLOSED; PM_ERR_AGAIN: the call may not sleep.
enum pm_status pm_call_sleep(struct pm_call *call, struct pm_waiter *waiter);

/// The same for a wait that cannot be given up: only PM_OK comes back. For waits that end by themselves soon.
void pm_call_sleep_always(struct pm_call *call, struct pm_waiter *waiter);

/// Takes the sleeper off its queue, if it is still on it.
void pm_wait_finish(const struct pm_call *call, struct pm_waiter *waiter);

/// Wakes everyone who waits for `key`. Returns how many.
uint32_t pm_wake_all(struct pm_waits *waits, uint64_t key);

/// Does anyone wait for `key`? Exact only while the caller keeps others from coming.
bool pm_wait_has_sleepers(struct pm_waits *waits, uint64_t key);

/// Wakes everyone, whatever they wait for, and lets no call that can fail sleep again.
void pm_waits_close(struct pm_waits *waits);

/// Keys: the address of a lock or another object.
static inline uint64_t pm_wait_key(const void *object)
{
	return (uint64_t)(uintptr_t)object;
}

#endif
