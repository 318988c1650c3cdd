#include "sched/sched.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/lock.h"
#include "sched/crash.h"

/// A task that has gone on for so many steps in a row while others can run waits for one of them in a loop: the others get their turn.
enum { PM_SCHED_PATIENCE = 1500 };

/// Yield points that are passed before and after a run; a few thousand are usual.
enum { PM_SCHED_ALONE = 1000000 };

uint64_t pm_sched_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

const char *pm_failure_name(enum pm_failure failure)
{
	static const char *const names[PM_NR_FAILURES] = { "none", "contents", "status", "invariant", "leak", "deadlock", "assertion", "crash", "endless", "lock held", "use after free" };

	return (unsigned int)failure < PM_NR_FAILURES ? names[failure] : "unknown";
}

static void set_quiet(struct pm_sched *sched, bool quiet);

/// Gives the processor to another task, or to the caller of the run.
static void switch_to(struct pm_sched *sched, uint32_t next)
{
	uint32_t before = sched->current;
	struct pm_fibre *from = before == PM_SCHED_NOBODY ? &sched->main : &sched->task[before].fibre;
	struct pm_fibre *to = next == PM_SCHED_NOBODY ? &sched->main : &sched->task[next].fibre;

	if (before != PM_SCHED_NOBODY)
		sched->task[before].held_ranks = sched->hooks.held_ranks;
	sched->current = next;
	sched->since = 0;
	if (next != PM_SCHED_NOBODY) {
		sched->hooks.held_ranks = sched->task[next].held_ranks;
		sched->hooks.self = (uintptr_t)&sched->task[next];
	}
	pm_fibre_switch(from, to);
}

void pm_sched_fail(struct pm_sched *sched, enum pm_failure failure, const char *format, ...)
{
	va_list args;

	if (sched->failure == PM_FAIL_NONE) {
		sched->failure = failure;
		sched->failed_task = sched->current == PM_SCHED_NOBODY ? sched->idler : sched->current;
		va_start(args, format);
		(void)vsnprintf(sched->message, sizeof(sched->message), format, args);
		va_end(args);
	}
	/* Nobody runs while time goes on, but it is a task's stack on which it does. */
	if (sched->idler != PM_SCHED_NOBODY) {
		sched->current = sched->idler;
		sched->idler = PM_SCHED_NOBODY;
		set_quiet(sched, sched->alone);
	}
	if (sched->current != PM_SCHED_NOBODY)
		switch_to(sched, PM_SCHED_NOBODY);
}

static uint32_t ready_mask(const struct pm_sched *sched)
{
	uint32_t mask = 0, i;

	for (i = 0; i < sched->nr_tasks; i++)
		if (sched->task[i].state == PM_TASK_READY)
			mask |= 1u << i;
	return mask;
}

/// The ready task that comes after this one, going round.
static uint32_t after(const struct pm_sched *sched, uint32_t task, uint32_t ready)
{
	uint32_t i;

	for (i = 1; i <= sched->nr_tasks; i++)
		if (ready >> (task + i) % sched->nr_tasks & 1)
			return (task + i) % sched->nr_tasks;
	return PM_SCHED_NOBODY;
}

/// Notes who touches an object, and says whether several do and one of them changes it.
static bool touch_object(struct pm_sched *sched, enum pm_point point, const void *object)
{
	bool reads = point == PM_AT_FLAGS || point == PM_AT_COUNTS || point == PM_AT_ENTRY || point == PM_AT_HANDLE || point == PM_AT_WORD || point == PM_AT_FLUSH;
	uintptr_t place = (uintptr_t)object;
	uint8_t bit = (uint8_t)(1u << sched->current), all;
	uint32_t i;

	if (point == PM_AT_TOUCH || point == PM_AT_COPY)
		place &= ~(uintptr_t)4095;
	for (i = (uint32_t)((place * 0x9e3779b97f4a7c15u) >> 52); sched->objects[i].object && sched->objects[i].object != (const void *)place; i = (i + 1) % PM_SCHED_OBJECTS)
		;
	if (!sched->objects[i].object) {
		if (sched->nr_objects >= PM_SCHED_OBJECTS / 2)
			return true;
		sched->nr_objects++;
		sched->objects[i].object = (const void *)place;
	}
	if (!((reads ? sched->objects[i].readers | sched->objects[i].writers : sched->objects[i].writers) & bit)) {
		if (reads)
			sched->objects[i].readers |= bit;
		else
			sched->objects[i].writers |= bit;
		all = sched->objects[i].readers | sched->objects[i].writers;
		sched->grew |= sched->objects[i].writers && (all & (all - 1));
	}
	all = sched->objects[i].readers | sched->objects[i].writers;
	return sched->objects[i].writers && (all & (all - 1));
}

