/// The tiny world in which programs run: a machine of few frames with one space, a file on a device with latency, and swap. Made once;
/// every program and every schedule begins from a copy of it.
#ifndef PM_SCHED_WORLD_H
#define PM_SCHED_WORLD_H

#include "sched/model.h"
#include "sched/region.h"
#include "sched/sched.h"

struct pm_machine;

enum { PM_WORLD_FRAMES = 96, PM_WORLD_BLOCKS = 16, PM_WORLD_SLOTS = 8 };

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
	bool poisoned[PM_WORLD_FRAMES];	 ///< a frame without an owner that holds the pattern
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
/// After all tasks have ended.
void pm_world_check(struct pm_world *world);
/// Is the value among those allowed? If not, world->verdict says what was.
bool pm_world_judge(struct pm_world *world, uint32_t place, uint32_t value, uint32_t start, uint32_t end);

#endif
