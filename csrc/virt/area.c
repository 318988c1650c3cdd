#include "virt/area.h"

#include "virt/gather.h"

/// An area that nothing leads to. NULL: no memory.
static struct pm_vma *make_unlinked(struct pm_call *call, struct pm_space *space, const struct pm_vma_model *model)
{
	struct pm_vma *vma = pm_host_zalloc(&call->m->host, sizeof(*vma));

	if (!vma)
		return NULL;
	vma->space = space;
	vma->node.start = model->start >> PM_PAGE_SHIFT;
	vma->node.last = vma->node.start + model->pages - 1;
	vma->pgoff = model->pgoff;
	atomic_init(&vma->prot, model->prot);
	vma->shared = model->shared;
	atomic_init(&vma->locked, model->locked);
	vma->mapping = model->mapping;
	if (vma->mapping)
		vma->mapping->ops->get(vma->mapping);
	return vma;
}

static void free_unlinked(struct pm_call *call, struct pm_vma *vma)
{
	if (vma->mapping)
		vma->mapping->ops->put(call, vma->mapping);
	pm_host_free(&call->m->host, vma);
}

static void link_file(struct pm_call *call, struct pm_vma *vma)
{
	struct pm_mapping *mapping = vma->mapping;

	if (!mapping)
		return;
	pm_rwsem_write_always(call, &mapping->lock);
	vma->map_node.start = vma->pgoff;
	vma->map_node.last = vma->pgoff + pm_vma_pages(vma) - 1;
	pm_interval_insert(&mapping->areas, &vma->map_node);
	pm_rwsem_write_unlock(call->waits, &mapping->lock);
}

static void unlink_file(struct pm_call *call, struct pm_vma *vma)
{
	struct pm_mapping *mapping = vma->mapping;

	if (!mapping)
		return;
	pm_rwsem_write_always(call, &mapping->lock);
	pm_interval_remove(&mapping->areas, &vma->map_node);
	pm_rwsem_write_unlock(call->waits, &mapping->lock);
}

struct pm_vma *pm_vma_make(struct pm_call *call, struct pm_space *space, const struct pm_vma_model *model)
{
	struct pm_vma *vma = make_unlinked(call, space, model);

	if (vma)
		link_file(call, vma);
	return vma;
}

void pm_vma_insert(struct pm_vma *vma)
{
	pm_interval_insert(&vma->space->areas, &vma->node);
}

void pm_vma_destroy(struct pm_call *call, struct pm_vma *vma)
{
	pm_anon_unlink(call, vma);
	unlink_file(call, vma);
	free_unlinked(call, vma);
}

void pm_vma_remove(struct pm_call *call, struct pm_vma *vma)
{
	pm_interval_remove(&vma->space->areas, &vma->node);
	pm_vma_destroy(call, vma);
}

/// Held while the ranges of one or two areas of a kind change: the maps of their file and of their family.
struct relink {
	struct pm_call *call;
	struct pm_mapping *mapping;
	struct pm_anon *root;
};

static void relink_begin(struct relink *relink, struct pm_call *call, const struct pm_vma *vma) PM_NO_TSA
{
	*relink = (struct relink){ .call = call, .mapping = vma->mapping };
	if (relink->mapping)
		pm_rwsem_write_always(call, &relink->mapping->lock);
	relink->root = pm_anon_lock_write(call, vma);
}

static void relink_end(struct relink *relink) PM_NO_TSA
{
	pm_anon_unlock_write(relink->call, relink->root);
	if (relink->mapping)
		pm_rwsem_write_unlock(relink->call->waits, &relink->mapping->lock);
}

static void detach(struct pm_vma *vma) PM_NO_TSA
{
	if (vma->mapping)
		pm_interval_remove(&vma->mapping->areas, &vma->map_node);
	pm_anon_detach_locked(vma);
}

static void attach(struct pm_vma *vma) PM_NO_TSA
{
	if (vma->mapping) {
		vma->map_node.start = vma->pgoff;
		vma->map_node.last = vma->pgoff + pm_vma_pages(vma) - 1;
		pm_interval_insert(&vma->mapping->areas, &vma->map_node);
	}
	pm_anon_attach_locked(vma);
}

/// Gives an area another last page, in its space's set. It is off its maps.
static void set_last(struct pm_vma *vma, uint64_t last)
{
	pm_interval_remove(&vma->space->areas, &vma->node);
	vma->node.last = last;
	pm_interval_insert(&vma->space->areas, &vma->node);
}

enum pm_status pm_vma_split(struct pm_call *call, struct pm_vma *vma, uint64_t addr, struct pm_vma **ret_upper)
{
	struct pm_vma_model model = {
		.start = addr,
		.pages = vma->node.last - (addr >> PM_PAGE_SHIFT) + 1,
		.pgoff = pm_vma_index(vma, addr),
		.prot = vma->prot,
		.shared = vma->shared,
		.locked = atomic_load_explicit(&vma->locked, memory_order_relaxed),
		.mapping = vma->mapping,
	};
	struct pm_vma *upper = make_unlinked(call, vma->space, &model);
	struct relink relink;

