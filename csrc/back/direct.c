/// Direct I/O: transfers between a pinned frame and a file's part of the device, past the page cache.
#include "back/file.h"
#include "virt/pin.h"
#include "virt/rmap.h"

/// A transfer that its caller comes back for.
struct pm_ticket {
	struct pm_pooled pooled;
	_Atomic uint32_t ended;	  ///< (A) 1 once `status` is there; whoever waits sleeps on our address
	enum pm_status status;	  ///< (C) once ended
	struct pm_pin_token *pin; ///< (C) of the frame; in use until the end
	struct pm_file *file;	  ///< (C) with a use, until the end
	uint64_t index;		  ///< (C)
	/// (A) The transfer under way, and the handle: the last of the two frees it.
	_Atomic uint32_t refs;
};

static void put_ticket(struct pm_machine *m, struct pm_ticket *ticket)
{
	if (atomic_fetch_sub_explicit(&ticket->refs, 1, memory_order_acq_rel) == 1)
		pm_pool_put(&m->back->transfers, ticket);
}

static void direct_done(struct pm_machine *m, struct pm_transfer *transfer, enum pm_status status)
{
	struct pm_ticket *ticket = transfer->owner;
	struct pm_call call = pm_back_call(m);

	ticket->status = status;
	/* Sequentially consistent: partner of the look in pm_direct_wait(). */
	atomic_store(&ticket->ended, 1);
	pm_pin_end_use(m, ticket->pin);
	if (atomic_fetch_sub(&ticket->file->nr_direct, 1) == 1)
		(void)pm_wake_all(&m->virt->waits, pm_wait_key(&ticket->file->nr_direct));
	pm_file_put(&call, ticket->file);
	(void)pm_wake_all(&m->virt->waits, pm_wait_key(ticket));
	put_ticket(m, ticket);
}

/// The cached page gets out of the way: what is dirty in it reaches the device first; a write makes it invalid.
static enum pm_status clear_cached(struct pm_call *call, struct pm_file *file, uint64_t index, struct pm_pfn pfn, bool write)
{
	enum pm_status status = pm_page_lock(call, pfn);
	struct pm_page *page = pm_page_of(call->m, pfn);

	if (status)
		return status;
	if (pm_file_has(file, index, pfn)) {
		status = pm_file_write_out(call, file, index, pfn);
		if (!status)
			status = pm_page_wait(call, pfn, PM_PG_WRITEBACK);
		if (!status && pm_page_test(page, PM_PG_DIRTY))
			status = PM_ERR_IO;
		if (!status && write) {
			if (pm_page_mapcount(page))
				pm_rmap_unmap_file(call, &file->mapping, index, 1, false);
			/* Written to once more until now, or pinned itself, or somebody looks at it. */
			if (!pm_file_evict(call, file, index, pfn))
				status = PM_ERR_BUSY;
		}
	}
	pm_page_unlock(call, pfn);
	return status;
}

/// With `change` held for reading: the file keeps its size, and nobody forgets its blocks.
static enum pm_status submit(struct pm_call *call, struct pm_ticket *ticket, uint32_t io)
{
	struct pm_machine *m = call->m;
	struct pm_file *file = ticket->file;
	struct pm_transfer *transfer;
	struct pm_pfn cached;
	enum pm_status status = PM_OK;

	if (ticket->index >= pm_pages_of(pm_file_size(file)))
		return PM_ERR_BEYOND;
	if (pm_file_cached(file, ticket->index, &cached)) {
		status = clear_cached(call, file, ticket->index, cached, io == PM_IO_WRITE);
		pm_page_put(call, cached);
	}
	if (status)
		return status;
	transfer = pm_transfer_make(m, io, pm_pin_pfn(ticket->pin));
	if (!transfer)
		return PM_ERR_NOMEM;
	pm_transfer_aim(transfer, &file->extent, ticket->index);
	transfer->done = direct_done;
	transfer->owner = ticket;
	/* Of a block that nothing was written to the device gives zeros, so the note may come first. */
	if (io == PM_IO_WRITE)
		status = pm_file_note_block(file, ticket->index);
	if (status) {
		pm_transfer_free(m, transfer);
		return status;
	}
	(void)atomic_fetch_add(&ticket->refs, 1);
	(void)atomic_fetch_add(&file->nr_direct, 1);
	pm_transfer_submit(m, transfer);
	return PM_OK;
}

enum pm_status pm_direct_wait_all(struct pm_call *call, struct pm_file *file)
{
	enum pm_status status = PM_OK;

	while (!status && atomic_load(&file->nr_direct) != 0) {
		struct pm_waiter waiter;

		pm_wait_prepare(call, &waiter, pm_wait_key(&file->nr_direct));
		if (atomic_load(&file->nr_direct) != 0)
			status = pm_call_sleep(call, &waiter);
		pm_wait_finish(call, &waiter);
	}
	return status;
}

