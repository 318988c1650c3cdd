/// Memory of the host for our own objects, through one door: so that a test can count it and let the Nth request fail.
#ifndef PM_BASE_HOST_H
#define PM_BASE_HOST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pm_host {
	_Atomic uint64_t nr_requests; ///< (A) requests so far, of host memory and of frames for owners
	_Atomic uint64_t fail_at;     ///< (A) number of the request that fails, counted from 1; 0: none
	_Atomic uint32_t fail_on;     ///< (A) 1: all later ones fail too
	_Atomic int64_t nr_live;      ///< (A) pieces of memory not given back
};

/// Counts a request, and says whether it has to fail. Also for requests of simulated frames.
bool pm_host_fails(struct pm_host *host);

/// Zeroed memory, aligned to a cache line; NULL if the host refuses or the request has to fail.
void *pm_host_zalloc(struct pm_host *host, size_t bytes);

/// Gives it back. NULL is allowed.
void pm_host_free(struct pm_host *host, void *memory);

#endif
