/// Compaction as in Linux 6.x (REFERENCE section 5). The migrate scanner goes up through a zone and finds what can move; the free scanner comes down and
/// takes free blocks to move it to; where they meet it ends.
///
/// | file | what is in it |
/// | compact_linux.c | a zone's run from its start to its end, and the strategy |
/// | compact_scan.c | the migrate scanner |
/// | compact_free.c | the free scanner, which supplies destinations; capture |
/// | compact_suit.c | whether a zone is worth it: suitable, deferred, skip hints, fragmentation |
/// | kcompactd.c | in the background |
/// | alloc_slow.c | for an allocation that finds no block |
#ifndef PM_MOVE_COMPACT_LINUX_H
#define PM_MOVE_COMPACT_LINUX_H

#include "move/strategy.h"
#include "phys/capture.h"

/// COMPACT_CLUSTER_MAX, and PM_COMPACT_DEFER_MAX: the largest shift of a deferral.
enum { PM_COMPACT_CLUSTER = 32, PM_COMPACT_DEFER_MAX = 6 };

/// What a zone remembers between compactions. All of it are hints, as in the kernel: an update that is lost costs a scan.
struct pm_compact_zone {
	_Atomic uint32_t cached_migrate[2]; ///< (A) where scanning goes on: by ASYNC, and by the sleeping modes
	_Atomic uint32_t cached_free;	    ///< (A)
	_Atomic uint32_t considered;	    ///< (A) attempts since the last failure
	_Atomic uint32_t defer_shift;	    ///< (A) of 2^shift attempts one is made
	_Atomic uint32_t order_failed;	    ///< (A) the smallest order that failed
	_Atomic uint32_t flush_skip;	    ///< (A) 1: a compaction went through all of it, so the skip hints are old
};

/// Counted in the order of struct pm_compact_counters.
enum pm_compact_event { PM_CE_RUN, PM_CE_SUCCESS, PM_CE_FAILED, PM_CE_CAPTURED, PM_CE_DEFERRED, PM_CE_STALL, PM_CE_WAKE, PM_CE_PROACTIVE, PM_NR_COMPACT_EVENTS };

/// What a machine remembers. Hangs off struct pm_move, made by the first compaction.
struct pm_compact_state {
	struct pm_compact_zone zone[PM_MAX_ZONES];
	_Atomic uint32_t proactiveness, extfrag_threshold; ///< (A) struct pm_compact_settings
	struct pm_lock lock;		     ///< rank OBJECTS: kcompactd's
	uint32_t wanted_order;		     ///< (W) woken for this order; 0: it sleeps
	uint32_t wanted_highest;	     ///< (W) and for requests that may use zones up to this kind
	uint64_t next_ns;		     ///< (W) when kcompactd looks at the score again
	_Atomic uint64_t event[PM_NR_COMPACT_EVENTS]; ///< (A) statistics
	_Atomic uint64_t skip[];	     ///< (A) a bit a pageblock: scanned in full, and nothing found
};

/// One zone's run.
struct pm_scan {
	struct pm_supply supply; ///< first: the free scanner's
	struct pm_compaction *run;
	struct pm_compact_state *state;
	struct pm_compact_zone *hints;
	struct pm_zone *zone;
	uint32_t migrate_pfn, free_pfn; ///< where the scanners are
	uint32_t mode;		 ///< enum pm_migrate_mode
	unsigned int order;	 ///< of the wanted block; with `everything`: of a pageblock
	unsigned int migratetype; ///< of the request
	bool everything;	 ///< as /proc/sys/vm/compact_memory: no block ends it
	bool direct;		 ///< on behalf of a request
	bool proactive;		 ///< until the zone's score is low
	bool whole_zone;	 ///< from end to end
	bool ignore_skip;	 ///< hints
	bool ignore_type;	 ///< any pageblock may be moved to
	bool contended;		 ///< somebody else had the zone's lock (ASYNC)
	uint64_t enough;	 ///< blocks in the zone that end it; 0: one that the request may have
	/* What is to move next. */
	size_t nr;
	uint32_t nr_frames;	 ///< frames in these
	uint32_t pending;	 ///< of them, those that have no destination yet
	uint64_t from[PM_COMPACT_CLUSTER];
	struct pm_migrate_result results[PM_COMPACT_CLUSTER];
	/* Where to. */
	struct pm_chain free[PM_NR_ORDERS]; ///< blocks taken from the free lists: nobody else knows them
	uint32_t nr_free;	 ///< frames in these
	uint64_t missed_pfn;	 ///< the block for which there was none; PM_NO_FRAME
	uint32_t missed_order;
	struct pm_capture capture;
	bool captures;		 ///< `capture` is wanted
};

