/// The watchdog's words: who waits for what, and who has it.
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/lock.h"
#include "sched/sched.h"

struct text {
	char *at;
	size_t left;
};

static __attribute__((format(printf, 2, 3))) void add(struct text *text, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(text->at, text->left, format, args);
	va_end(args);
	if (n < 0 || (size_t)n >= text->left)
		return;
	text->at += n;
	text->left -= (size_t)n;
}

static const char *rank_name(uint32_t rank)
{
	static const char *const names[] = { "frame", "space", "mapping", "anon", "table", "second table", "page cache", "swap", "device", "objects", "lru", "pcp", "zone", "wait queue", "moving page" };

	return rank < sizeof(names) / sizeof(names[0]) ? names[rank] : "unknown";
}

/// Who holds what is waited for; its rank.
static uint32_t holder_of(const struct pm_sched *sched, uint64_t key, uint32_t *ret_rank)
{
	uint32_t task, i;

	for (task = 0; task < sched->nr_tasks; task++)
		for (i = 0; i < sched->task[task].nr_held; i++)
			if (sched->task[task].held[i].key == key) {
				*ret_rank = sched->task[task].held[i].rank;
				return task;
			}
	return PM_SCHED_NOBODY;
}

static void describe(struct text *text, const struct pm_sched *sched, uint32_t t)
{
	const struct pm_sched_task *task = &sched->task[t];
	uint32_t rank = 0, holder = holder_of(sched, task->key, &rank);
	/* Keys of frames are odd (virt/reference.h). */
	bool frame = task->point == PM_AT_SLEEP && (task->key & 1);

	add(text, "task %" PRIu32, t);
	if (task->operation >= 0)
		add(text, " (operation %" PRId32 ")", task->operation);
	if (rank == PM_RANK_MOVING)
		add(text, " sleeps until a page that moves is mapped again");
	else if (frame)
		add(text, " sleeps for frame %" PRIu64 "'s lock or writeback", task->key >> 1);
	else if (task->point == PM_AT_FLUSH)
		add(text, " flushes and waits until an access ends");
	else if (holder != PM_SCHED_NOBODY && rank == PM_RANK_NONE)
		add(text, " waits for a space's migration semaphore");
	else if (holder != PM_SCHED_NOBODY)
		add(text, " waits for a lock of kind %s", rank_name(rank));
	else
		add(text, task->point == PM_AT_SLEEP ? " sleeps on a wait queue" : " waits for a lock");
	if (holder == t)
		add(text, ", which it holds itself");
	else if (holder != PM_SCHED_NOBODY && rank == PM_RANK_MOVING)
		add(text, ", which task %" PRIu32 " is to do", holder);
	else if (holder != PM_SCHED_NOBODY)
		add(text, ", which task %" PRIu32 " holds", holder);
	else if (task->point != PM_AT_FLUSH)
		add(text, ", which nobody holds");
}

void pm_sched_waiters(const struct pm_sched *sched, char *buffer, size_t size)
{
	struct text text = { buffer, size };
	const char *between = "";
	uint32_t t;

	buffer[0] = '\0';
	for (t = 0; t < sched->nr_tasks; t++) {
		if (sched->task[t].state != PM_TASK_BLOCKED)
			continue;
		add(&text, "%s", between);
		describe(&text, sched, t);
		between = "; ";
	}
}
