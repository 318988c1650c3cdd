/// Pages of a file by offset: find, make, read, take away.
#include <string.h>

#include "back/file.h"
#include "virt/rmap.h"

bool pm_file_cached(struct pm_file *file, uint64_t index, struct pm_pfn *ret)
{
	struct pm_cache *cache = &file->cache;
	bool found;

	pm_lock(&cache->lock);
	found = pm_cache_test(cache, index, PM_TAG_PAGE);
	if (found) {
		*ret = pm_cache_find(cache, index)->pfn;
		/* Its count is frozen only under this lock. */
		pm_page_get(pm_page_of(file->mapping.virt->m, *ret));
	}
	pm_unlock(&cache->lock);
	return found;
}

bool pm_file_next(struct pm_file *file, enum pm_cache_tag tag, uint64_t *index, uint64_t end, struct pm_pfn *ret)
{
	struct pm_cache *cache = &file->cache;
	bool found;

	pm_lock(&cache->lock);
	*index = pm_cache_next(cache, *index, tag);
	found = *index < end;
	if (found) {
		*ret = pm_cache_find(cache, *index)->pfn;
		pm_page_get(pm_page_of(file->mapping.virt->m, *ret));
	}
	pm_unlock(&cache->lock);
	return found;
}

bool pm_file_has(const struct pm_file *file, uint64_t index, struct pm_pfn pfn)
{
	const struct pm_machine *m = file->mapping.virt->m;
	const struct pm_page *page = pm_page_of(m, pfn);

	return pm_page_test(page, PM_PG_CACHE) && pm_page_mapping(page) == file->mapping.pooled.index && pm_page_tag(m, pfn) == index;
}

/// What a page of this kind of file is born with.
static uint32_t first_flags(const struct pm_file *file)
{
	return PM_PG_CACHE | PM_PG_LOCKED | (file->kind == PM_FS_RAM ? PM_PG_UNEVICTABLE : 0);
}

enum pm_status pm_file_insert(struct pm_file *file, uint64_t index, uint32_t want, struct pm_pfn pfn)
{
	struct pm_machine *m = file->mapping.virt->m;
	struct pm_cache *cache = &file->cache;
	struct pm_cache_node *spare = NULL;
	enum pm_status status = PM_ERR_NOMEM;
	bool need_spare;

	do {
		struct pm_cache_slot *slot = NULL;

		pm_lock(&cache->lock);
		if (!(want & PM_WANT_BEYOND) && index >= pm_pages_of(pm_file_size(file)))
			status = PM_ERR_BEYOND;
		else if (pm_cache_test(cache, index, PM_TAG_PAGE))
			status = PM_ERR_AGAIN;
		else
			slot = pm_cache_make(cache, index, &spare);
		need_spare = status == PM_ERR_NOMEM && !slot;
		if (slot) {
			slot->pfn = pfn;
			slot->buffers = NULL;
			pm_page_get(pm_page_of(m, pfn));
			pm_page_set_mapping(pm_page_of(m, pfn), file->mapping.pooled.index);
			pm_page_set_tag(m, pfn, (uint32_t)index);
			(void)pm_page_set(pm_page_of(m, pfn), first_flags(file));
			pm_cache_set(cache, index, PM_TAG_PAGE);
			status = PM_OK;
		}
		pm_unlock(&cache->lock);
		if (need_spare)
			spare = pm_cache_spare(cache);
	} while (need_spare && spare);
	pm_host_free(cache->host, spare);
	return status;
}

enum pm_status pm_file_note_block(struct pm_file *file, uint64_t index)
{
	struct pm_cache *cache = &file->cache;
	struct pm_cache_node *spare = NULL;
	bool done;

	do {
		pm_lock(&cache->lock);
		done = pm_cache_make(cache, index, &spare) != NULL;
		if (done)
			pm_cache_set(cache, index, PM_TAG_BLOCK);
		pm_unlock(&cache->lock);
		if (!done)
			spare = pm_cache_spare(cache);
	} while (!done && spare);
	pm_host_free(cache->host, spare);
	return done ? PM_OK : PM_ERR_NOMEM;
}

