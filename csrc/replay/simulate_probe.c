/// "Simulate": would a large block have been there, and what would it have cost to make one?
///
/// The strategies are those of csrc/move in what they choose. They move differently: a simulation's frames have no owner that unmaps them, only allocations with
/// numbers, so a block moves by noting its new place. One block at a time is wanted, and destinations are in the same zone, from the lists for movable requests,
/// the smallest block first. What no block holds is split, except by `linux` (simulate_scanners.c), which stops there as the kernel did.
#include <stdlib.h>

#include "phys/buddy.h"
#include "phys/pageblock.h"
#include "phys/watermark.h"
#include "replay/simulate.h"

/// Blocks that the planner tries at a probe. One fails where not even single frames find room, and a dearer one would need more.
enum { PM_SIM_PLANS = 4 };

/// A place for a block, by its price; dearer ones are greater.
struct site {
	struct pm_zone *zone; ///< NULL: none
	uint32_t start;
	uint32_t cost; ///< frames to move
};

bool pm_simulation_zone_serves(const struct pm_sim_probe *probe, const struct pm_zone *zone)
{
	return pm_watermark_ok(zone, probe->order, pm_watermark(zone, PM_WMARK_LOW), PM_ZONE_MOVABLE, 0);
}

static bool is_there(const struct pm_sim_probe *probe)
{
	const struct pm_machine *m = probe->sim->m;
	uint32_t z;

	for (z = 0; z < m->nr_zones; z++)
		if (pm_simulation_zone_serves(probe, &m->zone[z]))
			return true;
	return false;
}

/// Would a block help? Not where so little is free that the request would be refused with one.
static bool is_worth_it(const struct pm_sim_probe *probe, const struct pm_zone *zone)
{
	return pm_watermark_enough(zone, probe->order, pm_watermark(zone, PM_WMARK_LOW), PM_ZONE_MOVABLE, 0);
}

/// May the block at `start` be emptied, and what would move? A pageblock that is free as a whole has nothing to empty.
static bool price(const struct pm_sim_probe *probe, const struct pm_zone *zone, uint32_t start, uint32_t *cost)
{
	const struct pm_simulation *sim = probe->sim;
	uint64_t end = (uint64_t)start + (1u << probe->order);

	if (start < zone->start || end > zone->end || sim->m->tables.pageblocks[start >> PM_PAGEBLOCK_ORDER].free_order)
		return false;
	return pm_simulation_can_empty(sim, start, (uint32_t)end, cost);
}

/// Empties a block and gives it to the free lists. False: not everything in it found room.
static bool make_block(struct pm_sim_probe *probe, struct pm_zone *zone, uint32_t start)
{
	struct pm_simulation *sim = probe->sim;

	if (!pm_simulation_empty(sim, zone, NULL, start, start + (1u << probe->order), &probe->moved))
		return false;
	pm_lock(&zone->lock);
	pm_pageblock_free(sim->m, zone, pm_pfn(start), probe->order);
	pm_unlock(&zone->lock);
	return true;
}

/* ---- planner ---- */

static bool is_dearer(const struct site *a, const struct site *b)
{
	return a->cost != b->cost ? a->cost > b->cost : a->start > b->start;
}

/// The cheapest place of all zones that is dearer than `last` (with no zone: of all).
static struct site cheapest(const struct pm_sim_probe *probe, const struct site *last)
{
	struct pm_machine *m = probe->sim->m;
	struct site best = { NULL, 0, 0 };
	uint32_t z, size = 1u << probe->order;

	for (z = 0; z < m->nr_zones; z++) {
		struct pm_zone *zone = &m->zone[z];
		struct site at = { zone, (uint32_t)((zone->start + size - 1) & ~(uint64_t)(size - 1)), 0 };

		for (; is_worth_it(probe, zone) && at.start + (uint64_t)size <= zone->end; at.start += size)
			if (price(probe, zone, at.start, &at.cost) && (!last->zone || is_dearer(&at, last)) && (!best.zone || is_dearer(&best, &at)))
				best = at;
	}
	return best;
}

static void run_planner(struct pm_sim_probe *probe)
{
	struct site at = { NULL, 0, 0 };
	unsigned int tries;

	for (tries = 0; tries < PM_SIM_PLANS; tries++) {
		at = cheapest(probe, &at);
		if (!at.zone || make_block(probe, at.zone, at.start))
			return;
	}
}

/* ---- coalesce-2004 ---- */

