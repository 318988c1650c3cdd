/// A block of several frames for which there is no destination of its order: its owner splits it, and its frames move one by one.
#include "move/destination.h"
#include "move/job.h"
#include "virt/owner.h"

/// As many destinations of order 0 as there are, and no more than `most`. All of them before the first frame moves: else one would go where another one was.
static uint32_t get_destinations(struct pm_migration *mig, uint32_t most, struct pm_pfn *to)
{
	uint32_t n;

	for (n = 0; n < most; n++)
		if (pm_destination_alloc(mig->call, &mig->destination, mig->from, 0, &to[n]))
			break;
	return n;
}

/// Moves the frames of a split block to the first of these destinations that are needed, and gives back the others. Returns how many have moved.
static uint32_t move_parts(struct pm_migration *mig, uint32_t n, const struct pm_pfn *to)
{
	uint32_t i, moved = 0;

	for (i = 0; i < n; i++) {
		enum pm_status status = pm_owner_replace(mig->call, pm_pfn(mig->from.v + i), to[i]);

		if (!status) {
			moved++;
			continue;
		}
		/* Its owner is busy with it, or has freed it meanwhile. */
		mig->status = status;
		mig->reason = status == PM_ERR_AGAIN ? PM_WHY_LOCKED : PM_WHY_NOT_MOVABLE;
		pm_page_put(mig->call, to[i]);
	}
	return moved;
}

void pm_split_and_move(struct pm_migration *mig, unsigned int order)
{
	struct pm_machine *m = mig->call->m;
	uint32_t parts = 1u << order, n;
	struct pm_pfn *to = pm_host_zalloc(&m->host, parts * sizeof(*to));
	enum pm_status status;

	mig->status = PM_ERR_NOMEM;
	mig->reason = PM_WHY_NO_MEMORY;
	if (!to)
		return;
	n = get_destinations(mig, parts, to);
	/* Without any there is no reason to split. */
	status = n ? pm_owner_split(mig->call, mig->from) : PM_ERR_NOMEM;
	if (!status) {
		mig->split_moved = move_parts(mig, n, to);
	} else {
		if (status == PM_ERR_AGAIN || status == PM_ERR_BUSY) {
			mig->status = status;
			mig->reason = status == PM_ERR_AGAIN ? PM_WHY_LOCKED : PM_WHY_NOT_MOVABLE;
		}
		while (n > 0)
			pm_page_put(mig->call, to[--n]);
	}
	if (!status && !mig->split_moved)
		pm_owner_join(mig->call, mig->from);
	if (mig->split_moved) {
		mig->split = parts;
		pm_move_count(&m->move->split, 1);
		pm_move_count(&m->move->split_moved, mig->split_moved);
	}
	if (mig->split_moved == parts) {
		mig->to = to[0];
		mig->status = PM_OK;
		mig->reason = PM_WHY_NONE;
		mig->state = PM_MS_DONE;
	}
	pm_host_free(&m->host, to);
}
