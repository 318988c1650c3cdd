#include "virt/owner.h"

#include <string.h>

#include "virt/epoch.h"
#include "virt/reference.h"

/// A public call on an owner, held for reading or for writing.
static enum pm_status begin(struct pm_machine *m, uint32_t cpu, uint64_t handle, bool write, struct pm_call *call, struct pm_owner **ret) PM_NO_TSA
{
	enum pm_status status = pm_call_begin(m, cpu, call);
	struct pm_owner *owner;

	if (status)
		return status;
	owner = pm_pool_find(&m->virt->owners, handle);
	if (!owner) {
		pm_call_end(call);
		return PM_ERR_HANDLE;
	}
	status = write ? pm_rwsem_write(call, &owner->lock) : pm_rwsem_read(call, &owner->lock);
	/* Its memory stays, and its lock with it: it may have died while we waited. */
	if (!status && !pm_pool_is(&m->virt->owners, owner, handle)) {
		if (write)
			pm_rwsem_write_unlock(call->waits, &owner->lock);
		else
			pm_rwsem_read_unlock(call->waits, &owner->lock);
		status = PM_ERR_HANDLE;
	}
	if (status)
		pm_call_end(call);
	*ret = owner;
	return status;
}

static void end_write(struct pm_call *call, struct pm_owner *owner) PM_NO_TSA
{
	pm_rwsem_write_unlock(call->waits, &owner->lock);
	pm_call_end(call);
}

static void end_read(struct pm_call *call, struct pm_owner *owner) PM_NO_TSA
{
	pm_rwsem_read_unlock(call->waits, &owner->lock);
	pm_call_end(call);
}

static bool is_used(const struct pm_owner *owner, uint32_t number)
{
	return number < owner->nr && (owner->used[number / 64] >> (number % 64) & 1);
}

/// Room for one more number.
static bool reserve_number(struct pm_call *call, struct pm_owner *owner)
{
	struct pm_host *host = &call->m->host;
	uint32_t room = owner->room ? 2 * owner->room : 64;
	uint32_t *frames;
	uint64_t *used;

	if (owner->free_head != PM_NIL_PFN || owner->nr < owner->room)
		return true;
	frames = pm_host_zalloc(host, room * sizeof(*frames));
	used = pm_host_zalloc(host, room / 8);
	if (!frames || !used) {
		pm_host_free(host, frames);
		pm_host_free(host, used);
		return false;
	}
	if (owner->nr) {
		memcpy(frames, owner->frames, owner->nr * sizeof(*frames));
		memcpy(used, owner->used, (owner->nr + 7) / 8);
	}
	pm_host_free(host, owner->frames);
	pm_host_free(host, owner->used);
	owner->frames = frames;
	owner->used = used;
	owner->room = room;
	return true;
}

/// There is room.
static uint32_t take_number(struct pm_owner *owner, struct pm_pfn pfn)
{
	uint32_t number = owner->free_head;

	if (number != PM_NIL_PFN)
		owner->free_head = owner->frames[number];
	else
		number = owner->nr++;
	owner->frames[number] = pfn.v;
	owner->used[number / 64] |= (uint64_t)1 << (number % 64);
	return number;
}

static void mark_frame(struct pm_machine *m, const struct pm_owner *owner, struct pm_pfn pfn, uint32_t number)
{
	struct pm_page *page = pm_page_of(m, pfn);

	pm_page_set_mapping(page, owner->pooled.index);
	pm_page_set_tag(m, pfn, number);
	(void)pm_page_set(page, PM_PG_OWNER | PM_PG_UPTODATE | (owner->kind == PM_OWNER_MOVABLE_OPS ? PM_PG_MOVABLE_OPS : 0));
}

static void free_block(struct pm_call *call, struct pm_pfn pfn)
{
	(void)pm_page_clear(pm_page_of(call->m, pfn), PM_PG_OWNER | PM_PG_MOVABLE_OPS);
	pm_page_put(call, pfn);
}

enum pm_status pm_owner_create(struct pm_machine *m, uint32_t kind, uint64_t *ret)
{
	struct pm_call call;
	struct pm_owner *owner;
	enum pm_status status;

