/// Movable-ops blocks that were split: their frames can lie apart, and keep their block's number with its owner.
#include <string.h>

#include "virt/owner.h"
#include "virt/reference.h"

enum pm_status pm_owner_split(struct pm_call *call, struct pm_pfn head) PM_NO_TSA
{
	struct pm_machine *m = call->m;
	struct pm_owner_parts *parts = NULL;
	struct pm_owner *owner;
	uint32_t *at, number, i;
	unsigned int order;
	enum pm_status status = pm_owner_hold(call, head, &owner, &at);

	if (status)
		return status;
	number = pm_page_tag(m, head);
	order = pm_page_order(m, head);
	/* Split by somebody else meanwhile, or not to be split at all. */
	if (pm_owner_parts_of(owner, number) || order == 0 || owner->kind == PM_OWNER_MOVABLE_WHOLE) {
		status = owner->kind == PM_OWNER_MOVABLE_WHOLE ? PM_ERR_BUSY : PM_ERR_AGAIN;
		pm_rwsem_write_unlock(call->waits, &owner->lock);
		return status;
	}
	if (!owner->parts)
		owner->parts = pm_host_zalloc(&m->host, owner->room * sizeof(struct pm_owner_parts *));
	if (owner->parts)
		parts = pm_host_zalloc(&m->host, sizeof(*parts) + (sizeof(parts->frame[0]) << order));
	if (parts) {
		/* A part is of order 0 and stays as it is: what is left of it are its frames. */
		parts->order = order;
		for (i = 0; i < 1u << order; i++)
			parts->frame[i] = head.v + i;
		pm_page_split(m, head);
		owner->parts[number] = parts;
	} else {
		status = PM_ERR_NOMEM;
	}
	pm_rwsem_write_unlock(call->waits, &owner->lock);
	return status;
}

/// Are all frames where they were when the block was split?
static bool is_in_place(const struct pm_owner_parts *parts, struct pm_pfn head)
{
	uint32_t i;

	for (i = 0; i < 1u << parts->order; i++)
		if (parts->frame[i] != head.v + i)
			return false;
	return pm_pfn_aligned(head, parts->order);
}

static void forget_parts(struct pm_call *call, struct pm_owner *owner, uint32_t number)
{
	pm_host_free(&call->m->host, owner->parts[number]);
	owner->parts[number] = NULL;
}

void pm_owner_join(struct pm_call *call, struct pm_pfn head) PM_NO_TSA
{
	struct pm_owner_parts *parts;
	struct pm_owner *owner;
	uint32_t *at, number;

	if (pm_owner_hold(call, head, &owner, &at) != PM_OK)
		return;
	number = pm_page_tag(call->m, head);
	parts = pm_owner_parts_of(owner, number);
	if (parts && is_in_place(parts, head)) {
		pm_page_join(call->m, head, parts->order);
		forget_parts(call, owner, number);
	}
	pm_rwsem_write_unlock(call->waits, &owner->lock);
}

void pm_owner_free_parts(struct pm_call *call, struct pm_owner *owner, uint32_t number)
{
	const struct pm_owner_parts *parts = owner->parts[number];
	uint32_t i;

	for (i = 0; i < 1u << parts->order; i++)
		pm_owner_free_block(call, pm_pfn(parts->frame[i]));
	forget_parts(call, owner, number);
}

void pm_owner_gather_parts(struct pm_call *call, struct pm_owner *owner, uint32_t number, struct pm_pfn to)
{
	const struct pm_owner_parts *parts = owner->parts[number];
	uint32_t i;

	for (i = 0; pm_has_contents(call->m) && i < 1u << parts->order; i++)
		memcpy(pm_frame_bytes(call->m, pm_pfn(to.v + i)), pm_frame_bytes(call->m, pm_pfn(parts->frame[i])), PM_PAGE_SIZE);
	pm_owner_free_parts(call, owner, number);
	owner->frames[number] = to.v;
}
