#include "virt/fault.h"

#include <string.h>

#include "virt/reference.h"

/// One fault, as it goes from function to function. The space is held for reading.
struct fault {
	struct pm_call *call;
	struct pm_vma *vma;
	uint64_t addr; ///< of the page
	bool write;
	bool unshare;
	struct pm_table *leaf;
	_Atomic uint64_t *entry;
	uint64_t pte; ///< the entry as it was when the fault began
};

static const uint32_t anon_gfp = PM_GFP_HIGHUSER_MOVABLE;

/// An mlocked area's page goes to the unevictable list.
static uint32_t lock_flags(const struct pm_vma *vma)
{
	return atomic_load_explicit(&((struct pm_vma *)(uintptr_t)vma)->locked, memory_order_relaxed) ? PM_PG_MLOCKED | PM_PG_UNEVICTABLE : 0;
}

void pm_fault_make_anon(struct pm_machine *m, struct pm_vma *vma, uint64_t addr, struct pm_pfn pfn)
{
	struct pm_page *page = pm_page_of(m, pfn);

	pm_page_set_mapping(page, pm_vma_anon(vma)->pooled.index);
	pm_page_set_tag(m, pfn, (uint32_t)pm_vma_index(vma, addr));
	/* Release: who sees the flags sees what it belongs to. */
	atomic_store_explicit(&page->flags, PM_PG_ANON | PM_PG_UPTODATE | PM_PG_DIRTY | lock_flags(vma), memory_order_release);
	atomic_store_explicit(&page->counts, PM_ONE_REF | PM_ONE_MAP, memory_order_relaxed);
}

/// The entry of an anonymous page that is this space's own.
static uint64_t own_entry(const struct fault *f, struct pm_pfn pfn)
{
	uint64_t bits = pm_vma_bits(f->vma) | PM_PTE_EXCLUSIVE | PM_PTE_YOUNG;

	if (f->vma->prot & PM_PROT_WRITE)
		bits |= PM_PTE_WRITE;
	return pm_pte_make(pfn, bits | (f->write ? PM_PTE_DIRTY : 0));
}

static enum pm_status fault_anon(struct fault *f)
{
	enum pm_status status = pm_anon_prepare(f->call, f->vma);
	struct pm_pfn pfn;
	bool mapped = false;

	if (status)
		return status;
	status = pm_page_alloc(f->call, 0, anon_gfp, true, &pfn);
	if (status)
		return status;
	pm_lock(&f->leaf->lock);
	if (pm_pte_load(f->entry) == 0 || PM_PLANTED(FAULT_NO_RECHECK)) {
		pm_fault_make_anon(f->call->m, f->vma, f->addr, pfn);
		pm_pte_store(f->entry, own_entry(f, pfn));
		pm_lru_add(f->call->m, pfn);
		mapped = true;
	}
	pm_unlock(&f->leaf->lock);
	pm_count(f->call, mapped ? PM_ME_ANON : PM_ME_RETRY);
	if (!mapped)
		pm_page_put(f->call, pfn);
	return PM_OK;
}

/// Puts a copy of `old` into the entry's place, if the entry is still `f->pte`. The caller holds a reference to `old`, and gives it back.
static enum pm_status copy_page(struct fault *f, struct pm_pfn old)
{
	struct pm_machine *m = f->call->m;
	enum pm_status status = pm_anon_prepare(f->call, f->vma);
	struct pm_pfn pfn;
	bool replaced = false, was_mapped = pm_pte_present(f->pte);

