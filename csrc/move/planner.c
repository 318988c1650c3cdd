/// The strategy `planner`: the fewest moves.
///
/// For k blocks the k cheapest are emptied: those in which the fewest frames stand, and nothing that stays. Any k blocks up to the bound (pm_compact_bound) can be emptied, since what
/// stands in them then finds room in the free frames outside of them; so the cheapest k are the minimum. A plan says for each block that moves where it goes: large ones first, each to the
/// smallest free block that holds it, and first into blocks of which the least can be hoped for. One that no free block holds is split, and so is one that stands in other blocks, too.
///
/// Memory changes while a plan is carried out. A block is looked at again before its turn; what did not work is left to the next plan, which begins with a new look at everything; a
/// block in which something stays although it seemed to move is left alone after that.
#include "move/census.h"
#include "move/strategy.h"

#include <stdlib.h>
#include <string.h>

#include "phys/pageblock.h"
#include "virt/owner.h"

enum {
	PM_PLANS_MOST = 64,   ///< a run's plans; each that gains nothing and learns nothing ends the run, too
	PM_BLOCK_TRIES = 3,   ///< times that a block may fail for reasons that pass
	PM_NEVER = 0xff,      ///< tries of a block that is left alone
	PM_GO_FRAMES = 1 << 15, ///< frames that a plan of a limited call moves
	PM_ROOM_FACTOR = 4,   ///< how much more room than needed is looked for, so that large blocks find theirs
	PM_MOVES_FACTOR = 4   ///< a run's moves, in what the first plan was to move: far more than that is work for others' sake
};

#define PM_NO_ROOM 0xffffffffu

/// A block to move.
struct item {
	uint32_t from, to;   ///< frames; PM_NO_ROOM
	uint32_t rank;	     ///< of the block to be emptied that it stands in, in the order in which they are
	uint32_t whole;	     ///< head of the large block that is split for it; PM_NO_ROOM: it moves as it is
	uint8_t order;
};

/// Numbers that grow in number.
struct vector {
	void *at;
	size_t n, room;
};

struct planner {
	struct pm_census census; ///< while something is looked at
	struct pm_compaction *run;
	struct pm_machine *m;
	unsigned int order;	 ///< of the wanted blocks
	uint32_t nr;		 ///< blocks of the machine
	uint32_t *cost;		 ///< [nr] frames to move; PM_NO_ROOM: something stays, or the block is another zone's
	uint8_t *tries;		 ///< [nr] times that it failed
	uint32_t *sorted;	 ///< [nr] all blocks of the zones, the cheapest first, those that cost PM_NO_ROOM last
	uint32_t nr_sorted, nr_free, nr_chosen; ///< of `sorted`: all; those that are free; those to be emptied, which come next
	uint64_t free_frames, possible; ///< seen while the blocks were priced
	uint64_t target;	 ///< free blocks to end with
	struct vector items;	 ///< struct item
	struct vector room[PM_NR_ORDERS]; ///< uint32_t: free blocks to move to, by order; the last one is the next to be used
	uint64_t room_frames;	 ///< in it
	uint32_t nr_split;	 ///< blocks that the plan splits
	uint32_t rank;		 ///< of the block that is looked at
	uint32_t nr_learnt;	 ///< failures that the next plan knows of
	bool no_memory;
	bool dear;		 ///< too_dear()
};

/* ---- numbers ---- */

/// Makes room for one more of `bytes`. NULL: the host has no memory.
static void *push(struct planner *p, struct vector *v, size_t bytes)
{
	struct pm_host *host = &p->m->host;

	if (v->n == v->room) {
		size_t room = v->room ? 2 * v->room : 1024;
		char *at = pm_host_zalloc(host, room * bytes);

		if (!at) {
			p->no_memory = true;
			return NULL;
		}
		if (v->n)
			memcpy(at, v->at, v->n * bytes);
		pm_host_free(host, v->at);
		v->at = at;
		v->room = room;
	}
	return (char *)v->at + v->n++ * bytes;
}

static void push_room(struct planner *p, uint64_t pfn, unsigned int order)
{
	uint32_t *at = push(p, &p->room[order], sizeof(*at));

	if (at)
		*at = (uint32_t)pfn;
}

