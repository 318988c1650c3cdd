/// 2 to 8 threads in one address space, each with a stripe of pages that it alone writes and knows byte for byte, while all of them fork and exit, protect, unmap
/// and move beside each other, pin, lock, reclaim, swap and write back. A child has to be what its parent was at one moment. Then everything is accounted for.
#include <pthread.h>

#include "tests/draw.h"
#include "tests/space_rig.h"

enum { MAX_THREADS = 8, STEADY = 6, STRIPE = 12, FILE_STRIPE = 2, CPUS = 8, FRAMES = 2048, SLOTS = 4096 };
#ifdef PM_TEST_FLAVOUR
enum { SEEDS = 8, STEPS = 400 };
#else
enum { SEEDS = 24, STEPS = 1500 };
#endif
static const uint64_t base = ((uint64_t)1 << 32) - 16 * PAGE, file_base = (uint64_t)1 << 33, cut_base = (uint64_t)1 << 34, aside_base = (uint64_t)1 << 35;

/// All threads of a test share these.
static struct pm_machine *machine;
static uint64_t space, file, cut_file;
static unsigned int nr_threads;
static pthread_barrier_t barrier;
/// By thread and steady page: the last token whose write has begun, and the last whose write has ended.
static _Atomic uint64_t begun[MAX_THREADS][STEADY], ended[MAX_THREADS][STEADY];

struct worker {
	pthread_t thread;
	struct draw d;
	unsigned int id;
	uint32_t cpu, nr_cpus;
	uint64_t token;
	uint64_t page[STRIPE];	    ///< tokens
	uint64_t in_file[FILE_STRIPE];
};

static uint64_t stripe(unsigned int id, uint64_t page)
{
	return base + ((uint64_t)id * STRIPE + page) * PAGE;
}

static uint32_t cpu_of(struct worker *w)
{
	return (w->cpu + (uint32_t)draw_below(&w->d, w->nr_cpus)) % CPUS;
}

static enum pm_status put_token(struct worker *w, uint64_t in, uint64_t addr, uint64_t token)
{
	size_t done;
	enum pm_status status = pm_write(machine, cpu_of(w), in, addr, &token, sizeof(token), &done);

	/* The rest of the page, so that a page that is mixed up with another one shows. */
	return status ? status : pm_fill(machine, cpu_of(w), in, addr + sizeof(token), (uint8_t)token, PAGE - sizeof(token), &done);
}

static void check_token(struct worker *w, uint64_t in, uint64_t addr, uint64_t want)
{
	uint8_t bytes[PAGE];
	uint64_t token;
	size_t done, i, wrong = 0;

	if (!CHECK_EQ(pm_read(machine, cpu_of(w), in, addr, bytes, sizeof(bytes), &done), PM_OK))
		return;
	memcpy(&token, bytes, sizeof(token));
	CHECK_EQ(token, want);
	for (i = sizeof(token); i < PAGE; i++)
		wrong += bytes[i] != (uint8_t)want;
	CHECK_EQ(wrong, 0);
}

static void step_write(struct worker *w)
{
	uint64_t page = draw_below(&w->d, STRIPE), token = ++w->token;

	if (page < STEADY)
		atomic_store(&begun[w->id][page], token);
	CHECK_EQ(put_token(w, space, stripe(w->id, page), token), PM_OK);
	if (page < STEADY)
		atomic_store(&ended[w->id][page], token);
	w->page[page] = token;
}

static void step_check(struct worker *w)
{
	uint64_t page = draw_below(&w->d, STRIPE);

	check_token(w, space, stripe(w->id, page), w->page[page]);
}

/// What the others wrote: for each page something between what was there before the fork and what had begun after it.
static void check_others(struct worker *w, uint64_t child, uint64_t before[MAX_THREADS][STEADY])
{
	unsigned int id;
	uint64_t page, token;
	size_t done;

	for (id = 0; id < nr_threads; id++)
		for (page = 0; page < STEADY; page++) {
			CHECK_EQ(pm_read(machine, cpu_of(w), child, stripe(id, page), &token, sizeof(token), &done), PM_OK);
			CHECK(token >= before[id][page] && token <= atomic_load(&begun[id][page]));
		}
}

