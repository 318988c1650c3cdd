/// The normalising pass: what compaction moves without a word.
///
/// Pages that no PTE maps (page cache, mostly) migrate without a PTE event. What the events do show: the range that a task isolated, then
/// its own FREEs of frames in that range, then mm_migrate_pages. Such a FREE empties a source. The block then floats: it is owned, but
/// where it lies is not known until
///  - the next PTE move of the same task shows that exactly these blocks fit between two destinations (they are taken one after the
///    other from a list of free frames), or
///  - a frame that should be free is freed, or moves on: then the block that has floated longest in its zone is taken to lie there.
#include "replay/resolve.h"

#include <stdlib.h>
#include <string.h>

/// Number of the zone of a frame: how many zones are known to begin at or below it.
static uint32_t zone_of(const struct pm_resolve *r, uint32_t pfn)
{
	uint32_t zone = 0;

	while (zone < r->nr_zones && r->zone_starts[zone] <= pfn)
		zone++;
	return zone;
}

static void add_zone(struct pm_resolve *r, uint32_t start)
{
	uint32_t at = zone_of(r, start), k;

	if (r->nr_zones == PM_RESOLVE_NR_ZONES || (at > 0 && r->zone_starts[at - 1] == start))
		return;
	for (k = r->nr_zones++; k > at; k--)
		r->zone_starts[k] = r->zone_starts[k - 1];
	r->zone_starts[at] = start;
}

void pm_resolve_find_zones(struct pm_resolve *r)
{
	const struct pm_events *ev = r->in->events;

	for (size_t i = 0; i < ev->n; i++) {
		if (ev->kind[i] == PM_EV_COMPACT_BEGIN)
			add_zone(r, ev->arg1[i]);
	}
}

struct pm_compactor *pm_compactor_of(struct pm_resolve *r, uint32_t tid)
{
	for (int k = 0; k < PM_NR_COMPACTORS; k++) {
		if (r->compactors[k].used != 0 && r->compactors[k].tid == tid)
			return &r->compactors[k];
	}
	return NULL;
}

static struct pm_compactor *open_compactor(struct pm_resolve *r, uint32_t tid)
{
	struct pm_compactor *c = pm_compactor_of(r, tid), *oldest = &r->compactors[0];

	for (int k = 0; c == NULL && k < PM_NR_COMPACTORS; k++) {
		if (r->compactors[k].used < oldest->used)
			oldest = &r->compactors[k];
	}
	if (c == NULL) {
		c = oldest;
		*c = (struct pm_compactor){ .tid = tid, .last_to = PM_NO_PFN32 };
	}
	c->used = ++r->tick;
	return c;
}

static void end_migration(struct pm_compactor *c)
{
	c->migrating = false;
	c->last_to = PM_NO_PFN32;
	c->run = 0;
	c->emptied = 0;
}

static void on_isolated(struct pm_compactor *c, uint32_t low, uint32_t high)
{
	if (!c->migrating) {
		end_migration(c);
		c->migrating = true;
		c->low = low;
		c->high = high;
	}
	c->low = low < c->low ? low : c->low;
	c->high = high > c->high ? high : c->high;
}

void pm_compactor_event(struct pm_resolve *r, size_t i)
{
	const struct pm_events *ev = r->in->events;
	struct pm_compactor *c = open_compactor(r, ev->tid[i]);

	switch (ev->kind[i]) {
	case PM_EV_COMPACT_END:
		*c = (struct pm_compactor){ .last_to = PM_NO_PFN32 };
		return;
	case PM_EV_MIGRATE_PAGES:
		/* The kernel's own count of what it moved checks ours. */
		r->stats.migrate_batches++;
		r->stats.migrate_batches_agree += c->emptied == ev->arg0[i];
		end_migration(c);
		return;
	case PM_EV_ISOLATE_MIGRATE:
		c->active = true;
		if (ev->arg2[i] > 0)
			on_isolated(c, ev->pfn[i], ev->arg0[i]);
		return;
	default:
		c->active = true;
	}
}

static struct pm_floating *queue_push(struct pm_floating_queue *q)
{
	if (q->head + q->n == q->room && q->head > q->n) {
		memmove(q->items, q->items + q->head, q->n * sizeof(*q->items));
		q->head = 0;
	}
	if (q->head + q->n == q->room) {
		size_t room = q->room == 0 ? 256 : q->room * 2;
		struct pm_floating *more = realloc(q->items, room * sizeof(*more));

		if (more == NULL)
			return NULL;
		q->items = more;
		q->room = room;
	}
	return &q->items[q->head + q->n++];
}

enum pm_status pm_floating_add(struct pm_resolve *r, struct pm_compactor *c, uint32_t pfn, int8_t order)
{
	uint32_t owner = r->owner[pfn], nr = 1u << order;
	struct pm_floating *item = queue_push(&r->floating[zone_of(r, pfn)][order]);

	if (item == NULL)
		return PM_ERR_NOMEM;
	*item = (struct pm_floating){ .owner = owner, .origin = r->origin[pfn], .order = order };
	if (owner == PM_OWNER_UNKNOWN) {
		item->owner = PM_OWNER_INITIAL;
		item->origin = pfn;
	}
	for (uint32_t k = 0; k < nr && pfn + k < r->n_frames; k++)
		r->owner[pfn + k] = pm_owner_freed(order);
	r->stats.silent_moves++;
	/* A larger block would take frames that a run of single ones cannot account for. */
	if (order == 0)
		c->run++;
	else
		c->last_to = PM_NO_PFN32;
	return PM_OK;
}

bool pm_floating_take(struct pm_resolve *r, uint32_t pfn, int8_t order, struct pm_floating *ret)
{
	struct pm_floating_queue *queues = r->floating[zone_of(r, pfn)];

	for (int k = order; k < PM_NR_ORDERS; k++) {
		struct pm_floating_queue *q = &queues[k];
		struct pm_floating *item;

		if (q->n == 0)
			continue;
		item = &q->items[q->head];
		*ret = *item;
		if (ret->owner == PM_OWNER_INITIAL)
			ret->origin += item->taken;
		item->taken += 1u << order;
		if (item->taken >> k != 0) {
			q->head++;
			q->n--;
		}
		r->stats.silent_found++;
		return true;
	}
	return false;
}

void pm_floating_settle(struct pm_resolve *r, struct pm_compactor *c, uint32_t to)
{
	struct pm_floating_queue *q = &r->floating[zone_of(r, to)][0];
	uint32_t first = c->last_to + 1, run = c->run;

	if (c->last_to != PM_NO_PFN32 && run != 0 && run <= q->n && to == first + run) {
		for (uint32_t k = 0; k < run; k++) {
			const struct pm_floating *item = &q->items[q->head + q->n - run + k];

			r->owner[first + k] = item->owner;
			r->origin[first + k] = item->origin;
		}
		q->n -= run;
		r->stats.silent_settled += run;
	}
	c->last_to = to;
	c->run = 0;
}
