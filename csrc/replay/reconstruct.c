/// "Reconstruct": every event is applied to the very frames that it names. The plan (reconstruct_plan.c) knows what was done to the
/// free lists and when; here it is done to a machine.
#include <stdlib.h>
#include <string.h>

#include "phys/buddy.h"
#include "phys/pageblock.h"
#include "phys/rmqueue.h"
#include "replay/reconstruct.h"

struct pm_reconstruct {
	struct pm_machine *m;
	struct pm_plan plan;
	size_t next; ///< operation
	struct pm_policy_steps steps;
	uint32_t compared; ///< the last event that our policy was asked about
	uint8_t *given;	   ///< by frame: it came to the free lists since the start
};

static enum pm_status check_input(const struct pm_machine *m, const struct pm_resolve_input *in)
{
	size_t i;

	if (!in->events || (in->n_frames && !in->frame_flags))
		return PM_ERR_INVAL;
	if (in->events->n >= UINT32_MAX / 2 || in->n_frames >= UINT32_MAX / 2 || m->nr_frames >= UINT32_MAX / 2)
		return PM_ERR_LIMIT;
	if (in->n_frames && in->n_frames < m->nr_frames)
		return PM_ERR_INVAL;
	for (i = 0; i < in->n_chunks; i++)
		if (in->chunk_first_pfn[i] > in->n_frames || (i && in->chunk_first_pfn[i] < in->chunk_first_pfn[i - 1]))
			return PM_ERR_INVAL;
	return PM_OK;
}

static enum pm_status make_plan(struct pm_plan *p, const struct pm_machine *m, const struct pm_resolve_input *in)
{
	size_t frames, events = in->events->n + 1;
	uint32_t z, b;

	p->in = in;
	p->ev = in->events;
	p->nr_zones = m->nr_zones;
	for (z = 0; z < m->nr_zones; z++)
		p->zones[z] = (struct pm_rc_zone){ m->zone[z].start, m->zone[z].end };
	p->n_frames = m->nr_frames;
	/* Blocks reach past an unaligned end of the last zone when they are looked at, never when they are free. */
	frames = ((size_t)p->n_frames | ((1u << PM_MAX_ORDER) - 1)) + 1;
	p->head = calloc(frames, 1);
	p->bits = calloc(frames, 1);
	p->last = calloc(frames, sizeof(*p->last));
	p->last_order = calloc(frames, 1);
	p->current = malloc(frames * sizeof(*p->current));
	p->first = malloc(frames * sizeof(*p->first));
	p->spare = calloc(frames, 1);
	p->kept = calloc(frames, sizeof(*p->kept));
	p->type = calloc(frames / PM_PAGEBLOCK_NR_PAGES + 1, 1);
	p->start_type = calloc(frames / PM_PAGEBLOCK_NR_PAGES + 1, 1);
	p->given_type = calloc(frames / PM_PAGEBLOCK_NR_PAGES + 1, 1);
	p->next = malloc(events * sizeof(*p->next));
	p->follow = malloc(events * sizeof(*p->follow));
	p->rest = calloc(events, sizeof(*p->rest));
	p->until = malloc(events * sizeof(*p->until));
	p->learnt = calloc(events, 1);
	if (!p->head || !p->bits || !p->last || !p->last_order || !p->current || !p->first || !p->spare || !p->kept || !p->type || !p->start_type || !p->given_type || !p->next || !p->follow || !p->rest || !p->until || !p->learnt)
		return PM_ERR_NOMEM;
	for (b = 0; b < m->nr_pageblocks && b <= frames / PM_PAGEBLOCK_NR_PAGES; b++)
		p->given_type[b] = (uint8_t)pm_pageblock_type(&m->tables.pageblocks[b]);
	/* Past the last frame: nothing is ever said of it. */
	memset(p->current, 0xff, frames * sizeof(*p->current));
	memset(p->first, 0xff, frames * sizeof(*p->first));
	memset(p->follow, 0xff, events * sizeof(*p->follow));
	memset(p->until, 0xff, events * sizeof(*p->until));
	return pm_rc_plan(p);
}

enum pm_status pm_rc_load_start(struct pm_machine *m, const struct pm_plan *p)
{
	enum pm_status status = pm_load_pageblock_types(m, 0, m->nr_pageblocks, p->start_type);
	uint8_t place = PM_PLACE_FREE;
	size_t i, placed;

	for (i = 0; i < p->nr_start && !status; i++) {
		uint64_t pfn = p->start[i].pfn;

		status = pm_load_blocks(m, 1, &pfn, &p->start[i].order, &place, &p->start[i].type, NULL, &placed);
		/* A frame that the layout reserves was free for the snapshot: it is nobody's here. */
		if (status == PM_ERR_RESERVED || status == PM_ERR_RANGE)
			status = PM_OK;
	}
	return status;
}

