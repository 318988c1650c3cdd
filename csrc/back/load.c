/// Owners for the frames of a snapshot that pm_load_blocks() has placed: each frame becomes the page that it was, at once and without a fault. One
/// thread, before the machine is used.
#include "back/file.h"
#include "virt/area.h"

/// A block of order 0 that is allocated and has no owner yet.
static enum pm_status check_frame(struct pm_machine *m, uint64_t pfn)
{
	uint32_t word;

	if (pfn >= m->nr_frames || !pm_zone_of(m, pfn))
		return PM_ERR_RANGE;
	word = pm_frame_word(pm_frame_of(m, pm_pfn(pfn)));
	if (pm_word_kind(word) == PM_FRAME_OWNED)
		return PM_ERR_OWNED;
	return pm_word_kind(word) == PM_FRAME_USED && pm_word_order(word) == 0 ? PM_OK : PM_ERR_ORDER;
}

/// What a state says of a frame's place in the lists by age.
static uint32_t age_flags(uint32_t state)
{
	return (state & PM_LOAD_ACTIVE ? PM_PG_ACTIVE : 0u) | (state & PM_LOAD_REFERENCED ? PM_PG_REFERENCED : 0u) |
	       (state & PM_LOAD_UNEVICTABLE ? PM_PG_MLOCKED | PM_PG_UNEVICTABLE : 0u);
}

/// Where an anonymous page goes.
struct place {
	struct pm_call *call;
	struct pm_vma *vma;
	struct pm_table *leaf; ///< of `addr`
	uint64_t addr;
};

/// The page of an area that it alone has, written to: as a first write leaves it.
static enum pm_status load_anon_page(struct place *at, struct pm_pfn pfn, uint32_t state)
{
	struct pm_machine *m = at->call->m;
	struct pm_page *page = pm_page_of(m, pfn);
	_Atomic uint64_t *entry = pm_table_entry(at->leaf, at->addr);
	uint64_t bits = pm_vma_bits(at->vma) | PM_PTE_EXCLUSIVE | PM_PTE_YOUNG;

	if (pm_pte_load(entry))
		return PM_ERR_BUSY;
	pm_page_own(m, pfn);
	pm_page_set_mapping(page, pm_vma_anon(at->vma)->pooled.index);
	pm_page_set_tag(m, pfn, (uint32_t)pm_vma_index(at->vma, at->addr));
	(void)pm_page_set(page, PM_PG_ANON | PM_PG_UPTODATE | PM_PG_DIRTY | age_flags(state));
	(void)pm_page_add_counts(page, PM_ONE_MAP);
	if (at->vma->prot & PM_PROT_WRITE)
		bits |= PM_PTE_WRITE;
	pm_lock(&at->leaf->lock);
	pm_pte_store(entry, pm_pte_make(pfn, bits | PM_PTE_DIRTY));
	pm_unlock(&at->leaf->lock);
	pm_lru_add(m, pfn);
	return PM_OK;
}

/// The area that holds all of the range, private and anonymous.
static enum pm_status find_area(struct pm_call *call, struct pm_space *space, uint64_t addr, uint64_t n, struct pm_vma **ret)
{
	*ret = pm_vma_find(space, addr);
	if (!*ret || n > (pm_vma_end(*ret) - addr) >> PM_PAGE_SHIFT)
		return PM_ERR_FAULT;
	if ((*ret)->mapping)
		return PM_ERR_ACCESS;
	return pm_anon_prepare(call, *ret);
}

static enum pm_status load_anon(struct pm_call *call, struct pm_space *space, uint64_t addr, size_t n, const uint64_t *pfns, const uint8_t *states, size_t *ret)
{
	struct place at = { .call = call, .addr = addr };
	enum pm_status status = find_area(call, space, addr, n, &at.vma);
	size_t i;