void pm_sched_touch(struct pm_sched *sched, const void *object)
{
	if (sched->current != PM_SCHED_NOBODY && !sched->alone)
		(void)touch_object(sched, PM_AT_COPY, object);
}

static void add_candidate(struct pm_sched *sched, uint32_t step, uint32_t ready, uint32_t chosen, bool forced)
{
	if (sched->nr_candidates == sched->room_candidates) {
		uint32_t room = sched->room_candidates ? 2 * sched->room_candidates : 1024;
		struct pm_candidate *more = realloc(sched->candidates, room * sizeof(*more));

		if (!more)
			return;
		sched->candidates = more;
		sched->room_candidates = room;
	}
	sched->candidates[sched->nr_candidates++] = (struct pm_candidate){ step, (uint8_t)ready, (uint8_t)chosen, forced };
}

static void add_trace(struct pm_sched *sched, enum pm_point point, const void *object, const char *note)
{
	struct pm_trace *trace;

	if (sched->nr_trace == sched->room_trace) {
		uint32_t room = sched->room_trace ? 2 * sched->room_trace : 4096;

		trace = realloc(sched->trace, room * sizeof(*trace));
		if (!trace)
			return;
		sched->trace = trace;
		sched->room_trace = room;
	}
	trace = &sched->trace[sched->nr_trace++];
	*trace = (struct pm_trace){ sched->steps, (uint8_t)sched->current, (uint8_t)point, -1, object, note };
	if (sched->current != PM_SCHED_NOBODY)
		trace->operation = (int16_t)sched->task[sched->current].operation;
}

void pm_sched_note(struct pm_sched *sched, const char *note)
{
	if (sched->tracing)
		add_trace(sched, PM_AT_START, NULL, note);
}

static uint32_t by_priority(const struct pm_sched *sched, uint32_t ready)
{
	uint32_t best = PM_SCHED_NOBODY, i;

	for (i = 0; i < sched->nr_tasks; i++)
		if ((ready >> i & 1) && (best == PM_SCHED_NOBODY || sched->task[i].priority > sched->task[best].priority))
			best = i;
	return best;
}

/// Who goes on after this step. `usual` is who would without a schedule.
static uint32_t choose(struct pm_sched *sched, uint32_t step, uint32_t ready, uint32_t usual, bool forced)
{
	uint32_t next = usual, i;

	if (sched->strategy == PM_STRATEGY_LIST) {
		while (sched->at_list < sched->nr_list && sched->list[sched->at_list].step < step)
			sched->at_list++;
		if (sched->at_list < sched->nr_list && sched->list[sched->at_list].step == step) {
			next = sched->list[sched->at_list++].task;
			if (next >= sched->nr_tasks || !(ready >> next & 1))
				next = usual;
		}
	} else if (sched->strategy == PM_STRATEGY_RANDOM) {
		if (forced || pm_sched_random(&sched->random) % sched->one_in == 0)
			next = after(sched, (uint32_t)(pm_sched_random(&sched->random) % sched->nr_tasks), ready);
	} else {
		for (i = 0; i < sched->nr_change; i++)
			if (sched->change[i] == step && sched->current != PM_SCHED_NOBODY)
				sched->task[sched->current].priority = sched->nr_change - i;
		next = by_priority(sched, ready);
		/* Strict priorities starve those on whom a loop waits. */
		if (sched->since > PM_SCHED_PATIENCE)
			next = usual;
	}
	if (next != usual && sched->nr_taken < PM_SCHED_SWITCHES)
		sched->taken[sched->nr_taken++] = (struct pm_switch){ step, (uint8_t)next, forced };
	return next;
}

