#include "sched/region.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/// In front of each piece, a line of its own.
struct head {
	size_t lines; ///< of the piece, without the head
	struct head *next;
};

enum { FREED = 0xdb };

bool pm_region_init(struct pm_region *region, size_t bytes)
{
	*region = (struct pm_region){ .bytes = bytes };
	region->base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (region->base == MAP_FAILED)
		region->base = NULL;
	return region->base != NULL;
}

void pm_region_deinit(struct pm_region *region)
{
	if (region->base)
		munmap(region->base, region->bytes);
	region->base = NULL;
}

void pm_region_add_range(struct pm_region *region, void *at, size_t bytes, size_t step)
{
	if (region->nr_ranges < PM_REGION_RANGES)
		region->ranges[region->nr_ranges++] = (struct pm_region_range){ at, bytes, step };
}

void *pm_region_alloc(struct pm_region *region, size_t bytes)
{
	size_t lines = (bytes + PM_REGION_LINE - 1) / PM_REGION_LINE;
	struct head *head = lines < PM_REGION_CLASSES ? region->free_list[lines] : NULL;

	if (head) {
		region->free_list[lines] = head->next;
	} else {
		if ((lines + 1) * PM_REGION_LINE > region->bytes - region->used)
			return NULL;
		head = (struct head *)(void *)(region->base + region->used);
		region->used += (lines + 1) * PM_REGION_LINE;
	}
	head->lines = lines;
	region->live++;
	return (char *)head + PM_REGION_LINE;
}

void pm_region_free(struct pm_region *region, void *memory)
{
	struct head *head = (struct head *)(void *)((char *)memory - PM_REGION_LINE);

	region->live--;
	if (head->lines >= PM_REGION_CLASSES)
		return;
	memset(memory, FREED, head->lines * PM_REGION_LINE);
	head->next = region->free_list[head->lines];
	region->free_list[head->lines] = head;
}

/// Copies the ends of each step of a range, in one direction or the other.
static char *copy_range(const struct pm_region_range *range, char *copy, bool restore)
{
	size_t step = range->step ? range->step : range->bytes, at, side;

	if (!range->step) {
		memcpy(restore ? range->at : copy, restore ? copy : range->at, range->bytes);
		return copy + range->bytes;
	}
	for (at = 0; at < range->bytes; at += step)
		for (side = 0; side < 2; side++, copy += PM_REGION_LINE) {
			char *line = range->at + at + (side ? step - PM_REGION_LINE : 0);

			memcpy(restore ? line : copy, restore ? copy : line, PM_REGION_LINE);
		}
	return copy;
}

static size_t bytes_of_range(const struct pm_region_range *range)
{
	return range->step ? range->bytes / range->step * 2 * PM_REGION_LINE : range->bytes;
}

bool pm_snapshot_take(struct pm_snapshot *snapshot, const struct pm_region *region)
{
	size_t head = offsetof(struct pm_region, ranges), need = head + region->used, i;
	char *copy;

	for (i = 0; i < region->nr_ranges; i++)
		need += bytes_of_range(&region->ranges[i]);
	if (snapshot->room < need) {
		free(snapshot->bytes);
		snapshot->bytes = malloc(need);
		snapshot->room = snapshot->bytes ? need : 0;
		if (!snapshot->bytes)
			return false;
	}
	memcpy(snapshot->bytes, region, head);
	copy = snapshot->bytes + head;
	memcpy(copy, region->base, region->used);
	copy += region->used;
	for (i = 0; i < region->nr_ranges; i++)
		copy = copy_range(&region->ranges[i], copy, false);
	return true;
}

void pm_snapshot_restore(const struct pm_snapshot *snapshot, struct pm_region *region)
{
	size_t head = offsetof(struct pm_region, ranges), i;
	char *copy = snapshot->bytes + head;

	memcpy(region, snapshot->bytes, head);
	memcpy(region->base, copy, region->used);
	copy += region->used;
	for (i = 0; i < region->nr_ranges; i++)
		copy = copy_range(&region->ranges[i], copy, true);
}

void pm_snapshot_deinit(struct pm_snapshot *snapshot)
{
	free(snapshot->bytes);
	*snapshot = (struct pm_snapshot){ 0 };
}
