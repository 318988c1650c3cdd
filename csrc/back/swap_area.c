/// Swap on and off, and what it says about itself. swap_off.c brings the pages back.
#include "back/back.h"
#include "back/swap_off.h"

void pm_swap_init(struct pm_machine *m)
{
	pm_lock_init(&m->back->swap.lock, PM_RANK_SWAP);
}

/// From one state to another, if it is in that one.
static bool change_state(struct pm_swap *swap, enum pm_swap_state from, enum pm_swap_state to)
{
	bool changed;

	pm_lock(&swap->lock);
	changed = swap->state == (uint32_t)from;
	if (changed)
		swap->state = (uint32_t)to;
	pm_unlock(&swap->lock);
	return changed;
}

/// Frees what a swap area is made of. It is CHANGING, and nobody else looks.
static void free_parts(struct pm_machine *m, struct pm_swap *swap) PM_NO_TSA
{
	if (swap->extent.device)
		pm_extent_give(&swap->extent);
	if (swap->own)
		pm_device_end(m, swap->own);
	pm_host_free(&m->host, swap->slot);
	pm_host_free(&m->host, swap->used);
	swap->extent.device = NULL;
	swap->own = NULL;
	swap->slot = NULL;
	swap->used = NULL;
}

static enum pm_status take_device(struct pm_machine *m, struct pm_swap *swap, const struct pm_swap_options *options)
{
	struct pm_device_options memory = { .nr_blocks = options->nr_slots, .depth = 1, .contents = pm_has_contents(m) };
	enum pm_status status;

	if (options->device)
		return pm_extent_find(m, options->device, options->nr_slots, &swap->extent);
	status = pm_device_make(m, &memory, &swap->own);
	return status ? status : pm_extent_take(swap->own, options->nr_slots, &swap->extent);
}

/// With the area CHANGING.
static enum pm_status make_parts(struct pm_machine *m, struct pm_swap *swap, const struct pm_swap_options *options) PM_NO_TSA
{
	/* The device first: it says at once whether there is one. */
	enum pm_status status = take_device(m, swap, options);

	if (!status) {
		swap->slot = pm_host_zalloc(&m->host, options->nr_slots * sizeof(*swap->slot));
		swap->used = pm_host_zalloc(&m->host, (options->nr_slots + 63) / 64 * sizeof(*swap->used));
		if (!swap->slot || !swap->used)
			status = PM_ERR_NOMEM;
	}
	if (status)
		free_parts(m, swap);
	return status;
}

enum pm_status pm_swap_on(struct pm_machine *m, const struct pm_swap_options *options)
{
	struct pm_call call;
	struct pm_swap *swap;
	enum pm_status status = options->nr_slots == 0 || options->nr_slots > PM_NIL_PFN - 1u ? PM_ERR_INVAL : pm_back_begin(m, 0, &call);

	if (status)
		return status;
	swap = &m->back->swap;
	if (!change_state(swap, PM_SWAP_OFF, PM_SWAP_CHANGING)) {
		pm_call_end(&call);
		return PM_ERR_BUSY;
	}
	status = make_parts(m, swap, options);
	pm_lock(&swap->lock);
	swap->cursor = 0;
	swap->nr_used = swap->nr_cached = swap->entries = swap->outs = swap->ins = 0;
	swap->nr_slots = status ? 0 : (uint32_t)options->nr_slots;
	swap->state = status ? PM_SWAP_OFF : PM_SWAP_ON;
	pm_unlock(&swap->lock);
	pm_call_end(&call);
	return status;
}

/// Ends the area if nothing is in it any more: it is LEAVING, so nothing new comes.
static bool end_if_empty(struct pm_machine *m, struct pm_swap *swap)
{
	bool empty;

	pm_lock(&swap->lock);
	empty = swap->nr_used == 0;
	if (empty) {
		swap->nr_slots = 0;
		swap->state = PM_SWAP_CHANGING;
	}
	pm_unlock(&swap->lock);
	if (!empty)
		return false;
	free_parts(m, swap);
	(void)change_state(swap, PM_SWAP_CHANGING, PM_SWAP_OFF);
	return true;
}

enum pm_status pm_swap_off(struct pm_machine *m, uint32_t cpu)
{
	struct pm_call call;
	struct pm_swap *swap;
	enum pm_status status = pm_back_begin(m, cpu, &call);

	if (status)
		return status;
	swap = &m->back->swap;
	if (!change_state(swap, PM_SWAP_ON, PM_SWAP_LEAVING)) {
		pm_lock(&swap->lock);
		status = swap->state == PM_SWAP_OFF ? PM_ERR_NO_SWAP : PM_ERR_BUSY;
		pm_unlock(&swap->lock);
	} else {
		while (!status && !end_if_empty(m, swap))
			status = pm_swap_bring_back(&call);
		if (status)
			(void)change_state(swap, PM_SWAP_LEAVING, PM_SWAP_ON);
	}
	pm_call_end(&call);
	return status;
}

void pm_swap_deinit(struct pm_machine *m)
{
	struct pm_swap *swap = &m->back->swap;
	struct pm_call call = { .m = m, .waits = &m->virt->waits };
	bool ended;

	if (!change_state(swap, PM_SWAP_ON, PM_SWAP_LEAVING))
		return;
	/* No transfer is under way and no space is left, so nothing is waited for. */
	(void)pm_swap_drop_all_unnamed(&call);
	ended = end_if_empty(m, swap);
	PM_ASSERT(ended);
}

enum pm_status pm_swap_info(struct pm_machine *m, struct pm_swap_info *ret)
{
	struct pm_call call;
	struct pm_swap *swap;
	enum pm_status status = pm_back_begin(m, 0, &call);

	if (status)
		return status;
	swap = &m->back->swap;
	pm_lock(&swap->lock);
	*ret = (struct pm_swap_info){ .on = swap->nr_slots != 0, .leaving = swap->state == PM_SWAP_LEAVING, .nr_slots = swap->nr_slots,
				      .nr_used = swap->nr_used, .nr_cached = swap->nr_cached, .entries = swap->entries,
				      .outs = swap->outs, .ins = swap->ins,
				      .device = swap->nr_slots && !swap->own ? swap->extent.device->handle : 0 };
	pm_unlock(&swap->lock);
	pm_call_end(&call);
	return PM_OK;
}

enum pm_status pm_swap_slot_info(struct pm_machine *m, uint64_t slot, struct pm_swap_slot_info *ret)
{
	struct pm_call call;
	struct pm_swap *swap;
	enum pm_status status = pm_back_begin(m, 0, &call);

	if (status)
		return status;
	swap = &m->back->swap;
	pm_lock(&swap->lock);
	if (slot >= swap->nr_slots) {
		status = PM_ERR_RANGE;
	} else {
		const struct pm_swap_slot *at = &swap->slot[slot];

		*ret = (struct pm_swap_slot_info){ .used = swap->used[slot / 64] >> (slot % 64) & 1, .entries = at->count, .cached = at->pfn_next != 0,
						   .pfn = at->pfn_next ? at->pfn_next - 1u : 0, .block = pm_extent_block(&swap->extent, slot) };
	}
	pm_unlock(&swap->lock);
	pm_call_end(&call);
	return status;
}
