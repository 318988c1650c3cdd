/// Locks, their ranks, and the attributes that let clang check who holds what.
///
/// The order, outermost first; a lock may be taken only while all held locks come before it (docs/LOCKING.md has the tree):
///
///     space                 an address space's VMAs (sleeps)
///       frame               one frame's LOCKED bit (sleeps; virt/page.h)
///         mapping           the VMAs that map a file (sleeps)
///         anon              the VMAs of one family of anon_vmas (sleeps)
///           table           the entries of one page table
///             table_nested  a second one: fork's child, mremap's destination
///               cache       the frames of one file by offset
///               swap        slots, counts and frames of a swap device
///                 device    the queue of a block device
///                   objects tables of handles
///                     lru   the lists of frames of one zone, by age
///                       pcp a CPU's lists of one zone
///                         zone the free lists, pageblocks and counters of one zone
///                           wait one bucket of sleepers
///
/// Two locks of one rank are never held together. A refill or a drain of a per-CPU list takes the zone lock while it holds the
/// list's, as in the kernel.
#ifndef PM_BASE_LOCK_H
#define PM_BASE_LOCK_H

#include <sched.h>
#include <stdatomic.h>

#include "base/assert.h"
#include "base/types.h"
#include "base/yield.h"

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

#define PM_ACQUIRE_SHARED(lock) PM_TSA(acquire_shared_capability(lock))
#define PM_RELEASE_SHARED(lock) PM_TSA(release_shared_capability(lock))
#define PM_REQUIRES_SHARED(lock) PM_TSA(requires_shared_capability(lock))

enum pm_lock_rank {
	PM_RANK_NONE = 0, ///< not checked: several are taken at once, in an order of their own
	PM_RANK_SPACE = 1,
	PM_RANK_MAPPING,
	PM_RANK_ANON,
	PM_RANK_TABLE,
	PM_RANK_TABLE_NESTED,
	PM_RANK_CACHE,
	PM_RANK_SWAP,
	PM_RANK_DEVICE,
	PM_RANK_OBJECTS,
	PM_RANK_LRU,
	PM_RANK_PCP,
	PM_RANK_ZONE,
	PM_RANK_WAIT,
	PM_RANK_MOVING ///< no lock: entries of a page that is moving, for which faults sleep; only the watchdog knows of it
};

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
void pm_rank_push(uint32_t rank);
void pm_rank_pop(uint32_t rank);
/// May a lock of this rank be waited for now?
bool pm_rank_may_take(uint32_t rank);
#else
static inline void pm_rank_push(uint32_t rank)
{
	(void)rank;
}
static inline void pm_rank_pop(uint32_t rank)
{
	(void)rank;
}
static inline bool pm_rank_may_take(uint32_t rank)
{
	(void)rank;
	return true;
}
#endif

/// Out of line, so that the fast path stays small. Returns with the lock held.
void pm_lock_slow(struct pm_lock *lock);

static inline void pm_lock(struct pm_lock *lock) PM_ACQUIRE(lock) PM_NO_TSA
{
	pm_rank_push(lock->rank);
	pm_yield(PM_AT_LOCK, lock);
	if (PM_UNLIKELY(atomic_exchange_explicit(&lock->held, 1, memory_order_acquire)))
		pm_lock_slow(lock);
	pm_note_held((uint64_t)(uintptr_t)lock, lock->rank, true);
}

/// Takes the lock if it is free, and says so. Without a call, so that a caller can stay a leaf function.
static inline bool pm_trylock(struct pm_lock *lock) PM_TRY_ACQUIRE(true, lock) PM_NO_TSA
{
	pm_yield(PM_AT_TRYLOCK, lock);
	/* Of a held lock this leaves what was there, a 1. */
	if (PM_UNLIKELY(atomic_exchange_explicit(&lock->held, 1, memory_order_acquire)))
		return false;
	pm_rank_push(lock->rank);
	pm_note_held((uint64_t)(uintptr_t)lock, lock->rank, true);
	return true;
}

static inline void pm_unlock(struct pm_lock *lock) PM_RELEASE(lock) PM_NO_TSA
{
	pm_rank_pop(lock->rank);
	pm_note_held((uint64_t)(uintptr_t)lock, lock->rank, false);
	atomic_store_explicit(&lock->held, 0, memory_order_release);
	pm_unblock(lock);
}

/// A second lock of one kind under the first (fork's child, mremap's destination): its rank is `nested` meanwhile.
static inline void pm_lock_nested(struct pm_lock *lock, enum pm_lock_rank nested) PM_ACQUIRE(lock) PM_NO_TSA
{
	pm_rank_push((uint32_t)nested);
	pm_yield(PM_AT_LOCK, lock);
	if (PM_UNLIKELY(atomic_exchange_explicit(&lock->held, 1, memory_order_acquire)))
		pm_lock_slow(lock);
	pm_note_held((uint64_t)(uintptr_t)lock, (uint32_t)nested, true);
}

static inline void pm_unlock_nested(struct pm_lock *lock, enum pm_lock_rank nested) PM_RELEASE(lock) PM_NO_TSA
{
	pm_rank_pop((uint32_t)nested);
	pm_note_held((uint64_t)(uintptr_t)lock, (uint32_t)nested, false);
	atomic_store_explicit(&lock->held, 0, memory_order_release);
	pm_unblock(lock);
}

#endif
