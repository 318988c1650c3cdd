#include "back/reclaim.h"

#include "back/file.h"
#include "virt/rmap.h"

/// What becomes of a page that was looked at.
enum verdict {
	KEEP,	     ///< back to the list it came from, young end
	WRITING,     ///< the same, and it may come free when its writeback ends
	ACTIVATE,    ///< it is in use
	MLOCKED,
	IN_MEMORY,   ///< its file is memory alone
	FREE	     ///< nobody but us has it any more: our reference is the last
};

/// Was the page used since somebody last looked? Also finds out that it is mlocked. As in folio_check_references() of 6.x: a page that an
/// entry was used to reach is kept once; the second time, or where several were, it becomes active. A use through the page cache alone counts there.
static enum verdict judge_use(struct pm_reclaim *reclaim, struct pm_pfn pfn)
{
	struct pm_page *page = pm_page_of(reclaim->call->m, pfn);
	bool locked = false, before;
	uint32_t young;

	young = pm_rmap_referenced(reclaim->call, pfn, &locked);
	before = (pm_page_clear(page, PM_PG_REFERENCED) & PM_PG_REFERENCED) != 0;
	if (locked)
		return MLOCKED;
	if (!young || reclaim->ignore_use)
		return FREE;
	(void)pm_page_set(page, PM_PG_REFERENCED);
	return before || young > 1 ? ACTIVATE : KEEP;
}

/// Unmaps a page everywhere. FREE: it is.
static enum verdict unmap(struct pm_reclaim *reclaim, struct pm_pfn pfn)
{
	struct pm_page *page = pm_page_of(reclaim->call->m, pfn);

	if (!pm_page_mapcount(page))
		return FREE;
	/* A quick look; unmapping looks again at every entry, under its lock. */
	if (pm_page_maybe_pinned(page))
		return KEEP;
	switch (pm_rmap_unmap(reclaim->call, pfn)) {
	case PM_OK:
		return FREE;
	case PM_ERR_BUSY:
		return MLOCKED;
	default:
		return KEEP;
	}
}

/// After a write was begun: is the page clean already, because the device needs no time?
static enum verdict after_write(const struct pm_reclaim *reclaim, struct pm_pfn pfn, enum pm_status status)
{
	const struct pm_page *page = pm_page_of(reclaim->call->m, pfn);

	if (pm_page_test(page, PM_PG_WRITEBACK))
		return WRITING;
	return status || pm_page_test(page, PM_PG_DIRTY) ? KEEP : FREE;
}

/// Is a dirty page to be written out now? One that failed is tried again only where it is asked for, or reclaim would go on with it for ever.
static bool may_write(const struct pm_reclaim *reclaim, const struct pm_page *page)
{
	return reclaim->writes && (reclaim->retries || !pm_page_test(page, PM_PG_ERROR));
}

/// A locked page of a file, which has a use for us.
static enum verdict try_file(struct pm_reclaim *reclaim, struct pm_file *file, struct pm_pfn pfn)
{
	struct pm_call *call = reclaim->call;
	struct pm_page *page = pm_page_of(call->m, pfn);
	uint64_t index = pm_page_tag(call->m, pfn);
	enum verdict verdict;

	if (file->kind == PM_FS_RAM)
		return IN_MEMORY;
	verdict = judge_use(reclaim, pfn);
	if (verdict == FREE)
		verdict = unmap(reclaim, pfn);
	if (verdict == FREE && pm_page_test(page, PM_PG_DIRTY)) {
		if (!may_write(reclaim, page))
			return KEEP;
		verdict = after_write(reclaim, pfn, pm_file_write_out(call, file, index, pfn));
	}
	if (verdict == FREE && !pm_file_evict(call, file, index, pfn))
		verdict = KEEP;
	if (verdict == FREE)
		pm_back_count(call->m, PM_BE_RECLAIMED_FILE, 1);
	return verdict;
}

/// A locked anonymous page, in the swap cache or not.
static enum verdict try_anon(struct pm_reclaim *reclaim, struct pm_pfn pfn)
{
	struct pm_call *call = reclaim->call;
	struct pm_page *page = pm_page_of(call->m, pfn);
	enum verdict verdict = judge_use(reclaim, pfn);

