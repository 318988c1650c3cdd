#include "sched/world.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "back/back.h"
#include "back/device.h"
#include "move/move.h"
#include "phys/machine.h"
#include "virt/virt.h"

/// A pattern in frames without an owner. No value is written like this.
enum { POISON = 0xee };

#define BASE_ADDR ((uint64_t)0x40000000)

uint64_t pm_world_addr(uint32_t page)
{
	/* The places to move to have a page table of their own. */
	return page < 6 ? BASE_ADDR + ((uint64_t)page << PM_PAGE_SHIFT) : BASE_ADDR + 0x200000 + ((uint64_t)(page - 6) << PM_PAGE_SHIFT);
}

uint32_t pm_world_cpu(const struct pm_world *world, uint32_t task)
{
	return world->program.share_cpu ? 1 : 1 + task;
}

void pm_world_bytes_of(uint32_t value, unsigned char *bytes)
{
	memset(bytes, (int)value, PM_PAGE_SIZE);
}

uint32_t pm_world_value_of(const unsigned char *bytes)
{
	const unsigned char *last = bytes + PM_PAGE_SIZE - PM_REGION_LINE;
	uint32_t i;

	/* The ends of the page, which are what a snapshot keeps of it: a page that was copied in part differs in them. */
	for (i = 0; i < PM_REGION_LINE; i++)
		if (bytes[i] != bytes[0] || last[i] != bytes[0])
			return PM_MODEL_GARBAGE;
	return bytes[0] < PM_MODEL_GARBAGE ? bytes[0] : PM_MODEL_GARBAGE;
}

/* ---- what the scheduler asks of the world ---- */

static void *on_zalloc(void *context, size_t bytes)
{
	struct pm_world *world = context;

	void *memory = pm_region_alloc(&world->region, bytes);

	if (memory)
		memset(memory, 0, bytes);
	return memory;
}

static void on_free(void *context, void *memory)
{
	struct pm_world *world = context;

	pm_region_free(&world->region, memory);
}

static bool on_idle(void *context)
{
	struct pm_world *world = context;

	return pm_back_idle(world->m->back) == 0;
}

void pm_world_poison(struct pm_world *world, uint32_t pfn)
{
	char *bytes = pm_frame_bytes(world->m, pm_pfn(pfn));

	pm_sched_touch(&world->sched, bytes);
	memset(bytes, POISON, PM_PAGE_SIZE);
	world->state.frame[pfn - PM_WORLD_START].poisoned = true;
}

void pm_world_check_poison(struct pm_world *world, uint32_t pfn)
{
	const unsigned char *bytes = (const unsigned char *)pm_frame_bytes(world->m, pm_pfn(pfn));

	pm_sched_touch(&world->sched, bytes);
	if (world->state.frame[pfn - PM_WORLD_START].poisoned && (bytes[0] != POISON || bytes[PM_PAGE_SIZE - 1] != POISON))
		pm_sched_fail(&world->sched, PM_FAIL_USE_AFTER_FREE, "frame %" PRIu32 " was written to while it had no owner", pfn);
}

/// A frame without an owner keeps a pattern: who still writes to it is found when it gets its next one.
static void on_frame(void *context, uint32_t pfn, uint32_t nr, bool owned)
{
	struct pm_world *world = context;
	uint32_t i;

	for (i = pfn; i < pfn + nr && i < PM_WORLD_END; i++) {
		struct pm_world_frame *frame = &world->state.frame[i - PM_WORLD_START];

		frame->owned = owned;
		if (!owned) {
			pm_world_poison(world, i);
			continue;
		}
		if (frame->user)
			pm_sched_fail(&world->sched, PM_FAIL_INVARIANT, "frame %" PRIu32 " got an owner while operation %d had it", i, frame->user - 1);
		pm_world_check_poison(world, i);
		frame->poisoned = false;
	}
}

static void on_run(void *context, uint32_t task)
{
	struct pm_world *world = context;
	uint32_t i;

	for (i = 0; i < world->program.nr; i++)
		if (world->program.operations[i].task == task)
			pm_world_operation(world, task, i);
}

/* ---- making it ---- */

static enum pm_status make_machine(struct pm_world *world)
{
	struct pm_zone_layout zone = { PM_ZONE_NORMAL, PM_WORLD_START, PM_WORLD_FRAMES };
	struct pm_layout layout = { .zones = &zone, .nr_zones = 1, .nr_cpus = 1 + PM_PROGRAM_TASKS, .start = PM_START_FREE };
	struct pm_memory_options options;
	enum pm_status status;

