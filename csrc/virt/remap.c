/// mremap: a mapping shrinks, grows where it is, or moves with its pages.
#include "virt/fault.h"
#include "virt/gather.h"

struct remap {
	struct pm_call *call;
	struct pm_space *space;
	struct pm_vma *vma; ///< exactly the old range, once it is cut out
	uint64_t addr, length, new_length;
	uint32_t flags;
	uint64_t new_addr;
};

/// Makes all tables that the moved entries need, so that nothing can fail half way.
static enum pm_status make_tables(struct remap *r, uint64_t pages)
{
	uint64_t addr = r->new_addr, end = r->new_addr + (pages << PM_PAGE_SHIFT);
	enum pm_status status = PM_OK;
	struct pm_table *leaf;

	for (; addr < end && !status; addr = pm_table_leaf_end(addr, end))
		status = pm_table_make_leaf(r->call, r->space, addr, &leaf);
	return status;
}

/// Moves one entry; both tables are locked (or are one).
static void move_entry(_Atomic uint64_t *from, _Atomic uint64_t *to)
{
	uint64_t pte = pm_pte_load(from);

	if (pte)
		pm_pte_store(to, pm_pte_exchange(from, 0));
}

/// Moves the entries of [addr, addr + pages) to the new place. The reverse maps are held, so no walk sees a page at neither place.
static void move_entries(struct remap *r, uint64_t pages) PM_NO_TSA
{
	uint64_t i;

	for (i = 0; i < pages; i++) {
		uint64_t from_addr = r->addr + (i << PM_PAGE_SHIFT), to_addr = r->new_addr + (i << PM_PAGE_SHIFT);
		struct pm_table *from = pm_table_leaf_of(r->space->top, from_addr), *to = pm_table_leaf_of(r->space->top, to_addr);

		if (!from || pm_pte_load(pm_table_entry(from, from_addr)) == 0)
			continue;
		pm_lock(&from->lock);
		if (from != to)
			pm_lock_nested(&to->lock, PM_RANK_TABLE_NESTED);
		pm_table_break(from);
		move_entry(pm_table_entry(from, from_addr), pm_table_entry(to, to_addr));
		if (from != to)
			pm_unlock_nested(&to->lock, PM_RANK_TABLE_NESTED);
		pm_unlock(&from->lock);
	}
}

/// Moves the area. Its pages keep their page offsets, so the reverse map finds them at the new place.
static enum pm_status move(struct remap *r) PM_NO_TSA
{
	uint64_t old_pages = pm_vma_pages(r->vma), new_pages = r->new_length >> PM_PAGE_SHIFT;
	struct pm_vma_model model = { .start = r->new_addr, .pages = new_pages, .pgoff = r->vma->pgoff, .prot = r->vma->prot, .shared = r->vma->shared,
				      .locked = atomic_load_explicit(&r->vma->locked, memory_order_relaxed), .mapping = r->vma->mapping };
	struct pm_vma *fresh = pm_vma_make(r->call, r->space, &model);
	struct pm_anon *root;
	enum pm_status status;

	if (!fresh)
		return PM_ERR_NOMEM;
	status = pm_anon_make_links(r->call, fresh, r->vma);
	if (!status)
		status = make_tables(r, old_pages);
	if (status) {
		/* Links that are on no map yet. */
		pm_anon_free_links(r->call, fresh);
		pm_vma_destroy(r->call, fresh);
		return status;
	}
	pm_anon_clone(r->call, fresh, r->vma);
	pm_vma_insert(fresh);
	if (model.mapping)
		pm_rwsem_write_always(r->call, &model.mapping->lock);
	root = PM_PLANTED(REMAP_NO_ANON_LOCK) ? NULL : pm_anon_lock_write(r->call, r->vma);
	move_entries(r, old_pages);
	/* Old translations end before the new place can be written through. */
	if (!PM_PLANTED(REMAP_NO_FLUSH))
		pm_tlb_flush(r->call, &r->space->cpus);
	if (!PM_PLANTED(REMAP_NO_ANON_LOCK))
		pm_anon_unlock_write(r->call, root);
	if (model.mapping)
		pm_rwsem_write_unlock(r->call->waits, &model.mapping->lock);
	pm_area_unmap(r->call, r->space, r->addr, r->addr + r->length);
	pm_area_merge(r->call, r->space, r->new_addr, r->new_addr + r->new_length);
	return PM_OK;
}

/// Is there room behind the area for it to grow to the new length?
static bool room_behind(const struct remap *r)
{
	uint64_t end = r->addr + r->length, new_end = r->addr + r->new_length;

	return r->new_length <= ((uint64_t)1 << PM_VA_BITS) - r->addr && !pm_vma_first(r->space, end, new_end);
}

/// Grows in place: a new area behind, alike, that merges with the old one.
static enum pm_status grow(struct remap *r)
{
	struct pm_vma_model model = { .start = r->addr + r->length, .pages = (r->new_length - r->length) >> PM_PAGE_SHIFT,
				      .pgoff = r->vma->pgoff + pm_vma_pages(r->vma), .prot = r->vma->prot, .shared = r->vma->shared,
				      .locked = atomic_load_explicit(&r->vma->locked, memory_order_relaxed), .mapping = r->vma->mapping };
	struct pm_vma *more = pm_vma_make(r->call, r->space, &model);

