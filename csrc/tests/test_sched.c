/// The schedule search itself: a failure here means that a race of the core could go unseen, or that a failing schedule cannot be repeated.
#include "tests/check.h"

#ifndef PM_TEST_FLAVOUR

/// Without yield points there is nothing to schedule.
int main(void)
{
	return EXIT_SUCCESS;
}

#else

#include <signal.h>
#include <string.h>

#include "base/lock.h"
#include "base/planted.h"
#include "base/wait.h"
#include "sched/explore.h"
#include "sched/sched.h"

/* ---- the scheduler, without a world ---- */

struct small {
	struct pm_sched sched;
	struct pm_lock a, b;
	uint32_t counter;
	bool crossed; ///< take the locks in opposite order
	bool locked;  ///< count under a lock
	bool crash;
	void (*play)(struct small *s, uint32_t task); ///< in place of all that
};

static void count_up(struct small *s)
{
	uint32_t seen;

	pm_yield(PM_AT_TOUCH, &s->counter);
	seen = s->counter;
	pm_yield(PM_AT_TOUCH, &s->counter);
	s->counter = seen + 1;
}

static void small_task(void *context, uint32_t task) PM_NO_TSA
{
	struct small *s = context;
	struct pm_lock *first = s->crossed && task ? &s->b : &s->a, *second = s->crossed && task ? &s->a : &s->b;

	if (s->play) {
		s->play(s, task);
		return;
	}
	if (s->crash && task)
		(void)raise(SIGSEGV);
	if (s->crossed) {
		pm_lock(first);
		pm_lock_nested(second, PM_RANK_WAIT);
		pm_unlock_nested(second, PM_RANK_WAIT);
		pm_unlock(first);
		return;
	}
	if (s->locked)
		pm_lock(&s->a);
	count_up(s);
	if (s->locked)
		pm_unlock(&s->a);
}

static void small_run(struct small *s, uint32_t nr, const struct pm_switch *list)
{
	pm_lock_init(&s->a, PM_RANK_TABLE);
	pm_lock_init(&s->b, PM_RANK_TABLE);
	s->counter = 0;
	s->sched.list = list;
	s->sched.nr_list = nr;
	pm_sched_enter(&s->sched);
	pm_sched_run(&s->sched, 2);
	pm_sched_leave(&s->sched);
}

static struct small *small_make(void)
{
	struct small *s = calloc(1, sizeof(*s));

	REQUIRE(s && pm_sched_init(&s->sched));
	s->sched.run = small_task;
	s->sched.context = s;
	return s;
}

static void small_free(struct small *s)
{
	pm_sched_deinit(&s->sched);
	free(s);
}

/// A task is put off between its read and its write: the update of the other is lost, and that only.
static void a_preemption_goes_where_the_schedule_says(void)
{
	struct small *s = small_make();
	struct pm_switch between = { 2, 1, 0 };

	small_run(s, 0, NULL);
	CHECK_EQ(s->counter, 2);
	small_run(s, 1, &between);
	CHECK_EQ(s->counter, 1);
	s->locked = true;
	small_run(s, 1, &between);
	CHECK_EQ(s->counter, 2);
	CHECK_EQ(s->sched.failure, PM_FAIL_NONE);
	small_free(s);
}

static void two_locks_in_opposite_order_are_a_deadlock_that_names_both(void)
{
	struct small *s = small_make();
	struct pm_switch between = { 2, 1, 0 };

	s->crossed = true;
	small_run(s, 0, NULL);
	CHECK_EQ(s->sched.failure, PM_FAIL_NONE);
	small_run(s, 1, &between);
	CHECK_EQ(s->sched.failure, PM_FAIL_DEADLOCK);
	CHECK(strstr(s->sched.message, "task 0 waits for a lock of kind table, which task 1 holds") != NULL);
	CHECK(strstr(s->sched.message, "task 1 waits for a lock of kind table, which task 0 holds") != NULL);
	small_free(s);
}

static void a_crash_ends_the_run_and_nothing_else(void)
{
	struct small *s = small_make();

	s->crash = true;
	small_run(s, 0, NULL);
	CHECK_EQ(s->sched.failure, PM_FAIL_CRASH);
	s->crash = false;
	small_run(s, 0, NULL);
	CHECK_EQ(s->sched.failure, PM_FAIL_NONE);
	small_free(s);
}

/// The first task looks again and again whether the second has counted.
static void look_again(struct small *s, uint32_t task)
{
	if (task) {
		pm_yield(PM_AT_TOUCH, &s->counter);
		s->counter++;
	}
	while (!s->counter)
		pm_yield(PM_AT_PAUSE, &s->counter);
}

/// Who waits by looking again neither keeps the others from what he waits for, nor has to be preempted for it.
static void a_pause_lets_the_others_go_on(void)
{
	struct small *s = small_make();

	s->play = look_again;
	small_run(s, 0, NULL);
	CHECK_EQ(s->sched.failure, PM_FAIL_NONE);
	CHECK_EQ(s->sched.nr_taken, 0);
	CHECK(s->sched.steps < 10);
	small_free(s);
}

