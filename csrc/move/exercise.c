/// Elementary work, over and over, for who measures what it costs: the same functions and loops that strategies run.
#include <string.h>

#include "move/range.h"
#include "virt/epoch.h"

static void copy_frames(struct pm_machine *m, uint64_t n)
{
	const struct pm_zone *zone = &m->zone[m->nr_zones - 1];
	uint32_t span = zone->end - zone->start, from = 0, to = span / 2;
	uint64_t i;

	/* Steps that no prefetcher guesses, and that come by every frame: as odd as a scattered list. */
	for (i = 0; i < n; i++) {
		if (from != to)
			memcpy(pm_frame_bytes(m, pm_pfn(zone->start + to)), pm_frame_bytes(m, pm_pfn(zone->start + from)), PM_PAGE_SIZE);
		from = (uint32_t)((from + (uint64_t)40503) % span);
		to = (uint32_t)((to + (uint64_t)10007) % span);
	}
}

static bool look_at(const struct pm_range_seen *seen, void *arg)
{
	uint64_t *movable = arg;

	*movable += seen->what == PM_RW_MOVABLE;
	return true;
}

/// Returns how much of it was movable, so that nobody leaves the look out.
static uint64_t scan_frames(struct pm_machine *m, uint64_t n)
{
	struct pm_zone *zone = &m->zone[m->nr_zones - 1];
	uint64_t movable = 0;

	while (n) {
		uint32_t some = n < zone->end - zone->start ? (uint32_t)n : zone->end - zone->start;

		(void)pm_range_walk(m, zone, zone->start, zone->start + some, look_at, &movable);
		n -= some;
	}
	return movable;
}

static void flush_all(struct pm_call *call, uint64_t n)
{
	struct pm_cpumask all;
	uint32_t i;

	for (i = 0; i < PM_MAX_CPUS / 64; i++)
		atomic_init(&all.word[i], call->m->nr_cpus >= 64 * (i + 1) ? UINT64_MAX : call->m->nr_cpus <= 64 * i ? 0 : ((uint64_t)1 << call->m->nr_cpus % 64) - 1);
	while (n--)
		pm_tlb_flush(call, &all);
}

static void take_locks(struct pm_machine *m, uint64_t n)
{
	struct pm_zone *zone = &m->zone[m->nr_zones - 1];

	while (n--) {
		pm_lock(&zone->lock);
		pm_unlock(&zone->lock);
	}
}

enum pm_status pm_exercise(struct pm_machine *m, uint32_t cpu, uint32_t what, uint64_t n)
{
	struct pm_call call;
	enum pm_status status = pm_call_begin(m, cpu, &call);

	if (status)
		return status;
	switch (what) {
	case PM_EXERCISE_COPY:
		if (pm_has_contents(m))
			copy_frames(m, n);
		else
			status = PM_ERR_NO_CONTENTS;
		break;
	case PM_EXERCISE_SCAN:
		(void)scan_frames(m, n);
		break;
	case PM_EXERCISE_FLUSH:
		flush_all(&call, n);
		break;
	case PM_EXERCISE_LOCK:
		take_locks(m, n);
		break;
	default:
		status = PM_ERR_INVAL;
		break;
	}
	pm_call_end(&call);
	return status;
}
