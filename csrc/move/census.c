/// What stands where, and what follows from it: how many blocks can be had at all, and how many frames have to move for them at least.
#include "move/census.h"

#include <string.h>

#include "move/move.h"
#include "phys/buddy.h"

static enum pm_standing standing_of_page(const struct pm_page *page)
{
	uint32_t flags = pm_page_flags(page);

	if (flags & (PM_PG_TABLE | PM_PG_OWNER))
		return flags & PM_PG_MOVABLE_OPS ? PM_STAND_MOVABLE : PM_STAND_UNMOVABLE;
	if (pm_page_maybe_pinned(page))
		return PM_STAND_PINNED;
	if (!(flags & PM_PG_LRU))
		return PM_STAND_ISOLATED;
	if (flags & PM_PG_WRITEBACK)
		return PM_STAND_WRITEBACK;
	if (flags & PM_PG_LOCKED)
		return PM_STAND_LOCKED;
	return flags & PM_PG_UNEVICTABLE ? PM_STAND_UNEVICTABLE : PM_STAND_MOVABLE;
}

static enum pm_standing standing_of(struct pm_machine *m, struct pm_pfn pfn, uint32_t word)
{
	switch (pm_word_kind(word)) {
	case PM_FRAME_FREE:
		return PM_STAND_FREE;
	case PM_FRAME_PCP:
		return PM_STAND_PCP;
	case PM_FRAME_OWNED:
		return standing_of_page(pm_page_of(m, pfn));
	default:
		return PM_STAND_UNMOVABLE;
	}
}

/// A block that begins before `pfn` and reaches over it; `pfn` if there is none.
static struct pm_pfn begins_before(struct pm_machine *m, const struct pm_zone *zone, struct pm_pfn pfn) PM_REQUIRES(zone->lock)
{
	unsigned int order;
	struct pm_pfn free = pm_buddy_find(m, zone, pfn, &order);

	if (!pm_pfn_is_nil(free))
		return free;
	for (order = 1; order <= PM_MAX_ORDER; order++) {
		struct pm_pfn at = pm_pfn(pfn.v & ~((1u << order) - 1));
		uint32_t word = at.v < zone->start ? 0 : pm_frame_word(pm_frame_of(m, at));

		if (pm_word_kind(word) >= PM_FRAME_PCP && at.v + (1u << pm_word_order(word)) > pfn.v)
			return at;
	}
	return pfn;
}

/// The usable frames [at, end) of a zone, block by block.
static void walk_run(struct pm_machine *m, struct pm_zone *zone, uint64_t at, uint64_t end, struct pm_census *census) PM_REQUIRES(zone->lock)
{
	struct pm_pfn head = begins_before(m, zone, pm_pfn(at));

	while (at < end) {
		const struct pm_pageblock *block = pm_pageblock_of(m, head);
		uint32_t word = pm_frame_word(pm_frame_of(m, head));
		enum pm_standing standing = standing_of(m, head, word);
		unsigned int order = pm_word_kind(word) == PM_FRAME_NONE ? 0 : pm_word_order(word);
		uint64_t next;

		if (block->free_order && pm_pfn_aligned(head, PM_PAGEBLOCK_ORDER)) {
			order = block->free_order;
			standing = PM_STAND_FREE;
		}
		/* Isolated: free for nobody. */
		if (standing == PM_STAND_FREE && pm_pageblock_type(block) == PM_MT_ISOLATE)
			standing = PM_STAND_ISOLATED;
		next = head.v + ((uint64_t)1 << order);
		census->see(census, head.v, order, standing, (uint32_t)((next < end ? next : end) - at));
		at = next;
		head = pm_pfn(next);
	}
}

void pm_census_walk(struct pm_machine *m, struct pm_zone *zone, uint64_t start, uint64_t end, struct pm_census *census)
{
	struct pm_range run;
	uint64_t at = start, seen = start;

	while (pm_next_usable(m, &at, end, &run)) {
		if (run.start > seen)
			census->see(census, seen, 0, PM_STAND_ABSENT, (uint32_t)(run.start - seen));
		pm_lock(&zone->lock);
		walk_run(m, zone, run.start, run.end, census);
		pm_unlock(&zone->lock);
		seen = run.end;
	}
	if (end > seen)
		census->see(census, seen, 0, PM_STAND_ABSENT, (uint32_t)(end - seen));
}

struct counting {
	struct pm_census census;
	uint32_t *frames;
};

static void count_block(struct pm_census *census, uint64_t head, unsigned int order, enum pm_standing standing, uint32_t frames)
{
	(void)head;
	(void)order;
	PM_CONTAINER_OF(census, struct counting, census)->frames[standing] += frames;
}

