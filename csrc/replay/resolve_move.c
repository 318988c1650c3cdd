/// The normalising pass: migration as far as PTE events tell it.
///
/// A task that migrates replaces each PTE of the source by an entry (set_migration_pte) and later each entry by a PTE of the
/// destination, or of the source where it failed (remove_migration_pte): same task, same address. A frame mapped n times has n pairs.
#include "replay/resolve.h"

#include <stdlib.h>
#include <string.h>

enum { PENDING_MAX = 1 << 20 };

enum pm_status pm_resolve_set(struct pm_resolve *r, size_t i)
{
	const struct pm_events *ev = r->in->events;

	if (ev->pfn[i] >= r->n_frames)
		return PM_OK;
	if (r->nr_pending == PENDING_MAX) {
		/* Entries whose removal was lost would pile up: the older half is forgotten. */
		memmove(r->pending, r->pending + PENDING_MAX / 2, sizeof(*r->pending) * (PENDING_MAX / 2));
		r->nr_pending = PENDING_MAX / 2;
	}
	if (r->nr_pending == r->room_pending) {
		size_t room = r->room_pending == 0 ? 1024 : r->room_pending * 2;
		struct pm_pending *more = realloc(r->pending, room * sizeof(*more));

		if (more == NULL)
			return PM_ERR_NOMEM;
		r->pending = more;
		r->room_pending = room;
	}
	r->pending[r->nr_pending++] =
		(struct pm_pending){ .tid = ev->tid[i], .page_low = ev->arg0[i], .page_high = ev->arg1[i], .pfn = ev->pfn[i] };
	return PM_OK;
}

/// The oldest matching entry is taken: removals come in the order of the settings, so it lies near the front.
static uint32_t take_pending(struct pm_resolve *r, size_t i)
{
	const struct pm_events *ev = r->in->events;

	for (size_t k = 0; k < r->nr_pending; k++) {
		struct pm_pending *p = &r->pending[k];
		uint32_t pfn = p->pfn;

		if (p->page_low != ev->arg0[i] || p->tid != ev->tid[i] || p->page_high != ev->arg1[i])
			continue;
		r->nr_pending--;
		memmove(p, p + 1, sizeof(*p) * (r->nr_pending - k));
		return pfn;
	}
	return PM_NO_PFN32;
}

static void move_frame(struct pm_resolve *r, uint32_t from, uint32_t to)
{
	uint32_t owner = r->owner[from];
	struct pm_floating found;

	/* The second PTE of a frame that is mapped more than once: moved already. */
	if (owner == PM_OWNER_EMPTIED)
		return;
	if (owner == PM_OWNER_UNKNOWN || owner == PM_OWNER_INITIAL) {
		r->origin[to] = owner == PM_OWNER_INITIAL ? r->origin[from] : from;
		owner = PM_OWNER_INITIAL;
	}
	if (pm_owner_is_free(owner) && pm_floating_take(r, from, 0, &found)) {
		/* It came here without a word, and was mapped since. */
		owner = found.owner;
		r->origin[to] = found.origin;
	}
	r->owner[to] = pm_owner_is_free(owner) ? PM_OWNER_UNKNOWN : owner;
	r->owner[from] = PM_OWNER_EMPTIED;
	r->stats.migrations++;
}

enum pm_status pm_resolve_remove(struct pm_resolve *r, size_t i)
{
	const struct pm_events *ev = r->in->events;
	uint32_t from = take_pending(r, i), to = ev->pfn[i];
	uint32_t nr = ev->order[i] > 0 ? 1u << ev->order[i] : 1u;
	struct pm_compactor *c = pm_compactor_of(r, ev->tid[i]);
	uint64_t latest;

	if (to >= r->n_frames)
		return PM_OK;
	if (from == PM_NO_PFN32) {
		r->stats.migrations_unpaired++;
		return PM_OK;
	}
	if (from == to) {
		r->stats.migrations_failed++;
		return PM_OK;
	}
	if (c != NULL && c->migrating)
		pm_floating_settle(r, c, to);
	for (uint32_t k = 0; k < nr && from + k < r->n_frames && to + k < r->n_frames; k++) {
		/* A move that the snapshot already shows is not made again. */
		if (ev->time_ns[i] > pm_resolve_read_ns(r->in, to + k, &latest) &&
		    ev->time_ns[i] > pm_resolve_read_ns(r->in, from + k, &latest))
			move_frame(r, from + k, to + k);
	}
	return PM_OK;
}
