#include "back/swap_off.h"

#include "back/back.h"
#include "virt/area.h"

/// One swap entry on its way back.
struct back_entry {
	struct pm_call *call;
	struct pm_vma *vma;
	uint64_t addr;
	struct pm_table *leaf;
	_Atomic uint64_t *entry;
	uint64_t pte;
};

/// The frame, which is locked and referenced by us, gets mapped in the entry's place: without write permission, for which the next write asks. False:
/// the entry has changed.
static bool map_back(const struct back_entry *e, struct pm_pfn pfn)
{
	struct pm_machine *m = e->call->m;
	struct pm_page *page = pm_page_of(m, pfn);
	struct pm_anon *anon = pm_vma_anon(e->vma);
	bool mapped;

	/* As in a fault: a page that is not known as anybody's belongs to this area, or to the family if others name its slot too. */
	if (!pm_page_mapping(page)) {
		if (!(e->pte & PM_PTE_EXCLUSIVE))
			anon = atomic_load_explicit(&anon->root, memory_order_acquire);
		pm_page_set_mapping(page, anon->pooled.index);
	}
	pm_lock(&e->leaf->lock);
	mapped = pm_pte_load(e->entry) == e->pte;
	if (mapped) {
		(void)atomic_fetch_add(&page->counts, PM_ONE_MAP);
		pm_pte_store(e->entry, pm_pte_make(pfn, pm_vma_bits(e->vma) | (e->pte & PM_PTE_EXCLUSIVE)));
		if (atomic_load_explicit(&e->vma->locked, memory_order_relaxed))
			pm_lru_change(m, pfn, PM_PG_MLOCKED | PM_PG_UNEVICTABLE, 0);
	}
	pm_unlock(&e->leaf->lock);
	return mapped;
}

static enum pm_status bring_entry(const struct back_entry *e)
{
	uint32_t slot = pm_pte_slot(e->pte);
	enum pm_status status = pm_anon_prepare(e->call, e->vma);
	struct pm_pfn pfn;
	bool mapped;

	if (!status)
		status = pm_swap_in(e->call, slot, &pfn);
	if (status)
		/* AGAIN: the slot is free, so the entry has changed. */
		return status == PM_ERR_AGAIN && !e->call->nowait ? PM_OK : status;
	mapped = map_back(e, pfn);
	if (mapped) {
		pm_swap_operations.put(e->call->m, slot);
		(void)pm_swap_operations.forget(e->call, pfn);
	}
	pm_page_unlock(e->call, pfn);
	if (!mapped)
		pm_page_put(e->call, pfn);
	return PM_OK;
}

/// With the space held for reading.
static enum pm_status bring_area(struct pm_call *call, struct pm_vma *vma)
{
	struct back_entry e = { .call = call, .vma = vma, .addr = pm_vma_start(vma) };
	uint64_t end = pm_vma_end(vma);
	enum pm_status status = PM_OK;

	while (!status && (e.addr = pm_table_next_leaf(vma->space, e.addr, end, &e.leaf)) < end) {
		uint64_t stop = pm_table_leaf_end(e.addr, end);

		for (; e.addr < stop && !status; e.addr += PM_PAGE_SIZE) {
			e.entry = pm_table_entry(e.leaf, e.addr);
			e.pte = pm_pte_load(e.entry);
			if (pm_pte_is_swap(e.pte))
				status = bring_entry(&e);
		}
	}
	return status;
}

static enum pm_status bring_space(struct pm_call *call, struct pm_space *space)
{
	enum pm_status status = pm_rwsem_read(call, &space->lock);
	struct pm_vma *vma;

	if (status)
		return status;
	for (vma = pm_vma_first(space, 0, (uint64_t)1 << PM_VA_BITS); vma && !status; vma = pm_vma_next(vma, (uint64_t)1 << PM_VA_BITS))
		status = bring_area(call, vma);
	pm_rwsem_read_unlock(call->waits, &space->lock);
	return status;
}

static enum pm_status bring_spaces(struct pm_call *call)
{
	struct pm_virt *virt = call->m->virt;
	enum pm_status status = PM_OK;
	struct pm_space *space;
	uint32_t after = 0;

	while (!status && (space = pm_pool_next(&virt->spaces, after)) != NULL) {
		uint64_t handle = pm_pool_handle(&virt->spaces, space);

		after = space->pooled.index;
		status = pm_space_enter(call, handle, &space);
		if (!status) {
			status = bring_space(call, space);
			pm_space_leave(call, space);
		} else if (status == PM_ERR_HANDLE) {
			/* On its way out: it gives its entries back itself. */
			status = PM_OK;
		}
	}
	return status;
}

/// The next slot from `slot` on whose frame no entry names, with a reference to the frame. False: there is none.
static bool next_unnamed(struct pm_machine *m, uint32_t *slot, struct pm_pfn *ret)
{
	struct pm_swap *swap = &m->back->swap;
	bool found = false;

	pm_lock(&swap->lock);
	for (; *slot < swap->nr_slots && !found; ++*slot) {
		const struct pm_swap_slot *at = &swap->slot[*slot];

		found = at->pfn_next && !at->count;
		if (found) {
			*ret = pm_pfn(at->pfn_next - 1);
			pm_page_get(pm_page_of(m, *ret));
		}
	}
	pm_unlock(&swap->lock);
	return found;
}

enum pm_status pm_swap_drop_all_unnamed(struct pm_call *call)
{
	enum pm_status status = PM_OK;
	uint32_t slot = 0;
	struct pm_pfn pfn;

	while (!status && next_unnamed(call->m, &slot, &pfn)) {
		status = pm_page_lock(call, pfn);
		if (!status) {
			status = pm_page_wait(call, pfn, PM_PG_WRITEBACK);
			if (!status)
				(void)pm_swap_operations.forget(call, pfn);
			pm_page_unlock(call, pfn);
		}
		pm_page_put(call, pfn);
	}
	return status;
}

/// Lets others go on who hold entries that cannot be reached yet: a fork that is not done, a space on its way out.
static enum pm_status pause_a_little(struct pm_call *call)
{
	struct pm_waiter waiter;
	enum pm_status status;

	pm_wait_prepare(call, &waiter, pm_wait_key(&call->m->back->swap));
	status = pm_call_sleep(call, &waiter);
	pm_wait_finish(call, &waiter);
	return status;
}

enum pm_status pm_swap_bring_back(struct pm_call *call)
{
	struct pm_swap *swap = &call->m->back->swap;
	enum pm_status status = bring_spaces(call);
	bool left;

	if (!status)
		status = pm_swap_drop_all_unnamed(call);
	if (status)
		return status;
	pm_lock(&swap->lock);
	left = swap->nr_used != 0;
	pm_unlock(&swap->lock);
	return left ? pause_a_little(call) : PM_OK;
}
