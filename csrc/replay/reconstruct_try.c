/// "Reconstruct": what cannot have been free any more. A request takes from the smallest blocks that will do; where it split a larger one, no smaller
/// one can have been left on its list. A block that we still hold there has gone before, unseen: a fast isolation took it, and not the one that
/// we thought. So the plan is tried on a machine of its own, and what it contradicts is told to the next passes.
#include "phys/buddy.h"
#include "phys/rmqueue.h"
#include "replay/reconstruct.h"

/// More contradictions than this at one request mean that its list is not known at all.
enum { PM_RC_GONE_MAX = 8 };

/// The layout of a machine, to make another like it.
static enum pm_status make_like(const struct pm_machine *m, struct pm_machine **ret)
{
	struct pm_zone_layout zones[PM_MAX_ZONES];
	struct pm_layout layout = { .zones = zones, .nr_zones = m->nr_zones, .nr_cpus = 1, .start = PM_START_UNPLACED, .settings = m->settings };
	uint32_t z;

	for (z = 0; z < m->nr_zones; z++)
		zones[z] = (struct pm_zone_layout){ m->zone[z].kind, m->zone[z].start, m->zone[z].end - m->zone[z].start };
	layout.holes = m->holes;
	layout.nr_holes = m->nr_holes;
	layout.reserved = m->reserved;
	layout.nr_reserved = m->nr_reserved;
	return pm_machine_create(&layout, ret);
}

/// Before a request takes: blocks of its own list that are smaller than the one that it came to split are gone.
static void find_gone(struct pm_machine *m, struct pm_plan *p, struct pm_zone *zone, const struct pm_rc_op *op) PM_REQUIRES(zone->lock)
{
	unsigned int type = (unsigned int)p->ev->migratetype[op->event], split, have, n;
	struct pm_pfn block = pm_buddy_find(m, zone, pm_pfn(op->pfn), &split);

	if (pm_pfn_is_nil(block) || pm_buddy_list_type(m, zone, block) != type)
		return;
	for (n = 0; n < PM_RC_GONE_MAX; n++) {
		struct pm_pfn first = pm_rmqueue_peek(m, zone, op->order, type, 0);

		if (pm_pfn_is_nil(first) || !pm_rmqueue_has_own(zone, op->order, type) || pm_pfn_is_nil(pm_buddy_find(m, zone, first, &have)) || have >= split)
			return;
		pm_rc_add_word(p, op->event, first.v, 0, 0, PM_NO_PFN32);
		(void)pm_buddy_del(m, zone, first, have);
		zone->nr_unplaced += (uint64_t)1 << have;
	}
}

/// Does a request make this operation, one whose list is known?
static bool is_request(const struct pm_plan *p, const struct pm_rc_op *op)
{
	int type = p->ev->migratetype[op->event];

	return op->kind == PM_RC_TAKE && p->ev->kind[op->event] == PM_EV_ZONE_LOCKED && type >= 0 && type < PM_NR_PCP_TYPES;
}

enum pm_status pm_rc_try_plan(struct pm_plan *p, const struct pm_machine *like)
{
	struct pm_machine *m;
	enum pm_status status = make_like(like, &m);
	size_t i;

	if (status)
		return status;
	status = pm_rc_load_start(m, p);
	for (i = 0; i < p->nr_ops && !status; i++) {
		struct pm_zone *zone = pm_zone_of(m, p->ops[i].pfn);

		if (!zone)
			continue;
		if (is_request(p, &p->ops[i])) {
			pm_lock(&zone->lock);
			find_gone(m, p, zone, &p->ops[i]);
			pm_unlock(&zone->lock);
		}
		pm_rc_apply(m, p, zone, &p->ops[i]);
	}
	pm_machine_destroy(m);
	return p->no_memory ? PM_ERR_NOMEM : status;
}
