/// The driver of benchmarks/defrag.py: strategies of defragmentation on fragmented memory, beside a copy and the host kernel's compaction.
/// Reads one request a line (`name numbers…`) and answers with one line of numbers.
#include <stdbool.h>

#include "driver.h"

enum { NO_STRATEGY = -1 };

static uint64_t draw(uint64_t *random)
{
	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	return *random >> 11;
}

static struct pm_machine *open_machine(uint64_t frames, uint32_t contents)
{
	struct pm_zone_layout zone = { .kind = PM_ZONE_NORMAL, .start_pfn = 0, .spanned = frames };
	struct pm_layout layout = { .zones = &zone, .nr_zones = 1, .nr_cpus = 2, .start = PM_START_FREE };
	struct pm_memory_options options;
	struct pm_machine *m;

	pm_settings_default(&layout.settings);
	must(pm_machine_create(&layout, &m));
	pm_memory_options_default(&options);
	options.contents = contents;
	must(pm_memory_enable(m, &options));
	return m;
}

static uint64_t map_pages(struct pm_machine *m, uint64_t *space, uint64_t pages)
{
	struct pm_map_request request = { .length = pages * PAGE, .prot = PM_PROT_READ | PM_PROT_WRITE };
	uint64_t addr;

	must(pm_space_create(m, space));
	must(pm_map(m, 0, *space, &request, &addr));
	return addr;
}

/// Fills `pages` frames one after the other and frees every other one. Two spaces take turns, so that one of them goes as a whole.
static void every_other_page(struct pm_machine *m, uint64_t pages)
{
	uint64_t stays, goes, a = map_pages(m, &stays, pages / 2), b = map_pages(m, &goes, pages / 2), i, done;

	for (i = 0; i < pages / 2; i++) {
		must(pm_touch(m, 0, stays, a + i * PAGE, PAGE, true, &done));
		must(pm_touch(m, 0, goes, b + i * PAGE, PAGE, true, &done));
	}
	must(pm_space_exit(m, 0, goes));
	must(pm_drain(m, PM_ALL_CPUS));
}

struct run {
	struct pm_compact_result result;
	double took_ns;
};

static struct run run_strategy(struct pm_machine *m, int strategy, uint64_t blocks)
{
	struct pm_compact_request request;
	struct run run;
	double begin;

	pm_compact_request_default(&request);
	request.strategy = (uint32_t)strategy;
	request.blocks = blocks;
	begin = now_ns(CLOCK_THREAD_CPUTIME_ID);
	must(pm_compact(m, 0, &request, &run.result));
	run.took_ns = now_ns(CLOCK_THREAD_CPUTIME_ID) - begin;
	return run;
}

/// strategies: for each number whether this build has it.
static void run_strategies(void)
{
	for (uint32_t i = 0; i < PM_NR_STRATEGIES; i++)
		printf("%d ", pm_strategy_name(i) != NULL);
	printf("\n");
}

/// block STRATEGY MIB: memory with contents and a hole at every other page; CPU ns in all, blocks gained, pages moved, and ns of a copy of a page past the cache and by memcpy.
static void run_block(int strategy, uint64_t mib)
{
	uint64_t frames = mib << (20 - PM_PAGE_SHIFT), pages = frames / 8 * 7, n = frames / 4, *from = malloc(n * sizeof(*from)), *to = malloc(n * sizeof(*to)), i;
	struct pm_machine *m = open_machine(frames, PM_CONTENTS_PRIVATE);
	double stream, copied;
	struct run run;

	if (!from || !to)
		die("no memory");
	every_other_page(m, pages);
	run = run_strategy(m, strategy, PM_ALL_BLOCKS);
	/* As far apart as the pages that move: from one end's used frames to the other end's holes. */
	for (i = 0; i < n; i++) {
		from[i] = 2 * i;
		to[i] = frames - 1 - 2 * i;
	}
	copy_list(frames, from, to, n, &stream, &copied);
	copy_list(frames, from, to, n, &stream, &copied);
	printf("%.0f %lld %llu %.2f %.2f\n", run.took_ns, (long long)(run.result.blocks_after - run.result.blocks_before), (unsigned long long)run.result.moved, stream, copied);
	pm_machine_destroy(m);
	free(from);
	free(to);
}

/// size STRATEGY MIB: memory without contents and a hole at every other page; CPU ns in all, blocks gained, pages moved, frames scanned.
static void run_size(int strategy, uint64_t mib)
{
	uint64_t frames = mib << (20 - PM_PAGE_SHIFT);
	struct pm_machine *m = open_machine(frames, PM_CONTENTS_NONE);
	struct run run;

	every_other_page(m, frames / 8 * 7);
	run = run_strategy(m, strategy, PM_ALL_BLOCKS);
	printf("%.0f %lld %llu %llu\n", run.took_ns, (long long)(run.result.blocks_after - run.result.blocks_before), (unsigned long long)run.result.moved,
	       (unsigned long long)(run.result.scanned_migrate + run.result.scanned_free));
	pm_machine_destroy(m);
}

/* ---- success ---- */

/// One use of a frame: a page of a file, or a block of the owner.
struct use {
	bool unmovable;
	uint64_t number;
};

