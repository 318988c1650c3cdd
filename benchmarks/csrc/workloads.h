/// @file workloads.h
/// The workloads, written once over three functions that a target defines before it includes this file:
///
///     static inline bool target_get(unsigned cpu, unsigned order, size_t n, uint64_t *blocks, bool batch);
///     static inline bool target_put(unsigned cpu, unsigned order, size_t n, const uint64_t *blocks, bool batch);
///     static void target_open(uint64_t bytes); / target_close(void);
///
/// target_open() leaves all memory free and merged, so that a workload does not inherit what the one before it left.
/// `batch` asks for one call with an array, where the target has one. Inlined, so that the target's own call is all that a
/// workload adds to its loop. Time is CPU time of the threads that work: other load on the machine costs cache, not time.
#ifndef BENCH_WORKLOADS_H
#define BENCH_WORKLOADS_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BENCH_MAX_THREADS = 8, BENCH_BATCH = 64, BENCH_CHUNK = 1024, BENCH_PAGE = 4096 };

/// One order to the driver; see read_request().
struct bench_request {
	char name[32];
	unsigned threads;
	uint64_t bytes;	 ///< of simulated memory
	unsigned order;
	uint64_t rounds; ///< operations, for what repeats; blocks, for what fills; a thread
	bool batch;
};

struct bench_shared {
	struct bench_request request;
	pthread_barrier_t barrier;
	uint64_t *blocks; ///< all threads' blocks, one after another
	size_t nr_blocks; ///< a thread
};

struct bench_worker {
	struct bench_shared *shared;
	unsigned cpu;
	uint64_t random;
	uint64_t cpu_ns;     ///< of the timed part
	uint64_t operations; ///< in the timed part
	pthread_t thread;
};

static _Noreturn void bench_die(const char *what)
{
	fprintf(stderr, "benchmark driver: %s\n", what);
	exit(EXIT_FAILURE);
}

static uint64_t bench_cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/// splitmix64
static inline uint64_t bench_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/// A number below `limit` (below 2^32), nearly uniform.
static inline size_t bench_below(uint64_t *state, size_t limit)
{
	return (size_t)(((bench_random(state) >> 32) * limit) >> 32);
}

static inline void bench_swap(uint64_t *blocks, size_t a, size_t b)
{
	uint64_t block = blocks[a];

	blocks[a] = blocks[b];
	blocks[b] = block;
}

static void bench_get_all(unsigned cpu, unsigned order, size_t n, uint64_t *blocks, bool batch)
{
	for (size_t i = 0; i < n; i += BENCH_CHUNK)
		if (!target_get(cpu, order, n - i < BENCH_CHUNK ? n - i : BENCH_CHUNK, blocks + i, batch))
			bench_die("an allocation failed");
}

static void bench_put_all(unsigned cpu, unsigned order, size_t n, const uint64_t *blocks, bool batch)
{
	for (size_t i = 0; i < n; i += BENCH_CHUNK)
		if (!target_put(cpu, order, n - i < BENCH_CHUNK ? n - i : BENCH_CHUNK, blocks + i, batch))
			bench_die("a free failed");
}

/// Allocate one block and free it, again and again. An operation is the pair.
static void bench_pair(struct bench_worker *w)
{
	const struct bench_request *r = &w->shared->request;
	uint64_t block, start = bench_cpu_ns();

	for (uint64_t i = 0; i < r->rounds; i++)
		if (!target_get(w->cpu, r->order, 1, &block, false) || !target_put(w->cpu, r->order, 1, &block, false))
			bench_die("a pair failed");
	w->cpu_ns = bench_cpu_ns() - start;
	w->operations = r->rounds;
}

/// Allocate many, then free them all, in the same order. An operation is one allocation and one free. The first pass is not timed:
/// it takes memory from the system, and brings the tables back to the cache after another target's turn.
static void bench_bulk(struct bench_worker *w)
{
	const struct bench_request *r = &w->shared->request;
	size_t n = w->shared->nr_blocks;
	uint64_t *blocks = w->shared->blocks + w->cpu * n, start;

	bench_get_all(w->cpu, r->order, n, blocks, r->batch);
	bench_put_all(w->cpu, r->order, n, blocks, r->batch);
	pthread_barrier_wait(&w->shared->barrier);
	start = bench_cpu_ns();
	bench_get_all(w->cpu, r->order, n, blocks, r->batch);
	bench_put_all(w->cpu, r->order, n, blocks, r->batch);
	w->cpu_ns = bench_cpu_ns() - start;
	w->operations = n;
}