/// The first task moves a page and waits for a lock; the second holds that, and sleeps until the page is mapped again.
static void wait_for_each_other(struct small *s, uint32_t task) PM_NO_TSA
{
	uint64_t key = pm_wait_key(&s->b);

	if (task) {
		pm_lock(&s->a);
		pm_block(PM_AT_SLEEP, &s->counter, key);
		pm_unlock(&s->a);
	} else {
		pm_note_held(key, PM_RANK_MOVING, true);
		pm_yield(PM_AT_PAUSE, &s->b);
		pm_lock(&s->a);
	}
}

static void the_watchdog_knows_who_moves_what_is_waited_for(void)
{
	struct small *s = small_make();

	s->play = wait_for_each_other;
	small_run(s, 0, NULL);
	CHECK_EQ(s->sched.failure, PM_FAIL_DEADLOCK);
	CHECK(strstr(s->sched.message, "task 0 waits for a lock of kind table, which task 1 holds") != NULL);
	CHECK(strstr(s->sched.message, "task 1 sleeps until a page that moves is mapped again, which task 0 is to do") != NULL);
	small_free(s);
}

static void wait_for_time(struct small *s, uint32_t task)
{
	(void)task;
	pm_block(PM_AT_SLEEP, &s->counter, pm_wait_key(&s->a));
}

/// The end of a transfer finds something wrong.
static bool fail_in_time(void *context)
{
	struct small *s = context;

	pm_sched_fail(&s->sched, PM_FAIL_ASSERTION, "as time went on");
	return false;
}

static void a_failure_while_everybody_waits_for_time_ends_the_run(void)
{
	struct small *s = small_make();

	s->play = wait_for_time;
	s->sched.idle = fail_in_time;
	small_run(s, 0, NULL);
	CHECK_EQ(s->sched.failure, PM_FAIL_ASSERTION);
	CHECK(strcmp(s->sched.message, "as time went on") == 0);
	s->sched.idle = NULL;
	s->play = look_again;
	small_run(s, 0, NULL);
	CHECK_EQ(s->sched.failure, PM_FAIL_NONE);
	small_free(s);
}

/* ---- the world ---- */

static struct pm_explorer *make(uint32_t bug)
{
	struct pm_explorer *explorer = NULL;

	REQUIRE(pm_explorer_create(&explorer) == PM_OK);
	REQUIRE(pm_explorer_plant(explorer, bug) == PM_OK);
	return explorer;
}

/// Two tasks after a write to A0: one does `first`, the other `second` to A0.
static struct pm_program two(uint8_t first, uint8_t second)
{
	return (struct pm_program){ .nr = 3,
				    .operations = { { PM_SETUP, PM_OP_WRITE, 0, 0, 0 }, { 0, first, 0, 0, 0 }, { 1, second, 0, 0, 0 } },
				    .fs = PM_FS_COMMON,
				    .swap = 1 };
}

static void no_schedule_of_sound_code_fails(void)
{
	static const uint8_t kinds[] = { PM_OP_READ, PM_OP_WRITE, PM_OP_FORK, PM_OP_EXIT, PM_OP_UNMAP, PM_OP_POKE, PM_OP_PAGE_OUT };
	struct pm_explorer *explorer = make(0);
	struct pm_explored found;
	unsigned int i;

	for (i = 0; i < sizeof(kinds); i++) {
		struct pm_program program = two(PM_OP_WRITE, kinds[i]);

		REQUIRE(pm_explorer_load(explorer, &program, &found) == PM_OK);
		pm_explore_all(explorer, 1, 2000, &found);
		if (!CHECK_EQ(found.failure, PM_FAIL_NONE))
			fprintf(stderr, "  %s: %s\n", pm_operation_name(kinds[i]), found.message);
		CHECK(found.schedules > 2);
	}
	pm_explorer_destroy(explorer);
}

/// The checks of a migration's contents and counts mean something only if frames do move.
static void pages_move_among_others_by_every_protocol(void)
{
	static const uint8_t kinds[] = { PM_OP_READ, PM_OP_WRITE, PM_OP_UNMAP, PM_OP_PAGE_OUT };
	struct pm_explorer *explorer = make(0);
	struct pm_explored found;
	uint8_t protocol;
	unsigned int i;

	for (protocol = 0; protocol < PM_NR_PROTOCOLS; protocol++)
		for (i = 0; i < sizeof(kinds); i++) {
			struct pm_program program = two(PM_OP_MIGRATE, kinds[i]);

			program.operations[1].value = (uint8_t)(protocol + PM_MIGRATE_SYNC * PM_VALUE_MODE);
			REQUIRE(pm_explorer_load(explorer, &program, &found) == PM_OK);
			pm_explore_all(explorer, 1, 1000, &found);
			if (!CHECK_EQ(found.failure, PM_FAIL_NONE))
				fprintf(stderr, "  %s, %s: %s\n", pm_migrate_protocol_name(protocol), pm_operation_name(kinds[i]), found.message);
			CHECK(found.moved[protocol] * 10 >= found.attempted[protocol] && found.moved[protocol] != 0);
		}
	pm_explorer_destroy(explorer);
}

