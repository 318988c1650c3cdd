/// "Simulate": the recording says who asks and who frees; where memory comes from and goes to is ours.
///
/// Each recorded allocation has a number. A request is made on its CPU with its order and flags, and the frame we give is noted under
/// the number; a recorded free frees what we gave. The kernel may free an allocation in pieces; since blocks are aligned, a piece is
/// found by its place within a block of the allocation's order, wherever that block was in the recording.
#include <stdlib.h>
#include <string.h>

#include "replay/simulate.h"
#include "phys/watermark.h"

/// The last event on a CPU before the start, to tell one refill from the next.
struct last_event {
	uint32_t tid;
	uint8_t kind;
};

void pm_simulation_options_default(struct pm_simulation_options *ret)
{
	*ret = (struct pm_simulation_options){ .compaction_drain = 1, .compaction_moves = 1, .compaction_hold = 1, .capture = 1, .drain_time = 1 };
}

enum pm_status pm_simulation_create(struct pm_machine *m, uint32_t nr_allocations, const struct pm_simulation_options *options, struct pm_simulation **ret)
{
	struct pm_simulation *sim;

	if (nr_allocations == PM_NO_PFN32)
		return PM_ERR_LIMIT;
	sim = calloc(1, sizeof(*sim));
	if (!sim)
		return PM_ERR_NOMEM;
	sim->m = m;
	sim->options = *options;
	sim->nr_allocations = nr_allocations;
	sim->placed = malloc(((size_t)nr_allocations + 1) * sizeof(*sim->placed));
	sim->drains = calloc(m->nr_cpus, sizeof(*sim->drains));
	if (!sim->placed || !sim->drains) {
		pm_simulation_destroy(sim);
		return PM_ERR_NOMEM;
	}
	/* All ones: nothing is held. */
	memset(sim->placed, 0xff, ((size_t)nr_allocations + 1) * sizeof(*sim->placed));
	*ret = sim;
	return PM_OK;
}

void pm_simulation_destroy(struct pm_simulation *sim)
{
	if (!sim)
		return;
	free(sim->placed);
	pm_simulation_forget_scatters(sim);
	free(sim->ticks);
	free(sim->drains);
	free(sim->compactions);
	free(sim->scanners);
	free(sim);
}

void pm_simulation_stats(const struct pm_simulation *sim, struct pm_simulation_stats *ret)
{
	*ret = sim->stats;
}

/// Notes where an allocation is; its frame is tagged with the allocation's number + 1, so that a move finds it.
static void note_place(struct pm_simulation *sim, uint32_t id, uint32_t ours, uint32_t order)
{
	sim->placed[id] = (struct pm_sim_placed){ ours, (uint8_t)order };
	atomic_store_explicit(&sim->m->tables.frames[ours].tag, id + 1, memory_order_relaxed); /* relaxed: one thread */
}

enum pm_status pm_simulation_place(struct pm_simulation *sim, size_t n, const uint32_t *allocations, const uint32_t *pfns, const uint8_t *orders)
{
	size_t i;

	for (i = 0; i < n; i++) {
		if (allocations[i] >= sim->nr_allocations || orders[i] > PM_MAX_ORDER || pfns[i] >= sim->m->nr_frames)
			return PM_ERR_INVAL;
		note_place(sim, allocations[i], pfns[i], orders[i]);
	}
	return PM_OK;
}

/// A request that our allocator refused, although the kernel served it, perhaps after reclaim or compaction: from what compaction emptied, from
/// the reserves of an urgent request, or in single frames.
static bool play_refused(struct pm_simulation *sim, const struct pm_events *ev, size_t i, uint64_t *ret)
{
	uint32_t gfp;

	if (sim->options.capture && pm_simulation_capture(sim, ev, i, ret)) {
		sim->stats.captured++;
		return true;
	}
	gfp = ((ev->gfp[i] & PM_GFP_ALL) | PM_GFP_HIGH) & ~(uint32_t)(PM_GFP_DIRECT_RECLAIM | PM_GFP_NOMEMALLOC);

	if (pm_alloc(sim->m, ev->cpu[i], (uint32_t)ev->order[i], gfp, ret) == PM_OK) {
		sim->stats.forced++;
		return true;
	}
	if (ev->order[i] > 0 && pm_simulation_scatter(sim, ev, i, gfp))
		sim->stats.scattered++;
	else
		sim->stats.failed++;
	return false;
}

