/// Yield points: in the test flavour a scheduler (csrc/sched) can decide at each of them which task goes on. All blocking of the core goes
/// through three calls: pm_yield() before a step that other tasks can see, pm_block() until somebody calls pm_unblock() for the same object.
/// The scheduler is found through a pointer of the thread; without one, and in the release flavour, nothing happens here.
#ifndef PM_BASE_YIELD_H
#define PM_BASE_YIELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/planted.h"

/// What a task is about to do to the object that it names. pm_point_name() says it in words.
enum pm_point {
	PM_AT_START,	   ///< a task, an operation
	PM_AT_LOCK,	   ///< take a lock, or wait for it; the object is the lock
	PM_AT_TRYLOCK,
	PM_AT_UNLOCK,
	PM_AT_RWSEM,	   ///< enter or leave a sleeping lock
	PM_AT_SLEEP,	   ///< sleep on a wait queue
	PM_AT_PAUSE,	   ///< sleep for a time, woken by nobody; as a yield: let others go on, and look again
	PM_AT_WAKE,	   ///< look for sleepers to wake
	PM_AT_FLAGS,	   ///< read a frame's flags
	PM_AT_FLAGS_SET,   ///< change them
	PM_AT_COUNTS,	   ///< read a frame's references and map count
	PM_AT_COUNTS_SET,
	PM_AT_ENTRY,	   ///< read a page-table entry
	PM_AT_ENTRY_SET,
	PM_AT_ENTER,	   ///< begin an access: the CPU's epoch
	PM_AT_LEAVE,
	PM_AT_FLUSH,	   ///< wait until a CPU is outside of its access
	PM_AT_TOUCH,	   ///< read or write a frame's bytes
	PM_AT_COPY,	   ///< copy a frame
	PM_AT_HANDLE,	   ///< look whether an object is still alive
	PM_AT_HANDLE_SET,
	PM_AT_USE,	   ///< be seen, or look for others, using a space or a pin
	PM_AT_WORD,	   ///< read a frame's state without a lock
	PM_AT_WORD_SET,	   ///< change it without one: the right to free it
	PM_NR_POINTS
};

#ifdef PM_TEST_FLAVOUR

/// A scheduler, as the core sees it. `rank` is enum pm_lock_rank of the lock, where there is one.
struct pm_hooks {
	void (*yield)(struct pm_hooks *hooks, enum pm_point point, const void *object);
	/// Until pm_unblock(object). `key` names what is waited for: the lock's address, or the key of a wait queue.
	void (*block)(struct pm_hooks *hooks, enum pm_point point, const void *object, uint64_t key);
	void (*unblock)(struct pm_hooks *hooks, const void *object);
	/// The running task has got, or has given back, something that others wait for.
	void (*held)(struct pm_hooks *hooks, uint64_t key, uint32_t rank, bool taken);
	void *(*zalloc)(struct pm_hooks *hooks, size_t bytes);
	void (*free)(struct pm_hooks *hooks, void *memory);
	/// A frame got an owner, or loses it.
	void (*frame)(struct pm_hooks *hooks, uint32_t pfn, uint32_t nr, bool owned);
	/// An assertion failed. Does not return.
	void (*failed)(struct pm_hooks *hooks, const char *condition, const char *file, int line);
	uintptr_t self;	      ///< the running task, as the core tells threads apart
	uint32_t held_ranks;  ///< of the running task
	uint32_t planted;     ///< enum pm_planted
};

/// The scheduler of this thread; NULL: none. Per thread, and in the test flavour only. Every step of the core looks at it: hence the model
/// that needs no call, also in a module that is loaded late.
extern _Thread_local struct pm_hooks *pm_hooks __attribute__((tls_model("initial-exec")));

static inline bool pm_scheduled(void)
{
	return pm_hooks != NULL;
}

static inline void pm_yield(enum pm_point point, const void *object)
{
	if (pm_hooks)
		pm_hooks->yield(pm_hooks, point, object);
}

static inline void pm_unblock(const void *object)
{
	if (pm_hooks)
		pm_hooks->unblock(pm_hooks, object);
}

static inline void pm_note_held(uint64_t key, uint32_t rank, bool taken)
{
	if (pm_hooks)
		pm_hooks->held(pm_hooks, key, rank, taken);
}

/// Only where pm_scheduled().
static inline void pm_block(enum pm_point point, const void *object, uint64_t key)
{
	pm_hooks->block(pm_hooks, point, object, key);
}

/// Is this bug planted? (csrc/sched/planted.c has the table.)
static inline bool pm_planted(enum pm_planted bug)
{
	return pm_hooks && pm_hooks->planted == (uint32_t)bug;
}

#else

static inline bool pm_scheduled(void)
{
	return false;
}

static inline void pm_yield(enum pm_point point, const void *object)
{
	(void)point;
	(void)object;
}

static inline void pm_unblock(const void *object)
{
	(void)object;
}

static inline void pm_note_held(uint64_t key, uint32_t rank, bool taken)
{
	(void)key;
	(void)rank;
	(void)taken;
}

static inline void pm_block(enum pm_point point, const void *object, uint64_t key)
{
	(void)point;
	(void)object;
	(void)key;
}

static inline bool pm_planted(enum pm_planted bug)
{
	(void)bug;
	return false;
}

#endif

/// "if (!PM_PLANTED(COW_NO_FLUSH)) flush();": a constant in the release flavour.
#define PM_PLANTED(name) pm_planted(PM_BUG_##name)

/// In words, after "about to". Static storage.
const char *pm_point_name(enum pm_point point);

#endif
