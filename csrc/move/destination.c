#include "move/destination.h"

static enum pm_status take_at(struct pm_call *call, uint64_t pfn, unsigned int order, struct pm_pfn *ret)
{
	if (pm_host_fails(&call->m->host) || pm_take(call->m, pfn, order, PM_MT_MOVABLE) != PM_OK)
		return PM_ERR_NOMEM;
	*ret = pm_pfn(pfn);
	pm_page_own(call->m, *ret);
	return PM_OK;
}

/// Takes the lowest free block in [start, end). Frames in per-CPU lists are drained first: they are free for this.
static enum pm_status take_between(struct pm_call *call, uint64_t start, uint64_t end, unsigned int order, struct pm_pfn *ret)
{
	uint64_t step = (uint64_t)1 << order, pfn = (start + step - 1) & ~(step - 1);

	while (pfn + step <= end) {
		struct pm_frame_info info;

		if (pm_frame_info(call->m, pfn, &info) != PM_OK || info.state == PM_STATE_HOLE || info.state == PM_STATE_RESERVED) {
			pfn += step;
			continue;
		}
		if (info.state == PM_STATE_FREE && info.pageblock_type != PM_MT_ISOLATE && info.order >= order && take_at(call, pfn, order, ret) == PM_OK)
			return PM_OK;
		/* Past the block that is here. */
		pfn = info.state == PM_STATE_FREE && info.order >= order ? pfn + step : info.head + ((uint64_t)1 << info.order);
		pfn = (pfn + step - 1) & ~(step - 1);
	}
	return PM_ERR_NOMEM;
}

static enum pm_status take_in(struct pm_call *call, uint64_t start, uint64_t end, unsigned int order, struct pm_pfn *ret)
{
	enum pm_status status = take_between(call, start, end, order, ret);

	if (!status)
		return PM_OK;
	status = pm_drain(call->m, PM_ALL_CPUS);
	return status ? status : take_between(call, start, end, order, ret);
}

/// A given frame may lie in a per-CPU list: a migration that was undone has put it there, and its next try wants it again.
static enum pm_status take_given(struct pm_call *call, uint64_t pfn, unsigned int order, struct pm_pfn *ret)
{
	enum pm_status status = take_at(call, pfn, order, ret);
	struct pm_frame_info info;

	if (!status || pm_frame_info(call->m, pfn, &info) != PM_OK || info.state != PM_STATE_PCP)
		return status;
	status = pm_drain(call->m, PM_ALL_CPUS);
	return status ? status : take_at(call, pfn, order, ret);
}

static enum pm_status take_in_zone(struct pm_call *call, uint64_t index, unsigned int order, struct pm_pfn *ret)
{
	struct pm_machine *m = call->m;

	if (index >= m->nr_zones)
		return PM_ERR_INVAL;
	return take_in(call, m->zone[index].start, m->zone[index].end, order, ret);
}

enum pm_status pm_destination_alloc(struct pm_call *call, const struct pm_destination *destination, struct pm_pfn from, unsigned int order, struct pm_pfn *ret)
{
	(void)from;
	switch (destination->kind) {
	case PM_DEST_ANY:
		return pm_page_alloc(call, order, PM_DEST_ANY_GFP, false, ret);
	case PM_DEST_ZONE:
		return take_in_zone(call, destination->value, order, ret);
	case PM_DEST_BELOW:
		return take_in(call, 0, destination->value < call->m->nr_frames ? destination->value : call->m->nr_frames, order, ret);
	case PM_DEST_ABOVE:
		return take_in(call, destination->value, call->m->nr_frames, order, ret);
	case PM_DEST_GIVEN:
		return take_given(call, destination->frames[0], order, ret);
	default:
		return PM_ERR_INVAL;
	}
}