/// Tries the plan, and makes it anew with what contradicts it; then puts the start in order. Where compaction did not take blocks by the fast search,
/// there is nothing to guess.
static enum pm_status improve_plan(struct pm_plan *p, const struct pm_machine *m)
{
	enum pm_status status = pm_rc_order_start(p);
	size_t before = p->nr_words;

	if (status || !p->fast)
		return status;
	status = pm_rc_try_plan(p, m);
	if (status || p->nr_words == before)
		return status;
	status = pm_rc_passes(p);
	return status ? status : pm_rc_order_start(p);
}

void pm_reconstruct_destroy(struct pm_reconstruct *r)
{
	struct pm_plan *p;

	if (!r)
		return;
	p = &r->plan;
	free(p->head);
	free(p->bits);
	free(p->last);
	free(p->last_order);
	free(p->current);
	free(p->first);
	free(p->spare);
	free(p->kept);
	free(p->type);
	free(p->start_type);
	free(p->given_type);
	free(p->next);
	free(p->follow);
	free(p->rest);
	free(p->until);
	free(p->learnt);
	free(p->captures);
	free(p->words);
	free(p->spares);
	free(p->ops);
	free(p->start);
	free(r->given);
	free(r);
}

enum pm_status pm_reconstruct_create(struct pm_machine *m, const struct pm_resolve_input *input, struct pm_reconstruct **ret)
{
	enum pm_status status = check_input(m, input);
	struct pm_reconstruct *r;

	if (status)
		return status;
	r = calloc(1, sizeof(*r));
	if (!r)
		return PM_ERR_NOMEM;
	r->m = m;
	r->compared = PM_NO_PFN32;
	r->given = calloc((size_t)m->nr_frames + 1, 1);
	status = r->given ? make_plan(&r->plan, m, input) : PM_ERR_NOMEM;
	if (!status)
		status = improve_plan(&r->plan, m);
	if (!status)
		status = pm_rc_load_start(m, &r->plan);
	if (status) {
		pm_reconstruct_destroy(r);
		return status;
	}
	*ret = r;
	return PM_OK;
}

/// Sets the type of the pageblocks of a block of at least that order, and keeps the count of the reserve.
static void set_types(struct pm_machine *m, struct pm_zone *zone, struct pm_pfn pfn, unsigned int order, unsigned int type) PM_REQUIRES(zone->lock)
{
	uint32_t i;

	for (i = 0; i < 1u << (order - PM_PAGEBLOCK_ORDER); i++) {
		const struct pm_pageblock *block = pm_pageblock_of(m, pm_pfn_add(pfn, i << PM_PAGEBLOCK_ORDER));

		if (block->type == PM_MT_HIGHATOMIC)
			zone->nr_reserved_highatomic -= PM_PAGEBLOCK_NR_PAGES;
		if (type == PM_MT_HIGHATOMIC)
			zone->nr_reserved_highatomic += PM_PAGEBLOCK_NR_PAGES;
	}
	pm_pageblock_set_range(m, pfn, order, type);
}

/// The pageblock changed its type some time before this event told: its free blocks follow; one of several pageblocks takes them along.
static void retype(struct pm_machine *m, struct pm_zone *zone, struct pm_pfn pfn, unsigned int type) PM_REQUIRES(zone->lock)
{
	unsigned int order;
	struct pm_pfn block = pm_buddy_find(m, zone, pfn, &order);

	if (!pm_pfn_is_nil(block) && order > PM_PAGEBLOCK_ORDER) {
		set_types(m, zone, block, order, type);
		pm_buddy_move(m, zone, block, order, type);
		return;
	}
	set_types(m, zone, pfn, PM_PAGEBLOCK_ORDER, type);
	pm_pageblock_move_free(m, zone, pfn, type);
}

