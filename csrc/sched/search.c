/// The searches: which schedules are run.
#include <stdlib.h>
#include <string.h>

#include "sched/explore.h"
#include "sched/story.h"
#include "sched/world.h"

_Static_assert(sizeof(((struct pm_explored *)0)->moved) == sizeof(((struct pm_world *)0)->moved), "a place for every protocol");
_Static_assert(sizeof(struct pm_preemption) == sizeof(struct pm_switch), "a schedule goes in and out as it is");

enum { PM_EXPLORE_DEPTH = 32 };

struct pm_explorer {
	struct pm_world world; ///< first
	uint32_t planted;
	bool bad_setup;	       ///< the setup of the loaded program failed
	struct pm_explored setup; ///< how
	char *story;
};

/// One search for all schedules within a bound.
struct exhaust {
	struct pm_explorer *explorer;
	struct pm_explored *ret;
	uint64_t most;
	struct pm_switch list[PM_EXPLORE_DEPTH];
};

enum pm_status pm_explorer_create(struct pm_explorer **ret)
{
	struct pm_explorer *explorer = calloc(1, sizeof(*explorer));
	enum pm_status status;

	if (!explorer)
		return PM_ERR_NOMEM;
	status = pm_world_init(&explorer->world);
	if (status) {
		pm_explorer_destroy(explorer);
		return status;
	}
	*ret = explorer;
	return PM_OK;
}

void pm_explorer_destroy(struct pm_explorer *explorer)
{
	if (!explorer)
		return;
	pm_world_deinit(&explorer->world);
	free(explorer->story);
	free(explorer);
}

enum pm_status pm_explorer_plant(struct pm_explorer *explorer, uint32_t bug)
{
	if (bug >= PM_NR_PLANTED)
		return PM_ERR_RANGE;
	explorer->planted = bug;
	return PM_OK;
}

static void begin(struct pm_explorer *explorer, struct pm_explored *ret)
{
	memset(ret, 0, sizeof(*ret));
	explorer->world.sched.hooks.planted = explorer->planted;
	explorer->world.sched.collect = false;
	explorer->world.sched.tracing = false;
	explorer->world.sched.nr_list = 0;
	explorer->world.sched.strategy = PM_STRATEGY_LIST;
	memset(explorer->world.attempted, 0, sizeof(explorer->world.attempted));
	memset(explorer->world.moved, 0, sizeof(explorer->world.moved));
	explorer->world.compact_attempted = explorer->world.compact_moved = 0;
	pm_sched_enter(&explorer->world.sched);
}

static void end(struct pm_explorer *explorer)
{
	pm_sched_leave(&explorer->world.sched);
}

static void take_failure(struct pm_explorer *explorer, struct pm_explored *ret)
{
	const struct pm_sched *sched = &explorer->world.sched;
	uint32_t room = sizeof(ret->schedule) / sizeof(ret->schedule[0]);

	ret->failure = (uint32_t)sched->failure;
	ret->nr = sched->nr_taken < room ? sched->nr_taken : room;
	ret->lost = sched->nr_taken - ret->nr;
	memcpy(ret->schedule, sched->taken, ret->nr * sizeof(ret->schedule[0]));
	memcpy(ret->message, sched->message, sizeof(ret->message));
}

/// One schedule. False: it failed, and that is noted.
static bool run(struct pm_explorer *explorer, struct pm_explored *ret)
{
	if (explorer->bad_setup) {
		*ret = explorer->setup;
		return false;
	}
	pm_world_run(&explorer->world);
	ret->schedules++;
	ret->steps += explorer->world.sched.steps;
	memcpy(ret->attempted, explorer->world.attempted, sizeof(ret->attempted));
	memcpy(ret->moved, explorer->world.moved, sizeof(ret->moved));
	ret->compact_attempted = explorer->world.compact_attempted;
	ret->compact_moved = explorer->world.compact_moved;
	if (explorer->world.sched.failure)
		take_failure(explorer, ret);
	return ret->failure == PM_FAIL_NONE;
}

enum pm_status pm_explorer_load(struct pm_explorer *explorer, const struct pm_program *program, struct pm_explored *ret)
{
	enum pm_status status;

	memset(ret, 0, sizeof(*ret));
	explorer->world.sched.hooks.planted = explorer->planted;
	explorer->world.sched.tracing = false;
	status = pm_world_load(&explorer->world, program);
	if (status)
		return status;
	explorer->bad_setup = explorer->world.sched.failure != PM_FAIL_NONE;
	if (explorer->bad_setup)
		take_failure(explorer, ret);
	explorer->setup = *ret;
	return PM_OK;
}

/* ---- all schedules within a bound ---- */

