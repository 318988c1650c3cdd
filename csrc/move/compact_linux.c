/// A zone's compaction from its start to its end, and the strategy that runs it over zones.
#include "move/compact_linux.h"

#include "phys/rmqueue.h"
#include "virt/owner.h"

static uint32_t last_pageblock(const struct pm_zone *zone)
{
	return (zone->end - 1) & ~(uint32_t)(PM_PAGEBLOCK_NR_PAGES - 1);
}

/// Where the scanners begin: where others got to, if that is inside the zone, or at its ends.
static void place_scanners(struct pm_scan *scan)
{
	const struct pm_zone *zone = scan->zone;

	scan->migrate_pfn = zone->start;
	scan->free_pfn = last_pageblock(zone);
	if (scan->whole_zone)
		return;
	scan->migrate_pfn = pm_hint(&scan->hints->cached_migrate[scan->mode != PM_MIGRATE_ASYNC]);
	scan->free_pfn = pm_hint(&scan->hints->cached_free) & ~(uint32_t)(PM_PAGEBLOCK_NR_PAGES - 1);
	if (scan->migrate_pfn < zone->start || scan->migrate_pfn >= zone->end)
		scan->migrate_pfn = zone->start;
	if (scan->free_pfn < zone->start || scan->free_pfn >= zone->end)
		scan->free_pfn = last_pageblock(zone);
	/* From the very start: then all of it will have been looked at. */
	scan->whole_zone = scan->migrate_pfn == zone->start;
}

/// May the request have a block of its order now? On its own lists, or on those that it may claim from.
static bool has_block(struct pm_scan *scan)
{
	struct pm_zone *zone = scan->zone;
	unsigned int order, type;
	bool found = false;

	pm_lock(&zone->lock);
	found = pm_rmqueue_has_own(zone, scan->order, scan->migratetype);
	for (order = scan->order; order < PM_NR_ORDERS && !found; order++)
		for (type = 0; type < PM_NR_PCP_TYPES && !found; type++)
			found = pm_rmqueue_may_claim(order, scan->migratetype) && pm_list_nr(&zone->area[order].list[type]);
	pm_unlock(&zone->lock);
	return found;
}

/// Has the scanner come to the frame where the request wants it to end?
static bool told_to_end(const struct pm_scan *scan)
{
	uint64_t stop = scan->run->request->stop_pfn[scan->zone->index];

	return stop && scan->migrate_pfn >= stop;
}

enum { GO_ON = PM_NR_COMPACTED };

/// Why the run should end, or GO_ON.
static uint32_t finished(struct pm_scan *scan)
{
	struct pm_machine *m = scan->run->call->m;

	if (pm_scan_met(scan)) {
		/* The next one begins at the ends. What a request's run went over in vain is forgotten once kcompactd comes by. */
		pm_hint_set(&scan->hints->cached_migrate[0], scan->zone->start);
		pm_hint_set(&scan->hints->cached_migrate[1], scan->zone->start);
		pm_hint_set(&scan->hints->cached_free, last_pageblock(scan->zone));
		if (scan->direct)
			pm_hint_set(&scan->hints->flush_skip, 1);
		if (scan->enough && !scan->proactive && pm_compaction_blocks(m, scan->zone->index, scan->order) >= scan->enough)
			return PM_COMPACTED_SUCCESS;
		return scan->whole_zone ? PM_COMPACTED_COMPLETE : PM_COMPACTED_PARTIAL_SKIPPED;
	}
	if (told_to_end(scan))
		return PM_COMPACTED_TOLD;
	if (scan->contended)
		return PM_COMPACTED_CONTENDED;
	if (scan->proactive) {
		/* Relaxed: a hint. kswapd is at work, and needs the same locks. */
		if (atomic_load_explicit(&scan->zone->reclaim_active, memory_order_relaxed))
			return PM_COMPACTED_PARTIAL_SKIPPED;
		return pm_compact_zone_score(m, scan->zone) > scan->enough ? (uint32_t)GO_ON : PM_COMPACTED_SUCCESS;
	}
	/* A pageblock that was begun is gone through: half empty ones are what other types fall back to. */
	if (scan->everything || (scan->migrate_pfn & (PM_PAGEBLOCK_NR_PAGES - 1)))
		return GO_ON;
	if (scan->enough)
		return pm_compaction_blocks(m, scan->zone->index, scan->order) >= scan->enough ? PM_COMPACTED_SUCCESS : (uint32_t)GO_ON;
	return has_block(scan) ? PM_COMPACTED_SUCCESS : (uint32_t)GO_ON;
}

