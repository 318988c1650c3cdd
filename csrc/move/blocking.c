/// Migration entries: how the pages' entries are taken away and given back, for the protocols that differ only in what a fault on one waits for.
#include "move/move.h"
#include "move/protocol.h"
#include "move/switch.h"

void pm_block_walk(struct pm_migration *mig, struct pm_rmap_visitor *visitor)
{
	visitor->call = mig->call;
	visitor->pfn = mig->from;
	visitor->nr_visited = 0;
	if (mig->anon && !mig->anon_kept) {
		/* The batch's own: locked once for a few frames. */
		pm_batch_lock(mig->call, mig->batch);
		pm_rmap_walk_links(visitor, mig->anon, mig->index);
		return;
	}
	pm_batch_unlock(mig->call, mig->batch);
	if (mig->anon) {
		pm_anon_relock_read(mig->call, mig->anon);
		pm_rmap_walk_links(visitor, mig->anon, mig->index);
		pm_anon_unlock_read(mig->call, mig->anon);
	} else if (mig->mapping) {
		pm_rmap_walk_areas(visitor, mig->mapping, mig->index);
	}
}

void pm_batch_lock(struct pm_call *call, struct pm_batch *batch)
{
	if (!batch->locked)
		pm_anon_relock_read(call, batch->anon);
	batch->locked = true;
}

void pm_batch_unlock(struct pm_call *call, struct pm_batch *batch)
{
	if (!batch || !batch->locked)
		return;
	pm_anon_unlock_read(call, batch->anon);
	batch->locked = false;
}

void pm_block_taken(struct pm_migration *mig, struct pm_vma *vma, uint64_t before)
{
	uint64_t addr = pm_vma_addr(vma, mig->index);

	/* The flush comes after this. */
	pm_table_break(pm_table_leaf_of(vma->space->top, addr));
	if (pm_notices_wanted(mig->call->m))
		pm_notice_remember(&mig->places, vma->space->handle, addr);
	mig->nr_maps++;
	mig->dirty |= (before & PM_PTE_DIRTY) != 0;
	pm_cpumask_or(&mig->cpus, &vma->space->cpus, mig->call->m->nr_cpus);
	if (atomic_load_explicit(&vma->locked, memory_order_relaxed)) {
		mig->mlocked = true;
		/* Who maps it next says so again. On no list, so the flags may change without its lock. */
		(void)pm_page_clear(pm_page_of(mig->call->m, mig->from), PM_PG_MLOCKED | PM_PG_UNEVICTABLE);
	}
	/* Isolation's reference is left, so these are not the last. */
	(void)pm_page_sub_counts(pm_page_of(mig->call->m, mig->from), PM_ONE_REF | PM_ONE_MAP);
}

void pm_block_given(struct pm_migration *mig, struct pm_vma *vma, struct pm_pfn target)
{
	struct pm_page *page = pm_page_of(mig->call->m, target);

	(void)pm_page_add_counts(page, PM_ONE_REF | PM_ONE_MAP);
	/* On no list yet, or isolated: the flags may be set without its lock. */
	if (atomic_load_explicit(&vma->locked, memory_order_relaxed) && !PM_PLANTED(MOVE_MLOCK_LOST))
		(void)pm_page_set(page, PM_PG_MLOCKED | PM_PG_UNEVICTABLE);
}

struct block {
	struct pm_rmap_visitor visitor;
	struct pm_migration *mig;
	enum pm_pte_wait wait;
	pm_unmap_check check;
	struct pm_pfn target;
	enum pm_status status;
};

enum pm_status pm_block_referenced(struct pm_migration *mig)
{
	mig->reason = pm_page_maybe_pinned(pm_page_of(mig->call->m, mig->from)) ? PM_WHY_PINNED : PM_WHY_REFERENCED;
	return PM_ERR_AGAIN;
}

