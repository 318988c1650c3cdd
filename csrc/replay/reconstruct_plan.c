/// The plan: goes through the events, keeps the model, and learns what only the future tells.
#include <stdlib.h>
#include <string.h>

#include "replay/reconstruct.h"

bool pm_rc_grow(void **array, size_t *room, size_t n, size_t size)
{
	size_t want = n < 1024 ? 2048 : n * 2;
	void *more = realloc(*array, want * size);

	if (!more)
		return false;
	*array = more;
	*room = want;
	return true;
}

/// The slot of a task that compacts. NULL: not known, or the table is full.
struct pm_rc_task *pm_rc_task(struct pm_plan *p, uint32_t tid, bool make)
{
	uint32_t at = tid * 2654435761u >> 20 & (PM_RC_TASKS - 1), tries;

	for (tries = 0; tries < PM_RC_TASKS; tries++, at = (at + 1) & (PM_RC_TASKS - 1)) {
		struct pm_rc_task *task = &p->tasks[at];

		if (task->used && task->tid == tid)
			return task;
		if (task->used)
			continue;
		if (!make)
			return NULL;
		*task = (struct pm_rc_task){ tid, true, 0, false };
		return task;
	}
	return NULL;
}

/// Chunks whose reading has ended become blocks.
static void advance_snapshot(struct pm_plan *p, uint32_t event)
{
	const struct pm_resolve_input *in = p->in;
	uint64_t now = p->ev->time_ns[event];

	while (p->live < in->n_chunks && now > in->chunk_end_ns[p->live]) {
		uint32_t end = p->live + 1 < in->n_chunks ? in->chunk_first_pfn[p->live + 1] : p->n_frames;

		pm_rc_add_chunk(p, in->chunk_first_pfn[p->live], end);
		p->live++;
	}
}

/// The chunk of a frame is not complete: events from when its reading began on are played frame by frame on what was read. An event
/// that the reader saw already changes nothing, or a later one undoes it: the last word on each frame is right either way.
static void play_on_snapshot(struct pm_plan *p, uint32_t event, size_t chunk)
{
	const struct pm_events *ev = p->ev;
	uint8_t kind = ev->kind[event];
	uint32_t pfn = ev->pfn[event];
	unsigned int order = (unsigned int)ev->order[event];
	bool gives;

	p->counts[PM_RC_BEFORE_SNAPSHOT]++;
	if (ev->time_ns[event] < p->in->chunk_begin_ns[chunk] || kind > PM_EV_EXTFRAG)
		return;
	pm_rc_note(p, event, pfn, order);
	gives = kind == PM_EV_PCPU_DRAIN || (kind == PM_EV_FREE && (!pm_rc_is_pcp(order) || p->learnt[event] & PM_RC_DIRECT));
	if (gives || kind == PM_EV_ZONE_LOCKED || kind == PM_EV_EXTFRAG)
		memset(p->bits + pfn, gives, (size_t)1 << order);
}

/// Frames that are spoken of as owned, but were free: a word for the next pass. Returns how many.
static uint32_t hear(struct pm_plan *p, uint32_t event, uint32_t pfn, unsigned int order, uint32_t tid)
{
	uint32_t at;

	for (at = pfn; at < pfn + (1u << order); at++)
		if (pm_rc_cover(p, at) != PM_NO_PFN32)
			pm_rc_add_word(p, event, at, 0, 0, tid);
	return pm_rc_take_rest(p, event, pfn, order);
}

/// Frames taken that were not free: FREEs of them that we thought on a per-CPU list went to the free lists.
static void give_direct(struct pm_plan *p, uint32_t event, uint32_t pfn, unsigned int order)
{
	const struct pm_events *ev = p->ev;
	uint32_t at, first;

	for (at = pfn; at < pfn + (1u << order); at++) {
		uint32_t last;

		if (pm_rc_cover(p, at) != PM_NO_PFN32)
			continue;
		last = pm_rc_last(p, at, &first);
		if (!last || ev->kind[last] != PM_EV_FREE || !pm_rc_is_pcp((unsigned int)ev->order[last]) || p->learnt[last] & (PM_RC_DIRECT | PM_RC_HELD))
			continue;
		p->learnt[last] |= PM_RC_DIRECT;
		p->news++;
		if (pm_rc_none_free(p, first, (unsigned int)ev->order[last]))
			pm_rc_give(p, event, first, (unsigned int)ev->order[last]);
	}
}

