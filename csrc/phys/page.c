#include "phys/page.h"

bool pm_page_try_get(struct pm_page *page)
{
	uint64_t counts;

	pm_yield(PM_AT_COUNTS_SET, &page->counts);
	counts = atomic_load_explicit(&page->counts, memory_order_relaxed);
	while (pm_counts_refs(counts) != 0)
		/* Acquire: partner of the release in pm_page_unfreeze(). */
		if (atomic_compare_exchange_weak_explicit(&page->counts, &counts, counts + PM_ONE_REF, memory_order_acquire, memory_order_relaxed))
			return true;
	return false;
}

bool pm_page_freeze(struct pm_page *page, uint32_t refs)
{
	uint64_t counts;

	pm_yield(PM_AT_COUNTS_SET, &page->counts);
	counts = atomic_load_explicit(&page->counts, memory_order_relaxed);
	while (pm_counts_refs(counts) == refs)
		/* Sequentially consistent: who takes a reference and who freezes must not both succeed. */
		if (atomic_compare_exchange_weak(&page->counts, &counts, counts - refs))
			return true;
	return false;
}

void pm_page_unfreeze(struct pm_page *page, uint32_t refs)
{
	uint64_t before;

	pm_yield(PM_AT_COUNTS_SET, &page->counts);
	before = atomic_fetch_add_explicit(&page->counts, refs, memory_order_release);

	PM_ASSERT_SLOW(pm_counts_refs(before) == 0);
	(void)before;
}

/// Lets a scheduler check that nobody writes to a frame without an owner.
static void note_owner(struct pm_pfn pfn, unsigned int order, bool owned)
{
#ifdef PM_TEST_FLAVOUR
	if (pm_hooks)
		pm_hooks->frame(pm_hooks, pfn.v, 1u << order, owned);
#endif
	(void)pfn;
	(void)order;
	(void)owned;
}

void pm_page_own(struct pm_machine *m, struct pm_pfn pfn)
{
	struct pm_frame *frame = pm_frame_of(m, pfn);
	struct pm_page *page = pm_page_of(m, pfn);
	uint32_t word = pm_frame_word(frame);

	PM_ASSERT_SLOW(pm_word_kind(word) == PM_FRAME_USED);
	pm_frame_set_word(frame, pm_word(PM_FRAME_OWNED, pm_word_migratetype(word), pm_word_order(word)));
	/* Relaxed: nobody else knows the block yet. */
	atomic_store_explicit(&page->flags, 0, memory_order_relaxed);
	pm_page_set_mapping(page, 0);
	atomic_store_explicit(&page->counts, PM_ONE_REF, memory_order_relaxed);
	note_owner(pfn, pm_word_order(word), true);
}

void pm_page_unown(struct pm_machine *m, struct pm_pfn pfn)
{
	struct pm_frame *frame = pm_frame_of(m, pfn);
	struct pm_page *page = pm_page_of(m, pfn);
	uint32_t word = pm_frame_word(frame);

	PM_ASSERT(pm_word_kind(word) == PM_FRAME_OWNED);
	PM_ASSERT(pm_page_counts(page) == 0);
	PM_ASSERT_SLOW(!pm_page_test(page, PM_PG_LOCKED | PM_PG_LRU | PM_PG_WRITEBACK | PM_PG_SWAPCACHE | PM_PG_CACHE | PM_PG_PRIVATE));
	pm_frame_set_word(frame, pm_word(PM_FRAME_USED, pm_word_migratetype(word), pm_word_order(word)));
	note_owner(pfn, pm_word_order(word), false);
}

void pm_page_disown(struct pm_machine *m, uint32_t cpu, struct pm_pfn pfn)
{
	unsigned int order = pm_page_order(m, pfn);
	enum pm_status status;

	pm_page_unown(m, pfn);
	status = pm_free(m, cpu, pfn.v, order);
	PM_ASSERT(status == PM_OK);
}

void pm_page_disown_bulk(struct pm_machine *m, uint32_t cpu, size_t n, uint64_t *pfns)
{
	enum pm_status status;
	size_t i, done;

	for (i = 0; i < n; i++)
		pm_page_unown(m, pm_pfn(pfns[i]));
	status = pm_free_bulk(m, cpu, 0, n, pfns, &done);
	PM_ASSERT(status == PM_OK && done == n);
}
