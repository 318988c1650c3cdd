/// The interface for bindings, where an out parameter costs more than the call.
#include "base/types.h"

int64_t pm_alloc_pfn(struct pm_machine *m, uint32_t cpu, uint32_t order, uint32_t gfp)
{
	uint64_t pfn = 0;
	enum pm_status status = pm_alloc(m, cpu, order, gfp, &pfn);

	return status ? (int64_t)status : (int64_t)pfn;
}

/// What became of a bulk call, in one number: see pm_alloc_pfns().
static int64_t outcome(enum pm_status status, size_t done)
{
	return status ? -((int64_t)done << 8 | -(int64_t)status) : (int64_t)done;
}

int64_t pm_alloc_pfns(struct pm_machine *m, uint32_t cpu, uint32_t order, uint32_t gfp, size_t n, uint64_t *pfns)
{
	size_t done;
	enum pm_status status = pm_alloc_bulk(m, cpu, order, gfp, n, pfns, &done);

	return outcome(status, done);
}

int64_t pm_free_pfns(struct pm_machine *m, uint32_t cpu, uint32_t order, size_t n, const uint64_t *pfns)
{
	size_t done;
	enum pm_status status = pm_free_bulk(m, cpu, order, n, pfns, &done);

	return outcome(status, done);
}