	if (status)
		return status;
	status = pm_page_alloc(f->call, 0, anon_gfp, false, &pfn);
	if (status)
		return status;
	if (pm_has_contents(m)) {
		pm_yield(PM_AT_COPY, pm_frame_bytes(m, old));
		memcpy(pm_frame_bytes(m, pfn), pm_frame_bytes(m, old), PM_PAGE_SIZE);
	}
	pm_lock(&f->leaf->lock);
	if ((pm_pte_load(f->entry) | PM_PTE_YOUNG) == (f->pte | PM_PTE_YOUNG) || PM_PLANTED(COW_NO_RECHECK)) {
		pm_fault_make_anon(m, f->vma, f->addr, pfn);
		/* The old frame has no reader of ours left before the new one has a writer: what one thread writes, all threads read. */
		if (was_mapped) {
			pm_table_break(f->leaf);
			(void)pm_pte_exchange(f->entry, 0);
			if (!PM_PLANTED(COW_NO_FLUSH))
				pm_tlb_flush(f->call, &f->vma->space->cpus);
		}
		pm_pte_store(f->entry, own_entry(f, pfn));
		pm_lru_add(m, pfn);
		replaced = true;
	}
	pm_unlock(&f->leaf->lock);
	pm_count(f->call, replaced ? PM_ME_COW_COPY : PM_ME_RETRY);
	if (!replaced) {
		pm_page_put(f->call, pfn);
	} else if (was_mapped) {
		uint64_t pfns[1] = { old.v };

		/* This area no longer locks the old page. If another does, reclaim finds that out. */
		if (lock_flags(f->vma) && pm_page_test(pm_page_of(m, old), PM_PG_MLOCKED))
			pm_lru_change(m, old, 0, PM_PG_MLOCKED | PM_PG_UNEVICTABLE);

		pm_page_unmap_many(f->call, 1, pfns);
	}
	return PM_OK;
}

/// Marks an entry as this space's own, and as writable if this is a write and the area allows it. Under the table's lock.
static void take_over(struct fault *f, uint64_t more)
{
	uint64_t bits = PM_PTE_EXCLUSIVE | PM_PTE_YOUNG | more;

	if (f->write)
		bits |= PM_PTE_WRITE | PM_PTE_DIRTY;
	(void)pm_pte_set_bits(f->entry, bits);
}

/// May a shared anonymous page be kept, because nobody else refers to it any more? With the frame locked.
static bool last_user(struct pm_call *call, struct pm_pfn pfn)
{
	struct pm_page *page = pm_page_of(call->m, pfn);

	if (PM_PLANTED(REUSE_IGNORES_REFS))
		return pm_page_mapcount(page) == 1;
	if (pm_page_refs(page) > 1u + pm_page_test(page, PM_PG_SWAPCACHE))
		return false;
	if (pm_page_test(page, PM_PG_SWAPCACHE) && !call->m->virt->hooks.swap->forget(call, pfn))
		return false;
	/* Acquire: partner of the release with which the others gave theirs back. What they read of the page comes before our write. */
	return pm_counts_refs(atomic_load_explicit(&page->counts, memory_order_acquire)) == 1;
}

/// A write to, or a pin of, a page that is mapped, but not writable or not this space's own.
static enum pm_status fault_own(struct fault *f)
{
	struct pm_machine *m = f->call->m;
	struct pm_pfn pfn = pm_pte_pfn(f->pte);
	struct pm_page *page = pm_page_of(m, pfn);
	enum pm_status status;
	bool reuse = false;

	pm_lock(&f->leaf->lock);
	f->pte = pm_pte_load(f->entry);
	if (!pm_pte_present(f->pte) || !pm_pfn_eq(pm_pte_pfn(f->pte), pfn)) {
		pm_unlock(&f->leaf->lock);
		return PM_OK;
	}
	if (pm_page_test(page, PM_PG_ANON)) {
		reuse = (f->pte & PM_PTE_EXCLUSIVE) != 0;
		/* A frame that somebody has locked is copied: the lock may be held for long, and nothing may be waited for here. */
		if (!reuse && PM_PLANTED(REUSE_NO_LOCK))
			reuse = pm_page_refs(page) == 1u + pm_page_test(page, PM_PG_SWAPCACHE);
		else if (!reuse && pm_page_trylock(m, pfn)) {
			reuse = last_user(f->call, pfn);
			pm_page_unlock(f->call, pfn);
		}
	}
	if (reuse)
		take_over(f, 0);
	else
		pm_page_get(page);
	pm_unlock(&f->leaf->lock);
	if (reuse) {
		pm_count(f->call, PM_ME_COW_REUSE);
		return PM_OK;
	}
	status = copy_page(f, pfn);
	pm_page_put(f->call, pfn);
	return status;
}

