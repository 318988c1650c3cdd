#include "virt/reference.h"

#include <string.h>

/// How often an allocation reclaims before it gives up, although reclaim finds something each time.
enum { PM_RECLAIM_TRIES = 16 };

static enum pm_status alloc_or_reclaim(struct pm_call *call, unsigned int order, uint32_t gfp, uint64_t *ret)
{
	struct pm_virt *virt = call->m->virt;
	enum pm_status status = PM_ERR_WATERMARK;
	unsigned int tries;

	/* Inside reclaim memory is owed to those who free it. */
	if (call->reclaiming)
		gfp = (gfp | PM_GFP_MEMALLOC) & ~(uint32_t)PM_GFP_NOMEMALLOC;
	for (tries = 0; tries < PM_RECLAIM_TRIES; tries++) {
		enum pm_status reclaim_status;
		uint64_t freed = 0;

		status = pm_alloc(call->m, call->cpu, order, gfp, ret);
		if (PM_LIKELY(status == PM_OK) || (status != PM_ERR_WATERMARK && status != PM_ERR_NO_BLOCK))
			return status;
		if (call->reclaiming || call->nowait || !(gfp & PM_GFP_DIRECT_RECLAIM) || !virt->hooks.reclaim)
			return status;
		pm_count(call, PM_ME_RECLAIM);
		call->reclaiming = true;
		reclaim_status = virt->hooks.reclaim(call, order, gfp, &freed);
		call->reclaiming = false;
		if (reclaim_status)
			return reclaim_status;
		/* What was freed may sit in per-CPU lists, where it neither counts nor merges. */
		if (pm_drain(call->m, PM_ALL_CPUS) != PM_OK || !freed)
			return pm_alloc(call->m, call->cpu, order, gfp, ret);
	}
	return status;
}

/// A request that may wait, and for which reclaim has done what it can, gets nothing. One that is to give up early is no news.
static void note_failure(struct pm_call *call, unsigned int order, uint32_t gfp, enum pm_status status)
{
	bool gave_up = status == PM_ERR_WATERMARK || status == PM_ERR_NO_BLOCK;

	if (gave_up && (gfp & PM_GFP_DIRECT_RECLAIM) && !(gfp & PM_GFP_NORETRY) && !call->nowait && !call->reclaiming)
		call->no_memory = (uint8_t)(order + 1);
}

enum pm_status pm_page_alloc(struct pm_call *call, unsigned int order, uint32_t gfp, bool zero, struct pm_pfn *ret)
{
	struct pm_machine *m = call->m;
	enum pm_status status;
	uint64_t pfn;

	if (PM_UNLIKELY(pm_host_fails(&m->host)))
		return PM_ERR_WATERMARK;
	status = alloc_or_reclaim(call, order, gfp, &pfn);
	if (PM_UNLIKELY(status)) {
		note_failure(call, order, gfp, status);
		return status;
	}
	*ret = pm_pfn(pfn);
	pm_page_own(m, *ret);
	if (zero && pm_has_contents(m))
		memset(pm_frame_bytes(m, *ret), 0, (size_t)PM_PAGE_SIZE << order);
	return PM_OK;
}

static struct pm_lru *lru_of(struct pm_machine *m, struct pm_pfn pfn)
{
	return &m->virt->lru[pm_pageblock_of(m, pfn)->zone];
}

enum pm_lru_list pm_lru_list_of(uint32_t flags)
{
	if (flags & PM_PG_UNEVICTABLE)
		return PM_LRU_UNEVICTABLE;
	if (flags & PM_PG_ANON)
		return flags & PM_PG_ACTIVE ? PM_LRU_ACTIVE_ANON : PM_LRU_INACTIVE_ANON;
	return flags & PM_PG_ACTIVE ? PM_LRU_ACTIVE_FILE : PM_LRU_INACTIVE_FILE;
}

static void count_list(struct pm_lru *lru, enum pm_lru_list list, uint64_t change)
{
	/* Relaxed load and store: the lock keeps other writers out; readers take a hint. */
	atomic_store_explicit(&lru->nr[list], atomic_load_explicit(&lru->nr[list], memory_order_relaxed) + change, memory_order_relaxed);
}

static void add_locked(struct pm_machine *m, struct pm_lru *lru, struct pm_pfn pfn) PM_REQUIRES(lru->lock)
{
	enum pm_lru_list list = pm_lru_list_of(pm_page_set(pm_page_of(m, pfn), PM_PG_LRU));

	pm_chain_push_front(&m->tables, &lru->list[list], pfn, 0);
	count_list(lru, list, 1);
}