static struct item *item_at(const struct planner *p, size_t i)
{
	return (struct item *)p->items.at + i;
}

/* ---- what each block costs ---- */

static void price(struct planner *p, uint32_t block)
{
	uint64_t start = (uint64_t)block << p->order, end = start + ((uint64_t)1 << p->order);
	struct pm_zone *zone = pm_zone_of(p->m, start) ? pm_zone_of(p->m, start) : pm_zone_of(p->m, end - 1);
	uint32_t frames[PM_NR_STANDING];

	p->cost[block] = PM_NO_ROOM;
	if (!zone || !pm_compaction_wants(p->run, zone->index))
		return;
	pm_census_count(p->m, start, end, frames);
	p->run->result->scanned_migrate += end - start;
	p->free_frames += frames[PM_STAND_FREE] + frames[PM_STAND_PCP];
	if (pm_census_fixed(frames))
		return;
	p->possible++;
	if (p->tries[block] < PM_BLOCK_TRIES)
		p->cost[block] = pm_census_movable(frames);
}

/// Is the block in a zone that was asked for? Those that are not are no place to move to either.
static bool is_wanted(const struct planner *p, uint32_t block)
{
	uint64_t start = (uint64_t)block << p->order;
	const struct pm_zone *zone = pm_zone_of(p->m, start) ? pm_zone_of(p->m, start) : pm_zone_of(p->m, start + ((uint64_t)1 << p->order) - 1);

	return zone && pm_compaction_wants(p->run, zone->index);
}

/// Sorts the blocks by what they cost: counts, then places.
static void sort_blocks(struct planner *p)
{
	uint32_t first[(1u << PM_MAX_ORDER) + 3] = { 0 }, most = (1u << p->order) + 1, block, c;

	for (block = 0; block < p->nr; block++)
		if (is_wanted(p, block))
			first[(p->cost[block] == PM_NO_ROOM ? most : p->cost[block]) + 1]++;
	p->nr_free = first[1];
	for (c = 1; c <= most + 1; c++)
		first[c] += first[c - 1];
	p->nr_sorted = first[most + 1];
	for (block = 0; block < p->nr; block++)
		if (is_wanted(p, block))
			p->sorted[first[p->cost[block] == PM_NO_ROOM ? most : p->cost[block]]++] = block;
}

/* ---- a plan ---- */

static void push_item(struct planner *p, uint64_t from, unsigned int order, uint32_t rank, uint32_t whole)
{
	struct item *item = push(p, &p->items, sizeof(*item));

	if (item)
		*item = (struct item){ .from = (uint32_t)from, .to = PM_NO_ROOM, .rank = rank, .whole = whole, .order = (uint8_t)order };
}

/// What stands in the block to be emptied.
static void see_item(struct pm_census *census, uint64_t head, unsigned int order, enum pm_standing standing, uint32_t frames)
{
	struct planner *p = PM_CONTAINER_OF(census, struct planner, census);
	uint64_t start = (uint64_t)p->sorted[p->rank] << p->order, at = head > start ? head : start, i;

	if (standing == PM_STAND_FREE || standing == PM_STAND_PCP)
		return;
	if (frames == 1u << order) {
		push_item(p, head, order, p->rank, PM_NO_ROOM);
		return;
	}
	for (i = 0; i < frames; i++)
		push_item(p, at + i, 0, p->rank, (uint32_t)head);
}

static void see_room(struct pm_census *census, uint64_t head, unsigned int order, enum pm_standing standing, uint32_t frames)
{
	struct planner *p = PM_CONTAINER_OF(census, struct planner, census);

	/* The reserve for urgent requests is no place for what can wait. */
	if (standing == PM_STAND_FREE && frames == 1u << order && pm_pageblock_type(pm_pageblock_of(p->m, pm_pfn(head))) != PM_MT_HIGHATOMIC) {
		push_room(p, head, order);
		p->room_frames += frames;
	}
}

static void look_at(struct planner *p, uint32_t block, bool for_room)
{
	uint64_t at = (uint64_t)block << p->order, end = at + ((uint64_t)1 << p->order);
	struct pm_zone *zone = pm_zone_of(p->m, at);

	p->census.see = for_room ? see_room : see_item;
	if (!zone) {
		zone = pm_zone_of(p->m, end - 1);
		at = zone ? zone->start : end;
	}
	if (zone)
		pm_census_walk(p->m, zone, at, end < zone->end ? end : zone->end, &p->census);
}