	if (verdict != FREE)
		return verdict;
	/* What pm_swap_off() has just brought back, and has a slot still, would make room for the next that it brings, and so on for ever. */
	if (pm_page_mapcount(page) && pm_swap_is_leaving(call->m))
		return KEEP;
	if (!pm_page_test(page, PM_PG_SWAPCACHE)) {
		/* Not mapped, and nowhere: somebody is making or ending it. Pinned: it will not go. */
		if (!pm_page_mapcount(page) || pm_page_maybe_pinned(page) || pm_swap_add(call, pfn))
			return KEEP;
	}
	verdict = unmap(reclaim, pfn);
	/* Without an entry that names it a slot is of no use: not for a page that stays mapped, nor for one that nobody has any more. */
	if (pm_swap_unnamed(call->m, pfn) && pm_swap_operations.forget(call, pfn))
		return verdict == FREE && pm_page_refs(page) == 1 && !pm_page_mapcount(page) ? FREE : KEEP;
	if (verdict == FREE && pm_page_test(page, PM_PG_DIRTY)) {
		if (!may_write(reclaim, page))
			return KEEP;
		verdict = after_write(reclaim, pfn, pm_swap_write_out(call, pfn));
	}
	/* The transfer's end may have taken it out of the cache. */
	if (verdict == FREE && pm_page_test(page, PM_PG_SWAPCACHE) && !pm_swap_evict(call, pfn))
		verdict = KEEP;
	if (verdict == FREE)
		pm_back_count(call->m, PM_BE_RECLAIMED_ANON, 1);
	return verdict;
}

/// A locked page. `*ret_file`: a use of its file, to be given back once the page is unlocked; the last one ends the file, and needs the lock.
static enum verdict try_page(struct pm_reclaim *reclaim, struct pm_pfn pfn, struct pm_file **ret_file)
{
	struct pm_machine *m = reclaim->call->m;
	uint32_t flags = pm_page_flags(pm_page_of(m, pfn));

	if (flags & PM_PG_WRITEBACK)
		return WRITING;
	if (flags & PM_PG_MLOCKED)
		return MLOCKED;
	if (flags & PM_PG_ANON)
		return try_anon(reclaim, pfn);
	*ret_file = pm_file_of_page(m, pfn);
	/* Of no file: truncated, and somebody has a reference still. */
	return *ret_file ? try_file(reclaim, *ret_file, pfn) : KEEP;
}

/// Gives a page back to its list, which may be another one now.
static void put_back(struct pm_reclaim *reclaim, struct pm_pfn pfn, enum verdict verdict)
{
	struct pm_machine *m = reclaim->call->m;
	struct pm_page *page = pm_page_of(m, pfn);

	switch (verdict) {
	case ACTIVATE:
		(void)pm_page_set(page, PM_PG_ACTIVE);
		pm_back_count(m, PM_BE_ACTIVATED, 1);
		break;
	case MLOCKED:
		pm_lru_change(m, pfn, PM_PG_UNEVICTABLE | PM_PG_MLOCKED, PM_PG_ACTIVE | PM_PG_REFERENCED);
		pm_back_count(m, PM_BE_UNEVICTABLE, 1);
		break;
	case IN_MEMORY:
		pm_lru_change(m, pfn, PM_PG_UNEVICTABLE, PM_PG_ACTIVE | PM_PG_REFERENCED);
		break;
	case WRITING:
		reclaim->begun++;
		if (reclaim->begun_pages) {
			pm_page_get(page);
			reclaim->begun_pages[reclaim->nr_begun_pages++] = pfn;
		}
		break;
	default:
		break;
	}
	pm_lru_putback(reclaim->call, pfn);
}

void pm_reclaim_page(struct pm_reclaim *reclaim, struct pm_pfn pfn)
{
	struct pm_call *call = reclaim->call;
	enum verdict verdict = KEEP;
	struct pm_file *file = NULL;

	pm_back_count(call->m, PM_BE_SCANNED, 1);
	/* Never sleeps for a frame: whoever allocates may hold another one. */
	if (pm_page_trylock(call->m, pfn)) {
		verdict = try_page(reclaim, pfn, &file);
		pm_page_unlock(call, pfn);
	}
	if (file)
		pm_file_put(call, file);
	if (verdict != FREE) {
		put_back(reclaim, pfn, verdict);
		return;
	}
	/* Off every list, in no cache, mapped nowhere: ours was the last reference, or somebody has one in passing and frees it. */
	(void)pm_page_clear(pm_page_of(call->m, pfn), PM_PG_ISOLATED);
	pm_page_put(call, pfn);
	reclaim->freed++;
}