/// A request is about to take a block: would our policy, from the lists as they stand, have given this very one? Asked once for each event,
/// before the first thing that it does: a claim retypes its pageblock, then takes.
static void compare(struct pm_reconstruct *r, struct pm_zone *zone, uint32_t i) PM_REQUIRES(zone->lock)
{
	const struct pm_events *ev = r->plan.ev;
	int type = ev->migratetype[i];
	struct pm_pfn choice;
	unsigned int order;

	if ((ev->kind[i] != PM_EV_ZONE_LOCKED && ev->kind[i] != PM_EV_EXTFRAG) || i == r->compared || ev->order[i] < 0 || ev->order[i] > PM_MAX_ORDER)
		return;
	if (type < 0 || type >= PM_NR_PCP_TYPES)
		return;
	r->compared = i;
	order = (unsigned int)ev->order[i];
	choice = pm_rmqueue_peek(r->m, zone, order, (unsigned int)type, 0);
	r->steps.compared++;
	r->steps.same += pm_pfn_eq(choice, pm_pfn(ev->pfn[i]));
	/* What lay free from the start came in the order that these very requests tell: only the rest tests the policy's order. */
	if (r->given[ev->pfn[i]]) {
		r->steps.given_compared++;
		r->steps.given_same += pm_pfn_eq(choice, pm_pfn(ev->pfn[i]));
	}
	if (!pm_pfn_is_nil(choice) && !pm_rmqueue_has_own(zone, order, (unsigned int)type))
		r->steps.fallback[type][pm_buddy_list_type(r->m, zone, choice)]++;
}

/// A claim of at least a pageblock retypes the whole block that it found, before it takes its part.
static void claim_whole(struct pm_machine *m, const struct pm_events *ev, struct pm_zone *zone, uint32_t i) PM_REQUIRES(zone->lock)
{
	struct pm_pfn head;
	unsigned int order;

	if (ev->kind[i] != PM_EV_EXTFRAG || ev->arg0[i] < PM_PAGEBLOCK_ORDER || ev->migratetype[i] < 0 || ev->migratetype[i] >= PM_NR_PCP_TYPES)
		return;
	head = pm_buddy_find(m, zone, pm_pfn(ev->pfn[i]), &order);
	if (pm_pfn_is_nil(head) || order < PM_PAGEBLOCK_ORDER)
		return;
	set_types(m, zone, head, order, (unsigned int)ev->migratetype[i]);
	pm_buddy_move(m, zone, head, order, (unsigned int)ev->migratetype[i]);
}

/// The fast search of compaction turns the list in which it finds a block, so that the next search begins elsewhere.
static void turn_list(struct pm_machine *m, struct pm_zone *zone, struct pm_pfn pfn, unsigned int order) PM_REQUIRES(zone->lock)
{
	unsigned int type = pm_buddy_list_type(m, zone, pfn);

	if (type < PM_NR_MIGRATETYPES && pm_buddy_is_free(m, zone, pfn, order))
		pm_chain_turn(&m->tables, &zone->area[order].list[type].chain, pfn, order);
}

void pm_rc_apply(struct pm_machine *m, const struct pm_plan *p, struct pm_zone *zone, const struct pm_rc_op *op)
{
	struct pm_pfn pfn = pm_pfn(op->pfn);

	pm_lock(&zone->lock);
	if (op->kind != PM_RC_GIVE)
		claim_whole(m, p->ev, zone, op->event);
	if (op->kind == PM_RC_TAKE && p->ev->kind[op->event] == PM_EV_FAST_ISOLATE_FREE)
		turn_list(m, zone, pfn, op->order);
	switch (op->kind) {
	/* What is not on the free lists is nowhere: nobody says who owns it, and frames of per-CPU lists are not told apart. */
	case PM_RC_TAKE:
		if (pm_buddy_take_exact(m, zone, pfn, op->order))
			zone->nr_unplaced += (uint64_t)1 << op->order;
		break;
	case PM_RC_GIVE:
		/* The trial of a plan may take what it holds for gone, and a give still frees it. */
		if (pm_pfn_is_nil(pm_buddy_find(m, zone, pfn, &(unsigned int){ 0 }))) {
			zone->nr_unplaced -= (uint64_t)1 << op->order;
			pm_buddy_free(m, zone, pfn, op->order, pm_pageblock_type(pm_pageblock_of(m, pfn)));
		}
		break;
	default:
		retype(m, zone, pfn, op->type);
	}
	pm_unlock(&zone->lock);
}

static void apply(struct pm_reconstruct *r, struct pm_zone *zone, const struct pm_rc_op *op)
{
	if (op->kind == PM_RC_GIVE) {
		memset(r->given + op->pfn, 1, (size_t)1 << op->order);
	} else {
		pm_lock(&zone->lock);
		compare(r, zone, op->event);
		pm_unlock(&zone->lock);
	}
	pm_rc_apply(r->m, &r->plan, zone, op);
}

enum pm_status pm_reconstruct_run(struct pm_reconstruct *r, size_t to)
{
	const struct pm_plan *p = &r->plan;

	if (to > p->ev->n)
		return PM_ERR_INVAL;
	for (; r->next < p->nr_ops && p->ops[r->next].event < to; r->next++) {
		const struct pm_rc_op *op = &p->ops[r->next];
		struct pm_zone *zone = pm_zone_of(r->m, op->pfn);

		if (zone)
			apply(r, zone, op);
	}
	return PM_OK;
}

