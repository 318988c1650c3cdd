/// The protocol `table-lock` (rejected in 2004): the page table's lock is held from unmap to remap, so nobody who would have to look at the entry gets
/// that far. It cannot sleep, and one table's lock covers one mapping: a page that is mapped more than once does not move.
#include "move/protocol.h"

struct one {
	struct pm_rmap_visitor visitor;
	struct pm_migration *mig;
	enum pm_status status;
};

/// May the only entry of the source, whose table is locked, be taken?
static enum pm_status may_take(struct pm_migration *mig)
{
	struct pm_page *page = pm_page_of(mig->call->m, mig->from);

	if (pm_page_mapcount(page) != 1) {
		mig->reason = PM_WHY_SHARED;
		return PM_ERR_BUSY;
	}
	return pm_page_maybe_pinned(page) ? pm_block_referenced(mig) : PM_OK;
}

/// Stops at the place where the source is mapped, with its table locked, and takes the entry while the walk still keeps the area: once the walk is
/// over the area may be merged with another one. What it says of this entry cannot change, since who changes it has to come by this table's lock.
static bool visit_take(struct pm_rmap_visitor *visitor, struct pm_vma *vma, uint64_t addr)
{
	struct one *one = (struct one *)visitor;
	struct pm_migration *mig = one->mig;
	uint64_t keep = PM_PTE_READ | PM_PTE_WRITE | PM_PTE_EXCLUSIVE | PM_PTE_YOUNG | PM_PTE_DIRTY, before;

	if (!pm_rmap_lock_entry(vma, addr, visitor->pfn, &mig->held_leaf, &mig->held_entry))
		return true;
	one->status = may_take(mig);
	if (!one->status) {
		before = pm_pte_exchange(mig->held_entry, 0);
		pm_pte_store(mig->held_entry, pm_pte_migration(mig->from, before & keep, PM_PTE_WAIT_TABLE));
		pm_block_taken(mig, vma, before);
	}
	if (PM_PLANTED(MOVE_TABLE_LET_GO))
		pm_rmap_unlock_entry(mig->held_leaf);
	return false;
}

static enum pm_status unmap(struct pm_migration *mig)
{
	struct pm_page *page = pm_page_of(mig->call->m, mig->from);
	struct one one = { .visitor = { .visit = visit_take }, .mig = mig };

	if (pm_page_mapcount(page) > 1) {
		mig->reason = PM_WHY_SHARED;
		return PM_ERR_BUSY;
	}
	if (pm_page_mapcount(page) == 0)
		return PM_OK;
	pm_block_walk(mig, &one.visitor);
	return mig->held_leaf ? one.status : pm_block_referenced(mig);
}

static void remap(struct pm_migration *mig, struct pm_pfn target) PM_NO_TSA
{
	if (!mig->held_leaf)
		return;
	if (PM_PLANTED(MOVE_TABLE_LET_GO))
		pm_lock(&mig->held_leaf->lock);
	if (mig->nr_maps) {
		uint64_t bits = pm_pte_load(mig->held_entry) & (PM_PTE_READ | PM_PTE_WRITE | PM_PTE_EXCLUSIVE | PM_PTE_YOUNG | PM_PTE_DIRTY);

		struct pm_page *page = pm_page_of(mig->call->m, target);

		(void)pm_page_add_counts(page, PM_ONE_REF | PM_ONE_MAP);
		/* As it was: who locks or unlocks the area goes through its entries, and has to wait for this one. */
		if (mig->mlocked)
			(void)pm_page_set(page, PM_PG_MLOCKED | PM_PG_UNEVICTABLE);
		pm_pte_store(mig->held_entry, pm_pte_make(target, bits | PM_PTE_P));
	}
	pm_rmap_unlock_entry(mig->held_leaf);
	mig->held_leaf = NULL;
}

const struct pm_protocol pm_protocol_table_lock = {
	.name = "table-lock",
	.unbroken = true,
	.unmap = unmap,
	.settle = pm_block_settle,
	.remap = remap,
};