static uint64_t list_size(const struct pm_machine *m, uint32_t zone, enum pm_lru_list list)
{
	/* Relaxed: a hint. */
	return atomic_load_explicit(&m->virt->lru[zone].nr[list], memory_order_relaxed);
}

/// Isolates the oldest of a list and looks at them. Returns how many there were.
static size_t shrink_list(struct pm_reclaim *reclaim, uint32_t zone, enum pm_lru_list list)
{
	uint64_t pfns[PM_RECLAIM_BATCH];
	size_t i, n, scanned;

	n = pm_lru_isolate_oldest(reclaim->call->m, zone, list, PM_RECLAIM_BATCH, pfns, &scanned);
	for (i = 0; i < n; i++)
		pm_reclaim_page(reclaim, pm_pfn(pfns[i]));
	return n;
}

/// Moves a batch from the old end of an active list to the inactive one. The marks of use are taken away: from now on one counts.
static void age_list(struct pm_reclaim *reclaim, uint32_t zone, enum pm_lru_list list)
{
	struct pm_call *call = reclaim->call;
	uint64_t pfns[PM_RECLAIM_BATCH];
	size_t i, n, scanned;

	n = pm_lru_isolate_oldest(call->m, zone, list, PM_RECLAIM_BATCH, pfns, &scanned);
	for (i = 0; i < n; i++) {
		struct pm_pfn pfn = pm_pfn(pfns[i]);
		struct pm_page *page = pm_page_of(call->m, pfn);
		bool locked = false;

		if (pm_page_trylock(call->m, pfn)) {
			(void)pm_rmap_referenced(call, pfn, &locked);
			pm_page_unlock(call, pfn);
		}
		(void)pm_page_clear(page, PM_PG_ACTIVE | PM_PG_REFERENCED);
		if (locked)
			(void)pm_page_set(page, PM_PG_UNEVICTABLE | PM_PG_MLOCKED);
		pm_lru_putback(call, pfn);
	}
	pm_back_count(call->m, PM_BE_DEACTIVATED, n);
}

/// One kind of page: ages if the inactive list is the shorter one, then shrinks it. Returns how many pages were looked at.
static size_t shrink_kind(struct pm_reclaim *reclaim, uint32_t zone, enum pm_lru_list inactive, enum pm_lru_list active)
{
	const struct pm_machine *m = reclaim->call->m;

	if (list_size(m, zone, inactive) < list_size(m, zone, active))
		age_list(reclaim, zone, active);
	return shrink_list(reclaim, zone, inactive);
}

/// Once through the lists of a zone, or until enough is freed: files first, since what is in them need not be written where it is clean.
static void scan_zone(struct pm_reclaim *reclaim, uint32_t zone, uint64_t nr)
{
	const struct pm_machine *m = reclaim->call->m;
	uint64_t left = 0, list;

	for (list = 0; list < PM_LRU_UNEVICTABLE; list++)
		left += list_size(m, zone, (enum pm_lru_list)list);
	/* In batches, and every batch is looked at once: pages that are kept come back at the young end. */
	left = left / PM_RECLAIM_BATCH + 2;
	while (left-- && reclaim->freed < nr) {
		size_t seen = shrink_kind(reclaim, zone, PM_LRU_INACTIVE_FILE, PM_LRU_ACTIVE_FILE);

		if (reclaim->freed < nr)
			seen += shrink_kind(reclaim, zone, PM_LRU_INACTIVE_ANON, PM_LRU_ACTIVE_ANON);
		if (!seen)
			break;
	}
}