static void on_take(struct pm_plan *p, uint32_t event)
{
	uint32_t pfn = p->ev->pfn[event], block;
	unsigned int order = (unsigned int)p->ev->order[event];

	block = pm_rc_cover(p, pfn);
	if (block == PM_NO_PFN32 || p->head[block] <= order) {
		give_direct(p, event, pfn, order);
		block = pm_rc_cover(p, pfn);
	}
	if (block == PM_NO_PFN32 || p->head[block] <= order) {
		p->counts[PM_RC_TAKE_OWNED] += (1u << order) - pm_rc_take_rest(p, event, pfn, order);
	} else {
		p->counts[PM_RC_TAKE_INSIDE] += block != pfn;
		pm_rc_take(p, event, pfn, order);
	}
	pm_rc_note(p, event, pfn, order);
}

/// The zone_locked of the same block is the same take: a claim of less than a pageblock takes the ordinary way.
static bool taken_just_before(const struct pm_plan *p, uint32_t event)
{
	const struct pm_events *ev = p->ev;
	uint32_t i;

	for (i = 1; i <= 16 && i <= event; i++)
		if (ev->tid[event - i] == ev->tid[event])
			return ev->kind[event - i] == PM_EV_ZONE_LOCKED && ev->pfn[event - i] == ev->pfn[event];
	return false;
}

static void claim_types(struct pm_plan *p, uint32_t event)
{
	const struct pm_events *ev = p->ev;
	uint32_t i, larger = ev->arg0[event] - PM_PAGEBLOCK_ORDER, nr;

	if (!ev->arg2[event])
		return;
	/* An order below the pageblock's wraps round, and is one pageblock as well. */
	nr = larger <= PM_MAX_ORDER - PM_PAGEBLOCK_ORDER ? 1u << larger : 1;
	for (i = 0; i < nr && ev->pfn[event] + (i << PM_PAGEBLOCK_ORDER) < p->n_frames; i++)
		pm_rc_set_type(p, event, ev->pfn[event] + (i << PM_PAGEBLOCK_ORDER), (unsigned int)ev->migratetype[event]);
}

static void on_fallback(struct pm_plan *p, uint32_t event)
{
	const struct pm_events *ev = p->ev;
	uint32_t pfn = ev->pfn[event];
	unsigned int order = (unsigned int)ev->order[event];

	claim_types(p, event);
	if (taken_just_before(p, event))
		return;
	if (ev->arg0[event] == order && !pm_rc_all_free(p, pfn, order)) {
		/* A capture of another type: the give that completes the block is traced next. */
		p->extfrag_pfn = pfn;
		p->extfrag_order = (uint8_t)order;
		return;
	}
	on_take(p, event);
}

/// Blocks that compaction captured as this event gave their last part.
static void capture(struct pm_plan *p, uint32_t event, uint32_t pfn)
{
	uint32_t announced = p->extfrag_pfn;

	if (announced != PM_NO_PFN32 && pfn >= announced && pfn < announced + (1u << p->extfrag_order)) {
		p->extfrag_pfn = PM_NO_PFN32;
		if (pm_rc_all_free(p, announced, p->extfrag_order)) {
			pm_rc_take(p, event, announced, p->extfrag_order);
			pm_rc_note(p, event, announced, p->extfrag_order);
			p->counts[PM_RC_CAPTURE]++;
		}
	}
	if (!(p->learnt[event] & PM_RC_CAPTURED))
		return;
	while (p->next_capture < p->nr_captures && p->captures[p->next_capture].event < event)
		p->next_capture++;
	for (; p->next_capture < p->nr_captures && p->captures[p->next_capture].event == event; p->next_capture++) {
		const struct pm_rc_capture *c = &p->captures[p->next_capture];

		if (!pm_rc_all_free(p, c->pfn, c->order))
			continue;
		pm_rc_take(p, event, c->pfn, c->order);
		pm_rc_note(p, event, c->pfn, c->order);
		p->counts[PM_RC_CAPTURE]++;
	}
}

