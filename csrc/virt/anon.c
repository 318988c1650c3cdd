#include "virt/anon.h"

#include "virt/area.h"

static struct pm_anon *root_of(struct pm_anon *anon)
{
	/* Acquire: the root was made before. */
	return atomic_load_explicit(&anon->root, memory_order_acquire);
}

static void lock_family(struct pm_call *call, struct pm_anon *root) PM_NO_TSA
{
	pm_rwsem_write_always(call, &root->lock);
}

static void unlock_family(struct pm_call *call, struct pm_anon *root) PM_NO_TSA
{
	pm_rwsem_write_unlock(call->waits, &root->lock);
}

void pm_anon_get(struct pm_anon *anon)
{
	/* Relaxed: the caller holds what keeps it. */
	(void)atomic_fetch_add_explicit(&anon->refs, 1, memory_order_relaxed);
}

void pm_anon_put(struct pm_call *call, struct pm_anon *anon)
{
	struct pm_virt *virt = call->m->virt;

	while (anon && atomic_fetch_sub_explicit(&anon->refs, 1, memory_order_acq_rel) == 1) {
		struct pm_anon *root = root_of(anon), *parent = anon->parent;

		if (parent) {
			lock_family(call, root);
			parent->nr_children--;
			unlock_family(call, root);
		}
		PM_ASSERT(anon->links.nr == 0);
		pm_pool_put(&virt->anons, anon);
		/* A child keeps its parent, and so the root with the family's lock. */
		anon = parent;
	}
}

/// A new anon_vma with one reference; of the family of `parent` if there is one.
static struct pm_anon *make(struct pm_call *call, struct pm_anon *parent)
{
	struct pm_anon *anon = pm_pool_get(&call->m->virt->anons);

	if (!anon)
		return NULL;
	/* Not made anew: a walk that came here by an index of before may hold it for a moment (pm_anon_lock_read). */
	if (!anon->lock.rank)
		pm_rwsem_init(&anon->lock, PM_RANK_ANON);
	anon->links = (struct pm_interval_tree){ 0 };
	anon->parent = parent;
	anon->nr_children = 0;
	anon->nr_areas = 0;
	atomic_store_explicit(&anon->refs, 1, memory_order_relaxed);
	atomic_store_explicit(&anon->root, parent ? root_of(parent) : anon, memory_order_release);
	if (parent) {
		struct pm_anon *root = root_of(parent);

		pm_anon_get(parent);
		lock_family(call, root);
		parent->nr_children++;
		unlock_family(call, root);
	}
	return anon;
}

static struct pm_anon_link *make_link(struct pm_call *call, struct pm_vma *vma, struct pm_anon *anon)
{
	struct pm_anon_link *link = pm_host_zalloc(&call->m->host, sizeof(*link));

	if (!link)
		return NULL;
	link->vma = vma;
	link->anon = anon;
	pm_anon_get(anon);
	return link;
}

static void set_range(struct pm_anon_link *link)
{
	link->node.start = link->vma->pgoff;
	link->node.last = link->vma->pgoff + pm_vma_pages(link->vma) - 1;
}

/// An anon_vma that a neighbour has already, so that the two can be merged later; NULL. Only one without forks in its past.
static struct pm_anon *of_neighbour(const struct pm_vma *vma)
{
	struct pm_vma *side[2];
	unsigned int i;

	side[0] = pm_vma_of_node(pm_interval_before(&vma->space->areas, vma->node.start));
	side[1] = pm_vma_of_node(pm_interval_at_or_after(&vma->space->areas, vma->node.last + 1));
	for (i = 0; i < 2; i++) {
		const struct pm_vma *other = side[i];
		struct pm_anon *anon = other ? pm_vma_anon(other) : NULL;
		bool touches = other && (i == 0 ? other->node.last + 1 == vma->node.start : other->node.start == vma->node.last + 1);

		if (touches && anon && !vma->mapping && !other->mapping && !other->links->next && other->prot == vma->prot &&
		    other->pgoff - other->node.start == vma->pgoff - vma->node.start)
			return anon;
	}
	return NULL;
}

