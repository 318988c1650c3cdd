/// The stand-in for a TLB. An access marks its CPU as inside, reads an entry, touches the frame, marks the CPU as outside. A flush waits
/// until every CPU that may have read the old entry has been outside once; after it the frame has no accessor left.
///
/// A CPU's slot belongs to the first thread that calls on it: that thread marks with plain stores, and the flush makes up for the missing
/// fence with membarrier(2), which runs one on every CPU of the host that runs a thread of ours. Other threads on the same CPU are
/// counted with atomic instructions. Also here: calls, which hold off the end of a space (as hazard pointers do) and of the machine.
#ifndef PM_VIRT_EPOCH_H
#define PM_VIRT_EPOCH_H

#include "virt/virt.h"

/// CPUs on which a space was accessed.
struct pm_cpumask {
	_Atomic uint64_t word[PM_MAX_CPUS / 64]; ///< (A)
};

/// The calling thread, as a number that no other live thread has.
static inline uintptr_t pm_self(void)
{
#ifdef PM_TEST_FLAVOUR
	if (pm_hooks)
		return pm_hooks->self;
#endif
	return (uintptr_t)__builtin_thread_pointer();
}

/// Begins a call on `cpu`. PM_ERR_STATE, PM_ERR_INVAL, PM_ERR_CLOSED: then there is nothing to end.
enum pm_status pm_call_begin(struct pm_machine *m, uint32_t cpu, struct pm_call *call);
void pm_call_end(struct pm_call *call);

/// Membarrier, or nothing where every access has its own fence: the accesses' plain stores before it are seen after it.
void pm_barrier_all(const struct pm_virt *virt);

/// Waits until every CPU in the mask has been outside of an access once. The caller is outside, and holds nothing that an access waits for
/// (accesses wait for nothing).
void pm_tlb_flush(const struct pm_call *call, const struct pm_cpumask *mask);

/// Adds the CPUs of `from` to `to`, which is the caller's own. Of a machine with `nr_cpus` CPUs.
static inline void pm_cpumask_or(struct pm_cpumask *to, const struct pm_cpumask *from, uint32_t nr_cpus)
{
	uint32_t i;

	/* Relaxed: who reads `from` has changed an entry before, with a full fence; nobody else knows `to`. */
	for (i = 0; i < (nr_cpus + 63) / 64; i++)
		atomic_store_explicit(&to->word[i], atomic_load_explicit(&to->word[i], memory_order_relaxed) | atomic_load_explicit(&from->word[i], memory_order_relaxed),
				      memory_order_relaxed);
}

/// Every CPU of a machine; the mask is the caller's own.
static inline void pm_cpumask_fill(struct pm_cpumask *mask, uint32_t nr_cpus)
{
	uint32_t cpu;

	/* Relaxed: nobody else knows the mask. */
	for (cpu = 0; cpu < nr_cpus; cpu++)
		atomic_store_explicit(&mask->word[cpu / 64], atomic_load_explicit(&mask->word[cpu / 64], memory_order_relaxed) | (uint64_t)1 << (cpu % 64),
				      memory_order_relaxed);
}

static inline bool pm_cpumask_test(const struct pm_cpumask *mask, uint32_t cpu)
{
	/* Relaxed: set by pm_space_enter() before its first access, with a full fence. */
	return atomic_load_explicit(&mask->word[cpu / 64], memory_order_relaxed) >> (cpu % 64) & 1;
}

/// Is this call's thread the only one that can be inside an access to a space with this mask, until the mask changes?
bool pm_access_alone(const struct pm_call *call, const struct pm_cpumask *mask);

/// Marks the CPU as inside. Nothing between here and pm_access_leave() may wait, or take a lock.
static inline void pm_access_enter(struct pm_call *call) PM_NO_TSA
{
	struct pm_virt *virt = call->m->virt;
	struct pm_slot *slot = &virt->slots[call->cpu];

	pm_yield(PM_AT_ENTER, &slot->seq);
	if (PM_UNLIKELY(virt->guard == PM_GUARD_LOCK)) {
		pm_lock(&slot->lock);
	} else if (PM_LIKELY(call->owner)) {
		uint32_t seq = atomic_load_explicit(&slot->seq, memory_order_relaxed) + 1;

		if (PM_UNLIKELY(virt->guard == PM_GUARD_FENCE))
			(void)atomic_exchange(&slot->seq, seq);
		else
			/* Relaxed, and only kept in order by the compiler: pm_barrier_all() on the flush side is the other half. */
			atomic_store_explicit(&slot->seq, seq, memory_order_relaxed);
		atomic_signal_fence(memory_order_seq_cst);
	} else {
		call->shared_index = (uint8_t)atomic_load(&slot->index);
		(void)atomic_fetch_add(&slot->shared[call->shared_index], 1);
	}
}

static inline void pm_access_leave(struct pm_call *call) PM_NO_TSA
{
	struct pm_virt *virt = call->m->virt;
	struct pm_slot *slot = &virt->slots[call->cpu];

	pm_yield(PM_AT_LEAVE, &slot->seq);
	if (PM_UNLIKELY(virt->guard == PM_GUARD_LOCK))
		pm_unlock(&slot->lock);
	else if (PM_LIKELY(call->owner))
		/* Release: partner of the acquire in pm_tlb_flush(); what the access did is done. */
		atomic_store_explicit(&slot->seq, atomic_load_explicit(&slot->seq, memory_order_relaxed) + 1, memory_order_release);
	else
		(void)atomic_fetch_sub_explicit(&slot->shared[call->shared_index], 1, memory_order_release);
	pm_unblock(&slot->seq);
}

#endif
