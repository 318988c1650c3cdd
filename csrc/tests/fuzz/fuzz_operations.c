/// Sequences of operations, two bytes each, on a small machine with an account of what is held; misuse is part of the game.
#include "tests/world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct world world;

/// Frees a frame that is not held as such a block, or is: the answer must agree with the account.
static void free_anything(uint64_t pfn, uint32_t order)
{
	bool ours = false;
	enum pm_status status;
	size_t i;

	for (i = 0; i < world.nr_blocks && !ours; i++)
		ours = world.blocks[i].pfn == pfn && world.blocks[i].order == order;
	status = pm_free(world.machine, 0, pfn, order);
	REQUIRE((status == PM_OK) == ours);
	if (ours)
		(void)world_drop(&world, i - 1);
}

static void split_one(size_t i, uint32_t new_order)
{
	struct world_block block = world.blocks[i];
	uint64_t part;

	if (new_order > block.order) {
		REQUIRE(pm_split(world.machine, block.pfn, block.order, new_order) != PM_OK);
		return;
	}
	REQUIRE(pm_split(world.machine, block.pfn, block.order, new_order) == PM_OK);
	(void)world_drop(&world, i);
	for (part = 0; part < (uint64_t)1 << block.order; part += (uint64_t)1 << new_order)
		world_hold(&world, block.pfn + part, new_order);
}

static void take_exactly(uint64_t pfn, uint32_t order)
{
	if (pm_take(world.machine, pfn, order, PM_MT_MOVABLE) == PM_OK)
		world_hold(&world, pfn, order);
}

static void step(uint8_t what, uint8_t detail)
{
	static const uint32_t flags[] = { PM_GFP_KERNEL, PM_GFP_HIGHUSER_MOVABLE, PM_GFP_KERNEL | PM_GFP_RECLAIMABLE, PM_GFP_ATOMIC };
	uint32_t order = detail % PM_NR_ORDERS, cpu = what >> 7;
	uint64_t pfn = world.start + (uint64_t)detail * world.nr_frames / 256;

	switch (what % 10) {
	case 0:
	case 1:
	case 2:
		(void)world_alloc(&world, cpu, order, flags[what >> 5 & 3]);
		break;
	case 3:
	case 4:
		if (world.nr_blocks)
			world_free(&world, cpu, detail % world.nr_blocks);
		break;
	case 5:
		free_anything(pfn + (what >> 4), what >> 4 & 3);
		break;
	case 6:
		REQUIRE(pm_drain(world.machine, detail % 2 ? PM_ALL_CPUS : cpu) == PM_OK);
		break;
	case 7:
		if (world.nr_blocks)
			split_one(detail % world.nr_blocks, what >> 4 & 3);
		break;
	case 8:
		take_exactly(pfn & ~(((uint64_t)1 << (what >> 4)) - 1), what >> 4);
		break;
	default:
		(void)pm_set_isolated(world.machine, pfn, what >> 4 & 1);
		(void)pm_decay_pcp(world.machine, cpu);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t i;

	world_init(&world, 1024, 2048, 2);
	for (i = 0; i + 1 < size && i < 512; i += 2)
		step(data[i], data[i + 1]);
	world_check_count(&world);
	world_validate(&world);
	world_deinit(&world);
	return 0;
}
