/// "Simulate": what recorded compaction does to us. When, from where and how far its scanners look is the recording's; what they find there, and
/// what becomes of it, is ours, by the rules of the kernel's mm/compaction.c (6.18).
#include <stdlib.h>

#include "phys/buddy.h"
#include "replay/simulate.h"

/// How many blocks of a free list the fast search looks at.
enum { PM_SIM_FAST_LIMIT = 16 };

struct pm_sim_compaction *pm_simulation_compaction(struct pm_simulation *sim, uint32_t tid)
{
	uint32_t i;

	for (i = 0; i < sim->nr_compactions; i++)
		if (sim->compactions[i].tid == tid)
			return &sim->compactions[i];
	return NULL;
}

struct pm_sim_compaction pm_simulation_no_compaction(uint32_t tid)
{
	struct pm_sim_compaction none = { .tid = tid, .order = -1, .last_migrated = PM_NIL_PFN };
	unsigned int o;

	for (o = 0; o < PM_NR_ORDERS; o++)
		pm_chain_init(&none.held[o]);
	return none;
}

/// The compaction of a thread, made on its first event. NULL: no memory for one more.
static struct pm_sim_compaction *make_compaction(struct pm_simulation *sim, uint32_t tid)
{
	struct pm_sim_compaction *c = pm_simulation_compaction(sim, tid), *more;

	if (c)
		return c;
	if (sim->nr_compactions == sim->room_compactions) {
		uint32_t room = sim->room_compactions ? 2 * sim->room_compactions : 8;

		more = realloc(sim->compactions, room * sizeof(*more));
		if (!more)
			return NULL;
		sim->compactions = more;
		sim->room_compactions = room;
	}
	c = &sim->compactions[sim->nr_compactions++];
	*c = pm_simulation_no_compaction(tid);
	return c;
}

/// Takes a free block for a compaction. False: the zone is too short of memory for that.
static bool hold(struct pm_simulation *sim, struct pm_zone *zone, struct pm_sim_compaction *c, struct pm_pfn pfn, unsigned int order) PM_REQUIRES(zone->lock)
{
	uint64_t free = atomic_load_explicit(&zone->nr_free, memory_order_relaxed); /* relaxed: under the lock */

	if (free <= pm_watermark(zone, PM_WMARK_MIN) + (1u << order))
		return false;
	(void)pm_buddy_del(sim->m, zone, pfn, order);
	pm_frame_set_word(pm_frame_of(sim->m, pfn), pm_word(PM_FRAME_USED, PM_MT_MOVABLE, order));
	atomic_store_explicit(&pm_frame_of(sim->m, pfn)->tag, PM_SIM_FIXED_TAG, memory_order_relaxed); /* relaxed: one thread */
	pm_chain_push_back(&sim->m->tables, &c->held[order], pfn, order);
	c->nr_held += 1u << order;
	sim->stats.isolated += 1u << order;
	return true;
}

void pm_simulation_scan_free(struct pm_simulation *sim, struct pm_sim_compaction *c, uint32_t start, uint32_t end)
{
	struct pm_machine *m = sim->m;
	struct pm_zone *zone = pm_zone_of(m, start);
	uint32_t at = start;

	if (!zone)
		return;
	end = end < zone->end ? end : zone->end;
	pm_lock(&zone->lock);
	while (at < end && c->nr_held < c->nr_waiting) {
		const struct pm_pageblock *block = &m->tables.pageblocks[at >> PM_PAGEBLOCK_ORDER];
		uint32_t word = pm_frame_word(&m->tables.frames[at]);
		enum pm_frame_kind kind = pm_word_kind(word);

		/* Not from a pageblock that is free as a whole, nor from one of another type. */
		if (pm_pageblock_type(block) != PM_MT_MOVABLE || block->free_order) {
			at = (at | (PM_PAGEBLOCK_NR_PAGES - 1)) + 1;
			continue;
		}
		if (kind == PM_FRAME_FREE && !hold(sim, zone, c, pm_pfn(at), pm_word_order(word)))
			break;
		at += kind == PM_FRAME_NONE ? 1 : 1u << pm_word_order(word);
	}
	pm_unlock(&zone->lock);
}

