/// fork: a child with the same areas, whose private pages are shared copy-on-write.
#include <string.h>

#include "virt/fault.h"
#include "virt/reference.h"

struct fork {
	struct pm_call *call;
	struct pm_space *parent, *child;
	bool alone;	       ///< nobody else accesses the parent while it is held for writing
	struct pm_pfn spare;   ///< a frame for the copy of a pinned page; nil: none
	bool need_spare;       ///< the walk stopped for want of one
};

/// Copies a page that the parent's other threads may be writing to: without the permission meanwhile, so that the child gets what was there at one moment.
static void copy_contents(const struct fork *f, _Atomic uint64_t *source, uint64_t pte, struct pm_pfn to)
{
	bool others_write = (pte & PM_PTE_WRITE) && !f->alone;
	struct pm_machine *m = f->call->m;

	if (!pm_has_contents(m))
		return;
	if (others_write) {
		(void)pm_pte_clear_bits(source, PM_PTE_WRITE);
		pm_tlb_flush(f->call, &f->parent->cpus);
	}
	pm_yield(PM_AT_COPY, pm_frame_bytes(m, pm_pte_pfn(pte)));
	memcpy(pm_frame_bytes(m, to), pm_frame_bytes(m, pm_pte_pfn(pte)), PM_PAGE_SIZE);
	if (others_write)
		(void)pm_pte_set_bits(source, PM_PTE_WRITE);
}

/// A pinned page of the parent is not shared: what the device writes must stay the parent's, so the child gets a copy now.
static void copy_pinned(struct fork *f, struct pm_vma *vma, uint64_t addr, _Atomic uint64_t *source, uint64_t pte, _Atomic uint64_t *entry)
{
	struct pm_machine *m = f->call->m;
	struct pm_pfn pfn = f->spare;
	struct pm_page *page = pm_page_of(m, pfn);
	bool locked = atomic_load_explicit(&vma->locked, memory_order_relaxed);

	copy_contents(f, source, pte, pfn);
	pm_page_set_mapping(page, pm_vma_anon(vma)->pooled.index);
	pm_page_set_tag(m, pfn, (uint32_t)pm_vma_index(vma, addr));
	atomic_store_explicit(&page->flags, PM_PG_ANON | PM_PG_UPTODATE | PM_PG_DIRTY | (locked ? PM_PG_MLOCKED | PM_PG_UNEVICTABLE : 0), memory_order_release);
	atomic_store_explicit(&page->counts, PM_ONE_REF | PM_ONE_MAP, memory_order_relaxed);
	pm_pte_store(entry, pm_pte_make(pfn, pm_vma_bits(vma) | PM_PTE_EXCLUSIVE | (vma->prot & PM_PROT_WRITE ? PM_PTE_WRITE : 0)));
	pm_lru_add(m, pfn);
	f->spare = pm_pfn_nil();
}

/// Takes WRITE and EXCLUSIVE away from the parent's entry.
static void share_entry(const struct fork *f, _Atomic uint64_t *entry, uint64_t pte)
{
	uint64_t bits = PM_PTE_WRITE | (PM_PLANTED(FORK_EXCLUSIVE) ? 0 : PM_PTE_EXCLUSIVE);

	if (!(pte & bits))
		return;
	if (f->alone)
		pm_pte_store(entry, pte & ~bits);
	else
		(void)pm_pte_clear_bits(entry, bits);
}

/// False: a spare frame is needed first, and nothing was done.
static bool copy_present(struct fork *f, struct pm_vma *vma, uint64_t addr, _Atomic uint64_t *from, _Atomic uint64_t *to, uint64_t pte)
{
	struct pm_page *page = pm_page_of(f->call->m, pm_pte_pfn(pte));

	if (PM_UNLIKELY((pte & PM_PTE_EXCLUSIVE) && pm_page_maybe_pinned(page)) && !PM_PLANTED(FORK_SHARES_PINNED)) {
		if (pm_pfn_is_nil(f->spare)) {
			f->need_spare = true;
			return false;
		}
		copy_pinned(f, vma, addr, from, pte, to);
		return true;
	}
	share_entry(f, from, pte);
	(void)pm_page_add_counts(page, PM_ONE_REF | PM_ONE_MAP);
	pm_pte_store(to, pte & ~(PM_PTE_WRITE | PM_PTE_EXCLUSIVE | PM_PTE_YOUNG));
	return true;
}

