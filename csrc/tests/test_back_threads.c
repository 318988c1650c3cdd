/// Several threads on one slot, one page, one file, and on memory that is too small for all of them. Mostly for ThreadSanitizer.
#include <pthread.h>

#include "tests/test_back_rig.h"

enum { THREADS = 4 };

struct shared {
	struct pm_machine *m;
	uint64_t file, device, space[THREADS], addr;
	unsigned int rounds;
	atomic_uint failures, swaps, ooms;
	pthread_barrier_t barrier;
};

struct worker {
	struct shared *s;
	uint32_t cpu;
};

static void run(struct shared *s, unsigned int n, void *(*body)(void *))
{
	struct worker worker[THREADS];
	pthread_t thread[THREADS];
	unsigned int i;

	REQUIRE(pthread_barrier_init(&s->barrier, NULL, n) == 0);
	for (i = 0; i < n; i++) {
		worker[i] = (struct worker){ s, i };
		REQUIRE(pthread_create(&thread[i], NULL, body, &worker[i]) == 0);
	}
	for (i = 0; i < n; i++)
		pthread_join(thread[i], NULL);
	pthread_barrier_destroy(&s->barrier);
	CHECK_EQ(atomic_load(&s->failures), 0);
}

static void *fault_one_slot(void *argument)
{
	struct worker *w = argument;
	struct shared *s = w->s;

	pthread_barrier_wait(&s->barrier);
	if (back_look(s->m, w->cpu, s->space[w->cpu], s->addr) != 42)
		atomic_fetch_add(&s->failures, 1);
	return NULL;
}

/// Two spaces fault one slot at once: one reads the device, the other finds what was read.
static void two_on_one_slot(void)
{
	unsigned int round;

	for (round = 0; round < 60; round++) {
		struct pm_machine *m = back_machine(64, 2);
		struct shared s = { .m = m };

		s.device = back_device(m, 16, 1000);
		s.space[0] = back_space(m);
		s.addr = back_map(m, 0, s.space[0], 1, 0, 0);
		back_swap_on(m, 16, s.device);
		CHECK_EQ(back_fill(m, 0, s.space[0], s.addr, 42), PM_OK);
		CHECK_EQ(pm_space_fork(m, 0, s.space[0], &s.space[1]), PM_OK);
		CHECK_EQ(back_page_out(m, s.space[0], s.addr, 1), 1);
		run(&s, 2, fault_one_slot);
		CHECK_EQ(back_swap_info(m).ins, 1);
		CHECK_EQ(back_device_info(m, s.device).reads, 1);
		CHECK(rig_valid(m));
		CHECK_EQ(pm_space_exit(m, 0, s.space[0]), PM_OK);
		CHECK_EQ(pm_space_exit(m, 0, s.space[1]), PM_OK);
		back_destroy_empty(m, 64);
	}
}

static void *read_one_page(void *argument)
{
	struct worker *w = argument;
	struct shared *s = w->s;
	unsigned int round;

	for (round = 0; round < s->rounds; round++) {
		uint64_t dropped;

		pthread_barrier_wait(&s->barrier);
		if (back_get(s->m, w->cpu, s->file, 0) != 7)
			atomic_fetch_add(&s->failures, 1);
		pthread_barrier_wait(&s->barrier);
		if (w->cpu == 0 && (pm_file_drop(s->m, 0, s->file, 0, PAGE, &dropped) != PM_OK || dropped != 1))
			atomic_fetch_add(&s->failures, 1);
		pthread_barrier_wait(&s->barrier);
	}
	return NULL;
}

static void several_on_one_page(void)
{
	struct pm_machine *m = back_machine(64, THREADS);
	struct shared s = { .m = m, .rounds = 100 };

	s.device = back_device(m, 16, 1000);
	s.file = back_file(m, PM_FS_BUFFERS, s.device, 1, 1);
	CHECK_EQ(back_put(m, 0, s.file, 0, 7), PM_OK);
	CHECK_EQ(pm_file_sync(m, 0, s.file, 0, PAGE, true), PM_OK);
	CHECK_EQ(back_get(m, 0, s.file, 0), 7);
	{
		uint64_t dropped;

		CHECK_EQ(pm_file_drop(m, 0, s.file, 0, PAGE, &dropped), PM_OK);
	}
	run(&s, THREADS, read_one_page);
	/* Whoever came first read it for all. */
	CHECK_EQ(back_counters(m).file_reads, 100);
	CHECK_EQ(pm_file_close(m, 0, s.file), PM_OK);
	back_destroy_empty(m, 64);
}