/// Makes it, if nobody has. NULL: no memory. pm_move_init() has succeeded.
struct pm_compact_state *pm_compact_state(struct pm_machine *m);
void pm_compact_state_free(struct pm_machine *m, struct pm_compact_state *state);

/// What a zone's run is to be like; `request` as for pm_compact().
struct pm_scan_plan {
	uint32_t zone;
	bool everything, direct, proactive, whole_zone, ignore_skip, ignore_type, captures;
	unsigned int highest; ///< zone kind that the request may use at most
	uint64_t enough;
};

/// Runs over one zone, with the request's order, gfp, protocol. Its end is in result->zone[] and `ret`. PM_ERR_NOMEM; a wait's status.
enum pm_status pm_compact_zone(struct pm_compaction *run, const struct pm_scan_plan *plan, enum pm_compact_status *ret);

/// A zone on behalf of a request that may use zones up to kind `highest`: unless it is deferred or not suitable, until there are `enough` blocks, or (0)
/// one that the request may have. Success and failure count for the next deferral. `ret` as above.
enum pm_status pm_compact_zone_for(struct pm_compaction *run, uint32_t zone, unsigned int highest, uint64_t enough, enum pm_compact_status *ret);

/// A request of this order found no block: kcompactd works for it.
void pm_compact_want(struct pm_machine *m, struct pm_compact_state *state, unsigned int order, uint32_t gfp);

/* ---- the scanners ---- */

/// Finds what can move in the next pageblock that is worth it, up to PM_COMPACT_CLUSTER frames.
void pm_scan_migrate(struct pm_scan *scan);

/// Sets up the supply; gives back what it has left.
void pm_scan_free_init(struct pm_scan *scan);
void pm_scan_free_release(struct pm_scan *scan);

static inline bool pm_scan_met(const struct pm_scan *scan)
{
	return scan->free_pfn >> PM_PAGEBLOCK_ORDER <= scan->migrate_pfn >> PM_PAGEBLOCK_ORDER;
}

/* ---- is it worth it? ---- */

bool pm_compact_skipped(const struct pm_scan *scan, uint32_t pfn);
void pm_compact_set_skip(struct pm_scan *scan, uint32_t pfn);
/// Forgets the skip hints of a zone, and where the scanners were.
void pm_compact_reset_hints(struct pm_machine *m, struct pm_compact_state *state, uint32_t zone);

/// Is there enough free memory to move things to, and is it in pieces? `mark` is of order 0. PM_COMPACTED_COMPLETE: go ahead.
enum pm_compact_status pm_compact_suitable(struct pm_machine *m, const struct pm_compact_state *state, const struct pm_zone *zone, unsigned int order, uint64_t mark, unsigned int highest);
/// The mark that a request has to keep: LOW for a costly order.
uint64_t pm_compact_mark(const struct pm_zone *zone, unsigned int order);

/// Is this attempt left out, because others failed? Counts it.
bool pm_compact_deferred(struct pm_compact_zone *hints, unsigned int order);
/// Has a zone been left out as often as can be, so that its hints are old?
bool pm_compact_restarting(const struct pm_compact_zone *hints, unsigned int order);
void pm_compact_failed(struct pm_compact_zone *hints, unsigned int order);
void pm_compact_succeeded(struct pm_compact_zone *hints, unsigned int order);

/// 0..100: which part of the zone's free memory is in blocks below the huge-page order.
uint32_t pm_compact_zone_score(struct pm_machine *m, struct pm_zone *zone);
/// The zone's share in the machine's score, by its size.
uint32_t pm_compact_weighted_score(struct pm_machine *m, struct pm_zone *zone);

static inline uint32_t pm_hint(const _Atomic uint32_t *hint)
{
	/* Relaxed: see struct pm_compact_zone. */
	return atomic_load_explicit(hint, memory_order_relaxed);
}

static inline void pm_hint_set(_Atomic uint32_t *hint, uint32_t value)
{
	atomic_store_explicit(hint, value, memory_order_relaxed);
}

static inline void pm_compact_count(struct pm_compact_state *state, unsigned int event)
{
	/* Relaxed: statistics. */
	(void)atomic_fetch_add_explicit(&state->event[event], 1, memory_order_relaxed);
}

#endif