static void play_alloc(struct pm_simulation *sim, const struct pm_events *ev, size_t i)
{
	uint64_t pfn;

	if (ev->pfn[i] == PM_NO_PFN32) {
		sim->stats.kernel_failed++;
		return;
	}
	if (PM_UNLIKELY(pm_alloc(sim->m, ev->cpu[i], (uint32_t)ev->order[i], ev->gfp[i] & PM_GFP_ALL, &pfn) != PM_OK) && !play_refused(sim, ev, i, &pfn))
		return;
	sim->stats.allocated++;
	if (ev->allocation[i] != PM_NO_PFN32)
		note_place(sim, ev->allocation[i], (uint32_t)pfn, (uint32_t)ev->order[i]);
}

int pm_simulation_used_order(const struct pm_machine *m, uint32_t pfn, uint32_t *ret)
{
	unsigned int order;

	for (order = 0; order < PM_NR_ORDERS; order++) {
		uint32_t head = pfn & ~((1u << order) - 1);
		uint32_t word = pm_frame_word(&m->tables.frames[head]);

		if (pm_word_kind(word) == PM_FRAME_USED && pm_word_order(word) >= order) {
			*ret = head;
			return (int)pm_word_order(word);
		}
	}
	return -1;
}

/// A free that belongs to no allocation but has its explanation: what compaction emptied, or gives back unused.
static void play_compaction_free(struct pm_simulation *sim, const struct pm_events *ev, size_t i)
{
	bool moved = false;

	sim->stats.ignored++;
	if (ev->resolution[i] != PM_RES_MIGRATION_SOURCE || !sim->options.compaction_moves)
		return;
	moved = pm_simulation_move(sim, ev, i);
	sim->stats.moved += moved;
	sim->stats.not_moved += !moved;
}

/// The end of a drain: what another CPU said meanwhile about a lack of memory is reconsidered with what was drained.
static void end_drain(struct pm_simulation *sim, uint32_t cpu)
{
	struct pm_zone *zone = sim->drains[cpu].zone;

	sim->drains[cpu].zone = NULL;
	if (zone->nr_drain == sim->drains[cpu].nr_drain)
		return;
	if (atomic_load_explicit(&zone->below_high, memory_order_relaxed) && /* relaxed: one thread */
	    pm_watermark_ok(zone, 0, pm_watermark(zone, PM_WMARK_HIGH), PM_ZONE_MOVABLE, 0))
		atomic_store_explicit(&zone->below_high, 0, memory_order_relaxed);
}

bool pm_simulation_free_block(struct pm_simulation *sim, uint32_t cpu, uint32_t pfn, uint32_t order)
{
	struct pm_zone *zone = &sim->m->zone[sim->m->tables.pageblocks[pfn >> PM_PAGEBLOCK_ORDER].zone];

	if (sim->options.drain_time)
		sim->drains[cpu] = (struct pm_sim_drain){ zone, zone->nr_drain };
	return pm_free(sim->m, cpu, pfn, order) == PM_OK;
}

static void play_free(struct pm_simulation *sim, const struct pm_events *ev, size_t i)
{
	uint32_t id = ev->allocation[i], order = (uint32_t)ev->order[i];
	struct pm_sim_placed *placed;
	bool done;

	if (id == PM_NO_PFN32 && ev->resolution && ev->resolution[i] < PM_RES_UNRESOLVED) {
		play_compaction_free(sim, ev, i);
		return;
	}
	if (id == PM_NO_PFN32 || sim->placed[id].ours == PM_NIL_PFN) {
		sim->stats.unresolved++;
		return;
	}
	placed = &sim->placed[id];
	if (PM_LIKELY(placed->order == order && !(placed->ours & PM_SIM_SCATTERED))) {
		done = pm_simulation_free_block(sim, ev->cpu[i], placed->ours, order);
		placed->ours = PM_NIL_PFN;
	} else {
		/* What compaction moved in pieces is freed somewhere: which piece that is, its place does not tell. */
		bool moved = ev->resolution && (ev->resolution[i] == PM_RES_FREED_MOVED || ev->resolution[i] == PM_RES_FREED_MOVED_INITIAL);

		done = pm_simulation_free_piece(sim, ev->cpu[i], id, moved ? PM_SIM_ANY_PIECE : ev->pfn[i], order);
	}
	sim->stats.freed += done;
	sim->stats.unresolved += !done;
	sim->stats.refused += !done;
}