/// Copies one leaf's entries from `addr` on. Returns where it stopped.
static uint64_t copy_leaf(struct fork *f, struct pm_vma *vma, struct pm_table *from, struct pm_table *to, uint64_t addr, uint64_t stop)
{
	const struct pm_swap_ops *swap = f->call->m->virt->hooks.swap;
	uint64_t shared = 0;

	pm_lock(&from->lock);
	pm_lock_nested(&to->lock, PM_RANK_TABLE_NESTED);
	for (; addr < stop; addr += PM_PAGE_SIZE) {
		_Atomic uint64_t *source = pm_table_entry(from, addr), *copy = pm_table_entry(to, addr);
		uint64_t pte = pm_pte_load(source);

		if (pte == 0)
			continue;
		if (pm_pte_present(pte)) {
			if (!copy_present(f, vma, addr, source, copy, pte))
				break;
			shared++;
			continue;
		}
		if (pm_pte_is_swap(pte) && !PM_PLANTED(FORK_NO_SWAP_COUNT))
			swap->dup(f->call->m, pm_pte_slot(pte));
		/* Swap entries and migration entries alike: from now on two spaces name the page. */
		if (!PM_PLANTED(FORK_MOVING_EXCLUSIVE) || pm_pte_is_swap(pte))
			pm_pte_store(source, pte & ~(PM_PTE_WRITE | PM_PTE_EXCLUSIVE));
		pte &= ~(PM_PTE_WRITE | PM_PTE_EXCLUSIVE);
		pm_pte_store(copy, pte);
	}
	pm_unlock_nested(&to->lock, PM_RANK_TABLE_NESTED);
	pm_unlock(&from->lock);
	atomic_fetch_add_explicit(&f->call->m->virt->slots[f->call->cpu].event[PM_ME_FORK_PAGE], shared, memory_order_relaxed);
	return addr;
}

static enum pm_status copy_entries(struct fork *f, struct pm_vma *vma)
{
	uint64_t addr = pm_vma_start(vma), end = pm_vma_end(vma);
	struct pm_table *from, *to;

	while ((addr = pm_table_next_leaf(f->parent, addr, end, &from)) < end) {
		enum pm_status status = pm_table_make_leaf(f->call, f->child, addr, &to);

		if (status)
			return status;
		addr = copy_leaf(f, vma, from, to, addr, pm_table_leaf_end(addr, end));
		if (!f->need_spare)
			continue;
		f->need_spare = false;
		status = pm_page_alloc(f->call, 0, PM_GFP_HIGHUSER_MOVABLE, false, &f->spare);
		if (status)
			return status;
	}
	return PM_OK;
}

/// A copy of an area in the child, on all reverse maps after its parent, and its entries.
static enum pm_status fork_area(struct fork *f, struct pm_vma *vma)
{
	struct pm_vma_model model = { .start = pm_vma_start(vma), .pages = pm_vma_pages(vma), .pgoff = vma->pgoff, .prot = vma->prot, .shared = vma->shared, .mapping = vma->mapping };
	/* Locks of memory are not inherited, as in the kernel. */
	struct pm_vma *copy = pm_vma_make(f->call, f->child, &model);
	enum pm_status status;

	if (!copy)
		return PM_ERR_NOMEM;
	status = pm_anon_fork(f->call, copy, vma);
	if (status) {
		pm_vma_destroy(f->call, copy);
		return status;
	}
	pm_vma_insert(copy);
	/* Pages of a file come back by themselves: only areas with anonymous pages have something to copy. */
	if (!pm_vma_anon(vma))
		return PM_OK;
	return copy_entries(f, copy);
}

/// With the parent held for writing.
static enum pm_status fork_areas(struct fork *f)
{
	enum pm_status status = PM_OK;
	struct pm_vma *vma;

	f->alone = pm_access_alone(f->call, &f->parent->cpus);
	for (vma = pm_vma_first(f->parent, 0, (uint64_t)1 << PM_VA_BITS); vma && !status; vma = pm_vma_next(vma, (uint64_t)1 << PM_VA_BITS))
		status = fork_area(f, vma);
	/* The parent's old write permissions end before the child can run. */
	if (!PM_PLANTED(FORK_NO_FLUSH))
		pm_tlb_flush(f->call, &f->parent->cpus);
	if (!pm_pfn_is_nil(f->spare))
		pm_page_put(f->call, f->spare);
	return status;
}

enum pm_status pm_space_fork(struct pm_machine *m, uint32_t cpu, uint64_t handle, uint64_t *ret)
{
	struct fork f = { .spare = pm_pfn_nil() };
	struct pm_space *space;
	struct pm_call call;
	enum pm_status status = pm_space_call(m, cpu, handle, &call, &space);

	if (status)
		return status;
	f.call = &call;
	f.parent = space;
	status = pm_space_make(&call, &f.child);
	if (!status) {
		status = pm_rwsem_write(&call, &space->lock);
		if (!status) {
			/* A migration that holds the spaces which share a page must not get one more while it works. */
			status = pm_rwsem_read(&call, &space->migrate);
			if (!status) {
				status = fork_areas(&f);
				pm_rwsem_read_unlock(call.waits, &space->migrate);
			}
			pm_rwsem_write_unlock(call.waits, &space->lock);
		}
		if (status) {
			pm_space_end(&call, f.child);
		} else {
			pm_count(&call, PM_ME_FORK);
			pm_space_publish(&call, f.child);
			*ret = f.child->handle;
		}
	}
	pm_space_done(&call, space);
	return status;
}