/// Moves what was found. The last found goes first, as in 6.x, whose list grows at its head.
static enum pm_status move_found(struct pm_scan *scan)
{
	size_t i;

	for (i = 0; i < scan->nr / 2; i++) {
		uint64_t last = scan->from[scan->nr - 1 - i];

		scan->from[scan->nr - 1 - i] = scan->from[i];
		scan->from[i] = last;
	}
	scan->run->result->isolated += scan->nr_frames;
	scan->missed_pfn = PM_NO_FRAME;
	return pm_compaction_move(scan->run, scan->from, NULL, &scan->supply, scan->nr, scan->results);
}

static bool cancelled(const struct pm_scan *scan)
{
	size_t i;

	for (i = 0; i < scan->nr; i++)
		if (scan->results[i].reason == PM_WHY_CANCELLED)
			return true;
	return false;
}

/// Frames that were freed may lie in this CPU's lists, where they do not merge: once the scanner has left the block that they belong to, it matters.
static enum pm_status drain_block(struct pm_scan *scan, uint32_t *moved_in)
{
	struct pm_machine *m = scan->run->call->m;
	uint32_t block = scan->migrate_pfn & ~((1u << scan->order) - 1), left = *moved_in;
	enum pm_status status;

	if (scan->everything || left == PM_NIL_PFN || left >= block)
		return PM_OK;
	*moved_in = PM_NIL_PFN;
	status = pm_drain(m, scan->run->call->cpu);
	if (!status && scan->captures && pm_pfn_is_nil(scan->capture.pfn))
		(void)pm_capture_at(m, scan->zone, pm_pfn(left), &scan->capture);
	return status;
}

/// A block that found no destination of its order goes in pieces, if it can be split. False: it cannot, and there is nowhere to go.
static bool split_missed(struct pm_scan *scan)
{
	if (scan->missed_order == 0 || pm_owner_split(scan->run->call, pm_pfn(scan->missed_pfn)))
		return false;
	scan->run->result->split++;
	return true;
}

/// Scans and moves until there is a reason to end, or the call has to come back.
static enum pm_status scan_and_move(struct pm_scan *scan, uint32_t *ret)
{
	uint32_t moved_in = PM_NIL_PFN;
	enum pm_status status = PM_OK;

	while ((*ret = finished(scan)) == GO_ON && !status) {
		uint32_t before = scan->migrate_pfn;

		pm_scan_migrate(scan);
		if (scan->nr) {
			uint32_t in = (uint32_t)scan->from[0] & ~((1u << scan->order) - 1);

			status = move_found(scan);
			/* What was cancelled is found again when the call goes on. */
			if (status && cancelled(scan))
				scan->migrate_pfn = before;
			moved_in = in;
			if (!status && scan->missed_pfn != PM_NO_FRAME && !pm_scan_met(scan)) {
				if (!split_missed(scan)) {
					*ret = PM_COMPACTED_NO_DESTINATION;
					return PM_OK;
				}
				/* Its frames are found one by one, and what was behind it in the batch too. */
				scan->migrate_pfn = before;
			}
		} else {
			status = pm_compaction_spend(scan->run, scan->run->begins_anew ? 0 : PM_PAGEBLOCK_NR_PAGES);
		}
		if (!status)
			status = drain_block(scan, &moved_in);
		if (scan->captures && !pm_pfn_is_nil(scan->capture.pfn)) {
			*ret = PM_COMPACTED_CAPTURED;
			/* The block is there: who were to call again would go on, and might capture another. */
			return status == PM_ERR_INTR ? PM_OK : status;
		}
	}
	return status;
}

static struct pm_scan *make_scan(struct pm_compaction *run, const struct pm_scan_plan *plan)
{
	struct pm_machine *m = run->call->m;
	struct pm_compact_state *state = pm_compact_state(m);
	struct pm_scan *scan = state ? pm_host_zalloc(&m->host, sizeof(*scan)) : NULL;