/// Under the anon_lock: nobody else gives the area an anon_vma.
static bool install(struct pm_vma *vma, struct pm_anon *anon, struct pm_anon_link *link)
{
	struct pm_space *space = vma->space;
	bool first;

	pm_lock(&space->anon_lock);
	first = !pm_vma_anon(vma);
	if (first) {
		vma->links = link;
		/* Release: partner of the acquire in pm_vma_anon(). */
		atomic_store_explicit(&vma->anon, anon, memory_order_release);
	}
	pm_unlock(&space->anon_lock);
	return first;
}

enum pm_status pm_anon_prepare(struct pm_call *call, struct pm_vma *vma)
{
	struct pm_anon *anon, *root;
	struct pm_anon_link *link;

	if (PM_LIKELY(pm_vma_anon(vma)))
		return PM_OK;
	pm_lock(&vma->space->anon_lock);
	anon = of_neighbour(vma);
	if (anon)
		pm_anon_get(anon);
	pm_unlock(&vma->space->anon_lock);
	if (!anon)
		anon = make(call, NULL);
	if (!anon)
		return PM_ERR_NOMEM;
	link = make_link(call, vma, anon);
	if (!link) {
		pm_anon_put(call, anon);
		return PM_ERR_NOMEM;
	}
	root = root_of(anon);
	lock_family(call, root);
	set_range(link);
	if (install(vma, anon, link)) {
		pm_interval_insert(&anon->links, &link->node);
		anon->nr_areas++;
		link = NULL;
	}
	unlock_family(call, root);
	if (link) {
		/* Another fault was faster. */
		pm_host_free(&call->m->host, link);
		pm_anon_put(call, anon);
	}
	pm_anon_put(call, anon);
	return PM_OK;
}

void pm_anon_free_links(struct pm_call *call, struct pm_vma *vma)
{
	while (vma->links) {
		struct pm_anon_link *link = vma->links;

		vma->links = link->next;
		pm_anon_put(call, link->anon);
		pm_host_free(&call->m->host, link);
	}
}

enum pm_status pm_anon_make_links(struct pm_call *call, struct pm_vma *to, const struct pm_vma *from)
{
	struct pm_anon_link **tail = &to->links;
	const struct pm_anon_link *at;

	for (at = from->links; at; at = at->next) {
		*tail = make_link(call, to, at->anon);
		if (!*tail) {
			pm_anon_free_links(call, to);
			return PM_ERR_NOMEM;
		}
		tail = &(*tail)->next;
	}
	return PM_OK;
}

struct pm_anon *pm_anon_lock_write(struct pm_call *call, const struct pm_vma *vma)
{
	struct pm_anon *root;

	if (!vma->links)
		return NULL;
	root = root_of(vma->links->anon);
	/* The root may go with the last link: not before its lock is given back. */
	pm_anon_get(root);
	lock_family(call, root);
	return root;
}

void pm_anon_unlock_write(struct pm_call *call, struct pm_anon *root)
{
	if (!root)
		return;
	unlock_family(call, root);
	pm_anon_put(call, root);
}

void pm_anon_detach_locked(struct pm_vma *vma)
{
	struct pm_anon_link *link;

	for (link = vma->links; link; link = link->next)
		pm_interval_remove(&link->anon->links, &link->node);
}

void pm_anon_attach_locked(struct pm_vma *vma)
{
	struct pm_anon_link *link;

	for (link = vma->links; link; link = link->next) {
		set_range(link);
		pm_interval_insert(&link->anon->links, &link->node);
	}
}

void pm_anon_adopt_locked(struct pm_vma *vma, const struct pm_vma *from)
{
	struct pm_anon *anon = pm_vma_anon(from);

	if (anon)
		anon->nr_areas++;
	atomic_store_explicit(&vma->anon, anon, memory_order_release);
}

void pm_anon_abandon_locked(struct pm_vma *vma)
{
	struct pm_anon *anon = pm_vma_anon(vma);

	if (anon)
		anon->nr_areas--;
	atomic_store_explicit(&vma->anon, NULL, memory_order_release);
}

