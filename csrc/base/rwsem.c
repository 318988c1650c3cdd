#include "base/rwsem.h"

/// Looks before a thread goes to sleep.
enum { PM_RWSEM_SPINS = 100 };

static bool try_read(struct pm_rwsem *sem)
{
	uint32_t state;

	pm_yield(PM_AT_RWSEM, sem);
	state = atomic_load_explicit(&sem->state, memory_order_relaxed);

	while (!(state & (PM_RWSEM_WRITER | PM_RWSEM_WAITERS)))
		if (atomic_compare_exchange_weak_explicit(&sem->state, &state, state + 1, memory_order_acquire, memory_order_relaxed))
			return true;
	return false;
}

static bool try_write(struct pm_rwsem *sem)
{
	uint32_t state;

	pm_yield(PM_AT_RWSEM, sem);
	state = atomic_load_explicit(&sem->state, memory_order_relaxed);

	while (!(state & (PM_RWSEM_WRITER | PM_RWSEM_READERS)))
		if (atomic_compare_exchange_weak_explicit(&sem->state, &state, state | PM_RWSEM_WRITER, memory_order_acquire, memory_order_relaxed))
			return true;
	return false;
}

static void take_note(const struct pm_rwsem *sem)
{
	pm_rank_push(sem->rank);
	pm_note_held(pm_wait_key(sem), sem->rank, true);
}

static void drop_note(const struct pm_rwsem *sem)
{
	pm_rank_pop(sem->rank);
	pm_note_held(pm_wait_key(sem), sem->rank, false);
	pm_yield(PM_AT_RWSEM, sem);
}

/// Who sleeps for it. Readers and writers have a key each, so that the last reader wakes a writer only.
static uint64_t key_of(const struct pm_rwsem *sem)
{
	return pm_wait_key(sem);
}

/// Queues, marks that somebody sleeps, looks a last time, and sleeps. Every leaving holder that sees the mark clears it and wakes all;
/// who is woken and does not get the lock marks it again.
static enum pm_status sleep_for(struct pm_call *call, struct pm_rwsem *sem, bool write, bool always, bool *taken)
{
	struct pm_waiter waiter;
	enum pm_status status = PM_OK;
	uint32_t state;

	pm_wait_prepare(call, &waiter, key_of(sem));
	pm_yield(PM_AT_RWSEM, sem);
	state = atomic_fetch_or(&sem->state, PM_RWSEM_WAITERS);
	if (!(state & (PM_RWSEM_WRITER | PM_RWSEM_READERS))) {
		/* It became free before the mark: nobody will wake us. The mark goes with all who sleep. */
		atomic_fetch_and(&sem->state, ~(uint32_t)PM_RWSEM_WAITERS);
		(void)pm_wake_all(call->waits, key_of(sem));
		*taken = write ? try_write(sem) : try_read(sem);
	} else if (always) {
		pm_call_sleep_always(call, &waiter);
	} else {
		status = pm_call_sleep(call, &waiter);
	}
	pm_wait_finish(call, &waiter);
	return status;
}

static enum pm_status take(struct pm_call *call, struct pm_rwsem *sem, bool write, bool always)
{
	enum pm_status status = PM_OK;
	unsigned int spins = 0;
	bool taken = false;

	PM_ASSERT_SLOW(pm_rank_may_take(sem->rank));
	while (!taken && !status) {
		taken = write ? try_write(sem) : try_read(sem);
		if (taken || (!pm_scheduled() && spins++ < PM_RWSEM_SPINS))
			continue;
		status = sleep_for(call, sem, write, always, &taken);
	}
	if (taken)
		take_note(sem);
	return taken ? PM_OK : status;
}

enum pm_status pm_rwsem_read(struct pm_call *call, struct pm_rwsem *sem) PM_NO_TSA
{
	return take(call, sem, false, false);
}

enum pm_status pm_rwsem_write(struct pm_call *call, struct pm_rwsem *sem) PM_NO_TSA
{
	return take(call, sem, true, false);
}

void pm_rwsem_read_always(struct pm_call *call, struct pm_rwsem *sem) PM_NO_TSA
{
	(void)take(call, sem, false, true);
}

void pm_rwsem_write_always(struct pm_call *call, struct pm_rwsem *sem) PM_NO_TSA
{
	(void)take(call, sem, true, true);
}

bool pm_rwsem_try_read(struct pm_rwsem *sem) PM_NO_TSA
{
	if (!try_read(sem))
		return false;
	take_note(sem);
	return true;
}

/// Clears the mark that somebody sleeps and wakes them, if the lock is free.
static void wake_sleepers(struct pm_waits *waits, struct pm_rwsem *sem)
{
	atomic_fetch_and(&sem->state, ~(uint32_t)PM_RWSEM_WAITERS);
	(void)pm_wake_all(waits, key_of(sem));
}

void pm_rwsem_read_unlock(struct pm_waits *waits, struct pm_rwsem *sem) PM_NO_TSA
{
	uint32_t before;

	drop_note(sem);
	before = atomic_fetch_sub(&sem->state, 1);
	PM_ASSERT_SLOW(before & PM_RWSEM_READERS);
	if ((before & PM_RWSEM_WAITERS) && (before & PM_RWSEM_READERS) == 1)
		wake_sleepers(waits, sem);
}

void pm_rwsem_write_unlock(struct pm_waits *waits, struct pm_rwsem *sem) PM_NO_TSA
{
	uint32_t before;

	drop_note(sem);
	before = atomic_fetch_and(&sem->state, ~(uint32_t)PM_RWSEM_WRITER);
	PM_ASSERT_SLOW(before & PM_RWSEM_WRITER);
	if (before & PM_RWSEM_WAITERS)
		wake_sleepers(waits, sem);
}