/// A FREE during migration of a block that this compaction isolated: it goes back to compaction's own list.
static bool is_held(struct pm_plan *p, uint32_t event)
{
	const struct pm_events *ev = p->ev;
	const struct pm_rc_task *task = pm_rc_task(p, ev->tid[event], false);
	uint32_t last, first;

	if (!task || !task->run || p->learnt[event] & PM_RC_RELEASE)
		return false;
	last = pm_rc_last(p, ev->pfn[event], &first);
	return last > task->run && (ev->kind[last] == PM_EV_ISOLATE_FREE || ev->kind[last] == PM_EV_FAST_ISOLATE_FREE) && ev->tid[last] == task->tid;
}

static void on_give(struct pm_plan *p, uint32_t event)
{
	const struct pm_events *ev = p->ev;
	uint32_t pfn = ev->pfn[event];
	unsigned int order = (unsigned int)ev->order[event];
	bool drain = ev->kind[event] == PM_EV_PCPU_DRAIN, direct = p->learnt[event] & PM_RC_DIRECT;

	if (!pm_rc_none_free(p, pfn, order))
		p->counts[PM_RC_GIVE_FREE] += hear(p, event, pfn, order, p->learnt[event] & PM_RC_RELEASE ? ev->tid[event] : PM_NO_PFN32);
	if (!drain && is_held(p, event)) {
		p->learnt[event] |= PM_RC_HELD;
		p->counts[PM_RC_FREE_HELD]++;
		return;
	}
	p->learnt[event] &= (uint8_t)~PM_RC_HELD;
	if (drain)
		pm_rc_set_type(p, event, pfn, (unsigned int)ev->migratetype[event]);
	if (drain || direct || !pm_rc_is_pcp(order)) {
		p->counts[PM_RC_FREE_DIRECT] += direct;
		pm_rc_give(p, event, pfn, order);
		pm_rc_note(p, event, pfn, order);
		capture(p, event, pfn);
	} else {
		pm_rc_note(p, event, pfn, order);
	}
}

static void learn_capture(struct pm_plan *p, uint32_t give, uint32_t pfn, unsigned int order)
{
	if (p->nr_captures == p->room_captures &&
	    !pm_rc_grow((void **)&p->captures, &p->room_captures, p->nr_captures, sizeof(*p->captures))) {
		p->no_memory = true;
		return;
	}
	p->captures[p->nr_captures++] = (struct pm_rc_capture){ give, pfn, (uint8_t)order };
	p->learnt[give] |= PM_RC_CAPTURED;
	p->news++;
}

/// An ALLOC of what is free: captured by the give that completed it, or somebody took it before without a word.
static void on_alloc(struct pm_plan *p, uint32_t event)
{
	const struct pm_events *ev = p->ev;
	uint32_t pfn = ev->pfn[event], give;
	unsigned int order = (unsigned int)ev->order[event];

	if (!pm_rc_none_free(p, pfn, order)) {
		if (order && !pm_rc_all_free(p, pfn, order))
			give_direct(p, event, pfn, order);
		give = pm_rc_last_in(p, pfn, order);
		if (order && pm_rc_all_free(p, pfn, order) && (ev->kind[give] == PM_EV_PCPU_DRAIN || ev->kind[give] == PM_EV_FREE) && give >= p->started &&
		    !(p->learnt[give] & PM_RC_CAPTURED)) {
			learn_capture(p, give, pfn, order);
			p->counts[PM_RC_ALLOC_FREE] += pm_rc_take_rest(p, event, pfn, order);
		} else {
			p->counts[PM_RC_ALLOC_FREE] += hear(p, event, pfn, order, PM_NO_PFN32);
		}
	}
	pm_rc_note(p, event, pfn, order);
}

/// A destination of this compaction that we thought on a per-CPU list: it was free, so its FREE was a direct one.
static void on_filled(struct pm_plan *p, uint32_t event)
{
	const struct pm_events *ev = p->ev;
	const struct pm_rc_task *task = pm_rc_task(p, ev->tid[event], false);
	uint32_t first, last = pm_rc_last(p, ev->pfn[event], &first);

	if (!task || !task->run || !task->fast || !last || last >= task->run || ev->kind[last] != PM_EV_FREE || !pm_rc_is_pcp((unsigned int)ev->order[last]) ||
	    p->learnt[last] & (PM_RC_DIRECT | PM_RC_HELD))
		return;
	p->learnt[last] |= PM_RC_DIRECT;
	p->news++;
}

