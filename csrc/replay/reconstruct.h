/// @file reconstruct.h
/// What the files of the reconstruction share: a plan is made by going through the events several times with a small model of the
/// free lists of its own; each time what the end told is used from the beginning. The last time leaves the operations to apply.
#ifndef PM_REPLAY_RECONSTRUCT_H
#define PM_REPLAY_RECONSTRUCT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/types.h"
#include "phys/machine.h"

enum {
	PM_RC_PASSES_MAX = 8,		///< the plan stops learning after so many
	PM_RC_TRIES_MAX = 8,		///< the plan is tried so often
	PM_RC_PASSES_TRIED = 2,		///< and learns in so many passes from each trial
	PM_RC_WORDS_AHEAD_MAX = 500000, ///< words on free frames looked at for one block that fast_isolate took
	PM_RC_OWN_MAX = 64,		///< blocks that one compaction fills, looked at together
	PM_RC_TASKS = 4096,		///< tasks that compact; more are not told apart
	PM_RC_CPUS = 1024,
	PM_RC_UNKNOWN_TYPE = 0xff
};

/// What was learnt of an event; a byte each.
enum {
	PM_RC_DIRECT = 1,   ///< FREE of a per-CPU order that went straight to the free lists
	PM_RC_HELD = 2,	    ///< FREE of a block that compaction keeps on its own list
	PM_RC_RELEASE = 4,  ///< FREE between the last migration of a compaction and its end
	PM_RC_WORD = 8,	    ///< in the list of words
	PM_RC_CAPTURED = 16 ///< gives a block that a compacting task took at once
};

/// One thing done to the free lists.
enum pm_rc_op_kind { PM_RC_TAKE, PM_RC_GIVE, PM_RC_TYPE };

struct pm_rc_op {
	uint32_t event;
	uint32_t pfn;
	uint8_t kind;
	uint8_t order;
	uint8_t type; ///< TYPE: the pageblock's new type
};

/// A block that a give completed and compaction captured.
struct pm_rc_capture {
	uint32_t event;
	uint32_t pfn;
	uint8_t order;
};

/// Something was said of frames that our lists held as free: someone took them before, unseen. Or, with `end` > `pfn`, compaction
/// scanned a range and found `surplus` frames less than we held there.
struct pm_rc_word {
	uint32_t event;
	uint32_t pfn;
	uint32_t end;	  ///< 0: one frame
	int32_t surplus;  ///< of a range: learnt so far
	int32_t left;	  ///< of it, not yet accounted for in this pass
	uint32_t tid;	  ///< the task that must have taken it, or PM_NO_PFN32: any
};

/// A task that compacts.
struct pm_rc_task {
	uint32_t tid;
	bool used;
	uint32_t run; ///< event that began its compaction, 0: not in one
	bool fast;    ///< it took something with fast_isolate in this compaction
};

/// What is known of a task when the events are looked at backwards.
struct pm_rc_later {
	uint32_t scan;	///< the isolate_freepages that is its next event, or PM_NO_PFN32
	uint32_t end;	///< of its compaction, or PM_NO_PFN32
	bool ending;	///< nothing but frees until that end
	uint32_t fast[PM_NR_ORDERS]; ///< fast isolations until that end
};

/// How the isolating scanner went through a range.
struct pm_rc_scan {
	uint32_t stride;
	uint32_t compound_at; ///< which of the frames looked at headed a compound page
	uint32_t compound_order; ///< 0: none
};

struct pm_rc_zone {
	uint32_t start;
	uint32_t end;
};

struct pm_plan {
	const struct pm_resolve_input *in;
	const struct pm_events *ev;
	struct pm_rc_zone zones[PM_MAX_ZONES];
	uint32_t nr_zones;
	uint32_t n_frames;

	/* the model, made anew in each pass */
	uint8_t *head;	     ///< by frame: order + 1 of the free block that it heads
	uint8_t *type;	     ///< by pageblock
	uint32_t *last;	     ///< by first frame: the last event that named it
	uint8_t *last_order; ///< and the order of what it named
	uint32_t *current;   ///< by first frame: the next event that will name it
	uint8_t *bits;	     ///< by frame: free, while its chunk is being read
	size_t live;	     ///< chunks that were read
	uint32_t started;    ///< the first event after the snapshot
	struct pm_rc_task tasks[PM_RC_TASKS];
	uint32_t extfrag_pfn; ///< a capture was announced for this block
	uint8_t extfrag_order;
	size_t next_capture;

	/* what is known of the events */
	uint32_t *first;  ///< by frame: the first event that names it
	uint32_t *next;	  ///< by event: the next event with the same first frame
	uint8_t *learnt;  ///< by event
	uint32_t *follow; ///< by event, for fast_isolate: the isolate_freepages of the same task right behind it
	uint32_t *rest;	  ///< by event, for fast_isolate: how many more of this size the same compaction does
	uint32_t *until;  ///< by event, for fast_isolate: the end of that compaction
	uint8_t *start_type; ///< by pageblock
	uint8_t *given_type; ///< by pageblock: the machine's, for those that no event speaks of
	bool fast;	  ///< there is a fast_isolate event
	struct pm_rc_capture *captures;
	size_t nr_captures, room_captures;
	struct pm_rc_word *words; ///< in order of event
	size_t nr_words, nr_known_words, room_words, first_word;
	uint32_t *kept;	  ///< by first frame: a scan found the block free at this event: it was not taken before
	uint8_t *spare;	  ///< by frame: free at the end of a pass, and nothing was said of it
	uint32_t *spares; ///< the frames that are spare
	size_t nr_spares;
	uint64_t news;	  ///< what this pass learnt
	uint64_t nr_passes;

