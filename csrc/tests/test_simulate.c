/// The simulation: hand-made events on small machines. Every test ends with a valid machine that has all its frames.
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
	uint64_t nr_start; ///< frames free or in per-CPU lists at the start
};

static uint64_t frames_at_hand(struct pm_machine *m)
{
	struct pm_zone_info zone;

	REQUIRE(pm_zone_info(m, 0, &zone) == PM_OK);
	return zone.nr_free + zone.nr_pcp;
}

static void open_scene(struct scene *s, struct pm_settings settings)
{
	struct pm_simulation_options options;
	struct list *l = &s->l;

	memset(s, 0, sizeof(*s));
	l->ev = (struct pm_events){ 0, l->time_ns, l->tid, l->cpu, l->kind, l->order, l->migratetype, l->pfn, l->gfp, l->allocation, l->arg0, l->arg1, l->arg2, l->resolution };
	s->m = rig_one_zone(NR_FRAMES, 2, settings);
	s->nr_start = frames_at_hand(s->m);
	pm_simulation_options_default(&options);
	REQUIRE(pm_simulation_create(s->m, MAX_IDS, &options, &s->sim) == PM_OK);
}

static size_t add(struct scene *s, uint8_t kind, uint32_t pfn, int order, int id)
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

static void play(struct scene *s, size_t from)
{
	CHECK_EQ(pm_simulation_run(s->sim, &s->l.ev, from, s->l.ev.n), PM_OK);
}

static struct pm_simulation_stats stats(const struct scene *s)
{
	struct pm_simulation_stats found;

	pm_simulation_stats(s->sim, &found);
	return found;
}

/// `nr_held`: frames that the played events leave allocated.
static void close_scene(struct scene *s, uint64_t nr_held)
{
	CHECK_EQ(frames_at_hand(s->m) + nr_held, s->nr_start);
	pm_simulation_destroy(s->sim);
	rig_destroy(s->m);
}

static void a_request_is_freed_wherever_it_lies(void)
{
	struct scene s;

	open_scene(&s, rig_bare());
	add(&s, PM_EV_ALLOC, 5000, 3, 1); /* nobody's frame 5000 with us */
	add(&s, PM_EV_ALLOC, 6000, 0, 2);
	play(&s, 0);
	CHECK_EQ(s.nr_start - frames_at_hand(s.m), 9);
	add(&s, PM_EV_FREE, 5000, 3, 1);
	add(&s, PM_EV_FREE_BATCHED, 5000, 0, ID_NONE);
	play(&s, 2);
	CHECK_EQ(stats(&s).allocated, 2);
	CHECK_EQ(stats(&s).freed, 1);
	CHECK_EQ(stats(&s).ignored, 1);
	close_scene(&s, 1);
}

static void a_block_is_freed_in_pieces(void)
{
	struct scene s;

	open_scene(&s, rig_bare());
	add(&s, PM_EV_ALLOC, 512, 4, 1);
	add(&s, PM_EV_FREE, 512 + 8, 2, 1);
	add(&s, PM_EV_FREE, 512 + 3, 0, 1);
	play(&s, 0);
	CHECK_EQ(stats(&s).freed, 2);
	CHECK(stats(&s).split > 0);
	CHECK_EQ(s.nr_start - frames_at_hand(s.m), 11);
	/* The same piece again is refused, and nothing is freed. */
	add(&s, PM_EV_FREE, 512 + 3, 0, 1);
	play(&s, 3);
	CHECK_EQ(stats(&s).refused, 1);
	close_scene(&s, 11);
}