/// Anonymous pages that nobody maps any more have no reason to be unevictable: a walk found an area locked that was going at that moment.
static void rescue_unevictable(struct pm_reclaim *reclaim, uint32_t zone)
{
	struct pm_machine *m = reclaim->call->m;
	uint64_t left = list_size(m, zone, PM_LRU_UNEVICTABLE) / PM_RECLAIM_BATCH + 1, pfns[PM_RECLAIM_BATCH];
	size_t i, n, scanned;

	while (left-- && (n = pm_lru_isolate_oldest(m, zone, PM_LRU_UNEVICTABLE, PM_RECLAIM_BATCH, pfns, &scanned)) != 0)
		for (i = 0; i < n; i++) {
			struct pm_page *page = pm_page_of(m, pm_pfn(pfns[i]));

			if (pm_page_test(page, PM_PG_ANON) && !pm_page_mapcount(page))
				(void)pm_page_clear(page, PM_PG_UNEVICTABLE | PM_PG_MLOCKED);
			pm_lru_putback(reclaim->call, pm_pfn(pfns[i]));
		}
}

/// Rounds that free nothing: two, since the first takes the marks of use away; from IGNORE on these do not count; RETRY tries what has failed; the last
/// collects what that has begun.
enum { PM_RECLAIM_IGNORE = 2, PM_RECLAIM_RETRY = 3, PM_RECLAIM_ROUNDS = 5 };

/// Waits in a row after which nothing had come free: from then on a wait counts as a round. A page that is dirty again whenever its write ends would keep us
/// here for ever.
enum { PM_RECLAIM_WAITS = 1024 };

enum pm_status pm_reclaim_zone(struct pm_call *call, uint32_t zone, uint64_t nr, uint64_t *ret)
{
	struct pm_back *back = call->m->back;
	struct pm_reclaim reclaim = { .call = call, .writes = true };
	enum pm_status status = PM_OK;
	unsigned int round = 0, waits = 0;

	/* First what was not used lately; if that was nothing, whatever can go; then what could not be written out before, once. */
	while (!status && reclaim.freed < nr && round < PM_RECLAIM_ROUNDS) {
		uint64_t ended = atomic_load(&back->nr_ended), before = reclaim.freed;

		reclaim.begun = 0;
		reclaim.ignore_use = round >= PM_RECLAIM_IGNORE;
		reclaim.retries = round == PM_RECLAIM_RETRY;
		if (round == PM_RECLAIM_IGNORE)
			rescue_unevictable(&reclaim, zone);
		scan_zone(&reclaim, zone, nr);
		if (reclaim.freed > before) {
			waits = 0;
			continue;
		}
		if (!reclaim.begun) {
			round++;
			continue;
		}
		/* What is being written comes free when that ends. Where no transfer ends by itself there is nothing to wait for. */
		pm_back_count(call->m, PM_BE_WAIT, 1);
		status = pm_back_wait_transfer(call, ended);
		if (status == PM_ERR_BUSY || reclaim.retries || ++waits > PM_RECLAIM_WAITS)
			round++;
		if (status == PM_ERR_BUSY)
			status = PM_OK;
		/* Called again it would begin with the first round, and try what has failed once more: for ever, where writes always fail. */
		if (status == PM_ERR_INTR && round >= PM_RECLAIM_RETRY) {
			status = PM_OK;
			break;
		}
	}
	*ret = reclaim.freed;
	return status;
}

enum pm_status pm_reclaim_for(struct pm_call *call, uint32_t order, uint32_t gfp, uint64_t *ret)
{
	struct pm_machine *m = call->m;
	int8_t highest = m->classes[gfp & PM_GFP_CLASS_MASK].highest;
	uint64_t want = (uint64_t)PM_RECLAIM_BATCH > (uint64_t)1 << order ? (uint64_t)PM_RECLAIM_BATCH : (uint64_t)1 << order;
	enum pm_status status = PM_OK;
	unsigned int i;

	*ret = 0;
	for (i = 0; highest >= 0 && m->zonelist[highest][i] >= 0 && !status && *ret < want; i++) {
		uint64_t freed;

		status = pm_reclaim_zone(call, (uint32_t)m->zonelist[highest][i], want - *ret, &freed);
		*ret += freed;
	}
	/* A call whose patience has ended, but which has memory now, goes on. */
	return status == PM_ERR_INTR && *ret ? PM_OK : status;
}
