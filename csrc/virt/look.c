/// Address spaces and owned frames, looked at from outside.
#include "virt/owner.h"
#include "virt/pin.h"
#include "virt/rmap.h"

/// Begins a call on a space and holds it for reading.
static enum pm_status begin_read(struct pm_machine *m, uint32_t cpu, uint64_t handle, struct pm_call *call, struct pm_space **ret) PM_NO_TSA
{
	enum pm_status status = pm_space_call(m, cpu, handle, call, ret);

	if (status)
		return status;
	status = pm_rwsem_read(call, &(*ret)->lock);
	if (status)
		pm_space_done(call, *ret);
	return status;
}

static void end_read(struct pm_call *call, struct pm_space *space) PM_NO_TSA
{
	pm_rwsem_read_unlock(call->waits, &space->lock);
	pm_space_done(call, space);
}

enum pm_status pm_lookup(struct pm_machine *m, uint32_t cpu, uint64_t handle, uint64_t addr, struct pm_pte_info *ret)
{
	struct pm_call call;
	struct pm_space *space;
	struct pm_table *leaf;
	enum pm_status status = begin_read(m, cpu, handle, &call, &space);
	uint64_t pte;

	if (status)
		return status;
	*ret = (struct pm_pte_info){ .kind = PM_PTE_NONE };
	if (addr >> PM_VA_BITS || !pm_vma_find(space, addr))
		status = PM_ERR_FAULT;
	leaf = status ? NULL : pm_table_leaf_of(space->top, addr);
	pte = leaf ? pm_pte_load(pm_table_entry(leaf, addr)) : 0;
	if (pte) {
		ret->kind = pm_pte_present(pte) ? PM_PTE_PRESENT : pm_pte_is_swap(pte) ? PM_PTE_SWAP : PM_PTE_MIGRATION;
		ret->writable = (pte & PM_PTE_WRITE) != 0;
		ret->young = (pte & PM_PTE_YOUNG) != 0;
		ret->dirty = (pte & PM_PTE_DIRTY) != 0;
		ret->exclusive = (pte & PM_PTE_EXCLUSIVE) != 0;
		ret->pfn = pm_pte_pfn(pte).v;
	}
	end_read(&call, space);
	return status;
}

static void describe_area(struct pm_machine *m, const struct pm_vma *vma, struct pm_area *ret)
{
	bool open = vma->mapping && pm_pool_is(m->virt->files, vma->mapping, vma->mapping->handle);

	*ret = (struct pm_area){ .start = pm_vma_start(vma),
				 .end = pm_vma_end(vma),
				 .prot = vma->prot,
				 .flags = (vma->shared ? PM_MAP_SHARED : 0u) |
					  (atomic_load_explicit(&((struct pm_vma *)(uintptr_t)vma)->locked, memory_order_relaxed) ? PM_MAP_LOCKED : 0u),
				 .file = open ? vma->mapping->handle : 0,
				 .offset = vma->pgoff << PM_PAGE_SHIFT };
}

enum pm_status pm_space_areas(struct pm_machine *m, uint32_t cpu, uint64_t handle, size_t n, struct pm_area *areas, size_t *ret)
{
	uint64_t end = (uint64_t)1 << PM_VA_BITS;
	struct pm_call call;
	struct pm_space *space;
	struct pm_vma *vma;
	enum pm_status status = begin_read(m, cpu, handle, &call, &space);
	size_t i = 0;

	if (status)
		return status;
	for (vma = pm_vma_first(space, 0, end); vma; vma = pm_vma_next(vma, end), i++)
		if (i < n)
			describe_area(m, vma, &areas[i]);
	*ret = i;
	end_read(&call, space);
	return PM_OK;
}

