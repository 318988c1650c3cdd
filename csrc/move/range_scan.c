/// Looking at ranges: what stands there, what can never move, and which range is emptied most cheaply.
#include "move/range.h"

#include <string.h>

#include "phys/buddy.h"

/* ---- what stands at a place ---- */

static enum pm_range_what what_is_owned(const struct pm_machine *m, uint32_t pfn)
{
	const struct pm_page *page = &m->pages[pfn];
	uint32_t flags = pm_page_flags(page);

	if ((flags & PM_PG_TABLE) || (flags & (PM_PG_OWNER | PM_PG_MOVABLE_OPS)) == PM_PG_OWNER)
		return PM_RW_FIXED;
	return pm_page_maybe_pinned(page) ? PM_RW_PINNED : PM_RW_MOVABLE;
}

/// What stands at a usable frame that is not inside a block; it reaches no further than `end`, unless it is a block.
static struct pm_range_seen look(const struct pm_machine *m, uint32_t pfn, uint32_t end)
{
	const struct pm_pageblock *block = pm_pageblock_of(m, pm_pfn(pfn));
	uint32_t word, nr;

	if (pm_pageblock_offline(block)) {
		uint32_t next = (pfn | (PM_PAGEBLOCK_NR_PAGES - 1)) + 1;

		return (struct pm_range_seen){ .head = pfn, .nr = (next < end ? next : end) - pfn, .what = PM_RW_FIXED };
	}
	if (pm_pfn_aligned(pm_pfn(pfn), PM_PAGEBLOCK_ORDER) && block->free_order)
		return (struct pm_range_seen){ .head = pfn, .nr = 1u << block->free_order, .what = PM_RW_FREE };
	word = pm_frame_word(pm_frame_of(m, pm_pfn(pfn)));
	nr = 1u << pm_word_order(word);
	switch (pm_word_kind(word)) {
	case PM_FRAME_FREE:
		return (struct pm_range_seen){ .head = pfn, .nr = nr, .what = PM_RW_FREE };
	case PM_FRAME_PCP:
		return (struct pm_range_seen){ .head = pfn, .nr = nr, .what = PM_RW_PCP };
	case PM_FRAME_USED:
		return (struct pm_range_seen){ .head = pfn, .nr = nr, .what = pm_word_migratetype(word) == PM_MT_MOVABLE ? PM_RW_PASSING : PM_RW_FIXED };
	case PM_FRAME_OWNED:
		return (struct pm_range_seen){ .head = pfn, .nr = nr, .what = what_is_owned(m, pfn) };
	default:
		/* In no block: a snapshot that was not loaded to its end. */
		return (struct pm_range_seen){ .head = pfn, .nr = 1, .what = PM_RW_FIXED };
	}
}

struct walk {
	struct pm_machine *m;
	uint32_t at; ///< all before it was visited
	uint32_t end;
	bool (*visit)(const struct pm_range_seen *seen, void *arg);
	void *arg;
};

static bool visit(struct walk *w, struct pm_range_seen seen)
{
	if (seen.head + seen.nr <= w->at)
		return true;
	w->at = seen.head + seen.nr;
	return w->visit(&seen, w->arg);
}

/// Frames that are not usable, told apart: holes, and what is reserved.
static bool visit_gap(struct walk *w, uint64_t start, uint64_t end)
{
	if (start < w->at)
		start = w->at;
	while (start < end) {
		bool hole = pm_in_ranges(w->m->holes, w->m->nr_holes, start);
		uint64_t next = start + 1;

		while (next < end && pm_in_ranges(w->m->holes, w->m->nr_holes, next) == hole)
			next++;
		if (!visit(w, (struct pm_range_seen){ .head = (uint32_t)start, .nr = (uint32_t)(next - start), .what = PM_RW_FIXED, .hole = hole }))
			return false;
		start = next;
	}
	return true;
}

/// Goes through [start, w->end), where a block begins at `start`.
static bool walk_chunk(struct walk *w, uint32_t start)
{
	uint64_t next = start, gap = start;
	struct pm_range run;

	while (pm_next_usable(w->m, &next, w->end, &run)) {
		uint64_t pfn = run.start;

		if (!visit_gap(w, gap, run.start))
			return false;
		while (pfn < run.end) {
			struct pm_range_seen seen = look(w->m, (uint32_t)pfn, (uint32_t)run.end);

			if (!visit(w, seen))
				return false;
			pfn += seen.nr;
		}
		gap = run.end;
	}
	return visit_gap(w, gap, w->end);
}

uint32_t pm_range_walk(struct pm_machine *m, struct pm_zone *zone, uint32_t from, uint32_t to, bool (*each)(const struct pm_range_seen *seen, void *arg), void *arg)
{
	struct walk w = { .m = m, .at = from, .visit = each, .arg = arg };
	bool on = true;

	while (on && w.at < to) {
		uint32_t chunk = w.at & ~((1u << PM_MAX_ORDER) - 1);

		w.end = to - chunk > 1u << PM_MAX_ORDER ? chunk + (1u << PM_MAX_ORDER) : to;
		pm_lock(&zone->lock);
		on = walk_chunk(&w, chunk > zone->start ? chunk : zone->start);
		pm_unlock(&zone->lock);
	}
	/* The last block may reach beyond. */
	return w.at < to ? w.at : to;
}