/// The first write to a page of a shared mapping since it was cleaned.
static enum pm_status fault_notify(struct fault *f)
{
	struct pm_machine *m = f->call->m;
	struct pm_mapping *mapping = f->vma->mapping;
	struct pm_pfn pfn = pm_pte_pfn(f->pte);
	struct pm_page *page = pm_page_of(m, pfn);
	enum pm_status status;

	pm_lock(&f->leaf->lock);
	f->pte = pm_pte_load(f->entry);
	if (!pm_pte_present(f->pte) || !pm_pfn_eq(pm_pte_pfn(f->pte), pfn)) {
		pm_unlock(&f->leaf->lock);
		return PM_OK;
	}
	pm_page_get(page);
	pm_unlock(&f->leaf->lock);
	status = pm_page_lock(f->call, pfn);
	if (!status) {
		/* Truncated meanwhile: the entry is gone too, and the next look finds that out. */
		if (pm_page_test(page, PM_PG_CACHE))
			status = mapping->ops->make_writable(f->call, mapping, pfn);
		if (!status) {
			uint64_t now;

			pm_lock(&f->leaf->lock);
			now = pm_pte_load(f->entry);
			if ((pm_pte_present(now) && pm_pfn_eq(pm_pte_pfn(now), pfn)) || PM_PLANTED(NOTIFY_NO_RECHECK)) {
				mapping->ops->set_dirty(mapping, pfn);
				(void)pm_pte_set_bits(f->entry, PM_PTE_WRITE | PM_PTE_DIRTY | PM_PTE_YOUNG);
				pm_count(f->call, PM_ME_NOTIFY);
			}
			pm_unlock(&f->leaf->lock);
		}
		pm_page_unlock(f->call, pfn);
	}
	pm_page_put(f->call, pfn);
	return status;
}

/// Maps a frame that is locked and referenced by the caller: the reference becomes the entry's. False: the entry has changed.
static bool map_locked(struct fault *f, struct pm_pfn pfn, uint64_t bits)
{
	struct pm_machine *m = f->call->m;
	bool mapped = false;

	pm_lock(&f->leaf->lock);
	if (pm_pte_load(f->entry) == f->pte || PM_PLANTED(MAP_NO_RECHECK)) {
		(void)pm_page_add_counts(pm_page_of(m, pfn), PM_ONE_MAP);
		pm_pte_store(f->entry, pm_pte_make(pfn, bits));
		if (lock_flags(f->vma))
			pm_lru_change(m, pfn, PM_PG_MLOCKED | PM_PG_UNEVICTABLE, 0);
		mapped = true;
	}
	pm_unlock(&f->leaf->lock);
	return mapped;
}

static enum pm_status fault_file(struct fault *f)
{
	struct pm_mapping *mapping = f->vma->mapping;
	struct pm_pfn pfn;
	enum pm_status status = mapping->ops->get_page(f->call, mapping, pm_vma_index(f->vma, f->addr), &pfn);
	uint64_t bits = pm_vma_bits(f->vma) | PM_PTE_YOUNG;
	bool mapped = false;

	if (status)
		return status;
	pm_count(f->call, PM_ME_FILE);
	if (f->write && !f->vma->shared) {
		/* A private page from the beginning: the file's own is never mapped. The copy is made with the frame locked, so that no truncate comes between. */
		status = copy_page(f, pfn);
	} else {
		if (f->write) {
			status = mapping->ops->make_writable(f->call, mapping, pfn);
			bits |= PM_PTE_WRITE | PM_PTE_DIRTY;
		}
		if (!status)
			mapped = map_locked(f, pfn, bits);
		if (mapped && f->write)
			mapping->ops->set_dirty(mapping, pfn);
	}
	pm_page_unlock(f->call, pfn);
	if (!mapped)
		pm_page_put(f->call, pfn);
	return status;
}