/// Everybody waits, or all have ended. Never returns to a task that is not ready.
static void nobody_ready(struct pm_sched *sched)
{
	char text[900];
	uint32_t i;

	for (i = 0; i < sched->nr_tasks; i++)
		if (sched->task[i].state == PM_TASK_BLOCKED)
			break;
	if (i < sched->nr_tasks) {
		pm_sched_waiters(sched, text, sizeof(text));
		pm_sched_fail(sched, PM_FAIL_DEADLOCK, "everybody waits: %s", text);
	}
	switch_to(sched, PM_SCHED_NOBODY);
}

/// Everybody waits, some of them for a time only: it is over.
static uint32_t end_pauses(struct pm_sched *sched)
{
	uint32_t i;

	for (i = 0; i < sched->nr_tasks; i++)
		if (sched->task[i].state == PM_TASK_BLOCKED && sched->task[i].point == PM_AT_PAUSE)
			sched->task[i].state = PM_TASK_READY;
	return ready_mask(sched);
}

/// One of those that can goes on in place of the running task, which costs no preemption.
static void let_go_on(struct pm_sched *sched, uint32_t step, uint32_t ready)
{
	uint32_t next = choose(sched, step, ready, after(sched, sched->current, ready), true);

	if (sched->collect && sched->at_list == sched->nr_list && (ready & (ready - 1)))
		add_candidate(sched, step, ready, next, true);
	if (next != sched->current)
		switch_to(sched, next);
}

/// The running task cannot go on: blocked, or done.
static void give_up(struct pm_sched *sched)
{
	uint32_t step = sched->steps++, ready = ready_mask(sched);

	if (!ready && sched->idle) {
		sched->idler = sched->current;
		set_quiet(sched, true);
		sched->current = PM_SCHED_NOBODY;
		while (!ready && sched->idle(sched->context))
			ready = ready_mask(sched);
		sched->current = sched->idler;
		sched->idler = PM_SCHED_NOBODY;
		set_quiet(sched, sched->alone);
	}
	if (!ready)
		ready = end_pauses(sched);
	if (!ready) {
		nobody_ready(sched);
		return;
	}
	let_go_on(sched, step, ready);
}

/// The running task could go on, but would only look again whether somebody has done something: the others have their turn, which is no preemption.
static void pause_task(struct pm_sched *sched, const void *object)
{
	uint32_t step = sched->steps++, others = ready_mask(sched) & ~(1u << sched->current);

	if (step >= sched->step_limit)
		pm_sched_fail(sched, PM_FAIL_ENDLESS, "not done after %" PRIu32 " steps", step);
	if (sched->tracing)
		add_trace(sched, PM_AT_PAUSE, object, NULL);
	if (others)
		let_go_on(sched, step, others);
}

static void on_yield(struct pm_hooks *hooks, enum pm_point point, const void *object)
{
	struct pm_sched *sched = (struct pm_sched *)hooks;
	uint32_t step, ready, next, usual = sched->current;
	bool shared;

	if (point == PM_AT_PAUSE) {
		pause_task(sched, object);
		return;
	}
	step = sched->steps++;
	if (step >= sched->step_limit)
		pm_sched_fail(sched, PM_FAIL_ENDLESS, "not done after %" PRIu32 " steps", step);
	shared = touch_object(sched, point, object);
	if (sched->tracing)
		add_trace(sched, point, object, NULL);
	ready = ready_mask(sched);
	if (++sched->since > PM_SCHED_PATIENCE)
		usual = after(sched, sched->current, ready);
	next = choose(sched, step, ready, usual, false);
	if (sched->collect && shared && sched->at_list == sched->nr_list && (ready & (ready - 1)))
		add_candidate(sched, step, ready, next, false);
	if (next != sched->current)
		switch_to(sched, next);
	else if (usual != next)
		sched->since = 0;
}