	if (!scan)
		return NULL;
	scan->run = run;
	scan->state = state;
	scan->zone = &m->zone[plan->zone];
	scan->hints = &state->zone[plan->zone];
	scan->mode = run->mode;
	scan->order = plan->everything ? PM_PAGEBLOCK_ORDER : run->request->order;
	scan->migratetype = m->classes[run->request->gfp & PM_GFP_CLASS_MASK].migratetype;
	scan->everything = plan->everything;
	scan->direct = plan->direct;
	scan->proactive = plan->proactive;
	scan->whole_zone = plan->whole_zone;
	scan->ignore_skip = plan->ignore_skip;
	scan->ignore_type = plan->ignore_type;
	scan->enough = plan->enough;
	scan->captures = plan->captures;
	scan->capture = (struct pm_capture){ .order = run->request->order, .migratetype = scan->migratetype, .pfn = pm_pfn_nil() };
	pm_scan_free_init(scan);
	return scan;
}

/// Is there a state to go on from?
static bool resumes(const struct pm_compaction *run, uint32_t zone)
{
	return run->request->resume && run->result->resume_zone == zone && run->result->zone[zone].looked_at;
}

static void report(struct pm_scan *scan, uint32_t status)
{
	struct pm_compact_result *result = scan->run->result;
	struct pm_compact_zone_result *zone = &result->zone[scan->zone->index];

	*zone = (struct pm_compact_zone_result){ .looked_at = 1, .status = status, .migrate_pfn = scan->migrate_pfn, .free_pfn = scan->free_pfn,
						 .stopped_pfn = PM_NO_FRAME };
	if (status == PM_COMPACTED_NO_DESTINATION) {
		zone->stopped_pfn = scan->missed_pfn;
		zone->stopped_order = scan->missed_order;
	}
	if (!pm_pfn_is_nil(scan->capture.pfn))
		result->captured = scan->capture.pfn.v;
}

static void count_end(struct pm_compact_state *state, uint32_t status)
{
	switch (status) {
	case PM_COMPACTED_CAPTURED:
		pm_compact_count(state, PM_CE_CAPTURED);
		pm_compact_count(state, PM_CE_SUCCESS);
		break;
	case PM_COMPACTED_SUCCESS:
		pm_compact_count(state, PM_CE_SUCCESS);
		break;
	case PM_COMPACTED_COMPLETE:
	case PM_COMPACTED_PARTIAL_SKIPPED:
		pm_compact_count(state, PM_CE_FAILED);
		break;
	default:
		break;
	}
}

enum pm_status pm_compact_zone(struct pm_compaction *run, const struct pm_scan_plan *plan, enum pm_compact_status *ret)
{
	struct pm_scan *scan = make_scan(run, plan);
	uint32_t end = GO_ON;
	enum pm_status status, drained;

	if (!scan)
		return PM_ERR_NOMEM;
	pm_compact_count(scan->state, PM_CE_RUN);
	if (resumes(run, plan->zone)) {
		scan->migrate_pfn = (uint32_t)run->result->zone[plan->zone].migrate_pfn;
		scan->free_pfn = (uint32_t)run->result->zone[plan->zone].free_pfn;
	} else {
		if (!plan->everything && pm_compact_restarting(scan->hints, run->request->order))
			pm_compact_reset_hints(run->call->m, scan->state, plan->zone);
		place_scanners(scan);
	}
	status = scan_and_move(scan, &end);
	run->result->resume_zone = plan->zone;
	report(scan, end == GO_ON ? PM_COMPACTED_PARTIAL_SKIPPED : end);
	if (!status)
		count_end(scan->state, end);
	pm_scan_free_release(scan);
	pm_host_free(&run->call->m->host, scan);
	/* What is in this CPU's lists merges now. */
	drained = pm_drain(run->call->m, run->call->cpu);
	*ret = end == GO_ON ? PM_COMPACTED_PARTIAL_SKIPPED : (enum pm_compact_status)end;
	return status ? status : drained;
}

/* ---- the strategy ---- */