/// A page that came back from swap without being known as anybody's: it belongs to this area, or, if others name its slot as well, to the family.
static void adopt(struct fault *f, struct pm_pfn pfn)
{
	struct pm_page *page = pm_page_of(f->call->m, pfn);
	struct pm_anon *anon = pm_vma_anon(f->vma);

	if (pm_page_mapping(page))
		return;
	if (!(f->pte & PM_PTE_EXCLUSIVE))
		anon = atomic_load_explicit(&anon->root, memory_order_acquire);
	pm_page_set_mapping(page, anon->pooled.index);
}

static enum pm_status fault_swap(struct fault *f)
{
	const struct pm_swap_ops *swap = f->call->m->virt->hooks.swap;
	enum pm_status status = pm_anon_prepare(f->call, f->vma);
	uint64_t bits = pm_vma_bits(f->vma) | PM_PTE_YOUNG | (f->pte & PM_PTE_EXCLUSIVE);
	uint32_t slot = pm_pte_slot(f->pte);
	struct pm_pfn pfn;
	bool mapped;

	if (status)
		return status;
	status = swap->swap_in(f->call, slot, &pfn);
	if (status)
		/* AGAIN: the slot is free, so the entry has changed. */
		return status == PM_ERR_AGAIN && !f->call->nowait ? PM_OK : status;
	if ((f->pte & PM_PTE_EXCLUSIVE) && (f->vma->prot & PM_PROT_WRITE))
		bits |= PM_PTE_WRITE | (f->write ? PM_PTE_DIRTY : 0);
	adopt(f, pfn);
	mapped = map_locked(f, pfn, bits);
	if (mapped) {
		pm_count(f->call, PM_ME_SWAP);
		swap->put(f->call->m, slot);
		/* A page that will be written again soon has no use for its slot. */
		if (f->write)
			(void)swap->forget(f->call, pfn);
	}
	pm_page_unlock(f->call, pfn);
	if (!mapped)
		pm_page_put(f->call, pfn);
	return PM_OK;
}

/// Waits until the migration that put this entry there has replaced it, or for less: the caller looks at the entry again. Queued under the table's
/// lock, without a reference to the frame: a reference would make the migration fail. Who replaces the entry does so before he wakes us.
static enum pm_status wait_entry(struct fault *f)
{
	struct pm_pfn pfn = pm_pte_pfn(f->pte);
	bool by_frame = pm_pte_wait_of(f->pte) == PM_PTE_WAIT_FRAME;
	struct pm_waiter waiter = { .queued = false };
	enum pm_status status = PM_OK;
	bool wait;

	pm_lock(&f->leaf->lock);
	wait = pm_pte_load(f->entry) == f->pte || PM_PLANTED(MOVE_WAIT_NO_RECHECK);
	if (wait) {
		if (PM_PLANTED(MOVE_WAITER_REFERS))
			(void)pm_page_try_get(pm_page_of(f->call->m, pfn));
		pm_wait_prepare(f->call, &waiter, by_frame ? pm_page_key(pfn) : pm_area_key(f->vma, f->pte));
		if (by_frame)
			wait = (pm_page_set(pm_page_of(f->call->m, pfn), PM_PG_WAITERS) & PM_PG_LOCKED) != 0;
	}
	pm_unlock(&f->leaf->lock);
	if (wait)
		status = pm_call_sleep(f->call, &waiter);
	pm_wait_finish(f->call, &waiter);
	if (PM_PLANTED(MOVE_WAITER_REFERS) && waiter.key)
		pm_page_put(f->call, pfn);
	return status;
}

/// A page of this space is moving.
static enum pm_status fault_migration(struct fault *f)
{
	struct pm_space *space = f->vma->space;
	enum pm_status status;

	switch (pm_pte_wait_of(f->pte)) {
	case PM_PTE_WAIT_SEMAPHORE:
		status = pm_rwsem_read(f->call, &space->migrate);
		if (!status)
			pm_rwsem_read_unlock(f->call->waits, &space->migrate);
		return status;
	case PM_PTE_WAIT_TABLE:
		pm_lock(&f->leaf->lock);
		pm_unlock(&f->leaf->lock);
		return PM_OK;
	default:
		return wait_entry(f);
	}
}

/// Is the entry's page this space's own already, as a pin wants it?
static bool needs_unshare(const struct fault *f)
{
	return f->unshare && !(f->pte & PM_PTE_EXCLUSIVE) && !f->vma->shared;
}

