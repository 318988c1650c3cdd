/// The normalising pass: names the allocation that each ALLOC and FREE belongs to, so that a policy may place it elsewhere.
///
/// Every frame has an owner: unknown, free, or an allocation. ALLOC makes an allocation, FREE ends it or a part of it, migration
/// carries it from frame to frame. What the start snapshot of a frame already shows is passed over. Frames of which nothing is known
/// are taken to be owned since before the recording: their first FREE gives them an entry in the initial table.
#include "replay/resolve.h"

#include <stdlib.h>
#include <string.h>

uint64_t pm_resolve_read_ns(const struct pm_resolve_input *in, uint32_t pfn, uint64_t *ret_latest)
{
	size_t low = 0, high = in->n_chunks;
	uint64_t first, next, spent;

	*ret_latest = 0;
	if (high == 0 || pfn >= in->n_frames)
		return 0;
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (in->chunk_first_pfn[middle] <= pfn)
			low = middle;
		else
			high = middle;
	}
	first = in->chunk_first_pfn[low];
	next = low + 1 < in->n_chunks ? in->chunk_first_pfn[low + 1] : in->n_frames;
	spent = in->chunk_end_ns[low] - in->chunk_begin_ns[low];
	*ret_latest = in->chunk_end_ns[low];
	if (next <= first)
		return in->chunk_end_ns[low];
	return in->chunk_begin_ns[low] + (uint64_t)((double)spent * ((double)(pfn - first) / (double)(next - first)));
}

static enum pm_status add_initial(struct pm_resolve *r, uint32_t pfn, int8_t order, uint32_t *ret)
{
	if (r->nr_initial == r->room_initial) {
		size_t room = r->room_initial == 0 ? 4096 : r->room_initial * 2;
		uint32_t *pfns = realloc(r->initial_pfn, room * sizeof(*pfns));
		int8_t *orders;

		if (pfns == NULL)
			return PM_ERR_NOMEM;
		r->initial_pfn = pfns;
		orders = realloc(r->initial_order, room * sizeof(*orders));
		if (orders == NULL)
			return PM_ERR_NOMEM;
		r->initial_order = orders;
		r->room_initial = room;
	}
	if (r->nr_allocations + r->nr_initial >= PM_RESOLVE_LIMIT)
		return PM_ERR_LIMIT;
	r->initial_pfn[r->nr_initial] = pfn;
	r->initial_order[r->nr_initial] = order;
	*ret = (uint32_t)(r->nr_allocations + r->nr_initial++);
	return PM_OK;
}

/// A frame leaves its owner.
static void release(struct pm_resolve *r, uint32_t pfn)
{
	uint32_t owner = r->owner[pfn];

	if (owner >= PM_OWNER_ID && r->allocations[owner - PM_OWNER_ID].live > 0)
		r->allocations[owner - PM_OWNER_ID].live--;
}

static uint32_t block_end(const struct pm_resolve *r, uint32_t pfn, int8_t order)
{
	uint64_t end = (uint64_t)pfn + (order > 0 ? 1u << order : 1u);

	return end < r->n_frames ? (uint32_t)end : (uint32_t)r->n_frames;
}

static enum pm_resolution on_alloc(struct pm_resolve *r, size_t i, uint32_t id)
{
	const struct pm_events *ev = r->in->events;
	uint32_t end = block_end(r, ev->pfn[i], ev->order[i]);
	enum pm_resolution found = PM_RES_NEW;

	for (uint32_t pfn = ev->pfn[i]; pfn < end; pfn++) {
		if (r->owner[pfn] >= PM_OWNER_INITIAL)
			found = PM_RES_ALLOC_OF_OWNED;
		release(r, pfn);
		r->owner[pfn] = PM_OWNER_ID + id;
	}
	r->allocations[id] = (struct pm_allocation){ .live = end - ev->pfn[i], .order = ev->order[i] };
	return found;
}

/// FREE of a block whose first frame belongs to an allocation of the recording.
static enum pm_resolution free_own(struct pm_resolve *r, size_t i, uint32_t id)
{
	struct pm_allocation *a = &r->allocations[id];
	int8_t order = r->in->events->order[i];