static void what_cannot_be_explained_is_counted(void)
{
	struct scene s;
	size_t i;

	open_scene(&s, rig_bare());
	add(&s, PM_EV_ALLOC, PM_NO_PFN32, 9, ID_NONE);
	i = add(&s, PM_EV_FREE, 77, 0, ID_NONE);
	s.l.resolution[i] = PM_RES_FREE_OF_FREE;
	add(&s, PM_EV_FREE, 78, 0, 5); /* never allocated */
	i = add(&s, PM_EV_FREE, 79, 0, ID_NONE);
	s.l.resolution[i] = PM_RES_COMPACTION_RETURN;
	play(&s, 0);
	CHECK_EQ(stats(&s).kernel_failed, 1);
	CHECK_EQ(stats(&s).unresolved, 2);
	CHECK_EQ(stats(&s).ignored, 1);
	close_scene(&s, 0);
}

static void hostile_events_are_refused(void)
{
	struct scene s;
	size_t i;

	open_scene(&s, rig_bare());
	i = add(&s, PM_EV_ALLOC, 1, 0, 1);
	s.l.cpu[i] = 2;
	CHECK_EQ(pm_simulation_run(s.sim, &s.l.ev, 0, 1), PM_ERR_INVAL);
	s.l.cpu[i] = 0;
	s.l.allocation[i] = MAX_IDS;
	CHECK_EQ(pm_simulation_run(s.sim, &s.l.ev, 0, 1), PM_ERR_INVAL);
	s.l.allocation[i] = 1;
	s.l.order[i] = 11;
	CHECK_EQ(pm_simulation_run(s.sim, &s.l.ev, 0, 1), PM_ERR_INVAL);
	CHECK_EQ(pm_simulation_learn(s.sim, &s.l.ev, 0, 1), PM_ERR_INVAL);
	CHECK_EQ(pm_simulation_run(s.sim, &s.l.ev, 0, 2), PM_ERR_INVAL);
	CHECK_EQ(pm_simulation_run(s.sim, &s.l.ev, 1, 0), PM_ERR_INVAL);
	close_scene(&s, 0);
}

/// A machine whose free frames are every other one: nothing of order 1 is to be had.
static void fragment(struct scene *s)
{
	uint64_t pfn;

	rig_fill(s->m, NR_FRAMES, RIG_MOVABLE);
	for (pfn = 0; pfn < NR_FRAMES; pfn += 2)
		REQUIRE(pm_free(s->m, 0, pfn, 0) == PM_OK);
	s->nr_start = frames_at_hand(s->m);
}

static void a_request_without_a_block_gets_single_frames(void)
{
	struct scene s;

	open_scene(&s, rig_bare());
	fragment(&s);
	add(&s, PM_EV_ALLOC, 1024, 4, 1);
	add(&s, PM_EV_ALLOC, 2048, 3, 2);
	play(&s, 0);
	CHECK_EQ(stats(&s).scattered, 2);
	CHECK_EQ(stats(&s).failed, 0);
	CHECK_EQ(s.nr_start - frames_at_hand(s.m), 24);
	add(&s, PM_EV_FREE, 1024, 4, 1);
	add(&s, PM_EV_FREE, 2048 + 4, 2, 2);
	add(&s, PM_EV_FREE, 2048 + 4, 2, 2); /* twice */
	play(&s, 2);
	CHECK_EQ(stats(&s).freed, 2);
	CHECK_EQ(stats(&s).refused, 1);
	close_scene(&s, 4);
}

static void a_request_that_nothing_can_serve_fails_whole(void)
{
	struct scene s;

	open_scene(&s, rig_bare());
	rig_fill(s.m, NR_FRAMES - 3, RIG_MOVABLE);
	s.nr_start = frames_at_hand(s.m);
	add(&s, PM_EV_ALLOC, 1024, 4, 1);
	add(&s, PM_EV_FREE, 1024, 4, 1);
	play(&s, 0);
	CHECK_EQ(stats(&s).failed, 1);
	CHECK_EQ(stats(&s).unresolved, 1);
	close_scene(&s, 0);
}

