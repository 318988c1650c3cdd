/// The strategies `coalesce-2004` and `coalesce-2004-rfc` (REFERENCE section 1.1): each free block of one or two orders below the wanted one is a seed, and what stands next to it moves
/// away until the block is complete. The first has the corrections that came out of 2004's review; the second is as the proposal had it, to show what they are worth.
///
/// | | coalesce-2004 | coalesce-2004-rfc |
/// |---|---|---|
/// | grows | toward the buddy, inside the aligned block | backwards, then forwards, wherever that ends |
/// | before it moves | looks at everything in the block: one that cannot move, and none does | nothing: moves each as it comes to it |
/// | free is | what is on the free lists | what has no reference: also what lies in a per-CPU list |
/// | frames gained | counted anew at each seed | counted on, from seed to seed |
///
/// Where frames go, the allocator decides. The first keeps what is free in the block, and what comes free in it, from the free lists meanwhile: else that is where they would go.
#include "move/census.h"
#include "move/destination.h"
#include "move/strategy.h"

#include "phys/buddy.h"

enum { PM_COALESCE_ITEMS = 1 << PM_MAX_ORDER };

struct coalesce {
	struct pm_census census; ///< of the block around a seed
	struct pm_supply supply; ///< with the corrections: of destinations outside of it
	struct pm_compaction *run;
	struct pm_machine *m;
	struct pm_zone *zone;
	unsigned int order;
	bool corrected;
	bool late;		 ///< the call has done as much as it may in one go
	uint32_t gained;	 ///< frames, of the proposal: from seed to seed
	bool movable;		 ///< everything that was seen is free, or can move
	uint64_t start, end;	 ///< the block
	size_t n;		 ///< blocks to move
	uint64_t from[PM_COALESCE_ITEMS];
	size_t nr_held;		 ///< blocks in it that are kept from the free lists
	uint64_t held[PM_COALESCE_ITEMS];
	uint8_t held_order[PM_COALESCE_ITEMS];
	struct pm_migrate_result results[PM_COALESCE_ITEMS];
};

/* ---- seeds ---- */

/// Copies the heads of the free blocks of `order`, in the order of the lists: while blocks move the lists change. NULL: no memory, or none.
static uint32_t *copy_seeds(struct coalesce *c, unsigned int order, size_t *ret)
{
	struct pm_zone *zone = c->zone;
	size_t room = 0, n = 0;
	unsigned int type;
	uint32_t *seeds;

	for (type = 0; type < PM_MT_ISOLATE; type++)
		room += pm_list_nr(&zone->area[order].list[type]);
	seeds = room ? pm_host_zalloc(&c->m->host, room * sizeof(*seeds)) : NULL;
	*ret = 0;
	if (!seeds)
		return NULL;
	pm_lock(&zone->lock);
	for (type = 0; type < PM_MT_ISOLATE; type++) {
		uint32_t at = pm_list_nr(&zone->area[order].list[type]) ? zone->area[order].list[type].chain.first : PM_NIL_PFN;

		for (; at != PM_NIL_PFN && n < room; at = pm_link_of(&c->m->tables, at, order)->next)
			seeds[n++] = at;
	}
	pm_unlock(&zone->lock);
	*ret = n;
	return seeds;
}

static bool is_seed(struct coalesce *c, uint32_t seed, unsigned int order)
{
	bool still;

	pm_lock(&c->zone->lock);
	still = pm_buddy_is_free(c->m, c->zone, pm_pfn(seed), order);
	pm_unlock(&c->zone->lock);
	return still;
}

/* ---- with the corrections ---- */

/// Does the page have references that no entry, cache or private data accounts for? Its reason to stay would be found only once others have moved.
static bool has_extra_references(const struct pm_page *page)
{
	uint64_t counts = pm_page_counts(page);
	uint32_t flags = pm_page_flags(page), known = pm_counts_maps(counts);

	known += (flags & (PM_PG_CACHE | PM_PG_SWAPCACHE)) != 0;
	known += (flags & (PM_PG_PRIVATE | PM_PG_OWNER)) != 0;
	return pm_counts_refs(counts) > known;
}

static void see(struct pm_census *census, uint64_t head, unsigned int order, enum pm_standing standing, uint32_t frames)
{
	struct coalesce *c = PM_CONTAINER_OF(census, struct coalesce, census);

	if (standing == PM_STAND_FREE) {
		c->held[c->nr_held] = head;
		c->held_order[c->nr_held++] = (uint8_t)order;
		return;
	}
	/* What reaches out of the block cannot be emptied with it. */
	if ((standing != PM_STAND_MOVABLE && standing != PM_STAND_UNEVICTABLE) || frames != 1u << order || has_extra_references(pm_page_of(c->m, pm_pfn(head))))
		c->movable = false;
	else
		c->from[c->n++] = head;
}

