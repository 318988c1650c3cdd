/// What the events tell before the first pass: who is named next, which frees are the end of a compaction, which frees went past the
/// per-CPU lists, and the types of the pageblocks at the start.
#include <stdlib.h>
#include <string.h>

#include "replay/reconstruct.h"

/// Frees on one CPU with nothing between them.
struct streak {
	uint32_t first_direct; ///< 0: none yet
	uint32_t last_direct;
	bool locked_out; ///< came in the middle of a refill (an interrupt), or while another CPU drained: the lists' lock was taken
};

/// For how long around its events a drain may hold the lock of another CPU's lists.
enum { PM_RC_DRAIN_NS = 50000 };

/// The latest event of a kind, and the latest on another CPU than that.
struct latest {
	uint64_t time_ns[2]; ///< 0: none
	uint32_t streak[2];
	uint16_t cpu[2];
};

struct cpu_state {
	uint32_t streak;
	uint32_t tid;
	uint8_t kind;
};

/// A FREE whose frame has not been spoken of since.
struct pending {
	uint32_t event; ///< 0: none
	uint32_t order_event; ///< when it went onto the list: the FREE_BATCHED where there is one
};

/// One list of a CPU: the latest FREE among those that were drained. 3 types, the orders, the zones.
enum { PM_RC_LISTS = PM_MAX_ZONES * PM_NR_ORDERS * PM_NR_MIGRATETYPES };

struct ahead {
	struct pm_plan *p;
	struct pending *pending; ///< by frame
	uint8_t *pending_type;	 ///< by frame
	uint8_t *type;		 ///< by pageblock, as the events go by
	uint32_t *drained;	 ///< [cpu][list]
	uint32_t *streak_of;	 ///< by event
	struct streak *streaks;
};

static void link_events(struct pm_plan *p)
{
	const struct pm_events *ev = p->ev;
	size_t i;

	memset(p->first, 0xff, p->n_frames * sizeof(*p->first));
	for (i = ev->n; i-- > 0;) {
		uint8_t kind = ev->kind[i];

		p->next[i] = PM_NO_PFN32;
		if (kind <= PM_EV_EXTFRAG ? kind == PM_EV_FREE_BATCHED : kind != PM_EV_SET_MIGRATION_PTE && kind != PM_EV_REMOVE_MIGRATION_PTE)
			continue;
		if (ev->pfn[i] >= p->n_frames)
			continue;
		p->next[i] = p->first[ev->pfn[i]];
		p->first[ev->pfn[i]] = (uint32_t)i;
	}
}

static void note_fast(struct pm_plan *p, size_t i, struct pm_rc_later *later)
{
	unsigned int order = 0;

	p->fast = true;
	p->follow[i] = later->scan;
	p->until[i] = later->end;
	while (order < PM_MAX_ORDER && 2u << order <= p->ev->arg2[i])
		order++;
	p->rest[i] = later->fast[order];
	/* Where a scan follows, the pageblock is known. */
	if (p->ev->arg2[i] && later->scan == PM_NO_PFN32)
		later->fast[order]++;
}

/// Backwards: FREEs that only frees and drains separate from the end of their task's compaction; and what follows a fast_isolate.
static void look_at_compaction(struct pm_plan *p, struct pm_rc_later *laters)
{
	const struct pm_events *ev = p->ev;
	size_t i;

	for (i = ev->n; i-- > 0;) {
		uint8_t kind = ev->kind[i];
		struct pm_rc_task *task;
		struct pm_rc_later *later;

		if (kind == PM_EV_FREE_BATCHED || kind == PM_EV_PCPU_DRAIN)
			continue;
		task = pm_rc_task(p, ev->tid[i], kind == PM_EV_COMPACT_END || kind == PM_EV_ISOLATE_FREE || kind == PM_EV_FAST_ISOLATE_FREE);
		if (!task)
			continue;
		later = &laters[task - p->tasks];
		if (kind == PM_EV_FREE) {
			if (later->ending)
				p->learnt[i] |= PM_RC_RELEASE;
			continue;
		}
		if (kind == PM_EV_FAST_ISOLATE_FREE)
			note_fast(p, i, later);
		if (kind == PM_EV_COMPACT_END)
			*later = (struct pm_rc_later){ .end = (uint32_t)i };
		later->ending = kind == PM_EV_COMPACT_END;
		later->scan = kind == PM_EV_ISOLATE_FREE && pm_rc_is_scan(p, (uint32_t)i) ? (uint32_t)i : PM_NO_PFN32;
	}
}

