/// Fibres: several stacks in one thread, of which one runs. A hand-written switch on x86-64 and aarch64, ucontext elsewhere.
#ifndef PM_SCHED_FIBRE_H
#define PM_SCHED_FIBRE_H

#include <stdbool.h>
#include <stddef.h>

#if !defined(__x86_64__) && !defined(__aarch64__)
#define PM_FIBRE_UCONTEXT 1
#include <ucontext.h>
#endif

struct pm_fibre {
	void *sp;     ///< where it stopped
	char *stack;  ///< NULL: the thread's own
	void *bottom; ///< of the stack
	size_t bytes;
	void (*run)(void *context); ///< never returns
	void *context;
	void *sanitizer; ///< ASan's other stack, TSan's fibre
#ifdef PM_FIBRE_UCONTEXT
	ucontext_t saved;
#endif
};

/// A stack with a page below it that may not be touched. False: no memory.
bool pm_fibre_init(struct pm_fibre *fibre);
void pm_fibre_deinit(struct pm_fibre *fibre);
/// The fibre of the calling thread.
void pm_fibre_init_thread(struct pm_fibre *fibre);

/// The next switch to it begins `run`, whatever it was doing before.
void pm_fibre_start(struct pm_fibre *fibre, void (*run)(void *context), void *context);

/// Stops `from`, which is running, and goes on with `to`.
void pm_fibre_switch(struct pm_fibre *from, struct pm_fibre *to);

#endif
