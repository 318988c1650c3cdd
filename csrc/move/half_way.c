/// What migrations that are stepped, and not over, have of a frame: so that pm_machine_validate() can be called between two steps.
#include "move/half_way.h"

#include "move/move.h"

/// Is the destination in the caches' place, and not yet what it is to be there?
static bool is_incomplete(const struct pm_migration *mig)
{
	return mig->state == PM_MS_COPY || mig->slot_switched;
}

static void add_source(const struct pm_migration *mig, struct pm_moving *ret)
{
	/* Isolation's, and in swap-cache the one that its old place has left. */
	ret->refs += mig->isolated + mig->slot_switched;
	ret->flags |= (mig->isolated ? PM_PG_ISOLATED : 0u) | (mig->locked_from ? PM_PG_LOCKED : 0u);
	ret->blocked |= mig->unmapped;
}

static void add_destination(const struct pm_migration *mig, struct pm_moving *ret)
{
	/* The one with which it was allocated. */
	ret->refs++;
	ret->flags |= mig->locked_to ? PM_PG_LOCKED : 0u;
	ret->incomplete |= is_incomplete(mig);
}

bool pm_move_half_way(struct pm_machine *m, struct pm_pfn pfn, struct pm_moving *ret)
{
	struct pm_move *move = atomic_load(&m->move);
	struct pm_stepper *stepper;
	uint32_t after = 0;
	bool any = false;

	*ret = (struct pm_moving){ .from = pm_pfn_nil(), .to = pm_pfn_nil() };
	while ((stepper = pm_pool_next(&move->steppers, after)) != NULL) {
		const struct pm_migration *mig = &stepper->migration;
		bool is_source = pm_pfn_eq(mig->from, pfn), is_destination = pm_pfn_eq(mig->to, pfn) && !pm_pfn_is_nil(pfn);

		after = stepper->pooled.index;
		if (mig->state == PM_MS_ISOLATE || pm_migration_over(mig))
			continue;
		if (pm_pfn_is_nil(pfn))
			return true;
		if (is_source)
			add_source(mig, ret);
		if (is_destination)
			add_destination(mig, ret);
		if (!is_source && !is_destination)
			continue;
		any = true;
		ret->from = mig->from;
		ret->to = mig->to;
		ret->next = pm_migration_table[mig->state].name;
	}
	return any;
}
