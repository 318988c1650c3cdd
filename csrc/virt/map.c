/// The calls that change areas: map, unmap, protect, mlock.
#include "virt/fault.h"
#include "virt/gather.h"
#include "virt/reference.h"

enum { PM_MAP_ALL = PM_MAP_SHARED | PM_MAP_FIXED | PM_MAP_LOCKED | PM_MAP_POPULATE };

/// Where maps are placed that name no address: not at 0, which callers take for "nowhere".
#define PM_MAP_BASE ((uint64_t)1 << 32)

/// Is [addr, addr + length) a range of whole pages inside the address space?
static bool range_ok(uint64_t addr, uint64_t length)
{
	uint64_t limit = (uint64_t)1 << PM_VA_BITS;

	return length != 0 && ((addr | length) & (PM_PAGE_SIZE - 1)) == 0 && addr <= limit && length <= limit - addr;
}

/// A public call that changes the areas of a space: held for writing.
static enum pm_status begin_change(struct pm_machine *m, uint32_t cpu, uint64_t handle, struct pm_call *call, struct pm_space **ret) PM_NO_TSA
{
	enum pm_status status = pm_space_call(m, cpu, handle, call, ret);

	if (status)
		return status;
	status = pm_rwsem_write(call, &(*ret)->lock);
	if (status)
		pm_space_done(call, *ret);
	return status;
}

static void end_change(struct pm_call *call, struct pm_space *space) PM_NO_TSA
{
	pm_rwsem_write_unlock(call->waits, &space->lock);
}

static enum pm_status check_request(const struct pm_map_request *request)
{
	if (!range_ok(request->flags & PM_MAP_FIXED ? request->addr : 0, request->length) || (request->offset & (PM_PAGE_SIZE - 1)) ||
	    (request->flags & ~(uint32_t)PM_MAP_ALL) || (request->prot & ~(uint32_t)(PM_PROT_READ | PM_PROT_WRITE)) ||
	    (!request->file && request->offset) || request->offset >> PM_PAGE_SHIFT > UINT32_MAX ||
	    (request->offset + request->length - 1) >> PM_PAGE_SHIFT > UINT32_MAX)
		return PM_ERR_INVAL;
	return PM_OK;
}

/// The file that a request maps, with one use for the caller; NULL for private anonymous memory.
static enum pm_status find_mapping(struct pm_call *call, const struct pm_map_request *request, struct pm_mapping **ret)
{
	const struct pm_virt_hooks *hooks = &call->m->virt->hooks;

	*ret = NULL;
	if (request->file)
		return hooks->find_file ? hooks->find_file(call->m, request->file, ret) : PM_ERR_HANDLE;
	if (request->flags & PM_MAP_SHARED)
		return hooks->shared_anon ? hooks->shared_anon(call, request->length >> PM_PAGE_SHIFT, ret) : PM_ERR_INVAL;
	return PM_OK;
}

/// With the space held for writing: makes room, and puts the area there.
static enum pm_status place_area(struct pm_call *call, struct pm_space *space, const struct pm_map_request *request, struct pm_mapping *mapping, uint64_t *ret)
{
	uint64_t pages = request->length >> PM_PAGE_SHIFT, addr = request->addr;
	struct pm_vma_model model = { .pages = pages, .prot = request->prot, .shared = (request->flags & PM_MAP_SHARED) != 0,
				      .locked = (request->flags & PM_MAP_LOCKED) != 0, .mapping = mapping };
	struct pm_vma *vma;

	if (!(request->flags & PM_MAP_FIXED)) {
		addr = pm_area_find_room(space, PM_MAP_BASE, pages);
		if (!addr)
			return PM_ERR_NO_BLOCK;
	}
	model.start = addr;
	model.pgoff = mapping ? request->offset >> PM_PAGE_SHIFT : addr >> PM_PAGE_SHIFT;
	vma = pm_vma_make(call, space, &model);
	if (!vma)
		return PM_ERR_NOMEM;
	if (request->flags & PM_MAP_FIXED) {
		enum pm_status status = pm_area_isolate(call, space, addr, addr + request->length);

		if (status) {
			pm_vma_destroy(call, vma);
			return status;
		}
		pm_area_unmap(call, space, addr, addr + request->length);
	}
	pm_vma_insert(vma);
	pm_area_merge(call, space, addr, addr + request->length);
	*ret = addr;
	return PM_OK;
}

enum pm_status pm_map(struct pm_machine *m, uint32_t cpu, uint64_t handle, const struct pm_map_request *request, uint64_t *ret)
{
	enum pm_status status = check_request(request);
	struct pm_mapping *mapping;
	struct pm_space *space;
	struct pm_call call;
	uint64_t addr = 0;

	if (status)
		return status;
	status = begin_change(m, cpu, handle, &call, &space);
	if (status)
		return status;
	status = find_mapping(&call, request, &mapping);
	if (!status) {
		status = place_area(&call, space, request, mapping, &addr);
		if (mapping)
			mapping->ops->put(&call, mapping);
	}
	end_change(&call, space);
	if (!status) {
		*ret = addr;
		if (request->flags & (PM_MAP_POPULATE | PM_MAP_LOCKED))
			status = pm_populate(&call, space, addr, addr + request->length);
	}
	pm_space_done(&call, space);
	return status;
}

enum pm_status pm_unmap(struct pm_machine *m, uint32_t cpu, uint64_t handle, uint64_t addr, uint64_t length)
{
	enum pm_status status = range_ok(addr, length) ? PM_OK : PM_ERR_INVAL;
	struct pm_space *space;
	struct pm_call call;

