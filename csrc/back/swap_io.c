/// Swap's transfers.
#include "back/back.h"

static void write_done(struct pm_machine *m, struct pm_transfer *transfer, enum pm_status status)
{
	struct pm_page *page = pm_page_of(m, transfer->pfn);

	/* First what it is, then that it is over: whoever was waiting sees whether it is dirty still. */
	if (status)
		(void)pm_page_set(page, PM_PG_DIRTY | PM_PG_ERROR);
	pm_page_clear_and_wake(m, transfer->pfn, PM_PG_WRITEBACK);
	/* The last entry may have gone meanwhile. Only the slot is still known to be there: transfer->arg. */
	pm_swap_drop_unnamed(m, (uint32_t)transfer->arg);
}

enum pm_status pm_swap_write_out(struct pm_call *call, struct pm_pfn pfn)
{
	struct pm_machine *m = call->m;
	struct pm_swap *swap = &m->back->swap;
	struct pm_page *page = pm_page_of(m, pfn);
	uint32_t slot = pm_page_tag(m, pfn);
	struct pm_transfer *transfer = pm_transfer_make(m, PM_IO_WRITE, pfn);

	if (!transfer)
		return PM_ERR_NOMEM;
	PM_ASSERT_SLOW(pm_page_test(page, PM_PG_LOCKED) && pm_page_test(page, PM_PG_SWAPCACHE) && pm_page_mapcount(page) == 0);
	pm_transfer_aim(transfer, &swap->extent, slot);
	transfer->done = write_done;
	transfer->arg = slot;
	pm_lock(&swap->lock);
	swap->outs++;
	pm_unlock(&swap->lock);
	/* WRITEBACK first: a frame that is neither dirty nor being written could be dropped. */
	(void)pm_page_set(page, PM_PG_WRITEBACK);
	(void)pm_page_clear(page, PM_PG_DIRTY | PM_PG_ERROR);
	pm_back_count(m, PM_BE_SWAP_WRITE, 1);
	pm_transfer_submit(m, transfer);
	return PM_OK;
}

static void read_done(struct pm_machine *m, struct pm_transfer *transfer, enum pm_status status)
{
	struct pm_swap *swap = &m->back->swap;
	struct pm_page *page = pm_page_of(m, transfer->pfn);
	struct pm_call call = pm_back_call(m);

	if (!status) {
		(void)pm_page_set(page, PM_PG_UPTODATE);
		pm_page_clear_and_wake(m, transfer->pfn, PM_PG_LOCKED);
		pm_swap_drop_unnamed(m, (uint32_t)transfer->arg);
		return;
	}
	/* Who waits for it finds it outside of the cache and failed; the slot's contents may still be had another time. */
	(void)pm_page_set(page, PM_PG_ERROR);
	pm_lock(&swap->lock);
	pm_swap_leave_locked(m, swap, (uint32_t)transfer->arg, transfer->pfn);
	pm_unlock(&swap->lock);
	pm_page_clear_and_wake(m, transfer->pfn, PM_PG_LOCKED);
	pm_page_put(&call, transfer->pfn);
}

/// A fresh locked frame with a reference for the caller; and a transfer to fill it.
static enum pm_status prepare_read(struct pm_call *call, uint32_t slot, struct pm_transfer **ret, struct pm_pfn *ret_pfn)
{
	struct pm_machine *m = call->m;
	enum pm_status status = pm_page_alloc(call, 0, PM_GFP_HIGHUSER_MOVABLE, false, ret_pfn);

	if (status)
		return status;
	*ret = pm_transfer_make(m, PM_IO_READ, *ret_pfn);
	if (!*ret) {
		pm_page_put(call, *ret_pfn);
		return PM_ERR_NOMEM;
	}
	(*ret)->done = read_done;
	(*ret)->locks = true;
	(*ret)->arg = slot;
	/* What it belongs to is known once somebody maps it. */
	(void)pm_page_set(pm_page_of(m, *ret_pfn), PM_PG_ANON | PM_PG_LOCKED);
	return PM_OK;
}