/// A new page, locked, with a reference for the caller, not up to date. PM_ERR_AGAIN: somebody else was faster.
static enum pm_status add_page(struct pm_call *call, struct pm_file *file, uint64_t index, uint32_t want, struct pm_pfn *ret)
{
	enum pm_status status = pm_page_alloc(call, 0, PM_GFP_HIGHUSER_MOVABLE, false, ret);

	if (status)
		return status;
	status = pm_file_insert(file, index, want, *ret);
	if (status)
		pm_page_put(call, *ret);
	else
		pm_lru_add(call->m, *ret);
	return status;
}

/// The page at `index`, locked. PM_ERR_AGAIN: it went, or came, meanwhile.
static enum pm_status lock_page(struct pm_call *call, struct pm_file *file, uint64_t index, uint32_t want, struct pm_pfn *ret)
{
	enum pm_status status;

	if (!pm_file_cached(file, index, ret))
		return add_page(call, file, index, want, ret);
	status = pm_page_lock(call, *ret);
	if (!status && !pm_file_has(file, index, *ret) && !PM_PLANTED(FILE_NO_RELOOK)) {
		pm_page_unlock(call, *ret);
		status = PM_ERR_AGAIN;
	}
	/* A truncate sets the size before it takes the pages away. */
	if (!status && !(want & PM_WANT_BEYOND) && index >= pm_pages_of(pm_file_size(file))) {
		pm_page_unlock(call, *ret);
		status = PM_ERR_BEYOND;
	}
	if (status)
		pm_page_put(call, *ret);
	return status;
}

static void zero_page(struct pm_machine *m, struct pm_pfn pfn)
{
	if (pm_has_contents(m))
		memset(pm_frame_bytes(m, pfn), 0, PM_PAGE_SIZE);
	(void)pm_page_set(pm_page_of(m, pfn), PM_PG_UPTODATE);
}

/// Reads a locked page that is not up to date. PM_ERR_AGAIN: a transfer has done so, and the page has to be locked anew. On failure it is
/// no longer locked either.
static enum pm_status fill_page(struct pm_call *call, struct pm_file *file, uint64_t index, struct pm_pfn pfn)
{
	struct pm_page *page = pm_page_of(call->m, pfn);
	enum pm_status status = PM_OK;
	bool started = false;

	if (pm_page_test(page, PM_PG_ERROR)) {
		/* A transfer has failed since somebody looked: one is told, and who comes next tries again. */
		(void)pm_page_clear(page, PM_PG_ERROR);
		status = PM_ERR_IO;
	} else if (file->kind == PM_FS_RAM) {
		zero_page(call->m, pfn);
	} else {
		status = file->fs->read_page(call, file, index, pfn, &started);
	}
	if (!status && !started)
		return PM_OK;
	if (!started)
		pm_page_unlock(call, pfn);
	else
		status = pm_page_wait(call, pfn, PM_PG_LOCKED);
	return status ? status : PM_ERR_AGAIN;
}

enum pm_status pm_file_page(struct pm_call *call, struct pm_file *file, uint64_t index, uint32_t want, struct pm_pfn *ret)
{
	enum pm_status status;
	bool nowait = call->nowait;

	if (index >= file->capacity)
		return PM_ERR_BEYOND;
	do {
		status = lock_page(call, file, index, want, ret);
		if (status)
			continue;
		if (pm_page_test(pm_page_of(call->m, *ret), PM_PG_UPTODATE) || (want & PM_WANT_OVERWRITE))
			return PM_OK;
		status = fill_page(call, file, index, *ret);
		if (!status)
			return PM_OK;
		pm_page_put(call, *ret);
	} while (status == PM_ERR_AGAIN && !nowait);
	return status;
}

static enum pm_status get_page(struct pm_call *call, struct pm_mapping *mapping, uint64_t index, struct pm_pfn *ret)
{
	return pm_file_page(call, pm_file_of(mapping), index, PM_WANT_READ, ret);
}