static void compaction_moves_what_stands_there_and_its_free_follows(void)
{
	struct pm_frame_info info;
	struct scene s;
	uint64_t source;
	size_t i;

	open_scene(&s, rig_bare());
	add(&s, PM_EV_ALLOC, 0, 0, 1);
	play(&s, 0);
	for (source = 0; source < NR_FRAMES; source++) {
		REQUIRE(pm_frame_info(s.m, source, &info) == PM_OK);
		if (info.state == PM_STATE_USED)
			break;
	}
	/* The scanner takes from pageblocks that are in use already. */
	REQUIRE(pm_take(s.m, NR_FRAMES - 512, 0, PM_MT_MOVABLE) == PM_OK);
	i = add(&s, PM_EV_COMPACT_BEGIN, 0, -1, ID_NONE);
	s.l.arg0[i] = NR_FRAMES - 512;
	i = add(&s, PM_EV_FREE, (uint32_t)source, 0, ID_NONE);
	s.l.resolution[i] = PM_RES_MIGRATION_SOURCE;
	play(&s, 1);
	CHECK_EQ(stats(&s).moved, 1);
	REQUIRE(pm_frame_info(s.m, source, &info) == PM_OK);
	CHECK_EQ(info.state, PM_STATE_FREE);
	CHECK_EQ(s.nr_start - frames_at_hand(s.m), 2);
	/* A move of a frame that nobody uses here cannot be made. */
	i = add(&s, PM_EV_FREE, (uint32_t)source, 0, ID_NONE);
	s.l.resolution[i] = PM_RES_MIGRATION_SOURCE;
	add(&s, PM_EV_FREE, 4242, 0, 1);
	play(&s, 3);
	CHECK_EQ(stats(&s).not_moved, 1);
	CHECK_EQ(stats(&s).freed, 1);
	close_scene(&s, 1);
}

static struct pm_settings with_lists(void)
{
	struct pm_settings settings = rig_bare();

	settings.pcp = 1;
	settings.pcp_batch = 8;
	settings.pcp_high_min = 16;
	settings.pcp_high_max = 1024;
	return settings;
}

static void ticks_decay_lists_and_begin_and_end_reclaim(void)
{
	const uint64_t times[] = { 1500, 1600, 1700 };
	const uint8_t kinds[] = { PM_TICK_RECLAIM_BEGIN, PM_TICK_DECAY, PM_TICK_RECLAIM_END };
	const uint16_t cpus[] = { 0, 1, 0 };
	const uint16_t no_cpu[] = { 0, 2, 0 };
	const uint64_t backwards[] = { 3, 2, 1 };
	struct pm_pcp_info before, after;
	struct pm_zone_info zone;
	struct scene s;

	open_scene(&s, with_lists());
	REQUIRE(pm_load_pcp(s.m, 1, 0, 512, 0, 0) == PM_OK);
	REQUIRE(pm_pcp_info(s.m, 1, 0, &before) == PM_OK);
	CHECK_EQ(pm_simulation_set_ticks(s.sim, 3, times, kinds, no_cpu), PM_ERR_INVAL);
	CHECK_EQ(pm_simulation_set_ticks(s.sim, 3, backwards, kinds, cpus), PM_ERR_INVAL);
	CHECK_EQ(pm_simulation_set_ticks(s.sim, 3, times, kinds, cpus), PM_OK);
	add(&s, PM_EV_ALLOC, 1, 0, 1);
	play(&s, 0);
	CHECK_EQ(stats(&s).decays, 0);
	add(&s, PM_EV_FREE, 1, 0, 1);
	play(&s, 1);
	CHECK_EQ(stats(&s).decays, 1);
	REQUIRE(pm_pcp_info(s.m, 1, 0, &after) == PM_OK);
	CHECK_EQ(after.high, before.high - (before.high >> 3));
	REQUIRE(pm_zone_info(s.m, 0, &zone) == PM_OK);
	CHECK_EQ(zone.reclaim_active, 0);
	close_scene(&s, 0);
}