static void on_entry(struct pm_plan *p, uint32_t event)
{
	const struct pm_events *ev = p->ev;
	uint32_t pfn = ev->pfn[event];

	if (pm_rc_cover(p, pfn) != PM_NO_PFN32) {
		p->counts[PM_RC_PTE_FREE] += hear(p, event, pfn, 0, ev->kind[event] == PM_EV_REMOVE_MIGRATION_PTE ? ev->tid[event] : PM_NO_PFN32);
		pm_rc_note(p, event, pfn, 0);
	} else if (ev->kind[event] == PM_EV_SET_MIGRATION_PTE) {
		pm_rc_note(p, event, pfn, 0);
	} else {
		on_filled(p, event);
	}
}

static void on_compaction(struct pm_plan *p, uint32_t event)
{
	const struct pm_events *ev = p->ev;
	struct pm_rc_task *task;

	switch (ev->kind[event]) {
	case PM_EV_ISOLATE_FREE:
		if (pm_rc_is_scan(p, event))
			pm_rc_isolate(p, event);
		else
			p->counts[PM_RC_MALFORMED]++;
		break;
	case PM_EV_FAST_ISOLATE_FREE:
		pm_rc_fast_isolate(p, event);
		task = pm_rc_task(p, ev->tid[event], false);
		if (task)
			task->fast |= ev->arg2[event] != 0;
		break;
	case PM_EV_COMPACT_BEGIN:
	case PM_EV_COMPACT_END:
		task = pm_rc_task(p, ev->tid[event], ev->kind[event] == PM_EV_COMPACT_BEGIN);
		if (task)
			*task = (struct pm_rc_task){ task->tid, true, ev->kind[event] == PM_EV_COMPACT_BEGIN ? event : 0, false };
		break;
	default:
		break;
	}
}

static bool is_block(const struct pm_plan *p, uint32_t event)
{
	int order = p->ev->order[event];
	uint32_t pfn = p->ev->pfn[event];

	return order >= 0 && order <= PM_MAX_ORDER && pfn < p->n_frames && pfn + (1u << order) <= p->n_frames && pm_rc_align(pfn, (unsigned int)order) == pfn;
}

static size_t chunk_of(const struct pm_plan *p, uint32_t pfn)
{
	size_t low = 0, high = p->in->n_chunks;

	while (low + 1 < high) {
		size_t middle = low + (high - low) / 2;

		if (p->in->chunk_first_pfn[middle] <= pfn)
			low = middle;
		else
			high = middle;
	}
	return low;
}

static void step(struct pm_plan *p, uint32_t event)
{
	uint8_t kind = p->ev->kind[event];
	bool of_frame = kind <= PM_EV_EXTFRAG || kind == PM_EV_SET_MIGRATION_PTE || kind == PM_EV_REMOVE_MIGRATION_PTE;

	if (kind == PM_EV_FREE_BATCHED || (kind == PM_EV_ALLOC && p->ev->pfn[event] == PM_NO_PFN32))
		return;
	if (of_frame) {
		if (kind <= PM_EV_EXTFRAG ? !is_block(p, event) : p->ev->pfn[event] >= p->n_frames) {
			p->counts[PM_RC_MALFORMED]++;
			return;
		}
		p->current[p->ev->pfn[event]] = p->next[event];
	}
	if (p->live < p->in->n_chunks && p->ev->pfn[event] < p->n_frames && (of_frame || kind == PM_EV_ISOLATE_FREE || kind == PM_EV_FAST_ISOLATE_FREE)) {
		size_t chunk = chunk_of(p, p->ev->pfn[event]);

		if (chunk >= p->live || kind == PM_EV_FAST_ISOLATE_FREE) {
			play_on_snapshot(p, event, chunk);
			return;
		}
	}
	switch (kind) {
	case PM_EV_ZONE_LOCKED:
		on_take(p, event);
		break;
	case PM_EV_EXTFRAG:
		on_fallback(p, event);
		break;
	case PM_EV_PCPU_DRAIN:
	case PM_EV_FREE:
		on_give(p, event);
		break;
	case PM_EV_ALLOC:
		on_alloc(p, event);
		break;
	case PM_EV_SET_MIGRATION_PTE:
	case PM_EV_REMOVE_MIGRATION_PTE:
		on_entry(p, event);
		break;
	default:
		on_compaction(p, event);
	}
}

