/// "Simulate": a request that our free lists cannot serve. Mostly one that the kernel served by compaction, which hands the block that it has
/// emptied to the task that compacts, past the free lists. The recording says where that was; with us something may still stand there, and has
/// to leave first.
#include "phys/buddy.h"
#include "replay/simulate.h"

bool pm_simulation_can_empty(const struct pm_simulation *sim, uint32_t start, uint32_t end, uint32_t *cost)
{
	uint32_t at = start, frames = 0;

	while (at < end) {
		uint32_t word = pm_frame_word(&sim->m->tables.frames[at]);
		enum pm_frame_kind kind = pm_word_kind(word);

		if (kind != PM_FRAME_FREE && !(kind == PM_FRAME_USED && pm_simulation_can_move(sim, at)))
			return false;
		frames += kind == PM_FRAME_USED ? 1u << pm_word_order(word) : 0;
		at += 1u << pm_word_order(word);
	}
	if (cost)
		*cost = frames;
	return at == end;
}

/// Takes what is free in [start, end) off the free lists, so that nothing moves to there.
static void take_free(struct pm_simulation *sim, struct pm_zone *zone, uint32_t start, uint32_t end)
{
	uint32_t at = start;

	pm_lock(&zone->lock);
	while (at < end) {
		uint32_t word = pm_frame_word(&sim->m->tables.frames[at]);

		if (pm_word_kind(word) == PM_FRAME_FREE)
			(void)pm_buddy_del(sim->m, zone, pm_pfn(at), pm_word_order(word));
		at += 1u << pm_word_order(word);
	}
	pm_unlock(&zone->lock);
}

/// Gives back to the free lists what is empty in [start, end).
static void give_up(struct pm_simulation *sim, struct pm_zone *zone, uint32_t start, uint32_t end)
{
	uint32_t at = start;

	pm_lock(&zone->lock);
	while (at < end) {
		uint32_t word = pm_frame_word(&sim->m->tables.frames[at]);

		if (pm_word_kind(word) == PM_FRAME_USED) {
			at += 1u << pm_word_order(word);
			continue;
		}
		pm_buddy_free(sim->m, zone, pm_pfn(at), 0, pm_pageblock_type(pm_pageblock_of(sim->m, pm_pfn(at))));
		at++;
	}
	pm_unlock(&zone->lock);
}

bool pm_simulation_empty(struct pm_simulation *sim, struct pm_zone *zone, struct pm_sim_compaction *c, uint32_t start, uint32_t end, uint64_t *moved)
{
	uint32_t at = start;

	take_free(sim, zone, start, end);
	while (at < end) {
		struct pm_frame *frame = &sim->m->tables.frames[at];
		uint32_t word = pm_frame_word(frame), nr = 1;

		if (pm_word_kind(word) == PM_FRAME_USED) {
			nr = 1u << pm_word_order(word);
			if (!pm_simulation_leave(sim, c, at)) {
				give_up(sim, zone, start, end);
				return false;
			}
			*moved += nr;
		}
		pm_frame_set_word(frame, 0);
		at += nr;
	}
	return true;
}

bool pm_simulation_capture(struct pm_simulation *sim, const struct pm_events *ev, size_t i, uint64_t *ret)
{
	struct pm_machine *m = sim->m;
	unsigned int order = (unsigned int)ev->order[i], type = m->classes[ev->gfp[i] & PM_GFP_CLASS_MASK].migratetype;
	struct pm_zone *zone = pm_zone_of(m, ev->pfn[i]);
	struct pm_sim_compaction *c = pm_simulation_compaction(sim, ev->tid[i]);
	uint32_t at = ev->pfn[i], end = at + (1u << order);
	uint64_t moved = 0;

	/* Blocks of a pageblock and more are free in another table, and then there is nothing to empty. */
	if (!zone || order == 0 || (at & ((1u << order) - 1)) || end > zone->end || m->tables.pageblocks[at >> PM_PAGEBLOCK_ORDER].free_order)
		return false;
	if (!pm_simulation_can_empty(sim, at, end, NULL) || !pm_simulation_empty(sim, zone, c, at, end, &moved))
		return false;
	pm_frame_set_word(&m->tables.frames[at], pm_word(PM_FRAME_USED, type, order));
	*ret = ev->pfn[i];
	return true;
}
