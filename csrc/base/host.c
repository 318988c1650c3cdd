#include "base/host.h"

#include <stdlib.h>

#include "base/config.h"

/// Exists as a place for a breakpoint: every injected failure comes through here.
static __attribute__((noinline)) bool injected_failure(void)
{
	__asm__ volatile("");
	return true;
}

bool pm_host_fails(struct pm_host *host)
{
	/* Relaxed: a counter, and settings that a test makes before it begins. */
	uint64_t at = atomic_load_explicit(&host->fail_at, memory_order_relaxed);
	uint64_t nr;

	if (!at) {
		/* Counting costs a shared cache line: only tests count, and they ask for it with a number that is never reached. */
		return false;
	}
	nr = atomic_fetch_add_explicit(&host->nr_requests, 1, memory_order_relaxed) + 1;
	if (nr == at || (nr > at && atomic_load_explicit(&host->fail_on, memory_order_relaxed)))
		return injected_failure();
	return false;
}

/// The address that the host gave us stands just below the one that we give out. Large pieces come from the host as zeros that cost nothing until they are
/// touched, so they are not zeroed again.
void *pm_host_zalloc(struct pm_host *host, size_t bytes)
{
	size_t line = PM_CFG_CACHE_LINE;
	char *raw = pm_host_fails(host) || bytes > SIZE_MAX - 2 * line ? NULL : calloc(1, bytes + 2 * line), *memory;

	if (!raw)
		return NULL;
	memory = (char *)(((uintptr_t)raw + line) & ~(uintptr_t)(line - 1));
	((void **)(void *)memory)[-1] = raw;
	atomic_fetch_add_explicit(&host->nr_live, 1, memory_order_relaxed);
	return memory;
}

void pm_host_free(struct pm_host *host, void *memory)
{
	if (!memory)
		return;
	atomic_fetch_sub_explicit(&host->nr_live, 1, memory_order_relaxed);
	free(((void **)memory)[-1]);
}