/// Each thread's own pages of a mapping of the file: written, and beyond the end while the first thread has the file shorter.
static void *fault_truncated(void *argument)
{
	struct worker *w = argument;
	struct shared *s = w->s;
	uint64_t addr = s->addr + w->cpu * PAGE;
	unsigned int round;

	for (round = 0; round < s->rounds; round++) {
		enum pm_status status;

		if (w->cpu == 0) {
			if (pm_file_truncate(s->m, 0, s->file, PAGE) != PM_OK || pm_file_truncate(s->m, 0, s->file, THREADS * PAGE) != PM_OK)
				atomic_fetch_add(&s->failures, 1);
			continue;
		}
		status = back_fill(s->m, w->cpu, s->space[0], addr, (uint8_t)(w->cpu + 1));
		if (status != PM_OK && status != PM_ERR_BEYOND)
			atomic_fetch_add(&s->failures, 1);
		if (w->cpu == 1 && pm_file_sync(s->m, 1, s->file, 0, UINT64_MAX, round & 1) != PM_OK)
			atomic_fetch_add(&s->failures, 1);
	}
	return NULL;
}

static void truncate_against_faults(void)
{
	struct pm_machine *m = back_machine(256, THREADS);
	struct shared s = { .m = m, .rounds = 400 };
	unsigned int i;

	s.device = back_device(m, 16, 100);
	s.file = back_file(m, PM_FS_COMMON, s.device, THREADS, THREADS);
	s.space[0] = back_space(m);
	s.addr = back_map(m, 0, s.space[0], THREADS, PM_MAP_SHARED, s.file);
	run(&s, THREADS, fault_truncated);
	CHECK(rig_valid(m));
	/* A page has what its thread wrote, or zeros. */
	for (i = 1; i < THREADS; i++) {
		int value = back_get(m, 0, s.file, i);

		CHECK(value == 0 || value == (int)i + 1);
	}
	CHECK_EQ(pm_space_exit(m, 0, s.space[0]), PM_OK);
	CHECK_EQ(pm_file_close(m, 0, s.file), PM_OK);
	back_destroy_empty(m, 256);
}

/// Out of memory is allowed: while swap is off there is too little.
static bool is_oom(int status)
{
	return status == PM_ERR_WATERMARK || status == PM_ERR_NO_BLOCK;
}

static void expect(struct shared *s, int got, int want)
{
	if (got != want && !is_oom(got)) {
		fprintf(stderr, "  got %d, expected %d\n", got, want);
		atomic_fetch_add(&s->failures, 1);
	}
	if (is_oom(got))
		atomic_fetch_add(&s->ooms, 1);
}

/// Each thread has a space of its own with more pages than there is memory for, and a part of one file; each sees what it wrote. The first thread turns swap
/// off and on besides.
static void *live_under_pressure(void *argument)
{
	enum { PAGES = 96 };
	struct worker *w = argument;
	struct shared *s = w->s;
	uint32_t cpu = w->cpu;
	uint64_t space, addr, seed = cpu + 1;
	uint8_t want[PAGES] = { 0 }, file_want[16] = { 0 };
	unsigned int round;

	if (pm_space_create(s->m, &space) != PM_OK)
		return NULL;
	addr = back_map(s->m, cpu, space, PAGES, 0, 0);
	for (round = 0; round < s->rounds; round++) {
		uint64_t page, child, freed;
		enum pm_status status = PM_OK;

		seed = seed * 6364136223846793005u + 1442695040888963407u;
		page = (seed >> 33) % PAGES;
		switch (seed >> 61) {
		case 0:
		case 1:
		case 2:
			status = back_fill(s->m, cpu, space, addr + page * PAGE, (uint8_t)(seed >> 40));
			if (!status)
				want[page] = (uint8_t)(seed >> 40);
			break;
		case 3:
			status = pm_page_out(s->m, cpu, space, addr, PAGES / 4 * PAGE, &freed);
			break;
		case 4:
			status = back_put(s->m, cpu, s->file, cpu * 16 + page % 16, (uint8_t)(seed >> 40));
			if (!status)
				file_want[page % 16] = (uint8_t)(seed >> 40);
			break;
		case 5:
			expect(s, back_get(s->m, cpu, s->file, cpu * 16 + page % 16), file_want[page % 16]);
			break;
		case 6:
			if (round % 8 == 0) {
				status = pm_space_fork(s->m, cpu, space, &child);
				if (!status) {
					expect(s, back_look(s->m, cpu, child, addr + page * PAGE), want[page]);
					status = pm_space_exit(s->m, cpu, child);
				}
			} else if (cpu == 0 && round % 16 == 1) {
				struct pm_swap_options options = { 1024, s->device };

				/* Out of memory is allowed here too; then swap is on as before. */
				status = pm_swap_off(s->m, cpu);
				if (!status) {
					atomic_fetch_add(&s->swaps, 1);
					status = pm_swap_on(s->m, &options);
				}
			} else {
				status = pm_file_sync(s->m, cpu, s->file, cpu * 16 * PAGE, 16 * PAGE, round & 1);
			}
			break;
		default:
			expect(s, back_look(s->m, cpu, space, addr + page * PAGE), want[page]);
			break;
		}
		expect(s, (int)status, PM_OK);
	}
	if (pm_space_exit(s->m, cpu, space) != PM_OK)
		atomic_fetch_add(&s->failures, 1);
	return NULL;
}