/// Takes room for a block of `order`: of the smallest free block that holds it; what is left of that stays room.
static uint32_t take_room(struct planner *p, unsigned int order)
{
	unsigned int high = order;
	uint32_t pfn;

	while (high <= PM_MAX_ORDER && !p->room[high].n)
		high++;
	if (high > PM_MAX_ORDER)
		return PM_NO_ROOM;
	pfn = ((uint32_t *)p->room[high].at)[--p->room[high].n];
	while (high-- > order)
		push_room(p, pfn + (1u << high), high);
	return pfn;
}

/// Finds room of `enough` frames, or all there is, in the dearest blocks first: of those the least can be hoped for.
static void gather_room(struct planner *p, uint64_t enough)
{
	uint32_t rank = p->nr_sorted, first = p->nr_free + p->nr_chosen;
	unsigned int order;
	size_t i;

	p->room_frames = 0;
	for (order = 0; order < PM_NR_ORDERS; order++)
		p->room[order].n = 0;
	while (rank > first && p->room_frames < enough)
		look_at(p, p->sorted[--rank], true);
	p->run->result->scanned_free += (uint64_t)(p->nr_sorted - rank) << p->order;
	/* The last is used first. */
	for (order = 0; order < PM_NR_ORDERS; order++) {
		uint32_t *at = p->room[order].at;

		for (i = 0; i < p->room[order].n / 2; i++) {
			uint32_t other = at[p->room[order].n - 1 - i];

			at[p->room[order].n - 1 - i] = at[i];
			at[i] = other;
		}
	}
}

/// A block for which there is no room is split: its frames find theirs with the others of order 0.
static void plan_split(struct planner *p, size_t i)
{
	struct item item = *item_at(p, i);
	uint32_t k;

	item_at(p, i)->order = 0;
	item_at(p, i)->whole = item.from;
	for (k = 1; k < 1u << item.order; k++)
		push_item(p, item.from + k, 0, item.rank, item.from);
	p->nr_split++;
}

static int by_rank(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	return x->rank != y->rank ? (x->rank < y->rank ? -1 : 1) : x->from < y->from ? -1 : x->from > y->from;
}

/// Large blocks first: what they leave is room for small ones, and not the other way round. False: one found no room; with `split` it is split.
static bool assign(struct planner *p, bool split)
{
	unsigned int order = PM_NR_ORDERS;
	bool all = true;
	size_t i;

	p->nr_split = 0;
	while (order-- > 0)
		for (i = 0; i < p->items.n; i++) {
			if (item_at(p, i)->order != order)
				continue;
			item_at(p, i)->to = take_room(p, order);
			if (item_at(p, i)->to != PM_NO_ROOM)
				continue;
			all = false;
			if (split && order)
				plan_split(p, i);
		}
	if (p->nr_split && !p->no_memory)
		qsort(p->items.at, p->items.n, sizeof(struct item), by_rank);
	return all;
}

/// How many free blocks to end with: no more than there can be, or what stands in them would have nowhere to go.
static void set_target(struct planner *p)
{
	uint64_t bound = p->free_frames >> p->order, before = p->run->result->blocks_before, wanted = p->run->request->blocks;

	if (bound > p->possible)
		bound = p->possible;
	p->target = before < bound && wanted < bound - before ? before + wanted : bound;
}

/// The cheapest blocks, up to the target. What stands in them is planned for; in a call that has to come back soon only as much as it gets done. Returns its frames.
static uint64_t choose(struct planner *p)
{
	uint64_t most = p->run->call->limited ? PM_GO_FRAMES : UINT64_MAX, frames = 0, planned = 0;

	p->nr_chosen = 0;
	for (p->rank = p->nr_free; p->rank < p->nr_sorted && p->rank < p->target; p->rank++) {
		uint32_t block = p->sorted[p->rank];

		if (p->cost[block] == PM_NO_ROOM)
			break;
		p->nr_chosen++;
		planned += p->cost[block];
		if (frames >= most)
			continue;
		look_at(p, block, false);
		frames += p->cost[block];
	}
	/* The first plan's, also where the call came back since. */
	if (!p->run->result->planned)
		p->run->result->planned = planned;
	return frames;
}

