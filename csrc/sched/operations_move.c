/// Migration as an operation: a page, or all pages of a space in one batch, move to other frames while the tasks use them. The contents that the model expects do not
/// change by it. A migration that fails has to have a reason that something in the program explains.
#include <inttypes.h>

#include "back/file.h"
#include "move/move.h"
#include "sched/doing.h"
#include "virt/virt.h"

#define KIND(name) ((uint32_t)1 << PM_OP_##name)

/// Operations by which a frame is given back, or comes off its list by age for a while.
static const uint32_t freeing = KIND(EXIT) | KIND(UNMAP) | KIND(REMAP) | KIND(PAGE_OUT) | KIND(TRUNCATE) | KIND(DROP) | KIND(RECLAIM) | KIND(FORK) | KIND(SWAP_OFF);

uint32_t pm_world_count(const struct pm_world *world, uint32_t kinds)
{
	uint32_t i, n = 0;

	for (i = 0; i < world->program.nr; i++)
		n += kinds >> world->program.operations[i].kind & 1;
	return n;
}

/// How often the program migrates, its setup included.
static uint32_t count_migrations(const struct pm_world *world)
{
	return pm_world_count(world, KIND(MIGRATE) | KIND(MIGRATE_ALL)) + (pm_world_moves_blocks(world) ? 2 : 0);
}

static bool has_any(const struct pm_world *world, uint32_t kinds)
{
	return (world->kinds & kinds) != 0;
}

/// Nobody but readers and writers comes by, which hold no reference to the frame that they see.
static bool undisturbed(const struct pm_world *world)
{
	return !has_any(world, ~(KIND(READ) | KIND(WRITE) | KIND(MIGRATE))) && count_migrations(world) == 1;
}

/// What may keep any page from moving, whatever the protocol: others that take it off its list, lock it, refer to it, or give it back.
static bool disturbed(const struct pm_doing *d, bool settled)
{
	return !settled || d->op->page >= 2 || d->op->kind == PM_OP_MIGRATE_ALL || !undisturbed(d->world);
}

static bool reason_explained(const struct pm_doing *d, uint32_t protocol, uint32_t mode, bool touch, bool settled, uint32_t reason)
{
	const struct pm_world *w = d->world;
	/* A frame that was given back since it was found may be a page of the file by now. */
	bool of_file = d->op->page >= 2 || d->op->kind == PM_OP_MIGRATE_ALL || has_any(w, freeing) || count_migrations(w) > 1;

	switch (reason) {
	case PM_WHY_NONE:
		return true;
	case PM_WHY_FREED:
	case PM_WHY_NOT_MOVABLE:
		return has_any(w, freeing | KIND(WRITE)) || count_migrations(w) > 1;
	case PM_WHY_NOT_ON_LIST:
	case PM_WHY_LOCKED:
	case PM_WHY_REFERENCED:
	case PM_WHY_TRUNCATED:
		return disturbed(d, settled);
	case PM_WHY_WRITEBACK:
		return mode != PM_MIGRATE_SYNC && has_any(w, KIND(SYNC) | KIND(PAGE_OUT) | KIND(RECLAIM) | KIND(SWAP_OFF));
	case PM_WHY_PINNED:
		return has_any(w, KIND(POKE) | KIND(PIN));
	case PM_WHY_NO_SWAP:
		return protocol == PM_PROTOCOL_SWAP_CACHE && (w->program.swap == 0 || pm_world_has(w, PM_OP_SWAP_OFF));
	case PM_WHY_SHARED:
		return protocol == PM_PROTOCOL_TABLE_LOCK && (of_file || pm_world_has(w, PM_OP_FORK));
	case PM_WHY_DIRTY:
	case PM_WHY_PRIVATE:
		return of_file && w->program.fs != PM_FS_RAM;
	case PM_WHY_MLOCKED:
		return protocol == PM_PROTOCOL_SWAP_CACHE && !touch && pm_world_has(w, PM_OP_MLOCK);
	case PM_WHY_CANCELLED:
		return (d->op->value & PM_VALUE_STEPPED) && disturbed(d, settled);
	case PM_WHY_NO_MEMORY:
		return pm_world_short(w);
	default:
		return false;
	}
}

/// The frame that has a page: mapped, in the swap cache, or in the file's. No locks: tasks switch at yield points only. UINT64_MAX: none.
static enum pm_status find_frame(const struct pm_doing *d, uint32_t page, uint64_t *ret) PM_NO_TSA
{
	struct pm_pte_info info;
	const struct pm_swap *swap = &d->m->back->swap;
	enum pm_status status = pm_lookup(d->m, d->cpu, d->space, pm_world_addr(page), &info);

