#include "virt/pin.h"

#include "virt/fault.h"
#include "virt/reference.h"

/// Is the page there as the pin wants it? Then takes the references, under the table's lock. The space is held.
static bool try_pin(struct pm_call *call, const struct pm_vma *vma, uint64_t addr, uint32_t kind, bool write, struct pm_pfn *ret)
{
	struct pm_table *leaf = pm_table_leaf_of(vma->space->top, addr);
	uint64_t need = pm_pte_need(write);
	_Atomic uint64_t *entry;
	struct pm_page *page;
	uint64_t pte;
	bool pinned = false;

	if (!leaf)
		return false;
	pm_lock(&leaf->lock);
	entry = pm_table_entry(leaf, addr);
	pte = pm_pte_load(entry);
	if ((pte & need) == need) {
		page = pm_page_of(call->m, pm_pte_pfn(pte));
		/* What stays pinned has to stay what the space sees: in a private mapping it must be its own, or the next write would take a copy. */
		if (kind == PM_PIN_SHORT || (pte & PM_PTE_EXCLUSIVE) || vma->shared) {
			(void)atomic_fetch_add(&page->counts, pm_pin_refs(kind) * PM_ONE_REF);
			(void)atomic_fetch_or(entry, pm_pte_mark(write));
			*ret = pm_pte_pfn(pte);
			pinned = true;
		}
	}
	pm_unlock(&leaf->lock);
	return pinned;
}

static enum pm_status pin_frame(struct pm_call *call, struct pm_space *space, uint64_t addr, uint32_t kind, bool write, struct pm_pfn *ret)
{
	uint32_t flags = write ? PM_FAULT_WRITE : kind == PM_PIN_SHORT ? 0 : PM_FAULT_UNSHARE;
	enum pm_status status = PM_OK;
	bool pinned = false;

	if (addr >> PM_VA_BITS)
		return PM_ERR_FAULT;
	while (!status && !pinned) {
		struct pm_vma *vma;

		status = pm_rwsem_read(call, &space->lock);
		if (status)
			return status;
		vma = pm_vma_find(space, addr);
		if (!vma)
			status = PM_ERR_FAULT;
		else if (!pm_vma_allows(vma, write))
			status = PM_ERR_ACCESS;
		else
			pinned = try_pin(call, vma, addr, kind, write, ret);
		if (!status && !pinned)
			status = pm_fault_locked(call, space, addr, flags);
		pm_rwsem_read_unlock(call->waits, &space->lock);
	}
	return status;
}

enum pm_status pm_pin_page(struct pm_call *call, struct pm_space *space, uint64_t addr, uint32_t kind, bool write, struct pm_pin_token **ret, uint64_t *ret_handle)
{
	struct pm_pin_token *pin = pm_pool_get(&call->m->virt->pins);
	enum pm_status status;
	struct pm_pfn pfn;

	if (!pin)
		return PM_ERR_NOMEM;
	atomic_store_explicit(&pin->kind, kind, memory_order_relaxed);
	pin->write = write;
	atomic_store_explicit(&pin->busy, 0, memory_order_relaxed);
	status = pin_frame(call, space, addr, kind, write, &pfn);
	if (status) {
		pm_pool_put(&call->m->virt->pins, pin);
		return status;
	}
	atomic_store_explicit(&pin->frame, pfn.v, memory_order_relaxed);
	*ret_handle = pm_pool_publish(&call->m->virt->pins, pin);
	*ret = pin;
	return PM_OK;
}

/// Gives the references of a pin back whose handle is gone.
static void drop(struct pm_call *call, struct pm_pin_token *pin)
{
	struct pm_pfn pfn = pm_pin_pfn(pin);
	uint32_t kind = pm_pin_kind(pin);

	if (pin->write)
		pm_page_set_dirty(call->m, pfn);
	pm_pool_put(&call->m->virt->pins, pin);
	pm_page_put_refs(call, pfn, pm_pin_refs(kind));
}

enum pm_status pm_pin_begin_use(struct pm_machine *m, uint64_t handle, struct pm_pin_token **ret)
{
	struct pm_pin_token *pin = pm_pool_find(&m->virt->pins, handle);

