/// The free blocks as far as the plan knows them, and what was last said of each frame.
#include <stdlib.h>

#include "replay/reconstruct.h"

/// The free block that holds `pfn`: its first frame, or PM_NO_PFN32.
uint32_t pm_rc_cover(const struct pm_plan *p, uint32_t pfn)
{
	unsigned int order;

	for (order = 0; order < PM_NR_ORDERS; order++) {
		uint32_t at = pm_rc_align(pfn, order);

		if (p->head[at])
			return p->head[at] > order ? at : PM_NO_PFN32;
	}
	return PM_NO_PFN32;
}

bool pm_rc_all_free(const struct pm_plan *p, uint32_t pfn, unsigned int order)
{
	uint32_t at = pfn, end = pfn + (1u << order);

	while (at < end) {
		uint32_t block = pm_rc_cover(p, at);

		if (block == PM_NO_PFN32)
			return false;
		at = block + (1u << (p->head[block] - 1));
	}
	return true;
}

bool pm_rc_none_free(const struct pm_plan *p, uint32_t pfn, unsigned int order)
{
	uint32_t i;

	if (pm_rc_cover(p, pfn) != PM_NO_PFN32)
		return false;
	for (i = 1; i < 1u << order; i++)
		if (p->head[pfn + i])
			return false;
	return true;
}

/// Operations before the snapshot was complete are in its result.
void pm_rc_emit(struct pm_plan *p, uint32_t event, enum pm_rc_op_kind kind, uint32_t pfn, unsigned int order, unsigned int type)
{
	struct pm_rc_op *op;

	if (event < p->started)
		return;
	if (p->nr_ops == p->room_ops && !pm_rc_grow((void **)&p->ops, &p->room_ops, p->nr_ops, sizeof(*p->ops))) {
		p->no_memory = true;
		return;
	}
	op = &p->ops[p->nr_ops++];
	op->event = event;
	op->pfn = pfn;
	op->kind = (uint8_t)kind;
	op->order = (uint8_t)order;
	op->type = (uint8_t)type;
}

/// Takes 2^order frames out of the free block that holds all of them.
void pm_rc_take(struct pm_plan *p, uint32_t event, uint32_t pfn, unsigned int order)
{
	uint32_t block = pm_rc_cover(p, pfn);
	unsigned int from = p->head[block] - 1u;

	p->head[block] = 0;
	while (from > order) {
		uint32_t upper;

		from--;
		upper = block + (1u << from);
		if (pfn >= upper) {
			p->head[block] = (uint8_t)(from + 1);
			block = upper;
		} else {
			p->head[upper] = (uint8_t)(from + 1);
		}
	}
	pm_rc_emit(p, event, PM_RC_TAKE, pfn, order, 0);
}

/// Takes whatever of the 2^order frames is free, in the largest pieces. Returns how many frames that were.
uint32_t pm_rc_take_rest(struct pm_plan *p, uint32_t event, uint32_t pfn, unsigned int order)
{
	uint32_t at = pfn, end = pfn + (1u << order), taken = 0;

	while (at < end) {
		uint32_t block = pm_rc_cover(p, at);
		unsigned int part;

		if (block == PM_NO_PFN32) {
			at++;
			continue;
		}
		part = p->head[block] - 1u < order ? p->head[block] - 1u : order;
		pm_rc_take(p, event, at, part);
		at += 1u << part;
		taken += 1u << part;
	}
	return taken;
}

/// From pageblock order on, buddies merge only if no list has to keep their types apart.
static bool may_merge(const struct pm_plan *p, uint32_t a, uint32_t b, unsigned int order)
{
	uint8_t x, y;

	if (order < PM_PAGEBLOCK_ORDER)
		return true;
	x = p->type[a >> PM_PAGEBLOCK_ORDER];
	y = p->type[b >> PM_PAGEBLOCK_ORDER];
	return x == y || ((x < PM_NR_PCP_TYPES || x == PM_RC_UNKNOWN_TYPE) && (y < PM_NR_PCP_TYPES || y == PM_RC_UNKNOWN_TYPE));
}

static void put(struct pm_plan *p, uint32_t pfn, unsigned int order)
{
	const struct pm_rc_zone *zone;
	uint32_t z = pm_rc_zone_of(p, pfn);

	if (z == PM_MAX_ZONES)
		return;
	zone = &p->zones[z];
	while (order < PM_MAX_ORDER) {
		uint32_t buddy = pfn ^ (1u << order);

		if (buddy < zone->start || buddy >= zone->end || p->head[buddy] != order + 1 || !may_merge(p, pfn, buddy, order))
			break;
		p->head[buddy] = 0;
		pfn &= buddy;
		order++;
	}
	p->head[pfn] = (uint8_t)(order + 1);
}

/// Gives back a block of which no frame is free.
void pm_rc_give(struct pm_plan *p, uint32_t event, uint32_t pfn, unsigned int order)
{
	put(p, pfn, order);
	pm_rc_emit(p, event, PM_RC_GIVE, pfn, order, 0);
}

/// A chunk of the snapshot was read: its free frames become blocks. All of it that is aligned and free merges.
void pm_rc_add_chunk(struct pm_plan *p, uint32_t start, uint32_t end)
{
	uint32_t pfn;

	for (pfn = start; pfn < end; pfn++)
		if (p->bits[pfn])
			put(p, pfn, 0);
}

void pm_rc_set_type(struct pm_plan *p, uint32_t event, uint32_t pfn, unsigned int type)
{
	uint8_t *now = &p->type[pfn >> PM_PAGEBLOCK_ORDER];

	if (*now == type || type >= PM_MT_ISOLATE)
		return;
	*now = (uint8_t)type;
	pm_rc_emit(p, event, PM_RC_TYPE, pm_rc_align(pfn, PM_PAGEBLOCK_ORDER), PM_PAGEBLOCK_ORDER, type);
}

void pm_rc_note(struct pm_plan *p, uint32_t event, uint32_t pfn, unsigned int order)
{
	p->last[pfn] = event;
	p->last_order[pfn] = (uint8_t)order;
}

/// The last event that concerned a frame (0: none), and the first frame that it named.
uint32_t pm_rc_last(const struct pm_plan *p, uint32_t pfn, uint32_t *ret_pfn)
{
	uint32_t last = 0;
	unsigned int order;

	*ret_pfn = pfn;
	for (order = 0; order < PM_NR_ORDERS; order++) {
		uint32_t at = pm_rc_align(pfn, order);

		if (p->last[at] > last && p->last_order[at] >= order) {
			last = p->last[at];
			*ret_pfn = at;
		}
	}
	return last;
}

uint32_t pm_rc_last_in(const struct pm_plan *p, uint32_t pfn, unsigned int order)
{
	uint32_t unused, i, last = pm_rc_last(p, pfn, &unused);

	for (i = 0; i < 1u << order; i++)
		if (p->last[pfn + i] > last)
			last = p->last[pfn + i];
	return last;
}

/// The next event that will concern a frame, or PM_NO_PFN32.
uint32_t pm_rc_next(const struct pm_plan *p, uint32_t pfn)
{
	uint32_t next = p->current[pfn];
	unsigned int order;

	for (order = 1; order < PM_NR_ORDERS; order++) {
		uint32_t at = pm_rc_align(pfn, order), event = p->current[at];

		if (at != pfn && event < next && p->ev->order[event] >= (int)order)
			next = event;
	}
	return next;
}