static enum pm_status make_plan(struct planner *p)
{
	uint64_t frames;
	uint32_t block;

	p->items.n = 0;
	p->free_frames = p->possible = 0;
	for (block = 0; block < p->nr; block++)
		price(p, block);
	sort_blocks(p);
	set_target(p);
	frames = choose(p);
	gather_room(p, PM_ROOM_FACTOR * frames);
	if (!assign(p, false)) {
		gather_room(p, UINT64_MAX);
		(void)assign(p, true);
	}
	return p->no_memory ? PM_ERR_NOMEM : PM_OK;
}

/* ---- carrying it out ---- */

/// Some blocks' items, which go in one batch.
struct batch {
	uint64_t from[PM_BATCH_FRAMES], to[PM_BATCH_FRAMES];
	uint32_t rank[PM_BATCH_FRAMES];
	struct pm_migrate_result results[PM_BATCH_FRAMES];
	size_t n;
	uint64_t frames; ///< in these
};

/// What a failure says of the block: nothing that lasts, or that it is not worth another try.
static uint8_t lesson(const struct pm_migrate_result *result)
{
	switch (result->reason) {
	case PM_WHY_NO_MEMORY:
	case PM_WHY_FREED:
	case PM_WHY_CANCELLED:
	case PM_WHY_TRUNCATED:
		return 0;
	case PM_WHY_LOCKED:
	case PM_WHY_WRITEBACK:
	case PM_WHY_REFERENCED:
	case PM_WHY_NOT_ON_LIST:
	case PM_WHY_NOT_MOVABLE:
		return 1;
	default:
		return PM_NEVER;
	}
}

static void learn(struct planner *p, uint32_t block, uint8_t tries)
{
	p->tries[block] = tries < PM_NEVER - p->tries[block] ? (uint8_t)(p->tries[block] + tries) : PM_NEVER;
	p->nr_learnt += tries != 0;
}

static enum pm_status send(struct planner *p, struct batch *batch)
{
	enum pm_status status;
	size_t i;

	if (!batch->n)
		return PM_OK;
	status = pm_compaction_move(p->run, batch->from, batch->to, NULL, batch->n, batch->results);
	for (i = 0; i < batch->n; i++)
		if (batch->results[i].to == PM_NO_FRAME)
			learn(p, p->sorted[batch->rank[i]], lesson(&batch->results[i]));
	batch->n = 0;
	batch->frames = 0;
	return status;
}

/// Splits what has to be split of a block's items. False: somebody has one of them.
static bool split_items(struct planner *p, size_t first, size_t end)
{
	size_t i;

	for (i = first; i < end; i++) {
		const struct item *item = item_at(p, i);

		/* The first of its parts has split it already, or it was split for another block. */
		if (item->whole == PM_NO_ROOM || !pm_page_order(p->m, pm_pfn(item->whole)))
			continue;
		if (pm_owner_split(p->run->call, pm_pfn(item->whole)) != PM_OK)
			return false;
		p->run->result->split++;
	}
	return true;
}

/// The items of one block, which are [first, end): all of it can move, and costs what it did when the plan was made.
static bool still_holds(struct planner *p, size_t first, size_t end)
{
	uint32_t block = p->sorted[item_at(p, first)->rank], cost = p->cost[block];
	size_t i;

	for (i = first; i < end; i++)
		if (item_at(p, i)->to == PM_NO_ROOM) {
			learn(p, block, PM_NEVER);
			return false;
		}
	price(p, block);
	if (p->cost[block] > cost)
		return false;
	if (split_items(p, first, end))
		return true;
	learn(p, block, 1);
	return false;
}

/// Would so many moves more be far beyond what the first plan said? Then memory changes faster than plans are carried out: what was emptied fills again.
static bool too_dear(const struct planner *p, uint64_t frames)
{
	const struct pm_compact_result *result = p->run->result;

	return result->moved + frames > PM_MOVES_FACTOR * result->planned + PM_BATCH_FRAMES;
}

static enum pm_status carry_out(struct planner *p, struct batch *batch)
{
	enum pm_status status = PM_OK;
	size_t first, end, i;