/// A block of one order of the movable list, as compaction's fast search finds it (mm/compaction.c, fast_isolate_freepages, of 6.18): from the list's
/// end the first in the upper half of what lies between the scanners, else the highest seen; a candidate halves how far it looks. Turns the list so
/// that the next search begins behind what this one looked at, also where it found nothing.
static struct pm_pfn fast_find(struct pm_simulation *sim, struct pm_zone *zone, unsigned int order, uint32_t least, uint32_t good) PM_REQUIRES(zone->lock)
{
	const struct pm_tables *t = &sim->m->tables;
	struct pm_chain *chain = &zone->area[order].list[PM_MT_MOVABLE].chain;
	uint32_t at = chain->first == PM_NIL_PFN ? PM_NIL_PFN : chain->last, best = PM_NIL_PFN, limit = PM_SIM_FAST_LIMIT, n;

	for (n = 1; at != PM_NIL_PFN; n++) {
		if (at >= good) {
			best = at;
			break;
		}
		if (at >= least && (best == PM_NIL_PFN || at > best)) {
			best = at;
			limit >>= 1;
		}
		if (n >= limit)
			break;
		at = at == chain->first ? PM_NIL_PFN : pm_link_of(t, at, order)->prev;
	}
	if (best != PM_NIL_PFN)
		at = best;
	if (at != PM_NIL_PFN)
		pm_chain_turn(t, chain, pm_pfn(at), order);
	return best == PM_NIL_PFN ? pm_pfn_nil() : pm_pfn(best);
}

/// The fast search for free blocks: one block from the free lists, from the upper half of what is left between the scanners if there is one. Which
/// order it had is the recording's; failing that, a smaller, or a larger.
static void fast_isolate(struct pm_simulation *sim, struct pm_sim_compaction *c, uint32_t least, uint32_t free_pfn, uint32_t taken)
{
	struct pm_zone *zone = pm_zone_of(sim->m, least);
	uint32_t good = (free_pfn > least ? free_pfn - (free_pfn - least) / 2 : least) & ~(uint32_t)(PM_PAGEBLOCK_NR_PAGES - 1);
	unsigned int order = 0, i;

	if (!zone || !taken)
		return;
	while (order < PM_MAX_ORDER && 2u << order <= taken)
		order++;
	pm_lock(&zone->lock);
	for (i = 0; i < PM_NR_ORDERS; i++) {
		unsigned int o = i <= order ? order - i : i;
		struct pm_pfn found = fast_find(sim, zone, o, least, good);

		if (!pm_pfn_is_nil(found)) {
			(void)hold(sim, zone, c, found, o);
			break;
		}
	}
	pm_unlock(&zone->lock);
}

/// Splits a held block down to an order; the other halves stay held, first in their lists.
static struct pm_pfn split_held(struct pm_simulation *sim, struct pm_sim_compaction *c, unsigned int from, unsigned int order)
{
	const struct pm_tables *t = &sim->m->tables;
	struct pm_pfn pfn = pm_chain_pop_front(t, &c->held[from], from);

	while (from > order) {
		struct pm_pfn half;

		from--;
		half = pm_pfn_add(pfn, 1u << from);
		pm_frame_set_word(pm_frame_of(sim->m, half), pm_word(PM_FRAME_USED, PM_MT_MOVABLE, from));
		atomic_store_explicit(&pm_frame_of(sim->m, half)->tag, PM_SIM_FIXED_TAG, memory_order_relaxed); /* relaxed: one thread */
		pm_chain_push_front(t, &c->held[from], half, from);
	}
	c->nr_held -= 1u << order;
	return pfn;
}

struct pm_pfn pm_simulation_target(struct pm_simulation *sim, struct pm_zone *zone, struct pm_sim_compaction *c, unsigned int order)
{
	struct pm_pfn pfn;
	unsigned int o;

	for (o = order; c && o < PM_NR_ORDERS; o++)
		if (!pm_chain_empty(&c->held[o]))
			return split_held(sim, c, o, order);
	/* The recorded ranges held less with us: the scanner would have gone on. */
	pm_lock(&zone->lock);
	pfn = pm_buddy_take_smallest(sim->m, zone, order, PM_MT_MOVABLE);
	pm_unlock(&zone->lock);
	sim->stats.targets_elsewhere += !pm_pfn_is_nil(pfn);
	return pfn;
}