	PM_ASSERT_SLOW(addr > pm_vma_start(vma) && addr < pm_vma_end(vma));
	if (!upper)
		return PM_ERR_NOMEM;
	if (pm_anon_make_links(call, upper, vma)) {
		free_unlinked(call, upper);
		return PM_ERR_NOMEM;
	}
	relink_begin(&relink, call, vma);
	detach(vma);
	set_last(vma, (addr >> PM_PAGE_SHIFT) - 1);
	attach(vma);
	attach(upper);
	pm_anon_adopt_locked(upper, vma);
	relink_end(&relink);
	pm_vma_insert(upper);
	if (ret_upper)
		*ret_upper = upper;
	return PM_OK;
}

/// Joins `upper` to `lower`, which it follows and is like.
static void join(struct pm_call *call, struct pm_vma *lower, struct pm_vma *upper)
{
	struct relink relink;

	pm_interval_remove(&lower->space->areas, &upper->node);
	relink_begin(&relink, call, lower);
	detach(lower);
	detach(upper);
	set_last(lower, upper->node.last);
	attach(lower);
	pm_anon_abandon_locked(upper);
	relink_end(&relink);
	pm_anon_free_links(call, upper);
	free_unlinked(call, upper);
}

enum pm_status pm_area_isolate(struct pm_call *call, struct pm_space *space, uint64_t start, uint64_t end)
{
	uint64_t edge[2] = { start, end };
	unsigned int i;

	for (i = 0; i < 2; i++) {
		struct pm_vma *vma = edge[i] >> PM_VA_BITS ? NULL : pm_vma_find(space, edge[i]);
		enum pm_status status;

		if (!vma || pm_vma_start(vma) == edge[i])
			continue;
		status = pm_vma_split(call, vma, edge[i], NULL);
		if (status)
			return status;
	}
	return PM_OK;
}

static bool same_links(const struct pm_vma *a, const struct pm_vma *b)
{
	const struct pm_anon_link *x = a->links, *y = b->links;

	for (; x && y; x = x->next, y = y->next)
		if (x->anon != y->anon)
			return false;
	return !x && !y;
}

/// May `b`, which follows, be joined to `a`?
static bool alike(const struct pm_vma *a, const struct pm_vma *b)
{
	return a->node.last + 1 == b->node.start && a->prot == b->prot && a->shared == b->shared && a->mapping == b->mapping &&
	       atomic_load_explicit(&((struct pm_vma *)(uintptr_t)a)->locked, memory_order_relaxed) ==
		       atomic_load_explicit(&((struct pm_vma *)(uintptr_t)b)->locked, memory_order_relaxed) &&
	       a->pgoff + pm_vma_pages(a) == b->pgoff &&
	       ((pm_vma_anon(a) == pm_vma_anon(b) && same_links(a, b)) || (!a->links && !b->links));
}

void pm_area_merge(struct pm_call *call, struct pm_space *space, uint64_t start, uint64_t end)
{
	uint64_t first = start >> PM_PAGE_SHIFT, stop = end >> PM_PAGE_SHIFT;
	struct pm_vma *at = pm_vma_of_node(pm_interval_before(&space->areas, first));

	if (!at)
		at = pm_vma_of_node(pm_interval_at_or_after(&space->areas, first));
	while (at && at->node.start <= stop) {
		struct pm_vma *next = pm_vma_of_node(pm_interval_at_or_after(&space->areas, at->node.last + 1));

		if (next && alike(at, next)) {
			join(call, at, next);
			continue;
		}
		at = next;
	}
}

uint64_t pm_area_find_room(const struct pm_space *space, uint64_t from, uint64_t pages)
{
	uint64_t at = from >> PM_PAGE_SHIFT, limit = (uint64_t)1 << (PM_VA_BITS - PM_PAGE_SHIFT);

	while (at < limit && pages <= limit - at) {
		const struct pm_interval *next = pm_interval_first(&space->areas, at, at + pages - 1);

		if (!next)
			return at << PM_PAGE_SHIFT;
		at = next->last + 1;
	}
	return 0;
}

/// Frees the tables that nothing needs between the areas around [start, end).
static void free_tables(struct pm_call *call, struct pm_space *space, uint64_t start, uint64_t end)
{
	const struct pm_interval *before = pm_interval_before(&space->areas, start >> PM_PAGE_SHIFT);
	const struct pm_interval *after = pm_interval_at_or_after(&space->areas, end >> PM_PAGE_SHIFT);

	pm_table_free_range(call, space, before ? (before->last + 1) << PM_PAGE_SHIFT : 0, after ? after->start << PM_PAGE_SHIFT : (uint64_t)1 << PM_VA_BITS);
}

void pm_area_unmap(struct pm_call *call, struct pm_space *space, uint64_t start, uint64_t end)
{
	struct pm_vma *vma = pm_vma_first(space, start, end);
	struct pm_gather gather;

	if (!vma)
		return;
	pm_gather_begin(&gather, call, space);
	for (; vma; vma = pm_vma_next(vma, end))
		pm_gather_range(&gather, vma, pm_vma_start(vma), pm_vma_end(vma));
	pm_gather_finish(&gather);
	while ((vma = pm_vma_first(space, start, end)) != NULL)
		pm_vma_remove(call, vma);
	free_tables(call, space, start, end);
}

void pm_area_unmap_all(struct pm_call *call, struct pm_space *space)
{
	/* Nobody else knows the space, but reverse-map walks come through its areas: its lock is not theirs, and this is what faults hold. */
	pm_rwsem_write_always(call, &space->lock);
	pm_area_unmap(call, space, 0, (uint64_t)1 << PM_VA_BITS);
	pm_rwsem_write_unlock(call->waits, &space->lock);
}
