/// Memory of the host for the objects of one world: a stretch that is copied away and copied back, so that every schedule of a program begins
/// in the same state at the same addresses. Other ranges (frame table, bytes of frames) join it.
#ifndef PM_SCHED_REGION_H
#define PM_SCHED_REGION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PM_REGION_LINE = 64, PM_REGION_CLASSES = 160, PM_REGION_RANGES = 16 };

struct pm_region {
	char *base;
	size_t bytes;
	/* From here to `ranges` what is copied along. */
	size_t used;
	size_t live; ///< pieces not given back
	void *free_list[PM_REGION_CLASSES]; ///< by size in lines
	/* Ranges outside; with a `step` only the first and the last line of each step are kept: contents of frames, which are all alike inside. */
	struct pm_region_range {
		char *at;
		size_t bytes, step;
	} ranges[PM_REGION_RANGES];
	size_t nr_ranges;
};

/// A copy of a region.
struct pm_snapshot {
	char *bytes;
	size_t room;
};

bool pm_region_init(struct pm_region *region, size_t bytes);
void pm_region_deinit(struct pm_region *region);
void pm_region_add_range(struct pm_region *region, void *at, size_t bytes, size_t step);

/// Lines of memory; NULL: the region is full. Freed memory is filled with a pattern that is no address.
void *pm_region_alloc(struct pm_region *region, size_t bytes);
void pm_region_free(struct pm_region *region, void *memory);

bool pm_snapshot_take(struct pm_snapshot *snapshot, const struct pm_region *region);
void pm_snapshot_restore(const struct pm_snapshot *snapshot, struct pm_region *region);
void pm_snapshot_deinit(struct pm_snapshot *snapshot);

#endif
