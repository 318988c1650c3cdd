/// The driver of benchmarks/migration.py: moves pages by each protocol, beside a copy of the same list of pages and the host kernel's compaction.
/// Reads one request a line (`name numbers…`) and answers with one line of numbers.
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "driver.h"

enum { PAGES = 1 << 15, FRAMES = 1 << 17, SAMPLES = 1 << 20 };

/// 512 MiB with contents and swap, its memory had from the host beforehand.
static struct pm_machine *open_machine(uint64_t swap_slots)
{
	struct pm_zone_layout zone = { .kind = PM_ZONE_NORMAL, .start_pfn = 0, .spanned = FRAMES };
	struct pm_layout layout = { .zones = &zone, .nr_zones = 1, .nr_cpus = 4, .start = PM_START_FREE };
	struct pm_map_request warm = { .length = (uint64_t)FRAMES / 8 * 7 * PAGE, .prot = PM_PROT_READ | PM_PROT_WRITE };
	struct pm_swap_options swap = { .nr_slots = swap_slots };
	struct pm_memory_options options;
	struct pm_machine *m;
	uint64_t space, addr, done;

	pm_settings_default(&layout.settings);
	must(pm_machine_create(&layout, &m));
	pm_memory_options_default(&options);
	must(pm_memory_enable(m, &options));
	if (swap_slots)
		must(pm_swap_on(m, &swap));
	must(pm_space_create(m, &space));
	must(pm_map(m, 0, space, &warm, &addr));
	must(pm_touch(m, 0, space, addr, warm.length, true, &done));
	must(pm_space_exit(m, 0, space));
	return m;
}

/// What moves: anonymous pages of a space, or of a file, perhaps mapped by forked spaces as well.
struct scene {
	struct pm_machine *m;
	uint64_t space, addr, pages;
	uint64_t children[64];
	unsigned nr_children;
	uint64_t device, file;
	uint64_t *pfns;
	struct pm_migrate_result *results;
};

static void open_scene(struct scene *s, uint64_t pages, unsigned children, int fs, uint64_t swap_slots)
{
	struct pm_map_request request = { .length = pages * PAGE, .prot = PM_PROT_READ | PM_PROT_WRITE };
	uint64_t done;
	unsigned i;

	*s = (struct scene){ .m = open_machine(swap_slots), .pages = pages, .nr_children = children };
	must(pm_space_create(s->m, &s->space));
	if (fs >= 0) {
		struct pm_device_options device;
		struct pm_file_options file = { .fs = (uint32_t)fs, .size = pages * PAGE };

		pm_device_options_default(&device);
		device.nr_blocks = pages + 16;
		device.contents = 1;
		must(pm_device_create(s->m, &device, &s->device));
		file.device = s->device;
		must(pm_file_create(s->m, &file, &s->file));
		request.file = s->file;
		request.flags = PM_MAP_SHARED;
	}
	must(pm_map(s->m, 0, s->space, &request, &s->addr));
	must(pm_touch(s->m, 0, s->space, s->addr, pages * PAGE, true, &done));
	for (i = 0; i < children; i++)
		must(pm_space_fork(s->m, 0, s->space, &s->children[i]));
	s->pfns = malloc(pages * sizeof(*s->pfns));
	s->results = malloc(pages * sizeof(*s->results));
	if (!s->pfns || !s->results)
		die("no memory");
}

static void close_scene(struct scene *s)
{
	pm_machine_destroy(s->m);
	free(s->pfns);
	free(s->results);
}

/// The frames of pages [first, first + n), faulted in where the last move left them out.
static void list_frames(struct scene *s, uint32_t cpu, uint64_t first, uint64_t n)
{
	uint64_t i, done;
	unsigned c;

	must(pm_touch(s->m, cpu, s->space, s->addr + first * PAGE, n * PAGE, false, &done));
	for (c = 0; c < s->nr_children; c++)
		must(pm_touch(s->m, cpu, s->children[c], s->addr + first * PAGE, n * PAGE, false, &done));
	for (i = first; i < first + n; i++) {
		struct pm_pte_info pte;

		must(pm_lookup(s->m, cpu, s->space, s->addr + i * PAGE, &pte));
		s->pfns[i] = pte.pfn;
	}
}

