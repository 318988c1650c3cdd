#include "virt/rmap.h"

#include "virt/gather.h"

/// A planted bug: the areas in the opposite order, children before their parents.
static bool walk_backwards(struct pm_rmap_visitor *visitor, struct pm_anon *anon, struct pm_interval *node, uint64_t index)
{
	struct pm_vma *vma;

	if (!node)
		return true;
	vma = PM_CONTAINER_OF(node, struct pm_anon_link, node)->vma;
	if (!walk_backwards(visitor, anon, pm_interval_next(&anon->links, node, index, index), index))
		return false;
	visitor->nr_visited++;
	return visitor->visit(visitor, vma, pm_vma_addr(vma, index));
}

void pm_rmap_walk_links(struct pm_rmap_visitor *visitor, struct pm_anon *anon, uint64_t index)
{
	struct pm_interval *node;

	if (PM_PLANTED(WALK_CHILD_FIRST)) {
		(void)walk_backwards(visitor, anon, pm_interval_first(&anon->links, index, index), index);
		return;
	}
	for (node = pm_interval_first(&anon->links, index, index); node; node = pm_interval_next(&anon->links, node, index, index)) {
		struct pm_vma *vma = PM_CONTAINER_OF(node, struct pm_anon_link, node)->vma;

		visitor->nr_visited++;
		if (!visitor->visit(visitor, vma, pm_vma_addr(vma, index)))
			break;
	}
}

void pm_rmap_walk_areas(struct pm_rmap_visitor *visitor, struct pm_mapping *mapping, uint64_t index)
{
	struct pm_interval *node;

	pm_rwsem_read_always(visitor->call, &mapping->lock);
	for (node = pm_interval_first(&mapping->areas, index, index); node; node = pm_interval_next(&mapping->areas, node, index, index)) {
		struct pm_vma *vma = PM_CONTAINER_OF(node, struct pm_vma, map_node);

		visitor->nr_visited++;
		if (!visitor->visit(visitor, vma, pm_vma_addr(vma, index)))
			break;
	}
	pm_rwsem_read_unlock(visitor->call->waits, &mapping->lock);
}

static void walk_anon(struct pm_rmap_visitor *visitor)
{
	struct pm_anon *anon = pm_anon_lock_read(visitor->call, visitor->pfn);

	if (!anon)
		return;
	pm_rmap_walk_links(visitor, anon, pm_page_index(visitor->call->m, visitor->pfn));
	pm_anon_unlock_read(visitor->call, anon);
}

static void walk_file(struct pm_rmap_visitor *visitor)
{
	struct pm_machine *m = visitor->call->m;
	uint32_t file = pm_page_mapping(pm_page_of(m, visitor->pfn));

	if (file)
		pm_rmap_walk_areas(visitor, pm_pool_at(m->virt->files, file), pm_page_tag(m, visitor->pfn));
}

uint64_t pm_page_index(struct pm_machine *m, struct pm_pfn pfn)
{
	/* In the swap cache the tag is the slot, and the swap device keeps the index. */
	if (pm_page_test(pm_page_of(m, pfn), PM_PG_SWAPCACHE))
		return m->virt->hooks.swap->index(m, pfn);
	return pm_page_tag(m, pfn);
}

void pm_rmap_walk(struct pm_rmap_visitor *visitor)
{
	uint32_t flags = pm_page_flags(pm_page_of(visitor->call->m, visitor->pfn));

	visitor->nr_visited = 0;
	if (flags & PM_PG_ANON)
		walk_anon(visitor);
	else if (flags & PM_PG_CACHE)
		walk_file(visitor);
}

bool pm_rmap_lock_entry(struct pm_vma *vma, uint64_t addr, struct pm_pfn pfn, struct pm_table **ret_leaf, _Atomic uint64_t **ret) PM_NO_TSA
{
	struct pm_table *leaf = pm_table_leaf_of(vma->space->top, addr);
	_Atomic uint64_t *entry;
	uint64_t pte;

	if (!leaf)
		return false;
	entry = pm_table_entry(leaf, addr);
	pte = pm_pte_load(entry);
	/* A look without the lock spares it where something else is mapped. */
	if (!pm_pte_present(pte) || !pm_pfn_eq(pm_pte_pfn(pte), pfn))
		return false;
	pm_lock(&leaf->lock);
	pte = pm_pte_load(entry);
	if ((pm_pte_present(pte) && pm_pfn_eq(pm_pte_pfn(pte), pfn)) || PM_PLANTED(WALK_NO_RECHECK)) {
		*ret_leaf = leaf;
		*ret = entry;
		return true;
	}
	pm_unlock(&leaf->lock);
	return false;
}