	if (order > a->order)
		return PM_RES_ORDER_MISMATCH;
	if (order < a->order && !a->split) {
		a->split = true;
		r->stats.split_allocations++;
	}
	return a->live > 1u << order ? PM_RES_FREED_PIECE : PM_RES_FREED;
}

/// FREE of a frame that is free as far as we know: compaction gives back what it took, the bulk allocator had taken it from a per-CPU
/// list (there it has no event), or something had moved here unseen.
static enum pm_status free_of_free(struct pm_resolve *r, size_t i, const struct pm_compactor *c, uint32_t *allocation, uint8_t *resolution)
{
	int8_t order = r->in->events->order[i];
	struct pm_floating found;

	if (c != NULL && c->active) {
		*resolution = PM_RES_COMPACTION_RETURN;
		return PM_OK;
	}
	if (r->owner[r->in->events->pfn[i]] == PM_OWNER_PCP) {
		*resolution = PM_RES_UNSEEN_ALLOC;
		return PM_OK;
	}
	if (!pm_floating_take(r, r->in->events->pfn[i], order, &found)) {
		*resolution = PM_RES_FREE_OF_FREE;
		return PM_OK;
	}
	*resolution = PM_RES_FREED_MOVED;
	if (found.owner == PM_OWNER_INITIAL) {
		*resolution = PM_RES_FREED_MOVED_INITIAL;
		return add_initial(r, found.origin, order, allocation);
	}
	*allocation = found.owner - PM_OWNER_ID;
	r->allocations[*allocation].live -= r->allocations[*allocation].live < 1u << order ? r->allocations[*allocation].live : 1u << order;
	return PM_OK;
}

static enum pm_status end_owner(struct pm_resolve *r, size_t i, uint32_t *allocation, uint8_t *resolution)
{
	const struct pm_events *ev = r->in->events;
	uint32_t head = ev->pfn[i], owner = r->owner[head], end = block_end(r, head, ev->order[i]);
	enum pm_status status = PM_OK;
	bool mixed = false;

	if (owner >= PM_OWNER_ID) {
		*allocation = owner - PM_OWNER_ID;
		*resolution = (uint8_t)free_own(r, i, *allocation);
	} else if (owner == PM_OWNER_EMPTIED) {
		*resolution = PM_RES_MIGRATION_SOURCE;
	} else {
		*resolution = PM_RES_FREED_INITIAL;
		status = add_initial(r, owner == PM_OWNER_INITIAL ? r->origin[head] : head, ev->order[i], allocation);
	}
	for (uint32_t pfn = head; pfn < end; pfn++) {
		mixed |= r->owner[pfn] != owner;
		release(r, pfn);
		r->owner[pfn] = pm_owner_freed(ev->order[i]);
	}
	r->stats.mixed_frees += mixed;
	return status;
}

static enum pm_status on_free(struct pm_resolve *r, size_t i, uint32_t *allocation, uint8_t *resolution)
{
	const struct pm_events *ev = r->in->events;
	uint32_t pfn = ev->pfn[i], owner = r->owner[pfn];
	struct pm_compactor *c = pm_compactor_of(r, ev->tid[i]);

	/* A task in the middle of a migration frees what it has just emptied, whether PTEs told of it or not. */
	if (c != NULL && c->migrating && pfn >= c->low && pfn < c->high) {
		c->emptied += 1u << ev->order[i];
		if (owner != PM_OWNER_EMPTIED) {
			*resolution = PM_RES_MIGRATION_SOURCE;
			return pm_owner_is_free(owner) ? PM_OK : pm_floating_add(r, c, pfn, ev->order[i]);
		}
	}
	if (pm_owner_is_free(owner))
		return free_of_free(r, i, c, allocation, resolution);
	return end_owner(r, i, allocation, resolution);
}

