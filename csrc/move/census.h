/// What stands in a range of frames: a walk that sees every block in it once, under the lock of its zone.
#ifndef PM_MOVE_CENSUS_H
#define PM_MOVE_CENSUS_H

#include "phys/page.h"

/// Who looks at a range.
struct pm_census {
	/// The block of 2^order frames at `head`, of which `frames` lie in the range; it may begin before it. The zone's lock is held: no sleeping, no lock but leaves.
	void (*see)(struct pm_census *census, uint64_t head, unsigned int order, enum pm_standing standing, uint32_t frames);
};

/// Looks at [start, end), which lies in one zone.
void pm_census_walk(struct pm_machine *m, struct pm_zone *zone, uint64_t start, uint64_t end, struct pm_census *census);

/// Counts the frames of [start, end) by enum pm_standing.
void pm_census_count(struct pm_machine *m, uint64_t start, uint64_t end, uint32_t *frames);

/// Frames that are in somebody's hands and can move, now or in a moment; and those that stay, so that no block around them can come free.
static inline uint32_t pm_census_movable(const uint32_t *frames)
{
	return frames[PM_STAND_MOVABLE] + frames[PM_STAND_UNEVICTABLE] + frames[PM_STAND_WRITEBACK] + frames[PM_STAND_LOCKED] + frames[PM_STAND_ISOLATED];
}

static inline uint32_t pm_census_fixed(const uint32_t *frames)
{
	return frames[PM_STAND_ABSENT] + frames[PM_STAND_UNMOVABLE] + frames[PM_STAND_PINNED];
}

#endif
