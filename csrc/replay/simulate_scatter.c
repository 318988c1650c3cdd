/// "Simulate": requests for a block that memory cannot give in one piece with us.
#include <stdlib.h>

#include "replay/simulate.h"

static uint32_t new_scatter(struct pm_simulation *sim, uint32_t nr)
{
	struct pm_sim_scatter *at;

	if (sim->nr_scatters == sim->room_scatters) {
		uint32_t room = sim->room_scatters ? 2 * sim->room_scatters : 64;
		struct pm_sim_scatter *more = room < PM_SIM_SCATTERED ? realloc(sim->scatters, room * sizeof(*more)) : NULL;

		if (!more)
			return PM_NIL_PFN;
		sim->scatters = more;
		sim->room_scatters = room;
	}
	at = &sim->scatters[sim->nr_scatters];
	*at = (struct pm_sim_scatter){ malloc(nr * sizeof(*at->frames)), 0 };
	return at->frames ? sim->nr_scatters++ : PM_NIL_PFN;
}

bool pm_simulation_scatter(struct pm_simulation *sim, const struct pm_events *ev, size_t i, uint32_t gfp)
{
	uint32_t nr = 1u << ev->order[i], id = ev->allocation[i], cpu = ev->cpu[i], index, k;
	struct pm_sim_scatter *s;
	uint64_t pfn;

	if (id == PM_NO_PFN32)
		return false;
	index = new_scatter(sim, nr);
	if (index == PM_NIL_PFN)
		return false;
	s = &sim->scatters[index];
	for (s->nr_left = 0; s->nr_left < nr; s->nr_left++) {
		if (pm_alloc(sim->m, cpu, 0, gfp, &pfn) != PM_OK)
			break;
		s->frames[s->nr_left] = (uint32_t)pfn;
		atomic_store_explicit(&sim->m->tables.frames[pfn].tag, PM_SIM_SCATTERED | index, memory_order_relaxed); /* relaxed: one thread */
	}
	if (s->nr_left == nr) {
		sim->placed[id] = (struct pm_sim_placed){ PM_SIM_SCATTERED | index, (uint8_t)ev->order[i] };
		return true;
	}
	for (k = 0; k < s->nr_left; k++)
		PM_ASSERT(pm_free(sim->m, cpu, s->frames[k], 0) == PM_OK);
	free(s->frames);
	sim->nr_scatters--;
	return false;
}

bool pm_simulation_leave_scattered(struct pm_simulation *sim, struct pm_sim_compaction *c, uint32_t pfn)
{
	struct pm_machine *m = sim->m;
	uint32_t word = pm_frame_word(&m->tables.frames[pfn]), order = pm_word_order(word), nr = 1u << order, index, k;
	uint32_t id = atomic_load_explicit(&m->tables.frames[pfn].tag, memory_order_relaxed); /* relaxed: one thread */
	struct pm_sim_scatter *s;

	index = new_scatter(sim, nr);
	if (index == PM_NIL_PFN)
		return false;
	s = &sim->scatters[index];
	for (s->nr_left = 0; s->nr_left < nr; s->nr_left++) {
		struct pm_pfn to = pm_simulation_target(sim, pm_zone_of(m, pfn), c, 0);

		if (pm_pfn_is_nil(to))
			break;
		s->frames[s->nr_left] = to.v;
		pm_frame_set_word(pm_frame_of(m, to), pm_word(PM_FRAME_USED, pm_word_migratetype(word), 0));
		atomic_store_explicit(&pm_frame_of(m, to)->tag, id ? PM_SIM_SCATTERED | index : 0, memory_order_relaxed);
	}
	if (s->nr_left == nr && id) {
		sim->placed[id - 1] = (struct pm_sim_placed){ PM_SIM_SCATTERED | index, (uint8_t)order };
		return true;
	}
	for (k = 0; s->nr_left < nr && k < s->nr_left; k++)
		PM_ASSERT(pm_free(m, 0, s->frames[k], 0) == PM_OK);
	id = s->nr_left == nr;
	free(s->frames);
	sim->nr_scatters--;
	return id;
}

