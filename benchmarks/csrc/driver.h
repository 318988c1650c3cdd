/// What the drivers of benchmarks/migration.py and benchmarks/defrag.py share: a clock, copies to compare with, the host kernel's compaction.
#ifndef BENCH_DRIVER_H
#define BENCH_DRIVER_H

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "pymigrate.h"

enum { PAGE = PM_PAGE_SIZE };

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "benchmark driver: %s\n", what);
	exit(EXIT_FAILURE);
}

#define must(call)                                                                                              \
	do {                                                                                                    \
		enum pm_status must_status = (call);                                                            \
		if (must_status != PM_OK) {                                                                     \
			fprintf(stderr, "benchmark driver: %s: %s\n", #call, pm_status_text(must_status));      \
			exit(EXIT_FAILURE);                                                                     \
		}                                                                                               \
	} while (0)

static double now_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/// A copy of a list of pages below `frames` with stores past the cache, and with memcpy: ns a page each.
static void copy_list(size_t frames, const uint64_t *from, const uint64_t *to, uint64_t n, double *ret_stream, double *ret_memcpy)
{
	static char *base;
	double begin;
	uint64_t i;

	if (!base) {
		base = mmap(NULL, frames * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (base == MAP_FAILED)
			die("no memory");
		(void)madvise(base, frames * PAGE, MADV_HUGEPAGE);
		memset(base, 1, frames * PAGE);
	}
	begin = now_ns(CLOCK_THREAD_CPUTIME_ID);
	for (i = 0; i < n; i++) {
#if defined(__x86_64__)
		const __m128i *source = (const __m128i *)(base + from[i] * PAGE);
		__m128i *target = (__m128i *)(base + to[i] * PAGE);

		for (unsigned j = 0; j < PAGE / sizeof(__m128i); j += 4) {
			__m128i a = _mm_load_si128(source + j), b = _mm_load_si128(source + j + 1), c = _mm_load_si128(source + j + 2), d = _mm_load_si128(source + j + 3);

			_mm_stream_si128(target + j, a);
			_mm_stream_si128(target + j + 1, b);
			_mm_stream_si128(target + j + 2, c);
			_mm_stream_si128(target + j + 3, d);
		}
#else
		memcpy(base + to[i] * PAGE, base + from[i] * PAGE, PAGE);
#endif
	}
	*ret_stream = (now_ns(CLOCK_THREAD_CPUTIME_ID) - begin) / (double)n;
	begin = now_ns(CLOCK_THREAD_CPUTIME_ID);
	for (i = 0; i < n; i++)
		memcpy(base + to[i] * PAGE, base + from[i] * PAGE, PAGE);
	*ret_memcpy = (now_ns(CLOCK_THREAD_CPUTIME_ID) - begin) / (double)n;
}

/* ---- the host kernel's compaction ---- */

static uint64_t vmstat(const char *name)
{
	FILE *file = fopen("/proc/vmstat", "r");
	char key[64];
	unsigned long long value, found = 0;

	while (file && fscanf(file, "%63s %llu", key, &value) == 2)
		if (strcmp(key, name) == 0)
			found = value;
	if (file)
		fclose(file);
	return found;
}

/// Free blocks of 2 MiB and above of the host, in units of 2 MiB.
static uint64_t host_blocks(void)
{
	FILE *file = fopen("/proc/buddyinfo", "r");
	char line[1024];
	uint64_t blocks = 0;

	while (file && fgets(line, sizeof(line), file)) {
		char *at = strstr(line, "zone"), *end;
		unsigned order;

		/* Behind "zone" and its name come the counts, order by order. */
		at = at ? at + strcspn(at, " ") : NULL;
		at = at ? at + strspn(at, " ") : NULL;
		at = at ? at + strcspn(at, " ") : NULL;
		for (order = 0; at; order++) {
			unsigned long long n = strtoull(at, &end, 10);

			if (end == at)
				break;
			if (order >= 9)
				blocks += n << (order - 9);
			at = end;
		}
	}
	if (file)
		fclose(file);
	return blocks;
}

struct kernel_work {
	int refused; ///< 1: not root; 2: it moved next to nothing
	double took_ns;
	uint64_t moved;
	int64_t blocks; ///< gained
};

/// Lets the host's kernel compact its memory, `mib` of which has a hole at every other page.
static struct kernel_work compact_host(uint64_t mib)
{
	int fd = open("/proc/sys/vm/compact_memory", O_WRONLY);
	struct kernel_work work = { 0 };
	size_t bytes = mib << 20;
	uint64_t before, blocks;
	double begin;
	char *p;

	if (fd < 0) {
		work.refused = 1;
		return work;
	}
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		die("no memory");
	(void)madvise(p, bytes, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < bytes; i += PAGE)
		p[i] = 1;
	/* Every other page goes: no block of any size is whole. */
	for (size_t i = 0; i < bytes; i += 2 * PAGE)
		(void)madvise(p + i, PAGE, MADV_DONTNEED);
	before = vmstat("pgmigrate_success");
	blocks = host_blocks();
	begin = now_ns(CLOCK_THREAD_CPUTIME_ID);
	if (write(fd, "1", 1) != 1)
		die("compact_memory");
	work.took_ns = now_ns(CLOCK_THREAD_CPUTIME_ID) - begin;
	work.moved = vmstat("pgmigrate_success") - before;
	work.blocks = (int64_t)(host_blocks() - blocks);
	munmap(p, bytes);
	close(fd);
	if (work.moved < 1000)
		work.refused = 2;
	return work;
}

#endif