static size_t move_pages(struct scene *s, uint32_t cpu, uint32_t protocol, uint64_t first, uint64_t n, uint32_t mode)
{
	struct pm_migrate_request request = { .pfns = s->pfns + first, .n = n, .mode = mode, .protocol = protocol };
	size_t moved = 0;

	must(pm_migrate(s->m, cpu, &request, s->results + first, &moved));
	return moved;
}

/// page PROTOCOL CHILDREN FS ROUNDS: ns a moved page, of a streaming copy and of a memcpy of the same list, and how many moved of how many.
static void run_page(uint32_t protocol, unsigned children, int fs, unsigned rounds)
{
	double took = 0, stream = 0, copied = 0;
	uint64_t *from = malloc(PAGES * sizeof(*from)), *to = malloc(PAGES * sizeof(*to)), all = 0;
	size_t moved = 0, i, n;
	struct scene s;

	open_scene(&s, PAGES, children, fs, PAGES * 2);
	for (unsigned round = 0; round <= rounds; round++) {
		double begin, one_stream = 0, one_memcpy = 0;
		size_t got;

		list_frames(&s, 0, 0, PAGES);
		begin = now_ns(CLOCK_THREAD_CPUTIME_ID);
		got = move_pages(&s, 0, protocol, 0, PAGES, PM_MIGRATE_SYNC);
		begin = now_ns(CLOCK_THREAD_CPUTIME_ID) - begin;
		for (i = n = 0; i < PAGES; i++)
			if (s.results[i].to != UINT64_MAX) {
				from[n] = s.pfns[i];
				to[n++] = s.results[i].to;
			}
		if (n)
			copy_list(FRAMES, from, to, n, &one_stream, &one_memcpy);
		/* The first round has the caches to fill. */
		if (round == 0)
			continue;
		took += begin;
		moved += got;
		all += PAGES;
		stream += one_stream * (double)n;
		copied += one_memcpy * (double)n;
	}
	printf("%.2f %.2f %.2f %zu %llu\n", moved ? took / (double)moved : 0, moved ? stream / (double)moved : 0, moved ? copied / (double)moved : 0, moved, (unsigned long long)all);
	close_scene(&s);
	free(from);
	free(to);
}

/* ---- threads ---- */

struct mover {
	struct scene *s;
	uint32_t cpu, protocol;
	uint64_t first, n;
	unsigned rounds;
	pthread_barrier_t *barrier;
	double wall_ns, cpu_ns;
	size_t moved;
	atomic_bool *stop;
};

static void *move_thread(void *arg)
{
	struct mover *mover = arg;
	double begin, cpu;

	list_frames(mover->s, mover->cpu, mover->first, mover->n);
	pthread_barrier_wait(mover->barrier);
	for (unsigned round = 0; round < mover->rounds && !(mover->stop && atomic_load(mover->stop)); round++) {
		list_frames(mover->s, mover->cpu, mover->first, mover->n);
		begin = now_ns(CLOCK_MONOTONIC);
		cpu = now_ns(CLOCK_THREAD_CPUTIME_ID);
		mover->moved += move_pages(mover->s, mover->cpu, mover->protocol, mover->first, mover->n, PM_MIGRATE_SYNC);
		mover->cpu_ns += now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
		mover->wall_ns += now_ns(CLOCK_MONOTONIC) - begin;
	}
	if (mover->stop)
		atomic_store(mover->stop, true);
	return NULL;
}

/// movers PROTOCOL THREADS ROUNDS: moved pages a second, by wall time and by CPU time (as if each thread had a processor to itself), each thread in a part of its own.
static void run_movers(uint32_t protocol, unsigned threads, unsigned rounds)
{
	struct mover movers[8];
	pthread_t ids[8];
	pthread_barrier_t barrier;
	double rate = 0, cpu_rate = 0;
	struct scene s;

	if (threads < 1 || threads > 8)
		die("1 to 8 movers");
	open_scene(&s, PAGES, 0, -1, PAGES * 2);
	pthread_barrier_init(&barrier, NULL, threads);
	for (unsigned i = 0; i < threads; i++) {
		movers[i] = (struct mover){ .s = &s, .cpu = i, .protocol = protocol, .first = PAGES / threads * i, .n = PAGES / threads, .rounds = rounds, .barrier = &barrier };
		pthread_create(&ids[i], NULL, move_thread, &movers[i]);
	}
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(ids[i], NULL);
		rate += movers[i].wall_ns > 0 ? (double)movers[i].moved / movers[i].wall_ns * 1e9 : 0;
		cpu_rate += movers[i].cpu_ns > 0 ? (double)movers[i].moved / movers[i].cpu_ns * 1e9 : 0;
	}
	printf("%.0f %.0f\n", rate, cpu_rate);
	pthread_barrier_destroy(&barrier);
	close_scene(&s);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/// Faults of accesses to pages that are moving, or were moved by a protocol that leaves them unmapped.
