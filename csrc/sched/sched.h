/// The scheduler: tasks are fibres in one thread, and at each yield point of the core a schedule decides who goes on. A schedule is a list of
/// switches (step, task) that differ from the usual course: the running task goes on until it blocks or ends, then the next one that can
/// run goes on. So every run, however it was found, is repeated from a short list.
#ifndef PM_SCHED_SCHED_H
#define PM_SCHED_SCHED_H

#include "base/yield.h"
#include "sched/crash.h"
#include "sched/fibre.h"

enum {
	PM_SCHED_TASKS = 4,
	PM_SCHED_HELD = 40,	  ///< locks a task can hold at once
	PM_SCHED_SWITCHES = 4096, ///< of a schedule
	PM_SCHED_OBJECTS = 4096,  ///< places of the table of objects, a power of two
	PM_SCHED_NOBODY = 0xff
};

enum pm_task_state { PM_TASK_IDLE, PM_TASK_READY, PM_TASK_BLOCKED, PM_TASK_DONE };

/// What the tasks did wrong.
enum pm_failure {
	PM_FAIL_NONE,
	PM_FAIL_CONTENTS,   ///< a byte that no write left there
	PM_FAIL_STATUS,	    ///< an operation's status that nothing explains
	PM_FAIL_INVARIANT,  ///< pm_machine_validate()
	PM_FAIL_LEAK,	    ///< frames, slots or host memory left behind
	PM_FAIL_DEADLOCK,   ///< everybody waits
	PM_FAIL_ASSERTION,
	PM_FAIL_CRASH,
	PM_FAIL_ENDLESS,    ///< too many steps
	PM_FAIL_LOCK_HELD,  ///< an operation ended with a lock held
	PM_FAIL_USE_AFTER_FREE, ///< a frame without an owner was written to
	PM_NR_FAILURES
};

struct pm_switch {
	uint32_t step;
	uint8_t task;
	uint8_t forced; ///< 1: the running task could not go on, so this costs no preemption
};

struct pm_sched_task {
	struct pm_fibre fibre;
	enum pm_task_state state;
	enum pm_point point;	///< where it is, if it is blocked
	const void *object;	///< that it is blocked on
	uint64_t key;		///< what it waits for
	uint32_t held_ranks;
	uint32_t nr_held;
	struct { uint64_t key; uint32_t rank; } held[PM_SCHED_HELD];
	uint32_t priority;	///< PCT
	int32_t operation;	///< index of the one under way; -1: none
};

/// How switches are chosen after those of the list.
enum pm_strategy { PM_STRATEGY_LIST, PM_STRATEGY_RANDOM, PM_STRATEGY_PCT };

/// A step at which the schedule could have gone another way.
struct pm_candidate {
	uint32_t step;
	uint8_t ready;	///< bit a task
	uint8_t chosen;
	uint8_t forced;
};

/// One step of a run that is recorded for its story.
struct pm_trace {
	uint32_t step;
	uint8_t task;
	uint8_t point; ///< enum pm_point
	int16_t operation;
	const void *object;
	const char *note; ///< instead of a point
};

struct pm_sched {
	struct pm_hooks hooks; ///< first: the core hands it back
	struct pm_fibre main;
	struct pm_sched_task task[PM_SCHED_TASKS];
	uint32_t nr_tasks;
	uint32_t current;  ///< PM_SCHED_NOBODY: the caller of pm_sched_run()
	uint32_t idler;	   ///< on whose stack time goes on while nobody can run; PM_SCHED_NOBODY
	uint32_t steps;	   ///< of this run
	uint32_t since;	   ///< steps since the last switch
	uint32_t step_limit;
	uint64_t all_steps; ///< of all runs
	void (*run)(void *context, uint32_t task);
	void *context;
	/// Called when everybody waits: lets time go on. False: nothing happened.
	bool (*idle)(void *context);
	void (*frame)(void *context, uint32_t pfn, uint32_t nr, bool owned);
	void *(*zalloc)(void *context, size_t bytes);
	void (*free)(void *context, void *memory);

	enum pm_strategy strategy;
	const struct pm_switch *list; ///< the schedule
	uint32_t nr_list, at_list;
	uint64_t random;
	uint32_t one_in;	///< RANDOM: a switch at one of so many steps
	uint32_t change[16];	///< PCT: steps at which the running task falls behind
	uint32_t nr_change;
	struct pm_switch taken[PM_SCHED_SWITCHES]; ///< what was done, to be repeated
	uint32_t nr_taken;

	bool alone;		///< no yield points: what is done before and after a run
	bool collect;		///< candidates after the last switch of the list
	struct pm_candidate *candidates;
	uint32_t nr_candidates, room_candidates;

	struct { const void *object; uint8_t readers, writers; } objects[PM_SCHED_OBJECTS];
	uint32_t nr_objects;
	bool grew;		///< an object was found to be shared that was not known to be

	bool tracing;
	struct pm_trace *trace;
	uint32_t nr_trace, room_trace;

	struct pm_crash crash;
	enum pm_failure failure;
	uint32_t failed_task;
	char message[1024];
};

/// False: no memory for the stacks.
bool pm_sched_init(struct pm_sched *sched);
void pm_sched_deinit(struct pm_sched *sched);

/// Makes it the thread's scheduler, or none. While it is, and no run is under way, the caller counts as the first task, and never yields.
void pm_sched_enter(struct pm_sched *sched);
void pm_sched_leave(struct pm_sched *sched);

/// Forgets which objects are shared: for a new program.
void pm_sched_forget(struct pm_sched *sched);

/// Runs all tasks to their ends, or until something fails: sched->failure.
void pm_sched_run(struct pm_sched *sched, uint32_t nr_tasks);

/// Runs one function as the first task, without yield points: what comes before and after the run. sched->failure likewise.
void pm_sched_alone(struct pm_sched *sched, void (*run)(void *context, uint32_t task));

/// Something is wrong: ends the run. Does not return where a task is running.
__attribute__((format(printf, 3, 4))) void pm_sched_fail(struct pm_sched *sched, enum pm_failure failure, const char *format, ...);

/// The running task changes an object, without a yield point.
void pm_sched_touch(struct pm_sched *sched, const void *object);

/// A line for the story.
void pm_sched_note(struct pm_sched *sched, const char *note);

/// Who waits for whom, in words, one line a task.
void pm_sched_waiters(const struct pm_sched *sched, char *text, size_t size);

const char *pm_failure_name(enum pm_failure failure);

/// Repeatable pseudo-random numbers (splitmix64).
uint64_t pm_sched_random(uint64_t *state);

#endif
