/// Defragmentation under load: every strategy, and the emptying of ranges, while 2 to 8 threads use memory. Contents stay exact, blocks are gained, and nobody starves.
#include "tests/load_rig.h"

enum { MOST_WORKERS = 8, FRAMES = 32768, BACKGROUND = 20480, ROUNDS = 6, RANGES = PM_NR_STRATEGIES };

/// Pages that stay, with holes of eight frames between as many used ones: what there is to gain, and small blocks for those who begin with such.
struct background {
	uint64_t space, addr;
};

static bool is_hole(uint64_t page)
{
	return page % 16 < 8;
}

static struct background fragment(struct pm_machine *m)
{
	struct background b = { .space = space_make(m) };
	uint64_t i;

	b.addr = space_map(m, b.space, BACKGROUND);
	for (i = 0; i < BACKGROUND; i++)
		space_put(m, b.space, b.addr + i * PAGE, (uint8_t)(i * 13));
	for (i = 0; i < BACKGROUND; i++)
		if (is_hole(i))
			CHECK_EQ(pm_unmap(m, 0, b.space, b.addr + i * PAGE, PAGE), PM_OK);
	return b;
}

static void check_background(struct pm_machine *m, const struct background *b)
{
	uint64_t i, wrong = 0;

	for (i = 0; i < BACKGROUND; i++)
		wrong += !is_hole(i) && space_get(m, b->space, b->addr + i * PAGE) != (uint8_t)(i * 13);
	CHECK_EQ(wrong, 0);
}

struct mover {
	struct worker worker;
	uint32_t strategy;
	uint64_t gained, moved;
};

/// A block for ourselves, by emptying a range. It is kept, so the next one has to be another.
static void gain_by_range(struct mover *mover, uint64_t *taken, unsigned int round)
{
	struct pm_machine *m = mover->worker.load->m;
	struct pm_range_request request = range_search(2 * PB, PB, 0, BACKGROUND);
	struct pm_range_info info;
	uint64_t range;

	request.tries = 3;
	request.candidates = 8;
	REQUIRE(pm_range_begin(m, &request, &range) == PM_OK);
	if (pm_range_run(m, mover->worker.cpu, range, &info) == PM_OK) {
		taken[round] = info.start;
		mover->gained++;
	}
	mover->moved += info.moved;
	CHECK_EQ(pm_range_end(m, mover->worker.cpu, range), PM_OK);
}

static void gain_by_strategy(struct mover *mover, unsigned int round)
{
	struct pm_compact_request request;
	struct pm_compact_result result;

	pm_compact_request_default(&request);
	request.strategy = mover->strategy;
	/* coalesce begins with free blocks of the two orders below, of which there are none for a pageblock. */
	if (mover->strategy >= PM_STRATEGY_COALESCE_2004)
		request.order = 4;
	/* The easy way, and the hard one. */
	request.priority = round % 2 ? PM_COMPACT_ASYNC : PM_COMPACT_FULL;
	if (round % 3 == 0)
		request.blocks = 4;
	CHECK_EQ(pm_compact(mover->worker.load->m, mover->worker.cpu, &request, &result), PM_OK);
	mover->moved += result.moved;
	if (result.blocks_after > result.blocks_before)
		mover->gained += result.blocks_after - result.blocks_before;
}

static void *move(void *arg)
{
	struct mover *mover = arg;
	struct pm_machine *m = mover->worker.load->m;
	uint64_t taken[ROUNDS];
	unsigned int round;

	pthread_barrier_wait(&mover->worker.load->barrier);
	for (round = 0; round < ROUNDS; round++) {
		taken[round] = UINT64_MAX;
		if (mover->strategy == RANGES)
			gain_by_range(mover, taken, round);
		else
			gain_by_strategy(mover, round);
		usleep(2000);
	}
	for (round = 0; round < ROUNDS; round++)
		if (taken[round] != UINT64_MAX)
			range_free(m, taken[round], 2 * PB);
	return NULL;
}

/// What a strategy keeps for itself once it was used is no leak.
static void prime(struct space_rig *rig, uint32_t strategy)
{
	struct pm_compact_request request;
	struct pm_compact_result result;

	range_rig_prime(rig);
	pm_compact_request_default(&request);
	request.strategy = strategy;
	if (strategy != RANGES)
		CHECK_EQ(pm_compact(rig->m, 0, &request, &result), PM_OK);
	rig->pieces = space_pieces(rig->m);
}

static void play(uint32_t strategy, unsigned int nr_workers)
{
	struct space_rig_options options = space_options();
	struct mover mover = { .strategy = strategy };
	struct worker workers[MOST_WORKERS];
	struct background background;
	struct load load = { 0 };
	struct space_rig rig;
	unsigned int i;

	options.nr_frames = FRAMES;
	options.nr_cpus = MOST_WORKERS + 1;
	options.pcp = true;
	options.memory.contents = PM_CONTENTS_PRIVATE;
	rig = space_rig_make(&options);
	prime(&rig, strategy);
	load.m = rig.m;
	background = fragment(rig.m);
	pthread_barrier_init(&load.barrier, NULL, nr_workers + 1);
	mover.worker = (struct worker){ .load = &load, .cpu = MOST_WORKERS, .random = 77 + strategy };
	for (i = 0; i < nr_workers; i++) {
		workers[i] = (struct worker){ .load = &load, .cpu = i, .random = 0x9e3779b97f4a7c15u * (i + 1) + strategy };
		REQUIRE(pthread_create(&workers[i].thread, NULL, load_work, &workers[i]) == 0);
	}
	REQUIRE(pthread_create(&mover.worker.thread, NULL, move, &mover) == 0);
	pthread_join(mover.worker.thread, NULL);
	atomic_store(&load.stop, true);
	for (i = 0; i < nr_workers; i++)
		pthread_join(workers[i].thread, NULL);
	printf("%s beside %u threads: %llu blocks gained, %llu frames moved, %llu operations, longest stall %.3f ms\n", strategy == RANGES ? "ranges" : pm_strategy_name(strategy), nr_workers,
	       (unsigned long long)mover.gained, (unsigned long long)mover.moved, (unsigned long long)atomic_load(&load.operations), (double)atomic_load(&load.longest_ns) / 1e6);
	/* Without its corrections coalesce gathers runs that are aligned to nothing: whether they make a block is luck. */
	CHECK(mover.gained > 0 || strategy == PM_STRATEGY_COALESCE_2004_RFC);
	CHECK(atomic_load(&load.operations) > 0);
	check_background(rig.m, &background);
	CHECK(rig_valid(rig.m));
	space_exit(rig.m, background.space);
	pthread_barrier_destroy(&load.barrier);
	space_rig_check_empty(&rig);
	pm_machine_shut(rig.m);
	pm_machine_destroy(rig.m);
}

static void every_strategy_under_load(void)
{
	uint32_t strategy;
	unsigned int threads;

	for (strategy = 0; strategy <= RANGES; strategy++)
		for (threads = 2; threads <= MOST_WORKERS; threads *= 2)
			if (strategy == RANGES || pm_strategy_name(strategy))
				play(strategy, threads);
}

int main(void)
{
	RUN(every_strategy_under_load);
	return check_result();
}
