/// @file explore.h
/// The schedule search as a caller sees it: a program of a few operations by a few tasks in a tiny world, and the schedules under which it runs.
/// Only in the test flavour. One thread at a time uses an explorer.
#ifndef PM_SCHED_EXPLORE_H
#define PM_SCHED_EXPLORE_H

#include "pymigrate.h"

/* BINDING-BEGIN */

/// The world has 4 spaces: A exists, B, C and D come by forks. Each has 8 pages that matter: 0 and 1 anonymous, 2 and 3 a shared mapping of the
/// file, 4 and 5 a private one, 6 and 7 where 0 and 1 can be moved to. The file has 2 pages, on a device with latency.
enum { PM_WORLD_SPACES = 4, PM_WORLD_PAGES = 8, PM_WORLD_FILE_PAGES = 2, PM_PROGRAM_OPERATIONS = 24, PM_PROGRAM_TASKS = 4, PM_SETUP = 255 };

/// What a task does. Numbers beyond what exists are taken modulo.
enum pm_operation_kind {
	PM_OP_READ = 0,	      ///< space, page
	PM_OP_WRITE = 1,      ///< space, page: its own value, everywhere in the page
	PM_OP_FORK = 2,	      ///< space, value: which of B, C, D it becomes
	PM_OP_EXIT = 3,	      ///< space
	PM_OP_UNMAP = 4,      ///< space, page
	PM_OP_PROTECT = 5,    ///< space, page, value: 0 for reading, 1 for writing too
	PM_OP_REMAP = 6,      ///< space, page: 0 to 6, 1 to 7, or back
	PM_OP_MLOCK = 7,      ///< space, page
	PM_OP_MUNLOCK = 8,
	PM_OP_POKE = 9,	      ///< space, page: writes as a device does, past the page table, to a frame that it pins meanwhile
	PM_OP_PIN = 10,	      ///< space, page: for long, until PM_OP_UNPIN or the end
	PM_OP_UNPIN = 11,     ///< the task's own pin
	PM_OP_PAGE_OUT = 12,  ///< space, page
	PM_OP_TRUNCATE = 13,  ///< value: pages that stay
	PM_OP_SYNC = 14,      ///< the file, and waits
	PM_OP_DROP = 15,      ///< the file's clean pages
	PM_OP_FILE_READ = 16, ///< page
	PM_OP_FILE_WRITE = 17,
	PM_OP_SWAP_OFF = 18,
	PM_OP_SWAP_ON = 19,
	PM_OP_RECLAIM = 20,
	PM_OP_MIGRATE = 21,	///< space, page, value: the frame that has the page moves
	PM_OP_MIGRATE_ALL = 22, ///< space, value: all its pages' frames, in one batch
	PM_OP_ALLOC = 23,	///< value: order. The block is a user's until somebody does PM_OP_FREE, or the end
	PM_OP_FREE = 24,	///< the block that was given to a user last
	PM_OP_COMPACT = 25,	///< value: for one block, PM_VALUE_PLANNER, PM_VALUE_CAPTURE
	PM_OP_ISOLATE = 26,	///< value: which of the two pageblocks, until PM_OP_RELEASE, or the end
	PM_OP_RELEASE = 27,	///< value
	PM_OP_OFFLINE = 28,	///< value
	PM_OP_ONLINE = 29,	///< value
	PM_OP_TAKE = 30,	///< value: the first 8 frames of a pageblock, for a user
	PM_NR_OPERATIONS = 31
};

/// The value of a migration: enum pm_migrate_protocol, enum pm_migrate_mode times PM_VALUE_MODE, PM_VALUE_TOUCH for PM_MIGRATE_TOUCH, and PM_VALUE_STEPPED where it is
/// taken a step a call (pm_migration_step), and given up after some time if it does not get on.
enum { PM_VALUE_MODE = 8, PM_VALUE_TOUCH = 32, PM_VALUE_STEPPED = 64, PM_VALUES = 128 };

/// The value of a compaction: by the planner, else as Linux does; and the block is the caller's. Values of an allocation and a compaction are below PM_VALUE_ORDERS.
enum { PM_VALUE_PLANNER = 1, PM_VALUE_CAPTURE = 2, PM_VALUE_ORDERS = 4 };

