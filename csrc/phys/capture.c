#include "phys/capture.h"

#include "phys/buddy.h"
#include "phys/pageblock.h"

/// May the request have a block from this pageblock? As in compaction_capture() of 6.x: nothing isolated, and nothing unmovable in the middle
/// of a movable pageblock.
static bool may_capture(const struct pm_machine *m, struct pm_pfn pfn, const struct pm_capture *capture)
{
	unsigned int type = pm_pageblock_type(pm_pageblock_of(m, pfn));

	if (type == PM_MT_ISOLATE)
		return false;
	return capture->order >= PM_PAGEBLOCK_ORDER || type != PM_MT_MOVABLE || capture->migratetype == PM_MT_MOVABLE;
}

static bool capture_locked(struct pm_machine *m, struct pm_zone *zone, struct pm_pfn pfn, struct pm_capture *capture) PM_REQUIRES(zone->lock)
{
	struct pm_pfn start = pm_pfn(pfn.v & ~((1u << capture->order) - 1));

	if (!may_capture(m, pfn, capture) || start.v < zone->start || !pm_buddy_take_exact(m, zone, start, capture->order))
		return false;
	pm_frame_set_word(pm_frame_of(m, start), pm_word(PM_FRAME_USED, capture->migratetype, capture->order));
	zone->nr_alloc++;
	capture->pfn = start;
	return true;
}

bool pm_capture_at(struct pm_machine *m, struct pm_zone *zone, struct pm_pfn pfn, struct pm_capture *capture)
{
	bool captured;

	pm_lock(&zone->lock);
	captured = capture_locked(m, zone, pfn, capture);
	pm_unlock(&zone->lock);
	return captured;
}

void pm_free_captured(struct pm_machine *m, struct pm_zone *zone, size_t n, const uint64_t *pfns, struct pm_capture *capture)
{
	size_t i;

	pm_lock(&zone->lock);
	for (i = 0; i < n; i++) {
		pm_pageblock_free(m, zone, pm_pfn(pfns[i]), 0);
		if (capture && pm_pfn_is_nil(capture->pfn))
			(void)capture_locked(m, zone, pm_pfn(pfns[i]), capture);
	}
	zone->nr_freed += n;
	pm_unlock(&zone->lock);
}