/// Copies the heads of a zone's free blocks of `order`, in the order of the lists: while blocks move the lists change. NULL: the host has no memory.
static uint32_t *copy_seeds(const struct pm_sim_probe *probe, struct pm_zone *zone, unsigned int order, size_t *ret)
{
	size_t room = 0, n = 0;
	unsigned int type;
	uint32_t *seeds;

	for (type = 0; type < PM_MT_ISOLATE; type++)
		room += pm_list_nr(&zone->area[order].list[type]);
	seeds = malloc((room + 1) * sizeof(*seeds));
	if (!seeds)
		return NULL;
	pm_lock(&zone->lock);
	for (type = 0; type < PM_MT_ISOLATE; type++) {
		uint32_t at = pm_list_nr(&zone->area[order].list[type]) ? zone->area[order].list[type].chain.first : PM_NIL_PFN;

		for (; at != PM_NIL_PFN && n < room; at = pm_link_of(&probe->sim->m->tables, at, order)->next)
			seeds[n++] = at;
	}
	pm_unlock(&zone->lock);
	*ret = n;
	return seeds;
}

/// Tries the seeds of one order. `made`: one became a block.
static enum pm_status try_seeds(struct pm_sim_probe *probe, struct pm_zone *zone, unsigned int order, bool *made)
{
	size_t n = 0, i;
	uint32_t *seeds = copy_seeds(probe, zone, order, &n);

	if (!seeds)
		return PM_ERR_NOMEM;
	for (i = 0; i < n && !*made; i++) {
		uint32_t start = seeds[i] & ~((1u << probe->order) - 1), cost;
		bool still;

		pm_lock(&zone->lock);
		still = pm_buddy_is_free(probe->sim->m, zone, pm_pfn(seeds[i]), order);
		pm_unlock(&zone->lock);
		*made = still && price(probe, zone, start, &cost) && make_block(probe, zone, start);
	}
	free(seeds);
	return PM_OK;
}

static enum pm_status run_coalesce(struct pm_sim_probe *probe)
{
	struct pm_machine *m = probe->sim->m;
	enum pm_status status = PM_OK;
	bool made = false;
	unsigned int down;
	uint32_t z;

	/* The highest zone first, as an allocation that may use any. */
	for (z = m->nr_zones; z-- > 0;)
		for (down = 1; down <= 2 && down <= probe->order && !made && !status && is_worth_it(probe, &m->zone[z]); down++)
			status = try_seeds(probe, &m->zone[z], probe->order - down, &made);
	return status;
}

/* ---- linux ---- */

static enum pm_status run_linux(struct pm_sim_probe *probe)
{
	struct pm_simulation *sim = probe->sim;
	uint32_t z;

	if (!sim->scanners)
		sim->scanners = calloc(sim->m->nr_zones, sizeof(*sim->scanners));
	if (!sim->scanners)
		return PM_ERR_NOMEM;
	for (z = sim->m->nr_zones; z-- > 0;) {
		pm_simulation_scan_zone(probe, &sim->m->zone[z]);
		if (pm_simulation_zone_serves(probe, &sim->m->zone[z]))
			break;
	}
	return PM_OK;
}

/* ---- the probe ---- */

static enum pm_status run(struct pm_sim_probe *probe, uint32_t strategy)
{
	/* What lies in per-CPU lists can neither be emptied nor moved to. */
	enum pm_status status = strategy == PM_PROBE_PLANNER ? pm_drain(probe->sim->m, PM_ALL_CPUS) : PM_OK;

	if (status || is_there(probe))
		return status;
	if (strategy == PM_PROBE_PLANNER)
		run_planner(probe);
	else
		status = strategy == PM_PROBE_LINUX ? run_linux(probe) : run_coalesce(probe);
	return status;
}

enum pm_status pm_simulation_probe(struct pm_simulation *sim, uint32_t cpu, uint32_t order, uint32_t strategy, struct pm_probe *ret)
{
	struct pm_sim_probe probe = { .sim = sim, .cpu = cpu, .order = order };
	enum pm_status status = PM_OK;
	struct pm_simulation_stats before = sim->stats;
	bool there;

	if (cpu >= sim->m->nr_cpus || order < 1 || order > PM_PAGEBLOCK_ORDER || strategy >= PM_NR_PROBE_STRATEGIES)
		return PM_ERR_INVAL;
	there = is_there(&probe);
	if (!there && strategy != PM_PROBE_NONE)
		status = run(&probe, strategy);
	sim->stats = before;
	*ret = (struct pm_probe){ .moved = probe.moved, .there = there, .there_after = there || is_there(&probe) };
	return status;
}