	if (kind != PM_OWNER_UNMOVABLE && kind != PM_OWNER_MOVABLE_OPS)
		return PM_ERR_INVAL;
	status = pm_call_begin(m, 0, &call);
	if (status)
		return status;
	owner = pm_pool_get(&m->virt->owners);
	if (owner) {
		/* The lock is not made anew: somebody may wait for it who has the handle of the owner before. */
		if (!owner->lock.rank)
			pm_rwsem_init(&owner->lock, PM_RANK_SPACE);
		owner->kind = kind;
		owner->nr = owner->room = 0;
		owner->frames = NULL;
		owner->used = NULL;
		owner->free_head = PM_NIL_PFN;
		owner->handle = pm_pool_publish(&m->virt->owners, owner);
		*ret = owner->handle;
	} else {
		status = PM_ERR_NOMEM;
	}
	pm_call_end(&call);
	return status;
}

/// Frees all blocks and tables of an owner whose handle is gone, and the owner.
static void end_owner(struct pm_call *call, struct pm_owner *owner)
{
	uint32_t number;

	for (number = 0; number < owner->nr; number++)
		if (is_used(owner, number))
			free_block(call, pm_pfn(owner->frames[number]));
	pm_host_free(&call->m->host, owner->frames);
	pm_host_free(&call->m->host, owner->used);
	owner->frames = NULL;
	owner->used = NULL;
	owner->nr = owner->room = 0;
}

enum pm_status pm_owner_destroy(struct pm_machine *m, uint32_t cpu, uint64_t handle) PM_NO_TSA
{
	struct pm_call call;
	struct pm_owner *owner;
	enum pm_status status = begin(m, cpu, handle, true, &call, &owner);

	if (status)
		return status;
	if (pm_pool_unpublish(&m->virt->owners, owner, handle))
		end_owner(&call, owner);
	pm_rwsem_write_unlock(call.waits, &owner->lock);
	pm_pool_put(&m->virt->owners, owner);
	pm_call_end(&call);
	return PM_OK;
}

enum pm_status pm_owner_alloc(struct pm_machine *m, uint32_t cpu, uint64_t handle, uint32_t order, uint32_t gfp, uint32_t *ret)
{
	struct pm_call call;
	struct pm_owner *owner;
	struct pm_pfn pfn;
	enum pm_status status;

	if (order > PM_MAX_ORDER || (gfp & ~(uint32_t)PM_GFP_ALL))
		return PM_ERR_INVAL;
	status = begin(m, cpu, handle, true, &call, &owner);
	if (status)
		return status;
	status = reserve_number(&call, owner) ? pm_page_alloc(&call, order, gfp, true, &pfn) : PM_ERR_NOMEM;
	if (!status) {
		*ret = take_number(owner, pfn);
		mark_frame(m, owner, pfn, *ret);
	}
	end_write(&call, owner);
	return status;
}

enum pm_status pm_load_owner(struct pm_machine *m, uint32_t cpu, uint64_t handle, size_t n, const uint64_t *pfns, size_t *ret)
{
	struct pm_call call;
	struct pm_owner *owner;
	enum pm_status status = begin(m, cpu, handle, true, &call, &owner);
	size_t i;

	*ret = 0;
	if (status)
		return status;
	for (i = 0; i < n && !status; i++) {
		bool inside = pm_zone_of(m, pfns[i]) != NULL;
		uint32_t word = inside ? pm_frame_word(pm_frame_of(m, pm_pfn(pfns[i]))) : 0;

		if (!inside)
			status = PM_ERR_RANGE;
		else if (pm_word_kind(word) != PM_FRAME_USED)
			status = pm_word_kind(word) == PM_FRAME_OWNED ? PM_ERR_OWNED : PM_ERR_ORDER;
		else if (!reserve_number(&call, owner))
			status = PM_ERR_NOMEM;
		if (status)
			break;
		pm_page_own(m, pm_pfn(pfns[i]));
		mark_frame(m, owner, pm_pfn(pfns[i]), take_number(owner, pm_pfn(pfns[i])));
		++*ret;
	}
	end_write(&call, owner);
	return status;
}

