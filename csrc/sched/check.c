/// After the tasks have ended: is everything whole, does everybody see what was written, also from swap and from the device, and is
/// nothing left when all is given back?
#include <inttypes.h>

#include "phys/page.h"
#include "sched/doing.h"

static void validate(struct pm_world *world, const char *when)
{
	char text[512] = "";

	if (pm_machine_validate(world->m, text, sizeof(text)) != PM_OK)
		pm_sched_fail(&world->sched, PM_FAIL_INVARIANT, "%s: %s", when, text);
}

static void require(struct pm_world *world, const char *what, enum pm_status status)
{
	if (status)
		pm_sched_fail(&world->sched, PM_FAIL_STATUS, "%s: %s", what, pm_status_text(status));
}

static void read_page(struct pm_world *world, uint32_t space, uint32_t page, const char *when)
{
	struct pm_world_state *state = &world->state;
	unsigned char bytes[PM_PAGE_SIZE];
	uint32_t start = pm_model_tick(&state->model);
	enum pm_status status;
	size_t done;

	status = pm_read(world->m, pm_world_cpu(world, 0), state->space[space], pm_world_addr(page), bytes, sizeof(bytes), &done);
	if (!status && !pm_world_judge(world, pm_model_place_of(space, page), pm_world_value_of(bytes), start, pm_model_tick(&state->model)))
		pm_sched_fail(&world->sched, PM_FAIL_CONTENTS, "%s, %c%" PRIu32 "%s", when, (char)('A' + space), page, world->verdict);
	if (status == PM_ERR_FAULT && (page >= 6 || pm_world_has(world, PM_OP_UNMAP) || pm_world_has(world, PM_OP_REMAP)) && !state->locked[space][page])
		return;
	if (!(status == PM_ERR_BEYOND && pm_world_has(world, PM_OP_TRUNCATE)))
		require(world, when, status);
	if (!status && state->gone[space][page])
		pm_sched_fail(&world->sched, PM_FAIL_STATUS, "%s, %c%" PRIu32 " can be read, although it was unmapped", when, (char)('A' + space), page);
}

static bool lives(const struct pm_world *world, uint32_t space)
{
	return world->state.space[space] && !world->state.exited[space];
}

static void read_all(struct pm_world *world, const char *when)
{
	uint32_t space, page;

	for (space = 0; space < PM_WORLD_SPACES; space++)
		for (page = 0; page < PM_WORLD_PAGES && lives(world, space); page++)
			read_page(world, space, page, when);
}

/// An mlocked page has a frame.
static void check_locked(struct pm_world *world)
{
	struct pm_pte_info info;
	uint32_t space, page;

	for (space = 0; space < PM_WORLD_SPACES; space++)
		for (page = 0; page < PM_WORLD_PAGES && lives(world, space); page++) {
			if (!world->state.locked[space][page])
				continue;
			require(world, "a look at an mlocked page", pm_lookup(world->m, pm_world_cpu(world, 0), world->state.space[space], pm_world_addr(page), &info));
			if (info.kind != PM_PTE_PRESENT)
				pm_sched_fail(&world->sched, PM_FAIL_INVARIANT, "%c%" PRIu32 " is mlocked and has no frame", (char)('A' + space), page);
			/* One area alone says what its frame is. Otherwise MLOCKED is a hint, which reclaim checks. */
			if (page < 2 && !pm_world_has(world, PM_OP_FORK) && !pm_page_test(pm_page_of(world->m, pm_pfn(info.pfn)), PM_PG_MLOCKED))
				pm_sched_fail(&world->sched, PM_FAIL_INVARIANT, "%c%" PRIu32 " is mlocked and its frame may be reclaimed", (char)('A' + space), page);
		}
}

/// What was accessed, and what nobody but migrations has been at since, is marked young still.
static void check_young(struct pm_world *world)
{
	uint32_t only = (uint32_t)1 << PM_OP_READ | (uint32_t)1 << PM_OP_WRITE | (uint32_t)1 << PM_OP_MIGRATE | (uint32_t)1 << PM_OP_MIGRATE_ALL;
	struct pm_pte_info info;
	uint32_t page;

	for (page = 0; page < PM_WORLD_PAGES && !(world->kinds & ~only); page++) {
		if (!world->state.accessed[page])
			continue;
		require(world, "a look at a page", pm_lookup(world->m, pm_world_cpu(world, 0), world->state.space[0], pm_world_addr(page), &info));
		if (info.kind == PM_PTE_PRESENT && !info.young)
			pm_sched_fail(&world->sched, PM_FAIL_INVARIANT, "A%" PRIu32 " was accessed and is not young", page);
	}
}

