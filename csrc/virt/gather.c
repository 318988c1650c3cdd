#include "virt/gather.h"

#include "virt/reference.h"

void pm_gather_begin(struct pm_gather *gather, struct pm_call *call, struct pm_space *space)
{
	gather->call = call;
	gather->space = space;
	gather->alone = pm_access_alone(call, &space->cpus);
	gather->noted = false;
	gather->n = 0;
}

static void forget_swap(struct pm_call *call, struct pm_pfn pfn)
{
	const struct pm_swap_ops *swap = call->m->virt->hooks.swap;

	if (!swap || !pm_page_test(pm_page_of(call->m, pfn), PM_PG_SWAPCACHE) || !pm_page_trylock(call->m, pfn))
		return;
	if (pm_page_test(pm_page_of(call->m, pfn), PM_PG_SWAPCACHE))
		(void)swap->forget(call, pfn);
	pm_page_unlock(call, pfn);
}

void pm_gather_give_back(struct pm_call *call, size_t n, uint64_t *pfns)
{
	size_t i;

	for (i = 0; i < n; i++) {
		bool dirty = (pfns[i] & PM_GATHER_DIRTY) != 0;

		pfns[i] &= ~PM_GATHER_DIRTY;
		if (dirty)
			pm_page_set_dirty(call->m, pm_pfn(pfns[i]));
		forget_swap(call, pm_pfn(pfns[i]));
	}
	pm_page_unmap_many(call, n, pfns);
}

static void flush(struct pm_gather *gather)
{
	if (!gather->n)
		return;
	if (!gather->alone && !PM_PLANTED(UNMAP_NO_FLUSH))
		pm_tlb_flush(gather->call, &gather->space->cpus);
	pm_gather_noted(gather->call->m->virt, &gather->noted);
	pm_gather_give_back(gather->call, gather->n, gather->pfns);
	gather->n = 0;
}

void pm_gather_finish(struct pm_gather *gather)
{
	flush(gather);
}

static void drop_present(struct pm_gather *gather, struct pm_vma *vma, uint64_t pte)
{
	struct pm_machine *m = gather->call->m;
	struct pm_pfn pfn = pm_pte_pfn(pte);
	struct pm_page *page = pm_page_of(m, pfn);

	bool dirty = (pte & PM_PTE_DIRTY) && !pm_page_test(page, PM_PG_ANON);

	if (atomic_load_explicit(&vma->locked, memory_order_relaxed) && pm_page_test(page, PM_PG_MLOCKED))
		/* Another area may have locked it too: reclaim finds that out and locks it anew. */
		pm_lru_change(m, pfn, 0, PM_PG_MLOCKED | PM_PG_UNEVICTABLE);
	gather->pfns[gather->n++] = pfn.v | (dirty ? PM_GATHER_DIRTY : 0);
}

void pm_gather_range(struct pm_gather *gather, struct pm_vma *vma, uint64_t start, uint64_t end)
{
	struct pm_machine *m = gather->call->m;
	struct pm_table *leaf;
	uint64_t addr = start;

	while ((addr = pm_table_next_leaf(gather->space, addr, end, &leaf)) < end) {
		uint64_t stop = pm_table_leaf_end(addr, end);

		if (gather->n + PM_TABLE_ENTRIES > PM_GATHER_FRAMES)
			flush(gather);
		pm_lock(&leaf->lock);
		for (; addr < stop; addr += PM_PAGE_SIZE) {
			_Atomic uint64_t *entry = pm_table_entry(leaf, addr);
			uint64_t pte = pm_pte_load(entry);

			if (!pte)
				continue;
			if (!gather->alone && pm_pte_present(pte))
				pm_gather_note(m->virt, pte, pm_page_of(m, pm_pte_pfn(pte)), &gather->noted);
			pm_table_break(leaf);
			pte = pm_pte_clear(entry, gather->alone);
			if (pm_pte_present(pte))
				drop_present(gather, vma, pte);
			else if (pm_pte_is_swap(pte))
				m->virt->hooks.swap->put(m, pm_pte_slot(pte));
			/* Of a migration entry nothing is left to give back: it holds no reference. */
		}
		pm_unlock(&leaf->lock);
	}
}