static enum pm_status fault_present(struct fault *f)
{
	if ((f->write && !(f->pte & PM_PTE_WRITE)) || needs_unshare(f))
		return f->vma->shared ? fault_notify(f) : fault_own(f);
	/* The area allows reading, and the entry did not say so yet: mprotect() was here in between. */
	if (!(f->pte & PM_PTE_READ)) {
		pm_lock(&f->leaf->lock);
		if (pm_pte_load(f->entry) == f->pte)
			(void)pm_pte_set_bits(f->entry, PM_PTE_READ);
		pm_unlock(&f->leaf->lock);
	}
	return PM_OK;
}

enum pm_status pm_fault_locked(struct pm_call *call, struct pm_space *space, uint64_t addr, uint32_t flags)
{
	struct fault f = { .call = call, .addr = addr & ~(uint64_t)(PM_PAGE_SIZE - 1), .write = (flags & PM_FAULT_WRITE) != 0,
			   .unshare = (flags & PM_FAULT_UNSHARE) != 0 };
	enum pm_status status;

	f.vma = pm_vma_find(space, addr);
	if (!f.vma)
		return PM_ERR_FAULT;
	if (!pm_vma_allows(f.vma, f.write))
		return PM_ERR_ACCESS;
	status = pm_table_make_leaf(call, space, addr, &f.leaf);
	if (status)
		return status;
	f.entry = pm_table_entry(f.leaf, addr);
	f.pte = pm_pte_load(f.entry);
	if (f.pte == 0)
		return f.vma->mapping ? fault_file(&f) : fault_anon(&f);
	if (pm_pte_present(f.pte))
		return fault_present(&f);
	return pm_pte_is_swap(f.pte) ? fault_swap(&f) : fault_migration(&f);
}

enum pm_status pm_fault(struct pm_call *call, struct pm_space *space, uint64_t addr, uint32_t flags)
{
	enum pm_status status;

	if (addr >> PM_VA_BITS)
		return PM_ERR_FAULT;
	status = pm_rwsem_read(call, &space->lock);
	if (status)
		return status;
	status = pm_fault_locked(call, space, addr, flags);
	pm_rwsem_read_unlock(call->waits, &space->lock);
	return status;
}

/// How many faults a call with signals to look after takes at a time.
enum { PM_POPULATE_FAULTS = 8192 };

/// Is the page at `addr` there, as its area lets it be accessed?
static bool is_there(const struct pm_space *space, uint64_t addr, bool write)
{
	struct pm_table *leaf = pm_table_leaf_of(space->top, addr);
	uint64_t need = pm_pte_need(write);

	return leaf && (pm_pte_load(pm_table_entry(leaf, addr)) & need) == need;
}

enum pm_status pm_populate(struct pm_call *call, struct pm_space *space, uint64_t start, uint64_t end)
{
	enum pm_status status = PM_OK;
	uint64_t addr = start;
	uint32_t faults = 0;

	while (addr < end && !status) {
		struct pm_vma *vma;
		bool write;

		status = pm_rwsem_read(call, &space->lock);
		if (status)
			break;
		/* Holes, and areas that nobody may read, are passed over as a whole: they may be terabytes. */
		vma = pm_vma_first(space, addr, end);
		if (!vma) {
			addr = end;
		} else if (pm_vma_start(vma) > addr) {
			addr = pm_vma_start(vma);
		} else if (vma->prot == PM_PROT_NONE) {
			addr = pm_vma_end(vma);
		} else {
			write = (vma->prot & PM_PROT_WRITE) && !vma->shared;
			if (is_there(space, addr, write))
				addr += PM_PAGE_SIZE;
			/* A caller with signals gets his turn. Faults are counted, not pages: called again it gets further. */
			else if (call->limited && faults++ == PM_POPULATE_FAULTS)
				status = PM_ERR_INTR;
			else
				status = pm_fault_locked(call, space, addr, write ? PM_FAULT_WRITE : 0);
		}
		pm_rwsem_read_unlock(call->waits, &space->lock);
	}
	return status;
}