/// Drains one CPU's lists of the zone that holds a frame.
static void drain_zone(struct pm_simulation *sim, uint32_t cpu, uint32_t pfn)
{
	struct pm_zone *zone = pm_zone_of(sim->m, pfn);
	struct pm_pcp *pcp;

	if (!zone)
		return;
	pcp = &sim->m->cpu[cpu].pcp[zone->index];
	pm_lock(&pcp->lock);
	pm_pcp_drain(sim->m, zone, pcp, pcp->count, 0);
	pm_unlock(&pcp->lock);
	sim->stats.compaction_drains++;
}

/// Compaction for an order drains its CPU's lists of the zone once its migrate scanner has left the block of that order in which it moved
/// something, so that what was freed there can merge. Compaction of everything (order -1) does not.
static void check_drain(struct pm_simulation *sim, struct pm_sim_compaction *c, uint32_t cpu)
{
	if (!sim->options.compaction_drain || c->last_migrated == PM_NIL_PFN || c->order <= 0 || c->order > PM_MAX_ORDER)
		return;
	if (c->last_migrated >= (c->end & ~((1u << c->order) - 1)))
		return;
	drain_zone(sim, cpu, c->last_migrated);
	c->last_migrated = PM_NIL_PFN;
}

void pm_simulation_release(struct pm_simulation *sim, struct pm_sim_compaction *c, uint32_t cpu)
{
	unsigned int o;

	for (o = 0; o < PM_NR_ORDERS; o++)
		while (!pm_chain_empty(&c->held[o])) {
			struct pm_pfn pfn = pm_chain_pop_front(&sim->m->tables, &c->held[o], o);

			PM_ASSERT(pm_simulation_free_block(sim, cpu, pfn.v, o));
			sim->stats.returned += 1u << o;
		}
	c->nr_held = c->nr_waiting = 0;
	c->last_migrated = PM_NIL_PFN;
}

/// The migrate scanner has looked at a range, and taken so many frames to move them.
static void note_migrate_scan(struct pm_sim_compaction *c, uint32_t end, uint32_t taken)
{
	c->end = end;
	c->nr_waiting += taken;
	if (taken && end)
		c->last_migrated = (end - 1) & ~(uint32_t)(PM_PAGEBLOCK_NR_PAGES - 1);
}

void pm_simulation_note_compaction(struct pm_simulation *sim, const struct pm_events *ev, size_t i)
{
	struct pm_sim_compaction *c;

	if ((ev->kind[i] < PM_EV_ISOLATE_FREE || ev->kind[i] > PM_EV_COMPACT_FINISHED) && ev->kind[i] != PM_EV_COMPACT_MIGRATEPAGES)
		return;
	c = make_compaction(sim, ev->tid[i]);
	if (!c)
		return;
	switch (ev->kind[i]) {
	case PM_EV_COMPACT_BEGIN:
		pm_simulation_release(sim, c, ev->cpu[i]);
		c->order = -1;
		break;
	case PM_EV_COMPACT_FINISHED:
		c->order = ev->order[i];
		check_drain(sim, c, ev->cpu[i]);
		break;
	case PM_EV_ISOLATE_MIGRATE:
		note_migrate_scan(c, ev->arg0[i], ev->arg2[i]);
		break;
	case PM_EV_ISOLATE_FREE:
		if (sim->options.compaction_hold && ev->arg2[i])
			pm_simulation_scan_free(sim, c, ev->pfn[i], ev->arg0[i]);
		break;
	case PM_EV_FAST_ISOLATE_FREE:
		if (sim->options.compaction_hold)
			fast_isolate(sim, c, ev->pfn[i], ev->arg0[i], ev->arg2[i]);
		break;
	case PM_EV_COMPACT_MIGRATEPAGES:
		c->nr_waiting = 0;
		/* A huge page is not to be had where something stayed. */
		if (ev->arg1[i] && c->order == PM_PAGEBLOCK_ORDER)
			c->last_migrated = PM_NIL_PFN;
		break;
	case PM_EV_COMPACT_END:
		check_drain(sim, c, ev->cpu[i]);
		pm_simulation_release(sim, c, ev->cpu[i]);
		break;
	default:
		break;
	}
}
