/// The reconstruction and the order of the free lists: what it tells of the start, and of blocks that went without a word.
#include "phys/machine.h"
#include "tests/story.h"

/// Of two blocks of one list, the one that a request reaches first stood first. What came back since is another matter, and counted apart.
static void the_start_is_in_the_order_of_its_use(void)
{
	struct pm_policy_steps steps;
	struct story *s = begin();

	set_free(s, 10, 1);
	set_free(s, 20, 1);
	(void)add(s, PM_EV_ZONE_LOCKED, 20, 0);
	(void)add(s, PM_EV_ZONE_LOCKED, 10, 0);
	(void)add(s, PM_EV_PCPU_DRAIN, 10, 0);
	(void)add(s, PM_EV_ZONE_LOCKED, 10, 0);
	plan(s);
	play(s, s->ev.n);
	pm_reconstruct_steps(s->r, &steps);
	CHECK_EQ(steps.compared, 3);
	CHECK_EQ(steps.same, 3);
	CHECK_EQ(steps.given_compared, 1);
	CHECK_EQ(steps.given_same, 1);
	end(s, true);
}

/// Three blocks stand in a list, 10, 20, 30. The fast search finds 20, and turns the list: what stood before it comes after the rest.
static void the_fast_search_turns_its_list(void)
{
	struct pm_policy_steps steps;
	struct story *s = begin();

	(void)add(s, PM_EV_PCPU_DRAIN, 30, 0);
	(void)add(s, PM_EV_PCPU_DRAIN, 20, 0);
	(void)add(s, PM_EV_PCPU_DRAIN, 10, 0);
	(void)add(s, PM_EV_COMPACT_BEGIN, 0, -1);
	(void)add_range(s, PM_EV_FAST_ISOLATE_FREE, 0, 1024, 1, 1);
	(void)add(s, PM_EV_REMOVE_MIGRATION_PTE, 20, 0);
	(void)add(s, PM_EV_COMPACT_END, 0, -1);
	s->tid[add(s, PM_EV_ZONE_LOCKED, 30, 0)] = OTHER;
	s->tid[add(s, PM_EV_ZONE_LOCKED, 10, 0)] = OTHER;
	plan(s);
	play(s, s->ev.n);
	CHECK_EQ(s->counts[PM_RC_FAST_TAKEN], 1);
	pm_reconstruct_steps(s->r, &steps);
	CHECK_EQ(steps.compared, 2);
	CHECK_EQ(steps.same, 2);
	end(s, true);
}

/// The search goes from the end: of the blocks of the start, the one that it takes first stood last, before the one that it takes next.
static void what_the_fast_search_takes_first_stood_last(void)
{
	struct story *s = begin();
	const struct pm_chain *chain;

	set_free(s, 10, 1);
	set_free(s, 20, 1);
	set_free(s, 30, 1);
	(void)add(s, PM_EV_COMPACT_BEGIN, 0, -1);
	(void)add_range(s, PM_EV_FAST_ISOLATE_FREE, 0, 1024, 1, 1);
	(void)add(s, PM_EV_REMOVE_MIGRATION_PTE, 10, 0);
	(void)add_range(s, PM_EV_FAST_ISOLATE_FREE, 0, 1024, 1, 1);
	(void)add(s, PM_EV_REMOVE_MIGRATION_PTE, 20, 0);
	(void)add(s, PM_EV_COMPACT_END, 0, -1);
	plan(s);
	chain = &s->m->zone[0].area[0].list[PM_MT_MOVABLE].chain;
	CHECK_EQ(chain->first, 30);
	CHECK_EQ(chain->last, 10);
	play(s, s->ev.n);
	CHECK_EQ(s->counts[PM_RC_FAST_TAKEN], 2);
	CHECK(is_free(s, 30));
	end(s, true);
}

/// A request splits a pair, although a single frame is on its list: that frame has gone before, and the plan is told.
static void what_a_request_passed_over_is_gone(void)
{
	struct story *s = begin();

	set_free(s, 10, 1);
	set_free(s, 100, 2);
	set_free(s, 544, 8);
	(void)add_range(s, PM_EV_FAST_ISOLATE_FREE, 0, 3072, 8, 8);
	(void)add(s, PM_EV_ZONE_LOCKED, 100, 0);
	plan(s);
	CHECK_EQ(s->counts[PM_RC_WORDS], 1);
	/* Nothing that was recorded can have taken it: it stays. */
	end(s, true);
}

/// The same, but the request takes the single frame first: nothing is amiss.
static void what_a_request_takes_in_turn_is_not(void)
{
	struct story *s = begin();

	set_free(s, 10, 1);
	set_free(s, 100, 2);
	set_free(s, 544, 8);
	(void)add_range(s, PM_EV_FAST_ISOLATE_FREE, 0, 3072, 8, 8);
	(void)add(s, PM_EV_ZONE_LOCKED, 10, 0);
	(void)add(s, PM_EV_ZONE_LOCKED, 100, 0);
	plan(s);
	CHECK_EQ(s->counts[PM_RC_WORDS], 0);
	end(s, true);
}

/// Frees a frame, then another that is drained: the first is not on the list any more. Returns how many frees are taken to have gone past the lists.
static uint64_t direct_frees(int64_t drain_after_ns, uint16_t drain_cpu)
{
	struct story *s = begin();
	uint64_t found;
	size_t i;

	(void)add(s, PM_EV_FREE, 10, 0);
	i = add(s, PM_EV_PCPU_DRAIN, 2048, 0);
	s->cpu[i] = drain_cpu;
	s->tid[i] = OTHER;
	s->time_ns[i] = s->time_ns[i - 1] + (uint64_t)drain_after_ns;
	for (i = 0; i < 2; i++) {
		size_t later = add(s, i ? PM_EV_PCPU_DRAIN : PM_EV_FREE, 12, 0);

		s->time_ns[later] = s->time_ns[later - 1] + 1000000;
	}
	plan(s);
	found = s->counts[PM_RC_FREE_DIRECT];
	end(s, true);
	return found;
}

static void while_another_cpu_drains_frees_go_past_the_lists(void)
{
	CHECK_EQ(direct_frees(10000, 1), 1);
	/* Long after the free; or on the CPU itself, which then holds the lock only for itself. */
	CHECK_EQ(direct_frees(1000000, 1), 0);
	CHECK_EQ(direct_frees(10000, 0), 0);
}

int main(void)
{
	RUN(the_start_is_in_the_order_of_its_use);
	RUN(the_fast_search_turns_its_list);
	RUN(what_the_fast_search_takes_first_stood_last);
	RUN(what_a_request_passed_over_is_gone);
	RUN(what_a_request_takes_in_turn_is_not);
	RUN(while_another_cpu_drains_frees_go_past_the_lists);
	return check_result();
}