	*ret = UINT64_MAX;
	if (status)
		return status == PM_ERR_FAULT ? PM_OK : status;
	if (info.kind == PM_PTE_PRESENT || info.kind == PM_PTE_MIGRATION) {
		*ret = info.pfn;
	} else if (info.kind == PM_PTE_SWAP) {
		if (info.pfn < swap->nr_slots && swap->slot[info.pfn].pfn_next)
			*ret = swap->slot[info.pfn].pfn_next - 1;
	} else if (page >= 2 && page < 6) {
		struct pm_file *file = pm_pool_find(&d->m->back->files, d->state->file);

		if (file && pm_cache_test(&file->cache, page % 2, PM_TAG_PAGE))
			*ret = pm_cache_find(&file->cache, page % 2)->pfn.v;
	}
	return PM_OK;
}

/// Is the frame an anonymous page that is mapped and on a list by age, so that nothing is under way with it?
static bool is_settled(const struct pm_doing *d, uint64_t pfn)
{
	const struct pm_page *page = pm_page_of(d->m, pm_pfn(pfn));
	uint32_t flags = atomic_load(&page->flags);

	return (flags & PM_PG_ANON) && (flags & PM_PG_LRU) && !(flags & (PM_PG_LOCKED | PM_PG_SWAPCACHE)) && pm_counts_maps(atomic_load(&page->counts)) == 1;
}

static void add_frame(uint64_t *pfns, size_t *n, uint64_t pfn)
{
	size_t i;

	for (i = 0; i < *n; i++)
		if (pfns[i] == pfn)
			return;
	if (pfn != UINT64_MAX)
		pfns[(*n)++] = pfn;
}

static enum pm_status find_frames(const struct pm_doing *d, uint64_t *pfns, size_t *n)
{
	bool all = d->op->kind == PM_OP_MIGRATE_ALL;
	uint32_t page, last = all ? PM_WORLD_PAGES - 1 : d->op->page;
	enum pm_status status = PM_OK;
	uint64_t pfn;

	for (page = all ? 0 : d->op->page; page <= last && !status; page++) {
		status = find_frame(d, page, &pfn);
		add_frame(pfns, n, pfn);
	}
	return status;
}

/// How often a step that would have to wait is tried again, with the others' turn in between.
enum { PM_STEP_TRIES = 40 };

/// Goes through a migration by steps. One that does not get on is given up where it is, which has to undo what it has done.
static enum pm_status step_through(const struct pm_doing *d, uint64_t pfn, const struct pm_migrate_request *request, struct pm_migrate_result *result)
{
	struct pm_migration_info info = { .over = 0 };
	uint64_t handle;
	enum pm_status status = pm_migration_begin(d->m, pfn, &request->destination, request->mode, request->protocol, request->flags, &handle);
	uint32_t tries = 0;

	if (status)
		return status;
	while (!status && !info.over && tries < PM_STEP_TRIES) {
		status = pm_migration_step(d->m, d->cpu, handle, &info);
		if (status != PM_ERR_AGAIN)
			continue;
		status = PM_OK;
		tries++;
		pm_yield(PM_AT_PAUSE, d->op);
	}
	*result = (struct pm_migrate_result){ .status = info.status, .reason = info.over ? info.reason : PM_WHY_CANCELLED, .to = info.to };
	return status ? status : pm_migration_end(d->m, d->cpu, handle);
}

static enum pm_status step_through_all(const struct pm_doing *d, const struct pm_migrate_request *request, struct pm_migrate_result *results)
{
	enum pm_status status = PM_OK;
	size_t i;

	for (i = 0; i < request->n && !status; i++)
		status = step_through(d, request->pfns[i], request, &results[i]);
	return status;
}

enum pm_status pm_do_migrate(struct pm_doing *d)
{
	struct pm_world *w = d->world;
	uint64_t pfns[PM_WORLD_PAGES];
	struct pm_migrate_request request = { .pfns = pfns, .protocol = d->op->value & 7, .mode = d->op->value >> 3 & 3, .flags = d->op->value & PM_VALUE_TOUCH ? PM_MIGRATE_TOUCH : 0 };
	struct pm_migrate_result results[PM_WORLD_PAGES];
	bool settled;
	size_t i, moved;
	enum pm_status status = find_frames(d, pfns, &request.n);

	if (status || !request.n)
		return status;
	settled = is_settled(d, pfns[0]);
	status = d->op->value & PM_VALUE_STEPPED ? step_through_all(d, &request, results) : pm_migrate(d->m, d->cpu, &request, results, &moved);
	for (i = 0; i < request.n && !status; i++) {
		if (!reason_explained(d, request.protocol, request.mode, request.flags != 0, settled, results[i].reason))
			pm_sched_fail(&w->sched, PM_FAIL_STATUS, "operation %" PRIu32 " (migrate): frame %" PRIu64 " did not move: %s", d->index, pfns[i], pm_migrate_reason_text(results[i].reason));
		w->attempted[request.protocol] += results[i].reason != PM_WHY_FREED;
		w->moved[request.protocol] += results[i].reason == PM_WHY_NONE;
	}
	return status;
}