/// As /proc/sys/vm/compact_memory does: every zone in turn, however the one before ended.
static enum pm_status compact_all(struct pm_compaction *run)
{
	const struct pm_compact_request *request = run->request;
	uint32_t zone = request->resume ? run->result->resume_zone : 0;
	enum pm_status status = PM_OK;

	for (; zone < run->call->m->nr_zones && !status; zone++) {
		bool full = request->priority == PM_COMPACT_FULL;
		struct pm_scan_plan plan = { .zone = zone, .everything = true, .whole_zone = true, .ignore_skip = full, .direct = !full };
		enum pm_compact_status end;

		if (!pm_compaction_wants(run, zone))
			continue;
		status = pm_compact_zone(run, &plan, &end);
		if (status != PM_ERR_NOMEM)
			run->result->status = end;
	}
	return status;
}

enum pm_status pm_compact_zone_for(struct pm_compaction *run, uint32_t index, unsigned int highest, uint64_t enough, enum pm_compact_status *ret)
{
	const struct pm_compact_request *request = run->request;
	struct pm_machine *m = run->call->m;
	struct pm_compact_state *state = pm_compact_state(m);
	bool full = request->priority == PM_COMPACT_FULL;
	struct pm_scan_plan plan = { .zone = index, .direct = true, .whole_zone = full, .ignore_skip = full, .ignore_type = full, .highest = highest,
				     .captures = (request->flags & PM_COMPACT_CAPTURE) != 0, .enough = enough };
	enum pm_status status;

	if (!state)
		return PM_ERR_NOMEM;
	*ret = PM_COMPACTED_DEFERRED;
	if (!resumes(run, index)) {
		if (!full && pm_compact_deferred(&state->zone[index], request->order)) {
			pm_compact_count(state, PM_CE_DEFERRED);
			return PM_OK;
		}
		*ret = pm_compact_suitable(m, state, &m->zone[index], request->order, pm_compact_mark(&m->zone[index], request->order), highest);
		if (*ret != PM_COMPACTED_COMPLETE)
			return PM_OK;
	}
	status = pm_compact_zone(run, &plan, ret);
	if (status)
		return status;
	if (*ret == PM_COMPACTED_SUCCESS || *ret == PM_COMPACTED_CAPTURED)
		pm_compact_succeeded(&state->zone[index], request->order);
	else if (request->priority != PM_COMPACT_ASYNC && (*ret == PM_COMPACTED_COMPLETE || *ret == PM_COMPACTED_PARTIAL_SKIPPED))
		pm_compact_failed(&state->zone[index], request->order);
	return PM_OK;
}

/// On behalf of a request for so many blocks: the zones that it may use, first choice first, until they are there.
static enum pm_status compact_some(struct pm_compaction *run)
{
	const struct pm_compact_request *request = run->request;
	struct pm_machine *m = run->call->m;
	int8_t highest = m->classes[request->gfp & PM_GFP_CLASS_MASK].highest;
	const int8_t *z;

	if (highest < 0)
		return PM_ERR_FLAGS;
	for (z = m->zonelist[highest]; *z >= 0; z++) {
		uint32_t zone = (uint32_t)*z;
		uint64_t now = 0, enough;
		enum pm_compact_status end;
		enum pm_status status;
		uint32_t i;

		if (!pm_compaction_wants(run, zone))
			continue;
		if (request->resume && zone != run->result->resume_zone && run->result->zone[zone].looked_at)
			continue;
		for (i = 0; i < m->nr_zones; i++)
			now += pm_compaction_wants(run, i) ? pm_compaction_blocks(m, i, request->order) : 0;
		/* What the zones before have gained is not wanted any more. */
		enough = run->result->blocks_before + request->blocks;
		enough = pm_compaction_blocks(m, zone, request->order) + (enough > now ? enough - now : 0);
		status = pm_compact_zone_for(run, zone, (unsigned int)highest, enough, &end);
		run->result->status = end;
		if (status || end == PM_COMPACTED_SUCCESS || end == PM_COMPACTED_CAPTURED)
			return status;
	}
	return PM_OK;
}

static enum pm_status run_linux(struct pm_compaction *run)
{
	return run->request->blocks == PM_ALL_BLOCKS ? compact_all(run) : compact_some(run);
}

const struct pm_strategy_ops pm_strategy_linux = { .name = "linux", .run = run_linux };