/// The first word on a pageblock's type: what a drain says, what a fallback found, else what a refill asked for.
static void find_start_types(struct pm_plan *p)
{
	const struct pm_events *ev = p->ev;
	size_t i;

	memset(p->start_type, PM_RC_UNKNOWN_TYPE, p->n_frames / PM_PAGEBLOCK_NR_PAGES + 1);
	for (i = 0; i < ev->n; i++) {
		uint8_t kind = ev->kind[i], *type;
		uint32_t found;

		if (ev->pfn[i] >= p->n_frames || (kind != PM_EV_PCPU_DRAIN && kind != PM_EV_EXTFRAG && kind != PM_EV_ZONE_LOCKED))
			continue;
		type = &p->start_type[ev->pfn[i] >> PM_PAGEBLOCK_ORDER];
		if (*type != PM_RC_UNKNOWN_TYPE)
			continue;
		found = (uint32_t)ev->migratetype[i];
		if (kind == PM_EV_EXTFRAG)
			found = ev->arg1[i];
		else if (kind == PM_EV_ZONE_LOCKED && i + 1 < ev->n && ev->kind[i + 1] == PM_EV_EXTFRAG && ev->pfn[i + 1] == ev->pfn[i])
			found = ev->arg1[i + 1];
		if (found < PM_MT_ISOLATE)
			*type = (uint8_t)found;
	}
	for (i = 0; i <= p->n_frames / PM_PAGEBLOCK_NR_PAGES; i++)
		if (p->start_type[i] == PM_RC_UNKNOWN_TYPE)
			p->start_type[i] = p->given_type[i];
}

static void note_latest(struct latest *l, const struct pm_events *ev, size_t i, uint32_t streak)
{
	if (l->time_ns[0] && l->cpu[0] != ev->cpu[i]) {
		l->time_ns[1] = l->time_ns[0];
		l->streak[1] = l->streak[0];
		l->cpu[1] = l->cpu[0];
	}
	l->time_ns[0] = ev->time_ns[i];
	l->streak[0] = streak;
	l->cpu[0] = ev->cpu[i];
}

/// Which of the two was on another CPU than event i, and near it; -1: none.
static int near_elsewhere(const struct latest *l, const struct pm_events *ev, size_t i)
{
	int which = l->cpu[0] == ev->cpu[i];

	return l->time_ns[which] && ev->time_ns[i] - l->time_ns[which] <= PM_RC_DRAIN_NS ? which : -1;
}

static void find_streaks(struct ahead *a)
{
	struct latest drain = { { 0 }, { 0 }, { 0 } }, freed = drain;
	static const struct cpu_state none = { 0, PM_NO_PFN32, PM_NR_EVENT_KINDS };
	struct cpu_state cpus[PM_RC_CPUS];
	const struct pm_events *ev = a->p->ev;
	uint32_t n = 0;
	size_t i;

	for (i = 0; i < PM_RC_CPUS; i++)
		cpus[i] = none;
	for (i = 0; i < ev->n; i++) {
		struct cpu_state *cpu = &cpus[ev->cpu[i] % PM_RC_CPUS];

		if (ev->kind[i] == PM_EV_FREE) {
			if (cpu->kind != PM_EV_FREE || cpu->tid != ev->tid[i]) {
				cpu->streak = ++n;
				a->streaks[n].locked_out = cpu->tid == ev->tid[i] && cpu->kind == PM_EV_ZONE_LOCKED;
			}
			a->streak_of[i] = cpu->streak;
			a->streaks[cpu->streak].locked_out |= near_elsewhere(&drain, ev, i) >= 0;
			note_latest(&freed, ev, i, cpu->streak);
		} else if (ev->kind[i] == PM_EV_PCPU_DRAIN) {
			int beside = near_elsewhere(&freed, ev, i);

			if (beside >= 0)
				a->streaks[freed.streak[beside]].locked_out = true;
			note_latest(&drain, ev, i, 0);
		}
		cpu->kind = ev->kind[i];
		cpu->tid = ev->tid[i];
	}
}

static uint32_t *list_of(struct ahead *a, uint32_t cpu, uint32_t pfn, uint32_t order, uint32_t type)
{
	uint32_t zone = pm_rc_zone_of(a->p, pfn);

	if (zone >= PM_MAX_ZONES || type >= PM_NR_MIGRATETYPES)
		return NULL;
	return &a->drained[(cpu % PM_RC_CPUS) * (size_t)PM_RC_LISTS + (zone * PM_NR_ORDERS + order) * PM_NR_MIGRATETYPES + type];
}

static void mark_direct(struct ahead *a, uint32_t event)
{
	struct streak *streak = &a->streaks[a->streak_of[event]];

	a->p->learnt[event] |= PM_RC_DIRECT;
	if (!streak->first_direct || event < streak->first_direct)
		streak->first_direct = event;
	if (event > streak->last_direct)
		streak->last_direct = event;
}