/// munmap without a flush: a reader is still inside when the frame goes.
static void a_planted_bug_is_found_repeated_and_told(void)
{
	struct pm_explorer *explorer = make(PM_BUG_UNMAP_NO_FLUSH);
	struct pm_program program = two(PM_OP_READ, PM_OP_UNMAP);
	struct pm_explored found, again;

	REQUIRE(pm_explorer_load(explorer, &program, &found) == PM_OK);
	pm_explore_all(explorer, 2, 5000, &found);
	CHECK(found.failure != PM_FAIL_NONE);
	pm_explore_shrink(explorer, &found);
	CHECK(found.nr == 1);
	pm_explore_replay(explorer, found.nr, found.schedule, &again);
	CHECK_EQ(again.failure, found.failure);
	CHECK(strcmp(again.message, found.message) == 0);
	CHECK(strstr(pm_explorer_story(explorer), "unmap A0") != NULL);
	CHECK(strstr(pm_explorer_story(explorer), "stops at step") != NULL);
	pm_explorer_destroy(explorer);
}

static void drawn_schedules_find_it_too_and_one_seed_gives_one_result(void)
{
	struct pm_explorer *explorer = make(PM_BUG_UNMAP_NO_FLUSH);
	struct pm_program program = two(PM_OP_READ, PM_OP_UNMAP);
	struct pm_explored first, second;

	REQUIRE(pm_explorer_load(explorer, &program, &first) == PM_OK);
	pm_explore_random(explorer, 1, 0, 3000, &first);
	pm_explore_random(explorer, 1, 0, 3000, &second);
	CHECK(first.failure != PM_FAIL_NONE);
	CHECK_EQ(first.schedules, second.schedules);
	CHECK(first.nr == second.nr && memcmp(first.schedule, second.schedule, first.nr * sizeof(first.schedule[0])) == 0);
	pm_explore_pct(explorer, 1, 3, 5000, &first);
	CHECK(first.failure != PM_FAIL_NONE);
	pm_explorer_destroy(explorer);
}

static void what_is_no_program_is_refused(void)
{
	struct pm_explorer *explorer = make(0);
	struct pm_program program = two(PM_OP_READ, PM_NR_OPERATIONS);
	struct pm_explored found;

	CHECK_EQ(pm_explorer_load(explorer, &program, &found), PM_ERR_INVAL);
	program = two(PM_OP_READ, PM_OP_READ);
	program.fs = PM_NR_FS;
	CHECK_EQ(pm_explorer_load(explorer, &program, &found), PM_ERR_INVAL);
	program = two(PM_OP_MIGRATE, PM_OP_READ);
	program.operations[1].value = PM_NR_PROTOCOLS;
	CHECK_EQ(pm_explorer_load(explorer, &program, &found), PM_ERR_INVAL);
	program = (struct pm_program){ .nr = 0 };
	CHECK_EQ(pm_explorer_load(explorer, &program, &found), PM_ERR_INVAL);
	CHECK_EQ(pm_explorer_plant(explorer, PM_NR_PLANTED), PM_ERR_RANGE);
	pm_explorer_destroy(explorer);
}

/// Every planted bug has a name and says what it breaks and which race it belongs to.
static void the_table_of_planted_bugs_is_whole(void)
{
	uint32_t bug;

	for (bug = 1; bug < PM_NR_PLANTED; bug++)
		CHECK(pm_planted_name(bug) && pm_planted_breaks(bug) && pm_planted_race(bug));
	CHECK(pm_planted_name(PM_NR_PLANTED) == NULL);
}

int main(void)
{
	RUN(a_preemption_goes_where_the_schedule_says);
	RUN(two_locks_in_opposite_order_are_a_deadlock_that_names_both);
	RUN(a_crash_ends_the_run_and_nothing_else);
	RUN(a_pause_lets_the_others_go_on);
	RUN(the_watchdog_knows_who_moves_what_is_waited_for);
	RUN(a_failure_while_everybody_waits_for_time_ends_the_run);
	RUN(no_schedule_of_sound_code_fails);
	RUN(pages_move_among_others_by_every_protocol);
	RUN(a_planted_bug_is_found_repeated_and_told);
	RUN(drawn_schedules_find_it_too_and_one_seed_gives_one_result);
	RUN(what_is_no_program_is_refused);
	RUN(the_table_of_planted_bugs_is_whole);
	return check_result();
}

#endif
