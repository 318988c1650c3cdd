/// The protocol `swap-cache` (Takahashi 2004): what blocks an access is the new frame's lock, found through the swap cache, or for a page of a file through the
/// page cache. An anonymous page that is not in swap is added first, which costs a slot. The cache's place is switched to the new frame, entries become swap entries (or
/// none, for a file), and once the old frame's references have drained it is copied. Entries come back at the next fault, or at once if asked for.
#include <sched.h>

#include "back/file.h"
#include "move/move.h"
#include "move/protocol.h"
#include "move/switch.h"
#include "virt/fault.h"

/// How often the references are looked at: a short wait where the caller may not sleep, a long one otherwise.
enum { PM_DRAIN_FAST = 16, PM_DRAIN_SLOW = 2000 };

static enum pm_status prepare(struct pm_migration *mig)
{
	struct pm_page *page = pm_page_of(mig->call->m, mig->from);
	enum pm_status status;

	if (!pm_page_test(page, PM_PG_ANON) || pm_page_test(page, PM_PG_SWAPCACHE))
		return PM_OK;
	status = pm_swap_add(mig->call, mig->from);
	if (status) {
		mig->reason = PM_WHY_NO_SWAP;
		return status;
	}
	mig->slot_added = true;
	pm_move_count(&mig->call->m->move->swap_slots, 1);
	return PM_OK;
}

/// record_unmapped_address: under the table's lock and before the entry is cleared. A space that is ending is not recorded. False: no memory.
static bool record(struct pm_migration *mig, const struct pm_vma *vma, uint64_t addr, uint64_t bits)
{
	struct pm_host *host = &mig->call->m->host;

	if (atomic_load_explicit(&vma->space->exiting, memory_order_relaxed))
		return true;
	if (mig->nr_records == mig->room_records) {
		uint32_t room = mig->room_records ? 4 * mig->room_records : 8, i;
		struct pm_migration_record *records = pm_host_zalloc(host, room * sizeof(*records));

		if (!records)
			return false;
		for (i = 0; i < mig->nr_records; i++)
			records[i] = mig->records[i];
		pm_host_free(host, mig->records);
		mig->records = records;
		mig->room_records = room;
	}
	mig->records[mig->nr_records++] = (struct pm_migration_record){ vma->space->handle, addr, bits };
	return true;
}

struct walk {
	struct pm_rmap_visitor visitor;
	struct pm_migration *mig;
	uint32_t slot; ///< of an anonymous page
	enum pm_status status;
};

static enum pm_status may_unmap(struct pm_migration *mig, const struct pm_vma *vma, uint64_t addr, uint64_t bits)
{
	bool locked = atomic_load_explicit(&((struct pm_vma *)(uintptr_t)vma)->locked, memory_order_relaxed);

	if (pm_page_maybe_pinned(pm_page_of(mig->call->m, mig->from)))
		return pm_block_referenced(mig);
	if (locked && !(mig->flags & PM_MIGRATE_TOUCH) && !PM_PLANTED(MOVE_MLOCKED_UNMAPPED)) {
		mig->reason = PM_WHY_MLOCKED;
		return PM_ERR_BUSY;
	}
	/* On failure a page of a file is mapped again by its records; anonymous pages are found by their swap entries. */
	if (((mig->flags & PM_MIGRATE_TOUCH) || mig->mapping) && !record(mig, vma, addr, bits)) {
		mig->reason = PM_WHY_NO_MEMORY;
		return PM_ERR_NOMEM;
	}
	return PM_OK;
}

/// What an entry keeps beside its area's protection when the migration is undone.
static const uint64_t came_back = PM_PTE_WRITE | PM_PTE_YOUNG | PM_PTE_DIRTY;

static bool visit_unmap(struct pm_rmap_visitor *visitor, struct pm_vma *vma, uint64_t addr)
{
	struct walk *walk = (struct walk *)visitor;
	struct pm_migration *mig = walk->mig;
	struct pm_machine *m = visitor->call->m;
	struct pm_table *leaf;
	_Atomic uint64_t *entry;

	if (!pm_rmap_lock_entry(vma, addr, visitor->pfn, &leaf, &entry))
		return true;
	walk->status = may_unmap(mig, vma, addr, pm_pte_load(entry));
	if (!walk->status) {
		uint64_t before = pm_pte_exchange(entry, 0);

		if (mig->anon) {
			if (!PM_PLANTED(MOVE_NO_SWAP_COUNT))
				m->virt->hooks.swap->dup(m, walk->slot);
			/* What else the entry said goes along, in case it comes back. */
			pm_pte_store(entry, pm_pte_swap(walk->slot, (before & PM_PTE_EXCLUSIVE) != 0) | (before & came_back));
		}
		pm_block_taken(mig, vma, before);
	}
	pm_rmap_unlock_entry(leaf);
	return !walk->status && pm_page_mapcount(pm_page_of(m, visitor->pfn)) != 0;
}

