/// The interface for bindings, where an out parameter costs more than the call.
#include "base/types.h"

int64_t pm_alloc_pfn(struct pm_machine *m, uint32_t cpu, uint32_t order, uint32_t gfp)
{
	uint64_t pfn = 0;
	enum pm_status status = pm_alloc(m, cpu, order, gfp, &pfn);

	return status ? (int64_t)status : (int64_t)pfn;
}