enum pm_status pm_simulation_set_ticks(struct pm_simulation *sim, size_t n, const uint64_t *times_ns, const uint8_t *kinds, const uint16_t *where)
{
	struct pm_sim_tick *ticks;
	size_t i;

	for (i = 0; i < n; i++)
		if (kinds[i] >= PM_NR_TICKS || ((kinds[i] == PM_TICK_DECAY || kinds[i] == PM_TICK_DECAY_QUIET) && where[i] >= sim->m->nr_cpus) || (i && times_ns[i] < times_ns[i - 1]))
			return PM_ERR_INVAL;
	ticks = malloc((n + 1) * sizeof(*ticks));
	if (!ticks)
		return PM_ERR_NOMEM;
	for (i = 0; i < n; i++)
		ticks[i] = (struct pm_sim_tick){ times_ns[i], where[i], kinds[i] };
	free(sim->ticks);
	sim->ticks = ticks;
	sim->nr_ticks = n;
	sim->next_tick = 0;
	return PM_OK;
}

/// kswapd works on the zones up to the one that woke it.
static void set_reclaiming(struct pm_simulation *sim, bool active, uint32_t highest)
{
	uint32_t z;

	for (z = 0; z < sim->m->nr_zones && z <= highest; z++)
		PM_ASSERT(pm_set_reclaim_active(sim->m, z, active) == PM_OK);
}

/// Would a decay of a CPU's lists drain nothing?
static bool nothing_to_decay(struct pm_simulation *sim, uint32_t cpu)
{
	bool nothing = true;
	uint32_t z;

	for (z = 0; z < sim->m->nr_zones; z++) {
		struct pm_pcp *pcp = &sim->m->cpu[cpu].pcp[z];

		pm_lock(&pcp->lock);
		nothing = nothing && pcp->count <= pm_pcp_decayed_high(pcp);
		pm_unlock(&pcp->lock);
	}
	return nothing;
}

/// Does what is due in the background.
static void pass_time(struct pm_simulation *sim, uint64_t now_ns)
{
	while (sim->next_tick < sim->nr_ticks && sim->ticks[sim->next_tick].time_ns <= now_ns) {
		const struct pm_sim_tick *tick = &sim->ticks[sim->next_tick++];

		if (tick->kind == PM_TICK_RECLAIM_BEGIN || tick->kind == PM_TICK_RECLAIM_END)
			set_reclaiming(sim, tick->kind == PM_TICK_RECLAIM_BEGIN, tick->where);
		else if (tick->kind == PM_TICK_DRAIN_ALL)
			PM_ASSERT(pm_drain(sim->m, PM_ALL_CPUS) == PM_OK);
		else if (tick->kind == PM_TICK_DECAY_QUIET && !nothing_to_decay(sim, tick->where))
			sim->stats.decays_skipped++;
		else if (pm_decay_pcp(sim->m, tick->where) == PM_OK)
			sim->stats.decays++;
	}
}

/// Everything that is neither a request nor a free.
static void play_other(struct pm_simulation *sim, const struct pm_events *ev, size_t i)
{
	sim->stats.ignored++;
	pm_simulation_note_compaction(sim, ev, i);
}

static bool playable(const struct pm_simulation *sim, const struct pm_events *ev, size_t i)
{
	bool block = ev->kind[i] == PM_EV_ALLOC || ev->kind[i] == PM_EV_FREE;

	if (ev->cpu[i] >= sim->m->nr_cpus)
		return false;
	if (!block)
		return true;
	return ev->order[i] >= 0 && ev->order[i] <= PM_MAX_ORDER && (ev->allocation[i] == PM_NO_PFN32 || ev->allocation[i] < sim->nr_allocations);
}