static enum pm_status check(const struct pm_file *file, const struct pm_pin_token *pin, uint64_t offset, uint32_t io)
{
	if ((io != PM_IO_READ && io != PM_IO_WRITE) || (offset & (PM_PAGE_SIZE - 1)) || file->kind == PM_FS_RAM)
		return PM_ERR_INVAL;
	/* A device that writes to the frame: the space must have been allowed to, or it would write to what others see. */
	return io == PM_IO_READ && !pin->write ? PM_ERR_ACCESS : PM_OK;
}

/// A ticket with the uses it needs of the pin and the file, and no handle yet.
static enum pm_status make_ticket(struct pm_call *call, struct pm_file *file, uint64_t pin, struct pm_ticket **ret)
{
	struct pm_ticket *ticket = pm_pool_get(&call->m->back->transfers);
	enum pm_status status;

	if (!ticket)
		return PM_ERR_NOMEM;
	status = pm_pin_begin_use(call->m, pin, &ticket->pin);
	if (status) {
		pm_pool_put(&call->m->back->transfers, ticket);
		return status;
	}
	pm_file_get(file);
	ticket->file = file;
	atomic_store(&ticket->ended, 0);
	atomic_store(&ticket->refs, 1);
	*ret = ticket;
	return PM_OK;
}

/// Gives back a ticket whose transfer was never submitted.
static void drop_ticket(struct pm_call *call, struct pm_ticket *ticket)
{
	pm_pin_end_use(call->m, ticket->pin);
	pm_file_put(call, ticket->file);
	put_ticket(call->m, ticket);
}

static enum pm_status begin_transfer(struct pm_call *call, struct pm_file *file, struct pm_ticket *ticket, uint64_t offset, uint32_t io)
{
	enum pm_status status = check(file, ticket->pin, offset, io);

	if (status)
		return status;
	ticket->index = offset >> PM_PAGE_SHIFT;
	status = pm_rwsem_read(call, &file->change);
	if (status)
		return status;
	status = submit(call, ticket, io);
	pm_rwsem_read_unlock(call->waits, &file->change);
	return status;
}

enum pm_status pm_direct_io(struct pm_machine *m, uint32_t cpu, uint64_t pin, uint64_t handle, uint64_t offset, uint32_t io, uint64_t *ret)
{
	struct pm_ticket *ticket;
	struct pm_call call;
	struct pm_file *file;
	enum pm_status status = pm_file_begin(m, cpu, handle, &call, &file);

	if (status)
		return status;
	status = make_ticket(&call, file, pin, &ticket);
	if (!status) {
		status = begin_transfer(&call, file, ticket, offset, io);
		if (status)
			drop_ticket(&call, ticket);
		else
			*ret = pm_pool_publish(&m->back->transfers, ticket);
	}
	pm_file_end(&call, file);
	return status;
}

static enum pm_status wait_ended(struct pm_call *call, struct pm_ticket *ticket)
{
	enum pm_status status = PM_OK;

	while (!status && !atomic_load(&ticket->ended)) {
		struct pm_waiter waiter;

		pm_wait_prepare(call, &waiter, pm_wait_key(ticket));
		if (!atomic_load(&ticket->ended))
			status = pm_call_sleep(call, &waiter);
		pm_wait_finish(call, &waiter);
	}
	return status;
}

/// One reference more of a ticket that its handle still names; false: it does not.
static bool get_ticket(struct pm_machine *m, struct pm_ticket *ticket, uint64_t handle)
{
	uint32_t refs = atomic_load(&ticket->refs);

	while (refs != 0)
		if (atomic_compare_exchange_weak(&ticket->refs, &refs, refs + 1)) {
			if (pm_pool_is(&m->back->transfers, ticket, handle))
				return true;
			put_ticket(m, ticket);
			return false;
		}
	return false;
}

enum pm_status pm_direct_wait(struct pm_machine *m, uint32_t cpu, uint64_t handle)
{
	struct pm_ticket *ticket;
	struct pm_call call;
	enum pm_status status = pm_back_begin(m, cpu, &call);

	if (status)
		return status;
	ticket = pm_pool_find(&m->back->transfers, handle);
	if (!ticket || !get_ticket(m, ticket, handle)) {
		pm_call_end(&call);
		return PM_ERR_HANDLE;
	}
	status = wait_ended(&call, ticket);
	if (!status) {
		/* Of several that wait, one is told, and gives the handle's reference up. */
		if (pm_pool_unpublish(&m->back->transfers, ticket, handle)) {
			status = ticket->status;
			put_ticket(m, ticket);
		} else {
			status = PM_ERR_HANDLE;
		}
	}
	put_ticket(m, ticket);
	pm_call_end(&call);
	return status;
}

size_t pm_ticket_bytes(void)
{
	return sizeof(struct pm_ticket);
}

void pm_direct_end_all(struct pm_call *call)
{
	struct pm_pool *pool = &call->m->back->transfers;
	struct pm_ticket *ticket;
	uint32_t after = 0;

	while ((ticket = pm_pool_next(pool, after)) != NULL) {
		after = ticket->pooled.index;
		pm_pool_unpublish_any(pool, ticket);
		put_ticket(call->m, ticket);
	}
}
