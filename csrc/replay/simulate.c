/// "Simulate": the recording says who asks and who frees; where memory comes from and goes to is ours.
///
/// Each recorded allocation has a number. A request is made on its CPU with its order and flags, and the frame we give is noted under
/// the number; a recorded free frees what we gave. The kernel may free an allocation in pieces, so for each we also keep where it
/// was in the recording: a piece is found by its distance from there.
#include <stdlib.h>
#include <string.h>

#include "phys/machine.h"
#include "phys/watermark.h"

/// Drains of one thread closer together than this belong to one burst.
enum { PM_DECAY_SAME_BURST_NS = 5000000 };

/// One allocation: 12 bytes.
struct placed {
	uint32_t ours;	   ///< first frame in our machine; PM_NIL_PFN: we do not hold it
	uint32_t recorded; ///< first frame in the recording
	uint8_t order;
};

/// When a CPU's lists decay. The kernel does it about once a second from a timer whose phase no event names; but where a recorded
/// drain follows no free of its thread, the timer has just run.
struct decay_clock {
	uint64_t next_ns; ///< 0: not known yet
	uint64_t last_ns; ///< the last event on this CPU
	uint32_t last_tid;
	uint8_t last_kind;
};

struct pm_simulation {
	struct pm_machine *m;
	struct placed *placed; ///< [nr_allocations]
	uint32_t nr_allocations;
	struct pm_simulation_options options;
	struct pm_simulation_stats stats;
	struct decay_clock *clocks; ///< [cpus]
	bool reclaiming;
};

