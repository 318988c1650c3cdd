/// pm_machine_validate(): walks all lists and all frames, and says what contradicts what.
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "phys/buddy.h"
#include "phys/pcp.h"

/// The walk: a bit for each frame that some list or allocated block has claimed.
struct audit {
	struct pm_machine *m;
	uint64_t *seen;
	char *message;
	size_t size;
	uint64_t nr[5]; ///< of the zone at hand: frames free, isolated, highatomic, per-CPU, used
};

enum { NR_FREE, NR_ISOLATED, NR_HIGHATOMIC, NR_PCP, NR_USED };

static __attribute__((format(printf, 2, 3))) bool wrong(struct audit *a, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (a->size)
		vsnprintf(a->message, a->size, format, args);
	va_end(args);
	return false;
}

/// Only a block's head says what the block is: a word left inside would be believed once the block is split. Not asked of blocks of a
/// pageblock or more: the frame table behind them may never have been touched.
static bool check_inside(struct audit *a, uint64_t pfn, unsigned int order, const char *place)
{
	uint64_t i;

	if (order >= PM_PAGEBLOCK_ORDER)
		return true;
	for (i = pfn + 1; i < pfn + ((uint64_t)1 << order); i++)
		if (pm_word_kind(pm_frame_word(pm_frame_of(a->m, pm_pfn(i)))) != PM_FRAME_NONE)
			return wrong(a, "frame %" PRIu64 " is marked as a block of its own inside one at %s", i, place);
	return true;
}

/// Notes that a block's frames are at `place`; each frame may be in one place only, and must be usable.
static bool claim(struct audit *a, const struct pm_zone *zone, uint64_t pfn, unsigned int order, const char *place)
{
	uint64_t end = pfn + ((uint64_t)1 << order), at = pfn, i;
	struct pm_range run;

	if (pfn < zone->start || end > zone->end || (pfn & ((1u << order) - 1)))
		return wrong(a, "frame %" PRIu64 ": a block of order %u at %s is unaligned or outside its zone", pfn, order, place);
	if (!pm_next_usable(a->m, &at, end, &run) || run.start != pfn || run.end != end)
		return wrong(a, "frame %" PRIu64 ": a block of order %u at %s covers a hole or a reserved frame", pfn, order, place);
	if (pm_pageblock_offline(pm_pageblock_of(a->m, pm_pfn(pfn))))
		return wrong(a, "frame %" PRIu64 ": a block of order %u at %s is offline", pfn, order, place);
	for (i = pfn; i < end; i++) {
		if (a->seen[i / 64] >> (i % 64) & 1)
			return wrong(a, "frame %" PRIu64 " is in two places: the second is %s", i, place);
		a->seen[i / 64] |= (uint64_t)1 << (i % 64);
	}
	return check_inside(a, pfn, order, place);
}

/// A free block is on the list of the type that its pageblocks have, all of them.
static bool check_types(struct audit *a, struct pm_pfn pfn, unsigned int order, unsigned int type)
{
	uint32_t i;

	for (i = 0; i < 1u << order; i += PM_PAGEBLOCK_NR_PAGES) {
		unsigned int block_type = pm_pageblock_type(pm_pageblock_of(a->m, pm_pfn_add(pfn, i)));

		if (block_type != type)
			return wrong(a, "frame %" PRIu32 " is on the list of type %u in a pageblock of type %u", pfn.v + i, type, block_type);
	}
	return true;
}

/// Would a block of `type` have merged with its free buddy? From the pageblock order on, the reserve and what is isolated keep apart.
static bool would_merge(const struct pm_machine *m, struct pm_pfn buddy, unsigned int order, unsigned int type)
{
	return order < PM_PAGEBLOCK_ORDER || (type < PM_MT_HIGHATOMIC && pm_pageblock_of(m, buddy)->free_list < PM_MT_HIGHATOMIC);
}

static bool check_free_block(struct audit *a, struct pm_zone *zone, struct pm_pfn pfn, unsigned int order, unsigned int type) PM_NO_TSA
{
	struct pm_pfn buddy = pm_pfn_buddy(pfn, order);

	if (!pm_buddy_is_free(a->m, zone, pfn, order))
		return wrong(a, "frame %" PRIu32 " is on the free list of order %u but not marked so", pfn.v, order);
	if (order < PM_PAGEBLOCK_ORDER && pm_word_migratetype(pm_frame_word(pm_frame_of(a->m, pfn))) != type)
		return wrong(a, "frame %" PRIu32 " is on the list of type %u but marked %u", pfn.v, type, pm_word_migratetype(pm_frame_word(pm_frame_of(a->m, pfn))));
	if (order >= PM_PAGEBLOCK_ORDER && pm_pageblock_of(a->m, pfn)->free_list != type)
		return wrong(a, "frame %" PRIu32 " is on the list of type %u but marked %u", pfn.v, type, pm_pageblock_of(a->m, pfn)->free_list);
	if (!check_types(a, pfn, order, type))
		return false;
	if (order < PM_MAX_ORDER && pm_buddy_is_free(a->m, zone, buddy, order) && would_merge(a->m, buddy, order, type))
		return wrong(a, "frames %" PRIu32 " and %" PRIu32 " are unmerged buddies of order %u", pfn.v, buddy.v, order);
	return claim(a, zone, pfn.v, order, "a free list");
}