static void step_fork(struct worker *w)
{
	uint64_t before[MAX_THREADS][STEADY], child = 0, grandchild = 0, page;
	unsigned int id;

	for (id = 0; id < nr_threads; id++)
		for (page = 0; page < STEADY; page++)
			before[id][page] = atomic_load(&ended[id][page]);
	if (!CHECK_EQ(pm_space_fork(machine, cpu_of(w), space, &child), PM_OK))
		return;
	/* Nobody else writes our own. */
	for (page = 0; page < STRIPE; page++)
		check_token(w, child, stripe(w->id, page), w->page[page]);
	check_others(w, child, before);
	page = draw_below(&w->d, STRIPE);
	CHECK_EQ(put_token(w, child, stripe(w->id, page), w->page[page] + 1000), PM_OK);
	CHECK_EQ(pm_space_fork(machine, cpu_of(w), child, &grandchild), PM_OK);
	check_token(w, space, stripe(w->id, page), w->page[page]);
	CHECK_EQ(pm_space_exit(machine, cpu_of(w), child), PM_OK);
	check_token(w, grandchild, stripe(w->id, page), w->page[page] + 1000);
	CHECK_EQ(pm_space_exit(machine, cpu_of(w), grandchild), PM_OK);
	check_token(w, space, stripe(w->id, page), w->page[page]);
}

static void step_protect(struct worker *w)
{
	uint64_t page = draw_below(&w->d, STRIPE - 2), addr = stripe(w->id, page), done;
	uint32_t cpu = cpu_of(w);

	CHECK_EQ(pm_protect(machine, cpu, space, addr, 2 * PAGE, RO), PM_OK);
	CHECK_EQ(pm_touch(machine, cpu, space, addr, PAGE, true, &done), PM_ERR_ACCESS);
	check_token(w, space, addr, w->page[page]);
	CHECK_EQ(pm_protect(machine, cpu, space, addr, 2 * PAGE, RW), PM_OK);
	check_token(w, space, addr + PAGE, w->page[page + 1]);
}

/// The pages behind the steady ones go and come back, or move aside and back.
static void step_unmap_or_move(struct worker *w)
{
	uint64_t page = STEADY + draw_below(&w->d, STRIPE - STEADY - 2), addr = stripe(w->id, page), aside = aside_base + (uint64_t)w->id * 16 * PAGE, at = 0, done;
	struct pm_map_request request = { .addr = addr, .length = 2 * PAGE, .prot = RW, .flags = PM_MAP_FIXED };
	uint32_t cpu = cpu_of(w);

	if (draw_below(&w->d, 2)) {
		CHECK_EQ(pm_unmap(machine, cpu, space, addr, 2 * PAGE), PM_OK);
		CHECK_EQ(pm_touch(machine, cpu, space, addr, PAGE, false, &done), PM_ERR_FAULT);
		CHECK_EQ(pm_map(machine, cpu, space, &request, &at), PM_OK);
		w->page[page] = w->page[page + 1] = 0;
		return;
	}
	/* A move takes one area; what was mapped anew in parts may be more. */
	if (pm_remap(machine, cpu, space, addr, 2 * PAGE, 2 * PAGE, PM_MAP_FIXED, aside, &at))
		return;
	check_token(w, space, aside, w->page[page]);
	check_token(w, space, aside + PAGE, w->page[page + 1]);
	w->page[page] = ++w->token;
	CHECK_EQ(put_token(w, space, aside, w->page[page]), PM_OK);
	CHECK_EQ(pm_remap(machine, cpu, space, aside, 2 * PAGE, 2 * PAGE, PM_MAP_FIXED, addr, &at), PM_OK);
	check_token(w, space, addr, w->page[page]);
}

static void step_pin(struct worker *w)
{
	uint64_t page = draw_below(&w->d, STRIPE), addr = stripe(w->id, page), pin = 0, child = 0, pfn, token = w->page[page];
	uint32_t cpu = cpu_of(w);
	struct pm_pte_info pte;
	unsigned int i;
	void *bytes;

	CHECK_EQ(pm_pin(machine, cpu, space, addr, PM_PIN_LONG, true, &pfn, &pin), PM_OK);
	CHECK_EQ(pm_space_fork(machine, cpu, space, &child), PM_OK);
	CHECK_EQ(pm_lookup(machine, cpu, space, addr, &pte), PM_OK);
	CHECK(pte.kind == PM_PTE_PRESENT && pte.pfn == pfn);
	check_token(w, child, addr, token);
	CHECK_EQ(pm_space_exit(machine, cpu, child), PM_OK);
	/* Others fork meanwhile, and copy what is pinned. */
	for (i = 0; i < 4; i++) {
		token = ++w->token;
		if (page < STEADY)
			atomic_store(&begun[w->id][page], token);
		CHECK_EQ(put_token(w, space, addr, token), PM_OK);
		if (page < STEADY)
			atomic_store(&ended[w->id][page], token);
	}
	w->page[page] = token;
	CHECK_EQ(pm_unpin(machine, cpu, pin), PM_OK);
	CHECK_EQ(pm_window(machine, cpu, space, addr, false, &bytes, &pin), PM_OK);
	CHECK(memcmp(bytes, &token, sizeof(token)) == 0);
	CHECK_EQ(pm_unpin(machine, cpu, pin), PM_OK);
	CHECK_EQ(pm_unpin(machine, cpu, pin), PM_ERR_HANDLE);
}