	for (i = 0; i < n && !status; i++, at.addr += PM_PAGE_SIZE) {
		if (!at.leaf || pm_table_slot(at.addr, 0) == 0)
			status = pm_table_make_leaf(call, space, at.addr, &at.leaf);
		if (!status)
			status = check_frame(call->m, pfns[i]);
		if (!status)
			status = load_anon_page(&at, pm_pfn(pfns[i]), states ? states[i] : 0);
		*ret += status == PM_OK;
	}
	return status;
}

enum pm_status pm_load_anon(struct pm_machine *m, uint32_t cpu, uint64_t handle, uint64_t addr, size_t n, const uint64_t *pfns, const uint8_t *states, size_t *ret)
{
	struct pm_space *space;
	struct pm_call call;
	enum pm_status status;

	*ret = 0;
	if ((addr & (PM_PAGE_SIZE - 1)) || addr >> PM_VA_BITS)
		return PM_ERR_INVAL;
	status = pm_space_call(m, cpu, handle, &call, &space);
	if (status)
		return status;
	status = pm_rwsem_read(&call, &space->lock);
	if (!status) {
		status = load_anon(&call, space, addr, n, pfns, states, ret);
		pm_rwsem_read_unlock(call.waits, &space->lock);
	}
	pm_space_done(&call, space);
	return status;
}

/// A page that was inserted, and is locked, gets what its state says. PM_ERR_NOMEM: it has less.
static enum pm_status mark_file_page(struct pm_call *call, struct pm_file *file, uint64_t index, struct pm_pfn pfn, uint32_t state)
{
	enum pm_status status = PM_OK;

	if (file->kind != PM_FS_RAM)
		status = pm_file_note_block(file, index);
	if (!status && (state & PM_LOAD_PRIVATE) && file->kind != PM_FS_RAM)
		status = pm_buffers_add(call, file, index, pfn);
	if (!status && (state & PM_LOAD_DIRTY))
		pm_file_set_dirty(&file->mapping, pfn);
	return status;
}

/// The page is read by a transfer that is under way, and keeps it locked until it ends.
static enum pm_status begin_read(struct pm_call *call, struct pm_file *file, uint64_t index, struct pm_pfn pfn)
{
	bool started = false;
	enum pm_status status = file->kind == PM_FS_RAM ? PM_OK : file->fs->read_page(call, file, index, pfn, &started);

	if (!started)
		pm_page_unlock(call, pfn);
	return status;
}

static enum pm_status load_file_page(struct pm_call *call, struct pm_file *file, uint64_t index, struct pm_pfn pfn, uint32_t state)
{
	struct pm_page *page = pm_page_of(call->m, pfn);
	enum pm_status status;

	pm_page_own(call->m, pfn);
	(void)pm_page_set(page, age_flags(state));
	status = pm_file_insert(file, index, PM_WANT_READ, pfn);
	if (status) {
		pm_page_put(call, pfn);
		return status;
	}
	pm_lru_add(call->m, pfn);
	status = mark_file_page(call, file, index, pfn, state);
	if (!status && (state & PM_LOAD_LOCKED)) {
		status = begin_read(call, file, index, pfn);
	} else {
		(void)pm_page_set(page, PM_PG_UPTODATE);
		pm_page_unlock(call, pfn);
	}
	pm_page_put(call, pfn);
	return status;
}

enum pm_status pm_load_file(struct pm_machine *m, uint32_t cpu, uint64_t handle, uint64_t first, size_t n, const uint64_t *pfns, const uint8_t *states, size_t *ret)
{
	struct pm_file *file;
	struct pm_call call;
	enum pm_status status = pm_file_begin(m, cpu, handle, &call, &file);
	size_t i;

	*ret = 0;
	if (status)
		return status;
	for (i = 0; i < n && !status; i++) {
		status = check_frame(m, pfns[i]);
		if (!status)
			status = load_file_page(&call, file, first + i, pm_pfn(pfns[i]), states ? states[i] : 0);
		/* Another page is at this place: somebody else's, or loaded twice. */
		if (status == PM_ERR_AGAIN)
			status = PM_ERR_BUSY;
		*ret += status == PM_OK;
	}
	pm_file_end(&call, file);
	return status;
}