/// A list of a CPU is drained from its tail and filled at its head: a FREE older than one that was drained is no longer on it.
static bool outlived(struct ahead *a, uint32_t pfn)
{
	const struct pm_events *ev = a->p->ev;
	const struct pending *pending = &a->pending[pfn];
	const uint32_t *drained = list_of(a, ev->cpu[pending->event], pfn, (uint32_t)ev->order[pending->event], a->pending_type[pfn]);

	return drained && *drained > pending->order_event;
}

static void on_drain(struct ahead *a, size_t i)
{
	const struct pm_events *ev = a->p->ev;
	uint32_t pfn = ev->pfn[i], event = a->pending[pfn].event;

	a->type[pfn >> PM_PAGEBLOCK_ORDER] = (uint8_t)ev->migratetype[i];
	if (event && ev->order[event] == ev->order[i]) {
		uint32_t *drained = list_of(a, ev->cpu[event], pfn, (uint32_t)ev->order[i], (uint32_t)ev->migratetype[i]);

		if (drained && a->pending[pfn].order_event > *drained)
			*drained = a->pending[pfn].order_event;
	}
	a->pending[pfn].event = 0;
}

static void follow_frees(struct ahead *a)
{
	const struct pm_events *ev = a->p->ev;
	size_t i;

	for (i = 0; i < ev->n; i++) {
		uint32_t pfn = ev->pfn[i];
		struct pending *pending;

		if (ev->kind[i] > PM_EV_EXTFRAG || pfn >= a->p->n_frames)
			continue;
		pending = &a->pending[pfn];
		switch (ev->kind[i]) {
		case PM_EV_FREE:
			pending->event = ev->order[i] >= 0 && pm_rc_is_pcp((unsigned int)ev->order[i]) ? (uint32_t)i : 0;
			pending->order_event = (uint32_t)i;
			a->pending_type[pfn] = a->type[pfn >> PM_PAGEBLOCK_ORDER];
			break;
		case PM_EV_FREE_BATCHED:
			pending->order_event = (uint32_t)i;
			break;
		case PM_EV_PCPU_DRAIN:
			on_drain(a, i);
			break;
		case PM_EV_ZONE_LOCKED:
		case PM_EV_EXTFRAG:
			/* From the free lists, without a drain: the FREE put it there. */
			if (pending->event)
				mark_direct(a, pending->event);
			pending->event = 0;
			break;
		default:
			pending->event = 0;
		}
	}
}

/// Frames that were freed and never spoken of again: still on the CPU's list, or given back directly, or handed out in bulk, which
/// is not traced. They are not on the list if they outlived it, and were given back if others freed in the same breath were.
static void judge_pending(struct ahead *a)
{
	uint32_t pfn;

	for (pfn = 0; pfn < a->p->n_frames; pfn++) {
		uint32_t event = a->pending[pfn].event;
		const struct streak *streak;

		if (!event)
			continue;
		streak = &a->streaks[a->streak_of[event]];
		if (outlived(a, pfn) ? streak->first_direct || streak->locked_out : event > streak->first_direct && event < streak->last_direct)
			a->p->learnt[event] |= PM_RC_DIRECT;
	}
}

enum pm_status pm_rc_look_ahead(struct pm_plan *p)
{
	size_t n = p->ev->n, i, frames = p->n_frames;
	struct ahead a = { p, NULL, NULL, NULL, NULL, NULL, NULL };
	struct pm_rc_later *laters = calloc(PM_RC_TASKS, sizeof(*laters));
	enum pm_status status = PM_ERR_NOMEM;

	a.pending = calloc(frames, sizeof(*a.pending));
	a.pending_type = calloc(frames, 1);
	a.type = malloc(frames / PM_PAGEBLOCK_NR_PAGES + 1);
	a.drained = calloc((size_t)PM_RC_CPUS * PM_RC_LISTS, sizeof(*a.drained));
	a.streak_of = calloc(n + 1, sizeof(*a.streak_of));
	a.streaks = calloc(n + 1, sizeof(*a.streaks));
	if (laters && a.pending && a.pending_type && a.type && a.drained && a.streak_of && a.streaks) {
		for (i = 0; i < PM_RC_TASKS; i++)
			laters[i].scan = laters[i].end = PM_NO_PFN32;
		link_events(p);
		look_at_compaction(p, laters);
		find_start_types(p);
		memcpy(a.type, p->start_type, frames / PM_PAGEBLOCK_NR_PAGES + 1);
		find_streaks(&a);
		follow_frees(&a);
		judge_pending(&a);
		status = PM_OK;
	}
	free(a.streaks);
	free(a.streak_of);
	free(a.drained);
	free(a.type);
	free(a.pending_type);
	free(a.pending);
	free(laters);
	return status;
}
