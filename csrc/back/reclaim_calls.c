/// Reclaim as callers ask for it: a zone, kswapd's step, a range of a space.
#include "back/file.h"
#include "back/reclaim.h"
#include "phys/watermark.h"
#include "virt/area.h"

/// A call that frees may use the reserves, and does not reclaim once more for what it needs itself.
static enum pm_status begin(struct pm_machine *m, uint32_t cpu, uint32_t zone, struct pm_call *call)
{
	enum pm_status status = zone >= m->nr_zones ? PM_ERR_INVAL : pm_back_begin(m, cpu, call);

	if (!status)
		call->reclaiming = true;
	return status;
}

enum pm_status pm_reclaim(struct pm_machine *m, uint32_t cpu, uint32_t zone, uint64_t nr, uint64_t *ret)
{
	struct pm_call call;
	enum pm_status status = begin(m, cpu, zone, &call);

	if (status)
		return status;
	status = pm_reclaim_zone(&call, zone, nr, ret);
	pm_call_end(&call);
	return status;
}

static bool below(const struct pm_zone *zone, unsigned int mark)
{
	/* Relaxed: may be late by one operation, as for every watermark check. */
	return atomic_load_explicit(&zone->nr_free, memory_order_relaxed) < pm_watermark(zone, mark);
}

enum pm_status pm_kswapd(struct pm_machine *m, uint32_t cpu, uint32_t index, uint64_t *ret)
{
	struct pm_call call;
	struct pm_zone *zone;
	enum pm_status status = begin(m, cpu, index, &call);
	uint64_t freed = 1;

	if (status)
		return status;
	*ret = 0;
	zone = &m->zone[index];
	if (below(zone, PM_WMARK_LOW)) {
		status = pm_set_reclaim_active(m, index, true);
		while (!status && freed && below(zone, PM_WMARK_HIGH)) {
			status = pm_reclaim_zone(&call, index, PM_RECLAIM_BATCH, &freed);
			*ret += freed;
			/* Frames in per-CPU lists do not count as free. */
			if (!status)
				status = pm_drain(m, PM_ALL_CPUS);
		}
		if (pm_set_reclaim_active(m, index, false) && !status)
			status = PM_ERR_INVAL;
	}
	pm_call_end(&call);
	return status;
}

/// The frame behind an entry, mapped or in the swap cache, with a reference. False: there is none.
static bool frame_of(struct pm_machine *m, uint64_t pte, struct pm_pfn *ret)
{
	if (pm_pte_is_swap(pte))
		return pm_swap_cached(m, pm_pte_slot(pte), ret);
	if (!pm_pte_present(pte))
		return false;
	*ret = pm_pte_pfn(pte);
	/* The entry's reference keeps it: its table is locked. */
	pm_page_get(pm_page_of(m, *ret));
	return true;
}

/// Up to a batch of frames that a range has, each with a reference. Moves `*addr` on.
static size_t collect(struct pm_call *call, struct pm_space *space, uint64_t *addr, uint64_t end, struct pm_pfn *pfns)
{
	struct pm_table *leaf;
	size_t n = 0;

	while (n < PM_RECLAIM_BATCH && (*addr = pm_table_next_leaf(space, *addr, end, &leaf)) < end) {
		uint64_t stop = pm_table_leaf_end(*addr, end);

		pm_lock(&leaf->lock);
		for (; *addr < stop && n < PM_RECLAIM_BATCH; *addr += PM_PAGE_SIZE)
			n += frame_of(call->m, pm_pte_load(pm_table_entry(leaf, *addr)), &pfns[n]);
		pm_unlock(&leaf->lock);
	}
	return n;
}

/// Reclaims one page to which we have a reference, which is used up. A page that is written out for it is waited for, and freed then.
static enum pm_status page_out(struct pm_reclaim *reclaim, struct pm_pfn pfn)
{
	struct pm_call *call = reclaim->call;
	enum pm_status status = pm_page_wait(call, pfn, PM_PG_WRITEBACK);

	if (!status && pm_lru_isolate(call->m, pfn)) {
		/* Isolation has a reference of its own, and ours would look like another user's. */
		pm_page_put(call, pfn);
		pm_reclaim_page(reclaim, pfn);
		return PM_OK;
	}
	pm_page_put(call, pfn);
	return status;
}

/// A batch: first writes begin, and go on side by side; then they are waited for. What could not be written is not tried again.
static enum pm_status page_out_batch(struct pm_reclaim *reclaim, const struct pm_pfn *pfns, size_t n)
{
	struct pm_call *call = reclaim->call;
	struct pm_pfn begun[PM_RECLAIM_BATCH];
	enum pm_status status = PM_OK;
	size_t i;

	reclaim->begun_pages = begun;
	reclaim->nr_begun_pages = 0;
	reclaim->writes = true;
	for (i = 0; i < n; i++) {
		if (status)
			pm_page_put(call, pfns[i]);
		else
			status = page_out(reclaim, pfns[i]);
	}
	reclaim->begun_pages = NULL;
	reclaim->writes = false;
	for (i = 0; i < reclaim->nr_begun_pages; i++) {
		if (status)
			pm_page_put(call, begun[i]);
		else
			status = page_out(reclaim, begun[i]);
	}
	return status;
}

/// Once over a range. With the space's lock only while frames are collected.
static enum pm_status page_out_range(struct pm_reclaim *reclaim, struct pm_space *space, uint64_t addr, uint64_t end)
{
	struct pm_call *call = reclaim->call;
	enum pm_status status = PM_OK;

	while (addr < end && !status) {
		struct pm_pfn pfns[PM_RECLAIM_BATCH];
		size_t n;

		status = pm_rwsem_read(call, &space->lock);
		if (status)
			return status;
		n = collect(call, space, &addr, end, pfns);
		pm_rwsem_read_unlock(call->waits, &space->lock);
		status = page_out_batch(reclaim, pfns, n);
	}
	return status;
}

enum pm_status pm_page_out(struct pm_machine *m, uint32_t cpu, uint64_t handle, uint64_t addr, uint64_t length, uint64_t *ret)
{
	uint64_t limit = (uint64_t)1 << PM_VA_BITS;
	struct pm_space *space;
	struct pm_call call;
	struct pm_reclaim reclaim = { .call = &call, .ignore_use = true, .retries = true };
	enum pm_status status = ((addr | length) & (PM_PAGE_SIZE - 1)) || addr > limit || length > limit - addr ? PM_ERR_INVAL : PM_OK;

	if (!status)
		status = pm_space_call(m, cpu, handle, &call, &space);
	if (status)
		return status;
	(void)pm_back_poll(m->back, pm_back_now(m->back));
	call.reclaiming = true;
	status = page_out_range(&reclaim, space, addr, addr + length);
	pm_space_done(&call, space);
	*ret = reclaim.freed;
	return status;
}

enum pm_status pm_lru_sizes(struct pm_machine *m, uint32_t zone, uint64_t *ret)
{
	struct pm_call call;
	enum pm_status status = zone >= m->nr_zones ? PM_ERR_INVAL : pm_call_begin(m, 0, &call);
	unsigned int list;

	if (status)
		return status;
	for (list = 0; list < PM_NR_LRU; list++)
		/* Relaxed: each is right for some moment. */
		ret[list] = atomic_load_explicit(&m->virt->lru[zone].nr[list], memory_order_relaxed);
	pm_call_end(&call);
	return PM_OK;
}