void pm_census_count(struct pm_machine *m, uint64_t start, uint64_t end, uint32_t *frames)
{
	struct counting counting = { .census.see = count_block, .frames = frames };
	uint64_t at = start;

	memset(frames, 0, PM_NR_STANDING * sizeof(*frames));
	/* A pageblock at a time: nobody waits long for the zone. */
	while (at < end) {
		uint64_t stop = (at | (PM_PAGEBLOCK_NR_PAGES - 1)) + 1;
		struct pm_zone *zone;

		stop = stop < end ? stop : end;
		zone = pm_zone_of(m, at);
		/* The first zone begins behind the first frame. */
		if (!zone && pm_zone_of(m, stop - 1)) {
			zone = pm_zone_of(m, stop - 1);
			frames[PM_STAND_ABSENT] += (uint32_t)(zone->start - at);
			at = zone->start;
		}
		if (zone && zone->end < stop)
			stop = zone->end;
		if (zone)
			pm_census_walk(m, zone, at, stop, &counting.census);
		else
			frames[PM_STAND_ABSENT] += (uint32_t)(stop - at);
		at = stop;
	}
}

enum pm_status pm_blocks_census(struct pm_machine *m, uint32_t order, uint64_t first, size_t n, uint32_t *ret)
{
	uint64_t blocks = order <= PM_MAX_ORDER ? ((uint64_t)m->nr_frames + (1u << order) - 1) >> order : 0;
	size_t i;

	if (order > PM_MAX_ORDER)
		return PM_ERR_INVAL;
	if (!m->virt)
		return PM_ERR_STATE;
	if (first > blocks || n > blocks - first)
		return PM_ERR_RANGE;
	for (i = 0; i < n; i++)
		pm_census_count(m, (first + i) << order, (first + i + 1) << order, ret + i * PM_NR_STANDING);
	return PM_OK;
}

const char *pm_standing_name(uint32_t standing)
{
	static const char *const names[PM_NR_STANDING] = {
		[PM_STAND_ABSENT] = "absent",	    [PM_STAND_FREE] = "free",		[PM_STAND_PCP] = "per-CPU list",
		[PM_STAND_MOVABLE] = "movable",	    [PM_STAND_UNEVICTABLE] = "unevictable", [PM_STAND_WRITEBACK] = "writeback",
		[PM_STAND_LOCKED] = "locked",	    [PM_STAND_ISOLATED] = "isolated",	[PM_STAND_PINNED] = "pinned",
		[PM_STAND_UNMOVABLE] = "unmovable",
	};

	return standing < PM_NR_STANDING ? names[standing] : NULL;
}

/// Adds the cheapest blocks' costs up: histogram[c] blocks need c frames to move.
static uint64_t cheapest(const uint64_t *histogram, uint64_t most, uint64_t blocks)
{
	uint64_t cost, sum = 0;

	for (cost = 1; cost <= most && blocks; cost++) {
		uint64_t some = histogram[cost] < blocks ? histogram[cost] : blocks;

		sum += some * cost;
		blocks -= some;
	}
	return sum;
}

enum pm_status pm_compact_bound(struct pm_machine *m, uint32_t index, uint32_t order, uint64_t wanted, struct pm_bound *ret)
{
	uint64_t histogram[(1u << PM_MAX_ORDER) + 1] = { 0 }, size, pfn;
	uint32_t frames[PM_NR_STANDING];

	if (order > PM_MAX_ORDER || (index != PM_EVERY_ZONE && index >= m->nr_zones))
		return PM_ERR_INVAL;
	if (!m->virt)
		return PM_ERR_STATE;
	*ret = (struct pm_bound){ 0 };
	size = (uint64_t)1 << order;
	for (pfn = 0; pfn < m->nr_frames; pfn += size) {
		struct pm_zone *zone = pm_zone_of(m, pfn) ? pm_zone_of(m, pfn) : pm_zone_of(m, pfn + size - 1);

		if (!zone || (index != PM_EVERY_ZONE && zone->index != index))
			continue;
		pm_census_count(m, pfn, pfn + size, frames);
		ret->free_frames += frames[PM_STAND_FREE] + frames[PM_STAND_PCP];
		if (pm_census_fixed(frames))
			continue;
		ret->possible++;
		histogram[pm_census_movable(frames)]++;
	}
	ret->blocks = histogram[0];
	ret->bound = ret->free_frames >> order;
	if (ret->bound > ret->possible)
		ret->bound = ret->possible;
	ret->wanted = wanted < ret->bound - ret->blocks ? wanted : ret->bound - ret->blocks;
	ret->minimum = cheapest(histogram, size, ret->wanted);
	return PM_OK;
}