void pm_rmap_unlock_entry(struct pm_table *leaf) PM_NO_TSA
{
	pm_unlock(&leaf->lock);
}

struct referenced {
	struct pm_rmap_visitor visitor;
	uint32_t young;
	bool locked;
};

static bool visit_referenced(struct pm_rmap_visitor *visitor, struct pm_vma *vma, uint64_t addr)
{
	struct referenced *walk = (struct referenced *)visitor;
	struct pm_table *leaf;
	_Atomic uint64_t *entry;

	if (!pm_rmap_lock_entry(vma, addr, visitor->pfn, &leaf, &entry))
		return true;
	if (atomic_load_explicit(&vma->locked, memory_order_relaxed))
		walk->locked = true;
	if (pm_pte_clear_bits(entry, PM_PTE_YOUNG) & PM_PTE_YOUNG)
		walk->young++;
	pm_rmap_unlock_entry(leaf);
	return !walk->locked;
}

uint32_t pm_rmap_referenced(struct pm_call *call, struct pm_pfn pfn, bool *ret_locked)
{
	struct referenced walk = { .visitor = { .visit = visit_referenced, .call = call, .pfn = pfn } };

	pm_rmap_walk(&walk.visitor);
	*ret_locked = walk.locked;
	return walk.young;
}

/// A walk after which one flush is due for all the spaces in which it changed an entry.
struct flushing {
	struct pm_rmap_visitor visitor;
	struct pm_cpumask mask;
	bool changed;
	bool dirty;
	enum pm_status status;
};

static bool visit_clean(struct pm_rmap_visitor *visitor, struct pm_vma *vma, uint64_t addr)
{
	struct flushing *walk = (struct flushing *)visitor;
	struct pm_table *leaf;
	_Atomic uint64_t *entry;
	uint64_t before;

	if (!pm_rmap_lock_entry(vma, addr, visitor->pfn, &leaf, &entry))
		return true;
	before = pm_pte_clear_bits(entry, PM_PTE_WRITE | PM_PTE_DIRTY);
	if (before & (PM_PTE_WRITE | PM_PTE_DIRTY)) {
		walk->changed = true;
		walk->dirty |= (before & PM_PTE_DIRTY) != 0;
		pm_cpumask_or(&walk->mask, &vma->space->cpus, visitor->call->m->nr_cpus);
	}
	pm_rmap_unlock_entry(leaf);
	return true;
}

bool pm_rmap_clean(struct pm_call *call, struct pm_pfn pfn)
{
	struct flushing walk = { .visitor = { .visit = visit_clean, .call = call, .pfn = pfn } };

	pm_rmap_walk(&walk.visitor);
	/* Who unmaps the page at this moment may not have flushed yet, and no entry says where it was mapped. */
	if (atomic_load(&call->m->virt->unflushed)) {
		pm_cpumask_fill(&walk.mask, call->m->nr_cpus);
		walk.changed = true;
	}
	if (walk.changed && !PM_PLANTED(CLEAN_NO_FLUSH))
		pm_tlb_flush(call, &walk.mask);
	return walk.dirty;
}

/// What an entry becomes when reclaim takes its frame: a swap entry, or nothing.
static uint64_t reclaimed_entry(struct pm_machine *m, struct pm_pfn pfn, uint64_t before)
{
	uint32_t slot;

	if (!pm_page_test(pm_page_of(m, pfn), PM_PG_ANON))
		return 0;
	slot = pm_page_tag(m, pfn);
	m->virt->hooks.swap->dup(m, slot);
	return pm_pte_swap(slot, (before & PM_PTE_EXCLUSIVE) != 0);
}

static bool visit_unmap(struct pm_rmap_visitor *visitor, struct pm_vma *vma, uint64_t addr)
{
	struct flushing *walk = (struct flushing *)visitor;
	struct pm_machine *m = visitor->call->m;
	struct pm_page *page = pm_page_of(m, visitor->pfn);
	struct pm_table *leaf;
	_Atomic uint64_t *entry;
	uint64_t before;

	if (!pm_rmap_lock_entry(vma, addr, visitor->pfn, &leaf, &entry))
		return true;
	if (atomic_load_explicit(&vma->locked, memory_order_relaxed) && !PM_PLANTED(MLOCK_LOST))
		walk->status = PM_ERR_BUSY;
	/* Pins are taken under this lock, so what is not pinned now will not be pinned through this entry. */
	else if (pm_page_maybe_pinned(page) && !PM_PLANTED(RECLAIM_IGNORES_PINS))
		walk->status = PM_ERR_PINNED;
	if (!walk->status) {
		pm_table_break(leaf);
		before = pm_pte_exchange(entry, 0);
		pm_pte_store(entry, reclaimed_entry(m, visitor->pfn, before));
		walk->changed = true;
		walk->dirty |= (before & PM_PTE_DIRTY) != 0;
		pm_cpumask_or(&walk->mask, &vma->space->cpus, visitor->call->m->nr_cpus);
		/* The caller holds a reference, so these are not the last. */
		(void)pm_page_sub_counts(page, PM_ONE_REF | PM_ONE_MAP);
	}
	pm_rmap_unlock_entry(leaf);
	return !walk->status && pm_page_mapcount(page) != 0;
}