static uint64_t faults(struct pm_machine *m)
{
	struct pm_memory_counters counters;

	pm_memory_counters(m, &counters);
	return counters.fault_migration + counters.fault_swap + counters.fault_file + counters.fault_retry;
}

/// stall PROTOCOL ROUNDS: an accessor reads 8 bytes of one random page after the other while another thread moves them all, again and again. Of the accesses that faulted (they met a page on its way;
/// the mover itself does not fault while it moves): p50, p99, worst in ns, and how many; then the mean of the others. An access also lasts long where the accessor loses its processor.
static void run_stall(uint32_t protocol, unsigned rounds)
{
	enum { HOT = 2048 };
	double *slow = malloc(SAMPLES * sizeof(*slow));
	atomic_bool stop = false;
	pthread_barrier_t barrier;
	struct mover mover;
	struct scene s;
	pthread_t id;
	uint64_t random = 88172645463325252u;
	size_t n = 0, reads = 0;
	double quick = 0;
	uint64_t met = 0;

	open_scene(&s, HOT, 0, -1, HOT * 2);
	pthread_barrier_init(&barrier, NULL, 2);
	mover = (struct mover){ .s = &s, .cpu = 1, .protocol = protocol, .n = HOT, .rounds = rounds, .barrier = &barrier, .stop = &stop };
	pthread_create(&id, NULL, move_thread, &mover);
	pthread_barrier_wait(&barrier);
	while (!atomic_load(&stop) && n < SAMPLES) {
		uint64_t page, value;
		size_t done;
		double begin, took;

		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		page = random % HOT;
		begin = now_ns(CLOCK_MONOTONIC);
		must(pm_read(s.m, 0, s.space, s.addr + page * PAGE, &value, sizeof(value), &done));
		took = now_ns(CLOCK_MONOTONIC) - begin;
		reads++;
		/* An access that met no migration is two clock readings and a walk: well below a microsecond. */
		if (took >= 500 && faults(s.m) != met) {
			met = faults(s.m);
			slow[n++] = took;
		} else {
			quick += took;
		}
	}
	atomic_store(&stop, true);
	pthread_join(id, NULL);
	qsort(slow, n, sizeof(*slow), by_value);
	printf("%.0f %.0f %.0f %zu %.1f\n", n ? slow[n / 2] : 0, n ? slow[n * 99 / 100] : 0, n ? slow[n - 1] : 0, n, reads > n ? quick / (double)(reads - n) : 0);
	pthread_barrier_destroy(&barrier);
	close_scene(&s);
	free(slow);
}

/// bystander PROTOCOL ROUNDS: CPU ns of an access to pages that do not move, alone and beside a mover (of other pages of the same space).
static void run_bystander(uint32_t protocol, unsigned rounds)
{
	enum { CALM = 256, BUSY = 4096, READS = 1 << 16 };
	double alone = 0, beside = 0;
	atomic_bool stop = false;
	pthread_barrier_t barrier;
	struct mover mover;
	struct scene s;
	pthread_t id;
	size_t nr_beside = 0;

	open_scene(&s, BUSY + CALM, 0, -1, 2 * BUSY);
	pthread_barrier_init(&barrier, NULL, 2);
	for (int phase = 0; phase < 2; phase++) {
		size_t reads = 0;
		double begin;

		if (phase == 1) {
			mover = (struct mover){ .s = &s, .cpu = 1, .protocol = protocol, .n = BUSY, .rounds = rounds, .barrier = &barrier, .stop = &stop };
			pthread_create(&id, NULL, move_thread, &mover);
			pthread_barrier_wait(&barrier);
		}
		begin = now_ns(CLOCK_THREAD_CPUTIME_ID);
		while (phase == 0 ? reads < (size_t)READS * 16 : !atomic_load(&stop)) {
			uint64_t value;
			size_t done;

			must(pm_read(s.m, 0, s.space, s.addr + (BUSY + reads % CALM) * PAGE, &value, sizeof(value), &done));
			reads++;
		}
		if (phase == 0)
			alone = (now_ns(CLOCK_THREAD_CPUTIME_ID) - begin) / (double)reads;
		else {
			nr_beside = reads;
			beside = (now_ns(CLOCK_THREAD_CPUTIME_ID) - begin) / (double)(reads ? reads : 1);
		}
	}
	pthread_join(id, NULL);
	printf("%.3f %.3f %zu\n", alone, beside, nr_beside);
	pthread_barrier_destroy(&barrier);
	close_scene(&s);
}

