#include "virt/epoch.h"

#include "virt/notice.h"

#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

void pm_barrier_all(const struct pm_virt *virt)
{
	if (virt->guard == PM_GUARD_EPOCH)
		syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
	else
		/* The other side's exchange is the partner. A read-modify-write, since ThreadSanitizer does not know fences. */
		(void)atomic_fetch_add(&((struct pm_virt *)(uintptr_t)virt)->clock_ns, 0);
}

/// Whose slot is it? Takes it for this thread if it is nobody's yet.
static bool own_slot(struct pm_slot *slot)
{
	uintptr_t self = pm_self(), owner = atomic_load_explicit(&slot->owner, memory_order_relaxed);

	if (PM_LIKELY(owner == self))
		return true;
	if (owner == 0 && atomic_compare_exchange_strong(&slot->owner, &owner, self))
		return true;
	if (!atomic_load_explicit(&slot->others, memory_order_relaxed))
		atomic_store(&slot->others, 1);
	return false;
}

enum pm_status pm_call_begin(struct pm_machine *m, uint32_t cpu, struct pm_call *call)
{
	struct pm_virt *virt = m->virt;
	struct pm_slot *slot;

	if (PM_UNLIKELY(!virt))
		return PM_ERR_STATE;
	if (PM_UNLIKELY(cpu >= m->nr_cpus))
		return PM_ERR_INVAL;
	slot = &virt->slots[cpu];
	*call = (struct pm_call){
		.m = m,
		.waits = &virt->waits,
		.cpu = cpu,
		.slices = virt->options.wait_slices,
		.limited = virt->options.wait_slices != 0,
		.owner = own_slot(slot),
	};
	if (PM_LIKELY(call->owner)) {
		if (PM_UNLIKELY(virt->guard != PM_GUARD_EPOCH))
			(void)atomic_exchange(&slot->call, 1);
		else
			/* Relaxed: pm_machine_shut() has the barrier for both. */
			atomic_store_explicit(&slot->call, 1, memory_order_relaxed);
		atomic_signal_fence(memory_order_seq_cst);
	} else {
		(void)atomic_fetch_add(&slot->shared_calls, 1);
	}
	if (PM_UNLIKELY(atomic_load_explicit(&virt->waits.closing, memory_order_acquire))) {
		pm_call_end(call);
		return PM_ERR_CLOSED;
	}
	return PM_OK;
}

/// At the end of a call nothing is locked any more.
static __attribute__((noinline)) void tell_no_memory(struct pm_call *call)
{
	struct pm_notice notice = { .kind = PM_NOTICE_NO_MEMORY, .cpu = call->cpu, .order = call->no_memory - 1u };

	call->no_memory = 0;
	pm_notice_send(call, &notice);
}

void pm_call_end(struct pm_call *call)
{
	struct pm_virt *virt = call->m->virt;
	struct pm_slot *slot = &virt->slots[call->cpu];

	if (PM_UNLIKELY(call->no_memory))
		tell_no_memory(call);
	if (PM_LIKELY(call->owner)) {
		if (PM_UNLIKELY(virt->guard != PM_GUARD_EPOCH))
			(void)atomic_exchange(&slot->call, 0);
		else
			/* Release: partner of the acquire in pm_machine_shut(). */
			atomic_store_explicit(&slot->call, 0, memory_order_release);
	} else {
		(void)atomic_fetch_sub(&slot->shared_calls, 1);
	}
}

bool pm_access_alone(const struct pm_call *call, const struct pm_cpumask *mask)
{
	const struct pm_slot *slot = &call->m->virt->slots[call->cpu];
	unsigned int i;

	if (!call->owner || call->m->virt->guard == PM_GUARD_LOCK || atomic_load(&slot->others))
		return false;
	for (i = 0; i < (call->m->nr_cpus + 63) / 64; i++) {
		uint64_t mine = i == call->cpu / 64 ? (uint64_t)1 << (call->cpu % 64) : 0;

		if (atomic_load(&mask->word[i]) & ~mine)
			return false;
	}
	return true;
}

/// Between two looks at a slot; a scheduled task is blocked until somebody leaves it.
static void pause_a_little(const struct pm_slot *slot, unsigned int *spins)
{
	if (pm_scheduled()) {
		pm_block(PM_AT_FLUSH, &slot->seq, (uint64_t)(uintptr_t)&slot->seq);
		return;
	}
	if (++*spins < 100) {
#if defined(__x86_64__) || defined(__i386__)
		__builtin_ia32_pause();
#endif
		return;
	}
	/* Whom we wait for may have lost its processor in the middle of an access. */
	sched_yield();
	*spins = 0;
}

/// Waits until the owner of a slot has been outside.
static void wait_for_owner(const struct pm_call *call, struct pm_slot *slot)
{
	unsigned int spins = 0;
	uint32_t seq;

	pm_yield(PM_AT_FLUSH, &slot->seq);
	seq = atomic_load_explicit(&slot->seq, memory_order_acquire);
	if (!(seq & 1))
		return;
	pm_count(call, PM_ME_FLUSH_WAIT);
	while (atomic_load_explicit(&slot->seq, memory_order_acquire) == seq)
		pause_a_little(slot, &spins);
}

/// Waits until every other thread that is inside on this CPU has been outside. Both indices, one after the other: a thread may have read
/// the index long before it counts itself there.
static void wait_for_others(struct pm_slot *slot)
{
	unsigned int turn, spins = 0;

	for (turn = 0; turn < 2; turn++) {
		uint32_t old;

		pm_yield(PM_AT_FLUSH, &slot->seq);
		old = atomic_fetch_xor(&slot->index, 1);
		while (atomic_load_explicit(&slot->shared[old], memory_order_acquire) != 0)
			pause_a_little(slot, &spins);
	}
}

/// With a lock a CPU: to have held it once is to know that nobody is inside any more.
static void flush_by_locks(const struct pm_call *call, const struct pm_cpumask *mask)
{
	uint32_t cpu;

	for (cpu = 0; cpu < call->m->nr_cpus; cpu++) {
		struct pm_slot *slot = &call->m->virt->slots[cpu];

		if (!pm_cpumask_test(mask, cpu))
			continue;
		pm_lock(&slot->lock);
		pm_unlock(&slot->lock);
	}
}

void pm_tlb_flush(const struct pm_call *call, const struct pm_cpumask *mask)
{
	struct pm_virt *virt = call->m->virt;
	uint32_t cpu;

	pm_count(call, PM_ME_FLUSH);
	if (virt->guard == PM_GUARD_LOCK) {
		flush_by_locks(call, mask);
		return;
	}
	if (pm_access_alone(call, mask)) {
		pm_count(call, PM_ME_FLUSH_SKIPPED);
		return;
	}
	pm_barrier_all(virt);
	for (cpu = 0; cpu < call->m->nr_cpus; cpu++) {
		struct pm_slot *slot = &virt->slots[cpu];

		if (!pm_cpumask_test(mask, cpu))
			continue;
		/* Our own slot: we are outside ourselves. */
		if (cpu != call->cpu || !call->owner)
			wait_for_owner(call, slot);
		if (atomic_load(&slot->others)) {
			/* One flush at a time turns the index. */
			pm_lock(&virt->turn);
			wait_for_others(slot);
			pm_unlock(&virt->turn);
		}
	}
}
