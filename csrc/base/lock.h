/// Locks, their ranks, and the attributes that let clang check who holds what.
///
/// The order, outermost first; a lock may be taken only while all held locks come before it (docs/LOCKING.md has the tree):
///
///     pcp       a CPU's lists of one zone
///       zone    the free lists, pageblocks and counters of one zone
///
/// Two locks of one rank are never held together. The kernel's order is the same here: a refill or a drain of a per-CPU list
/// takes the zone lock while it holds the list's.
#ifndef PM_BASE_LOCK_H
#define PM_BASE_LOCK_H

#include <sched.h>
#include <stdatomic.h>

#include "base/assert.h"
#include "base/types.h"

#if defined(__clang__)
#define PM_TSA(x) __attribute__((x))
#else
#define PM_TSA(x)
#endif
#define PM_CAPABILITY(name) PM_TSA(capability(name))
#define PM_GUARDED_BY(lock) PM_TSA(guarded_by(lock))
#define PM_REQUIRES(lock) PM_TSA(requires_capability(lock))
#define PM_ACQUIRE(lock) PM_TSA(acquire_capability(lock))
#define PM_RELEASE(lock) PM_TSA(release_capability(lock))
#define PM_TRY_ACQUIRE(result, lock) PM_TSA(try_acquire_capability(result, lock))
#define PM_NO_TSA PM_TSA(no_thread_safety_analysis)

enum pm_lock_rank { PM_RANK_PCP = 1, PM_RANK_ZONE = 2 };

/// A lock for short critical sections: it spins, then gives up the processor. Nobody has to wake a waiter, so unlocking is one store.
struct PM_CAPABILITY("lock") pm_lock {
	_Atomic uint32_t held; ///< (A) 0 or 1; the acquire in pm_lock() pairs with the release in pm_unlock()
	uint32_t rank;	       ///< (C)
};

static inline void pm_lock_init(struct pm_lock *lock, enum pm_lock_rank rank)
{
	atomic_init(&lock->held, 0);
	lock->rank = (uint32_t)rank;
}

#ifdef PM_TEST_FLAVOUR
void pm_rank_push(const struct pm_lock *lock);
void pm_rank_pop(const struct pm_lock *lock);
#else
static inline void pm_rank_push(const struct pm_lock *lock)
{
	(void)lock;
}
static inline void pm_rank_pop(const struct pm_lock *lock)
{
	(void)lock;
}
#endif

/// Out of line, so that the fast path stays small. Returns with the lock held.
void pm_lock_slow(struct pm_lock *lock);

static inline void pm_lock(struct pm_lock *lock) PM_ACQUIRE(lock) PM_NO_TSA
{
	pm_rank_push(lock);
	if (PM_UNLIKELY(atomic_exchange_explicit(&lock->held, 1, memory_order_acquire)))
		pm_lock_slow(lock);
}

/// Takes the lock if it is free, and says so. Without a call, so that a caller can stay a leaf function.
static inline bool pm_trylock(struct pm_lock *lock) PM_TRY_ACQUIRE(true, lock) PM_NO_TSA
{
	/* Of a held lock this leaves what was there, a 1. */
	if (PM_UNLIKELY(atomic_exchange_explicit(&lock->held, 1, memory_order_acquire)))
		return false;
	pm_rank_push(lock);
	return true;
}

static inline void pm_unlock(struct pm_lock *lock) PM_RELEASE(lock) PM_NO_TSA
{
	pm_rank_pop(lock);
	atomic_store_explicit(&lock->held, 0, memory_order_release);
}

#endif