	/* what comes out */
	struct pm_rc_op *ops;
	size_t nr_ops, room_ops;
	struct pm_rc_op *start; ///< free blocks when the snapshot was complete
	size_t nr_start, room_start;
	bool no_memory;
	uint64_t counts[PM_NR_RC_CAUSES];
};

/* reconstruct_order.c */
/// Puts the blocks of the start in the order of their lists, as far as requests show it.
enum pm_status pm_rc_order_start(struct pm_plan *p);

/* reconstruct_try.c */
/// Plays the plan on a machine like `like`, and adds a word for each block that must have gone before. PM_ERR_NOMEM.
enum pm_status pm_rc_try_plan(struct pm_plan *p, const struct pm_machine *like);

/* reconstruct.c */
enum pm_status pm_rc_load_start(struct pm_machine *m, const struct pm_plan *p);
void pm_rc_apply(struct pm_machine *m, const struct pm_plan *p, struct pm_zone *zone, const struct pm_rc_op *op);

/* reconstruct_model.c: the free blocks, and what was last said of each frame */
uint32_t pm_rc_cover(const struct pm_plan *p, uint32_t pfn);
bool pm_rc_all_free(const struct pm_plan *p, uint32_t pfn, unsigned int order);
bool pm_rc_none_free(const struct pm_plan *p, uint32_t pfn, unsigned int order);
void pm_rc_take(struct pm_plan *p, uint32_t event, uint32_t pfn, unsigned int order);
uint32_t pm_rc_take_rest(struct pm_plan *p, uint32_t event, uint32_t pfn, unsigned int order);
void pm_rc_give(struct pm_plan *p, uint32_t event, uint32_t pfn, unsigned int order);
void pm_rc_add_chunk(struct pm_plan *p, uint32_t start, uint32_t end);
void pm_rc_set_type(struct pm_plan *p, uint32_t event, uint32_t pfn, unsigned int type);
void pm_rc_note(struct pm_plan *p, uint32_t event, uint32_t pfn, unsigned int order);
uint32_t pm_rc_last(const struct pm_plan *p, uint32_t pfn, uint32_t *ret_pfn);
uint32_t pm_rc_last_in(const struct pm_plan *p, uint32_t pfn, unsigned int order);
uint32_t pm_rc_next(const struct pm_plan *p, uint32_t pfn);
void pm_rc_emit(struct pm_plan *p, uint32_t event, enum pm_rc_op_kind kind, uint32_t pfn, unsigned int order, unsigned int type);

/* reconstruct_ahead.c: what the events tell before the first pass */
enum pm_status pm_rc_look_ahead(struct pm_plan *p);

/* reconstruct_scan.c: isolate_freepages */
void pm_rc_isolate(struct pm_plan *p, uint32_t event);

/* reconstruct_fast.c: fast_isolate_freepages */
void pm_rc_fast_isolate(struct pm_plan *p, uint32_t event);
void pm_rc_add_word(struct pm_plan *p, uint32_t event, uint32_t pfn, uint32_t end, int32_t surplus, uint32_t tid);
void pm_rc_sort_words(struct pm_plan *p);
void pm_rc_collect_spares(struct pm_plan *p);

/* reconstruct_plan.c */
struct pm_rc_task *pm_rc_task(struct pm_plan *p, uint32_t tid, bool make);
enum pm_status pm_rc_plan(struct pm_plan *p);
enum pm_status pm_rc_passes(struct pm_plan *p, uint64_t most);
bool pm_rc_grow(void **array, size_t *room, size_t n, size_t size);

static inline bool pm_rc_is_pcp(unsigned int order)
{
	return order <= PM_COSTLY_ORDER || order == PM_PAGEBLOCK_ORDER;
}

static inline uint32_t pm_rc_zone_of(const struct pm_plan *p, uint32_t pfn)
{
	uint32_t z;

	for (z = 0; z < p->nr_zones; z++)
		if (pfn >= p->zones[z].start && pfn < p->zones[z].end)
			return z;
	return PM_MAX_ZONES;
}

static inline uint32_t pm_rc_align(uint32_t pfn, unsigned int order)
{
	return pfn & ~((1u << order) - 1);
}

/// A range that isolate_freepages can have scanned: it never leaves a pageblock.
static inline bool pm_rc_is_scan(const struct pm_plan *p, uint32_t event)
{
	uint32_t start = p->ev->pfn[event], end = p->ev->arg0[event];

	return start <= end && end <= p->n_frames && end - start <= PM_PAGEBLOCK_NR_PAGES;
}

static inline bool pm_rc_is_take(const struct pm_plan *p, uint32_t event)
{
	return p->ev->kind[event] == PM_EV_ZONE_LOCKED || p->ev->kind[event] == PM_EV_EXTFRAG;
}

#endif