	if (!status)
		status = begin_change(m, cpu, handle, &call, &space);
	if (status)
		return status;
	status = pm_area_isolate(&call, space, addr, addr + length);
	if (!status)
		pm_area_unmap(&call, space, addr, addr + length);
	end_change(&call, space);
	pm_space_done(&call, space);
	return status;
}

bool pm_area_covers(const struct pm_space *space, uint64_t start, uint64_t end)
{
	const struct pm_vma *vma = pm_vma_first(space, start, end);
	uint64_t at = start;

	while (vma && pm_vma_start(vma) <= at) {
		at = pm_vma_end(vma);
		if (at >= end)
			return true;
		vma = pm_vma_next(vma, end);
	}
	return false;
}

/// Gives the entries of an area its new protection. Never more than they had: a write finds out anew whether it may.
static void protect_entries(struct pm_space *space, struct pm_vma *vma)
{
	uint64_t addr = pm_vma_start(vma), end = pm_vma_end(vma);
	struct pm_table *leaf;

	while ((addr = pm_table_next_leaf(space, addr, end, &leaf)) < end) {
		uint64_t stop = pm_table_leaf_end(addr, end);

		pm_lock(&leaf->lock);
		/* Its pages no longer translate alike. */
		if (stop - addr < (uint64_t)PM_TABLE_ENTRIES << PM_PAGE_SHIFT)
			pm_table_break(leaf);
		for (; addr < stop; addr += PM_PAGE_SIZE) {
			_Atomic uint64_t *entry = pm_table_entry(leaf, addr);
			uint64_t pte = pm_pte_load(entry);

			if (pm_pte_present(pte)) {
				(void)pm_pte_clear_bits(entry, PM_PTE_READ | PM_PTE_WRITE);
				if (vma->prot != PM_PROT_NONE)
					(void)pm_pte_set_bits(entry, PM_PTE_READ);
				if (PM_PLANTED(PROTECT_WIDENS) && (vma->prot & PM_PROT_WRITE))
					(void)pm_pte_set_bits(entry, PM_PTE_WRITE);
			} else if (pm_pte_is_migration(pte) && !PM_PLANTED(PROTECT_SKIPS_MOVING)) {
				pm_pte_store(entry, pte & ~PM_PTE_WRITE);
			}
		}
		pm_unlock(&leaf->lock);
	}
}

enum pm_status pm_protect(struct pm_machine *m, uint32_t cpu, uint64_t handle, uint64_t addr, uint64_t length, uint32_t prot)
{
	enum pm_status status = range_ok(addr, length) && !(prot & ~(uint32_t)(PM_PROT_READ | PM_PROT_WRITE)) ? PM_OK : PM_ERR_INVAL;
	uint64_t end = addr + length;
	struct pm_space *space;
	struct pm_call call;
	struct pm_vma *vma;

	if (!status)
		status = begin_change(m, cpu, handle, &call, &space);
	if (status)
		return status;
	status = pm_area_covers(space, addr, end) ? pm_area_isolate(&call, space, addr, end) : PM_ERR_FAULT;
	if (!status) {
		for (vma = pm_vma_first(space, addr, end); vma; vma = pm_vma_next(vma, end)) {
			vma->prot = prot;
			protect_entries(space, vma);
		}
		if (!PM_PLANTED(PROTECT_NO_FLUSH))
			pm_tlb_flush(&call, &space->cpus);
		pm_area_merge(&call, space, addr, end);
	}
	end_change(&call, space);
	pm_space_done(&call, space);
	return status;
}

/// Marks the pages that an area has already, or takes the mark away.
static void mark_locked(struct pm_call *call, struct pm_space *space, struct pm_vma *vma, bool locked)
{
	uint64_t addr = pm_vma_start(vma), end = pm_vma_end(vma);
	uint32_t flags = PM_PG_MLOCKED | PM_PG_UNEVICTABLE;
	struct pm_table *leaf;

	while ((addr = pm_table_next_leaf(space, addr, end, &leaf)) < end) {
		uint64_t stop = pm_table_leaf_end(addr, end);

		pm_lock(&leaf->lock);
		for (; addr < stop; addr += PM_PAGE_SIZE) {
			uint64_t pte = pm_pte_load(pm_table_entry(leaf, addr));

			if (pm_pte_present(pte))
				pm_lru_change(call->m, pm_pte_pfn(pte), locked ? flags : 0, locked ? 0 : flags);
		}
		pm_unlock(&leaf->lock);
	}
}

enum pm_status pm_mlock(struct pm_machine *m, uint32_t cpu, uint64_t handle, uint64_t addr, uint64_t length, bool locked)
{
	enum pm_status status = range_ok(addr, length) ? PM_OK : PM_ERR_INVAL;
	uint64_t end = addr + length;
	struct pm_space *space;
	struct pm_call call;
	struct pm_vma *vma;

	if (!status)
		status = begin_change(m, cpu, handle, &call, &space);
	if (status)
		return status;
	status = pm_area_covers(space, addr, end) ? pm_area_isolate(&call, space, addr, end) : PM_ERR_FAULT;
	if (!status) {
		for (vma = pm_vma_first(space, addr, end); vma; vma = pm_vma_next(vma, end)) {
			atomic_store_explicit(&vma->locked, locked, memory_order_relaxed);
			mark_locked(&call, space, vma, locked);
		}
		pm_area_merge(&call, space, addr, end);
	}
	end_change(&call, space);
	if (!status && locked)
		status = pm_populate(&call, space, addr, end);
	pm_space_done(&call, space);
	return status;
}