/// Fills memory one frame at a time, `unmovable` in 1,000 by a slab-like owner, the rest by the page cache; then frees random ones until `full` in 1,000 are used.
/// Scattered: the owner's requests look like movable ones, so the allocator does not keep them apart.
static void fill_at_random(struct pm_machine *m, uint64_t frames, uint64_t full, uint64_t unmovable, bool scattered, uint64_t *random)
{
	struct use *uses = malloc(frames * sizeof(*uses));
	struct pm_file_options file_options = { .fs = PM_FS_COMMON, .size = frames * PAGE };
	struct pm_device_options device;
	uint64_t file, owner, page = 0, n = 0, dropped;
	uint32_t number;
	size_t done;

	if (!uses)
		die("no memory");
	pm_device_options_default(&device);
	device.nr_blocks = frames;
	device.contents = 0;
	must(pm_device_create(m, &device, &file_options.device));
	must(pm_file_create(m, &file_options, &file));
	must(pm_owner_create(m, PM_OWNER_UNMOVABLE, &owner));
	/* As far as memory goes without reclaim. */
	for (; n < frames / 100 * 98; n++) {
		uses[n].unmovable = draw(random) % 1000 < unmovable;
		uses[n].number = page;
		if (uses[n].unmovable) {
			must(pm_owner_alloc(m, 0, owner, 0, scattered ? PM_GFP_HIGHUSER_MOVABLE : PM_GFP_KERNEL, &number));
			uses[n].number = number;
		} else {
			must(pm_file_read(m, 0, file, page++ * PAGE, NULL, PAGE, &done));
		}
	}
	while (n > frames * full / 1000) {
		uint64_t i = draw(random) % n;

		if (uses[i].unmovable)
			must(pm_owner_free(m, 0, owner, (uint32_t)uses[i].number));
		else
			must(pm_file_drop(m, 0, file, uses[i].number * PAGE, PAGE, &dropped));
		uses[i] = uses[--n];
	}
	must(pm_drain(m, PM_ALL_CPUS));
	free(uses);
}

/// success STRATEGY FULL UNMOVABLE MIB SEED SCATTERED: asks for blocks of 2 MiB until free memory is down to the MIN mark, with the strategy's help where there is none; FULL and UNMOVABLE in
/// 1,000. How many there could be, how many were had, and pages moved.
static void run_success(int strategy, uint64_t full, uint64_t unmovable, uint64_t mib, uint64_t seed, bool scattered)
{
	uint64_t frames = mib << (20 - PM_PAGE_SHIFT), random = 88172645463325252u + seed * 7919, moved = 0, pfn;
	struct pm_machine *m = open_machine(frames, PM_CONTENTS_NONE);
	uint64_t wanted, had = 0, failed = 0, i;
	struct pm_zone_info zone;

	fill_at_random(m, frames, full, unmovable, scattered, &random);
	must(pm_zone_info(m, 0, &zone));
	wanted = zone.nr_free > zone.wmark[0] ? (zone.nr_free - zone.wmark[0]) >> PM_PAGEBLOCK_ORDER : 0;
	/* What fails several times in a row will fail from then on. */
	for (i = 0; i < wanted && failed < 3; i++) {
		enum pm_status status = pm_alloc(m, 0, PM_PAGEBLOCK_ORDER, PM_GFP_HIGHUSER_MOVABLE, &pfn);

		if (status && strategy != NO_STRATEGY) {
			moved += run_strategy(m, strategy, 1).result.moved;
			must(pm_drain(m, PM_ALL_CPUS));
			status = pm_alloc(m, 0, PM_PAGEBLOCK_ORDER, PM_GFP_HIGHUSER_MOVABLE, &pfn);
		}
		had += !status;
		failed = status ? failed + 1 : 0;
	}
	printf("%llu %llu %llu\n", (unsigned long long)wanted, (unsigned long long)had, (unsigned long long)moved);
	pm_machine_destroy(m);
}

/// kernel MIB: ns in all, why it is not to be had (struct kernel_work), pages moved, blocks gained.
static void run_kernel(uint64_t mib)
{
	struct kernel_work work = compact_host(mib);

	printf("%.0f %d %llu %lld\n", work.took_ns, work.refused, (unsigned long long)work.moved, (long long)work.blocks);
}

int main(void)
{
	char line[256], name[32];

	while (fgets(line, sizeof(line), stdin)) {
		long long a = 0, b = 0, c = 0, d = 0, e = 0, f = 0;

		if (sscanf(line, "%31s %lld %lld %lld %lld %lld %lld", name, &a, &b, &c, &d, &e, &f) < 1)
			die("an empty request");
		if (strcmp(name, "strategies") == 0)
			run_strategies();
		else if (strcmp(name, "block") == 0)
			run_block((int)a, (uint64_t)b);
		else if (strcmp(name, "size") == 0)
			run_size((int)a, (uint64_t)b);
		else if (strcmp(name, "success") == 0)
			run_success((int)a, (uint64_t)b, (uint64_t)c, (uint64_t)d, (uint64_t)e, f != 0);
		else if (strcmp(name, "kernel") == 0)
			run_kernel((uint64_t)a);
		else
			die("no such request");
		fflush(stdout);
	}
	return 0;
}