/// A block comes from a per-CPU list to the free lists, or leaves these for one: it is free, whether its FREE was seen or not.
static void on_known_free(struct pm_resolve *r, size_t i)
{
	const struct pm_events *ev = r->in->events;
	uint64_t latest, read = pm_resolve_read_ns(r->in, ev->pfn[i], &latest);
	uint32_t end = block_end(r, ev->pfn[i], ev->order[i]);

	if (ev->time_ns[i] <= read)
		return;
	r->stats.unseen_frees += r->owner[ev->pfn[i]] >= PM_OWNER_INITIAL;
	for (uint32_t pfn = ev->pfn[i]; pfn < end; pfn++) {
		release(r, pfn);
		r->owner[pfn] = ev->kind[i] == PM_EV_ZONE_LOCKED ? PM_OWNER_PCP : PM_OWNER_FREE;
	}
}

/// Whether the start snapshot already shows what event i did. Around the moment of reading the clock cannot tell; a frame found free
/// although nothing freed it since was freed before it was read.
static bool before_start(const struct pm_resolve *r, size_t i)
{
	const struct pm_events *ev = r->in->events;
	uint64_t latest, read = pm_resolve_read_ns(r->in, ev->pfn[i], &latest);

	if (ev->time_ns[i] <= read)
		return true;
	return ev->time_ns[i] <= latest && ev->kind[i] == PM_EV_FREE && pm_owner_is_free(r->owner[ev->pfn[i]]);
}

static enum pm_status on_event(struct pm_resolve *r, size_t i, uint32_t *allocation, uint8_t *resolution)
{
	const struct pm_events *ev = r->in->events;

	switch (ev->kind[i]) {
	case PM_EV_ALLOC:
		if (ev->pfn[i] == PM_NO_PFN32) {
			*resolution = PM_RES_ALLOC_FAILED;
		} else if (before_start(r, i)) {
			*resolution = PM_RES_BEFORE_START;
		} else {
			*allocation = (uint32_t)r->stats.allocations++;
			*resolution = (uint8_t)on_alloc(r, i, *allocation);
		}
		return PM_OK;
	case PM_EV_FREE:
		if (before_start(r, i)) {
			*resolution = PM_RES_BEFORE_START;
			return PM_OK;
		}
		return on_free(r, i, allocation, resolution);
	case PM_EV_PCPU_DRAIN:
	case PM_EV_ZONE_LOCKED:
		on_known_free(r, i);
		return PM_OK;
	case PM_EV_ISOLATE_FREE:
	case PM_EV_FAST_ISOLATE_FREE:
	case PM_EV_ISOLATE_MIGRATE:
	case PM_EV_MIGRATE_PAGES:
	case PM_EV_COMPACT_BEGIN:
	case PM_EV_COMPACT_END:
		pm_compactor_event(r, i);
		return PM_OK;
	case PM_EV_SET_MIGRATION_PTE:
		return pm_resolve_set(r, i);
	case PM_EV_REMOVE_MIGRATION_PTE:
		return pm_resolve_remove(r, i);
	default:
		return PM_OK;
	}
}

/// How many frames the tables need: all of the snapshot and all that events name. Counts the ids, too.
static enum pm_status measure(struct pm_resolve *r)
{
	const struct pm_resolve_input *in = r->in;
	const struct pm_events *ev = in->events;
	uint32_t last = 0;

	r->n_frames = in->n_frames;
	for (size_t i = 0; i < ev->n; i++) {
		uint32_t nr = ev->order[i] > 0 && ev->order[i] <= PM_MAX_ORDER ? 1u << ev->order[i] : 1u;
		bool frame = ev->kind[i] <= PM_EV_PCPU_DRAIN || ev->kind[i] == PM_EV_SET_MIGRATION_PTE ||
			     ev->kind[i] == PM_EV_REMOVE_MIGRATION_PTE;

		if (ev->order[i] > PM_MAX_ORDER || ev->order[i] < (frame ? 0 : -1))
			return PM_ERR_INVAL;
		if (!frame || ev->pfn[i] == PM_NO_PFN32)
			continue;
		if (ev->pfn[i] >= PM_RESOLVE_LIMIT - nr)
			return PM_ERR_LIMIT;
		last = ev->pfn[i] + nr > last ? ev->pfn[i] + nr : last;
	}
	if (last > r->n_frames)
		r->n_frames = last;
	return PM_OK;
}