void pm_anon_clone(struct pm_call *call, struct pm_vma *to, const struct pm_vma *from)
{
	struct pm_anon *root = pm_anon_lock_write(call, to);

	if (!root)
		return;
	pm_anon_attach_locked(to);
	pm_anon_adopt_locked(to, from);
	pm_anon_unlock_write(call, root);
}

void pm_anon_unlink(struct pm_call *call, struct pm_vma *vma)
{
	struct pm_anon *root = pm_anon_lock_write(call, vma);

	if (!root)
		return;
	pm_anon_detach_locked(vma);
	pm_anon_abandon_locked(vma);
	pm_anon_unlock_write(call, root);
	pm_anon_free_links(call, vma);
}

/// An ancestor's anon_vma that no area puts pages into and that has at most one child can serve the new area: chains of forks in
/// which every parent exits stay short.
static struct pm_anon *reusable(const struct pm_vma *child)
{
	const struct pm_anon_link *link;

	for (link = child->links; link; link = link->next)
		if (link->anon->nr_areas == 0 && link->anon->nr_children < 2)
			return link->anon;
	return NULL;
}

enum pm_status pm_anon_fork(struct pm_call *call, struct pm_vma *child, const struct pm_vma *parent)
{
	struct pm_anon *theirs = pm_vma_anon(parent), *root, *own = NULL;
	struct pm_anon_link *link, **tail;
	enum pm_status status;

	if (!parent->links)
		return PM_OK;
	status = pm_anon_make_links(call, child, parent);
	if (status)
		return status;
	root = pm_anon_lock_write(call, child);
	pm_anon_attach_locked(child);
	own = reusable(child);
	if (own) {
		own->nr_areas++;
		atomic_store_explicit(&child->anon, own, memory_order_release);
	}
	pm_anon_unlock_write(call, root);
	if (own)
		return PM_OK;
	own = make(call, theirs);
	link = own ? make_link(call, child, own) : NULL;
	if (!link) {
		if (own)
			pm_anon_put(call, own);
		return PM_ERR_NOMEM;
	}
	root = pm_anon_lock_write(call, child);
	set_range(link);
	pm_interval_insert(&own->links, &link->node);
	for (tail = &child->links; *tail; tail = &(*tail)->next)
		;
	*tail = link;
	own->nr_areas++;
	atomic_store_explicit(&child->anon, own, memory_order_release);
	pm_anon_unlock_write(call, root);
	pm_anon_put(call, own);
	return PM_OK;
}

struct pm_anon *pm_anon_lock_read(struct pm_call *call, struct pm_pfn pfn) PM_NO_TSA
{
	struct pm_page *page = pm_page_of(call->m, pfn);
	uint32_t index = pm_page_mapping(page);
	struct pm_anon *anon, *root;

	if (!index || !pm_page_test(page, PM_PG_ANON) || pm_page_mapcount(page) == 0)
		return NULL;
	anon = pm_pool_at(&call->m->virt->anons, index);
	root = root_of(anon);
	pm_rwsem_read_always(call, &root->lock);
	/* While the frame is mapped its areas exist, and with them its anon_vma; it cannot be another one's by now. */
	if (pm_page_mapcount(page) != 0 && pm_page_mapping(page) == index && root_of(anon) == root)
		return anon;
	pm_rwsem_read_unlock(call->waits, &root->lock);
	return NULL;
}

void pm_anon_relock_read(struct pm_call *call, struct pm_anon *anon) PM_NO_TSA
{
	/* The caller keeps it: otherwise it could be another family's by now. */
	PM_ASSERT_SLOW(atomic_load_explicit(&anon->refs, memory_order_relaxed) != 0);
	pm_rwsem_read_always(call, &root_of(anon)->lock);
}

void pm_anon_unlock_read(struct pm_call *call, struct pm_anon *anon) PM_NO_TSA
{
	pm_rwsem_read_unlock(call->waits, &root_of(anon)->lock);
}