size_t pm_reconstruct_first(const struct pm_reconstruct *r)
{
	return r->plan.started;
}

size_t pm_reconstruct_operations(const struct pm_reconstruct *r)
{
	return r->plan.nr_ops;
}

void pm_reconstruct_steps(const struct pm_reconstruct *r, struct pm_policy_steps *ret)
{
	*ret = r->steps;
}

void pm_reconstruct_counts(const struct pm_reconstruct *r, uint64_t *ret)
{
	memcpy(ret, r->plan.counts, sizeof(r->plan.counts));
}

const char *pm_reconstruct_cause_text(uint32_t cause)
{
	static const char *const texts[PM_NR_RC_CAUSES] = {
		[PM_RC_TAKE_OWNED] = "frames taken that were not free here",
		[PM_RC_TAKE_INSIDE] = "blocks taken from inside a free block",
		[PM_RC_GIVE_FREE] = "frames freed that were still free here",
		[PM_RC_ALLOC_FREE] = "frames allocated that were still free here",
		[PM_RC_PTE_FREE] = "frames of migration entries that were still free here",
		[PM_RC_SCAN_SURPLUS] = "free frames that a scan did not find",
		[PM_RC_SCAN_OTHER] = "scans that no walk explains",
		[PM_RC_FAST_UNKNOWN] = "fast isolations without a block that fits",
		[PM_RC_MALFORMED] = "events that name no block of this machine",
		[PM_RC_FREE_DIRECT] = "frees past the per-CPU lists",
		[PM_RC_FREE_HELD] = "frees that compaction kept",
		[PM_RC_CAPTURE] = "blocks captured by compaction",
		[PM_RC_SCAN_EXACT] = "scans explained to the frame",
		[PM_RC_FAST_TAKEN] = "fast isolations with a block",
		[PM_RC_FAST_SILENT] = "of these, never spoken of again",
		[PM_RC_BEFORE_SNAPSHOT] = "events before the snapshot of their frames",
		[PM_RC_PASSES] = "passes",
		[PM_RC_WORDS] = "words on frames taken silently",
	};

	return cause < PM_NR_RC_CAUSES ? texts[cause] : "unknown";
}

/// Longer than any pause inside one hold of the zone lock, shorter than what lies between two.
enum { HOLD_GAP_NS = 60000, HOLD_LOOK = 64 };

/// The most frames that one hold of the lock moves: a full batch at its largest scale. A longer drain lets go in between, and who waits comes in.
enum { HOLD_FRAMES_MAX = 63 << PM_PCP_SCALE_MAX };

/// The event of the same CPU that event i continues under the zone lock; PM_NO_PFN32: none.
static uint32_t continued(const struct pm_events *ev, size_t i)
{
	uint8_t kind = ev->kind[i];
	size_t back;

	if (kind != PM_EV_ZONE_LOCKED && kind != PM_EV_PCPU_DRAIN)
		return PM_NO_PFN32;
	for (back = 1; back <= HOLD_LOOK && back <= i; back++) {
		size_t before = i - back;

		if (ev->cpu[before] != ev->cpu[i])
			continue;
		if (ev->kind[before] != kind || ev->tid[before] != ev->tid[i] || ev->time_ns[i] - ev->time_ns[before] >= HOLD_GAP_NS)
			return PM_NO_PFN32;
		return (uint32_t)before;
	}
	return PM_NO_PFN32;
}

static uint64_t frames_of(const struct pm_events *ev, size_t i)
{
	return ev->order[i] > 0 ? 1u << ev->order[i] : 1;
}

/// The end of what is under way under the zone lock at event i. A hold ends with the block that fills it.
static size_t end_of_hold(const struct pm_events *ev, size_t i)
{
	uint64_t done = 0;
	size_t at = i;
	uint32_t before;

	while (at < ev->n && (before = continued(ev, at)) != PM_NO_PFN32)
		at = before;
	for (; at < i; at++)
		if (ev->cpu[at] == ev->cpu[i])
			done = done + frames_of(ev, at) < HOLD_FRAMES_MAX ? done + frames_of(ev, at) : 0;
	while (done && done < HOLD_FRAMES_MAX && i < ev->n && continued(ev, i) != PM_NO_PFN32)
		done += frames_of(ev, i++);
	return i;
}

size_t pm_events_seen(const struct pm_events *events, uint64_t t_ns, uint64_t delay_ns)
{
	size_t low = 0, high = events->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (events->time_ns[middle] <= t_ns + delay_ns)
			low = middle + 1;
		else
			high = middle;
	}
	return end_of_hold(events, low);
}