/// Looks at [start, end): what has to move, and whether all of it can.
static void look(struct coalesce *c, uint64_t start, uint64_t end)
{
	c->run->result->scanned_migrate += end - start;
	pm_census_walk(c->m, c->zone, start, end, &c->census);
}

static void hold(struct coalesce *c, uint64_t pfn, unsigned int order)
{
	PM_ASSERT(c->nr_held < PM_COALESCE_ITEMS);
	c->held[c->nr_held] = pfn;
	c->held_order[c->nr_held++] = (uint8_t)order;
}

/// Gives everything back that is held; the block comes together then, if it is complete.
static void let_go(struct coalesce *c)
{
	while (c->nr_held > 0) {
		enum pm_status status;

		c->nr_held--;
		status = pm_free(c->m, c->run->call->cpu, c->held[c->nr_held], c->held_order[c->nr_held]);
		PM_ASSERT(status == PM_OK);
	}
}

/// Takes what is free in the block. False: somebody else was faster, and nothing is held.
static bool take_free(struct coalesce *c)
{
	size_t n = c->nr_held, i;

	for (i = 0; i < n; i++)
		if (pm_take(c->m, c->held[i], c->held_order[i], PM_MT_MOVABLE) != PM_OK)
			break;
	c->nr_held = i;
	if (i < n)
		let_go(c);
	return i == n;
}

/// A block as the allocator gives it, but none of those that are to come free: these are held.
static enum pm_status get_outside(struct pm_supply *supply, struct pm_call *call, struct pm_pfn from, unsigned int order, struct pm_pfn *ret)
{
	struct coalesce *c = PM_CONTAINER_OF(supply, struct coalesce, supply);
	enum pm_status status;
	uint64_t pfn;

	(void)from;
	for (;;) {
		status = pm_alloc(call->m, call->cpu, order, PM_DEST_ANY_GFP, &pfn);
		if (status)
			return PM_ERR_NOMEM;
		if (pfn < c->start || pfn >= c->end)
			break;
		hold(c, pfn, order);
	}
	*ret = pm_pfn(pfn);
	return PM_OK;
}

static void hold_emptied(struct pm_supply *supply, struct pm_call *call, size_t n, const uint64_t *pfns)
{
	size_t i;

	(void)call;
	for (i = 0; i < n; i++)
		hold(PM_CONTAINER_OF(supply, struct coalesce, supply), pfns[i], 0);
}

/// Completes the aligned block around a seed, or leaves everything as it is if one frame of it cannot move.
static enum pm_status complete(struct coalesce *c, uint64_t seed, unsigned int order)
{
	uint64_t size = (uint64_t)1 << c->order, behind = seed + ((uint64_t)1 << order);
	enum pm_status status;

	c->start = seed & ~(size - 1);
	c->end = c->start + size;
	if (c->start < c->zone->start || c->end > c->zone->end)
		return PM_OK;
	c->n = c->nr_held = 0;
	c->movable = true;
	/* The buddy first: it is what most likely stands in the way. */
	if (seed >> order & 1) {
		look(c, c->start, seed);
		if (c->movable)
			look(c, behind, c->end);
	} else {
		look(c, behind, c->end);
		if (c->movable)
			look(c, c->start, seed);
	}
	hold(c, seed, order);
	if (!c->movable || !c->n || !take_free(c))
		return PM_OK;
	status = pm_compaction_move(c->run, c->from, NULL, &c->supply, c->n, c->results);
	let_go(c);
	return status;
}

/* ---- as the proposal had it ---- */

/// The block that covers a frame. False: nobody has it, and it is on no free list either, or it is not there.
static bool find_block(struct coalesce *c, uint64_t pfn, struct pm_frame_info *ret)
{
	return pfn >= c->zone->start && pfn < c->zone->end && pm_frame_info(c->m, pfn, ret) == PM_OK && ret->state >= PM_STATE_FREE;
}

/// Goes away from the seed, block by block, moving what it meets, until `wanted` frames are gained or something does not move.
static enum pm_status walk_away(struct coalesce *c, uint64_t from, bool backwards, uint32_t wanted)
{
	enum pm_status status = PM_OK;
	struct pm_frame_info info;
	uint64_t at = from;

	while (c->gained < wanted && !status && find_block(c, at, &info)) {
		c->run->result->scanned_migrate++;
		if (info.state == PM_STATE_USED) {
			c->from[0] = info.head;
			status = pm_compaction_move(c->run, c->from, NULL, NULL, 1, c->results);
			if (c->results[0].to == PM_NO_FRAME && c->results[0].reason != PM_WHY_FREED)
				break;
		}
		c->gained += 1u << info.order;
		if (backwards && !info.head)
			break;
		at = backwards ? info.head - 1 : info.head + ((uint64_t)1 << info.order);
	}
	return status;
}