/// failures PROTOCOL SWAP PINS: moves 8,192 pages with SWAP slots and every PINS-th page pinned (0: none); how many moved, then failures by reason, then swap slots taken.
static void run_failures(uint32_t protocol, uint64_t slots, uint64_t pins)
{
	enum { N = 8192 };
	struct pm_migrate_counters counters;
	struct scene s;
	size_t moved;

	open_scene(&s, N, 0, -1, slots);
	for (uint64_t i = 0; pins && i < N; i += pins) {
		uint64_t pfn, pin;

		must(pm_pin(s.m, 0, s.space, s.addr + i * PAGE, PM_PIN_DIRECT_IO, true, &pfn, &pin));
	}
	list_frames(&s, 0, 0, N);
	moved = move_pages(&s, 0, protocol, 0, N, PM_MIGRATE_SYNC);
	pm_migrate_counters(s.m, &counters);
	printf("%zu", moved);
	for (unsigned i = 0; i < PM_NR_WHY; i++)
		printf(" %llu", (unsigned long long)counters.failed[i]);
	printf(" %llu\n", (unsigned long long)counters.swap_slots);
	close_scene(&s);
}

/// writeouts FS: moves 4,096 dirty pages of a file by migration entries; pages written out for it, and how many moved.
static void run_writeouts(int fs)
{
	enum { N = 4096 };
	struct pm_migrate_counters counters;
	struct pm_file_info before, after;
	struct scene s;
	size_t moved;

	open_scene(&s, N, 0, fs, 0);
	list_frames(&s, 0, 0, N);
	must(pm_file_info(s.m, 0, s.file, &before));
	moved = move_pages(&s, 0, PM_PROTOCOL_ENTRY, 0, N, PM_MIGRATE_SYNC);
	must(pm_file_info(s.m, 0, s.file, &after));
	pm_migrate_counters(s.m, &counters);
	printf("%llu %zu\n", (unsigned long long)(after.writeouts - before.writeouts), moved);
	close_scene(&s);
}

/// kernel MIB: ns of system time for each page that /proc/sys/vm/compact_memory moves in fragmented memory; 0 and the reason's number where it cannot be had (1: not root, 2: moved nothing).
static void run_kernel(uint64_t mib)
{
	struct kernel_work work = compact_host(mib);

	if (work.refused)
		printf("0 %d\n", work.refused);
	else
		printf("%.1f 0 %llu\n", work.took_ns / (double)work.moved, (unsigned long long)work.moved);
}

int main(void)
{
	char line[256], name[32];

	while (fgets(line, sizeof(line), stdin)) {
		long long a = 0, b = 0, c = 0, d = 0;

		if (sscanf(line, "%31s %lld %lld %lld %lld", name, &a, &b, &c, &d) < 1)
			die("an empty request");
		if (strcmp(name, "page") == 0)
			run_page((uint32_t)a, (unsigned)b, (int)c, (unsigned)d);
		else if (strcmp(name, "movers") == 0)
			run_movers((uint32_t)a, (unsigned)b, (unsigned)c);
		else if (strcmp(name, "stall") == 0)
			run_stall((uint32_t)a, (unsigned)b);
		else if (strcmp(name, "bystander") == 0)
			run_bystander((uint32_t)a, (unsigned)b);
		else if (strcmp(name, "failures") == 0)
			run_failures((uint32_t)a, (uint64_t)b, (uint64_t)c);
		else if (strcmp(name, "writeouts") == 0)
			run_writeouts((int)a);
		else if (strcmp(name, "kernel") == 0)
			run_kernel((uint64_t)a);
		else
			die("no such request");
		fflush(stdout);
	}
	return 0;
}
