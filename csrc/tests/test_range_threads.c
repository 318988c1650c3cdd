/// Ranges beside everything else: cancelled from another thread, starved of memory at any point, and among threads that allocate, free, fault, fork and pin.
#include "tests/load_rig.h"

/* ---- cancelled ---- */

struct canceller {
	struct pm_machine *m;
	uint64_t range;
	_Atomic bool running;
};

static void *cancel_soon(void *arg)
{
	struct canceller *c = arg;

	while (!atomic_load(&c->running))
		usleep(100);
	usleep(20000);
	CHECK_EQ(pm_range_cancel(c->m, c->range), PM_OK);
	return NULL;
}

/// Offlining waits for a long pin as long as it lasts; who waits can be told to stop, and then nothing has happened.
static void a_wait_for_a_pin_can_be_cancelled(void)
{
	struct space_rig_options options = space_options();
	struct pm_range_request request = range_request(PM_RANGE_OFFLINE, 0, 1024);
	struct pm_obstacle obstacle;
	struct pm_range_info info;
	struct canceller c = { 0 };
	struct picture before;
	struct space_rig rig;
	uint64_t space, addr, pin, pfn, i;
	pthread_t thread;
	size_t n;

	options.nr_frames = 4096;
	options.memory.contents = PM_CONTENTS_PRIVATE;
	rig = space_rig_make(&options);
	range_rig_prime(&rig);
	space = space_make(rig.m);
	addr = space_map(rig.m, space, 2048);
	for (i = 0; i < 2048; i++)
		space_put(rig.m, space, addr + i * PAGE, (uint8_t)i);
	for (i = 0; space_frame(rig.m, space, addr + i * PAGE) >= 1024; i++)
		;
	REQUIRE(pm_pin(rig.m, 0, space, addr + i * PAGE, PM_PIN_LONG, true, &pfn, &pin) == PM_OK);
	before = picture_take(rig.m);
	REQUIRE(pm_range_begin(rig.m, &request, &c.range) == PM_OK);
	c.m = rig.m;
	REQUIRE(pthread_create(&thread, NULL, cancel_soon, &c) == 0);
	atomic_store(&c.running, true);
	CHECK_EQ(pm_range_run(rig.m, 0, c.range, &info), PM_ERR_INTR);
	CHECK_EQ(info.over, 1);
	CHECK_EQ(info.put_back, info.moved);
	pthread_join(thread, NULL);
	REQUIRE(pm_range_obstacles(rig.m, c.range, 1, &obstacle, &n) == PM_OK);
	CHECK(n == 1 && obstacle.pfn == pfn && obstacle.reason == PM_WHY_PINNED);
	CHECK_EQ(pm_range_end(rig.m, 0, c.range), PM_OK);
	picture_compare(rig.m, &before);
	CHECK_EQ(pm_unpin(rig.m, 0, pin), PM_OK);
	CHECK_EQ(range_do(rig.m, &request, &info), PM_OK);
	CHECK_EQ(pm_range_online(rig.m, 0, 1024), PM_OK);
	for (i = 0; i < 2048; i++)
		CHECK_EQ(space_get(rig.m, space, addr + i * PAGE), (uint8_t)i);
	space_exit(rig.m, space);
	space_rig_end(&rig);
}