enum pm_status pm_rmap_unmap(struct pm_call *call, struct pm_pfn pfn)
{
	struct flushing walk = { .visitor = { .visit = visit_unmap, .call = call, .pfn = pfn } };
	struct pm_page *page = pm_page_of(call->m, pfn);

	pm_rmap_walk(&walk.visitor);
	if (walk.changed && !PM_PLANTED(RECLAIM_NO_FLUSH))
		pm_tlb_flush(call, &walk.mask);
	/* After the flush: the last write through an old entry is done. */
	if (walk.dirty && !PM_PLANTED(DIRTY_LOST))
		pm_page_set_dirty(call->m, pfn);
	if (walk.status == PM_ERR_BUSY)
		pm_lru_change(call->m, pfn, PM_PG_MLOCKED | PM_PG_UNEVICTABLE, 0);
	if (walk.status)
		return walk.status;
	return pm_page_mapcount(page) == 0 ? PM_OK : PM_ERR_AGAIN;
}

/// Unmaps the pages of a file in one area, between two page offsets.
static void unmap_area(struct pm_call *call, struct pm_vma *vma, uint64_t first, uint64_t last, bool even_private)
{
	uint64_t from = first > vma->pgoff ? first : vma->pgoff, area_last = vma->pgoff + pm_vma_pages(vma) - 1;
	uint64_t addr = pm_vma_addr(vma, from), end = pm_vma_addr(vma, (last < area_last ? last : area_last)) + PM_PAGE_SIZE;
	struct pm_machine *m = call->m;
	struct pm_table *leaf;

	while ((addr = pm_table_next_leaf(vma->space, addr, end, &leaf)) < end) {
		uint64_t stop = pm_table_leaf_end(addr, end), pfns[PM_TABLE_ENTRIES];
		bool noted = false;
		size_t n = 0;

		pm_lock(&leaf->lock);
		for (; addr < stop; addr += PM_PAGE_SIZE) {
			_Atomic uint64_t *entry = pm_table_entry(leaf, addr);
			uint64_t pte = pm_pte_load(entry);
			bool anon = pm_pte_present(pte) && pm_page_test(pm_page_of(m, pm_pte_pfn(pte)), PM_PG_ANON);

			if (!pte || (!even_private && (anon || !pm_pte_present(pte))))
				continue;
			if (pm_pte_present(pte))
				pm_gather_note(m->virt, pte, pm_page_of(m, pm_pte_pfn(pte)), &noted);
			pm_table_break(leaf);
			pte = pm_pte_exchange(entry, 0);
			if (pm_pte_is_swap(pte))
				m->virt->hooks.swap->put(m, pm_pte_slot(pte));
			if (!pm_pte_present(pte))
				continue;
			pfns[n++] = pm_pte_pfn(pte).v | ((pte & PM_PTE_DIRTY) && !anon ? PM_GATHER_DIRTY : 0);
		}
		pm_unlock(&leaf->lock);
		if (!n)
			continue;
		if (!PM_PLANTED(TRUNCATE_NO_FLUSH))
			pm_tlb_flush(call, &vma->space->cpus);
		pm_gather_noted(m->virt, &noted);
		pm_gather_give_back(call, n, pfns);
	}
}

void pm_rmap_unmap_file(struct pm_call *call, struct pm_mapping *mapping, uint64_t first, uint64_t nr, bool even_private)
{
	uint64_t last = first + nr - 1;
	struct pm_interval *node;

	if (!nr)
		return;
	pm_rwsem_read_always(call, &mapping->lock);
	for (node = pm_interval_first(&mapping->areas, first, last); node; node = pm_interval_next(&mapping->areas, node, first, last))
		unmap_area(call, PM_CONTAINER_OF(node, struct pm_vma, map_node), first, last, even_private);
	pm_rwsem_read_unlock(call->waits, &mapping->lock);
}
