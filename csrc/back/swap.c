/// Slots and the swap cache: what is done in memory. swap_io.c reads and writes, swap_area.c turns swap on and off.
#include "back/back.h"

/// Places free slots from the cursor on, then from the beginning. UINT32_MAX: there is none.
static uint32_t find_free(const struct pm_swap *swap) PM_REQUIRES(swap->lock)
{
	uint32_t words = (swap->nr_slots + 63) / 64, first = swap->cursor / 64, i;
	/* Slots before the cursor come last: the first word is looked at twice. */
	uint64_t mask = ~(uint64_t)0 << (swap->cursor % 64);

	for (i = 0; i <= words; i++) {
		uint32_t word = (first + i) % words;
		uint64_t room = ~swap->used[word] & mask;

		mask = ~(uint64_t)0;
		if (room) {
			uint32_t slot = word * 64 + (uint32_t)__builtin_ctzll(room);

			if (slot < swap->nr_slots)
				return slot;
		}
	}
	return UINT32_MAX;
}

static void free_slot(struct pm_swap *swap, uint32_t slot) PM_REQUIRES(swap->lock)
{
	swap->used[slot / 64] &= ~((uint64_t)1 << (slot % 64));
	swap->nr_used--;
}

void pm_swap_enter_locked(struct pm_machine *m, struct pm_swap *swap, uint32_t slot, struct pm_pfn pfn)
{
	struct pm_page *page = pm_page_of(m, pfn);

	swap->slot[slot].pfn_next = pfn.v + 1;
	swap->slot[slot].index = pm_page_tag(m, pfn);
	swap->nr_cached++;
	pm_page_get(page);
	/* The flag first: who sees it asks us for the index, and waits for this lock. */
	(void)pm_page_set(page, PM_PG_SWAPCACHE);
	pm_page_set_tag(m, pfn, slot);
}

void pm_swap_leave_locked(struct pm_machine *m, struct pm_swap *swap, uint32_t slot, struct pm_pfn pfn)
{
	PM_ASSERT(swap->slot[slot].pfn_next == pfn.v + 1);
	pm_page_set_tag(m, pfn, swap->slot[slot].index);
	(void)pm_page_clear(pm_page_of(m, pfn), PM_PG_SWAPCACHE);
	swap->slot[slot].pfn_next = 0;
	swap->nr_cached--;
	if (!swap->slot[slot].count || PM_PLANTED(SWAP_FREED_EARLY))
		free_slot(swap, slot);
}

enum pm_status pm_swap_add(struct pm_call *call, struct pm_pfn pfn)
{
	struct pm_machine *m = call->m;
	struct pm_swap *swap = &m->back->swap;
	enum pm_status status = PM_ERR_NO_SWAP;
	uint32_t slot;

	PM_ASSERT_SLOW(pm_page_test(pm_page_of(m, pfn), PM_PG_LOCKED) && !pm_page_test(pm_page_of(m, pfn), PM_PG_SWAPCACHE));
	pm_lock(&swap->lock);
	slot = swap->state == PM_SWAP_ON && swap->nr_used < swap->nr_slots ? find_free(swap) : UINT32_MAX;
	if (slot != UINT32_MAX) {
		swap->used[slot / 64] |= (uint64_t)1 << (slot % 64);
		swap->nr_used++;
		swap->cursor = slot + 1 < swap->nr_slots ? slot + 1 : 0;
		swap->slot[slot].count = 0;
		pm_swap_enter_locked(m, swap, slot, pfn);
		/* Nothing is in the slot yet. */
		(void)pm_page_set(pm_page_of(m, pfn), PM_PG_DIRTY);
		status = PM_OK;
	}
	pm_unlock(&swap->lock);
	return status;
}

/// Takes a frame out of the cache if its slot has no entry and nothing is being written. The cache's reference is the caller's then.
static bool forget_locked(struct pm_machine *m, struct pm_swap *swap, struct pm_pfn pfn) PM_REQUIRES(swap->lock)
{
	struct pm_page *page = pm_page_of(m, pfn);
	uint32_t slot = pm_page_tag(m, pfn);

	if (!pm_page_test(page, PM_PG_SWAPCACHE) || pm_page_test(page, PM_PG_WRITEBACK) || swap->slot[slot].count)
		return false;
	pm_swap_leave_locked(m, swap, slot, pfn);
	(void)pm_page_set(page, PM_PG_DIRTY);
	return true;
}

static bool forget(struct pm_call *call, struct pm_pfn pfn)
{
	struct pm_swap *swap = &call->m->back->swap;
	bool done;

	pm_lock(&swap->lock);
	done = forget_locked(call->m, swap, pfn);
	pm_unlock(&swap->lock);
	if (done)
		pm_page_put(call, pfn);
	return done;
}

