/// The workloads of workloads.h on malloc and free with blocks of 4 KiB << order: whichever allocator LD_PRELOAD brings in.
/// Compiled with -fno-builtin, or the compiler removes a malloc that is freed at once. The blocks are not written to here.
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

static inline bool target_get(unsigned cpu, unsigned order, size_t n, uint64_t *blocks, bool batch)
{
	(void)cpu;
	(void)batch;
	for (size_t i = 0; i < n; i++) {
		blocks[i] = (uint64_t)(uintptr_t)malloc((size_t)4096 << order);
		if (blocks[i] == 0)
			return false;
	}
	return true;
}

static inline bool target_put(unsigned cpu, unsigned order, size_t n, const uint64_t *blocks, bool batch)
{
	(void)cpu;
	(void)order;
	(void)batch;
	for (size_t i = 0; i < n; i++)
		free((void *)(uintptr_t)blocks[i]);
	return true;
}

static void target_open(uint64_t bytes)
{
	(void)bytes;
}

static void target_close(void)
{
}

#include "workloads.h"

int main(void)
{
	return bench_main();
}