/* ---- what can never move ---- */

enum pm_status pm_range_note(struct pm_machine *m, struct pm_range_op *op, uint32_t pfn, uint32_t nr, uint32_t reason)
{
	if (op->nr_obstacles == op->room_obstacles) {
		size_t room = op->room_obstacles ? 2 * op->room_obstacles : 64;
		struct pm_obstacle *more = pm_host_zalloc(&m->host, room * sizeof(*more));

		if (!more)
			return PM_ERR_NOMEM;
		if (op->nr_obstacles)
			memcpy(more, op->obstacles, op->nr_obstacles * sizeof(*more));
		pm_host_free(&m->host, op->obstacles);
		op->obstacles = more;
		op->room_obstacles = room;
	}
	op->obstacles[op->nr_obstacles++] = (struct pm_obstacle){ .pfn = pfn, .nr = nr, .reason = reason };
	return PM_OK;
}

/// Obstacles of a stretch; noted when the zone is unlocked again.
enum { PM_NOTES = 256 };

struct check {
	const struct pm_range_op *op;
	struct pm_range_seen notes[PM_NOTES];
	uint32_t nr;
};

/// Is it in the way of what is wanted, as far as can be told before anything is done? Pins go away: whoever tries for ever waits for them.
static bool is_in_the_way(const struct pm_range_op *op, const struct pm_range_seen *seen)
{
	switch (seen->what) {
	case PM_RW_FIXED:
		return !seen->hole || op->request.kind == PM_RANGE_TAKE;
	case PM_RW_PASSING:
		return true;
	case PM_RW_PINNED:
		return op->request.kind == PM_RANGE_TAKE && op->request.tries;
	default:
		return false;
	}
}

static bool check_block(const struct pm_range_seen *seen, void *arg)
{
	struct check *check = arg;

	if (is_in_the_way(check->op, seen))
		check->notes[check->nr++] = *seen;
	return check->nr < PM_NOTES;
}

enum pm_status pm_range_check(struct pm_range_run *run)
{
	struct pm_range_op *op = run->op;
	struct check check = { .op = op };
	uint32_t i;

	if (op->at == op->start) {
		op->nr_obstacles = 0;
		op->hard = false;
	}
	while (op->at < op->end) {
		uint32_t from = op->at, some = op->end - from < PM_RANGE_BUDGET / 16 ? op->end : from + PM_RANGE_BUDGET / 16;
		enum pm_status status = PM_OK;

		check.nr = 0;
		op->at = pm_range_walk(run->call->m, op->zone, from, some, check_block, &check);
		for (i = 0; i < check.nr && !status; i++) {
			op->hard |= check.notes[i].what == PM_RW_FIXED;
			status = pm_range_note(run->call->m, op, check.notes[i].head, check.notes[i].nr, check.notes[i].what == PM_RW_PINNED ? PM_WHY_PINNED : PM_WHY_NOT_MOVABLE);
		}
		if (status)
			return status;
		if (pm_range_spent(run, op->at - from) && op->at < op->end)
			return PM_ERR_INTR;
	}
	if (op->hard)
		return PM_ERR_BUSY;
	return op->nr_obstacles ? PM_ERR_AGAIN : PM_OK;
}

/* ---- the search ---- */

/// A part of a zone in slots of equal length, and what it costs to empty each.
struct costs {
	uint32_t start;	 ///< first frame of slot 0
	uint32_t shift;	 ///< frames of a slot: 1 << shift
	uint32_t nr;	 ///< slots
	uint32_t *frames; ///< [nr] movable frames
	uint32_t *blocked; ///< [nr] 1: something can never move
};

static bool cost_block(const struct pm_range_seen *seen, void *arg)
{
	struct costs *costs = arg;
	uint32_t pfn = seen->head < costs->start ? costs->start : seen->head, end = seen->head + seen->nr;
	uint32_t last = costs->start + (costs->nr << costs->shift);

	if (seen->what == PM_RW_FREE || seen->what == PM_RW_PCP)
		return true;
	for (end = end < last ? end : last; pfn < end;) {
		uint32_t slot = (pfn - costs->start) >> costs->shift, next = costs->start + ((slot + 1) << costs->shift);

		next = next < end ? next : end;
		if (seen->what == PM_RW_MOVABLE)
			costs->frames[slot] += next - pfn;
		else
			costs->blocked[slot] = 1;
		pfn = next;
	}
	return true;
}

/// From "in each slot" to "in all slots before": so a sum over many is one subtraction. The arrays have one slot more than there are.
static void sum_up(uint32_t *values, uint32_t nr)
{
	uint32_t sum = 0, i;

	for (i = 0; i <= nr; i++) {
		uint32_t value = i < nr ? values[i] : 0;

		values[i] = sum;
		sum += value;
	}
}

