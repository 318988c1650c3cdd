#include "sched/crash.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sched/sched.h"

#define PM_CRASH_STACK ((size_t)64 * 1024)

static const int signals[PM_CRASH_SIGNALS] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE };

static void on_signal(int number, siginfo_t *info, void *context)
{
	struct pm_sched *sched = (struct pm_sched *)pm_hooks;
	unsigned int i;

	(void)context;
	if (sched && sched->current != PM_SCHED_NOBODY)
		/* Leaves this stack for good: the next signal begins at its top again. */
		pm_sched_fail(sched, PM_FAIL_CRASH, "%s at address %p", strsignal(number), info->si_addr);
	/* Not a task's: as if we were not here. It happens again at once. */
	for (i = 0; i < PM_CRASH_SIGNALS; i++)
		if (signals[i] == number)
			(void)sigaction(number, sched ? &sched->crash.old[i] : &(struct sigaction){ .sa_handler = SIG_DFL }, NULL);
}

void pm_crash_enter(struct pm_crash *crash)
{
	struct sigaction action;
	stack_t stack;
	unsigned int i;

	if (!crash->stack)
		crash->stack = malloc(PM_CRASH_STACK);
	if (!crash->stack)
		return;
	stack = (stack_t){ .ss_sp = crash->stack, .ss_size = PM_CRASH_STACK };
	memset(&action, 0, sizeof(action));
	action.sa_sigaction = on_signal;
	action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
	sigemptyset(&action.sa_mask);
	if (sigaltstack(&stack, &crash->old_stack) != 0)
		return;
	for (i = 0; i < PM_CRASH_SIGNALS; i++)
		(void)sigaction(signals[i], &action, &crash->old[i]);
	crash->active = true;
}

void pm_crash_leave(struct pm_crash *crash)
{
	unsigned int i;

	if (!crash->active)
		return;
	for (i = 0; i < PM_CRASH_SIGNALS; i++)
		(void)sigaction(signals[i], &crash->old[i], NULL);
	(void)sigaltstack(&crash->old_stack, NULL);
	crash->active = false;
}
