/// @file story.h
/// A reconstruction of hand-made events on a zone of 4096 frames: what its tests share.
#ifndef PM_TESTS_STORY_H
#define PM_TESTS_STORY_H

#include <string.h>

#include "check.h"
#include "pymigrate.h"

enum { MAX_EVENTS = 64, FRAMES = 4096, FREE_BIT = 1 << 10, TASK = 7, OTHER = 8 };

struct story {
	struct pm_events ev;
	uint64_t time_ns[MAX_EVENTS];
	uint32_t tid[MAX_EVENTS], pfn[MAX_EVENTS], gfp[MAX_EVENTS], arg0[MAX_EVENTS], arg1[MAX_EVENTS], arg2[MAX_EVENTS];
	uint16_t cpu[MAX_EVENTS];
	uint8_t kind[MAX_EVENTS];
	int8_t order[MAX_EVENTS], migratetype[MAX_EVENTS];
	uint32_t flags[FRAMES];
	uint32_t chunk_first_pfn[1];
	uint64_t chunk_begin_ns[1], chunk_end_ns[1];
	struct pm_resolve_input in;
	struct pm_machine *m;
	struct pm_reconstruct *r;
	uint64_t counts[PM_NR_RC_CAUSES];
};

/// Adds an event at the next microsecond. The number of the event comes back.
static inline size_t add(struct story *s, uint8_t kind, uint32_t pfn, int order)
{
	size_t i = s->ev.n++;

	REQUIRE(i < MAX_EVENTS);
	s->time_ns[i] = 1000 * (i + 1);
	s->kind[i] = kind;
	s->pfn[i] = pfn;
	s->order[i] = (int8_t)order;
	s->migratetype[i] = PM_MT_MOVABLE;
	s->tid[i] = TASK;
	return i;
}

static inline size_t add_range(struct story *s, uint8_t kind, uint32_t start, uint32_t end, uint32_t scanned, uint32_t taken)
{
	size_t i = add(s, kind, start, -1);

	s->arg0[i] = end;
	s->arg1[i] = scanned;
	s->arg2[i] = taken;
	return i;
}

/// A story begins with an event that says nothing.
static inline struct story *begin(void)
{
	static struct story s;

	memset(&s, 0, sizeof(s));
	(void)add(&s, PM_EV_KSWAPD_WAKE, PM_NO_PFN32, 0);
	return &s;
}

static inline void set_free(struct story *s, uint32_t pfn, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i++)
		s->flags[pfn + i] = FREE_BIT;
}

static inline void plan(struct story *s)
{
	struct pm_zone_layout zone = { .kind = PM_ZONE_NORMAL, .start_pfn = 0, .spanned = FRAMES };
	struct pm_layout layout = { .zones = &zone, .nr_zones = 1, .nr_cpus = 2, .start = PM_START_UNPLACED };

	pm_settings_default(&layout.settings);
	s->ev.time_ns = s->time_ns;
	s->ev.tid = s->tid;
	s->ev.cpu = s->cpu;
	s->ev.kind = s->kind;
	s->ev.order = s->order;
	s->ev.migratetype = s->migratetype;
	s->ev.pfn = s->pfn;
	s->ev.gfp = s->gfp;
	s->ev.arg0 = s->arg0;
	s->ev.arg1 = s->arg1;
	s->ev.arg2 = s->arg2;
	s->in.events = &s->ev;
	s->in.n_frames = FRAMES;
	s->in.frame_flags = s->flags;
	s->in.chunk_first_pfn = s->chunk_first_pfn;
	s->in.chunk_begin_ns = s->chunk_begin_ns;
	s->in.chunk_end_ns = s->chunk_end_ns;
	REQUIRE(pm_machine_create(&layout, &s->m) == PM_OK);
	REQUIRE(pm_reconstruct_create(s->m, &s->in, &s->r) == PM_OK);
	pm_reconstruct_counts(s->r, s->counts);
}

/// Applies the events before `to`.
static inline void play(struct story *s, size_t to)
{
	REQUIRE(pm_reconstruct_run(s->r, to) == PM_OK);
}

static inline uint64_t blocks(struct story *s, unsigned int order, unsigned int type)
{
	uint64_t counts[PM_NR_ORDERS * PM_NR_MIGRATETYPES];

	REQUIRE(pm_free_blocks(s->m, 0, counts) == PM_OK);
	return counts[order * PM_NR_MIGRATETYPES + type];
}

static inline uint64_t nr_free(struct story *s)
{
	struct pm_zone_info info;

	REQUIRE(pm_zone_info(s->m, 0, &info) == PM_OK);
	return info.nr_free;
}

static inline bool is_free(struct story *s, uint64_t pfn)
{
	struct pm_frame_info info;

	REQUIRE(pm_frame_info(s->m, pfn, &info) == PM_OK);
	return info.state == PM_STATE_FREE;
}

/// Nothing may be unexplained unless the story is about that.
static inline void end(struct story *s, bool explained)
{
	char message[256] = "";
	uint32_t i;

	play(s, s->ev.n);
	if (!CHECK(pm_machine_validate(s->m, message, sizeof(message)) == PM_OK))
		fprintf(stderr, "  %s\n", message);
	for (i = 0; explained && i < PM_RC_NR_UNEXPLAINED; i++)
		if (!CHECK_EQ(s->counts[i], 0))
			fprintf(stderr, "  %s\n", pm_reconstruct_cause_text(i));
	pm_reconstruct_destroy(s->r);
	pm_machine_destroy(s->m);
}

#endif