/// The list a frame is on is the one its flags name: ACTIVE, ANON and UNEVICTABLE change under the LRU lock, or while it is on no list.
static void remove_locked(struct pm_machine *m, struct pm_lru *lru, struct pm_pfn pfn) PM_REQUIRES(lru->lock)
{
	enum pm_lru_list list = pm_lru_list_of(pm_page_clear(pm_page_of(m, pfn), PM_PG_LRU));

	pm_chain_remove(&m->tables, &lru->list[list], pfn, 0);
	count_list(lru, list, (uint64_t)-1);
}

void pm_lru_add(struct pm_machine *m, struct pm_pfn pfn)
{
	struct pm_lru *lru = lru_of(m, pfn);

	pm_lock(&lru->lock);
	add_locked(m, lru, pfn);
	pm_unlock(&lru->lock);
}

void pm_lru_add_run(struct pm_machine *m, struct pm_pfn first, uint32_t n)
{
	struct pm_lru *lru = lru_of(m, first);
	uint32_t i;

	pm_lock(&lru->lock);
	for (i = 0; i < n; i++)
		add_locked(m, lru, pm_pfn(first.v + i));
	pm_unlock(&lru->lock);
}

static bool isolate_locked(struct pm_machine *m, struct pm_lru *lru, struct pm_pfn pfn) PM_REQUIRES(lru->lock)
{
	struct pm_page *page = pm_page_of(m, pfn);
	enum pm_lru_list list;

	if (!pm_page_test(page, PM_PG_LRU) || !pm_page_try_get(page))
		return false;
	/* Both flags in one step: under this lock the one is set, and the other is not. */
	pm_yield(PM_AT_FLAGS_SET, &page->flags);
	list = pm_lru_list_of(atomic_fetch_xor(&page->flags, PM_PG_LRU | PM_PG_ISOLATED));
	pm_chain_remove(&m->tables, &lru->list[list], pfn, 0);
	count_list(lru, list, (uint64_t)-1);
	return true;
}

bool pm_lru_isolate(struct pm_machine *m, struct pm_pfn pfn)
{
	struct pm_lru *lru = lru_of(m, pfn);
	bool isolated;

	pm_lock(&lru->lock);
	isolated = isolate_locked(m, lru, pfn);
	pm_unlock(&lru->lock);
	return isolated;
}

/// Goes from the lock of one zone's lists to another's, where it is another one.
static void hold_lists(struct pm_lru **held, struct pm_lru *next) PM_NO_TSA
{
	if (*held == next)
		return;
	if (*held)
		pm_unlock(&(*held)->lock);
	if (next)
		pm_lock(&next->lock);
	*held = next;
}

/// The same for a frame that is not locked, which is locked in the same step. The reference comes first: with it gone from its list, whoever has the last one would free it
/// without our lock. `*ret_put`: it was locked in between, and the reference is to be given back without the lock.
static bool isolate_lock_locked(struct pm_machine *m, struct pm_lru *lru, struct pm_pfn pfn, bool *ret_put) PM_REQUIRES(lru->lock)
{
	const uint32_t change = PM_PG_LRU | PM_PG_ISOLATED | PM_PG_LOCKED;
	struct pm_page *page = pm_page_of(m, pfn);
	uint32_t flags = pm_page_flags(page);
	enum pm_lru_list list;

	if ((flags & change) != PM_PG_LRU || !pm_page_try_get(page))
		return false;
	pm_yield(PM_AT_FLAGS_SET, &page->flags);
	do {
		if (flags & PM_PG_LOCKED) {
			*ret_put = true;
			return false;
		}
	} while (!atomic_compare_exchange_weak(&page->flags, &flags, flags ^ change));
	pm_note_held(pm_page_key(pfn), 0, true);
	list = pm_lru_list_of(flags);
	pm_chain_remove(&m->tables, &lru->list[list], pfn, 0);
	count_list(lru, list, (uint64_t)-1);
	return true;
}

void pm_lru_isolate_lock_many(struct pm_call *call, size_t n, const uint64_t *pfns, bool *ret) PM_NO_TSA
{
	struct pm_lru *held = NULL;
	size_t i;

	for (i = 0; i < n; i++) {
		bool put = false;

		hold_lists(&held, lru_of(call->m, pm_pfn(pfns[i])));
		ret[i] = isolate_lock_locked(call->m, held, pm_pfn(pfns[i]), &put);
		if (!put)
			continue;
		hold_lists(&held, NULL);
		pm_page_put(call, pm_pfn(pfns[i]));
	}
	hold_lists(&held, NULL);
}