	pm_settings_default(&layout.settings);
	layout.settings.min_free_kbytes = 0;
	layout.settings.watermark_scale_factor = 0;
	layout.settings.pcp = 0;
	status = pm_machine_create(&layout, &world->m);
	if (status)
		return status;
	pm_memory_options_default(&options);
	options.contents = PM_CONTENTS_PRIVATE;
	options.tables_in_frames = 0;
	options.wait_slices = 0;
	options.guard = PM_GUARD_FENCE;
	options.now_ns = NULL;
	return pm_memory_enable(world->m, &options);
}

static void add_device(struct pm_world *world, uint64_t handle)
{
	struct pm_device *device = pm_pool_find(&world->m->back->devices, handle);

	pm_region_add_range(&world->region, device->store, (size_t)PM_WORLD_BLOCKS << PM_PAGE_SHIFT, PM_PAGE_SIZE);
}

static enum pm_status make_devices(struct pm_world *world)
{
	struct pm_device_options options;
	enum pm_status status;

	pm_device_options_default(&options);
	options.nr_blocks = PM_WORLD_BLOCKS;
	options.read_ns = options.write_ns = 1000;
	options.depth = 4;
	options.contents = 1;
	status = pm_device_create(world->m, &options, &world->device);
	if (!status)
		status = pm_device_create(world->m, &options, &world->swap_device);
	return status;
}

/// What has to be copied besides the region.
static void add_ranges(struct pm_world *world)
{
	struct pm_machine *m = world->m;

	pm_region_add_range(&world->region, m, sizeof(*m), 0);
	pm_region_add_range(&world->region, m->cpu, m->nr_cpus * sizeof(*m->cpu), 0);
	pm_region_add_range(&world->region, m->tables.frames + PM_WORLD_START, PM_WORLD_FRAMES * sizeof(*m->tables.frames), 0);
	pm_region_add_range(&world->region, m->tables.pageblocks, m->nr_pageblocks * sizeof(*m->tables.pageblocks), 0);
	pm_region_add_range(&world->region, m->pages + PM_WORLD_START, PM_WORLD_FRAMES * sizeof(*m->pages), 0);
	pm_region_add_range(&world->region, m->arena + ((size_t)PM_WORLD_START << PM_PAGE_SHIFT), (size_t)PM_WORLD_FRAMES << PM_PAGE_SHIFT, PM_PAGE_SIZE);
	add_device(world, world->device);
	add_device(world, world->swap_device);
}

enum pm_status pm_world_init(struct pm_world *world)
{
	enum pm_status status;

	memset(world, 0, sizeof(*world));
	if (!pm_sched_init(&world->sched) || !pm_region_init(&world->region, (size_t)64 << 20))
		return PM_ERR_NOMEM;
	world->sched.run = on_run;
	world->sched.context = world;
	world->sched.idle = on_idle;
	world->sched.frame = on_frame;
	world->sched.zalloc = on_zalloc;
	world->sched.free = on_free;
	pm_sched_enter(&world->sched);
	status = make_machine(world);
	if (!status)
		status = make_devices(world);
	if (!status) {
		add_ranges(world);
		pm_model_init(&world->state.model);
		world->base_state = world->state;
		status = pm_snapshot_take(&world->base, &world->region) ? PM_OK : PM_ERR_NOMEM;
	}
	pm_sched_leave(&world->sched);
	return status;
}

void pm_world_deinit(struct pm_world *world)
{
	if (world->m) {
		pm_sched_enter(&world->sched);
		if (world->base.bytes)
			pm_snapshot_restore(&world->base, &world->region);
		pm_machine_destroy(world->m);
		pm_sched_leave(&world->sched);
	}
	pm_snapshot_deinit(&world->base);
	pm_snapshot_deinit(&world->loaded);
	pm_region_deinit(&world->region);
	pm_sched_deinit(&world->sched);
}

/* ---- a program's own world ---- */

static void require(struct pm_world *world, enum pm_status status, const char *what)
{
	if (status)
		pm_sched_fail(&world->sched, PM_FAIL_STATUS, "setting the world up: %s: %s", what, pm_status_text(status));
}

static void map(struct pm_world *world, uint32_t page, uint32_t flags, uint64_t file)
{
	struct pm_map_request request = { .addr = pm_world_addr(page), .length = 2 * PM_PAGE_SIZE, .prot = PM_PROT_READ | PM_PROT_WRITE, .flags = PM_MAP_FIXED | flags, .file = file };
	uint64_t addr;

	require(world, pm_map(world->m, pm_world_cpu(world, 0), world->state.space[0], &request, &addr), "map");
}

