/// All sequences of up to six operations on a tiny zone: no block overlaps another, no frame is lost, no request fails that could be
/// served, and the audit finds nothing.
#include "tests/world.h"

enum { DEPTH = 6, NR_OPERATIONS = 8, TINY_FRAMES = 1024 };

static struct world world;

/// A failure is right only if no free block of the order is left anywhere, or the per-CPU lists hold what is missing.
static void try_alloc(uint32_t order, uint32_t gfp)
{
	enum pm_status status = world_alloc(&world, 0, order, gfp);
	bool room;

	if (status == PM_OK)
		return;
	CHECK(status == PM_ERR_NO_BLOCK || status == PM_ERR_WATERMARK);
	REQUIRE(pm_drain(world.machine, PM_ALL_CPUS) == PM_OK);
	room = world_has_room(&world, order);
	CHECK((world_alloc(&world, 0, order, gfp) == PM_OK) == room);
}

static void step(unsigned int operation)
{
	switch (operation) {
	case 0:
		try_alloc(0, PM_GFP_KERNEL);
		break;
	case 1:
		try_alloc(1, PM_GFP_HIGHUSER_MOVABLE);
		break;
	case 2:
		try_alloc(3, PM_GFP_KERNEL | PM_GFP_RECLAIMABLE);
		break;
	case 3:
		try_alloc(8, PM_GFP_KERNEL);
		break;
	case 4:
		try_alloc(9, PM_GFP_HIGHUSER_MOVABLE);
		break;
	case 5:
		if (world.nr_blocks)
			world_free(&world, 0, 0);
		break;
	case 6:
		if (world.nr_blocks)
			world_free(&world, 1, world.nr_blocks - 1);
		break;
	default:
		REQUIRE(pm_drain(world.machine, PM_ALL_CPUS) == PM_OK);
	}
}

static void play(const unsigned int *operations, unsigned int n)
{
	unsigned int i;

	world_init(&world, 0, TINY_FRAMES, 2);
	for (i = 0; i < n; i++)
		step(operations[i]);
	world_check_count(&world);
	world_validate(&world);
	while (world.nr_blocks)
		world_free(&world, 0, 0);
	REQUIRE(pm_drain(world.machine, PM_ALL_CPUS) == PM_OK);
	world_validate(&world);
	/* All given back: the zone is whole again. */
	CHECK(world_alloc(&world, 0, PM_MAX_ORDER, PM_GFP_HIGHUSER_MOVABLE) == PM_OK || TINY_FRAMES < 1 << PM_MAX_ORDER);
	world_deinit(&world);
}

static void all_sequences(void)
{
	unsigned int operations[DEPTH] = { 0 }, i, n, total = 1;
	/* The sanitizers take ten times as long a sequence; shorter ones are contained in the longer. */
#ifdef PM_TEST_FLAVOUR
	n = DEPTH - 1;
#else
	n = DEPTH;
#endif
	for (i = 0; i < n; i++)
		total *= NR_OPERATIONS;
	for (i = 0; i < total; i++) {
		unsigned int k, rest = i;

		for (k = 0; k < n; k++, rest /= NR_OPERATIONS)
			operations[k] = rest % NR_OPERATIONS;
		play(operations, n);
		if (check_result() != EXIT_SUCCESS) {
			fprintf(stderr, "in sequence");
			for (k = 0; k < n; k++)
				fprintf(stderr, " %u", operations[k]);
			fprintf(stderr, "\n");
			return;
		}
	}
}

int main(void)
{
	RUN(all_sequences);
	return check_result();
}