/// All threads allocate; all blocks are shuffled together; each thread frees its share. An operation is one free.
static void bench_shuffled(struct bench_worker *w)
{
	const struct bench_request *r = &w->shared->request;
	size_t n = w->shared->nr_blocks, all = n * r->threads;
	uint64_t *blocks = w->shared->blocks, start;

	bench_get_all(w->cpu, r->order, n, blocks + w->cpu * n, r->batch);
	pthread_barrier_wait(&w->shared->barrier);
	if (w->cpu == 0)
		for (size_t i = all; i > 1; i--)
			bench_swap(blocks, i - 1, bench_below(&w->random, i));
	pthread_barrier_wait(&w->shared->barrier);
	start = bench_cpu_ns();
	bench_put_all(w->cpu, r->order, n, blocks + w->cpu * n, r->batch);
	w->cpu_ns = bench_cpu_ns() - start;
	w->operations = n;
}

static void bench_random_round(struct bench_worker *w, uint64_t *blocks, size_t n)
{
	const struct bench_request *r = &w->shared->request;
	uint64_t *tail = blocks + n - BENCH_BATCH;

	for (size_t k = 0; k < BENCH_BATCH; k++)
		bench_swap(blocks, n - 1 - k, bench_below(&w->random, n - k));
	if (!target_put(w->cpu, r->order, BENCH_BATCH, tail, r->batch) || !target_get(w->cpu, r->order, BENCH_BATCH, tail, r->batch))
		bench_die("a random round failed");
}

/// The threads hold `nr_blocks` each; free 64 at random, allocate 64, again and again. An operation is one free and one
/// allocation. A warm-up turns every block over once on average: before that, the free lists are still in order of address.
static void bench_random_mix(struct bench_worker *w)
{
	size_t n = w->shared->nr_blocks;
	uint64_t *blocks = w->shared->blocks + w->cpu * n, start;

	bench_get_all(w->cpu, w->shared->request.order, n, blocks, w->shared->request.batch);
	for (uint64_t i = 0; i < n / BENCH_BATCH; i++)
		bench_random_round(w, blocks, n);
	pthread_barrier_wait(&w->shared->barrier);
	start = bench_cpu_ns();
	for (uint64_t i = 0; i < w->shared->request.rounds / BENCH_BATCH; i++)
		bench_random_round(w, blocks, n);
	w->cpu_ns = bench_cpu_ns() - start;
	w->operations = w->shared->request.rounds / BENCH_BATCH * BENCH_BATCH;
	pthread_barrier_wait(&w->shared->barrier);
	bench_put_all(w->cpu, w->shared->request.order, n, blocks, w->shared->request.batch);
}

/// An uncontended lock and unlock of a mutex of this thread's own.
static void bench_mutex(struct bench_worker *w)
{
	static _Alignas(128) struct {
		_Alignas(128) pthread_mutex_t mutex;
	} own[BENCH_MAX_THREADS];
	pthread_mutex_t *mutex = &own[w->cpu].mutex;
	uint64_t start;

	pthread_mutex_init(mutex, NULL);
	start = bench_cpu_ns();
	for (uint64_t i = 0; i < w->shared->request.rounds; i++) {
		pthread_mutex_lock(mutex);
		pthread_mutex_unlock(mutex);
	}
	w->cpu_ns = bench_cpu_ns() - start;
	w->operations = w->shared->request.rounds;
}

/// A compare-and-swap of a word of this thread's own; each needs the result of the last.
static void bench_cas(struct bench_worker *w)
{
	static struct {
		_Alignas(128) _Atomic uint64_t word;
	} own[BENCH_MAX_THREADS];
	uint64_t seen = atomic_load(&own[w->cpu].word), start = bench_cpu_ns();

	for (uint64_t i = 0; i < w->shared->request.rounds; i++)
		if (atomic_compare_exchange_strong(&own[w->cpu].word, &seen, seen + 1))
			seen++;
	w->cpu_ns = bench_cpu_ns() - start;
	w->operations = w->shared->request.rounds;
}

