/// A lock for long critical sections, in which the holder may sleep: many readers or one writer. New readers queue behind whoever sleeps, and a
/// sleeper that was woken in vain is next of its kind: nobody starves, neither a writer among readers nor a reader among writers.
#ifndef PM_BASE_RWSEM_H
#define PM_BASE_RWSEM_H

#include "base/wait.h"

enum pm_rwsem_bits {
	PM_RWSEM_WRITER = 0x80000000u,
	PM_RWSEM_WAITERS = 0x40000000u,
	PM_RWSEM_WRITER_NEXT = 0x20000000u,
	PM_RWSEM_READER_NEXT = 0x10000000u,
	PM_RWSEM_READERS = 0x0fffffffu
};

struct PM_CAPABILITY("rwsem") pm_rwsem {
	/// (A) WRITER while held for writing; WAITERS while somebody sleeps (new readers queue then); WRITER_NEXT while a writer that slept in vain
	/// keeps all readers out, READER_NEXT the other way round, never both; the readers' number. The acquire of who enters pairs with the
	/// release of who leaves.
	_Atomic uint32_t state;
	uint32_t rank; ///< (C)
};

static inline void pm_rwsem_init(struct pm_rwsem *sem, enum pm_lock_rank rank)
{
	atomic_init(&sem->state, 0);
	sem->rank = (uint32_t)rank;
}

/// Takes it. PM_ERR_INTR, PM_ERR_CLOSED, PM_ERR_AGAIN: not taken, see pm_call_sleep().
enum pm_status pm_rwsem_read(struct pm_call *call, struct pm_rwsem *sem) PM_TSA(try_acquire_shared_capability(0, sem));
enum pm_status pm_rwsem_write(struct pm_call *call, struct pm_rwsem *sem) PM_TSA(try_acquire_capability(0, sem));

/// Takes it, however long that lasts. Its holders may not wait for a device.
void pm_rwsem_read_always(struct pm_call *call, struct pm_rwsem *sem) PM_ACQUIRE_SHARED(sem);
void pm_rwsem_write_always(struct pm_call *call, struct pm_rwsem *sem) PM_ACQUIRE(sem);

/// Takes it for reading if that is possible at once.
bool pm_rwsem_try_read(struct pm_rwsem *sem) PM_TSA(try_acquire_shared_capability(true, sem));

void pm_rwsem_read_unlock(struct pm_waits *waits, struct pm_rwsem *sem) PM_RELEASE_SHARED(sem);
void pm_rwsem_write_unlock(struct pm_waits *waits, struct pm_rwsem *sem) PM_RELEASE(sem);

#endif
