/// Background work in the host's own time: what a kernel's timers and threads would have done meanwhile.
#include "back/back.h"

/// How often the kernel's vmstat work looks at a CPU's lists.
#define PM_VMSTAT_NS ((uint64_t)1000000000)

/// More intervals at once change nothing any more: a list's `high` has decayed to its least, and what is above it is drained.
enum { PM_DECAYS_MAX = 128 };

static enum pm_status decay_lists(struct pm_machine *m, uint64_t intervals)
{
	enum pm_status status = PM_OK;
	uint32_t cpu;

	if (intervals > PM_DECAYS_MAX)
		intervals = PM_DECAYS_MAX;
	for (; intervals && !status; intervals--)
		for (cpu = 0; cpu < m->nr_cpus && !status; cpu++)
			status = pm_decay_pcp(m, cpu);
	return status;
}

static uint64_t frames_in_lists(const struct pm_machine *m)
{
	uint64_t n = 0;
	uint32_t cpu, z;

	/* Each CPU's count is written under its lock; the sum is a report. */
	for (cpu = 0; cpu < m->nr_cpus; cpu++)
		for (z = 0; z < m->nr_zones; z++) {
			struct pm_pcp *pcp = &m->cpu[cpu].pcp[z];

			pm_lock(&pcp->lock);
			n += (uint64_t)pcp->count;
			pm_unlock(&pcp->lock);
		}
	return n;
}

enum pm_status pm_tick(struct pm_machine *m, uint32_t cpu, uint64_t ns, struct pm_tick_report *ret)
{
	struct pm_kcompactd_report compacted;
	uint64_t before, listed, now;
	enum pm_status status;
	uint32_t zone;

	*ret = (struct pm_tick_report){ 0 };
	if (!m->back)
		return PM_ERR_STATE;
	if (cpu >= m->nr_cpus || ns >> 62)
		return PM_ERR_INVAL;
	/* A machine with the caller's own clock has its time from there. */
	status = m->virt->options.now_ns ? PM_OK : pm_clock_advance(m, ns);
	if (status)
		return status;
	before = atomic_fetch_add(&m->back->ticked_ns, ns);
	now = before + ns;
	listed = frames_in_lists(m);
	status = decay_lists(m, now / PM_VMSTAT_NS - before / PM_VMSTAT_NS);
	/* Others may put frames there meanwhile. */
	before = frames_in_lists(m);
	ret->drained = before < listed ? listed - before : 0;
	for (zone = 0; zone < m->nr_zones && !status; zone++) {
		uint64_t freed = 0;

		status = pm_kswapd(m, cpu, zone, &freed);
		ret->reclaimed += freed;
	}
	if (status)
		return status;
	status = pm_kcompactd_tick(m, cpu, now, &compacted);
	ret->moved = compacted.compact.moved;
	return status;
}
