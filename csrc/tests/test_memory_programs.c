/// The random programs of virt_program.h in 2 to 8 threads on one machine, each with its own spaces, files and pins: each reads exactly what it wrote,
/// whatever the others do, while all their pages are reclaimed, swapped and written back under them. Threads that share a CPU number and threads
/// that have one each. Then everything is accounted for.
#include <pthread.h>

#include "tests/virt_program.h"

enum { MAX_THREADS = 8, FRAMES = 2048, SLOTS = 2048, CPUS = 8 };
#ifdef PM_TEST_FLAVOUR
enum { SEEDS = 6, STEPS = 1000 };
#else
enum { SEEDS = 24, STEPS = 6000 };
#endif

struct worker {
	pthread_t thread;
	struct model model; ///< what is left when it is done
	uint64_t seed;
	uint32_t first_cpu, nr_cpus;
};

static struct worker workers[MAX_THREADS];
static struct pm_machine *machine;
static pthread_barrier_t barrier;
static _Atomic uint32_t running;

static void *run_program(void *argument)
{
	struct worker *worker = argument;
	unsigned int i;
	int s;

	model_begin(&w, worker->seed, machine, worker->first_cpu, worker->nr_cpus);
	pthread_barrier_wait(&barrier);
	for (i = 0; i < STEPS && check_result() == EXIT_SUCCESS; i++) {
		program_step();
		check_pins();
	}
	for (s = 0; s < MODEL_SPACES; s++)
		for (i = 0; w.space[s].handle && i < MODEL_PAGES; i++)
			check_page(&w.space[s], i);
	model_end(&w);
	worker->model = w;
	atomic_fetch_sub(&running, 1);
	return NULL;
}

/// Looks at frames that belong to others, and takes them away, until the programs are done.
static void *disturb(void *argument)
{
	struct draw d;
	uint64_t freed, visited;

	draw_init(&d, (uint64_t)(uintptr_t)argument);
	pthread_barrier_wait(&barrier);
	while (atomic_load(&running)) {
		uint64_t pfn = draw_below(&d, FRAMES);
		struct pm_rmap_entry entries[8];
		struct pm_page_info info;
		size_t nr;

		CHECK_EQ(pm_reclaim(machine, CPUS - 1, 0, draw_below(&d, 64), &freed), PM_OK);
		CHECK_EQ(pm_rmap(machine, CPUS - 1, pfn, 8, entries, &nr, &visited), PM_OK);
		CHECK_EQ(pm_page_info(machine, pfn, &info), PM_OK);
		CHECK_EQ(pm_drain(machine, PM_ALL_CPUS), PM_OK);
		CHECK_EQ(pm_clock_advance(machine, 500), PM_OK);
	}
	return NULL;
}

static void programs_do_not_disturb_each_other(uint64_t seed)
{
	struct space_rig_options options = space_options();
	unsigned int nr = 2 + (unsigned int)(seed * 5 % (MAX_THREADS - 1)), i;
	bool one_cpu = seed % 4 == 3;
	struct space_rig rig;
	pthread_t disturber;
	uint64_t freed;

	options.nr_frames = FRAMES;
	options.nr_cpus = CPUS;
	options.swap = SLOTS;
	options.memory.guard = (uint32_t)(seed % 3);
	options.memory.tables_in_frames = (uint32_t)(seed / 2 % 2);
	options.pcp = seed % 2;
	rig = space_rig_make(&options);
	machine = rig.m;
	atomic_store(&running, nr);
	REQUIRE(pthread_barrier_init(&barrier, NULL, nr + 1) == 0);
	for (i = 0; i < nr; i++) {
		/* All on one CPU; or each on its own; or each on several, some of them shared. */
		workers[i].seed = seed * 100 + i;
		workers[i].first_cpu = one_cpu ? 0 : i % (CPUS - 1);
		workers[i].nr_cpus = one_cpu || seed % 2 ? 1 : CPUS - i % (CPUS - 1);
		REQUIRE(pthread_create(&workers[i].thread, NULL, run_program, &workers[i]) == 0);
	}
	REQUIRE(pthread_create(&disturber, NULL, disturb, (void *)(uintptr_t)(seed + 1)) == 0);
	for (i = 0; i < nr; i++)
		pthread_join(workers[i].thread, NULL);
	pthread_join(disturber, NULL);
	pthread_barrier_destroy(&barrier);
	for (i = 0; i < nr; i++)
		model_end_device(&workers[i].model);
	/* A page whose last user went while another thread had it locked is left to reclaim. */
	CHECK_EQ(pm_reclaim(machine, 0, 0, FRAMES, &freed), PM_OK);
	space_rig_end(&rig);
}

int main(int argc, char **argv)
{
	return draw_run(argc, argv, SEEDS, programs_do_not_disturb_each_other);
}