static bool descend(struct exhaust *x, uint32_t depth, uint32_t left)
{
	struct pm_sched *sched = &x->explorer->world.sched;
	struct pm_candidate *candidates;
	uint32_t nr, i, task;
	bool ok = true;

	if (x->ret->schedules >= x->most) {
		x->ret->complete = 0;
		return false;
	}
	sched->list = x->list;
	sched->nr_list = depth;
	sched->collect = true;
	if (!run(x->explorer, x->ret))
		return false;
	nr = sched->nr_candidates;
	if (!nr || depth == PM_EXPLORE_DEPTH)
		return true;
	candidates = malloc(nr * sizeof(*candidates));
	if (!candidates) {
		x->ret->complete = 0;
		return true;
	}
	memcpy(candidates, sched->candidates, nr * sizeof(*candidates));
	for (i = 0; i < nr && ok; i++) {
		if (!candidates[i].forced && !left)
			continue;
		for (task = 0; task < PM_SCHED_TASKS && ok; task++) {
			if (!(candidates[i].ready >> task & 1) || task == candidates[i].chosen)
				continue;
			x->list[depth] = (struct pm_switch){ candidates[i].step, (uint8_t)task, candidates[i].forced };
			ok = descend(x, depth + 1, left - !candidates[i].forced);
		}
	}
	free(candidates);
	return ok;
}

void pm_explore_all(struct pm_explorer *explorer, uint32_t preemptions, uint64_t most, struct pm_explored *ret)
{
	struct exhaust x = { .explorer = explorer, .ret = ret, .most = most };
	bool again = true;
	uint32_t bound;

	begin(explorer, ret);
	/* Few preemptions first: what is found is small. Which objects tasks share is learnt on the way: again, as long as that grew. */
	for (bound = 0; bound <= preemptions && !ret->failure; bound++)
		for (again = true; again;) {
			explorer->world.sched.grew = false;
			ret->complete = 1;
			again = descend(&x, 0, bound) && explorer->world.sched.grew;
		}
	if (ret->failure)
		ret->complete = 0;
	end(explorer);
}

/* ---- drawn schedules ---- */

void pm_explore_random(struct pm_explorer *explorer, uint64_t seed, uint32_t one_in, uint64_t most, struct pm_explored *ret)
{
	static const uint32_t mixture[] = { 3, 10, 30, 100 };
	struct pm_sched *sched = &explorer->world.sched;
	uint64_t i;

	begin(explorer, ret);
	sched->strategy = PM_STRATEGY_RANDOM;
	for (i = 0; i < most; i++) {
		sched->random = seed + i * 0x2545f4914f6cdd1du;
		sched->one_in = one_in ? one_in : mixture[i % 4];
		if (!run(explorer, ret))
			break;
	}
	end(explorer);
}

void pm_explore_pct(struct pm_explorer *explorer, uint64_t seed, uint32_t depth, uint64_t most, struct pm_explored *ret)
{
	struct pm_sched *sched = &explorer->world.sched;
	uint32_t length = 400, k;
	uint64_t i;

	begin(explorer, ret);
	sched->strategy = PM_STRATEGY_PCT;
	sched->nr_change = depth > 16 ? 16 : depth ? depth - 1 : 0;
	for (i = 0; i < most; i++) {
		sched->random = seed + i * 0x2545f4914f6cdd1du;
		for (k = 0; k < PM_SCHED_TASKS; k++)
			sched->task[k].priority = 1000 + (uint32_t)(pm_sched_random(&sched->random) % 100000);
		for (k = 0; k < sched->nr_change; k++)
			sched->change[k] = (uint32_t)(pm_sched_random(&sched->random) % length);
		if (!run(explorer, ret))
			break;
		length = sched->steps ? sched->steps : 1;
	}
	end(explorer);
}

/* ---- one schedule ---- */

static void run_list(struct pm_explorer *explorer, uint32_t n, const struct pm_preemption *schedule, struct pm_explored *ret)
{
	explorer->world.sched.list = (const struct pm_switch *)(const void *)schedule;
	explorer->world.sched.nr_list = n;
	(void)run(explorer, ret);
}

void pm_explore_replay(struct pm_explorer *explorer, size_t n, const struct pm_preemption *schedule, struct pm_explored *ret)
{
	begin(explorer, ret);
	explorer->world.sched.tracing = true;
	run_list(explorer, (uint32_t)n, schedule, ret);
	explorer->world.sched.tracing = false;
	free(explorer->story);
	explorer->story = pm_story_tell(&explorer->world);
	end(explorer);
}

void pm_explore_shrink(struct pm_explorer *explorer, struct pm_explored *failing)
{
	struct pm_preemption list[64];
	struct pm_explored tried;
	bool smaller = true;
	uint32_t i;

	while (smaller && failing->nr) {
		smaller = false;
		for (i = 0; i < failing->nr; i++) {
			memcpy(list, failing->schedule, i * sizeof(list[0]));
			memcpy(list + i, failing->schedule + i + 1, (failing->nr - i - 1) * sizeof(list[0]));
			begin(explorer, &tried);
			run_list(explorer, failing->nr - 1, list, &tried);
			end(explorer);
			if (tried.failure != failing->failure)
				continue;
			tried.schedules += failing->schedules;
			tried.steps += failing->steps;
			*failing = tried;
			smaller = true;
			break;
		}
	}
}

const char *pm_explorer_story(const struct pm_explorer *explorer)
{
	return explorer->story ? explorer->story : "";
}

const char *pm_explore_failure_name(uint32_t failure)
{
	return failure < PM_NR_FAILURES ? pm_failure_name((enum pm_failure)failure) : NULL;
}