/// Walks a list and checks its links and its count; `check` looks at each block.
static bool walk_free_list(struct audit *a, struct pm_zone *zone, unsigned int order, unsigned int type) PM_NO_TSA
{
	struct pm_list *list = &zone->area[order].list[type];
	uint32_t at = list->chain.first, before = PM_NIL_PFN, n = 0;

	while (at != PM_NIL_PFN) {
		if (at >= a->m->nr_frames)
			return wrong(a, "zone %" PRIu32 ", order %u, type %u: a link leads to frame %" PRIu32 ", which does not exist", zone->index, order, type, at);
		if (pm_link_of(&a->m->tables, at, order)->prev != before && n > 0)
			return wrong(a, "frame %" PRIu32 ": its list's links disagree", at);
		if (!check_free_block(a, zone, pm_pfn(at), order, type))
			return false;
		before = at;
		at = pm_link_of(&a->m->tables, at, order)->next;
		n++;
	}
	if ((n > 0 && list->chain.last != before) || pm_list_nr(list) != n)
		return wrong(a, "zone %" PRIu32 ", order %u, type %u: the list says %" PRIu32 " blocks, %" PRIu32 " are on it", zone->index, order, type, pm_list_nr(list), n);
	a->nr[type == PM_MT_ISOLATE ? NR_ISOLATED : NR_FREE] += (uint64_t)n << order;
	a->nr[NR_HIGHATOMIC] += type == PM_MT_HIGHATOMIC ? (uint64_t)n << order : 0;
	return true;
}

static bool walk_pcp_list(struct audit *a, struct pm_zone *zone, struct pm_pcp *pcp, unsigned int index) PM_NO_TSA
{
	unsigned int order = pm_pcp_index_order(index);
	struct pm_chain *list = &pcp->list[index];
	uint32_t at = list->first, before = PM_NIL_PFN, n = 0;

	while (at != PM_NIL_PFN) {
		uint32_t word;

		if (at >= a->m->nr_frames)
			return wrong(a, "per-CPU list %u of zone %" PRIu32 ": a link leads to frame %" PRIu32 ", which does not exist", index, zone->index, at);
		word = pm_frame_word(pm_frame_of(a->m, pm_pfn(at)));
		if (pm_word_kind(word) != PM_FRAME_PCP || pm_word_order(word) != order)
			return wrong(a, "frame %" PRIu32 " is on a per-CPU list of order %u but not marked so", at, order);
		if (pm_link_of(&a->m->tables, at, order)->prev != before && n > 0)
			return wrong(a, "frame %" PRIu32 ": its per-CPU list's links disagree", at);
		if (!claim(a, zone, at, order, "a per-CPU list"))
			return false;
		before = at;
		at = pm_link_of(&a->m->tables, at, order)->next;
		n++;
	}
	if (n > 0 && list->last != before)
		return wrong(a, "per-CPU list %u of zone %" PRIu32 ": frame %" PRIu32 " is its last, not %" PRIu32, index, zone->index, before, list->last);
	a->nr[NR_PCP] += (uint64_t)n << order;
	return true;
}

static bool walk_lists(struct audit *a, struct pm_zone *zone) PM_NO_TSA
{
	unsigned int o, t;
	uint32_t c;

	for (o = 0; o < PM_NR_ORDERS; o++)
		for (t = 0; t < PM_NR_MIGRATETYPES; t++)
			if (!walk_free_list(a, zone, o, t))
				return false;
	for (c = 0; c < a->m->nr_cpus; c++) {
		struct pm_pcp *pcp = &a->m->cpu[c].pcp[zone->index];
		uint64_t before = a->nr[NR_PCP];

		for (o = 0; o < PM_NR_PCP_LISTS; o++)
			if (!walk_pcp_list(a, zone, pcp, o))
				return false;
		if (a->nr[NR_PCP] - before != (uint64_t)pcp->count)
			return wrong(a, "cpu %" PRIu32 ", zone %" PRIu32 ": %d frames counted, %" PRIu64 " on its lists", c, zone->index, pcp->count, a->nr[NR_PCP] - before);
	}
	return true;
}