struct pm_operation {
	uint8_t task; ///< PM_SETUP: before the tasks begin
	uint8_t kind;
	uint8_t space;
	uint8_t page;
	uint8_t value;
};

struct pm_program {
	uint32_t nr; ///< operations
	struct pm_operation operations[24];
	uint8_t fs;	   ///< enum pm_fs of the file
	uint8_t swap;	   ///< 0: none, 1: at once, 2: a device with latency
	uint8_t share_cpu; ///< 1: all tasks on one CPU
	uint8_t lists;	   ///< 1: CPUs keep lists of free frames
};

/// A schedule differs from the usual course (a task goes on until it blocks or ends) where one of these says so.
struct pm_preemption {
	uint32_t step;
	uint8_t task;	///< that goes on there
	uint8_t forced; ///< 1: the running one could not go on, which costs nothing
};

struct pm_explored {
	uint32_t failure;     ///< 0: none; see pm_explore_failure_name()
	uint64_t schedules;   ///< run, the failing one included
	uint64_t steps;
	uint32_t complete;    ///< 1: every schedule within the bound was run
	uint32_t nr;	      ///< switches of the failing schedule
	uint64_t attempted[5]; ///< frames that were to move in these schedules, by enum pm_migrate_protocol
	uint64_t moved[5];    ///< and those that did
	uint64_t compact_attempted; ///< compactions
	uint64_t compact_moved; ///< those that moved something
	struct pm_preemption schedule[64];
	uint32_t lost;	      ///< switches of it that found no room
	char message[1024];
};

struct pm_explorer;

PM_API PM_NODISCARD enum pm_status pm_explorer_create(struct pm_explorer **ret);
PM_API void pm_explorer_destroy(struct pm_explorer *explorer);

/// Plants a bug by number (0: none), from the next pm_explorer_load() on. PM_ERR_RANGE.
PM_API PM_NODISCARD enum pm_status pm_explorer_plant(struct pm_explorer *explorer, uint32_t bug);
/// Makes the world anew and does what comes before the tasks. PM_ERR_INVAL: the program is none. A failure there is reported as of a schedule.
PM_API PM_NODISCARD enum pm_status pm_explorer_load(struct pm_explorer *explorer, const struct pm_program *program, struct pm_explored *ret);

/// Runs all schedules with at most `preemptions` preemptions, up to `most` of them, until one fails. Preempts only before steps at which tasks meet:
/// an object that two tasks use and one of them changes.
PM_API void pm_explore_all(struct pm_explorer *explorer, uint32_t preemptions, uint64_t most, struct pm_explored *ret);
/// Runs `most` random schedules, a switch at one of `one_in` steps (0: a mixture), until one fails.
PM_API void pm_explore_random(struct pm_explorer *explorer, uint64_t seed, uint32_t one_in, uint64_t most, struct pm_explored *ret);
/// The same with priorities that change `depth` - 1 times (PCT).
PM_API void pm_explore_pct(struct pm_explorer *explorer, uint64_t seed, uint32_t depth, uint64_t most, struct pm_explored *ret);
/// Runs one schedule. Afterwards pm_explorer_story() tells it.
PM_API void pm_explore_replay(struct pm_explorer *explorer, size_t n, const struct pm_preemption *schedule, struct pm_explored *ret);
/// Takes away what a failing schedule does not need, as long as it fails in the same way.
PM_API void pm_explore_shrink(struct pm_explorer *explorer, struct pm_explored *failing);

/// The interleaving of the last replay, a line a stretch of a task. Borrowed until the next call.
PM_API const char *pm_explorer_story(const struct pm_explorer *explorer);

/// Names. NULL beyond the last.
PM_API const char *pm_operation_name(uint32_t kind);
PM_API const char *pm_explore_failure_name(uint32_t failure);
PM_API const char *pm_planted_name(uint32_t bug);
/// What a planted bug breaks, and the race of the reference to which it belongs.
PM_API const char *pm_planted_breaks(uint32_t bug);
PM_API const char *pm_planted_race(uint32_t bug);

/* BINDING-END */
#endif
