/// The tiny world in which programs run: a machine of few frames with one space, a file on a device with latency, and swap. Made once;
/// every program and every schedule begins from a copy of it.
#ifndef PM_SCHED_WORLD_H
#define PM_SCHED_WORLD_H

#include "sched/model.h"
#include "sched/region.h"
#include "sched/sched.h"

struct pm_machine;

/// The zone lies on both sides of a pageblock's edge, so that one of its two parts can be isolated, or go offline, and the other has room. What is allocated first comes
/// from the first part, whose beginning is its smallest free block.
enum { PM_WORLD_START = 456, PM_WORLD_MIDDLE = 512, PM_WORLD_END = 544, PM_WORLD_FRAMES = PM_WORLD_END - PM_WORLD_START };

enum { PM_WORLD_USERS = PM_PROGRAM_OPERATIONS + 1, PM_WORLD_BLOCKS = 16, PM_WORLD_SLOTS = 8 };

/// A block that a user has got from pm_alloc(), by capture or by taking a range.
struct pm_world_block {
	uint32_t pfn, order;
};

struct pm_world_frame {
	uint8_t user;  ///< 1 + the operation that was given it; 0: no user
	bool owned;    ///< it has an owner
	bool poisoned; ///< it has none, and holds the pattern
};

/// What the tasks know and what is expected. Copied along with the machine.
struct pm_world_state {
	struct pm_model model;
	uint64_t space[PM_WORLD_SPACES]; ///< handles; 0: does not exist yet
	bool claimed[PM_WORLD_SPACES];	 ///< a fork is making it, or has
	bool exited[PM_WORLD_SPACES];	 ///< an exit has ended
	uint64_t file;
	uint64_t pin[PM_PROGRAM_TASKS];	 ///< of each task; 0: none
	/// Of each page: an unmap has ended and nothing mapped it since; it is read-only likewise; it is mlocked likewise.
	bool gone[PM_WORLD_SPACES][PM_WORLD_PAGES];
	bool readonly[PM_WORLD_SPACES][PM_WORLD_PAGES];
	bool locked[PM_WORLD_SPACES][PM_WORLD_PAGES];
	/// Operations that may change the above are under way, or have ended: a check over a time in which this changed says nothing.
	uint32_t changes[PM_WORLD_SPACES][PM_WORLD_PAGES];
	bool accessed[PM_WORLD_PAGES];	 ///< of space A: a read or a write has ended
	struct pm_world_frame frame[PM_WORLD_FRAMES];
	struct pm_world_block blocks[PM_WORLD_USERS]; ///< [nr_blocks], of all tasks
	uint32_t nr_blocks;
	/// Of each part of the zone: the handle of an isolation; whether it is offline; and which isolation or offlining, by number, keeps its frames to itself. 0: none.
	uint64_t isolation[2];
	bool offline[2];
	uint32_t closed[2], closings;
};

struct pm_world {
	struct pm_sched sched; ///< first
	struct pm_region region;
	struct pm_snapshot base, loaded;
	struct pm_world_state state, base_state, loaded_state;
	struct pm_machine *m;
	uint64_t device, swap_device;
	struct pm_program program;
	uint32_t kinds;	  ///< operations in it, a bit each
	uint32_t nr_tasks;
	uint64_t attempted[PM_NR_PROTOCOLS], moved[PM_NR_PROTOCOLS]; ///< frames, over all schedules since somebody set them to 0
	uint64_t compact_attempted, compact_moved; ///< compactions, and those that moved something
	char verdict[320];
};

/// PM_ERR_NOMEM, and what the machine says.
enum pm_status pm_world_init(struct pm_world *world);
void pm_world_deinit(struct pm_world *world);

/// Makes the world of a program and does its setup; from then on pm_world_run() begins there. A failure is in sched.failure.
enum pm_status pm_world_load(struct pm_world *world, const struct pm_program *program);

/// Runs the tasks under the schedule that is set, then looks whether all is well. The result is in sched.failure.
void pm_world_run(struct pm_world *world);

/* ---- between the files of the world ---- */

uint64_t pm_world_addr(uint32_t page);
/// The CPU that a task works on.
uint32_t pm_world_cpu(const struct pm_world *world, uint32_t task);
/// One operation, by a task.
void pm_world_operation(struct pm_world *world, uint32_t task, uint32_t index);
/// What is written by operation `index`, and which operation wrote these bytes; PM_MODEL_GARBAGE: none did.
void pm_world_bytes_of(uint32_t value, unsigned char *bytes);
uint32_t pm_world_value_of(const unsigned char *bytes);
/// Frames that no owner and no user should write to hold a pattern: puts it there, and fails the run if it is not there any more.
void pm_world_poison(struct pm_world *world, uint32_t pfn);
void pm_world_check_poison(struct pm_world *world, uint32_t pfn);
/// Where the program compacts: while it sets its world up, the first block has one free frame, so that what comes there is alone in it; and a user has the beginning of the second
/// pageblock, which would be no place to move to if it began with a block as large as what is wanted.
void pm_world_scatter(struct pm_world *world, bool begin);
/// Ends isolations, brings online what is offline, and frees what users have.
void pm_world_end_blocks(struct pm_world *world);
/// After all tasks have ended.
void pm_world_check(struct pm_world *world);
/// Is the value among those allowed? If not, world->verdict says what was.
bool pm_world_judge(struct pm_world *world, uint32_t place, uint32_t value, uint32_t start, uint32_t end);

#endif