static void step_lock(struct worker *w)
{
	uint64_t page = draw_below(&w->d, STRIPE - 2), freed;
	struct pm_pte_info pte;

	CHECK_EQ(pm_mlock(machine, cpu_of(w), space, stripe(w->id, page), 2 * PAGE, true), PM_OK);
	CHECK_EQ(pm_page_out(machine, cpu_of(w), space, stripe(w->id, page), 2 * PAGE, &freed), PM_OK);
	CHECK_EQ(freed, 0);
	CHECK_EQ(pm_lookup(machine, cpu_of(w), space, stripe(w->id, page), &pte), PM_OK);
	CHECK_EQ(pte.kind, PM_PTE_PRESENT);
	CHECK_EQ(pm_mlock(machine, cpu_of(w), space, stripe(w->id, page), 2 * PAGE, false), PM_OK);
}

static void step_reclaim(struct worker *w)
{
	uint64_t freed;

	if (draw_below(&w->d, 2))
		CHECK_EQ(pm_page_out(machine, cpu_of(w), space, base, (uint64_t)nr_threads * STRIPE * PAGE, &freed), PM_OK);
	else
		CHECK_EQ(pm_reclaim(machine, cpu_of(w), 0, 1 + draw_below(&w->d, 100), &freed), PM_OK);
	CHECK_EQ(pm_clock_advance(machine, 1000), PM_OK);
}

/// A file on a device, written through the map and read from the file, and the other way round.
static void step_file(struct worker *w)
{
	uint64_t page = draw_below(&w->d, FILE_STRIPE), offset = (w->id * FILE_STRIPE + page) * PAGE, token = 0;
	size_t done;

	switch (draw_below(&w->d, 4)) {
	case 0:
		CHECK_EQ(pm_file_sync(machine, cpu_of(w), file, 0, (uint64_t)MAX_THREADS * FILE_STRIPE * PAGE, draw_below(&w->d, 2)), PM_OK);
		break;
	case 1:
		w->in_file[page] = token = ++w->token;
		CHECK_EQ(pm_write(machine, cpu_of(w), space, file_base + offset, &token, sizeof(token), &done), PM_OK);
		break;
	case 2:
		w->in_file[page] = token = ++w->token;
		CHECK_EQ(pm_file_write(machine, cpu_of(w), file, offset, &token, sizeof(token), &done), PM_OK);
		break;
	default:
		CHECK_EQ(pm_read(machine, cpu_of(w), space, file_base + offset, &token, sizeof(token), &done), PM_OK);
		CHECK_EQ(token, w->in_file[page]);
	}
	CHECK_EQ(pm_file_read(machine, cpu_of(w), file, offset, &token, sizeof(token), &done), PM_OK);
	CHECK_EQ(token, w->in_file[page]);
}

/// A file that is cut under the others' accesses: they end well, or beyond its end.
static void step_cut(struct worker *w)
{
	uint64_t page = draw_below(&w->d, 8), done;
	enum pm_status status;

	if (w->id == 0) {
		CHECK_EQ(pm_file_truncate(machine, cpu_of(w), cut_file, page * PAGE), PM_OK);
		return;
	}
	status = pm_touch(machine, cpu_of(w), space, cut_base + page * PAGE, PAGE, draw_below(&w->d, 2), &done);
	CHECK(status == PM_OK || status == PM_ERR_BEYOND);
}

