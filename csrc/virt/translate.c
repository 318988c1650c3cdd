/// Translation for simulators: an address to a frame, with memory on first touch, in huge pages where there are such blocks.
///
/// A huge page is 2^PM_HUGE_ORDER frames in one aligned block behind a whole leaf table, mapped by ordinary entries: each of its pages has its own
/// counts, so migration, fork, reclaim and unmapping need not know. The leaf remembers the block (pm_table.block) until one of its entries is taken away.
#include <string.h>

#include "virt/fault.h"
#include "virt/reference.h"

_Static_assert((int)PM_HUGE_ORDER == (int)PM_TABLE_SHIFT && (int)PM_HUGE_ORDER <= (int)PM_MAX_ORDER, "a huge page fills a leaf, and a block can be as large");

/// As for transparent huge pages in Linux: taken where it is to be had, never reclaimed for.
static const uint32_t huge_gfp = (PM_GFP_HIGHUSER_MOVABLE & ~(PM_GFP_DIRECT_RECLAIM | PM_GFP_KSWAPD_RECLAIM)) | PM_GFP_COMP | PM_GFP_NOMEMALLOC | PM_GFP_NOWARN;

/// How much address space the first touch of an unmapped place maps: what lies in one aligned piece of this size and is not mapped yet.
#define PM_TOUCH_BYTES ((uint64_t)1 << 30)

#define PM_HUGE_BYTES ((uint64_t)1 << (PM_PAGE_SHIFT + PM_HUGE_ORDER))

enum { PM_TRANSLATE_ALL = PM_TRANSLATE_WRITE | PM_TRANSLATE_SMALL | PM_TRANSLATE_MAPPED };

struct translate {
	struct pm_call call;
	struct pm_space *space;
	uint64_t addr;
	uint32_t flags;
};

static bool is_write(const struct translate *t)
{
	return (t->flags & PM_TRANSLATE_WRITE) != 0;
}

/// One look at the entry, inside the CPU's epoch. False: a fault is needed.
static inline bool look(struct translate *t, struct pm_translation *ret)
{
	struct pm_table *leaf;
	bool found = false;

	pm_access_enter(&t->call);
	leaf = pm_table_leaf_of(t->space->top, t->addr);
	if (PM_LIKELY(leaf)) {
		_Atomic uint64_t *entry = pm_table_entry(leaf, t->addr);
		uint64_t pte = pm_pte_load(entry), need = pm_pte_need(is_write(t));

		found = PM_LIKELY((pte & need) == need) && PM_LIKELY(pm_pte_mark_access(entry, pte, is_write(t)));
		ret->pfn = pm_pte_pfn(pte).v;
		/* Who takes an entry away clears the block, then flushes: it waits until we are outside. */
		ret->order = pm_table_is_block(leaf) ? PM_HUGE_ORDER : 0;
	}
	pm_access_leave(&t->call);
	return found;
}

/// Maps what is not mapped around an address, so that it can be touched.
static enum pm_status map_around(struct translate *t) PM_NO_TSA
{
	enum pm_status status = pm_rwsem_write(&t->call, &t->space->lock);
	uint64_t page = t->addr >> PM_PAGE_SHIFT, start = t->addr & ~(PM_TOUCH_BYTES - 1), end = start + PM_TOUCH_BYTES;
	struct pm_vma *before, *after, *vma;
	struct pm_vma_model model;

	if (status)
		return status;
	if (!pm_vma_find(t->space, t->addr)) {
		before = pm_vma_of_node(pm_interval_before(&t->space->areas, page));
		after = pm_vma_of_node(pm_interval_at_or_after(&t->space->areas, page));
		if (before && pm_vma_end(before) > start)
			start = pm_vma_end(before);
		if (after && pm_vma_start(after) < end)
			end = pm_vma_start(after);
		model = (struct pm_vma_model){ .start = start, .pages = (end - start) >> PM_PAGE_SHIFT, .pgoff = start >> PM_PAGE_SHIFT, .prot = PM_PROT_READ | PM_PROT_WRITE };
		vma = pm_vma_make(&t->call, t->space, &model);
		if (vma) {
			pm_vma_insert(vma);
			pm_area_merge(&t->call, t->space, start, end);
		} else {
			status = PM_ERR_NOMEM;
		}
	}
	pm_rwsem_write_unlock(t->call.waits, &t->space->lock);
	return status;
}

/// May a huge page begin here? Its whole range is one private anonymous area's, and nothing of it was ever mapped.
static bool fits_huge(const struct translate *t, const struct pm_vma *vma)
{
	uint64_t start = t->addr & ~(PM_HUGE_BYTES - 1);

	return !(t->flags & PM_TRANSLATE_SMALL) && !vma->mapping && !vma->shared && (vma->prot & PM_PROT_WRITE) && pm_vma_start(vma) <= start &&
	       pm_vma_end(vma) >= start + PM_HUGE_BYTES && !pm_table_leaf_of(t->space->top, t->addr);
}