static enum pm_status unmap(struct pm_migration *mig)
{
	struct pm_machine *m = mig->call->m;
	struct walk walk = { .visitor = { .visit = visit_unmap }, .mig = mig };
	enum pm_status status = pm_switch(mig->call, mig->from, mig->to, false);

	if (status) {
		mig->reason = PM_WHY_TRUNCATED;
		return status;
	}
	mig->slot_switched = true;
	mig->slot = walk.slot = pm_page_tag(m, mig->to);
	pm_block_walk(mig, &walk.visitor);
	if (!walk.status && pm_page_mapcount(pm_page_of(m, mig->from)) != 0)
		walk.status = pm_block_referenced(mig);
	return walk.status;
}

/// Only isolation's reference and the one that the old place left are there.
static bool drained(const struct pm_migration *mig)
{
	const struct pm_page *page = pm_page_of(mig->call->m, mig->from);

	return pm_page_refs(page) == 2 && pm_page_mapcount(page) == 0;
}

static void pause_once(struct pm_migration *mig)
{
	struct pm_waits *waits = mig->call->waits;

	/* Virtual time goes on, and what is due is done. */
	if (waits->idle)
		(void)waits->idle(waits->context);
	pm_yield(PM_AT_PAUSE, mig);
	if (!pm_scheduled())
		sched_yield();
}

/// The old frame is unlocked for a moment, so that whoever has found it before the switch gets on, sees that it is in no cache, and lets it go.
static void let_others_in(struct pm_migration *mig)
{
	pm_page_unlock(mig->call, mig->from);
	do
		pause_once(mig);
	while (!pm_page_trylock(mig->call->m, mig->from));
}

static enum pm_status settle(struct pm_migration *mig)
{
	bool short_wait = mig->mode == PM_MIGRATE_ASYNC || mig->call->nowait;
	unsigned int tries, most = short_wait ? PM_DRAIN_FAST : PM_DRAIN_SLOW;

	for (tries = 0; tries < most; tries++) {
		if (drained(mig)) {
			/* The old place's reference. */
			pm_page_put(mig->call, mig->from);
			mig->slot_switched = false;
			return PM_OK;
		}
		let_others_in(mig);
	}
	if (mig->stepped && mig->mode != PM_MIGRATE_ASYNC)
		return PM_ERR_INTR;
	return pm_block_referenced(mig);
}

/// The entry maps the source again, as it was. Never with more than the area allows by now. Under the table's lock.
static void give_back(struct pm_migration *mig, struct pm_vma *vma, _Atomic uint64_t *entry, uint64_t before)
{
	uint64_t bits = before & (came_back | PM_PTE_EXCLUSIVE);

	if (!(vma->prot & PM_PROT_WRITE))
		bits &= ~PM_PTE_WRITE;
	pm_block_given(mig, vma, mig->from);
	pm_pte_store(entry, pm_pte_make(mig->from, pm_vma_bits(vma) | bits));
}

/// The bits that a place's entry had, 0: it is not recorded.
static uint64_t recorded(const struct pm_migration *mig, const struct pm_vma *vma, uint64_t addr)
{
	uint32_t i;

	for (i = 0; i < mig->nr_records; i++)
		if (mig->records[i].space == vma->space->handle && mig->records[i].addr == addr)
			return mig->records[i].bits;
	return 0;
}

/// A page of a file left nothing behind: its entry is empty, and stays so, because who would fill it waits for the lock of one of the two frames.
static bool visit_restore_file(struct pm_rmap_visitor *visitor, struct pm_vma *vma, uint64_t addr)
{
	struct walk *walk = (struct walk *)visitor;
	struct pm_table *leaf = pm_table_leaf_of(vma->space->top, addr);
	uint64_t bits = leaf ? recorded(walk->mig, vma, addr) : 0;

	if (!bits)
		return true;
	pm_lock(&leaf->lock);
	if (pm_pte_load(pm_table_entry(leaf, addr)) == 0)
		give_back(walk->mig, vma, pm_table_entry(leaf, addr), bits);
	pm_unlock(&leaf->lock);
	return true;
}

