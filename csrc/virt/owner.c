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

static bool is_part(const struct pm_owner *owner, uint32_t number)
{
	return owner->part[number / 64] >> (number % 64) & 1;
}

/// A block that a caller knows by this number.
static bool is_block(const struct pm_owner *owner, uint32_t number)
{
	return is_used(owner, number) && !is_part(owner, number);
}

static void free_tables(struct pm_host *host, struct pm_owner *owner)
{
	pm_host_free(host, owner->frames);
	pm_host_free(host, owner->used);
	pm_host_free(host, owner->next);
	pm_host_free(host, owner->part);
}

/// Room for `n` more numbers.
static bool reserve_numbers(struct pm_call *call, struct pm_owner *owner, uint32_t n)
{
	struct pm_host *host = &call->m->host;
	uint32_t room = owner->room ? 2 * owner->room : 64;
	struct pm_owner more = { 0 };

	if ((n == 1 && owner->free_head != PM_NIL_PFN) || owner->room - owner->nr >= n)
		return true;
	while (room - owner->nr < n)
		room *= 2;
	more.frames = pm_host_zalloc(host, room * sizeof(*more.frames));
	more.used = pm_host_zalloc(host, room / 8);
	more.next = pm_host_zalloc(host, room * sizeof(*more.next));
	more.part = pm_host_zalloc(host, room / 8);
	if (!more.frames || !more.used || !more.next || !more.part) {
		free_tables(host, &more);
		return false;
	}
	if (owner->nr) {
		memcpy(more.frames, owner->frames, owner->nr * sizeof(*more.frames));
		memcpy(more.used, owner->used, (owner->nr + 7) / 8);
		memcpy(more.next, owner->next, owner->nr * sizeof(*more.next));
		memcpy(more.part, owner->part, (owner->nr + 7) / 8);
	}
	free_tables(host, owner);
	owner->frames = more.frames;
	owner->used = more.used;
	owner->next = more.next;
	owner->part = more.part;
	owner->room = room;
	return true;
}

static bool reserve_number(struct pm_call *call, struct pm_owner *owner)
{
	return reserve_numbers(call, owner, 1);
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
	owner->next[number] = PM_NIL_PFN;
	return number;
}