/// Accesses to what others are changing: they may find nothing, and must do no harm.
static void step_probe(struct worker *w)
{
	uint64_t page = draw_below(&w->d, (uint64_t)nr_threads * STRIPE), done;
	enum pm_status status = pm_touch(machine, cpu_of(w), space, base + page * PAGE, 3 * PAGE, draw_below(&w->d, 2), &done);
	struct pm_area areas[4];
	struct pm_space_info info;
	size_t nr;

	CHECK(status == PM_OK || status == PM_ERR_FAULT || status == PM_ERR_ACCESS);
	CHECK_EQ(pm_space_areas(machine, cpu_of(w), space, 4, areas, &nr), PM_OK);
	CHECK_EQ(pm_space_info(machine, cpu_of(w), space, &info), PM_OK);
}

static void *work(void *argument)
{
	static void (*const steps[])(struct worker *) = { step_write, step_write, step_write, step_check, step_check, step_fork, step_protect, step_unmap_or_move,
							  step_pin, step_lock, step_reclaim, step_file, step_file, step_cut, step_probe };
	struct worker *w = argument;
	unsigned int i;

	pthread_barrier_wait(&barrier);
	for (i = 0; i < STEPS && check_result() == EXIT_SUCCESS; i++)
		steps[draw_below(&w->d, sizeof(steps) / sizeof(steps[0]))](w);
	for (i = 0; i < STRIPE; i++)
		check_token(w, space, stripe(w->id, i), w->page[i]);
	return NULL;
}

static uint64_t make_file(uint64_t device, uint64_t pages)
{
	struct pm_file_options options = { .fs = PM_FS_COMMON, .device = device, .size = pages * PAGE };
	uint64_t ret = 0;

	REQUIRE(pm_file_create(machine, &options, &ret) == PM_OK);
	return ret;
}

static void run_threads(uint64_t seed)
{
	static struct worker workers[MAX_THREADS];
	unsigned int i, k;

	REQUIRE(pthread_barrier_init(&barrier, NULL, nr_threads) == 0);
	for (i = 0; i < nr_threads; i++) {
		for (k = 0; k < STEADY; k++) {
			atomic_store(&begun[i][k], 0);
			atomic_store(&ended[i][k], 0);
		}
		/* Each on its own CPU; all on one; or each on all. */
		workers[i] = (struct worker){ .id = i, .cpu = seed % 4 == 1 ? 0 : i, .nr_cpus = seed % 4 == 2 ? CPUS : 1 };
		draw_init(&workers[i].d, seed * 100 + i);
		REQUIRE(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0);
	}
	for (i = 0; i < nr_threads; i++)
		pthread_join(workers[i].thread, NULL);
	pthread_barrier_destroy(&barrier);
}

static void threads_share_a_space(uint64_t seed)
{
	struct space_rig_options options = space_options();
	struct pm_device_options disk;
	struct space_rig rig;
	uint64_t device, freed;

	options.nr_frames = FRAMES;
	options.nr_cpus = CPUS;
	options.swap = SLOTS;
	options.memory.guard = (uint32_t)(seed % 3);
	options.memory.tables_in_frames = (uint32_t)(seed / 2 % 2);
	options.pcp = seed % 2;
	rig = space_rig_make(&options);
	machine = rig.m;
	nr_threads = 2 + (unsigned int)(seed * 3 % (MAX_THREADS - 1));
	pm_device_options_default(&disk);
	disk.nr_blocks = 256;
	disk.contents = 1;
	disk.read_ns = disk.write_ns = seed % 2 * 1000;
	REQUIRE(pm_device_create(machine, &disk, &device) == PM_OK);
	file = make_file(device, MAX_THREADS * FILE_STRIPE);
	cut_file = make_file(device, 8);
	space = space_make(machine);
	(void)space_map_at(machine, space, base, (uint64_t)nr_threads * STRIPE, RW, 0, 0);
	(void)space_map_at(machine, space, file_base, MAX_THREADS * FILE_STRIPE, RW, PM_MAP_SHARED, file);
	(void)space_map_at(machine, space, cut_base, 8, RW, PM_MAP_SHARED, cut_file);
	run_threads(seed);
	CHECK(rig_valid(machine));
	space_exit(machine, space);
	space_file_close(machine, file);
	space_file_close(machine, cut_file);
	CHECK_EQ(pm_clock_advance(machine, 1000000), PM_OK);
	/* A page whose last user went while another thread had it locked is left to reclaim. */
	CHECK_EQ(pm_reclaim(machine, 0, 0, FRAMES, &freed), PM_OK);
	CHECK_EQ(pm_device_destroy(machine, device), PM_OK);
	space_rig_end(&rig);
}

int main(int argc, char **argv)
{
	return draw_run(argc, argv, SEEDS, threads_share_a_space);
}