/// Does the slot exist still, and has no frame?
static bool is_out(const struct pm_swap *swap, uint32_t slot) PM_REQUIRES(swap->lock)
{
	return slot < swap->nr_slots && swap->slot[slot].count && !swap->slot[slot].pfn_next;
}

/// Reads a slot that no frame has, and waits. Of two threads that try, one reads; the other finds its frame.
static enum pm_status read_slot(struct pm_call *call, uint32_t slot)
{
	struct pm_machine *m = call->m;
	struct pm_swap *swap = &m->back->swap;
	struct pm_transfer *transfer;
	struct pm_pfn pfn;
	enum pm_status status = prepare_read(call, slot, &transfer, &pfn);
	struct pm_page *page;
	bool entered;

	if (status)
		return status;
	page = pm_page_of(m, pfn);
	pm_lock(&swap->lock);
	entered = is_out(swap, slot);
	if (entered) {
		/* The slot kept the index of the page; the cache puts it where the frame's own is. */
		pm_page_set_tag(m, pfn, swap->slot[slot].index);
		pm_swap_enter_locked(m, swap, slot, pfn);
		/* Swap stays on from here: the slot is in use. */
		pm_transfer_aim(transfer, &swap->extent, slot);
		swap->ins++;
	}
	pm_unlock(&swap->lock);
	if (entered) {
		pm_lru_add(m, pfn);
		pm_back_count(m, PM_BE_SWAP_READ, 1);
		pm_transfer_submit(m, transfer);
		status = pm_page_wait(call, pfn, PM_PG_LOCKED);
		if (!status && pm_page_test(page, PM_PG_ERROR) && !pm_page_test(page, PM_PG_UPTODATE))
			status = PM_ERR_IO;
	} else {
		pm_transfer_free(m, transfer);
		pm_page_unlock(call, pfn);
	}
	pm_page_put(call, pfn);
	return status;
}

/// Locks the frame of a slot, to which the caller has a reference, and sees whether it is usable. PM_ERR_AGAIN: it left the cache.
static enum pm_status lock_cached(struct pm_call *call, uint32_t slot, struct pm_pfn pfn)
{
	struct pm_page *page = pm_page_of(call->m, pfn);
	enum pm_status status = pm_page_lock(call, pfn);

	if (status)
		return status;
	if ((!pm_page_test(page, PM_PG_SWAPCACHE) || pm_page_tag(call->m, pfn) != slot) && !PM_PLANTED(SWAP_NO_RELOOK))
		/* A frame whose read failed has left as well: each waiter is told, and may try again himself. */
		status = pm_page_test(page, PM_PG_ERROR) && !pm_page_test(page, PM_PG_UPTODATE) ? PM_ERR_IO : PM_ERR_AGAIN;
	else
		/* What is being written must not change meanwhile, and whoever gets the frame may map it for writing. */
		status = pm_page_wait(call, pfn, PM_PG_WRITEBACK);
	if (status)
		pm_page_unlock(call, pfn);
	return status;
}

enum pm_status pm_swap_in(struct pm_call *call, uint32_t slot, struct pm_pfn *ret)
{
	struct pm_machine *m = call->m;
	struct pm_swap *swap = &m->back->swap;

	for (;;) {
		enum pm_status status;
		bool out;

		if (pm_swap_cached(m, slot, ret)) {
			status = lock_cached(call, slot, *ret);
			if (!status)
				return PM_OK;
			pm_page_put(call, *ret);
			if (status != PM_ERR_AGAIN || call->nowait)
				return status;
			continue;
		}
		pm_lock(&swap->lock);
		out = is_out(swap, slot);
		pm_unlock(&swap->lock);
		if (!out) {
			/* Somebody has just brought it in, or the slot is free: the entry has changed then. */
			if (pm_swap_cached(m, slot, ret)) {
				pm_page_put(call, *ret);
				continue;
			}
			return PM_ERR_AGAIN;
		}
		status = read_slot(call, slot);
		if (status)
			return status;
	}
}