static void swap_on(struct pm_world *world)
{
	struct pm_swap_options options = { PM_WORLD_SLOTS, world->swap_device };

	require(world, pm_swap_on(world->m, &options), "swap on");
}

/// The file, the space and its areas.
static void furnish(struct pm_world *world)
{
	uint64_t bytes = (uint64_t)PM_WORLD_FILE_PAGES << PM_PAGE_SHIFT;
	struct pm_file_options options = { .fs = world->program.fs, .device = world->program.fs == PM_FS_RAM ? 0 : world->device, .size = bytes, .capacity = bytes };
	struct pm_device *device = pm_pool_find(&world->m->back->devices, world->swap_device);

	if (world->program.swap != 2)
		device->options.read_ns = device->options.write_ns = 0;
	require(world, pm_file_create(world->m, &options, &world->state.file), "file");
	require(world, pm_space_create(world->m, &world->state.space[0]), "space");
	world->state.claimed[0] = true;
	map(world, 0, 0, 0);
	map(world, 2, PM_MAP_SHARED, world->state.file);
	map(world, 4, 0, world->state.file);
	if (world->program.swap)
		swap_on(world);
	/* What the first migration would make is there already, or every schedule would make it. */
	if ((world->kinds >> PM_OP_MIGRATE & 3) || world->kinds >> PM_OP_COMPACT)
		require(world, pm_move_init(world->m), "migration");
	world->m->settings.pcp = world->program.lists;
}

static void do_setup(void *context, uint32_t task)
{
	struct pm_world *world = context;
	uint32_t i;

	furnish(world);
	pm_world_scatter(world, true);
	for (i = 0; i < world->program.nr; i++)
		if (world->program.operations[i].task == PM_SETUP)
			pm_world_operation(world, task, i);
	pm_world_scatter(world, false);
}

static bool is_migration(const struct pm_operation *op)
{
	return op->kind == PM_OP_MIGRATE || op->kind == PM_OP_MIGRATE_ALL;
}

/// Brings what callers may say into the range of what there is. False: no program.
static bool take_program(struct pm_world *world, const struct pm_program *program)
{
	uint32_t i;

	if (program->nr > PM_PROGRAM_OPERATIONS || program->fs >= PM_NR_FS || program->swap > 2 || program->share_cpu > 1 || program->lists > 1)
		return false;
	world->program = *program;
	world->kinds = 0;
	world->nr_tasks = 0;
	for (i = 0; i < program->nr; i++) {
		struct pm_operation *op = &world->program.operations[i];

		if ((op->task >= PM_PROGRAM_TASKS && op->task != PM_SETUP) || op->kind >= PM_NR_OPERATIONS)
			return false;
		if (is_migration(op) && ((op->value & 7) >= PM_NR_PROTOCOLS || (op->value >> 3 & 3) > PM_MIGRATE_SYNC || op->value >= PM_VALUES))
			return false;
		if ((op->kind == PM_OP_COMPACT || op->kind == PM_OP_ALLOC) ? op->value >= PM_VALUE_ORDERS : op->kind > PM_OP_COMPACT && op->value > 1)
			return false;
		op->space %= PM_WORLD_SPACES;
		op->page %= PM_WORLD_PAGES;
		world->kinds |= 1u << op->kind;
		if (op->task != PM_SETUP && op->task + 1u > world->nr_tasks)
			world->nr_tasks = op->task + 1u;
	}
	return world->nr_tasks != 0;
}

enum pm_status pm_world_load(struct pm_world *world, const struct pm_program *program)
{
	if (!take_program(world, program))
		return PM_ERR_INVAL;
	pm_snapshot_restore(&world->base, &world->region);
	world->state = world->base_state;
	pm_sched_enter(&world->sched);
	pm_sched_forget(&world->sched);
	pm_sched_alone(&world->sched, do_setup);
	pm_sched_leave(&world->sched);
	world->loaded_state = world->state;
	return pm_snapshot_take(&world->loaded, &world->region) ? PM_OK : PM_ERR_NOMEM;
}

static void do_check(void *context, uint32_t task)
{
	(void)task;
	pm_world_check(context);
}

void pm_world_run(struct pm_world *world)
{
	struct pm_sched *sched = &world->sched;
	pm_snapshot_restore(&world->loaded, &world->region);
	world->state = world->loaded_state;
	pm_sched_run(sched, world->nr_tasks);
	if (sched->failure)
		return;
	pm_sched_alone(sched, do_check);
}
