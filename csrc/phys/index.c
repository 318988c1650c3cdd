/// Fragmentation in one number: the indices of REFERENCE section 4, in the kernel's integer arithmetic.
#include "base/types.h"

static void sum_blocks(const uint64_t *nr_blocks, uint32_t order, uint64_t *free, uint64_t *blocks, uint64_t *suitable)
{
	uint32_t o;

	*free = *blocks = *suitable = 0;
	for (o = 0; o < PM_NR_ORDERS; o++) {
		*free += nr_blocks[o] << o;
		*blocks += nr_blocks[o];
		if (o >= order)
			*suitable += nr_blocks[o] << (o - order);
	}
}

int64_t pm_fragmentation_index(const uint64_t *nr_blocks, uint32_t order)
{
	uint64_t free, blocks, suitable;

	if (order > PM_MAX_ORDER)
		return INT64_MIN;
	sum_blocks(nr_blocks, order, &free, &blocks, &suitable);
	if (blocks == 0)
		return 0;
	if (suitable > 0)
		return -1000;
	return 1000 - (int64_t)((1000 + free * 1000 / ((uint64_t)1 << order)) / blocks);
}

int64_t pm_unusable_index(const uint64_t *nr_blocks, uint32_t order)
{
	uint64_t free, blocks, suitable;

	if (order > PM_MAX_ORDER)
		return INT64_MIN;
	sum_blocks(nr_blocks, order, &free, &blocks, &suitable);
	if (free == 0)
		return 1000;
	return (int64_t)((free - (suitable << order)) * 1000 / free);
}