static void add_candidate(struct pm_range_op *op, uint32_t start, uint32_t cost)
{
	uint32_t i;

	/* Stretches overlap. */
	for (i = 0; i < op->nr_candidates; i++)
		if (op->candidates[i].start == start)
			return;
	if (i == op->request.candidates) {
		if (op->candidates[i - 1].cost <= cost)
			return;
		i--;
	} else {
		op->nr_candidates++;
	}
	for (; i && op->candidates[i - 1].cost > cost; i--)
		op->candidates[i] = op->candidates[i - 1];
	op->candidates[i] = (struct pm_range_candidate){ start, cost };
}

/// Ranges of the wanted length within a costed stretch. A last slot that is needed only in part may be blocked where we do not need it.
static void pick(struct pm_range_op *op, const struct costs *costs, uint32_t end)
{
	uint32_t slot_frames = 1u << costs->shift, nr = (uint32_t)op->request.nr, whole = nr >> costs->shift, part = nr & (slot_frames - 1);
	uint64_t step = op->request.align > slot_frames ? op->request.align : slot_frames;
	uint64_t start = (costs->start + step - 1) & ~(step - 1);

	for (; start + nr <= end; start += step) {
		uint32_t first = (uint32_t)(start - costs->start) >> costs->shift, last = first + whole;
		uint32_t cost = costs->frames[last] - costs->frames[first];

		if (costs->blocked[last] != costs->blocked[first])
			continue;
		if (part)
			cost += costs->blocked[last + 1] != costs->blocked[last] ? slot_frames : costs->frames[last + 1] - costs->frames[last];
		add_candidate(op, (uint32_t)start, cost);
	}
}

/// Slots of a stretch that is costed at a time.
enum { PM_COST_SLOTS = 1 << 15 };

/// Costs the stretch at `op->at` and picks from it; moves `op->at` to the next, which overlaps it by less than a range.
static enum pm_status search_stretch(struct pm_range_run *run, uint32_t end)
{
	struct pm_range_op *op = run->op;
	struct pm_host *host = &run->call->m->host;
	struct costs costs = { .shift = PM_PAGEBLOCK_ORDER };
	uint32_t need, slots, last, i;

	/* Short ranges lie within a pageblock: a slot is as long as such a range, rounded up. */
	for (i = 0; i < PM_PAGEBLOCK_ORDER && op->request.nr < PM_PAGEBLOCK_NR_PAGES; i++) {
		if ((uint64_t)1 << i >= op->request.nr) {
			costs.shift = i;
			break;
		}
	}
	costs.start = op->at & ~((1u << costs.shift) - 1);
	need = (uint32_t)((op->request.nr + op->request.align) >> costs.shift) + 2;
	slots = need > PM_COST_SLOTS / 2 ? 2 * need : PM_COST_SLOTS;
	costs.nr = (uint32_t)((((uint64_t)end - costs.start) >> costs.shift) + 1 < slots ? (((uint64_t)end - costs.start) >> costs.shift) + 1 : slots);
	last = end - costs.start <= (uint64_t)costs.nr << costs.shift ? end : costs.start + (costs.nr << costs.shift);
	costs.frames = pm_host_zalloc(host, (costs.nr + 1) * sizeof(uint32_t));
	costs.blocked = pm_host_zalloc(host, (costs.nr + 1) * sizeof(uint32_t));
	if (costs.frames && costs.blocked) {
		uint32_t first = costs.start < op->zone->start ? op->zone->start : costs.start;

		/* What lies before the zone or the window is nobody's to take. */
		costs.blocked[0] = costs.start < op->at;
		(void)pm_range_walk(run->call->m, op->zone, first, last, cost_block, &costs);
		sum_up(costs.frames, costs.nr);
		sum_up(costs.blocked, costs.nr);
		pick(op, &costs, last);
		op->at = last == end ? end : last - (need << costs.shift);
	}
	pm_host_free(host, costs.frames);
	pm_host_free(host, costs.blocked);
	if (!costs.frames || !costs.blocked)
		return PM_ERR_NOMEM;
	return pm_range_spent(run, (int64_t)costs.nr << costs.shift) ? PM_ERR_INTR : PM_OK;
}

enum pm_status pm_range_search(struct pm_range_run *run)
{
	struct pm_range_op *op = run->op;
	struct pm_machine *m = run->call->m;
	const int8_t *list = m->zonelist[PM_ZONE_MOVABLE];
	enum pm_status status = PM_OK;

	/* Nothing is cheaper than a range that is free. */
	while (!status && list[op->search_zone] >= 0 && !(op->nr_candidates && op->candidates[0].cost == 0)) {
		struct pm_zone *zone = &m->zone[list[op->search_zone]];
		uint64_t start = op->request.start > zone->start ? op->request.start : zone->start, end = op->request.end < zone->end ? op->request.end : zone->end;

		op->zone = zone;
		if (op->at < start || op->at > end)
			op->at = (uint32_t)(start < end ? start : end);
		if (start >= end || op->at >= end || end - start < op->request.nr) {
			op->search_zone++;
			op->at = 0;
			continue;
		}
		status = search_stretch(run, (uint32_t)end);
		if (op->at >= end) {
			op->search_zone++;
			op->at = 0;
		}
	}
	return status;
}