/// Maps the frames of a block, each as an anonymous page of the area. Under the table's lock.
static void map_block(struct translate *t, struct pm_vma *vma, struct pm_table *leaf, struct pm_pfn first)
{
	uint64_t bits = pm_vma_bits(vma) | PM_PTE_WRITE | PM_PTE_EXCLUSIVE;
	uint64_t addr = t->addr & ~(PM_HUGE_BYTES - 1);
	unsigned int i;

	for (i = 0; i < PM_TABLE_ENTRIES; i++, addr += PM_PAGE_SIZE) {
		struct pm_pfn pfn = pm_pfn(first.v + i);

		pm_fault_make_anon(t->call.m, vma, addr, pfn);
		pm_pte_store(&leaf->entry[i], pm_pte_make(pfn, bits));
	}
	pm_table_set_block(leaf, first);
	pm_lru_add_run(t->call.m, first, PM_TABLE_ENTRIES);
}

static bool is_empty(const struct pm_table *leaf)
{
	unsigned int i;

	for (i = 0; i < PM_TABLE_ENTRIES; i++)
		if (pm_pte_load(&leaf->entry[i]))
			return false;
	return true;
}

/// Tries to give the whole range of the leaf a block. What fails here is left to the ordinary fault; true: mapped.
static bool fault_huge(struct translate *t, struct pm_vma *vma)
{
	struct pm_machine *m = t->call.m;
	struct pm_table *leaf;
	struct pm_pfn first;
	uint64_t pfn;
	bool mapped;
	unsigned int i;

	if (pm_anon_prepare(&t->call, vma) || pm_host_fails(&m->host) || pm_alloc(m, t->call.cpu, PM_HUGE_ORDER, huge_gfp, &pfn))
		return false;
	if (pm_table_make_leaf(&t->call, t->space, t->addr, &leaf)) {
		enum pm_status status = pm_free(m, t->call.cpu, pfn, PM_HUGE_ORDER);

		PM_ASSERT(status == PM_OK);
		return false;
	}
	if (pm_has_contents(m))
		memset(pm_frame_bytes(m, pm_pfn(pfn)), 0, PM_HUGE_BYTES);
	pm_lock(&leaf->lock);
	mapped = is_empty(leaf);
	if (mapped) {
		enum pm_status status = pm_split(m, pfn, PM_HUGE_ORDER, 0);

		PM_ASSERT(status == PM_OK);
		first = pm_pfn(pfn);
		for (i = 0; i < PM_TABLE_ENTRIES; i++)
			pm_page_own(m, pm_pfn(first.v + i));
		map_block(t, vma, leaf, first);
	}
	pm_unlock(&leaf->lock);
	pm_count(&t->call, mapped ? PM_ME_ANON : PM_ME_RETRY);
	if (!mapped) {
		enum pm_status status = pm_free(m, t->call.cpu, pfn, PM_HUGE_ORDER);

		PM_ASSERT(status == PM_OK);
	}
	return mapped;
}

/// What a fault is about to do, by the entry that it meets.
static uint32_t fault_kind(const struct translate *t)
{
	struct pm_table *leaf = pm_table_leaf_of(t->space->top, t->addr);
	uint64_t pte = leaf ? pm_pte_load(pm_table_entry(leaf, t->addr)) : 0;

	if (!pte)
		return PM_TRANSLATED_TOUCH;
	return pm_pte_is_swap(pte) ? PM_TRANSLATED_SWAP : PM_TRANSLATED_OTHER;
}

/// Takes a step towards a translation.
static enum pm_status fault(struct translate *t, uint32_t *kind)
{
	enum pm_status status = pm_rwsem_read(&t->call, &t->space->lock);
	struct pm_vma *vma;

	if (status)
		return status;
	vma = pm_vma_find(t->space, t->addr);
	if (vma) {
		if (!*kind)
			*kind = fault_kind(t);
		if (!fits_huge(t, vma) || !fault_huge(t, vma))
			status = pm_fault_locked(&t->call, t->space, t->addr, is_write(t) ? PM_FAULT_WRITE : 0);
	}
	pm_rwsem_read_unlock(t->call.waits, &t->space->lock);
	if (vma)
		return status;
	return t->flags & PM_TRANSLATE_MAPPED ? PM_ERR_FAULT : map_around(t);
}

enum pm_status pm_translate(struct pm_machine *m, uint32_t cpu, uint64_t space, uint64_t addr, uint32_t flags, struct pm_translation *ret)
{
	struct translate t = { .addr = addr, .flags = flags };
	enum pm_status status;

	if (PM_UNLIKELY(flags & ~(uint32_t)PM_TRANSLATE_ALL))
		return PM_ERR_INVAL;
	if (PM_UNLIKELY(addr >> PM_VA_BITS))
		return PM_ERR_FAULT;
	status = pm_space_call(m, cpu, space, &t.call, &t.space);
	if (PM_UNLIKELY(status))
		return status;
	ret->kind = PM_TRANSLATED_HIT;
	while (PM_UNLIKELY(!look(&t, ret)) && !status)
		status = fault(&t, &ret->kind);
	pm_space_done(&t.call, t.space);
	return status;
}