static bool visit_unmap(struct pm_rmap_visitor *visitor, struct pm_vma *vma, uint64_t addr)
{
	struct block *block = (struct block *)visitor;
	struct pm_migration *mig = block->mig;
	struct pm_page *page = pm_page_of(visitor->call->m, visitor->pfn);
	uint64_t keep = PM_PTE_WRITE | PM_PTE_EXCLUSIVE | PM_PTE_DIRTY | (PM_PLANTED(MOVE_YOUNG_LOST) ? 0 : PM_PTE_YOUNG), before;
	struct pm_table *leaf;
	_Atomic uint64_t *entry;

	if (!pm_rmap_lock_entry(vma, addr, visitor->pfn, &leaf, &entry))
		return true;
	/* Pins are taken under this lock, so one that is not there now will not come through this entry. */
	if (pm_page_maybe_pinned(page) && !PM_PLANTED(MOVE_IGNORES_PINS))
		block->status = pm_block_referenced(mig);
	else if (block->check)
		block->status = block->check(mig, vma);
	if (!block->status) {
		before = pm_pte_load(entry);
		/* In one step, with what an access has marked by then. */
		pm_yield(PM_AT_ENTRY_SET, entry);
		while (!atomic_compare_exchange_weak(entry, &before, pm_pte_migration(visitor->pfn, (before & keep) | (mig->mapping ? PM_PTE_MIGRATION_FILE : 0), block->wait)))
			;
		pm_block_taken(mig, vma, before);
	}
	pm_rmap_unlock_entry(leaf);
	return !block->status && pm_page_mapcount(page) != 0;
}

enum pm_status pm_block_unmap(struct pm_migration *mig, enum pm_pte_wait wait, pm_unmap_check check)
{
	struct block block = { .visitor = { .visit = visit_unmap }, .mig = mig, .wait = wait, .check = check };

	pm_block_walk(mig, &block.visitor);
	if (!block.status && pm_page_mapcount(pm_page_of(mig->call->m, mig->from)) != 0)
		block.status = pm_block_referenced(mig);
	return block.status;
}

static bool visit_remap(struct pm_rmap_visitor *visitor, struct pm_vma *vma, uint64_t addr)
{
	struct block *block = (struct block *)visitor;
	struct pm_table *leaf = pm_table_leaf_of(vma->space->top, addr);
	_Atomic uint64_t *entry;
	uint64_t pte;

	if (!leaf)
		return true;
	entry = pm_table_entry(leaf, addr);
	if (!pm_pte_is_migration(pm_pte_load(entry)))
		return true;
	pm_lock(&leaf->lock);
	pte = pm_pte_load(entry);
	if ((pm_pte_is_migration(pte) && pm_pfn_eq(pm_pte_pfn(pte), visitor->pfn)) || PM_PLANTED(RESTORE_NO_RECHECK)) {
		uint64_t wider = PM_PLANTED(MOVE_WIDENS) && (vma->prot & PM_PROT_WRITE) ? PM_PTE_WRITE : 0;
		uint64_t bits = pm_vma_bits(vma) | wider | (pte & (PM_PTE_WRITE | PM_PTE_EXCLUSIVE | PM_PTE_YOUNG | PM_PTE_DIRTY));

		pm_block_given(block->mig, vma, block->target);
		pm_pte_store(entry, pm_pte_make(block->target, bits));
	}
	pm_unlock(&leaf->lock);
	return true;
}

void pm_block_remap(struct pm_migration *mig, struct pm_pfn target)
{
	struct block block = { .visitor = { .visit = visit_remap }, .mig = mig, .target = target };

	if (mig->nr_maps)
		pm_block_walk(mig, &block.visitor);
}

enum pm_status pm_block_settle(struct pm_migration *mig)
{
	enum pm_status status = pm_switch(mig->call, mig->from, mig->to, true);

	if (status == PM_ERR_BEYOND) {
		mig->reason = PM_WHY_TRUNCATED;
		return status;
	}
	if (status)
		return pm_block_referenced(mig);
	/* Nobody can come to it any more, so it stays frozen until it is freed; where others look on between two steps, its reference is back. */
	if (mig->stepped)
		pm_page_unfreeze(pm_page_of(mig->call->m, mig->from), 1);
	else
		mig->frozen = true;
	return PM_OK;
}