/// The first event after the last chunk was read.
static uint32_t first_after_snapshot(const struct pm_plan *p)
{
	size_t low = 0, high = p->ev->n;

	if (!p->in->n_chunks)
		return 0;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (p->ev->time_ns[middle] > p->in->chunk_end_ns[p->in->n_chunks - 1])
			high = middle;
		else
			low = middle + 1;
	}
	return (uint32_t)low;
}

static void keep_start(struct pm_plan *p)
{
	uint32_t pfn;

	p->nr_start = 0;
	for (pfn = 0; pfn < p->n_frames; pfn++) {
		if (!p->head[pfn])
			continue;
		if (p->nr_start == p->room_start && !pm_rc_grow((void **)&p->start, &p->room_start, p->nr_start, sizeof(*p->start))) {
			p->no_memory = true;
			return;
		}
		p->start[p->nr_start++] = (struct pm_rc_op){ 0, pfn, PM_RC_GIVE, (uint8_t)(p->head[pfn] - 1), p->type[pfn >> PM_PAGEBLOCK_ORDER] };
	}
}

static void begin_pass(struct pm_plan *p)
{
	size_t frames = p->n_frames, i;

	memset(p->head, 0, frames);
	memset(p->last, 0, frames * sizeof(*p->last));
	memset(p->last_order, 0, frames);
	memcpy(p->current, p->first, frames * sizeof(*p->current));
	memset(p->tasks, 0, sizeof(p->tasks));
	memset(p->counts, 0, sizeof(p->counts));
	memcpy(p->type, p->start_type, frames / PM_PAGEBLOCK_NR_PAGES + 1);
	for (i = 0; i < frames; i++)
		p->bits[i] = !p->in->n_frames || (p->in->frame_flags[i] >> 10 & 1);
	p->live = 0;
	p->extfrag_pfn = PM_NO_PFN32;
	p->next_capture = 0;
	p->nr_ops = 0;
	p->news = 0;
	pm_rc_sort_words(p);
	if (!p->in->n_chunks)
		pm_rc_add_chunk(p, 0, p->n_frames);
}

static int by_event(const void *a, const void *b)
{
	const struct pm_rc_capture *x = a, *y = b;

	return x->event < y->event ? -1 : x->event > y->event;
}

static void pass(struct pm_plan *p)
{
	size_t i;

	begin_pass(p);
	for (i = 0; i < p->ev->n && !p->no_memory; i++) {
		if (i == p->started)
			keep_start(p);
		if (p->live < p->in->n_chunks)
			advance_snapshot(p, (uint32_t)i);
		if (i == p->started)
			keep_start(p);
		step(p, (uint32_t)i);
	}
	if (p->started == p->ev->n)
		keep_start(p);
	if (p->nr_captures)
		qsort(p->captures, p->nr_captures, sizeof(*p->captures), by_event);
	if (p->fast)
		pm_rc_collect_spares(p);
}

/// Passes until one learns nothing, at most so many, each from the beginning; the last one's operations are the plan.
enum pm_status pm_rc_passes(struct pm_plan *p, uint64_t most)
{
	uint64_t n;

	for (n = 1; n <= most; n++) {
		pass(p);
		if (p->no_memory)
			return PM_ERR_NOMEM;
		if (!p->news && (n > 1 || !p->fast))
			break;
	}
	p->nr_passes += n > most ? most : n;
	p->counts[PM_RC_PASSES] = p->nr_passes;
	p->counts[PM_RC_WORDS] = p->nr_words;
	return PM_OK;
}

enum pm_status pm_rc_plan(struct pm_plan *p)
{
	enum pm_status status = pm_rc_look_ahead(p);

	if (status)
		return status;
	p->started = first_after_snapshot(p);
	return pm_rc_passes(p, PM_RC_PASSES_MAX);
}
