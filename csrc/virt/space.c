#include "virt/space.h"

#include "virt/area.h"

enum pm_status pm_space_make(struct pm_call *call, struct pm_space **ret)
{
	struct pm_virt *virt = call->m->virt;
	struct pm_space *space = pm_pool_get(&virt->spaces);
	unsigned int i;

	if (!space)
		return PM_ERR_NOMEM;
	pm_rwsem_init(&space->lock, PM_RANK_SPACE);
	/* Its place in the pool may have been another space's a moment ago, whose migration still holds this. */
	if (!space->made)
		pm_rwsem_init(&space->migrate, PM_RANK_NONE);
	space->made = true;
	pm_lock_init(&space->anon_lock, PM_RANK_OBJECTS);
	space->areas = (struct pm_interval_tree){ 0 };
	for (i = 0; i < PM_MAX_CPUS / 64; i++)
		atomic_store_explicit(&space->cpus.word[i], 0, memory_order_relaxed);
	atomic_store_explicit(&space->exiting, 0, memory_order_relaxed);
	atomic_store_explicit(&space->nr_tables, 0, memory_order_relaxed);
	space->top = pm_table_create_top(call);
	if (!space->top) {
		pm_pool_put(&virt->spaces, space);
		return PM_ERR_NOMEM;
	}
	*ret = space;
	return PM_OK;
}

void pm_space_publish(struct pm_call *call, struct pm_space *space)
{
	space->handle = pm_pool_publish(&call->m->virt->spaces, space);
}

void pm_space_end(struct pm_call *call, struct pm_space *space)
{
	pm_area_unmap_all(call, space);
	pm_table_destroy(call, space);
	pm_pool_put(&call->m->virt->spaces, space);
}

/// A CPU that has not accessed this space yet: its bit is set while the space is held for reading, so that who holds it for writing can
/// rely on the mask (pm_access_alone). Threads without a slot of their own do so each time, for the same reason.
static enum pm_status join(struct pm_call *call, struct pm_space *space)
{
	enum pm_status status = pm_rwsem_read(call, &space->lock);

	if (status)
		return status;
	atomic_fetch_or(&space->cpus.word[call->cpu / 64], (uint64_t)1 << (call->cpu % 64));
	pm_rwsem_read_unlock(call->waits, &space->lock);
	return PM_OK;
}

enum pm_status pm_space_enter(struct pm_call *call, uint64_t handle, struct pm_space **ret)
{
	struct pm_virt *virt = call->m->virt;
	struct pm_slot *slot = &virt->slots[call->cpu];
	struct pm_space *space = pm_pool_find(&virt->spaces, handle);
	enum pm_status status = PM_OK;

	if (PM_UNLIKELY(!space))
		return PM_ERR_HANDLE;
	pm_yield(PM_AT_USE, space);
	if (PM_UNLIKELY(!call->owner)) {
		(void)atomic_fetch_add(&space->users, 1);
	} else if (PM_UNLIKELY(virt->guard != PM_GUARD_EPOCH)) {
		(void)atomic_exchange(&slot->space, space);
	} else {
		/* Relaxed, kept in order by the compiler: pm_space_exit() has the barrier for both. */
		atomic_store_explicit(&slot->space, space, memory_order_relaxed);
		atomic_signal_fence(memory_order_seq_cst);
	}
	/* It may have died, and its place may have a new owner, before we were seen to use it. */
	if (PM_UNLIKELY(!pm_pool_is(&virt->spaces, space, handle) || atomic_load_explicit(&space->exiting, memory_order_acquire) == handle))
		status = PM_ERR_HANDLE;
	else if (PM_UNLIKELY(!call->owner || !pm_cpumask_test(&space->cpus, call->cpu)))
		status = join(call, space);
	if (PM_UNLIKELY(status)) {
		pm_space_leave(call, space);
		return status;
	}
	*ret = space;
	return PM_OK;
}

