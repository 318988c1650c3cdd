/// "Simulate": a probe's compaction as in Linux (mm/compaction.c of 6.18): the migrate scanner goes up through a zone, the free scanner comes down, and it
/// ends when the request can be served, when they meet, or at a large block for which the free scanner found no destination of its order.
///
/// Of what the kernel does this has the two scanners, where they go on the next time, and the deferral after a failure; not the skip hints, nor the
/// asynchronous mode, which gives up sooner.
#include "phys/watermark.h"
#include "replay/simulate.h"

/// COMPACT_CLUSTER_MAX, and COMPACT_MAX_DEFER_SHIFT.
enum { PM_SIM_CLUSTER = 32, PM_SIM_DEFER_MAX = 6 };

/// Is there room to move to, beyond what the zone keeps?
static bool is_suitable(const struct pm_sim_probe *probe, const struct pm_zone *zone)
{
	unsigned int which = probe->order > PM_COSTLY_ORDER ? PM_WMARK_LOW : PM_WMARK_MIN;

	return pm_watermark_ok(zone, 0, pm_watermark(zone, which) + (2u << probe->order), PM_ZONE_MOVABLE, 0);
}

static bool is_deferred(struct pm_sim_scanners *s)
{
	if (s->considered < 1u << s->shift)
		s->considered++;
	return s->considered < 1u << s->shift;
}

static void drain(const struct pm_sim_probe *probe, struct pm_zone *zone)
{
	struct pm_pcp *pcp = &probe->sim->m->cpu[probe->cpu].pcp[zone->index];

	pm_lock(&pcp->lock);
	pm_pcp_drain(probe->sim->m, zone, pcp, pcp->count, 0);
	pm_unlock(&pcp->lock);
}

static bool holds(const struct pm_sim_compaction *c, unsigned int order)
{
	while (order < PM_NR_ORDERS && pm_chain_empty(&c->held[order]))
		order++;
	return order < PM_NR_ORDERS;
}

/// A destination for a block: the free scanner goes on until it holds a cluster more. False: it met the migrate scanner, or holds none of the order.
static bool supply(const struct pm_sim_probe *probe, struct pm_zone *zone, struct pm_sim_scanners *s, struct pm_sim_compaction *c, unsigned int order)
{
	if (holds(c, order))
		return true;
	c->nr_waiting = c->nr_held + PM_SIM_CLUSTER;
	while (s->free > s->migrate) {
		uint32_t start = s->free << PM_PAGEBLOCK_ORDER;

		pm_simulation_scan_free(probe->sim, c, start > zone->start ? start : (uint32_t)zone->start, start + PM_PAGEBLOCK_NR_PAGES);
		if (c->nr_held >= c->nr_waiting)
			break;
		s->free--;
	}
	return holds(c, order);
}

/// Moves what can move out of the pageblock at which the migrate scanner is. False: a block has no destination.
static bool move_out(struct pm_sim_probe *probe, struct pm_zone *zone, struct pm_sim_scanners *s, struct pm_sim_compaction *c)
{
	struct pm_simulation *sim = probe->sim;
	uint32_t at = s->migrate << PM_PAGEBLOCK_ORDER, end = at + PM_PAGEBLOCK_NR_PAGES;

	if (sim->m->tables.pageblocks[s->migrate].free_order)
		return true;
	at = at > zone->start ? at : (uint32_t)zone->start;
	end = end < zone->end ? end : (uint32_t)zone->end;
	while (at < end) {
		uint32_t word = pm_frame_word(&sim->m->tables.frames[at]);
		unsigned int order = pm_word_order(word);

		if (pm_word_kind(word) == PM_FRAME_USED && pm_simulation_can_move(sim, at)) {
			if (!supply(probe, zone, s, c, order) || !pm_simulation_leave(sim, c, at))
				return false;
			PM_ASSERT(pm_simulation_free_block(sim, probe->cpu, at, order));
			probe->moved += (uint64_t)1 << order;
		}
		at += pm_word_kind(word) == PM_FRAME_NONE ? 1 : 1u << order;
	}
	return true;
}

/// Goes on until the zone serves the request. False: something has no destination, or the scanners met.
static bool scan(struct pm_sim_probe *probe, struct pm_zone *zone, struct pm_sim_scanners *s, struct pm_sim_compaction *c)
{
	while (s->free > s->migrate) {
		bool all = move_out(probe, zone, s, c);

		s->migrate++;
		/* What was emptied comes together only in the free lists. */
		drain(probe, zone);
		if (pm_simulation_zone_serves(probe, zone))
			return true;
		if (!all)
			return false;
	}
	return false;
}

void pm_simulation_scan_zone(struct pm_sim_probe *probe, struct pm_zone *zone)
{
	struct pm_sim_scanners *s = &probe->sim->scanners[zone->index];
	struct pm_sim_compaction c = pm_simulation_no_compaction(0);

	if (!is_suitable(probe, zone) || is_deferred(s))
		return;
	if (s->free <= s->migrate) {
		s->migrate = (uint32_t)(zone->start >> PM_PAGEBLOCK_ORDER);
		s->free = (uint32_t)((zone->end - 1) >> PM_PAGEBLOCK_ORDER);
	}
	if (scan(probe, zone, s, &c)) {
		s->considered = s->shift = 0;
	} else if (s->free <= s->migrate) {
		/* Only a run to the end is a failure that defers the next ones. */
		s->considered = 0;
		s->shift = s->shift < PM_SIM_DEFER_MAX ? s->shift + 1 : s->shift;
	}
	pm_simulation_release(probe->sim, &c, probe->cpu);
	drain(probe, zone);
}