/// A call whose waits are limited comes back again and again; given up half way, nothing has happened.
static void a_limited_call_comes_back_and_can_be_given_up(void)
{
	struct space_rig_options options = space_options();
	struct pm_range_request request = range_request(PM_RANGE_OFFLINE, 0, 2048);
	struct pm_range_info info;
	struct picture before;
	struct space_rig rig;
	uint64_t space, addr, pin, pfn, i, range;

	options.nr_frames = 8192;
	options.memory.wait_slices = 2;
	rig = space_rig_make(&options);
	range_rig_prime(&rig);
	space = space_make(rig.m);
	addr = space_map(rig.m, space, 4096);
	REQUIRE(pm_touch(rig.m, 0, space, addr, 4096 * PAGE, true, &i) == PM_OK);
	for (i = 0; space_frame(rig.m, space, addr + i * PAGE) >= 2048; i++)
		;
	REQUIRE(pm_pin(rig.m, 0, space, addr + i * PAGE, PM_PIN_DIRECT_IO, true, &pfn, &pin) == PM_OK);
	before = picture_take(rig.m);
	REQUIRE(pm_range_begin(rig.m, &request, &range) == PM_OK);
	for (i = 0; i < 5; i++) {
		CHECK_EQ(pm_range_run(rig.m, 0, range, &info), PM_ERR_INTR);
		CHECK_EQ(info.over, 0);
	}
	CHECK(info.moved > 0);
	CHECK_EQ(rig_zone(rig.m, 0).nr_isolated, 2047);
	CHECK_EQ(pm_range_end(rig.m, 0, range), PM_OK);
	picture_compare(rig.m, &before);
	CHECK_EQ(pm_unpin(rig.m, 0, pin), PM_OK);
	space_exit(rig.m, space);
	space_rig_end(&rig);
}

/// Each request for memory fails once: the call says so or goes on without, and a failure leaves no trace.
static void every_request_for_memory_may_fail(void)
{
	struct space_rig_options options = space_options();
	struct pm_range_request request = range_search(600, 0, 0, UINT64_MAX);
	struct pm_range_info info;
	struct space_rig rig;
	uint64_t space, addr, i, requests = 1, nth, range;

	options.nr_frames = 2048;
	options.memory.contents = PM_CONTENTS_PRIVATE;
	rig = space_rig_make(&options);
	range_rig_prime(&rig);
	space = space_make(rig.m);
	addr = space_map(rig.m, space, 1200);
	for (i = 0; i < 1200; i++)
		space_put(rig.m, space, addr + i * PAGE, (uint8_t)i);
	for (nth = 1; nth <= requests; nth++) {
		struct picture before = picture_take(rig.m);
		enum pm_status status;

		CHECK_EQ(pm_fail_allocations(rig.m, nth, false, &i), PM_OK);
		status = pm_range_begin(rig.m, &request, &range);
		if (!status) {
			status = pm_range_run(rig.m, 0, range, &info);
			CHECK_EQ(pm_range_end(rig.m, 0, range), PM_OK);
		}
		CHECK_EQ(pm_fail_allocations(rig.m, 0, false, &requests), PM_OK);
		if (!status)
			range_free(rig.m, info.start, 600);
		CHECK(status == PM_OK || status == PM_ERR_NOMEM || status == PM_ERR_WATERMARK || status == PM_ERR_BUSY);
		if (status)
			picture_compare(rig.m, &before);
		else
			picture_free(&before);
		/* Rather few: a page that finds no frame is asked for again. */
		if (requests > 200)
			requests = 200;
	}
	for (i = 0; i < 1200; i++)
		CHECK_EQ(space_get(rig.m, space, addr + i * PAGE), (uint8_t)i);
	space_exit(rig.m, space);
	space_rig_end(&rig);
}

/* ---- among threads ---- */

enum { WORKERS = 3, CPUS = WORKERS + 2, STRESS_FRAMES = 8192, ROUNDS = 24 };

static _Atomic uint32_t ranges_done[PM_RANGE_OFFLINE + 1];

/// Every frame that was taken is ours alone: a pattern over all of it stands a while.
static void use_taken(struct worker *w, const struct pm_range_info *info)
{
	struct pm_machine *m = w->load->m;
	uint64_t pfn;

	for (pfn = info->start; pfn < info->end; pfn++)
		memset(m->arena + pfn * PAGE, (int)(0x80 | w->cpu), PAGE);
	usleep(50);
	for (pfn = info->start; pfn < info->end; pfn++)
		CHECK(m->arena[pfn * PAGE] == (char)(0x80 | w->cpu) && m->arena[pfn * PAGE + PAGE - 1] == (char)(0x80 | w->cpu));
	range_free(m, info->start, info->end - info->start);
}