static void page_all_out(struct pm_world *world)
{
	uint32_t space, cpu = pm_world_cpu(world, 0);
	uint64_t freed;

	for (space = 0; space < PM_WORLD_SPACES; space++) {
		if (!lives(world, space))
			continue;
		require(world, "paging out at the end", pm_page_out(world->m, cpu, world->state.space[space], pm_world_addr(0), 6 * PM_PAGE_SIZE, &freed));
		require(world, "paging out at the end", pm_page_out(world->m, cpu, world->state.space[space], pm_world_addr(6), 2 * PM_PAGE_SIZE, &freed));
	}
}

/// The file, read through its cache or from its device.
static void read_file(struct pm_world *world, const char *when)
{
	unsigned char bytes[PM_PAGE_SIZE];
	uint32_t page;
	size_t done;

	for (page = 0; page < PM_WORLD_FILE_PAGES; page++) {
		uint32_t start = pm_model_tick(&world->state.model);

		require(world, when, pm_file_read(world->m, pm_world_cpu(world, 0), world->state.file, (uint64_t)page << PM_PAGE_SHIFT, bytes, sizeof(bytes), &done));
		if (done != sizeof(bytes)) {
			if (!pm_world_has(world, PM_OP_TRUNCATE))
				pm_sched_fail(&world->sched, PM_FAIL_STATUS, "%s: the file ends early", when);
			continue;
		}
		if (!pm_world_judge(world, pm_model_file_place(page), pm_world_value_of(bytes), start, pm_model_tick(&world->state.model)))
			pm_sched_fail(&world->sched, PM_FAIL_CONTENTS, "%s, page %" PRIu32 " of the file%s", when, page, world->verdict);
	}
}

static void drop_file(struct pm_world *world)
{
	uint64_t bytes = (uint64_t)PM_WORLD_FILE_PAGES << PM_PAGE_SHIFT, dropped;

	require(world, "dropping the file's pages", pm_file_drop(world->m, pm_world_cpu(world, 0), world->state.file, 0, bytes, &dropped));
}

static void end_spaces(struct pm_world *world)
{
	uint32_t i, cpu = pm_world_cpu(world, 0);

	for (i = 0; i < PM_PROGRAM_TASKS; i++)
		if (world->state.pin[i])
			require(world, "giving a pin back", pm_unpin(world->m, cpu, world->state.pin[i]));
	for (i = 0; i < PM_WORLD_SPACES; i++)
		if (lives(world, i))
			require(world, "ending a space", pm_space_exit(world->m, cpu, world->state.space[i]));
}

static void end_file(struct pm_world *world)
{
	uint32_t cpu = pm_world_cpu(world, 0);
	uint64_t bytes = (uint64_t)PM_WORLD_FILE_PAGES << PM_PAGE_SHIFT;

	drop_file(world);
	read_file(world, "after dropping what was clean");
	require(world, "writing the file out", pm_file_sync(world->m, cpu, world->state.file, 0, bytes, true));
	drop_file(world);
	read_file(world, "from the device");
	require(world, "closing the file", pm_file_close(world->m, cpu, world->state.file));
}

/// Every frame and every slot is free.
static void check_nothing_left(struct pm_world *world)
{
	struct pm_zone_info zone;
	struct pm_swap_info swap;
	uint64_t freed;

	/* A page whose last user found it locked stays in the swap cache, where nobody names it, until reclaim comes by: as in the kernel. */
	require(world, "reclaim", pm_reclaim(world->m, pm_world_cpu(world, 0), 0, PM_WORLD_FRAMES, &freed));
	require(world, "the zone", pm_zone_info(world->m, 0, &zone));
	if (zone.nr_free + zone.nr_pcp != PM_WORLD_FRAMES)
		pm_sched_fail(&world->sched, PM_FAIL_LEAK, "%" PRIu64 " frames were left behind", (uint64_t)PM_WORLD_FRAMES - zone.nr_free - zone.nr_pcp);
	require(world, "swap", pm_swap_info(world->m, &swap));
	if (swap.nr_used)
		pm_sched_fail(&world->sched, PM_FAIL_LEAK, "%" PRIu64 " swap slots were left behind", swap.nr_used);
}

void pm_world_check(struct pm_world *world)
{
	validate(world, "at the end");
	pm_world_end_blocks(world);
	validate(world, "after users' blocks and ranges");
	check_locked(world);
	check_young(world);
	read_all(world, "at the end");
	page_all_out(world);
	check_locked(world);
	read_all(world, "after paging out");
	end_spaces(world);
	end_file(world);
	check_nothing_left(world);
	validate(world, "after everything");
}