static void lists_learn_from_what_came_before(void)
{
	struct pm_pcp_info info;
	struct scene s;
	size_t i;

	open_scene(&s, with_lists());
	for (i = 0; i < 3; i++)
		add(&s, PM_EV_FREE, 100, 0, ID_NONE);
	CHECK_EQ(pm_simulation_learn(s.sim, &s.l.ev, 0, 3), PM_OK);
	REQUIRE(pm_pcp_info(s.m, 0, 0, &info) == PM_OK);
	CHECK_EQ(info.free_count, 3);
	CHECK_EQ(info.count, 0);
	/* One refill is many events of one thread. */
	for (i = 0; i < 4; i++)
		s.l.arg0[add(&s, PM_EV_ZONE_LOCKED, 100, 0, ID_NONE)] = 1;
	add(&s, PM_EV_ALLOC, 100, 0, 1);
	CHECK_EQ(pm_simulation_learn(s.sim, &s.l.ev, 3, s.l.ev.n), PM_OK);
	REQUIRE(pm_pcp_info(s.m, 0, 0, &info) == PM_OK);
	CHECK_EQ(info.alloc_factor, 1);
	CHECK_EQ(info.free_count, 1);
	close_scene(&s, 0);
}

static void compaction_for_an_order_drains_its_cpu(void)
{
	struct pm_pcp_info info;
	struct scene s;
	size_t i;

	open_scene(&s, with_lists());
	add(&s, PM_EV_ALLOC, 1, 0, 1);
	add(&s, PM_EV_COMPACT_BEGIN, 0, -1, ID_NONE);
	add(&s, PM_EV_COMPACT_FINISHED, 0, 9, ID_NONE);
	i = add(&s, PM_EV_ISOLATE_MIGRATE, 0, -1, ID_NONE);
	s.l.arg0[i] = 512;
	play(&s, 0);
	REQUIRE(pm_pcp_info(s.m, 0, 0, &info) == PM_OK);
	CHECK(info.count > 0);
	add(&s, PM_EV_COMPACT_MIGRATEPAGES, 0, -1, ID_NONE);
	play(&s, 4);
	REQUIRE(pm_pcp_info(s.m, 0, 0, &info) == PM_OK);
	CHECK_EQ(info.count, 0);
	CHECK_EQ(stats(&s).compaction_drains, 1);
	close_scene(&s, 1);
}

static void allocations_older_than_the_start_are_placed(void)
{
	const uint32_t ids[] = { 3 }, pfns[] = { 640 }, wrong[] = { MAX_IDS };
	const uint8_t orders[] = { 2 };
	struct scene s;

	open_scene(&s, rig_bare());
	REQUIRE(pm_take(s.m, 640, 2, PM_MT_MOVABLE) == PM_OK);
	CHECK_EQ(pm_simulation_place(s.sim, 1, wrong, pfns, orders), PM_ERR_INVAL);
	CHECK_EQ(pm_simulation_place(s.sim, 1, ids, pfns, orders), PM_OK);
	add(&s, PM_EV_FREE, 640, 2, 3);
	play(&s, 0);
	CHECK_EQ(stats(&s).freed, 1);
	close_scene(&s, 0);
}

int main(void)
{
	RUN(a_request_is_freed_wherever_it_lies);
	RUN(a_block_is_freed_in_pieces);
	RUN(what_cannot_be_explained_is_counted);
	RUN(hostile_events_are_refused);
	RUN(a_request_without_a_block_gets_single_frames);
	RUN(a_request_that_nothing_can_serve_fails_whole);
	RUN(compaction_moves_what_stands_there_and_its_free_follows);
	RUN(ticks_decay_lists_and_begin_and_end_reclaim);
	RUN(lists_learn_from_what_came_before);
	RUN(compaction_for_an_order_drains_its_cpu);
	RUN(allocations_older_than_the_start_are_placed);
	return check_result();
}