static void count_entries(struct pm_space *space, struct pm_space_info *ret)
{
	uint64_t addr = 0, end = (uint64_t)1 << PM_VA_BITS;
	struct pm_table *leaf;

	while ((addr = pm_table_next_leaf(space, addr, end, &leaf)) < end) {
		unsigned int i;

		for (i = 0; i < PM_TABLE_ENTRIES; i++) {
			uint64_t pte = pm_pte_load(&leaf->entry[i]);

			ret->present += pm_pte_present(pte);
			ret->swapped += pm_pte_is_swap(pte);
		}
		addr = pm_table_leaf_end(addr, end);
	}
}

enum pm_status pm_space_info(struct pm_machine *m, uint32_t cpu, uint64_t handle, struct pm_space_info *ret)
{
	uint64_t end = (uint64_t)1 << PM_VA_BITS;
	struct pm_call call;
	struct pm_space *space;
	struct pm_vma *vma;
	enum pm_status status = begin_read(m, cpu, handle, &call, &space);

	if (status)
		return status;
	*ret = (struct pm_space_info){ .tables = atomic_load_explicit(&space->nr_tables, memory_order_relaxed) + 1 };
	for (vma = pm_vma_first(space, 0, end); vma; vma = pm_vma_next(vma, end)) {
		ret->mapped += pm_vma_pages(vma);
		if (atomic_load_explicit(&vma->locked, memory_order_relaxed))
			ret->locked += pm_vma_pages(vma);
	}
	count_entries(space, ret);
	end_read(&call, space);
	return PM_OK;
}

static enum pm_use use_of(uint32_t flags)
{
	if (flags & PM_PG_ANON)
		return PM_USE_ANON;
	if (flags & PM_PG_CACHE)
		return PM_USE_FILE;
	if (flags & PM_PG_OWNER)
		return PM_USE_OWNER;
	return flags & PM_PG_TABLE ? PM_USE_TABLE : PM_USE_DETACHED;
}

/// Handle of the file or owner of a frame: a look that may be late by a moment.
static uint64_t object_of(struct pm_machine *m, uint32_t flags, uint32_t mapping)
{
	if ((flags & PM_PG_CACHE) && mapping)
		return ((struct pm_mapping *)pm_pool_at(m->virt->files, mapping))->handle;
	if ((flags & PM_PG_OWNER) && mapping)
		return ((struct pm_owner *)pm_pool_at(&m->virt->owners, mapping))->handle;
	return 0;
}

enum pm_status pm_page_info(struct pm_machine *m, uint64_t pfn, struct pm_page_info *ret)
{
	struct pm_page *page;
	uint64_t counts;

	if (!m->virt)
		return PM_ERR_STATE;
	if (!pm_zone_of(m, pfn) || pm_in_ranges(m->holes, m->nr_holes, pfn))
		return PM_ERR_RANGE;
	*ret = (struct pm_page_info){ .use = PM_USE_NONE };
	if (pm_word_kind(pm_frame_word(pm_frame_of(m, pm_pfn(pfn)))) != PM_FRAME_OWNED)
		return PM_OK;
	page = pm_page_of(m, pm_pfn(pfn));
	counts = pm_page_counts(page);
	ret->flags = pm_page_flags(page);
	ret->use = use_of(ret->flags);
	ret->references = pm_counts_refs(counts);
	ret->mapcount = pm_counts_maps(counts);
	ret->order = pm_page_order(m, pm_pfn(pfn));
	ret->object = object_of(m, ret->flags, pm_page_mapping(page));
	ret->index = pm_page_index(m, pm_pfn(pfn));
	if (ret->flags & PM_PG_SWAPCACHE)
		ret->swap_slot = pm_page_tag(m, pm_pfn(pfn));
	pm_pin_count(m, pm_pfn(pfn), ret->pins);
	return PM_OK;
}

const char *pm_page_flag_name(uint32_t bit)
{
	static const char *const names[] = { "locked", "waiters", "uptodate", "dirty", "writeback", "error", "lru", "active", "referenced", "unevictable", "mlocked",
					     "anon", "swapcache", "private", "cache", "owner", "movable_ops", "table", "isolated" };

	return bit < sizeof(names) / sizeof(names[0]) ? names[bit] : NULL;
}

