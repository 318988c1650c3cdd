/// @file scene.h
/// A simulation on a small machine, and hand-made events for it: what the tests of the simulation share.
#ifndef PM_TESTS_SCENE_H
#define PM_TESTS_SCENE_H

#include <stddef.h>

#include "tests/rig.h"

enum { MAX_EVENTS = 64, MAX_IDS = 64, NR_FRAMES = 8192, ID_NONE = -1 };

/// Events in columns, built one by one; an event's time is its number in microseconds.
struct list {
	struct pm_events ev;
	uint64_t time_ns[MAX_EVENTS];
	uint32_t tid[MAX_EVENTS], pfn[MAX_EVENTS], gfp[MAX_EVENTS], allocation[MAX_EVENTS], arg0[MAX_EVENTS], arg1[MAX_EVENTS], arg2[MAX_EVENTS];
	uint16_t cpu[MAX_EVENTS];
	uint8_t kind[MAX_EVENTS], resolution[MAX_EVENTS];
	int8_t order[MAX_EVENTS], migratetype[MAX_EVENTS];
};

struct scene {
	struct pm_machine *m;
	struct pm_simulation *sim;
	struct list l;
	struct pm_simulation_options options;
	uint64_t nr_start; ///< frames free or in per-CPU lists at the start
};

static inline uint64_t frames_at_hand(struct pm_machine *m)
{
	struct pm_zone_info zone;

	REQUIRE(pm_zone_info(m, 0, &zone) == PM_OK);
	return zone.nr_free + zone.nr_pcp;
}

/// A simulation on a small machine with all but one of its mechanisms: `without` is the offset of an option; SIZE_MAX: none is left out.
static inline void open_scene_without(struct scene *s, struct pm_settings settings, size_t without)
{
	struct list *l = &s->l;

	memset(s, 0, sizeof(*s));
	l->ev = (struct pm_events){ 0, l->time_ns, l->tid, l->cpu, l->kind, l->order, l->migratetype, l->pfn, l->gfp, l->allocation, l->arg0, l->arg1, l->arg2, l->resolution };
	s->m = rig_one_zone(NR_FRAMES, 2, settings);
	s->nr_start = frames_at_hand(s->m);
	pm_simulation_options_default(&s->options);
	if (without != SIZE_MAX)
		memset((char *)&s->options + without, 0, sizeof(uint32_t));
	REQUIRE(pm_simulation_create(s->m, MAX_IDS, &s->options, &s->sim) == PM_OK);
}

static inline void open_scene(struct scene *s, struct pm_settings settings)
{
	open_scene_without(s, settings, SIZE_MAX);
}

static inline size_t add(struct scene *s, uint8_t kind, uint32_t pfn, int order, int id)
{
	struct list *l = &s->l;
	size_t i = l->ev.n++;

	REQUIRE(i < MAX_EVENTS);
	l->time_ns[i] = 1000 * (i + 1);
	l->tid[i] = 7;
	l->kind[i] = kind;
	l->pfn[i] = pfn;
	l->order[i] = (int8_t)order;
	l->migratetype[i] = PM_MT_MOVABLE;
	l->gfp[i] = RIG_MOVABLE;
	l->allocation[i] = id == ID_NONE ? PM_NO_PFN32 : (uint32_t)id;
	return i;
}

static inline void play(struct scene *s, size_t from)
{
	CHECK_EQ(pm_simulation_run(s->sim, &s->l.ev, from, s->l.ev.n), PM_OK);
}

static inline struct pm_simulation_stats stats(const struct scene *s)
{
	struct pm_simulation_stats found;

	pm_simulation_stats(s->sim, &found);
	return found;
}

/// `nr_held`: frames that the played events leave allocated.
static inline void close_scene(struct scene *s, uint64_t nr_held)
{
	CHECK_EQ(frames_at_hand(s->m) + nr_held, s->nr_start);
	pm_simulation_destroy(s->sim);
	rig_destroy(s->m);
}

/// A machine whose free frames are every other one: nothing of order 1 is to be had.
static inline void fragment(struct scene *s)
{
	uint64_t pfn;

	rig_fill(s->m, NR_FRAMES, RIG_MOVABLE);
	for (pfn = 0; pfn < NR_FRAMES; pfn += 2)
		REQUIRE(pm_free(s->m, 0, pfn, 0) == PM_OK);
	s->nr_start = frames_at_hand(s->m);
}

static inline struct pm_settings with_lists(void)
{
	struct pm_settings settings = rig_bare();

	settings.pcp = 1;
	settings.pcp_batch = 8;
	settings.pcp_high_min = 16;
	settings.pcp_high_max = 1024;
	return settings;
}

#endif