/// With the cache's lock: out of the tree, and no longer this file's.
static void remove_locked(struct pm_file *file, uint64_t index, struct pm_pfn pfn, bool forget_block) PM_REQUIRES(file->cache.lock)
{
	struct pm_page *page = pm_page_of(file->mapping.virt->m, pfn);

	(void)pm_page_clear(page, PM_PG_CACHE | PM_PG_DIRTY | PM_PG_ERROR);
	pm_page_set_mapping(page, 0);
	(void)pm_cache_clear(&file->cache, index, PM_TAG_DIRTY);
	(void)pm_cache_clear(&file->cache, index, PM_TAG_FAILED);
	if (forget_block)
		(void)pm_cache_clear(&file->cache, index, PM_TAG_BLOCK);
	(void)pm_cache_clear(&file->cache, index, PM_TAG_PAGE);
}

void pm_file_remove(struct pm_call *call, struct pm_file *file, uint64_t index, struct pm_pfn pfn, bool forget_block)
{
	PM_ASSERT(!pm_page_test(pm_page_of(call->m, pfn), PM_PG_WRITEBACK));
	pm_buffers_drop(call, file, index, pfn);
	pm_lock(&file->cache.lock);
	remove_locked(file, index, pfn, forget_block);
	pm_unlock(&file->cache.lock);
	pm_page_put(call, pfn);
}

bool pm_file_evict(struct pm_call *call, struct pm_file *file, uint64_t index, struct pm_pfn pfn)
{
	struct pm_page *page = pm_page_of(call->m, pfn);
	bool done = false;

	if (file->kind == PM_FS_RAM || pm_page_test(page, PM_PG_DIRTY | PM_PG_WRITEBACK))
		return false;
	if (pm_page_test(page, PM_PG_PRIVATE) && !file->fs->release_page(call, file, index, pfn))
		return false;
	pm_lock(&file->cache.lock);
	/* With the count at 0 nobody can come to the frame through the cache, and who got a reference before makes this fail. */
	if (pm_page_freeze(page, 2)) {
		if (pm_page_test(page, PM_PG_DIRTY | PM_PG_WRITEBACK)) {
			pm_page_unfreeze(page, 2);
		} else {
			remove_locked(file, index, pfn, false);
			pm_page_unfreeze(page, 1);
			done = true;
		}
	}
	pm_unlock(&file->cache.lock);
	return done;
}

void pm_file_set_dirty(struct pm_mapping *mapping, struct pm_pfn pfn)
{
	struct pm_file *file = pm_file_of(mapping);
	struct pm_machine *m = mapping->virt->m;
	struct pm_page *page = pm_page_of(m, pfn);

	pm_lock(&file->cache.lock);
	/* Truncated meanwhile: nobody will ask for what was written. */
	if (pm_page_test(page, PM_PG_CACHE) && pm_page_mapping(page) == mapping->pooled.index) {
		(void)pm_page_set(page, PM_PG_DIRTY);
		if (file->kind != PM_FS_RAM)
			pm_cache_set(&file->cache, pm_page_tag(m, pfn), PM_TAG_DIRTY);
	}
	pm_unlock(&file->cache.lock);
}

enum pm_status pm_file_prepare_write(struct pm_call *call, struct pm_file *file, uint64_t index, struct pm_pfn pfn)
{
	enum pm_status status;

	if (file->kind == PM_FS_RAM)
		return PM_OK;
	status = pm_page_wait(call, pfn, PM_PG_WRITEBACK);
	return status ? status : file->fs->prepare_write(call, file, index, pfn);
}

static enum pm_status make_writable(struct pm_call *call, struct pm_mapping *mapping, struct pm_pfn pfn)
{
	return pm_file_prepare_write(call, pm_file_of(mapping), pm_page_tag(call->m, pfn), pfn);
}

static void get_file(struct pm_mapping *mapping)
{
	pm_file_get(pm_file_of(mapping));
}

static void put_file(struct pm_call *call, struct pm_mapping *mapping)
{
	pm_file_put(call, pm_file_of(mapping));
}

const struct pm_mapping_ops pm_file_mapping_ops = {
	.get_page = get_page, .make_writable = make_writable, .set_dirty = pm_file_set_dirty, .get = get_file, .put = put_file
};
