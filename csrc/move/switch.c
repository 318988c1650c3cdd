#include "move/switch.h"

#include "back/file.h"

uint32_t pm_switch_expected(const struct pm_page *page, uint32_t extra)
{
	uint32_t flags = pm_page_flags(page);

	return extra + ((flags & PM_PG_SWAPCACHE) != 0) + ((flags & PM_PG_CACHE) != 0) + ((flags & PM_PG_PRIVATE) != 0);
}

/// With the cache's lock held, so that no lookup meets a frozen frame. `moving` references go from one frame to the other.
static enum pm_status take_over(struct pm_page *from, struct pm_page *to, uint32_t moving, bool frozen)
{
	uint32_t expected = pm_switch_expected(from, 1);

	if (PM_PLANTED(MOVE_NO_FREEZE) || (PM_PLANTED(MOVE_IGNORES_PINS) && pm_page_maybe_pinned(from)))
		moving = (expected = pm_page_refs(from)) - 1;
	if (frozen) {
		if (!pm_page_freeze(from, expected))
			return PM_ERR_AGAIN;
		PM_ASSERT_SLOW(expected == moving + 1);
	}
	if (moving)
		(void)pm_page_add_counts(to, moving * PM_ONE_REF);
	return PM_OK;
}

static enum pm_status switch_file(struct pm_call *call, struct pm_pfn from, struct pm_pfn to, bool frozen) PM_NO_TSA
{
	struct pm_machine *m = call->m;
	struct pm_page *old = pm_page_of(m, from), *fresh = pm_page_of(m, to);
	struct pm_file *file = pm_pool_at(m->virt->files, pm_page_mapping(old));
	uint32_t private = pm_page_flags(old) & PM_PG_PRIVATE;
	struct pm_cache_slot *slot;
	enum pm_status status = PM_ERR_BEYOND;

	if (!PM_PLANTED(SWITCH_NO_LOCK))
		pm_lock(&file->cache.lock);
	slot = pm_page_test(old, PM_PG_CACHE) ? pm_cache_find(&file->cache, pm_page_tag(m, from)) : NULL;
	if (slot && pm_pfn_eq(slot->pfn, from))
		/* Private data moves whole, also where the cache's reference stays. */
		status = take_over(old, fresh, 1u + (private != 0 && !PM_PLANTED(MOVE_PRIVATE_LOST)), frozen);
	if (!status) {
		pm_page_set_mapping(fresh, pm_page_mapping(old));
		pm_page_set_tag(m, to, pm_page_tag(m, from));
		(void)pm_page_set(fresh, PM_PG_CACHE | private);
		(void)pm_page_clear(old, PM_PG_CACHE | private);
		slot->pfn = to;
		if (!frozen && private)
			(void)pm_page_sub_counts(old, PM_ONE_REF);
	}
	if (!PM_PLANTED(SWITCH_NO_LOCK))
		pm_unlock(&file->cache.lock);
	return status;
}

static enum pm_status switch_swap(struct pm_call *call, struct pm_pfn from, struct pm_pfn to, bool frozen) PM_NO_TSA
{
	struct pm_machine *m = call->m;
	struct pm_swap *swap = &m->back->swap;
	struct pm_page *old = pm_page_of(m, from), *fresh = pm_page_of(m, to);
	uint32_t number = pm_page_tag(m, from);
	enum pm_status status = PM_ERR_BEYOND;

	if (!PM_PLANTED(SWITCH_NO_LOCK))
		pm_lock(&swap->lock);
	if (pm_page_test(old, PM_PG_SWAPCACHE) && number < swap->nr_slots && swap->slot[number].pfn_next == from.v + 1)
		status = take_over(old, fresh, 1, frozen);
	if (!status) {
		uint32_t index = swap->slot[number].index;

		pm_page_set_mapping(fresh, pm_page_mapping(old));
		pm_page_set_tag(m, to, number);
		(void)pm_page_set(fresh, PM_PG_SWAPCACHE | PM_PG_ANON);
		swap->slot[number].pfn_next = to.v + 1;
		pm_page_set_tag(m, from, index);
		(void)pm_page_clear(old, PM_PG_SWAPCACHE);
	}
	if (!PM_PLANTED(SWITCH_NO_LOCK))
		pm_unlock(&swap->lock);
	return status;
}

/// An anonymous page in no cache: nobody finds it but by its entries, and those are gone.
static enum pm_status switch_anon(struct pm_call *call, struct pm_pfn from, struct pm_pfn to, bool frozen)
{
	struct pm_machine *m = call->m;
	struct pm_page *old = pm_page_of(m, from), *fresh = pm_page_of(m, to);
	enum pm_status status = take_over(old, fresh, 0, frozen);

	if (status)
		return status;
	pm_page_set_mapping(fresh, pm_page_mapping(old));
	pm_page_set_tag(m, to, pm_page_tag(m, from));
	(void)pm_page_set(fresh, PM_PG_ANON);
	return PM_OK;
}

enum pm_status pm_switch(struct pm_call *call, struct pm_pfn from, struct pm_pfn to, bool frozen)
{
	uint32_t flags = pm_page_flags(pm_page_of(call->m, from));

	if (flags & PM_PG_CACHE)
		return switch_file(call, from, to, frozen);
	if (flags & PM_PG_SWAPCACHE)
		return switch_swap(call, from, to, frozen);
	return flags & PM_PG_ANON ? switch_anon(call, from, to, frozen) : PM_ERR_BEYOND;
}
