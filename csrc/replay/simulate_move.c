/// "Simulate": pages that recorded compaction moved. What stands at their place with us moves as well.
#include "replay/simulate.h"

bool pm_simulation_can_move(const struct pm_simulation *sim, uint32_t pfn)
{
	const struct pm_frame *frame = &sim->m->tables.frames[pfn];
	uint32_t word = pm_frame_word(frame), id = atomic_load_explicit(&frame->tag, memory_order_relaxed); /* relaxed: one thread */

	if (pm_word_kind(word) != PM_FRAME_USED || pm_word_migratetype(word) != PM_MT_MOVABLE || id == PM_SIM_FIXED_TAG)
		return false;
	if (id & PM_SIM_SCATTERED)
		return true;
	/* A block whose allocation has been freed in part is not at its allocation's place. */
	return id == 0 || (id - 1 < sim->nr_allocations && sim->placed[id - 1].ours == pfn && sim->placed[id - 1].order == pm_word_order(word));
}

bool pm_simulation_leave(struct pm_simulation *sim, struct pm_sim_compaction *c, uint32_t pfn)
{
	struct pm_machine *m = sim->m;
	uint32_t word = pm_frame_word(&m->tables.frames[pfn]);
	uint32_t id = atomic_load_explicit(&m->tables.frames[pfn].tag, memory_order_relaxed); /* relaxed: one thread */
	struct pm_pfn to = pm_simulation_target(sim, pm_zone_of(m, pfn), c, pm_word_order(word));

	if (pm_pfn_is_nil(to)) {
		bool split = pm_word_order(word) > 0 && !(id & PM_SIM_SCATTERED) && pm_simulation_leave_scattered(sim, c, pfn);

		sim->stats.no_target += !split;
		return split;
	}
	atomic_store_explicit(&pm_frame_of(m, to)->tag, id, memory_order_relaxed);
	pm_frame_set_word(pm_frame_of(m, to), word);
	if (id & PM_SIM_SCATTERED)
		pm_simulation_piece_moved(sim, id, pfn, to.v, pm_word_order(word));
	else if (id)
		sim->placed[id - 1].ours = to.v;
	return true;
}

static bool move_block(struct pm_simulation *sim, uint32_t cpu, struct pm_sim_compaction *c, uint32_t pfn)
{
	uint32_t order = pm_word_order(pm_frame_word(&sim->m->tables.frames[pfn]));

	return pm_simulation_can_move(sim, pfn) && pm_simulation_leave(sim, c, pfn) && pm_simulation_free_block(sim, cpu, pfn, order);
}

bool pm_simulation_move(struct pm_simulation *sim, const struct pm_events *ev, size_t i)
{
	struct pm_machine *m = sim->m;
	struct pm_zone *zone = pm_zone_of(m, ev->pfn[i]);
	struct pm_sim_compaction *c = pm_simulation_compaction(sim, ev->tid[i]);
	uint32_t at = ev->pfn[i], end = at + (1u << ev->order[i]), head;
	bool moved = false;

	if (!zone || end > zone->end)
		return false;
	if (pm_simulation_used_order(m, at, &head) > ev->order[i])
		return move_block(sim, ev->cpu[i], c, head);
	while (at < end) {
		uint32_t word = pm_frame_word(&m->tables.frames[at]);

		if (pm_word_kind(word) == PM_FRAME_USED)
			moved |= move_block(sim, ev->cpu[i], c, at);
		at += pm_word_kind(word) == PM_FRAME_NONE ? 1 : 1u << pm_word_order(word);
	}
	return moved;
}