	if (!more)
		return PM_ERR_NOMEM;
	if (pm_anon_make_links(r->call, more, r->vma)) {
		pm_vma_destroy(r->call, more);
		return PM_ERR_NOMEM;
	}
	pm_anon_clone(r->call, more, r->vma);
	pm_vma_insert(more);
	pm_area_merge(r->call, r->space, r->addr, r->addr + r->new_length);
	return PM_OK;
}

/// Makes room at the place that PM_MAP_FIXED names.
static enum pm_status clear_target(struct remap *r)
{
	uint64_t end = r->new_addr + r->new_length;
	enum pm_status status = pm_area_isolate(r->call, r->space, r->new_addr, end);

	if (!status)
		pm_area_unmap(r->call, r->space, r->new_addr, end);
	return status;
}

/// With the space held for writing. `*ret` is where the mapping is then.
static enum pm_status remap_locked(struct remap *r, uint64_t *ret)
{
	uint64_t end = r->addr + r->length;
	enum pm_status status;

	r->vma = pm_vma_find(r->space, r->addr);
	if (!r->vma || pm_vma_end(r->vma) < end)
		return PM_ERR_FAULT;
	*ret = r->addr;
	if (!(r->flags & PM_MAP_FIXED) && r->new_length <= r->length) {
		if (r->new_length == r->length)
			return PM_OK;
		status = pm_area_isolate(r->call, r->space, r->addr + r->new_length, end);
		if (!status)
			pm_area_unmap(r->call, r->space, r->addr + r->new_length, end);
		return status;
	}
	/* Beyond what a frame's index can say. */
	if (pm_vma_index(r->vma, r->addr) + (r->new_length >> PM_PAGE_SHIFT) - 1 > UINT32_MAX)
		return PM_ERR_INVAL;
	if (!(r->flags & PM_MAP_FIXED) && pm_vma_end(r->vma) == end && room_behind(r)) {
		status = pm_area_isolate(r->call, r->space, r->addr, end);
		r->vma = pm_vma_find(r->space, r->addr);
		return status ? status : grow(r);
	}
	if (!(r->flags & (PM_MAP_FIXED | PM_MAP_MAYMOVE)))
		return PM_ERR_NO_BLOCK;
	if (r->flags & PM_MAP_FIXED) {
		/* What is beyond the new length does not move with it. */
		if (r->new_length < r->length) {
			status = pm_area_isolate(r->call, r->space, r->addr + r->new_length, end);
			if (status)
				return status;
			pm_area_unmap(r->call, r->space, r->addr + r->new_length, end);
			r->length = r->new_length;
			end = r->addr + r->length;
		}
		status = clear_target(r);
		if (status)
			return status;
	} else {
		r->new_addr = pm_area_find_room(r->space, (uint64_t)1 << 32, r->new_length >> PM_PAGE_SHIFT);
		if (!r->new_addr)
			return PM_ERR_NO_BLOCK;
	}
	status = pm_area_isolate(r->call, r->space, r->addr, end);
	if (status)
		return status;
	r->vma = pm_vma_find(r->space, r->addr);
	*ret = r->new_addr;
	return move(r);
}

enum pm_status pm_remap(struct pm_machine *m, uint32_t cpu, uint64_t handle, uint64_t addr, uint64_t length, uint64_t new_length, uint32_t flags,
			uint64_t new_addr, uint64_t *ret)
{
	uint64_t limit = (uint64_t)1 << PM_VA_BITS, place = 0;
	struct remap r = { .addr = addr, .length = length, .new_length = new_length, .flags = flags, .new_addr = new_addr };
	struct pm_call call;
	enum pm_status status;
	bool locked = false;

	if (((addr | length | new_length) & (PM_PAGE_SIZE - 1)) || !length || !new_length || addr > limit || length > limit - addr || new_length > limit ||
	    (flags & ~(uint32_t)(PM_MAP_FIXED | PM_MAP_MAYMOVE)))
		return PM_ERR_INVAL;
	/* Overlapping ranges too, as mremap(2): before anything is unmapped. */
	if ((flags & PM_MAP_FIXED) && ((new_addr & (PM_PAGE_SIZE - 1)) || new_addr > limit || new_length > limit - new_addr ||
				       (new_addr < addr + length && addr < new_addr + new_length)))
		return PM_ERR_INVAL;
	status = pm_space_call(m, cpu, handle, &call, &r.space);
	if (status)
		return status;
	r.call = &call;
	status = pm_rwsem_write(&call, &r.space->lock);
	if (!status) {
		status = remap_locked(&r, &place);
		if (!status && new_length > length)
			locked = atomic_load_explicit(&pm_vma_find(r.space, place)->locked, memory_order_relaxed);
		pm_rwsem_write_unlock(call.waits, &r.space->lock);
	}
	if (!status) {
		*ret = place;
		if (locked)
			status = pm_populate(&call, r.space, place + length, place + new_length);
	}
	pm_space_done(&call, r.space);
	return status;
}