/// One event before the start, as the lists of its CPU and zone saw it.
static void learn(struct pm_simulation *sim, const struct pm_events *ev, size_t i, const struct last_event *before)
{
	bool same_burst = before->kind == ev->kind[i] && before->tid == ev->tid[i];
	struct pm_zone *zone = pm_zone_of(sim->m, ev->pfn[i]);
	int32_t frames;
	struct pm_pcp *pcp;

	if (!zone || ev->order[i] < 0 || !pm_pcp_order((unsigned int)ev->order[i]))
		return;
	pcp = &sim->m->cpu[ev->cpu[i]].pcp[zone->index];
	frames = 1 << ev->order[i];
	pm_lock(&pcp->lock);
	if (ev->kind[i] == PM_EV_ALLOC) {
		pcp->free_count >>= 1;
	} else if (ev->kind[i] == PM_EV_FREE) {
		pcp->alloc_factor >>= 1;
		pcp->free_count = pcp->free_count + frames < pcp->free_most ? pcp->free_count + frames : pcp->free_most;
		pcp->prev_free_high = ev->order[i] > 0 && ev->order[i] <= PM_COSTLY_ORDER;
	} else if (ev->kind[i] == PM_EV_ZONE_LOCKED && ev->order[i] == 0 && !same_burst && pcp->alloc_factor < PM_PCP_SCALE_MAX) {
		pcp->alloc_factor++;
	}
	pm_unlock(&pcp->lock);
}

enum pm_status pm_simulation_learn(struct pm_simulation *sim, const struct pm_events *ev, size_t from, size_t to)
{
	struct last_event *last;
	enum pm_status status = PM_OK;
	size_t i;

	if (from > to || to > ev->n)
		return PM_ERR_INVAL;
	last = calloc(sim->m->nr_cpus, sizeof(*last));
	if (!last)
		return PM_ERR_NOMEM;
	for (i = from; i < to && !status; i++) {
		status = playable(sim, ev, i) ? PM_OK : PM_ERR_INVAL;
		if (status)
			break;
		learn(sim, ev, i, &last[ev->cpu[i]]);
		last[ev->cpu[i]] = (struct last_event){ ev->tid[i], ev->kind[i] };
	}
	free(last);
	return status;
}

/// How many events ahead the frames and the allocation of a free are asked for.
enum { PM_SIMULATE_AHEAD = 16 };

static void prefetch(const struct pm_simulation *sim, const struct pm_events *ev, size_t i)
{
	uint32_t id = ev->allocation[i];

	if (ev->kind[i] != PM_EV_FREE || id >= sim->nr_allocations || sim->placed[id].ours >= sim->m->nr_frames)
		return;
	__builtin_prefetch(&sim->m->tables.frames[sim->placed[id].ours], 1);
}

enum pm_status pm_simulation_run(struct pm_simulation *sim, const struct pm_events *ev, size_t from, size_t to)
{
	size_t i;

	if (from > to || to > ev->n)
		return PM_ERR_INVAL;
	for (i = from; i < to; i++) {
		if (PM_UNLIKELY(!playable(sim, ev, i)))
			return PM_ERR_INVAL;
		if (i + PM_SIMULATE_AHEAD < to)
			prefetch(sim, ev, i + PM_SIMULATE_AHEAD);
		if (PM_UNLIKELY(sim->next_tick < sim->nr_ticks && sim->ticks[sim->next_tick].time_ns <= ev->time_ns[i]))
			pass_time(sim, ev->time_ns[i]);
		if (PM_UNLIKELY(sim->drains[ev->cpu[i]].zone != NULL) && ev->kind[i] != PM_EV_PCPU_DRAIN)
			end_drain(sim, ev->cpu[i]);
		if (ev->kind[i] == PM_EV_ALLOC)
			play_alloc(sim, ev, i);
		else if (ev->kind[i] == PM_EV_FREE)
			play_free(sim, ev, i);
		else
			play_other(sim, ev, i);
	}
	return PM_OK;
}
