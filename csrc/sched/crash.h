/// Crashes of a task: a signal that its thread gets becomes a failure of the run.
#ifndef PM_SCHED_CRASH_H
#define PM_SCHED_CRASH_H

#include <signal.h>
#include <stdbool.h>

enum { PM_CRASH_SIGNALS = 4 };

struct pm_crash {
	char *stack; ///< the handler's: a task's may have run over
	stack_t old_stack;
	struct sigaction old[PM_CRASH_SIGNALS];
	bool active;
};

/// From here to pm_crash_leave() a crash of the running task ends its run. Another thread's, or the caller's own, goes where it went before.
void pm_crash_enter(struct pm_crash *crash);
void pm_crash_leave(struct pm_crash *crash);

#endif
