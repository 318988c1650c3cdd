/// Threads that allocate, free, split, isolate, retype, drain and look, all at once; then everything is accounted for.
/// test_threads.c has the plain mixture; here are the operations that change types and places under the others' feet.
#include <pthread.h>

#include "tests/rig.h"

enum { FRAMES = 16384, MAX_THREADS = 8, OWN = 200, CONTESTED = 256 };
#ifdef PM_TEST_FLAVOUR
enum { STEPS = 6000, ROUNDS = 30 };
#else
enum { STEPS = 60000, ROUNDS = 100 };
#endif

struct worker {
	pthread_t thread;
	struct pm_machine *machine;
	uint32_t cpu;
	uint64_t random;
	uint64_t pfns[OWN];
	uint8_t orders[OWN];
	unsigned int nr;
	uint64_t nr_won;
};

static pthread_barrier_t barrier;
static uint64_t contested[CONTESTED];

static uint64_t draw(struct worker *w, uint64_t below)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return (w->random >> 11) % below;
}

static void keep(struct worker *w, uint64_t pfn, uint32_t order)
{
	w->pfns[w->nr] = pfn;
	w->orders[w->nr++] = (uint8_t)order;
}

static void get(struct worker *w)
{
	static const uint32_t flags[] = { RIG_MOVABLE, RIG_UNMOVABLE, RIG_RECLAIMABLE, PM_GFP_ATOMIC };
	static const uint32_t orders[] = { 0, 0, 0, 1, 2, 3, 4, 9 };
	uint32_t order = orders[draw(w, 8)];
	uint64_t pfn;
	enum pm_status status = pm_alloc(w->machine, w->cpu, order, flags[draw(w, 4)], &pfn);

	if (status == PM_OK)
		keep(w, pfn, order);
	else
		CHECK(status == PM_ERR_NO_BLOCK || status == PM_ERR_WATERMARK);
}

static void put(struct worker *w)
{
	unsigned int i = (unsigned int)draw(w, w->nr);

	CHECK_EQ(pm_free(w->machine, w->cpu, w->pfns[i], w->orders[i]), PM_OK);
	w->pfns[i] = w->pfns[--w->nr];
	w->orders[i] = w->orders[w->nr];
}

/// Splits a small block and keeps its halves.
static void halve(struct worker *w)
{
	unsigned int i = (unsigned int)draw(w, w->nr);
	uint32_t half = w->orders[i] - 1u;

	if (w->orders[i] == 0 || w->nr == OWN)
		return;
	CHECK_EQ(pm_split(w->machine, w->pfns[i], w->orders[i], half), PM_OK);
	w->orders[i] = (uint8_t)half;
	keep(w, w->pfns[i] + (1u << half), half);
}

static void disturb(struct worker *w)
{
	uint64_t pfn = draw(w, FRAMES);
	enum pm_status status = PM_OK;
	uint64_t nr;

	switch (draw(w, 5)) {
	case 0:
		status = pm_set_isolated(w->machine, pfn, draw(w, 4) == 0);
		break;
	case 1:
		status = pm_set_pageblock_type(w->machine, pfn, (uint32_t)draw(w, 4));
		break;
	case 2:
		status = pm_drain(w->machine, draw(w, 2) ? w->cpu : PM_ALL_CPUS);
		break;
	case 3:
		status = pm_unreserve_highatomic(w->machine, PM_MT_MOVABLE, &nr);
		break;
	default:
		status = pm_set_reclaim_active(w->machine, 0, draw(w, 2));
	}
	CHECK(status == PM_OK || status == PM_ERR_BUSY);
}

static void look(struct worker *w)
{
	static _Thread_local uint8_t states[512];
	static _Thread_local char text[4096];
	struct pm_frame_info info;
	size_t length;

	CHECK_EQ(pm_frame_info(w->machine, draw(w, FRAMES), &info), PM_OK);
	CHECK_EQ(pm_frame_states(w->machine, draw(w, FRAMES - 512), 512, states), PM_OK);
	CHECK_EQ(pm_text(w->machine, (uint32_t)draw(w, 3), text, sizeof(text), &length), PM_OK);
	CHECK(rig_zone(w->machine, 0).nr_free <= FRAMES);
	(void)rig_counters(w->machine);
}

static void *wander(void *argument)
{
	struct worker *w = argument;
	unsigned int i;

	pthread_barrier_wait(&barrier);
	for (i = 0; i < STEPS; i++) {
		uint64_t what = draw(w, 100);

		if (what < 50 && w->nr < OWN)
			get(w);
		else if (what < 92 && w->nr)
			put(w);
		else if (what < 96 && w->nr)
			halve(w);
		else if (what < 99)
			disturb(w);
		else
			look(w);
	}
	return NULL;
}

