/// The driver of benchmarks/embed.py: translations beside a random page map, which is what simulators use in their place. Reads one request a line
/// (`name number`) and answers with nanoseconds of CPU time per operation.
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "pymigrate.h"

/// 4 GiB of RAM; what is touched is a part of it.
enum { FRAMES = 1 << 20, PAGE = PM_PAGE_SIZE, MAP_SLOTS = 1 << 21, NEAR_PAGES = 1 << 14, FAR_PAGES = 900000 };

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "benchmark driver: %s\n", what);
	exit(EXIT_FAILURE);
}

static void must(enum pm_status status)
{
	if (status != PM_OK)
		die(pm_status_text(status));
}

static double cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static uint64_t draw(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/// Frames without contents: as a simulator of addresses uses them.
static struct pm_machine *boot(void)
{
	struct pm_zone_layout zone = { .kind = PM_ZONE_NORMAL, .start_pfn = 0, .spanned = FRAMES };
	struct pm_layout layout = { .zones = &zone, .nr_zones = 1, .nr_cpus = 1 };
	struct pm_memory_options options;
	struct pm_machine *m;

	pm_settings_default(&layout.settings);
	must(pm_machine_create(&layout, &m));
	pm_memory_options_default(&options);
	options.contents = PM_CONTENTS_NONE;
	must(pm_memory_enable(m, &options));
	return m;
}

static uint64_t translate(struct pm_machine *m, uint64_t space, uint64_t page, uint32_t flags)
{
	struct pm_translation t;

	must(pm_translate(m, 0, space, page * PAGE, flags, &t));
	return t.pfn;
}

static volatile uint64_t sink;

/// A machine whose first FAR_PAGES pages were touched in single frames.
static struct pm_machine *touched(uint64_t *ret_space)
{
	static struct pm_machine *m;
	static uint64_t space;
	uint64_t page;

	if (!m) {
		m = boot();
		must(pm_space_create(m, &space));
		for (page = 0; page < FAR_PAGES; page++)
			(void)translate(m, space, page, PM_TRANSLATE_SMALL);
	}
	*ret_space = space;
	return m;
}

static double hits(uint64_t n, uint64_t pages)
{
	uint64_t space, random = 88172645463325252u, sum = 0, i;
	struct pm_machine *m = touched(&space);
	double start = cpu_ns();

	for (i = 0; i < n; i++)
		sum += translate(m, space, draw(&random) % pages, 0);
	sink = sum;
	return (cpu_ns() - start) / (double)n;
}

/// The first touch of each page of a fresh space, in the order of a program that goes through its memory.
static double touches(uint64_t n, uint32_t flags)
{
	struct pm_machine *m = boot();
	uint64_t space, sum = 0, page;
	double start, ns;

	must(pm_space_create(m, &space));
	start = cpu_ns();
	for (page = 0; page < n; page++)
		sum += translate(m, space, page, flags);
	ns = (cpu_ns() - start) / (double)n;
	sink = sum;
	pm_machine_destroy(m);
	return ns;
}

/* ---- a random page map: a hash table from pages to frames that were drawn; two pages may well get one frame ---- */

struct map {
	uint64_t key[MAP_SLOTS]; ///< one more than the page; 0: none
	uint32_t frame[MAP_SLOTS];
	uint64_t random;
};

static uint64_t map_translate(struct map *map, uint64_t page)
{
	uint64_t at = (page * 0x9e3779b97f4a7c15u) >> 43;

	while (map->key[at] != page + 1) {
		if (!map->key[at]) {
			map->key[at] = page + 1;
			map->frame[at] = (uint32_t)(draw(&map->random) % FRAMES);
			break;
		}
		at = (at + 1) % MAP_SLOTS;
	}
	return map->frame[at];
}

static struct map *new_map(void)
{
	struct map *map = calloc(1, sizeof(*map));

	if (!map)
		die("no memory");
	map->random = 88172645463325252u;
	return map;
}

static double map_hits(uint64_t n, uint64_t pages)
{
	static struct map *map;
	uint64_t random = 88172645463325252u, sum = 0, i;
	double start;

	if (!map) {
		map = new_map();
		for (i = 0; i < FAR_PAGES; i++)
			(void)map_translate(map, i);
	}
	start = cpu_ns();
	for (i = 0; i < n; i++)
		sum += map_translate(map, draw(&random) % pages);
	sink = sum;
	return (cpu_ns() - start) / (double)n;
}

static double map_touches(uint64_t n)
{
	struct map *map = new_map();
	uint64_t sum = 0, page;
	double start = cpu_ns(), ns;

	for (page = 0; page < n; page++)
		sum += map_translate(map, page);
	ns = (cpu_ns() - start) / (double)n;
	sink = sum;
	free(map);
	return ns;
}

static double answer(const char *name, uint64_t n)
{
	if (!strcmp(name, "hit_core"))
		return hits(n, NEAR_PAGES);
	if (!strcmp(name, "hit_map"))
		return map_hits(n, NEAR_PAGES);
	if (!strcmp(name, "hit_far_core"))
		return hits(n, FAR_PAGES);
	if (!strcmp(name, "hit_far_map"))
		return map_hits(n, FAR_PAGES);
	if (!strcmp(name, "touch_core"))
		return touches(n, PM_TRANSLATE_SMALL);
	if (!strcmp(name, "touch_huge_core"))
		return touches(n, 0);
	if (!strcmp(name, "touch_map"))
		return map_touches(n);
	die("an unknown request");
}

int main(void)
{
	char name[64];
	unsigned long long n;

	while (scanf("%63s %llu", name, &n) == 2) {
		printf("%.6f\n", answer(name, n));
		fflush(stdout);
	}
	return EXIT_SUCCESS;
}