	if (!pin)
		return PM_ERR_HANDLE;
	(void)atomic_fetch_add(&pin->busy, 1);
	if (!pm_pool_is(&m->virt->pins, pin, handle)) {
		(void)atomic_fetch_sub(&pin->busy, 1);
		return PM_ERR_HANDLE;
	}
	*ret = pin;
	return PM_OK;
}

void pm_pin_end_use(struct pm_machine *m, struct pm_pin_token *pin)
{
	if (atomic_fetch_sub(&pin->busy, 1) == 1)
		(void)pm_wake_all(&m->virt->waits, pm_wait_key(pin));
}

/// Waits for the transfers of a pin.
static enum pm_status wait_idle(struct pm_call *call, struct pm_pin_token *pin)
{
	enum pm_status status = PM_OK;

	while (!status && atomic_load(&pin->busy) != 0) {
		struct pm_waiter waiter;

		pm_wait_prepare(call, &waiter, pm_wait_key(pin));
		if (atomic_load(&pin->busy) != 0)
			status = pm_call_sleep(call, &waiter);
		pm_wait_finish(call, &waiter);
	}
	return status;
}

enum pm_status pm_unpin(struct pm_machine *m, uint32_t cpu, uint64_t handle)
{
	struct pm_call call;
	enum pm_status status = pm_call_begin(m, cpu, &call);
	struct pm_pin_token *pin;

	if (status)
		return status;
	pin = pm_pool_find(&m->virt->pins, handle);
	status = pin ? wait_idle(&call, pin) : PM_ERR_HANDLE;
	if (!status && !pm_pool_unpublish(&m->virt->pins, pin, handle))
		status = PM_ERR_HANDLE;
	if (!status) {
		/* No new use begins. One that had begun before the handle went keeps the frame until it ends, and we with it. */
		call.limited = false;
		if (!wait_idle(&call, pin))
			drop(&call, pin);
	}
	pm_call_end(&call);
	return status;
}

enum pm_status pm_pin(struct pm_machine *m, uint32_t cpu, uint64_t handle, uint64_t addr, uint32_t kind, bool write, uint64_t *ret_pfn, uint64_t *ret)
{
	struct pm_call call;
	struct pm_space *space;
	struct pm_pin_token *pin;
	enum pm_status status;

	if (kind < PM_PIN_SHORT || kind > PM_PIN_LONG)
		return PM_ERR_INVAL;
	status = pm_space_call(m, cpu, handle, &call, &space);
	if (status)
		return status;
	status = pm_pin_page(&call, space, addr, kind, write, &pin, ret);
	if (!status)
		*ret_pfn = pm_pin_pfn(pin).v;
	pm_space_done(&call, space);
	return status;
}

enum pm_status pm_window(struct pm_machine *m, uint32_t cpu, uint64_t handle, uint64_t addr, bool write, void **ret_bytes, uint64_t *ret)
{
	struct pm_call call;
	struct pm_space *space;
	struct pm_pin_token *pin;
	enum pm_status status = pm_space_call(m, cpu, handle, &call, &space);

	if (status)
		return status;
	if (!pm_has_contents(m))
		status = PM_ERR_NO_CONTENTS;
	if (!status)
		status = pm_pin_page(&call, space, addr, PM_PIN_WINDOW, write, &pin, ret);
	if (!status)
		*ret_bytes = pm_frame_bytes(m, pm_pin_pfn(pin));
	pm_space_done(&call, space);
	return status;
}

void pm_pin_end_all(struct pm_call *call)
{
	struct pm_pool *pins = &call->m->virt->pins;
	struct pm_pin_token *pin;
	uint32_t after = 0;

	while ((pin = pm_pool_next(pins, after)) != NULL) {
		after = pin->pooled.index;
		pm_pool_unpublish_any(pins, pin);
		drop(call, pin);
	}
}

void pm_pin_count(struct pm_machine *m, struct pm_pfn pfn, uint32_t *counts)
{
	struct pm_pin_token *pin;
	uint32_t after = 0;

	while ((pin = pm_pool_next(&m->virt->pins, after)) != NULL) {
		after = pin->pooled.index;
		if (pm_pfn_eq(pm_pin_pfn(pin), pfn) && pm_pin_kind(pin) <= PM_PIN_WINDOW)
			counts[pm_pin_kind(pin)]++;
	}
}