/// Ids are given only to ALLOCs that count, which the pass alone can tell: the initial ids follow them when the pass is over.
static size_t count_allocs(const struct pm_events *ev)
{
	size_t n = 0;

	for (size_t i = 0; i < ev->n; i++)
		n += ev->kind[i] == PM_EV_ALLOC;
	return n;
}

static enum pm_status init(struct pm_resolve *r, const struct pm_resolve_input *in)
{
	enum pm_status status;

	r->in = in;
	if (in->n_frames >= PM_RESOLVE_LIMIT || in->events->n >= PM_RESOLVE_LIMIT)
		return PM_ERR_LIMIT;
	status = measure(r);
	if (status != PM_OK)
		return status;
	pm_resolve_find_zones(r);
	r->nr_allocations = count_allocs(in->events);
	r->owner = calloc(r->n_frames + 1, sizeof(*r->owner));
	r->origin = calloc(r->n_frames + 1, sizeof(*r->origin));
	r->allocations = calloc(r->nr_allocations + 1, sizeof(*r->allocations));
	if (r->owner == NULL || r->origin == NULL || r->allocations == NULL)
		return PM_ERR_NOMEM;
	for (size_t pfn = 0; pfn < in->n_frames; pfn++) {
		if (in->frame_flags[pfn] & PM_FRAME_BUDDY)
			r->owner[pfn] = PM_OWNER_FREE;
	}
	return PM_OK;
}

/// Initial ids were given behind the ids of all ALLOCs; some of those got none, so the initial ids move down to follow the last one.
static void close_gap(struct pm_resolve *r, uint32_t *allocation)
{
	uint32_t gap = (uint32_t)(r->nr_allocations - r->stats.allocations);

	for (size_t i = 0; i < r->in->events->n && gap != 0; i++) {
		if (allocation[i] != PM_NO_PFN32 && allocation[i] >= r->nr_allocations)
			allocation[i] -= gap;
	}
	r->nr_allocations = (size_t)r->stats.allocations;
}

static enum pm_status run(struct pm_resolve *r, uint32_t *allocation, uint8_t *resolution)
{
	for (size_t i = 0; i < r->in->events->n; i++) {
		enum pm_status status;

		allocation[i] = PM_NO_PFN32;
		resolution[i] = PM_RES_NONE;
		status = on_event(r, i, &allocation[i], &resolution[i]);
		if (status != PM_OK)
			return status;
		r->stats.counts[resolution[i]]++;
	}
	r->stats.initial = r->nr_initial;
	close_gap(r, allocation);
	return PM_OK;
}

enum pm_status pm_resolve_allocations(const struct pm_resolve_input *input, uint32_t *allocation, uint8_t *resolution,
				      struct pm_resolve **ret)
{
	struct pm_resolve *r = calloc(1, sizeof(*r));
	enum pm_status status;

	*ret = NULL;
	if (r == NULL)
		return PM_ERR_NOMEM;
	status = init(r, input);
	if (status == PM_OK)
		status = run(r, allocation, resolution);
	/* Only the table and the counts outlive the pass. */
	free(r->owner);
	free(r->origin);
	free(r->allocations);
	free(r->pending);
	for (int zone = 0; zone <= PM_RESOLVE_NR_ZONES; zone++) {
		for (int order = 0; order < PM_NR_ORDERS; order++)
			free(r->floating[zone][order].items);
	}
	memset(r->floating, 0, sizeof(r->floating));
	r->owner = NULL;
	r->origin = NULL;
	r->allocations = NULL;
	r->pending = NULL;
	r->in = NULL;
	if (status != PM_OK) {
		pm_resolve_destroy(r);
		return status;
	}
	*ret = r;
	return PM_OK;
}

void pm_resolve_destroy(struct pm_resolve *resolve)
{
	if (resolve == NULL)
		return;
	free(resolve->initial_pfn);
	free(resolve->initial_order);
	free(resolve);
}

void pm_resolve_stats(const struct pm_resolve *resolve, struct pm_resolve_stats *ret)
{
	*ret = resolve->stats;
}

size_t pm_resolve_initial(const struct pm_resolve *resolve, const uint32_t **ret_pfn, const int8_t **ret_order)
{
	*ret_pfn = resolve->initial_pfn;
	*ret_order = resolve->initial_order;
	return resolve->nr_initial;
}