/// LRU comes and LOCKED goes in one step. Says whether somebody waits.
static bool publish_locked(struct pm_machine *m, struct pm_lru *lru, struct pm_pfn pfn) PM_REQUIRES(lru->lock)
{
	struct pm_page *page = pm_page_of(m, pfn);
	uint32_t flags, after;
	enum pm_lru_list list;

	pm_yield(PM_AT_FLAGS_SET, &page->flags);
	pm_note_held(pm_page_key(pfn), 0, false);
	/* Relaxed: the exchange looks again. */
	flags = atomic_load_explicit(&page->flags, memory_order_relaxed);
	do {
		list = pm_lru_list_of(flags);
		after = (flags | PM_PG_LRU) & ~(uint32_t)(PM_PG_LOCKED | PM_PG_WAITERS);
		/* Sequentially consistent: partner of the sleeper's mark in pm_page_wait(). */
	} while (!atomic_compare_exchange_weak(&page->flags, &flags, after));
	PM_ASSERT_SLOW((flags & (PM_PG_LOCKED | PM_PG_LRU)) == PM_PG_LOCKED);
	pm_chain_push_front(&m->tables, &lru->list[list], pfn, 0);
	count_list(lru, list, 1);
	return (flags & PM_PG_WAITERS) != 0;
}

uint32_t pm_lru_add_unlock_many(struct pm_call *call, size_t n, const uint64_t *pfns) PM_NO_TSA
{
	struct pm_lru *held = NULL;
	uint32_t woken = 0;
	size_t i;

	for (i = 0; i < n; i++) {
		hold_lists(&held, lru_of(call->m, pm_pfn(pfns[i])));
		if (!publish_locked(call->m, held, pm_pfn(pfns[i])))
			continue;
		/* Not under the lock: waking takes time. */
		hold_lists(&held, NULL);
		woken += pm_wake_all(call->waits, pm_page_key(pm_pfn(pfns[i])));
	}
	hold_lists(&held, NULL);
	return woken;
}

void pm_lru_putback(struct pm_call *call, struct pm_pfn pfn)
{
	struct pm_lru *lru = lru_of(call->m, pfn);

	(void)pm_page_clear(pm_page_of(call->m, pfn), PM_PG_ISOLATED);
	pm_lock(&lru->lock);
	add_locked(call->m, lru, pfn);
	pm_unlock(&lru->lock);
	pm_page_put(call, pfn);
}

size_t pm_lru_isolate_oldest(struct pm_machine *m, uint32_t zone, enum pm_lru_list list, size_t n, uint64_t *pfns, size_t *scanned)
{
	struct pm_lru *lru = &m->virt->lru[zone];
	size_t got = 0, seen = 0;

	pm_lock(&lru->lock);
	while (got < n && seen < 2 * n && !pm_chain_empty(&lru->list[list])) {
		struct pm_pfn pfn = pm_pfn(lru->list[list].last);
		struct pm_page *page = pm_page_of(m, pfn);

		seen++;
		if (!pm_page_try_get(page)) {
			/* Being freed: its last user waits for this lock. Out of the way, or the scan would stop here. */
			pm_chain_remove(&m->tables, &lru->list[list], pfn, 0);
			pm_chain_push_front(&m->tables, &lru->list[list], pfn, 0);
			continue;
		}
		remove_locked(m, lru, pfn);
		(void)pm_page_set(page, PM_PG_ISOLATED);
		pfns[got++] = pfn.v;
	}
	pm_unlock(&lru->lock);
	*scanned = seen;
	return got;
}

void pm_lru_change(struct pm_machine *m, struct pm_pfn pfn, uint32_t set, uint32_t clear)
{
	struct pm_lru *lru = lru_of(m, pfn);
	struct pm_page *page = pm_page_of(m, pfn);
	bool on_list;

	pm_lock(&lru->lock);
	on_list = pm_page_test(page, PM_PG_LRU);
	if (on_list)
		remove_locked(m, lru, pfn);
	(void)pm_page_set(page, set);
	(void)pm_page_clear(page, clear);
	if (on_list)
		add_locked(m, lru, pfn);
	pm_unlock(&lru->lock);
}

/// What a frame leaves behind when its last reference goes.
static void release(struct pm_machine *m, struct pm_pfn pfn)
{
	struct pm_page *page = pm_page_of(m, pfn);

	if (pm_page_test(page, PM_PG_LRU)) {
		struct pm_lru *lru = lru_of(m, pfn);

		pm_lock(&lru->lock);
		remove_locked(m, lru, pfn);
		pm_unlock(&lru->lock);
	}
	/* Relaxed: nobody else knows the frame. */
	atomic_store_explicit(&page->flags, 0, memory_order_relaxed);
	pm_page_set_mapping(page, 0);
}

void pm_page_put_refs(struct pm_call *call, struct pm_pfn pfn, uint32_t nr)
{
	uint64_t before = pm_page_sub_counts(pm_page_of(call->m, pfn), nr * PM_ONE_REF);

	PM_ASSERT_SLOW(pm_counts_refs(before) >= nr);
	if (pm_counts_refs(before) != nr)
		return;
	PM_ASSERT(pm_counts_maps(before) == 0);
	release(call->m, pfn);
	pm_page_disown(call->m, call->cpu, pfn);
}