enum pm_status pm_owner_free(struct pm_machine *m, uint32_t cpu, uint64_t handle, uint32_t number)
{
	struct pm_call call;
	struct pm_owner *owner;
	enum pm_status status = begin(m, cpu, handle, true, &call, &owner);

	if (status)
		return status;
	if (is_used(owner, number)) {
		free_block(&call, pm_pfn(owner->frames[number]));
		owner->used[number / 64] &= ~((uint64_t)1 << (number % 64));
		owner->frames[number] = owner->free_head;
		owner->free_head = number;
	} else {
		status = PM_ERR_RANGE;
	}
	end_write(&call, owner);
	return status;
}

/// With the owner held for writing.
static void replace(struct pm_call *call, struct pm_owner *owner, uint32_t number, struct pm_pfn from, struct pm_pfn to)
{
	struct pm_machine *m = call->m;

	if (pm_has_contents(m))
		memcpy(pm_frame_bytes(m, to), pm_frame_bytes(m, from), (size_t)PM_PAGE_SIZE << pm_page_order(m, from));
	mark_frame(m, owner, to, number);
	owner->frames[number] = to.v;
	free_block(call, from);
}

enum pm_status pm_owner_replace(struct pm_call *call, struct pm_pfn from, struct pm_pfn to) PM_NO_TSA
{
	struct pm_machine *m = call->m;
	uint32_t index = pm_page_mapping(pm_page_of(m, from)), number = pm_page_tag(m, from);
	struct pm_owner *owner;
	enum pm_status status = PM_ERR_AGAIN;

	if (!index || !pm_page_test(pm_page_of(m, from), PM_PG_MOVABLE_OPS))
		return PM_ERR_BUSY;
	owner = pm_pool_at(&m->virt->owners, index);
	status = pm_rwsem_write(call, &owner->lock);
	if (status)
		return PM_ERR_AGAIN;
	status = PM_ERR_AGAIN;
	/* What the frame said before the lock was taken may be old. */
	if (owner->kind == PM_OWNER_MOVABLE_OPS && is_used(owner, number) && owner->frames[number] == from.v) {
		replace(call, owner, number, from, to);
		status = PM_OK;
	}
	pm_rwsem_write_unlock(call->waits, &owner->lock);
	return status;
}

enum pm_status pm_owner_move(struct pm_machine *m, uint32_t cpu, uint64_t handle, uint32_t number, uint32_t gfp, uint64_t *ret)
{
	struct pm_call call;
	struct pm_owner *owner;
	enum pm_status status;
	struct pm_pfn from, to;

	if (gfp & ~(uint32_t)PM_GFP_ALL)
		return PM_ERR_INVAL;
	status = begin(m, cpu, handle, true, &call, &owner);
	if (status)
		return status;
	if (owner->kind != PM_OWNER_MOVABLE_OPS)
		status = PM_ERR_ACCESS;
	else if (!is_used(owner, number))
		status = PM_ERR_RANGE;
	if (!status) {
		from = pm_pfn(owner->frames[number]);
		status = pm_page_alloc(&call, pm_page_order(m, from), gfp, false, &to);
	}
	if (!status) {
		replace(&call, owner, number, from, to);
		*ret = to.v;
	}
	end_write(&call, owner);
	return status;
}

enum pm_status pm_owner_frame(struct pm_machine *m, uint32_t cpu, uint64_t handle, uint32_t number, uint64_t *ret)
{
	struct pm_call call;
	struct pm_owner *owner;
	enum pm_status status = begin(m, cpu, handle, false, &call, &owner);

	if (status)
		return status;
	if (is_used(owner, number))
		*ret = owner->frames[number];
	else
		status = PM_ERR_RANGE;
	end_read(&call, owner);
	return status;
}

void pm_owner_end_all(struct pm_call *call)
{
	struct pm_pool *owners = &call->m->virt->owners;
	struct pm_owner *owner;
	uint32_t after = 0;

	while ((owner = pm_pool_next(owners, after)) != NULL) {
		after = owner->pooled.index;
		pm_pool_unpublish_any(owners, owner);
		end_owner(call, owner);
		pm_pool_put(owners, owner);
	}
}