void pm_simulation_options_default(struct pm_simulation_options *ret)
{
	*ret = (struct pm_simulation_options){ .decay_ns = 1000000000, .decay_phase = 1, .kswapd = 1, .compaction_drain = 1 };
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
	sim->clocks = calloc(m->nr_cpus, sizeof(*sim->clocks));
	if (!sim->placed || !sim->clocks) {
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
	free(sim->clocks);
	free(sim);
}

void pm_simulation_stats(const struct pm_simulation *sim, struct pm_simulation_stats *ret)
{
	*ret = sim->stats;
}

enum pm_status pm_simulation_place(struct pm_simulation *sim, size_t n, const uint32_t *allocations, const uint32_t *pfns, const uint8_t *orders)
{
	size_t i;

	for (i = 0; i < n; i++) {
		if (allocations[i] >= sim->nr_allocations || orders[i] > PM_MAX_ORDER || pfns[i] >= sim->m->nr_frames)
			return PM_ERR_INVAL;
		sim->placed[allocations[i]] = (struct placed){ pfns[i], pfns[i], orders[i] };
	}
	return PM_OK;
}

static void play_alloc(struct pm_simulation *sim, const struct pm_events *ev, size_t i)
{
	uint32_t id = ev->allocation[i], gfp = ev->gfp[i] & PM_GFP_ALL;
	uint32_t order = (uint32_t)ev->order[i];
	uint64_t pfn;
	enum pm_status status;

	if (ev->pfn[i] == PM_NO_PFN32) {
		sim->stats.kernel_failed++;
		return;
	}
	status = pm_alloc(sim->m, ev->cpu[i], order, gfp, &pfn);
	if (PM_UNLIKELY(status)) {
		/* The kernel had memory here, perhaps after reclaim that we do not imitate: go below the watermarks. */
		status = pm_alloc(sim->m, ev->cpu[i], order, (gfp | PM_GFP_MEMALLOC) & ~(uint32_t)PM_GFP_NOMEMALLOC, &pfn);
		sim->stats.forced += status == PM_OK;
	}
	if (PM_UNLIKELY(status)) {
		sim->stats.failed++;
		return;
	}
	sim->stats.allocated++;
	if (id != PM_NO_PFN32)
		sim->placed[id] = (struct placed){ (uint32_t)pfn, ev->pfn[i], (uint8_t)order };
}

/// The used block that covers a frame of ours: its head in `ret`, and its order; -1 if there is none.
static int used_order(const struct pm_machine *m, uint32_t pfn, uint32_t *ret)
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

/// Frees [pfn, pfn + 2^order) of ours, however the block around it has been split so far.
static bool free_piece(struct pm_simulation *sim, uint32_t cpu, uint32_t pfn, unsigned int order)
{
	uint32_t at = pfn, end = pfn + (1u << order), head;

	while (at < end) {
		int have = used_order(sim->m, at, &head);

		if (have < 0)
			return false;
		if ((unsigned int)have > order) {
			if (pm_split(sim->m, head, (uint32_t)have, order) != PM_OK)
				return false;
			sim->stats.split++;
			have = (int)order;
		} else if (head != at) {
			return false;
		}
		if (pm_free(sim->m, cpu, at, (uint32_t)have) != PM_OK)
			return false;
		at += 1u << have;
	}
	return true;
}

static void play_free(struct pm_simulation *sim, const struct pm_events *ev, size_t i)
{
	uint32_t id = ev->allocation[i], order = (uint32_t)ev->order[i], offset;
	struct placed *placed;
	bool done;

	if (id == PM_NO_PFN32 || sim->placed[id].ours == PM_NIL_PFN) {
		sim->stats.unresolved++;
		return;
	}
	placed = &sim->placed[id];
	if (PM_LIKELY(placed->order == order)) {
		done = pm_free(sim->m, ev->cpu[i], placed->ours, order) == PM_OK;
		placed->ours = PM_NIL_PFN;
	} else {
		offset = ev->pfn[i] - placed->recorded;
		done = order < placed->order && offset < 1u << placed->order && (offset & ((1u << order) - 1)) == 0 &&
		       free_piece(sim, ev->cpu[i], placed->ours + offset, order);
	}
	sim->stats.freed += done;
	sim->stats.unresolved += !done;
	sim->stats.refused += !done;
}

/// A decay whose recorded drain is not seen by then happened without one: its lists were short already.
#define PM_DECAY_LATE_NS(period) ((period) / 16)

/// Does this event show that its CPU's timer ran? A drain by a thread that was not freeing, half a period after the last at least.
static bool shows_decay(const struct pm_simulation *sim, const struct decay_clock *clock, const struct pm_events *ev, size_t i)
{
	bool freeing = clock->last_tid == ev->tid[i] && (clock->last_kind == PM_EV_FREE || clock->last_kind == PM_EV_FREE_BATCHED);
	bool draining = clock->last_kind == PM_EV_PCPU_DRAIN && clock->last_tid == ev->tid[i] && ev->time_ns[i] - clock->last_ns < PM_DECAY_SAME_BURST_NS;

	return sim->options.decay_phase && ev->kind[i] == PM_EV_PCPU_DRAIN && !freeing && !draining &&
	       (clock->next_ns == 0 || ev->time_ns[i] + sim->options.decay_ns / 2 >= clock->next_ns);
}

/// Time passes for the CPU of an event: its lists decay when their clock says so.
static void pass_time(struct pm_simulation *sim, const struct pm_events *ev, size_t i)
{
	struct decay_clock *clock = &sim->clocks[ev->cpu[i]];
	uint64_t now_ns = ev->time_ns[i], period = sim->options.decay_ns;

	if (shows_decay(sim, clock, ev, i) || (clock->next_ns && now_ns >= clock->next_ns + PM_DECAY_LATE_NS(period))) {
		if (pm_decay_pcp(sim->m, ev->cpu[i]) == PM_OK)
			sim->stats.decays++;
		clock->next_ns = now_ns + period;
	} else if (clock->next_ns == 0) {
		clock->next_ns = now_ns + period;
	}
	clock->last_ns = now_ns;
	clock->last_tid = ev->tid[i];
	clock->last_kind = ev->kind[i];
}

static void set_reclaiming(struct pm_simulation *sim, bool active)
{
	uint32_t z;

	for (z = 0; z < sim->m->nr_zones; z++) {
		/* Relaxed: one thread, and elsewhere a hint. */
		atomic_store_explicit(&sim->m->zone[z].reclaim_active, active, memory_order_relaxed);
		if (!active)
			atomic_store_explicit(&sim->m->zone[z].watermark_boost, 0, memory_order_relaxed);
	}
	sim->reclaiming = active;
}

/// kswapd sleeps again, and takes the boosts with it, when every zone is above its HIGH mark.
static bool balanced(const struct pm_simulation *sim)
{
	uint32_t z;

	for (z = 0; z < sim->m->nr_zones; z++) {
		const struct pm_zone *zone = &sim->m->zone[z];

		if (atomic_load_explicit(&zone->nr_free, memory_order_relaxed) < pm_watermark(zone, PM_WMARK_HIGH))
			return false;
	}
	return true;
}

static void drain_local(struct pm_simulation *sim, uint32_t cpu)
{
	if (sim->options.compaction_drain && pm_drain(sim->m, cpu) != PM_OK)
		return;
}

/// Everything that is neither a request nor a free.
static void play_other(struct pm_simulation *sim, const struct pm_events *ev, size_t i)
{
	sim->stats.ignored++;
	if (ev->kind[i] == PM_EV_KSWAPD_WAKE && sim->options.kswapd)
		set_reclaiming(sim, true);
	else if (ev->kind[i] == PM_EV_COMPACT_MIGRATEPAGES)
		drain_local(sim, ev->cpu[i]);
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

/// How many events ahead the frames and the allocation of a free are asked for.
enum { PM_SIMULATE_AHEAD = 16, PM_SIMULATE_CHECK_BALANCE = 1024 };

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
		if (sim->options.decay_ns)
			pass_time(sim, ev, i);
		if (ev->kind[i] == PM_EV_ALLOC)
			play_alloc(sim, ev, i);
		else if (ev->kind[i] == PM_EV_FREE)
			play_free(sim, ev, i);
		else
			play_other(sim, ev, i);
		if (PM_UNLIKELY(sim->reclaiming) && i % PM_SIMULATE_CHECK_BALANCE == 0 && balanced(sim))
			set_reclaiming(sim, false);
	}
	return PM_OK;
}