static bool visit_restore(struct pm_rmap_visitor *visitor, struct pm_vma *vma, uint64_t addr)
{
	struct walk *walk = (struct walk *)visitor;
	struct pm_machine *m = visitor->call->m;
	struct pm_table *leaf = pm_table_leaf_of(vma->space->top, addr);
	_Atomic uint64_t *entry = leaf ? pm_table_entry(leaf, addr) : NULL;
	uint64_t pte;

	if (!entry || !pm_pte_is_swap(pm_pte_load(entry)))
		return true;
	pm_lock(&leaf->lock);
	pte = pm_pte_load(entry);
	if (pm_pte_is_swap(pte) && pm_pte_slot(pte) == walk->slot) {
		give_back(walk->mig, vma, entry, pte);
		m->virt->hooks.swap->put(m, walk->slot);
		if (PM_PLANTED(MOVE_SLOT_PUT_TWICE))
			m->virt->hooks.swap->put(m, walk->slot);
	}
	pm_unlock(&leaf->lock);
	return true;
}

/// After success there is nothing to do: faults find the destination. Rewind: the old frame takes its place again, the new one is marked "again" for whoever sleeps on
/// its lock, and the entries are put back.
static void remap(struct pm_migration *mig, struct pm_pfn target)
{
	struct pm_machine *m = mig->call->m;
	struct walk walk = { .visitor = { .visit = visit_restore }, .mig = mig };
	enum pm_status status;

	if (pm_pfn_eq(target, mig->to) || !mig->slot_switched)
		return;
	if (mig->dirty)
		pm_page_set_dirty(m, mig->to);
	(void)pm_page_set(pm_page_of(m, mig->to), PM_PG_AGAIN);
	walk.slot = pm_page_tag(m, mig->to);
	status = pm_switch(mig->call, mig->to, mig->from, false);
	/* The destination is locked: nobody else can have taken it out of its place. */
	PM_ASSERT(status == PM_OK);
	mig->slot_switched = false;
	/* Each has a reference now that its place gave it the first time. */
	pm_page_put(mig->call, mig->to);
	pm_page_put(mig->call, mig->from);
	if (mig->dirty)
		(void)pm_page_set(pm_page_of(m, mig->from), PM_PG_DIRTY);
	if (mig->mapping)
		walk.visitor.visit = visit_restore_file;
	if (mig->nr_maps)
		pm_block_walk(mig, &walk.visitor);
}

/// The slot was for this migration alone.
static void undo(struct pm_migration *mig)
{
	if (mig->slot_added && mig->locked_from)
		(void)mig->call->m->virt->hooks.swap->forget(mig->call, mig->from);
	mig->slot_added = false;
}

/// touch_unmapped_address: maps the page again at each recorded place by a read fault. A space that has ended, and an area that is gone, are passed over.
static void touch(struct pm_migration *mig)
{
	uint32_t i;

	for (i = 0; i < mig->nr_records && !mig->status; i++) {
		struct pm_space *space;

		if (pm_space_enter(mig->call, mig->records[i].space, &space) != PM_OK)
			continue;
		/* What it returns does not matter: the next access faults, as without it. */
		(void)pm_fault(mig->call, space, mig->records[i].addr, 0);
		pm_space_leave(mig->call, space);
	}
}

static void release(struct pm_migration *mig)
{
	struct pm_machine *m = mig->call->m;

	if (mig->flags & PM_MIGRATE_TOUCH)
		touch(mig);
	pm_host_free(&m->host, mig->records);
	mig->records = NULL;
	mig->nr_records = mig->room_records = 0;
	/* Detach the swap entry (REFERENCE section 1.10): it stays if a fork has doubled it, or an entry was not touched. By its slot: the page may have moved on. */
	if (mig->slot_added && !pm_pfn_is_nil(mig->to))
		pm_swap_drop_unnamed(m, mig->slot);
}

const struct pm_protocol pm_protocol_swap_cache = {
	.name = "swap-cache",
	.lazy = true,
	.prepare = prepare,
	.unmap = unmap,
	.settle = settle,
	.remap = remap,
	.undo = undo,
	.release = release,
};