void pm_space_leave(struct pm_call *call, struct pm_space *space)
{
	struct pm_slot *slot = &call->m->virt->slots[call->cpu];

	pm_yield(PM_AT_USE, space);
	if (PM_UNLIKELY(!call->owner)) {
		(void)atomic_fetch_sub(&space->users, 1);
	} else if (PM_UNLIKELY(call->m->virt->guard != PM_GUARD_EPOCH)) {
		(void)atomic_exchange(&slot->space, NULL);
	} else {
		/* Release: partner of the acquire in pm_space_exit(). */
		atomic_store_explicit(&slot->space, NULL, memory_order_release);
		atomic_signal_fence(memory_order_seq_cst);
	}
	/* Its memory is kept as long as the pool, so it may be looked at even if it has died by now. */
	if (PM_UNLIKELY(atomic_load_explicit(&space->exiting, memory_order_relaxed)))
		(void)pm_wake_all(call->waits, pm_wait_key(space));
}

enum pm_status pm_space_call(struct pm_machine *m, uint32_t cpu, uint64_t handle, struct pm_call *call, struct pm_space **ret)
{
	enum pm_status status = pm_call_begin(m, cpu, call);

	if (PM_UNLIKELY(status))
		return status;
	status = pm_space_enter(call, handle, ret);
	if (PM_UNLIKELY(status))
		pm_call_end(call);
	return status;
}

void pm_space_done(struct pm_call *call, struct pm_space *space)
{
	pm_space_leave(call, space);
	pm_call_end(call);
}

enum pm_status pm_space_create(struct pm_machine *m, uint64_t *ret)
{
	struct pm_call call;
	struct pm_space *space;
	enum pm_status status = pm_call_begin(m, 0, &call);

	if (status)
		return status;
	status = pm_space_make(&call, &space);
	if (!status) {
		pm_space_publish(&call, space);
		*ret = space->handle;
	}
	pm_call_end(&call);
	return status;
}

/// Does a call other than this one still work on the space?
static bool in_use(const struct pm_call *call, struct pm_space *space)
{
	uint32_t cpu;

	pm_yield(PM_AT_USE, space);
	if (atomic_load(&space->users) != 0)
		return true;
	for (cpu = 0; cpu < call->m->nr_cpus; cpu++)
		/* Acquire: partner of the release in pm_space_leave(). */
		if (atomic_load_explicit(&call->m->virt->slots[cpu].space, memory_order_acquire) == space)
			return true;
	return false;
}

/// From here on no call with this handle begins. Handles of one place grow: a caller who comes too late must not mark its next owner, nor
/// take the mark of that one away.
static void mark_exiting(struct pm_space *space, uint64_t handle)
{
	uint64_t marked;

	pm_yield(PM_AT_USE, space);
	marked = atomic_load(&space->exiting);
	while (marked < handle && !atomic_compare_exchange_weak(&space->exiting, &marked, handle))
		;
}

/// Waits until nobody works on the space, or it is gone. Who leaves a space that is exiting wakes us, and who ends it.
static enum pm_status wait_unused(struct pm_call *call, struct pm_space *space, uint64_t handle)
{
	enum pm_status status = PM_OK;

	pm_barrier_all(call->m->virt);
	while (!status && !PM_PLANTED(EXIT_NO_WAIT) && pm_pool_is(&call->m->virt->spaces, space, handle) && in_use(call, space)) {
		struct pm_waiter waiter;

		pm_wait_prepare(call, &waiter, pm_wait_key(space));
		pm_barrier_all(call->m->virt);
		if (pm_pool_is(&call->m->virt->spaces, space, handle) && in_use(call, space))
			status = pm_call_sleep(call, &waiter);
		pm_wait_finish(call, &waiter);
	}
	return status;
}

enum pm_status pm_space_exit(struct pm_machine *m, uint32_t cpu, uint64_t handle)
{
	struct pm_call call;
	struct pm_space *space;
	enum pm_status status = pm_call_begin(m, cpu, &call);

	if (status)
		return status;
	space = pm_pool_find(&m->virt->spaces, handle);
	if (!space) {
		pm_call_end(&call);
		return PM_ERR_HANDLE;
	}
	/* A caller whose patience ends calls again. */
	mark_exiting(space, handle);
	status = wait_unused(&call, space, handle);
	/* Of several that end the same space, one does it. */
	if (!status && !pm_pool_unpublish(&m->virt->spaces, space, handle))
		status = PM_ERR_HANDLE;
	if (!status) {
		(void)pm_wake_all(call.waits, pm_wait_key(space));
		pm_space_end(&call, space);
	}
	pm_call_end(&call);
	return status;
}