static enum pm_status grow(struct coalesce *c, uint64_t seed, unsigned int order)
{
	uint32_t wanted = (1u << c->order) - (1u << order);
	enum pm_status status = seed ? walk_away(c, seed - 1, true, wanted) : PM_OK;

	if (!status && c->gained < wanted)
		status = walk_away(c, seed + ((uint64_t)1 << order), false, wanted);
	/* "There it is": the request is served, it thinks, and the next one counts from nothing. */
	if (c->gained >= wanted)
		c->gained = 0;
	return status;
}

/* ---- the run ---- */

static uint64_t blocks_now(const struct coalesce *c)
{
	uint64_t blocks = 0;
	uint32_t zone;

	for (zone = 0; zone < c->m->nr_zones; zone++)
		if (pm_compaction_wants(c->run, zone))
			blocks += pm_compaction_blocks(c->m, zone, c->order);
	return blocks;
}

/// Are as many blocks there as were wanted?
static bool is_enough(const struct coalesce *c)
{
	uint64_t before = c->run->result->blocks_before, wanted = c->run->request->blocks, now = blocks_now(c);

	return wanted != PM_ALL_BLOCKS && now > before && now - before >= wanted;
}

/// Every seed of one order in a zone.
static enum pm_status go_through(struct coalesce *c, unsigned int order)
{
	enum pm_status status = PM_OK;
	uint64_t moved;
	size_t n, i;
	uint32_t *seeds = copy_seeds(c, order, &n);

	for (i = 0; i < n && !status && !is_enough(c); i++) {
		if (!is_seed(c, seeds[i], order))
			continue;
		moved = c->run->result->moved;
		status = c->corrected ? complete(c, seeds[i], order) : grow(c, seeds[i], order);
		/* A list is gone through to its end: begun again, it would not be the same one, and there would be no end to it. */
		c->late = c->late || status == PM_ERR_INTR;
		if (status == PM_ERR_INTR)
			status = PM_OK;
		/* What was emptied comes together only in the free lists. */
		if (!status && c->run->result->moved > moved)
			status = pm_drain(c->m, c->run->call->cpu);
	}
	pm_host_free(&c->m->host, seeds);
	return status;
}

/// Goes through the seeds again as long as that gains blocks. PM_ERR_INTR: called again, with this zone or the next as `resume_zone` says, it goes on.
static enum pm_status go_through_zone(struct coalesce *c)
{
	struct pm_compact_result *result = c->run->result;
	enum pm_status status = PM_OK;
	unsigned int down;
	bool gained = true;

	while (gained && !status && !is_enough(c)) {
		uint64_t before = blocks_now(c);

		for (down = 1; down <= 2 && down <= c->order && !status; down++)
			status = go_through(c, c->order - down);
		gained = blocks_now(c) > before;
		result->resume_zone = c->zone->index + gained;
		if (c->late && !status && result->resume_zone > 0)
			status = PM_ERR_INTR;
	}
	return status;
}

static enum pm_status run_both(struct pm_compaction *run, bool corrected)
{
	struct pm_machine *m = run->call->m;
	struct coalesce *c = pm_host_zalloc(&m->host, sizeof(*c));
	enum pm_status status = PM_OK;
	uint32_t zone;

	if (!c)
		return PM_ERR_NOMEM;
	*c = (struct coalesce){ .census.see = see, .supply = { .get = get_outside, .emptied = hold_emptied }, .run = run, .m = m, .order = run->request->order, .corrected = corrected };
	run->result->status = PM_COMPACTED_NOTHING;
	/* The highest zone first, as an allocation that may use any. */
	for (zone = run->request->resume ? run->result->resume_zone : m->nr_zones; zone-- > 0 && !status && !is_enough(c);) {
		if (!pm_compaction_wants(run, zone))
			continue;
		c->zone = &m->zone[zone];
		status = go_through_zone(c);
		run->result->status = PM_COMPACTED_COMPLETE;
	}
	if (is_enough(c))
		run->result->status = PM_COMPACTED_SUCCESS;
	pm_host_free(&m->host, c);
	return status;
}

static enum pm_status run_2004(struct pm_compaction *run)
{
	return run_both(run, true);
}

static enum pm_status run_2004_rfc(struct pm_compaction *run)
{
	return run_both(run, false);
}

const struct pm_strategy_ops pm_strategy_coalesce_2004 = { "coalesce-2004", run_2004 };
const struct pm_strategy_ops pm_strategy_coalesce_2004_rfc = { "coalesce-2004-rfc", run_2004_rfc };
