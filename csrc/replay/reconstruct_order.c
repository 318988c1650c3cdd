/// "Reconstruct": the order of the free lists at the start. A snapshot does not show it, but requests take from the heads of the lists: of two
/// blocks of one list, the one that a request reaches first stood first.
#include <stdlib.h>

#include "replay/reconstruct.h"

/// A free block at the start, and the operation that first took something out of it for a request.
struct keyed {
	struct pm_rc_op block;
	uint32_t first; ///< PM_NO_PFN32: none
	uint32_t found; ///< the fast isolation that took it, where no request reached it before; PM_NO_PFN32: none
};

/// The block of the start that holds a frame: blocks are in order of their frames. NULL: none.
static struct keyed *holder(struct keyed *blocks, size_t n, uint32_t pfn)
{
	size_t low = 0, high = n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (blocks[middle].block.pfn <= pfn)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0 || pfn - blocks[low - 1].block.pfn >= 1u << blocks[low - 1].block.order)
		return NULL;
	return &blocks[low - 1];
}

static int by_first(const void *a, const void *b)
{
	const struct keyed *x = a, *y = b;

	if (x->first != y->first)
		return x->first < y->first ? -1 : 1;
	/* The search goes from the end of a list: what it took first stood last. */
	if (x->found != y->found)
		return (x->found == PM_NO_PFN32) || (y->found != PM_NO_PFN32 && x->found > y->found) ? -1 : 1;
	return x->block.pfn < y->block.pfn ? -1 : x->block.pfn > y->block.pfn;
}

enum pm_status pm_rc_order_start(struct pm_plan *p)
{
	struct keyed *blocks = malloc((p->nr_start + 1) * sizeof(*blocks));
	size_t i;

	if (!blocks)
		return PM_ERR_NOMEM;
	for (i = 0; i < p->nr_start; i++)
		blocks[i] = (struct keyed){ p->start[i], PM_NO_PFN32, PM_NO_PFN32 };
	for (i = 0; i < p->nr_ops; i++) {
		uint8_t kind = p->ev->kind[p->ops[i].event];
		struct keyed *block;

		if (p->ops[i].kind != PM_RC_TAKE || (kind != PM_EV_ZONE_LOCKED && kind != PM_EV_EXTFRAG && kind != PM_EV_FAST_ISOLATE_FREE))
			continue;
		block = holder(blocks, p->nr_start, p->ops[i].pfn);
		if (!block || block->first != PM_NO_PFN32 || block->found != PM_NO_PFN32)
			continue;
		if (kind != PM_EV_FAST_ISOLATE_FREE)
			block->first = (uint32_t)i;
		else if (block->block.pfn == p->ops[i].pfn && block->block.order == p->ops[i].order)
			block->found = (uint32_t)i;
	}
	qsort(blocks, p->nr_start, sizeof(*blocks), by_first);
	for (i = 0; i < p->nr_start; i++)
		p->start[i] = blocks[i].block;
	free(blocks);
	return PM_OK;
}
