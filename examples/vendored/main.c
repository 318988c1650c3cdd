/* A trace-driven simulator's physical memory, vendored: pymigrate.c and pymigrate.h lie beside this file.
 *
 *     python tools/amalgamate.py -o examples/vendored
 *     cc -std=c11 -O2 -pthread main.c pymigrate.c -o main && ./main
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "pymigrate.h"

enum { PROCESSES = 2, ACCESSES = 200000 };

static void check(enum pm_status status, const char *what)
{
	if (status) {
		fprintf(stderr, "%s: %s\n", what, pm_status_text(status));
		exit(EXIT_FAILURE);
	}
}

/* 256 MiB of RAM in one zone, one CPU, and frames without contents: a simulator of addresses needs none. */
static struct pm_machine *boot(void)
{
	struct pm_zone_layout zone = { .kind = PM_ZONE_NORMAL, .start_pfn = 0, .spanned = 65536 };
	struct pm_layout layout = { .zones = &zone, .nr_zones = 1, .nr_cpus = 1 };
	struct pm_memory_options options;
	struct pm_machine *machine;

	pm_settings_default(&layout.settings);
	check(pm_machine_create(&layout, &machine), "pm_machine_create");
	pm_memory_options_default(&options);
	options.contents = PM_CONTENTS_NONE;
	check(pm_memory_enable(machine, &options), "pm_memory_enable");
	return machine;
}

int main(void)
{
	uint64_t space[PROCESSES], random = 88172645463325252u, hash = PM_CHECKSUM_START, kinds[4] = { 0 }, huge = 0;
	struct pm_machine *machine;
	int i;

	if (pm_abi_version() >> 16 != PM_ABI_MAJOR) {
		fprintf(stderr, "pymigrate.c is of another version than pymigrate.h\n");
		return EXIT_FAILURE;
	}
	machine = boot();
	for (i = 0; i < PROCESSES; i++)
		check(pm_space_create(machine, &space[i]), "pm_space_create");
	for (i = 0; i < ACCESSES; i++) {
		struct pm_translation t;

		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		/* 48 MiB a process, at an address of its own choosing. */
		check(pm_translate(machine, 0, space[i % PROCESSES], 0x10000000000 + random % (48u << 20), (random >> 60) & PM_TRANSLATE_WRITE, &t), "pm_translate");
		kinds[t.kind]++;
		huge += t.order == PM_HUGE_ORDER;
		/* Here a simulator would go on with the physical address t.pfn * PM_PAGE_SIZE + offset. */
		hash = (hash ^ t.pfn) * 0x100000001b3u;
	}
	printf("%" PRIu64 " hits, %" PRIu64 " first touches, %" PRIu64 " accesses to huge pages, hash %016" PRIx64 "\n", kinds[PM_TRANSLATED_HIT],
	       kinds[PM_TRANSLATED_TOUCH], huge, hash);
	for (i = 0; i < PROCESSES; i++)
		check(pm_space_exit(machine, 0, space[i]), "pm_space_exit");
	pm_machine_destroy(machine);
	return EXIT_SUCCESS;
}