/// Outside of runs, and in what is done alone.
static void on_quiet_yield(struct pm_hooks *hooks, enum pm_point point, const void *object)
{
	struct pm_sched *sched = (struct pm_sched *)hooks;

	(void)point;
	(void)object;
	if (sched->alone && ++sched->since > PM_SCHED_ALONE)
		pm_sched_fail(sched, PM_FAIL_ENDLESS, "what is done after the tasks' ends does not end");
}

static void on_quiet_held(struct pm_hooks *hooks, uint64_t key, uint32_t rank, bool taken)
{
	(void)hooks;
	(void)key;
	(void)rank;
	(void)taken;
}

static void on_block(struct pm_hooks *hooks, enum pm_point point, const void *object, uint64_t key)
{
	struct pm_sched *sched = (struct pm_sched *)hooks;
	struct pm_sched_task *task;

	if (sched->current == PM_SCHED_NOBODY) {
		/* Outside of tasks nobody can be waited for. */
		abort();
	}
	task = &sched->task[sched->current];
	task->state = PM_TASK_BLOCKED;
	task->point = point;
	task->object = object;
	task->key = key;
	if (sched->tracing)
		add_trace(sched, point, object, "waits");
	give_up(sched);
}

static void on_unblock(struct pm_hooks *hooks, const void *object)
{
	struct pm_sched *sched = (struct pm_sched *)hooks;
	uint32_t i;

	for (i = 0; i < sched->nr_tasks; i++)
		if (sched->task[i].state == PM_TASK_BLOCKED && sched->task[i].object == object)
			sched->task[i].state = PM_TASK_READY;
}

static void on_held(struct pm_hooks *hooks, uint64_t key, uint32_t rank, bool taken)
{
	struct pm_sched *sched = (struct pm_sched *)hooks;
	struct pm_sched_task *task;
	uint32_t i, t;

	if (sched->current == PM_SCHED_NOBODY)
		return;
	task = &sched->task[sched->current];
	if (taken) {
		if (task->nr_held < PM_SCHED_HELD) {
			task->held[task->nr_held].key = key;
			task->held[task->nr_held++].rank = rank;
		}
		return;
	}
	/* A frame may be unlocked by another task than the one that locked it: the end of a read. */
	for (t = 0; t < sched->nr_tasks; t++) {
		task = &sched->task[(sched->current + t) % sched->nr_tasks];
		for (i = task->nr_held; i-- > 0;)
			if (task->held[i].key == key) {
				task->held[i] = task->held[--task->nr_held];
				return;
			}
	}
}

static void *on_zalloc(struct pm_hooks *hooks, size_t bytes)
{
	struct pm_sched *sched = (struct pm_sched *)hooks;

	return sched->zalloc(sched->context, bytes);
}

static void on_free(struct pm_hooks *hooks, void *memory)
{
	struct pm_sched *sched = (struct pm_sched *)hooks;

	sched->free(sched->context, memory);
}

static void on_frame(struct pm_hooks *hooks, uint32_t pfn, uint32_t nr, bool owned)
{
	struct pm_sched *sched = (struct pm_sched *)hooks;

	if (sched->frame)
		sched->frame(sched->context, pfn, nr, owned);
}

static void on_failed(struct pm_hooks *hooks, const char *condition, const char *file, int line)
{
	struct pm_sched *sched = (struct pm_sched *)hooks;
	const char *name = strstr(file, "csrc/");

	pm_sched_fail(sched, PM_FAIL_ASSERTION, "broken invariant %s at %s:%d", condition, name ? name + 5 : file, line);
}

static void set_quiet(struct pm_sched *sched, bool quiet)
{
	sched->hooks.yield = quiet ? on_quiet_yield : on_yield;
	sched->hooks.held = quiet ? on_quiet_held : on_held;
}