struct listing {
	struct pm_rmap_visitor visitor;
	size_t room, n;
	struct pm_rmap_entry *entries;
};

static bool visit_list(struct pm_rmap_visitor *visitor, struct pm_vma *vma, uint64_t addr)
{
	struct listing *list = (struct listing *)visitor;
	struct pm_table *leaf;
	_Atomic uint64_t *entry;

	if (!pm_rmap_lock_entry(vma, addr, visitor->pfn, &leaf, &entry))
		return true;
	pm_rmap_unlock_entry(leaf);
	if (list->n < list->room)
		list->entries[list->n] = (struct pm_rmap_entry){ vma->space->handle, addr };
	list->n++;
	/* Every entry is seen once, so when all are found nothing is left. */
	return list->n < pm_page_mapcount(pm_page_of(visitor->call->m, visitor->pfn));
}

enum pm_status pm_rmap(struct pm_machine *m, uint32_t cpu, uint64_t pfn, size_t n, struct pm_rmap_entry *entries, size_t *ret, uint64_t *ret_visited)
{
	struct pm_call call;
	struct listing list = { .visitor = { .visit = visit_list, .call = &call, .pfn = pm_pfn(pfn) }, .room = n, .entries = entries };
	enum pm_status status = pm_call_begin(m, cpu, &call);

	if (status)
		return status;
	if (!pm_zone_of(m, pfn) || pm_in_ranges(m->holes, m->nr_holes, pfn))
		status = PM_ERR_RANGE;
	/* A frame that has no owner is mapped nowhere. A reference and the frame lock keep it what it is. */
	if (!status && pm_word_kind(pm_frame_word(pm_frame_of(m, pm_pfn(pfn)))) == PM_FRAME_OWNED && pm_page_try_get(pm_page_of(m, pm_pfn(pfn)))) {
		status = pm_page_lock(&call, pm_pfn(pfn));
		if (!status) {
			pm_rmap_walk(&list.visitor);
			pm_page_unlock(&call, pm_pfn(pfn));
		}
		pm_page_put(&call, pm_pfn(pfn));
	}
	if (!status) {
		*ret = list.n;
		if (ret_visited)
			*ret_visited = list.visitor.nr_visited;
	}
	pm_call_end(&call);
	return status;
}

void pm_memory_counters(struct pm_machine *m, struct pm_memory_counters *ret)
{
	uint64_t sum[PM_NR_ME] = { 0 };
	uint32_t cpu, event;

	for (cpu = 0; m->virt && cpu < m->nr_cpus; cpu++)
		for (event = 0; event < PM_NR_ME; event++)
			sum[event] += atomic_load_explicit(&m->virt->slots[cpu].event[event], memory_order_relaxed);
	*ret = (struct pm_memory_counters){ .fault_anon = sum[PM_ME_ANON],
					    .fault_file = sum[PM_ME_FILE],
					    .fault_swap = sum[PM_ME_SWAP],
					    .fault_cow_copy = sum[PM_ME_COW_COPY],
					    .fault_cow_reuse = sum[PM_ME_COW_REUSE],
					    .fault_notify = sum[PM_ME_NOTIFY],
					    .fault_retry = sum[PM_ME_RETRY],
					    .flushes = sum[PM_ME_FLUSH],
					    .flush_skipped = sum[PM_ME_FLUSH_SKIPPED],
					    .flush_waits = sum[PM_ME_FLUSH_WAIT],
					    .forks = sum[PM_ME_FORK],
					    .fork_pages = sum[PM_ME_FORK_PAGE],
					    .reclaim_calls = sum[PM_ME_RECLAIM],
					    .fault_migration = sum[PM_ME_MIGRATION] };
}