static void run(struct worker *workers, unsigned int n, uint32_t nr_cpus, struct pm_machine *m, void *(*body)(void *))
{
	unsigned int i;

	REQUIRE(pthread_barrier_init(&barrier, NULL, n) == 0);
	for (i = 0; i < n; i++) {
		workers[i] = (struct worker){ .machine = m, .cpu = i % nr_cpus, .random = 0x2545f4914f6cdd1du * (i + 1) + nr_cpus };
		REQUIRE(pthread_create(&workers[i].thread, NULL, body, &workers[i]) == 0);
	}
	for (i = 0; i < n; i++)
		REQUIRE(pthread_join(workers[i].thread, NULL) == 0);
	pthread_barrier_destroy(&barrier);
}

static struct pm_machine *make(uint32_t nr_cpus)
{
	struct pm_settings settings = rig_bare();

	settings.pcp = 1;
	settings.pcp_batch = 8;
	settings.pcp_high_min = 32;
	settings.pcp_high_max = 512;
	settings.min_free_kbytes = 128;
	return rig_one_zone(FRAMES, nr_cpus, settings);
}

static void everything_at_once(void)
{
	static struct worker workers[MAX_THREADS];
	unsigned int n, i, k;
	uint32_t nr_cpus;

	for (n = 2; n <= MAX_THREADS; n *= 2) {
		for (nr_cpus = 1; nr_cpus <= n; nr_cpus += n - 1) {
			struct pm_machine *m = make(nr_cpus);
			uint64_t held = 0, b;
			struct pm_zone_info zone;

			run(workers, n, nr_cpus, m, wander);
			CHECK(rig_valid(m));
			for (i = 0; i < n; i++)
				for (k = 0; k < workers[i].nr; k++)
					held += (uint64_t)1 << workers[i].orders[k];
			zone = rig_zone(m, 0);
			CHECK_EQ(zone.nr_free + zone.nr_isolated + zone.nr_pcp + held, FRAMES);
			/* Put everything back: all of it comes together again. */
			for (i = 0; i < n; i++)
				while (workers[i].nr)
					put(&workers[i]);
			CHECK_EQ(pm_drain(m, PM_ALL_CPUS), PM_OK);
			for (b = 0; b < FRAMES; b += PM_PAGEBLOCK_NR_PAGES) {
				enum pm_status status = pm_set_isolated(m, b, false);

				CHECK(status == PM_OK || status == PM_ERR_BUSY);
				CHECK_EQ(pm_set_pageblock_type(m, b, PM_MT_MOVABLE), PM_OK);
			}
			CHECK_EQ(rig_blocks(m, 0, PM_MAX_ORDER, PM_MT_MOVABLE), FRAMES >> PM_MAX_ORDER);
			rig_destroy(m);
		}
	}
}

/// All threads free the same blocks, some alone and some in bulk, some also try to split them.
static void *contest(void *argument)
{
	struct worker *w = argument;
	size_t done = 0, i = 0;

	pthread_barrier_wait(&barrier);
	while (i < CONTESTED) {
		enum pm_status status = PM_OK;

		if (w->cpu % 2) {
			status = pm_free_bulk(w->machine, w->cpu, 1, CONTESTED - i, contested + i, &done);
		} else {
			status = pm_free(w->machine, w->cpu, contested[i], 1);
			done = status == PM_OK;
		}
		CHECK(status == PM_OK || status == PM_ERR_DOUBLE_FREE);
		w->nr_won += done;
		i += done + (status != PM_OK);
	}
	return NULL;
}

static void one_free_wins(void)
{
	static struct worker workers[4];
	struct pm_machine *m = make(4);
	unsigned int round, i;

	for (round = 0; round < ROUNDS; round++) {
		uint64_t won = 0;
		size_t n;

		REQUIRE(pm_alloc_bulk(m, 0, 1, RIG_MOVABLE, CONTESTED, contested, &n) == PM_OK);
		run(workers, 4, 4, m, contest);
		for (i = 0; i < 4; i++)
			won += workers[i].nr_won;
		CHECK_EQ(won, CONTESTED);
		CHECK(rig_valid(m));
	}
	rig_destroy(m);
}

int main(void)
{
	RUN(everything_at_once);
	RUN(one_free_wins);
	return check_result();
}