static void give_number(struct pm_owner *owner, uint32_t number)
{
	owner->used[number / 64] &= ~((uint64_t)1 << (number % 64));
	owner->part[number / 64] &= ~((uint64_t)1 << (number % 64));
	owner->frames[number] = owner->free_head;
	owner->free_head = number;
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
		owner->next = NULL;
		owner->part = NULL;
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
	free_tables(&call->m->host, owner);
	owner->frames = NULL;
	owner->used = NULL;
	owner->next = NULL;
	owner->part = NULL;
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
	if (is_block(owner, number)) {
		while (number != PM_NIL_PFN) {
			uint32_t next = owner->next[number];

			free_block(&call, pm_pfn(owner->frames[number]));
			give_number(owner, number);
			number = next;
		}
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
	if (owner->kind == PM_OWNER_MOVABLE_OPS && is_used(owner, number) && owner->frames[number] == from.v && pm_page_order(m, from) == pm_page_order(m, to)) {
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
	bool first;

	if (gfp & ~(uint32_t)PM_GFP_ALL)
		return PM_ERR_INVAL;
	status = begin(m, cpu, handle, true, &call, &owner);
	if (status)
		return status;
	if (owner->kind != PM_OWNER_MOVABLE_OPS)
		status = PM_ERR_ACCESS;
	else if (!is_block(owner, number))
		status = PM_ERR_RANGE;
	else
		*ret = owner->frames[number];
	/* The parts of one that was split, one after the other. */
	for (first = true; !status && number != PM_NIL_PFN; number = owner->next[number], first = false) {
		from = pm_pfn(owner->frames[number]);
		status = pm_page_alloc(&call, pm_page_order(m, from), gfp, false, &to);
		if (status)
			break;
		replace(&call, owner, number, from, to);
		if (first)
			*ret = to.v;
	}
	end_write(&call, owner);
	return status;
}

/// Takes the lock of the owner of a movable-ops block that heads there. PM_ERR_AGAIN: it is busy, or the block is not its any more; PM_ERR_BUSY: not movable.
static enum pm_status hold_owner_of(struct pm_call *call, struct pm_pfn pfn, struct pm_owner **ret, uint32_t *ret_number) PM_NO_TSA
{
	struct pm_machine *m = call->m;
	uint32_t index = pm_page_mapping(pm_page_of(m, pfn)), number = pm_page_tag(m, pfn);
	struct pm_owner *owner;

	if (!index || !pm_page_test(pm_page_of(m, pfn), PM_PG_MOVABLE_OPS))
		return PM_ERR_BUSY;
	owner = pm_pool_at(&m->virt->owners, index);
	if (pm_rwsem_write(call, &owner->lock))
		return PM_ERR_AGAIN;
	/* What the frame said before the lock was taken may be old. */
	if (owner->kind != PM_OWNER_MOVABLE_OPS || !is_used(owner, number) || owner->frames[number] != pfn.v) {
		pm_rwsem_write_unlock(call->waits, &owner->lock);
		return PM_ERR_AGAIN;
	}
	*ret = owner;
	*ret_number = number;
	return PM_OK;
}

enum pm_status pm_owner_split(struct pm_call *call, struct pm_pfn pfn) PM_NO_TSA
{
	struct pm_machine *m = call->m;
	struct pm_owner *owner;
	uint32_t number, after = PM_NIL_PFN, i;
	enum pm_status status = hold_owner_of(call, pfn, &owner, &number);
	unsigned int order;

	if (status)
		return status;
	order = pm_page_order(m, pfn);
	if (!order)
		status = PM_ERR_BUSY;
	else if (!reserve_numbers(call, owner, (1u << order) - 1))
		status = PM_ERR_NOMEM;
	/* Last to first, and the head last of all: until its word says so, nobody looks inside. */
	for (i = (1u << order) - 1; i > 0 && !status; i--) {
		struct pm_pfn at = pm_pfn_add(pfn, i);
		uint32_t part;

		pm_frame_set_word(pm_frame_of(m, at), pm_word(PM_FRAME_USED, pm_word_migratetype(pm_frame_word(pm_frame_of(m, pfn))), 0));
		pm_page_own(m, at);
		part = take_number(owner, at);
		owner->part[part / 64] |= (uint64_t)1 << (part % 64);
		owner->next[part] = after;
		mark_frame(m, owner, at, part);
		after = part;
	}
	if (!status) {
		owner->next[number] = after;
		pm_frame_set_word(pm_frame_of(m, pfn), pm_word(PM_FRAME_OWNED, pm_word_migratetype(pm_frame_word(pm_frame_of(m, pfn))), 0));
	}
	pm_rwsem_write_unlock(call->waits, &owner->lock);
	return status;
}

enum pm_status pm_owner_join(struct pm_call *call, struct pm_pfn pfn, unsigned int order) PM_NO_TSA
{
	struct pm_machine *m = call->m;
	struct pm_owner *owner;
	uint32_t number, part, next, i = 0;
	enum pm_status status = hold_owner_of(call, pfn, &owner, &number);

	if (status)
		return status;
	for (part = number; part != PM_NIL_PFN && owner->frames[part] == pfn.v + i; part = owner->next[part])
		i++;
	if (part != PM_NIL_PFN || i != 1u << order || is_part(owner, number))
		status = PM_ERR_AGAIN;
	if (!status) {
		/* The head first: whoever sees it passes over what follows. */
		pm_frame_set_word(pm_frame_of(m, pfn), pm_word(PM_FRAME_OWNED, pm_word_migratetype(pm_frame_word(pm_frame_of(m, pfn))), order));
		for (part = owner->next[number]; part != PM_NIL_PFN; part = next) {
			pm_page_forget(m, pm_pfn(owner->frames[part]));
			next = owner->next[part];
			give_number(owner, part);
		}
		owner->next[number] = PM_NIL_PFN;
	}
	pm_rwsem_write_unlock(call->waits, &owner->lock);
	return status;
}

enum pm_status pm_owner_frames(struct pm_machine *m, uint32_t cpu, uint64_t handle, uint32_t number, size_t n, uint64_t *frames, size_t *ret)
{
	struct pm_call call;
	struct pm_owner *owner;
	enum pm_status status = begin(m, cpu, handle, false, &call, &owner);

	*ret = 0;
	if (status)
		return status;
	if (!is_block(owner, number))
		status = PM_ERR_RANGE;
	for (; !status && number != PM_NIL_PFN; number = owner->next[number]) {
		uint32_t first = owner->frames[number], i;

		for (i = 0; i < 1u << pm_page_order(m, pm_pfn(first)); i++, ++*ret)
			if (*ret < n)
				frames[*ret] = first + i;
	}
	end_read(&call, owner);
	return status;
}

enum pm_status pm_owner_frame(struct pm_machine *m, uint32_t cpu, uint64_t handle, uint32_t number, uint64_t *ret)
{
	struct pm_call call;
	struct pm_owner *owner;
	enum pm_status status = begin(m, cpu, handle, false, &call, &owner);

	if (status)
		return status;
	if (is_block(owner, number))
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