static void *move_ranges(void *arg)
{
	struct worker *w = arg;
	struct pm_machine *m = w->load->m;
	unsigned int round;

	pthread_barrier_wait(&w->load->barrier);
	for (round = 0; round < ROUNDS; round++) {
		uint32_t kind = (uint32_t)(draw(w) % 3);
		uint64_t start = draw(w) % (STRESS_FRAMES / PB) * PB, range;
		struct pm_range_request request = range_request(kind, start, start + PB);
		struct pm_range_info info;
		enum pm_status status;

		if (kind == PM_RANGE_TAKE)
			request = range_search(1 + draw(w) % (2 * PB), 0, 0, UINT64_MAX);
		/* A block of a worker's own may be in the way for ever. */
		request.tries = 3;
		status = pm_range_begin(m, &request, &range);
		if (status) {
			/* The other one has it offline. */
			CHECK_EQ(status, PM_ERR_RANGE);
			continue;
		}
		status = pm_range_run(m, w->cpu, range, &info);
		CHECK(status == PM_OK || status == PM_ERR_BUSY || status == PM_ERR_WATERMARK || status == PM_ERR_NO_BLOCK);
		if (status == PM_OK) {
			atomic_fetch_add(&ranges_done[kind], 1);
			if (kind == PM_RANGE_TAKE)
				use_taken(w, &info);
			if (kind == PM_RANGE_ISOLATE)
				usleep(100);
			if (kind == PM_RANGE_OFFLINE)
				CHECK_EQ(pm_range_online(m, start, start + PB), PM_OK);
		}
		CHECK_EQ(pm_range_end(m, w->cpu, range), PM_OK);
	}
	return NULL;
}

static void ranges_among_threads(void)
{
	struct space_rig_options options = space_options();
	struct load stress = { 0 };
	struct worker workers[CPUS];
	struct space_rig rig;
	unsigned int i;

	options.nr_frames = STRESS_FRAMES;
	options.nr_cpus = CPUS;
	options.pcp = true;
	options.memory.contents = PM_CONTENTS_PRIVATE;
	rig = space_rig_make(&options);
	range_rig_prime(&rig);
	stress.m = rig.m;
	pthread_barrier_init(&stress.barrier, NULL, CPUS);
	for (i = 0; i < CPUS; i++) {
		workers[i] = (struct worker){ .load = &stress, .cpu = i, .random = 0x9e3779b97f4a7c15u * (i + 1) };
		REQUIRE(pthread_create(&workers[i].thread, NULL, i < WORKERS ? load_work : move_ranges, &workers[i]) == 0);
	}
	for (i = WORKERS; i < CPUS; i++)
		pthread_join(workers[i].thread, NULL);
	atomic_store(&stress.stop, true);
	for (i = 0; i < WORKERS; i++)
		pthread_join(workers[i].thread, NULL);
	printf("isolated %u, taken %u, offline %u; longest stall %.3f ms\n", ranges_done[0], ranges_done[1], ranges_done[2],
	       (double)atomic_load(&stress.longest_ns) / 1e6);
	/* It must be possible at all, beside the others. */
	CHECK(ranges_done[PM_RANGE_ISOLATE] > 0 && ranges_done[PM_RANGE_TAKE] > 0 && ranges_done[PM_RANGE_OFFLINE] > 0);
	CHECK_EQ(rig_zone(rig.m, 0).nr_isolated, 0);
	pthread_barrier_destroy(&stress.barrier);
	space_rig_end(&rig);
}

int main(void)
{
	RUN(a_wait_for_a_pin_can_be_cancelled);
	RUN(a_limited_call_comes_back_and_can_be_given_up);
	RUN(every_request_for_memory_may_fail);
	RUN(ranges_among_threads);
	return check_result();
}