/// The frames that no list has: used blocks, or, while a snapshot is loaded, unplaced ones.
static bool walk_frames(struct audit *a, struct pm_zone *zone)
{
	uint64_t at = zone->start, pfn, unplaced = 0;
	struct pm_range run;

	while (pm_next_usable(a->m, &at, zone->end, &run)) {
		for (pfn = run.start; pfn < run.end; pfn++) {
			uint32_t word;

			/* A stretch on the lists: nothing to look at, and the frame table behind it may never have been touched. */
			if (pfn % 64 == 0 && pfn + 64 <= run.end && a->seen[pfn / 64] == ~(uint64_t)0) {
				pfn += 63;
				continue;
			}
			if (a->seen[pfn / 64] >> (pfn % 64) & 1)
				continue;
			if (pm_pageblock_offline(pm_pageblock_of(a->m, pm_pfn(pfn)))) {
				pfn |= PM_PAGEBLOCK_NR_PAGES - 1;
				continue;
			}
			word = pm_frame_word(pm_frame_of(a->m, pm_pfn(pfn)));
			if (pm_word_kind(word) == PM_FRAME_NONE) {
				unplaced++;
				continue;
			}
			if (!pm_word_in_use(word))
				return wrong(a, "frame %" PRIu64 " is marked %s but on no list", pfn, pm_word_kind(word) == PM_FRAME_FREE ? "free" : "per-CPU");
			if (!claim(a, zone, pfn, pm_word_order(word), "an allocated block"))
				return false;
			a->nr[NR_USED] += (uint64_t)1 << pm_word_order(word);
		}
	}
	if (unplaced != zone->nr_unplaced)
		return wrong(a, "zone %" PRIu32 ": %" PRIu64 " frames are nowhere, %" PRIu64 " expected", zone->index, unplaced, zone->nr_unplaced);
	return true;
}

static bool check_counts(struct audit *a, struct pm_zone *zone) PM_NO_TSA
{
	uint64_t free = atomic_load_explicit(&zone->nr_free, memory_order_relaxed), reserved = 0;
	uint64_t all = a->nr[NR_FREE] + a->nr[NR_ISOLATED] + a->nr[NR_PCP] + a->nr[NR_USED] + zone->nr_unplaced;
	uint32_t b;

	if (free != a->nr[NR_FREE] || zone->nr_isolated != a->nr[NR_ISOLATED])
		return wrong(a, "zone %" PRIu32 ": %" PRIu64 " free and %" PRIu64 " isolated frames counted, %" PRIu64 " and %" PRIu64 " on the lists", zone->index, free,
			     zone->nr_isolated, a->nr[NR_FREE], a->nr[NR_ISOLATED]);
	if (atomic_load_explicit(&zone->nr_free_highatomic, memory_order_relaxed) != a->nr[NR_HIGHATOMIC])
		return wrong(a, "zone %" PRIu32 ": the count of free HIGHATOMIC frames is off", zone->index);
	if (all != pm_zone_managed(zone))
		return wrong(a, "zone %" PRIu32 ": %" PRIu64 " frames found, %" PRIu64 " managed", zone->index, all, pm_zone_managed(zone));
	for (b = zone->start >> PM_PAGEBLOCK_ORDER; b <= (zone->end - 1) >> PM_PAGEBLOCK_ORDER; b++) {
		const struct pm_pageblock *block = &a->m->tables.pageblocks[b];

		if (pm_pageblock_offline(block) && !block->isolated)
			return wrong(a, "pageblock %" PRIu32 " is offline but not isolated", b);
		if (block->type == PM_MT_HIGHATOMIC)
			reserved += PM_PAGEBLOCK_NR_PAGES;
		if (pm_pageblock_queue(block) != pm_pageblock_queue_of(pm_pageblock_type(block)))
			return wrong(a, "pageblock %" PRIu32 " of type %u queues what is freed as type %u", b, pm_pageblock_type(block), pm_pageblock_queue(block));
	}
	if (reserved != zone->nr_reserved_highatomic)
		return wrong(a, "zone %" PRIu32 ": %" PRIu64 " frames in HIGHATOMIC pageblocks, %" PRIu64 " counted", zone->index, reserved, zone->nr_reserved_highatomic);
	return true;
}

/// What the quick way compares free memory with must follow the marks.
static bool check_plenty(struct audit *a, const struct pm_zone *zone) PM_NO_TSA
{
	uint64_t mark = pm_watermark(zone, PM_WMARK_HIGH) + a->nr[NR_HIGHATOMIC];
	uint32_t kind;

	for (kind = 0; kind < PM_MAX_ZONES; kind++)
		if (zone->plenty[kind] != mark + pm_zone_reserve(zone, kind))
			return wrong(a, "zone %" PRIu32 ": %" PRIu64 " free frames are held to be plenty, the marks say %" PRIu64, zone->index, zone->plenty[kind],
				     mark + pm_zone_reserve(zone, kind));
	return true;
}

enum pm_status pm_machine_validate(struct pm_machine *m, char *message, size_t size)
{
	struct audit a = { .m = m, .message = message, .size = size };
	bool right = true;
	uint32_t z;

	if (size)
		message[0] = '\0';
	a.seen = calloc((size_t)m->nr_frames / 64 + 1, sizeof(*a.seen));
	if (!a.seen)
		return PM_ERR_NOMEM;
	for (z = 0; z < m->nr_zones && right; z++) {
		struct pm_zone *zone = &m->zone[z];
		size_t i;

		for (i = 0; i < sizeof(a.nr) / sizeof(a.nr[0]); i++)
			a.nr[i] = 0;
		right = walk_lists(&a, zone) && walk_frames(&a, zone) && check_counts(&a, zone) && check_plenty(&a, zone);
	}
	free(a.seen);
	if (!right)
		return PM_ERR_CORRUPT;
	return m->memory_validate ? m->memory_validate(m, message, size) : PM_OK;
}