static void pressure(uint64_t nr_frames, uint64_t latency_ns)
{
	struct pm_settings settings;
	struct pm_machine *m;
	struct shared s = { .rounds = 6000 };

	pm_settings_default(&settings);
	settings.min_free_kbytes = 64;
	m = back_machine_with(nr_frames, THREADS, 0, settings);
	s.m = m;
	s.device = back_device(m, 4096, latency_ns);
	s.file = back_file(m, PM_FS_BUFFERS, s.device, THREADS * 16, THREADS * 16);
	back_swap_on(m, 1024, s.device);
	run(&s, THREADS, live_under_pressure);
	CHECK(rig_valid(m));
	/* It was no idle run, and memory was enough nearly always. */
	CHECK(atomic_load(&s.ooms) < THREADS * s.rounds / 50);
	CHECK(atomic_load(&s.swaps) > 0);
	CHECK(back_counters(m).swap_reads > 100);
	CHECK(back_counters(m).reclaimed_anon > 1000);
	/* A file lives as long as a transfer of its is under way. */
	CHECK_EQ(pm_file_sync(m, 0, s.file, 0, UINT64_MAX, true), PM_OK);
	CHECK_EQ(pm_file_close(m, 0, s.file), PM_OK);
	CHECK(pm_swap_off(m, 0) == PM_OK || !back_swap_info(m).on);
	back_destroy_empty(m, nr_frames);
}

static void plenty_without_latency(void)
{
	pressure(2048, 0);
}

static void scarce_with_latency(void)
{
	pressure(256, 10000);
}

/// A machine is shut while its threads wait for stuck transfers: all come back.
static void *wait_for_stuck(void *argument)
{
	struct worker *w = argument;

	/* The first time it may come back with contents, from the cache. */
	while (back_get(w->s->m, w->cpu, w->s->file, w->cpu) != PM_ERR_CLOSED)
		;
	return NULL;
}

static void *shut(void *argument)
{
	struct shared *s = argument;

	while (back_device_info(s->m, s->device).stuck < 1)
		;
	pm_machine_shut(s->m);
	return NULL;
}

static void shut_while_waiting(void)
{
	struct pm_machine *m = back_machine(64, THREADS + 1);
	struct shared s = { .m = m };
	uint64_t dropped, i;
	pthread_t closer;

	s.device = back_device(m, 16, 10);
	s.file = back_file(m, PM_FS_COMMON, s.device, THREADS, THREADS);
	for (i = 0; i < THREADS; i++)
		CHECK_EQ(back_put(m, 0, s.file, i, 1), PM_OK);
	CHECK_EQ(pm_file_sync(m, 0, s.file, 0, UINT64_MAX, true), PM_OK);
	CHECK_EQ(pm_file_drop(m, 0, s.file, 0, UINT64_MAX, &dropped), PM_OK);
	CHECK_EQ(pm_device_stick(m, s.device, PM_IO_READ, 1), PM_OK);
	REQUIRE(pthread_create(&closer, NULL, shut, &s) == 0);
	run(&s, THREADS, wait_for_stuck);
	pthread_join(closer, NULL);
	pm_machine_destroy(m);
}

int main(void)
{
	RUN(two_on_one_slot);
	RUN(several_on_one_page);
	RUN(truncate_against_faults);
	RUN(plenty_without_latency);
	RUN(scarce_with_latency);
	RUN(shut_while_waiting);
	return check_result();
}
