/// "Simulate": what recorded compaction does to us. Who moves is the recording's; where to is ours, by the rules of the kernel's free scanner.
#include "phys/buddy.h"
#include "replay/simulate.h"

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

/// Compaction for an order drains its CPU's lists of the zone whenever its migrate scanner leaves a block of that order in which it moved
/// something, so that what was freed there can merge. Compaction of everything (order -1) does not.
void pm_simulation_note_compaction(struct pm_simulation *sim, const struct pm_events *ev, size_t i)
{
	struct pm_sim_compaction *c = &sim->compactions[ev->cpu[i]];

	switch (ev->kind[i]) {
	case PM_EV_COMPACT_BEGIN:
		*c = (struct pm_sim_compaction){ .order = -1, .free_pfn = ev->arg0[i], .failed_order = PM_NR_ORDERS, .moved_from = PM_NIL_PFN };
		break;
	case PM_EV_COMPACT_FINISHED:
		c->order = ev->order[i];
		break;
	case PM_EV_ISOLATE_MIGRATE:
		c->start = ev->pfn[i];
		c->end = ev->arg0[i];
		break;
	case PM_EV_COMPACT_MIGRATEPAGES:
		if (c->moved_from == PM_NIL_PFN)
			c->moved_from = c->start;
		if (sim->options.compaction_drain && c->order > 0 && c->order <= PM_MAX_ORDER && (c->end & ~((1u << c->order) - 1)) > c->moved_from) {
			drain_zone(sim, ev->cpu[i], c->start);
			c->moved_from = PM_NIL_PFN;
		}
		break;
	default:
		break;
	}
}

/// May the free scanner take from this pageblock? Not from one that is nearly a large free block, nor from one of another type.
static bool suitable_target(const struct pm_machine *m, const struct pm_zone *zone, uint32_t start, int32_t order)
{
	const struct pm_pageblock *block = &m->tables.pageblocks[start >> PM_PAGEBLOCK_ORDER];
	uint32_t word = pm_frame_word(&m->tables.frames[start]);

	if (start < zone->start || pm_pageblock_type(block) != PM_MT_MOVABLE || block->free_order)
		return false;
	return order < 0 || pm_word_kind(word) != PM_FRAME_FREE || (int32_t)pm_word_order(word) < order;
}

/// A free block of at least `order` in one pageblock; nil if there is none.
static struct pm_pfn find_free(const struct pm_machine *m, uint32_t start, unsigned int order)
{
	uint32_t i = 0;

	while (i < PM_PAGEBLOCK_NR_PAGES) {
		uint32_t word = pm_frame_word(&m->tables.frames[start + i]);
		enum pm_frame_kind kind = pm_word_kind(word);

		if (kind == PM_FRAME_FREE && pm_word_order(word) >= order)
			return pm_pfn(start + i);
		i += kind == PM_FRAME_NONE ? 1 : 1u << pm_word_order(word);
	}
	return pm_pfn_nil();
}

/// Is there any block of at least `order` that the scanner might find?
static bool any_free(const struct pm_zone *zone, unsigned int order) PM_REQUIRES(zone->lock)
{
	unsigned int o;

	for (o = order; o < PM_PAGEBLOCK_ORDER; o++)
		if (pm_list_nr(&zone->area[o].list[PM_MT_MOVABLE]))
			return true;
	return false;
}

/// The free scanner: from where it stopped, pageblock by pageblock down to the source. Takes the block off the free lists.
static struct pm_pfn take_target(struct pm_simulation *sim, struct pm_zone *zone, struct pm_sim_compaction *c, uint32_t source, unsigned int order) PM_REQUIRES(zone->lock)
{
	struct pm_machine *m = sim->m;
	uint32_t at = c->free_pfn >= zone->start && c->free_pfn < zone->end ? c->free_pfn : zone->end - 1;

	if (order >= c->failed_order || !any_free(zone, order))
		return pm_pfn_nil();

	at &= ~(uint32_t)(PM_PAGEBLOCK_NR_PAGES - 1);
	for (; at > source; at -= PM_PAGEBLOCK_NR_PAGES) {
		struct pm_pfn found;

		if (sim->skip[at >> PM_PAGEBLOCK_ORDER] || !suitable_target(m, zone, at, c->order))
			continue;
		found = find_free(m, at, order);
		sim->skip[at >> PM_PAGEBLOCK_ORDER] = pm_pfn_is_nil(found) && order == 0;
		if (pm_pfn_is_nil(found) || !pm_buddy_take_exact(m, zone, found, order))
			continue;
		c->free_pfn = at;
		return found;
	}
	/* The scanners have met: no room for such a block until compaction begins anew. */
	c->failed_order = order;
	return pm_pfn_nil();
}

bool pm_simulation_move(struct pm_simulation *sim, const struct pm_events *ev, size_t i)
{
	struct pm_machine *m = sim->m;
	struct pm_zone *zone = pm_zone_of(m, ev->pfn[i]);
	unsigned int order = (unsigned int)ev->order[i];
	struct pm_frame *from;
	struct pm_pfn to;
	uint32_t word, id;

	if (!zone)
		return false;
	from = pm_frame_of(m, pm_pfn(ev->pfn[i]));
	word = pm_frame_word(from);
	if (pm_word_kind(word) != PM_FRAME_USED || pm_word_order(word) != order)
		return false;
	id = atomic_load_explicit(&from->tag, memory_order_relaxed); /* relaxed: one thread */
	if (id == PM_SIM_SCATTER_TAG)
		return false;
	pm_lock(&zone->lock);
	to = take_target(sim, zone, &sim->compactions[ev->cpu[i]], ev->pfn[i], order);
	pm_unlock(&zone->lock);
	if (pm_pfn_is_nil(to))
		return false;
	atomic_store_explicit(&pm_frame_of(m, to)->tag, id, memory_order_relaxed);
	pm_frame_set_word(pm_frame_of(m, to), word);
	if (id != 0 && id - 1 < sim->nr_allocations && sim->placed[id - 1].ours == ev->pfn[i])
		sim->placed[id - 1].ours = to.v;
	return pm_simulation_free_block(sim, ev->cpu[i], ev->pfn[i], order);
}