bool pm_swap_evict(struct pm_call *call, struct pm_pfn pfn)
{
	struct pm_machine *m = call->m;
	struct pm_swap *swap = &m->back->swap;
	struct pm_page *page = pm_page_of(m, pfn);
	bool done = false;

	pm_lock(&swap->lock);
	/* With the count at 0 nobody can come to the frame through the cache, and who got a reference before makes this fail. */
	if (pm_page_freeze(page, 2)) {
		if (pm_page_test(page, PM_PG_DIRTY | PM_PG_WRITEBACK)) {
			pm_page_unfreeze(page, 2);
		} else {
			pm_swap_leave_locked(m, swap, pm_page_tag(m, pfn), pfn);
			pm_page_unfreeze(page, 1);
			done = true;
		}
	}
	pm_unlock(&swap->lock);
	return done;
}

bool pm_swap_is_leaving(struct pm_machine *m)
{
	struct pm_swap *swap = &m->back->swap;
	bool leaving;

	pm_lock(&swap->lock);
	leaving = swap->state == PM_SWAP_LEAVING;
	pm_unlock(&swap->lock);
	return leaving;
}

bool pm_swap_unnamed(struct pm_machine *m, struct pm_pfn pfn)
{
	struct pm_swap *swap = &m->back->swap;
	bool unnamed;

	pm_lock(&swap->lock);
	unnamed = swap->slot[pm_page_tag(m, pfn)].count == 0;
	pm_unlock(&swap->lock);
	return unnamed;
}

/// The frame of a slot with a reference. It cannot be frozen: that is done under this lock.
static bool cached_locked(struct pm_machine *m, struct pm_swap *swap, uint32_t slot, struct pm_pfn *ret) PM_REQUIRES(swap->lock)
{
	if (slot >= swap->nr_slots || !swap->slot[slot].pfn_next)
		return false;
	*ret = pm_pfn(swap->slot[slot].pfn_next - 1);
	pm_page_get(pm_page_of(m, *ret));
	return true;
}

bool pm_swap_cached(struct pm_machine *m, uint32_t slot, struct pm_pfn *ret)
{
	struct pm_swap *swap = &m->back->swap;
	bool cached;

	pm_lock(&swap->lock);
	cached = cached_locked(m, swap, slot, ret);
	pm_unlock(&swap->lock);
	return cached;
}

void pm_swap_drop_unnamed(struct pm_machine *m, uint32_t slot)
{
	struct pm_swap *swap = &m->back->swap;
	struct pm_call call = pm_back_call(m);
	struct pm_pfn pfn;
	bool cached;

	pm_lock(&swap->lock);
	/* The slot may be another's by now, or swap may be off. */
	cached = slot < swap->nr_slots && !swap->slot[slot].count && cached_locked(m, swap, slot, &pfn);
	pm_unlock(&swap->lock);
	if (!cached)
		return;
	if (pm_page_trylock(m, pfn)) {
		(void)forget(&call, pfn);
		pm_page_unlock(&call, pfn);
	}
	pm_page_put(&call, pfn);
}

static void dup_slot(struct pm_machine *m, uint32_t slot)
{
	struct pm_swap *swap = &m->back->swap;

	pm_lock(&swap->lock);
	PM_ASSERT(slot < swap->nr_slots && (swap->used[slot / 64] >> (slot % 64) & 1));
	swap->slot[slot].count++;
	swap->entries++;
	pm_unlock(&swap->lock);
}

static void put_slot(struct pm_machine *m, uint32_t slot)
{
	struct pm_swap *swap = &m->back->swap;
	bool unnamed;

	pm_lock(&swap->lock);
	PM_ASSERT(slot < swap->nr_slots && swap->slot[slot].count);
	swap->entries--;
	unnamed = --swap->slot[slot].count == 0 && swap->slot[slot].pfn_next;
	if (!swap->slot[slot].count && !unnamed)
		free_slot(swap, slot);
	pm_unlock(&swap->lock);
	/* Where the frame is locked, its holder is the one who maps it, reads it or writes it, and knows what to do with the slot. */
	if (unnamed)
		pm_swap_drop_unnamed(m, slot);
}

static uint32_t index_of(struct pm_machine *m, struct pm_pfn pfn)
{
	struct pm_swap *swap = &m->back->swap;
	uint32_t index;

	pm_lock(&swap->lock);
	index = pm_page_tag(m, pfn);
	if (pm_page_test(pm_page_of(m, pfn), PM_PG_SWAPCACHE))
		index = swap->slot[index].index;
	pm_unlock(&swap->lock);
	return index;
}

const struct pm_swap_ops pm_swap_operations = { .swap_in = pm_swap_in, .dup = dup_slot, .put = put_slot, .forget = forget, .index = index_of };