void pm_page_set_dirty(struct pm_machine *m, struct pm_pfn pfn)
{
	struct pm_page *page = pm_page_of(m, pfn);
	uint32_t flags = pm_page_flags(page);
	struct pm_mapping *mapping;

	if (!(flags & PM_PG_CACHE)) {
		if (!(flags & PM_PG_DIRTY))
			(void)pm_page_set(page, PM_PG_DIRTY);
		return;
	}
	/* A file that was closed meanwhile is a dead object of the same kind: it knows that the frame is no longer its own. */
	mapping = pm_pool_at(m->virt->files, pm_page_mapping(page));
	mapping->ops->set_dirty(mapping, pfn);
}

/// Takes the frames whose last reference went off their lists, zone by zone with one hold of the lock for a run.
static void release_many(struct pm_machine *m, size_t n, const uint64_t *pfns) PM_NO_TSA
{
	struct pm_lru *held = NULL;
	size_t i;

	for (i = 0; i < n; i++) {
		struct pm_pfn pfn = pm_pfn(pfns[i]);
		struct pm_page *page = pm_page_of(m, pfn);

		if (pm_page_test(page, PM_PG_LRU)) {
			struct pm_lru *lru = lru_of(m, pfn);

			hold_lists(&held, lru);
			remove_locked(m, lru, pfn);
		}
		atomic_store_explicit(&page->flags, 0, memory_order_relaxed);
		pm_page_set_mapping(page, 0);
	}
	hold_lists(&held, NULL);
}

void pm_page_unmap_many(struct pm_call *call, size_t n, uint64_t *pfns)
{
	size_t i, dead = 0;

	for (i = 0; i < n; i++) {
		uint64_t before = pm_page_sub_counts(pm_page_of(call->m, pm_pfn(pfns[i])), PM_ONE_REF | PM_ONE_MAP);

		PM_ASSERT_SLOW(pm_counts_refs(before) != 0 && pm_counts_maps(before) != 0);
		if (pm_counts_refs(before) == 1)
			pfns[dead++] = pfns[i];
	}
	if (!dead)
		return;
	release_many(call->m, dead, pfns);
	pm_page_disown_bulk(call->m, call->cpu, dead, pfns);
}

bool pm_page_trylock(struct pm_machine *m, struct pm_pfn pfn)
{
	bool taken = !(pm_page_set(pm_page_of(m, pfn), PM_PG_LOCKED) & PM_PG_LOCKED);

	if (taken)
		pm_note_held(pm_page_key(pfn), 0, true);
	return taken;
}

void pm_page_clear_and_wake(struct pm_machine *m, struct pm_pfn pfn, uint32_t flag)
{
	/* WAITERS goes with it: who still waits for the other flag is woken too, looks, and sets it again. Sequentially consistent: partner of
	   the sleeper's mark in pm_page_wait(). */
	uint32_t before;

	if (flag == PM_PG_LOCKED)
		pm_note_held(pm_page_key(pfn), 0, false);
	if (PM_PLANTED(WAKE_BEFORE_CLEAR))
		(void)pm_wake_all(&m->virt->waits, pm_page_key(pfn));
	before = pm_page_clear(pm_page_of(m, pfn), flag | PM_PG_WAITERS);
	PM_ASSERT_SLOW(before & flag);
	if ((before & PM_PG_WAITERS) && !PM_PLANTED(UNLOCK_NO_WAKE) && !PM_PLANTED(WAKE_BEFORE_CLEAR))
		(void)pm_wake_all(&m->virt->waits, pm_page_key(pfn));
}

void pm_page_unlock(struct pm_call *call, struct pm_pfn pfn)
{
	pm_page_clear_and_wake(call->m, pfn, PM_PG_LOCKED);
}

enum pm_status pm_page_wait(struct pm_call *call, struct pm_pfn pfn, uint32_t flag)
{
	struct pm_page *page = pm_page_of(call->m, pfn);
	enum pm_status status = PM_OK;

	while (!status && pm_page_test(page, flag)) {
		struct pm_waiter waiter;

		pm_wait_prepare(call, &waiter, pm_page_key(pfn));
		/* The mark first, then the last look: either the waker sees the mark, or this look sees the flag gone. */
		if ((pm_page_set(page, PM_PG_WAITERS) & flag) || PM_PLANTED(WAIT_NO_RECHECK))
			status = pm_call_sleep(call, &waiter);
		pm_wait_finish(call, &waiter);
	}
	return status;
}

enum pm_status pm_page_lock(struct pm_call *call, struct pm_pfn pfn)
{
	for (;;) {
		enum pm_status status;

		if (PM_LIKELY(pm_page_trylock(call->m, pfn)))
			return PM_OK;
		status = pm_page_wait(call, pfn, PM_PG_LOCKED);
		if (status)
			return status;
	}
}
