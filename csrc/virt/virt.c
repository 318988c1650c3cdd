#include "virt/virt.h"

#include <linux/membarrier.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "virt/anon.h"
#include "virt/area.h"
#include "virt/owner.h"
#include "virt/pin.h"

/// Which guard can be had: EPOCH needs the host's membarrier.
static uint32_t usable_guard(uint32_t wanted)
{
	if (wanted == PM_GUARD_EPOCH && syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) != 0)
		return PM_GUARD_FENCE;
	return wanted;
}

static enum pm_status init_pools(struct pm_virt *virt, struct pm_host *host)
{
	enum pm_status status = pm_pool_init(&virt->spaces, host, sizeof(struct pm_space), PM_OBJECT_SPACE);

	if (!status)
		status = pm_pool_init(&virt->anons, host, sizeof(struct pm_anon), PM_OBJECT_ANON);
	if (!status)
		status = pm_pool_init(&virt->pins, host, sizeof(struct pm_pin_token), PM_OBJECT_PIN);
	if (!status)
		status = pm_pool_init(&virt->owners, host, sizeof(struct pm_owner), PM_OBJECT_OWNER);
	return status;
}

static void init_lists(struct pm_virt *virt)
{
	unsigned int zone, list;

	for (zone = 0; zone < PM_MAX_ZONES; zone++) {
		pm_lock_init(&virt->lru[zone].lock, PM_RANK_LRU);
		for (list = 0; list < PM_NR_LRU; list++)
			pm_chain_init(&virt->lru[zone].list[list]);
	}
}

enum pm_status pm_virt_init(struct pm_machine *m, const struct pm_memory_options *options)
{
	struct pm_virt *virt = pm_host_zalloc(&m->host, sizeof(*virt));
	enum pm_status status = PM_ERR_NOMEM;
	uint32_t cpu;

	if (!virt)
		return PM_ERR_NOMEM;
	virt->m = m;
	virt->options = *options;
	virt->guard = usable_guard(options->guard);
	pm_waits_init(&virt->waits);
	pm_lock_init(&virt->turn, PM_RANK_WAIT);
	init_lists(virt);
	m->virt = virt;
	virt->slots = pm_host_zalloc(&m->host, m->nr_cpus * sizeof(*virt->slots));
	if (virt->slots) {
		for (cpu = 0; cpu < m->nr_cpus; cpu++)
			pm_lock_init(&virt->slots[cpu].lock, PM_RANK_WAIT);
		status = init_pools(virt, &m->host);
	}
	if (status)
		pm_virt_deinit(m);
	return status;
}

void pm_virt_end_objects(struct pm_machine *m)
{
	struct pm_virt *virt = m->virt;
	struct pm_call call = { .m = m, .waits = &virt->waits, .owner = true };
	struct pm_space *space;
	uint32_t after = 0;

	while ((space = pm_pool_next(&virt->spaces, after)) != NULL) {
		after = space->pooled.index;
		pm_pool_unpublish_any(&virt->spaces, space);
		pm_space_end(&call, space);
	}
	pm_pin_end_all(&call);
	pm_owner_end_all(&call);
}

void pm_virt_deinit(struct pm_machine *m)
{
	struct pm_virt *virt = m->virt;

	if (!virt)
		return;
	pm_pool_deinit(&virt->spaces);
	pm_pool_deinit(&virt->anons);
	pm_pool_deinit(&virt->pins);
	pm_pool_deinit(&virt->owners);
	pm_host_free(&m->host, virt->slots);
	pm_host_free(&m->host, virt);
	m->virt = NULL;
}
