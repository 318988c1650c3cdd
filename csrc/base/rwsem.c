#include "base/rwsem.h"

/// Looks before a thread goes to sleep.
enum { PM_RWSEM_SPINS = 100 };

/// Enters for reading, and with that settles that a reader was next.
static bool try_read(struct pm_rwsem *sem)
{
	uint32_t state = atomic_load_explicit(&sem->state, memory_order_relaxed);

	while (!(state & (PM_RWSEM_WRITER | PM_RWSEM_WAITERS | PM_RWSEM_WRITER_NEXT)))
		if (atomic_compare_exchange_weak_explicit(&sem->state, &state, (state + 1) & ~(uint32_t)PM_RWSEM_READER_NEXT, memory_order_acquire, memory_order_relaxed))
			return true;
	return false;
}

static bool try_write(struct pm_rwsem *sem)
{
	uint32_t state = atomic_load_explicit(&sem->state, memory_order_relaxed);

	while (!(state & (PM_RWSEM_WRITER | PM_RWSEM_READERS | PM_RWSEM_READER_NEXT)))
		if (atomic_compare_exchange_weak_explicit(&sem->state, &state, (state | PM_RWSEM_WRITER) & ~(uint32_t)PM_RWSEM_WRITER_NEXT, memory_order_acquire, memory_order_relaxed))
			return true;
	return false;
}

static uint64_t key_of(const struct pm_rwsem *sem)
{
	return pm_wait_key(sem);
}

/// Somebody who wants the lock.
struct wanting {
	struct pm_rwsem *sem;
	bool write;
	bool always; ///< may not be given up
	bool slept;
	bool next; ///< has marked that one of its kind is next
};

static bool try_take(const struct wanting *w)
{
	return w->write ? try_write(w->sem) : try_read(w->sem);
}

static uint32_t next_bit(bool write)
{
	return write ? PM_RWSEM_WRITER_NEXT : PM_RWSEM_READER_NEXT;
}

/// Marks that somebody sleeps, and, for who has slept in vain, that its kind is next, unless the other kind is. Returns the state before.
static uint32_t mark(struct wanting *w)
{
	uint32_t state = atomic_load(&w->sem->state), bits;

	do {
		w->next = w->next || (w->slept && !(state & next_bit(!w->write)));
		bits = PM_RWSEM_WAITERS | (w->slept && !(state & next_bit(!w->write)) ? next_bit(w->write) : 0);
	} while (!atomic_compare_exchange_weak(&w->sem->state, &state, state | bits));
	return state;
}

/// Queues, marks that somebody sleeps, looks a last time, and sleeps. Every leaving holder that sees the mark clears it and wakes all;
/// who is woken and does not get the lock marks it again.
static enum pm_status sleep_for(struct pm_call *call, struct wanting *w, bool *taken)
{
	uint32_t obstacles = PM_RWSEM_WRITER | PM_RWSEM_READERS | next_bit(!w->write);
	enum pm_status status = PM_OK;
	struct pm_waiter waiter;

	pm_wait_prepare(call, &waiter, key_of(w->sem));
	if (!(mark(w) & obstacles)) {
		/* It became free before the mark: nobody will wake us. The mark goes with all who sleep. */
		atomic_fetch_and(&w->sem->state, ~(uint32_t)PM_RWSEM_WAITERS);
		(void)pm_wake_all(call->waits, key_of(w->sem));
		*taken = try_take(w);
	} else if (w->always) {
		pm_call_sleep_always(call, &waiter);
	} else {
		status = pm_call_sleep(call, &waiter);
	}
	pm_wait_finish(call, &waiter);
	w->slept = true;
	return status;
}

/// Who was next gives up: those who had to let it go first may come.
static void step_back(struct pm_call *call, const struct wanting *w)
{
	if (!w->next)
		return;
	atomic_fetch_and(&w->sem->state, ~next_bit(w->write));
	(void)pm_wake_all(call->waits, key_of(w->sem));
}

static enum pm_status take(struct pm_call *call, struct pm_rwsem *sem, bool write, bool always)
{
	struct wanting w = { .sem = sem, .write = write, .always = always };
	enum pm_status status = PM_OK;
	unsigned int spins = 0;
	bool taken = false;

	PM_ASSERT_SLOW(pm_rank_may_take(sem->rank));
	while (!taken && !status) {
		taken = try_take(&w);
		if (taken || spins++ < PM_RWSEM_SPINS)
			continue;
		status = sleep_for(call, &w, &taken);
	}
	if (taken) {
		pm_rank_push(sem->rank);
		return PM_OK;
	}
	step_back(call, &w);
	return status;
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
	pm_rank_push(sem->rank);
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

	pm_rank_pop(sem->rank);
	before = atomic_fetch_sub(&sem->state, 1);
	PM_ASSERT_SLOW(before & PM_RWSEM_READERS);
	if ((before & PM_RWSEM_WAITERS) && (before & PM_RWSEM_READERS) == 1)
		wake_sleepers(waits, sem);
}

void pm_rwsem_write_unlock(struct pm_waits *waits, struct pm_rwsem *sem) PM_NO_TSA
{
	uint32_t before;

	pm_rank_pop(sem->rank);
	before = atomic_fetch_and(&sem->state, ~(uint32_t)PM_RWSEM_WRITER);
	PM_ASSERT_SLOW(before & PM_RWSEM_WRITER);
	if (before & PM_RWSEM_WAITERS)
		wake_sleepers(waits, sem);
}
