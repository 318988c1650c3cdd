#include "phys/hotplug.h"

#include "phys/buddy.h"
#include "phys/pageblock.h"
#include "phys/pcp.h"
#include "phys/watermark.h"

/// The frames of a pageblock that lie in its zone.
static struct pm_range span_of(const struct pm_zone *zone, uint32_t pageblock)
{
	struct pm_range span = { (uint64_t)pageblock << PM_PAGEBLOCK_ORDER, ((uint64_t)pageblock + 1) << PM_PAGEBLOCK_ORDER };

	if (span.start < zone->start)
		span.start = zone->start;
	if (span.end > zone->end)
		span.end = zone->end;
	return span;
}

/// Frames of the pageblock that exist, if all of them are free; -1: something stands there, or is reserved.
static int64_t all_free(struct pm_machine *m, struct pm_zone *zone, struct pm_range span) PM_REQUIRES(zone->lock)
{
	uint64_t pfn = span.start;
	int64_t nr = 0;

	while (pfn < span.end) {
		unsigned int order;

		if (pm_in_ranges(m->holes, m->nr_holes, pfn)) {
			pfn++;
			continue;
		}
		if (pm_pfn_is_nil(pm_buddy_find(m, zone, pm_pfn(pfn), &order)))
			return -1;
		nr += (int64_t)1 << order;
		pfn += (uint64_t)1 << order;
	}
	return nr;
}

static void count_frames(struct pm_zone *zone, int64_t nr) PM_REQUIRES(zone->lock)
{
	/* Relaxed: who reads them without the lock may be late by one change. */
	(void)atomic_fetch_add_explicit(&zone->managed, (uint64_t)nr, memory_order_relaxed);
	(void)atomic_fetch_add_explicit(&zone->present, (uint64_t)nr, memory_order_relaxed);
}

bool pm_pageblock_go_offline(struct pm_machine *m, struct pm_zone *zone, uint32_t pageblock)
{
	struct pm_pageblock *block = &m->tables.pageblocks[pageblock];
	struct pm_range span = span_of(zone, pageblock);
	uint64_t pfn = span.start;
	int64_t nr;

	if (!block->isolated || pm_pageblock_offline(block))
		return false;
	pm_pageblock_split_large(m, zone, pm_pfn(span.start));
	nr = all_free(m, zone, span);
	if (nr < 0)
		return false;
	while (pfn < span.end) {
		unsigned int order = 0;
		struct pm_pfn head = pm_buddy_find(m, zone, pm_pfn(pfn), &order);

		if (!pm_pfn_is_nil(head))
			(void)pm_buddy_del(m, zone, head, order);
		pfn += (uint64_t)1 << order;
	}
	/* The reserve does not follow it. */
	if (block->type == PM_MT_HIGHATOMIC) {
		zone->nr_reserved_highatomic -= PM_PAGEBLOCK_NR_PAGES;
		pm_pageblock_write_type(block, PM_MT_MOVABLE);
	}
	count_frames(zone, -nr);
	/* Relaxed: see pm_pageblock_offline(). */
	atomic_store_explicit(&block->offline, 1, memory_order_relaxed);
	return true;
}

bool pm_pageblock_come_online(struct pm_machine *m, struct pm_zone *zone, uint32_t pageblock)
{
	struct pm_pageblock *block = &m->tables.pageblocks[pageblock];
	struct pm_range span = span_of(zone, pageblock), run;
	uint64_t at = span.start;

	if (!pm_pageblock_offline(block))
		return false;
	atomic_store_explicit(&block->offline, 0, memory_order_relaxed);
	pm_pageblock_write_isolated(block, false);
	while (pm_next_usable(m, &at, span.end, &run)) {
		count_frames(zone, (int64_t)(run.end - run.start));
		while (run.start < run.end) {
			unsigned int order = run.start ? (unsigned int)__builtin_ctzll(run.start) : PM_PAGEBLOCK_ORDER;

			if (order > PM_PAGEBLOCK_ORDER)
				order = PM_PAGEBLOCK_ORDER;
			while (run.start + ((uint64_t)1 << order) > run.end)
				order--;
			pm_buddy_free(m, zone, pm_pfn(run.start), order, pm_pageblock_type(block));
			run.start += (uint64_t)1 << order;
		}
	}
	return true;
}

void pm_zones_resized(struct pm_machine *m)
{
	pm_lock(&m->resize);
	pm_watermarks_setup(m);
	pm_pcp_resize(m);
	pm_unlock(&m->resize);
}
