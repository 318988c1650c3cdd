/// The workloads of workloads.h on pymigrate's core. A machine is kept as long as the requests want the same size.
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "pymigrate.h"

static struct pm_machine *machine;
static uint64_t machine_bytes;

static inline bool target_get(unsigned cpu, unsigned order, size_t n, uint64_t *blocks, bool batch)
{
	size_t done;

	if (batch)
		return pm_alloc_bulk(machine, cpu, order, PM_GFP_HIGHUSER_MOVABLE, n, blocks, &done) == PM_OK;
	for (size_t i = 0; i < n; i++)
		if (pm_alloc(machine, cpu, order, PM_GFP_HIGHUSER_MOVABLE, &blocks[i]) != PM_OK)
			return false;
	return true;
}

static inline bool target_put(unsigned cpu, unsigned order, size_t n, const uint64_t *blocks, bool batch)
{
	size_t done;

	if (batch)
		return pm_free_bulk(machine, cpu, order, n, blocks, &done) == PM_OK;
	for (size_t i = 0; i < n; i++)
		if (pm_free(machine, cpu, blocks[i], order) != PM_OK)
			return false;
	return true;
}

static void target_close(void)
{
	pm_machine_destroy(machine);
	machine = NULL;
}

static void target_open(uint64_t bytes)
{
	struct pm_zone_layout zone = { .kind = PM_ZONE_NORMAL, .start_pfn = 0, .spanned = bytes / PM_PAGE_SIZE };
	struct pm_layout layout = { .zones = &zone, .nr_zones = 1, .nr_cpus = 2, .start = PM_START_FREE };

	if (machine != NULL && machine_bytes == bytes) {
		/* The per-CPU lists hold blocks in the order in which the last workload freed them. */
		if (pm_drain(machine, PM_ALL_CPUS) != PM_OK)
			exit(EXIT_FAILURE);
		return;
	}
	target_close();
	pm_settings_default(&layout.settings);
	machine_bytes = bytes;
	if (pm_machine_create(&layout, &machine) != PM_OK) {
		fprintf(stderr, "benchmark driver: no machine of %llu bytes\n", (unsigned long long)bytes);
		exit(EXIT_FAILURE);
	}
}

#include "workloads.h"

int main(void)
{
	return bench_main();
}