void pm_simulation_piece_moved(struct pm_simulation *sim, uint32_t index, uint32_t from, uint32_t to, unsigned int order)
{
	uint32_t *at = sim->scatters[index & ~PM_SIM_SCATTERED].frames, k;

	while (*at != from)
		at++;
	for (k = 0; k < 1u << order; k++)
		at[k] = to + k;
}

/// An allocation in one block becomes one in pieces, of which there is one as yet.
static bool begin_pieces(struct pm_simulation *sim, uint32_t id)
{
	struct pm_sim_placed *placed = &sim->placed[id];
	uint32_t index = new_scatter(sim, 1u << placed->order), k;

	if (index == PM_NIL_PFN)
		return false;
	for (k = 0; k < 1u << placed->order; k++)
		sim->scatters[index].frames[k] = placed->ours + k;
	sim->scatters[index].nr_left = k;
	atomic_store_explicit(&sim->m->tables.frames[placed->ours].tag, PM_SIM_SCATTERED | index, memory_order_relaxed); /* relaxed: one thread */
	placed->ours = PM_SIM_SCATTERED | index;
	return true;
}

/// The piece that covers a frame of ours is cut so that none is larger than `order`. Returns the order of the piece at the frame; -1: there is none.
static int cut(struct pm_simulation *sim, uint32_t pfn, unsigned int order)
{
	uint32_t head, tag, at;
	int have = pm_simulation_used_order(sim->m, pfn, &head);

	if (have < 0 || (head != pfn && (unsigned int)have <= order))
		return -1;
	if ((unsigned int)have <= order)
		return have;
	tag = atomic_load_explicit(&sim->m->tables.frames[head].tag, memory_order_relaxed); /* relaxed: one thread */
	if (pm_split(sim->m, head, (uint32_t)have, order) != PM_OK)
		return -1;
	sim->stats.split++;
	for (at = head; at < head + (1u << have); at += 1u << order)
		atomic_store_explicit(&sim->m->tables.frames[at].tag, tag, memory_order_relaxed);
	return (int)order;
}

/// Where in an allocation 2^order frames are left; its length if nowhere.
static uint32_t find_left(const struct pm_sim_scatter *s, uint32_t nr, unsigned int order)
{
	uint32_t at, k;

	for (at = 0; at < nr; at += 1u << order) {
		for (k = 0; k < 1u << order && s->frames[at + k] != PM_NIL_PFN; k++)
			;
		if (k == 1u << order)
			return at;
	}
	return nr;
}

bool pm_simulation_free_piece(struct pm_simulation *sim, uint32_t cpu, uint32_t id, uint32_t pfn, unsigned int order)
{
	uint32_t nr = 1u << sim->placed[id].order, at = pfn & (nr - 1), end, k;
	struct pm_sim_scatter *s;

	if (1u << order > nr || (!(sim->placed[id].ours & PM_SIM_SCATTERED) && !begin_pieces(sim, id)))
		return false;
	s = &sim->scatters[sim->placed[id].ours & ~PM_SIM_SCATTERED];
	if (pfn == PM_SIM_ANY_PIECE)
		at = find_left(s, nr, order);
	if (at + (1u << order) > nr)
		return false;
	for (end = at + (1u << order); at < end; at += k) {
		int have = s->frames[at] == PM_NIL_PFN ? -1 : cut(sim, s->frames[at], order);

		if (have < 0 || pm_free(sim->m, cpu, s->frames[at], (uint32_t)have) != PM_OK)
			return false;
		for (k = 0; k < 1u << have; k++)
			s->frames[at + k] = PM_NIL_PFN;
		s->nr_left -= k;
	}
	if (s->nr_left == 0) {
		free(s->frames);
		s->frames = NULL;
		sim->placed[id].ours = PM_NIL_PFN;
	}
	return true;
}

void pm_simulation_forget_scatters(struct pm_simulation *sim)
{
	uint32_t i;

	for (i = 0; i < sim->nr_scatters; i++)
		free(sim->scatters[i].frames);
	free(sim->scatters);
}
