/// Wrong calls get an error and change nothing, in every flavour.
#include "tests/world.h"

static struct world world;

static uint64_t held(uint32_t order)
{
	REQUIRE(world_alloc(&world, 0, order, PM_GFP_KERNEL) == PM_OK);
	return world.blocks[world.nr_blocks - 1].pfn;
}

static void double_free(void)
{
	uint32_t order;

	for (order = 0; order <= PM_MAX_ORDER; order++) {
		uint64_t pfn = held(order);

		world_free(&world, 0, world.nr_blocks - 1);
		CHECK_EQ(pm_free(world.machine, 0, pfn, order), PM_ERR_DOUBLE_FREE);
		CHECK_EQ(pm_free(world.machine, 1, pfn, order), PM_ERR_DOUBLE_FREE);
		REQUIRE(pm_drain(world.machine, PM_ALL_CPUS) == PM_OK);
		CHECK_EQ(pm_free(world.machine, 0, pfn, order), PM_ERR_DOUBLE_FREE);
		world_validate(&world);
	}
}

static void wrong_order_or_inner_frame(void)
{
	uint64_t pfn = held(3);
	uint32_t order;

	for (order = 0; order <= PM_MAX_ORDER; order++)
		if (order != 3)
			CHECK_EQ(pm_free(world.machine, 0, pfn, order), PM_ERR_ORDER);
	CHECK_EQ(pm_free(world.machine, 0, pfn + 1, 0), PM_ERR_ORDER);
	CHECK_EQ(pm_free(world.machine, 0, pfn + 4, 2), PM_ERR_ORDER);
	world_free(&world, 0, world.nr_blocks - 1);
	/* An inner frame of a free block is as free as its head. */
	REQUIRE(pm_drain(world.machine, PM_ALL_CPUS) == PM_OK);
	CHECK_EQ(pm_free(world.machine, 0, pfn + 1, 0), PM_ERR_DOUBLE_FREE);
	world_validate(&world);
}

static void out_of_range(void)
{
	uint64_t pfn;

	CHECK_EQ(pm_free(world.machine, 0, world.start + world.nr_frames, 0), PM_ERR_RANGE);
	CHECK_EQ(pm_free(world.machine, 0, UINT64_MAX, 0), PM_ERR_RANGE);
	CHECK_EQ(pm_free(world.machine, 0, (uint64_t)1 << 32, 0), PM_ERR_RANGE);
	CHECK_EQ(pm_free(world.machine, 0, world.start - 1, 0), PM_ERR_RANGE);
	CHECK_EQ(pm_alloc(world.machine, 2, 0, PM_GFP_KERNEL, &pfn), PM_ERR_INVAL);
	CHECK_EQ(pm_alloc(world.machine, 0, PM_MAX_ORDER + 1, PM_GFP_KERNEL, &pfn), PM_ERR_INVAL);
	CHECK_EQ(pm_alloc(world.machine, 0, 0, ~(uint32_t)PM_GFP_ALL, &pfn), PM_ERR_INVAL);
	CHECK_EQ(pm_alloc(world.machine, 0, 0, PM_GFP_DMA | PM_GFP_DMA32, &pfn), PM_ERR_FLAGS);
	CHECK_EQ(pm_alloc(world.machine, 0, 0, PM_GFP_MOVABLE | PM_GFP_RECLAIMABLE, &pfn), PM_ERR_FLAGS);
	CHECK_EQ(pm_alloc(world.machine, 0, 0, PM_GFP_DMA, &pfn), PM_ERR_ZONE);
	world_validate(&world);
}

static void a_bulk_free_stops_at_the_bad_block(void)
{
	uint64_t pfns[4];
	size_t n = 99;
	unsigned int i;

	for (i = 0; i < 3; i++)
		pfns[i] = held(0);
	pfns[3] = pfns[0];
	CHECK_EQ(pm_free_bulk(world.machine, 0, 0, 4, pfns, &n), PM_ERR_DOUBLE_FREE);
	CHECK_EQ(n, 3);
	for (i = 0; i < 3; i++)
		(void)world_drop(&world, world.nr_blocks - 1);
	world_check_count(&world);
	world_validate(&world);
}

static void bad_layouts(void)
{
	struct pm_zone_layout zones[2] = { { PM_ZONE_DMA32, 0, 1024 }, { PM_ZONE_NORMAL, 1024, 1024 } };
	struct pm_layout layout = { .zones = zones, .nr_zones = 2, .nr_cpus = 1, .start = PM_START_FREE };
	struct pm_machine *machine = NULL;

	pm_settings_default(&layout.settings);
	layout.nr_cpus = 0;
	CHECK_EQ(pm_machine_create(&layout, &machine), PM_ERR_INVAL);
	layout.nr_cpus = PM_MAX_CPUS + 1;
	CHECK_EQ(pm_machine_create(&layout, &machine), PM_ERR_INVAL);
	layout.nr_cpus = 1;
	layout.nr_zones = 0;
	CHECK_EQ(pm_machine_create(&layout, &machine), PM_ERR_INVAL);
	layout.nr_zones = 2;
	zones[1].start_pfn = 512;
	CHECK_EQ(pm_machine_create(&layout, &machine), PM_ERR_INVAL);
	zones[1].start_pfn = 1024;
	zones[1].spanned = (uint64_t)1 << 40;
	CHECK_EQ(pm_machine_create(&layout, &machine), PM_ERR_LIMIT);
	zones[1].spanned = UINT64_MAX;
	CHECK(pm_machine_create(&layout, &machine) != PM_OK);
	pm_machine_destroy(NULL);
}

static void every_status_has_a_sentence(void)
{
	int status;

	for (status = PM_OK; status >= PM_ERR_LIMIT; status--)
		CHECK(strlen(pm_status_text((enum pm_status)status)) > 1);
	CHECK(pm_status_text((enum pm_status)-1000) != NULL);
	CHECK(pm_status_text((enum pm_status)1000) != NULL);
}

int main(void)
{
	world_init(&world, 2048, 4096, 2);
	RUN(double_free);
	RUN(wrong_order_or_inner_frame);
	RUN(out_of_range);
	RUN(a_bulk_free_stops_at_the_bad_block);
	world_deinit(&world);
	RUN(bad_layouts);
	RUN(every_status_has_a_sentence);
	return check_result();
}
