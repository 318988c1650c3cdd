#include "base/lock.h"

/// Spins before the processor is given up: a critical section is well under a microsecond.
enum { PM_LOCK_SPINS = 200 };

void pm_lock_slow(struct pm_lock *lock)
{
	unsigned int spins = 0;

	for (;;) {
		uint32_t expected = 0;

		/* Relaxed: only a hint that the compare-and-swap may succeed; that one has the acquire. */
		if (atomic_load_explicit(&lock->held, memory_order_relaxed) == 0 &&
		    atomic_compare_exchange_weak_explicit(&lock->held, &expected, 1, memory_order_acquire, memory_order_relaxed))
			return;
		if (pm_scheduled()) {
			pm_block(PM_AT_LOCK, lock, (uint64_t)(uintptr_t)lock);
			continue;
		}
		if (++spins < PM_LOCK_SPINS) {
#if defined(__x86_64__) || defined(__i386__)
			__builtin_ia32_pause();
#endif
			continue;
		}
		/* The holder may have lost its processor: spinning on would keep it from running. */
		sched_yield();
		spins = 0;
	}
}

#ifdef PM_TEST_FLAVOUR
/// Bit r is set while this thread holds a lock of rank r. Per thread, and in the test flavour only.
static _Thread_local uint32_t ranks_of_thread;

/// Those of the running task, where tasks share a thread.
static uint32_t *held_ranks(void)
{
	return pm_hooks ? &pm_hooks->held_ranks : &ranks_of_thread;
}

bool pm_rank_may_take(uint32_t rank)
{
	return rank == PM_RANK_NONE || (*held_ranks() >> rank) == 0;
}

void pm_rank_push(uint32_t rank)
{
	PM_ASSERT(pm_rank_may_take(rank));
	if (rank != PM_RANK_NONE)
		*held_ranks() |= 1u << rank;
}

void pm_rank_pop(uint32_t rank)
{
	PM_ASSERT(rank == PM_RANK_NONE || *held_ranks() & (1u << rank));
	*held_ranks() &= ~(1u << rank);
}
#endif