	for (first = 0; first < p->items.n && !status; first = end) {
		for (end = first; end < p->items.n && item_at(p, end)->rank == item_at(p, first)->rank; end++)
			;
		if (!still_holds(p, first, end))
			continue;
		if (too_dear(p, batch->frames + p->cost[p->sorted[item_at(p, first)->rank]])) {
			p->dear = true;
			break;
		}
		if (batch->n + (end - first) > PM_BATCH_FRAMES)
			status = send(p, batch);
		for (i = first; i < end && !status; i++) {
			if (batch->n == PM_BATCH_FRAMES)
				status = send(p, batch);
			batch->from[batch->n] = item_at(p, i)->from;
			batch->to[batch->n] = item_at(p, i)->to;
			batch->rank[batch->n++] = item_at(p, i)->rank;
			batch->frames += (uint64_t)1 << item_at(p, i)->order;
		}
	}
	return status ? status : send(p, batch);
}

/* ---- the run ---- */

/// Is all there that was planned? Then nothing has to be looked at again.
static bool is_done(struct planner *p)
{
	uint64_t blocks = 0;
	uint32_t zone;

	if (pm_drain(p->m, PM_ALL_CPUS) != PM_OK)
		return false;
	for (zone = 0; zone < p->m->nr_zones; zone++)
		if (pm_compaction_wants(p->run, zone))
			blocks += pm_compaction_blocks(p->m, zone, p->order);
	if (blocks >= p->target)
		p->run->result->status = PM_COMPACTED_SUCCESS;
	return blocks >= p->target;
}

/// Plans and moves until the blocks are there, or a plan gained nothing and learnt nothing.
static enum pm_status plan_and_move(struct planner *p, struct batch *batch)
{
	enum pm_status status = PM_OK;
	unsigned int plans;

	p->run->result->status = PM_COMPACTED_NOTHING;
	for (plans = 0; plans < PM_PLANS_MOST && !status; plans++) {
		uint64_t moved = p->run->result->moved;

		/* What was emptied lies in per-CPU lists, and comes together only in the free lists. */
		status = pm_drain(p->m, PM_ALL_CPUS);
		p->nr_learnt = 0;
		if (!status)
			status = make_plan(p);
		if (status)
			break;
		p->run->result->status = p->nr_free >= p->target ? PM_COMPACTED_SUCCESS : PM_COMPACTED_PARTIAL_SKIPPED;
		if (!p->nr_chosen)
			return PM_OK;
		status = carry_out(p, batch);
		if (p->dear)
			p->run->result->status = PM_COMPACTED_DEAR;
		if (status || p->dear || (!p->nr_learnt && is_done(p)) || (p->run->result->moved == moved && !p->nr_learnt))
			break;
	}
	(void)is_done(p);
	return status;
}

static void give_back(struct planner *p, struct batch *batch)
{
	struct pm_host *host = &p->m->host;
	unsigned int order;

	pm_host_free(host, p->cost);
	pm_host_free(host, p->tries);
	pm_host_free(host, p->sorted);
	pm_host_free(host, p->items.at);
	for (order = 0; order < PM_NR_ORDERS; order++)
		pm_host_free(host, p->room[order].at);
	pm_host_free(host, batch);
}

static enum pm_status run_planner(struct pm_compaction *run)
{
	struct pm_machine *m = run->call->m;
	struct pm_host *host = &m->host;
	struct planner p = { .run = run, .m = m, .order = run->request->order };
	struct batch *batch = pm_host_zalloc(host, sizeof(*batch));
	enum pm_status status = PM_ERR_NOMEM;

	p.nr = (uint32_t)(((uint64_t)m->nr_frames + (1u << p.order) - 1) >> p.order);
	p.cost = pm_host_zalloc(host, p.nr * sizeof(*p.cost));
	p.tries = pm_host_zalloc(host, p.nr * sizeof(*p.tries));
	p.sorted = pm_host_zalloc(host, p.nr * sizeof(*p.sorted));
	if (batch && p.cost && p.tries && p.sorted)
		status = plan_and_move(&p, batch);
	give_back(&p, batch);
	return status;
}

const struct pm_strategy_ops pm_strategy_planner = { "planner", run_planner };