bool pm_sched_init(struct pm_sched *sched)
{
	uint32_t i;

	*sched = (struct pm_sched){ .hooks = { on_quiet_yield, on_block, on_unblock, on_quiet_held, on_zalloc, on_free, on_frame, on_failed, 0, 0, 0 },
				    .current = PM_SCHED_NOBODY,
				    .idler = PM_SCHED_NOBODY,
				    .step_limit = 50000,
				    .one_in = 8 };
	pm_fibre_init_thread(&sched->main);
	for (i = 0; i < PM_SCHED_TASKS; i++)
		if (!pm_fibre_init(&sched->task[i].fibre)) {
			pm_sched_deinit(sched);
			return false;
		}
	return true;
}

void pm_sched_deinit(struct pm_sched *sched)
{
	uint32_t i;

	for (i = 0; i < PM_SCHED_TASKS; i++)
		pm_fibre_deinit(&sched->task[i].fibre);
	free(sched->candidates);
	free(sched->trace);
	free(sched->crash.stack);
	sched->candidates = NULL;
	sched->trace = NULL;
}

void pm_sched_enter(struct pm_sched *sched)
{
	sched->hooks.self = (uintptr_t)&sched->task[0];
	sched->hooks.held_ranks = 0;
	sched->current = PM_SCHED_NOBODY;
	pm_hooks = &sched->hooks;
	pm_crash_enter(&sched->crash);
}

void pm_sched_leave(struct pm_sched *sched)
{
	pm_crash_leave(&sched->crash);
	pm_hooks = NULL;
}

void pm_sched_forget(struct pm_sched *sched)
{
	memset(sched->objects, 0, sizeof(sched->objects));
	sched->nr_objects = 0;
	sched->grew = false;
}

/// What a task's fibre does.
static void task_main(void *context)
{
	struct pm_sched *sched = context;
	uint32_t me = sched->current;

	sched->run(sched->context, me);
	if (sched->task[me].nr_held || sched->hooks.held_ranks)
		pm_sched_fail(sched, PM_FAIL_LOCK_HELD, "task %" PRIu32 " ended with %" PRIu32 " locks held", me, sched->task[me].nr_held);
	sched->task[me].state = PM_TASK_DONE;
	for (;;)
		give_up(sched);
}

static void begin_tasks(struct pm_sched *sched, uint32_t nr_tasks)
{
	uint32_t i;

	sched->nr_tasks = nr_tasks;
	sched->failure = PM_FAIL_NONE;
	sched->failed_task = PM_SCHED_NOBODY;
	sched->message[0] = '\0';
	for (i = 0; i < nr_tasks; i++) {
		struct pm_sched_task *task = &sched->task[i];

		pm_fibre_start(&task->fibre, task_main, sched);
		task->state = PM_TASK_READY;
		task->held_ranks = 0;
		task->nr_held = 0;
		task->operation = -1;
		task->object = NULL;
	}
}

void pm_sched_alone(struct pm_sched *sched, void (*run)(void *context, uint32_t task))
{
	void (*usual)(void *context, uint32_t task) = sched->run;
	uint32_t steps = sched->steps;
	bool tracing = sched->tracing;

	begin_tasks(sched, 1);
	sched->tracing = false;
	sched->run = run;
	sched->alone = true;
	switch_to(sched, 0);
	sched->alone = false;
	sched->tracing = tracing;
	sched->steps = steps;
	sched->run = usual;
}

void pm_sched_run(struct pm_sched *sched, uint32_t nr_tasks)
{
	uint32_t ready, first;

	sched->steps = 0;
	sched->since = 0;
	sched->at_list = 0;
	sched->nr_taken = 0;
	sched->nr_candidates = 0;
	sched->nr_trace = 0;
	begin_tasks(sched, nr_tasks);
	sched->hooks.held_ranks = 0;
	ready = ready_mask(sched);
	/* Who begins is the first choice, at no cost. */
	first = choose(sched, sched->steps++, ready, 0, true);
	if (sched->collect && sched->at_list == sched->nr_list && nr_tasks > 1)
		add_candidate(sched, 0, ready, first, true);
	set_quiet(sched, false);
	switch_to(sched, first);
	set_quiet(sched, true);
	sched->all_steps += sched->steps;
}