static const struct bench_case {
	const char *name;
	void (*run)(struct bench_worker *);
	bool needs_target;
	bool needs_blocks;
} bench_cases[] = {
	{ "pair", bench_pair, true, false },	     { "bulk", bench_bulk, true, true },
	{ "shuffled", bench_shuffled, true, true },  { "random", bench_random_mix, true, true },
	{ "mutex", bench_mutex, false, false },	     { "cas", bench_cas, false, false },
};

static const struct bench_case *bench_find(const char *name)
{
	for (size_t i = 0; i < sizeof(bench_cases) / sizeof(*bench_cases); i++)
		if (strcmp(bench_cases[i].name, name) == 0)
			return &bench_cases[i];
	bench_die("no such workload");
}

static void *bench_thread(void *argument)
{
	struct bench_worker *w = argument;
	cpu_set_t one;

	/// Two threads on one processor would measure the scheduler. Where affinity is refused, the scheduler may still do well.
	CPU_ZERO(&one);
	CPU_SET(w->cpu, &one);
	(void)pthread_setaffinity_np(pthread_self(), sizeof(one), &one);
	pthread_barrier_wait(&w->shared->barrier);
	bench_find(w->shared->request.name)->run(w);
	return NULL;
}

/// CPU time per operation, over all threads.
static double bench_run(struct bench_shared *shared)
{
	static uint64_t seed;
	struct bench_worker workers[BENCH_MAX_THREADS];
	uint64_t cpu_ns = 0, operations = 0;

	pthread_barrier_init(&shared->barrier, NULL, shared->request.threads);
	for (unsigned i = 0; i < shared->request.threads; i++) {
		workers[i] = (struct bench_worker){ .shared = shared, .cpu = i, .random = ++seed };
		if (pthread_create(&workers[i].thread, NULL, bench_thread, &workers[i]) != 0)
			bench_die("no thread");
	}
	for (unsigned i = 0; i < shared->request.threads; i++) {
		pthread_join(workers[i].thread, NULL);
		cpu_ns += workers[i].cpu_ns;
		operations += workers[i].operations;
	}
	pthread_barrier_destroy(&shared->barrier);
	return (double)cpu_ns / (double)operations;
}

/// A line "NAME THREADS BYTES ORDER ROUNDS BATCH" on standard input.
static bool read_request(struct bench_request *ret)
{
	char line[256];
	unsigned batch;
	unsigned long long bytes, rounds;

	if (fgets(line, sizeof(line), stdin) == NULL)
		return false;
	if (sscanf(line, "%31s %u %llu %u %llu %u", ret->name, &ret->threads, &bytes, &ret->order, &rounds, &batch) != 6)
		bench_die("a request that nobody can read");
	if (ret->threads < 1 || ret->threads > BENCH_MAX_THREADS || rounds < BENCH_BATCH)
		bench_die("a request out of range");
	ret->bytes = bytes;
	ret->rounds = rounds;
	ret->batch = batch != 0;
	return true;
}

static void bench_answer(const struct bench_request *request)
{
	const struct bench_case *workload = bench_find(request->name);
	struct bench_shared shared = { .request = *request };
	double ns;

	if (workload->needs_blocks) {
		shared.nr_blocks = request->rounds;
		/// `random` has its rounds apart from its blocks: it fills nine tenths of memory.
		if (workload->run == bench_random_mix)
			shared.nr_blocks = request->bytes / BENCH_PAGE * 9 / 10 / request->threads;
		shared.blocks = malloc(shared.nr_blocks * request->threads * sizeof(*shared.blocks));
		if (shared.blocks == NULL)
			bench_die("no memory for the list of blocks");
		memset(shared.blocks, 0, shared.nr_blocks * request->threads * sizeof(*shared.blocks));
	}
	if (workload->needs_target)
		target_open(request->bytes);
	ns = bench_run(&shared);
	free(shared.blocks);
	printf("%.4f\n", ns);
	fflush(stdout);
}

static int bench_main(void)
{
	struct bench_request request = { .name = "" };

	while (read_request(&request))
		bench_answer(&request);
	target_close();
	return EXIT_SUCCESS;
}

#endif
