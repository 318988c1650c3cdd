/// Files come and go.
#include "back/file.h"

enum pm_status pm_file_find(struct pm_machine *m, uint64_t handle, struct pm_file **ret)
{
	struct pm_file *file = pm_pool_find(&m->back->files, handle);
	struct pm_call call = pm_back_call(m);

	if (!file || !pm_file_try_get(file))
		return PM_ERR_HANDLE;
	/* It may have died, and its place may have a new file, before our use was counted. */
	if (!pm_pool_is(&m->back->files, file, handle)) {
		pm_file_put(&call, file);
		return PM_ERR_HANDLE;
	}
	*ret = file;
	return PM_OK;
}

enum pm_status pm_file_begin(struct pm_machine *m, uint32_t cpu, uint64_t handle, struct pm_call *call, struct pm_file **ret)
{
	enum pm_status status = pm_back_begin(m, cpu, call);

	if (status)
		return status;
	status = pm_file_find(m, handle, ret);
	if (status)
		pm_call_end(call);
	return status;
}

void pm_file_end(struct pm_call *call, struct pm_file *file)
{
	pm_file_put(call, file);
	pm_call_end(call);
}

void pm_file_get(struct pm_file *file)
{
	/* Relaxed: the use that is there already keeps it. */
	uint32_t before = atomic_fetch_add_explicit(&file->refs, 1, memory_order_relaxed);

	PM_ASSERT(before != 0);
}

bool pm_file_try_get(struct pm_file *file)
{
	uint32_t refs = atomic_load_explicit(&file->refs, memory_order_relaxed);

	while (refs != 0)
		if (atomic_compare_exchange_weak(&file->refs, &refs, refs + 1))
			return true;
	return false;
}

/// Takes all pages out. Nobody maps the file, and no transfer is under way: both would be uses. A page may still be locked by somebody
/// who goes by frames, finds that the file is ending, and unlocks it.
static void drop_pages(struct pm_call *call, struct pm_file *file)
{
	uint64_t index = 0;
	struct pm_pfn pfn;

	for (; pm_file_next(file, PM_TAG_PAGE, &index, UINT64_MAX, &pfn); index++) {
		pm_back_lock_always(call, pfn);
		if (pm_file_has(file, index, pfn))
			pm_file_remove(call, file, index, pfn, true);
		pm_page_unlock(call, pfn);
		pm_page_put(call, pfn);
	}
}

void pm_file_put(struct pm_call *call, struct pm_file *file)
{
	/* Acquire and release: what every user did comes before its end. */
	if (atomic_fetch_sub_explicit(&file->refs, 1, memory_order_acq_rel) != 1)
		return;
	drop_pages(call, file);
	pm_lock(&file->cache.lock);
	pm_cache_free(&file->cache);
	pm_unlock(&file->cache.lock);
	if (file->extent.device)
		pm_extent_give(&file->extent);
	pm_pool_put(&call->m->back->files, file);
}

struct pm_file *pm_file_of_page(struct pm_machine *m, struct pm_pfn pfn)
{
	struct pm_page *page = pm_page_of(m, pfn);
	struct pm_file *file;

	if (!pm_page_test(page, PM_PG_CACHE))
		return NULL;
	/* A page in the cache, and locked: the file cannot be gone, only going. */
	file = pm_pool_at(&m->back->files, pm_page_mapping(page));
	return pm_file_try_get(file) ? file : NULL;
}

static enum pm_status check_options(const struct pm_file_options *options)
{
	if (options->fs >= PM_NR_FS || (options->fs == PM_FS_RAM) != (options->device == 0))
		return PM_ERR_INVAL;
	if (pm_pages_of(options->size) > PM_FILE_PAGES_MAX || (options->fs != PM_FS_RAM && pm_pages_of(options->capacity) > PM_FILE_PAGES_MAX))
		return PM_ERR_LIMIT;
	return PM_OK;
}

static void init_file(struct pm_machine *m, struct pm_file *file, const struct pm_file_options *options, uint64_t pages)
{
	if (!file->made) {
		pm_rwsem_init(&file->mapping.lock, PM_RANK_MAPPING);
		pm_rwsem_init(&file->change, PM_RANK_SPACE);
		pm_lock_init(&file->cache.lock, PM_RANK_CACHE);
		file->mapping.ops = &pm_file_mapping_ops;
		file->mapping.virt = m->virt;
		file->cache.host = &m->host;
		file->made = true;
	}
	file->mapping.areas = (struct pm_interval_tree){ 0 };
	file->mapping.handle = 0;
	file->capacity = pages;
	file->kind = options->fs;
	file->fs = &pm_filesystems[options->fs];
	file->extent.device = NULL;
	atomic_store(&file->size, options->size);
	atomic_store(&file->nr_direct, 0);
	pm_lock(&file->cache.lock);
	file->nr_buffers = 0;
	file->writeouts = 0;
	pm_unlock(&file->cache.lock);
}

/// A file with one use, and no handle yet.
static enum pm_status make_file(struct pm_machine *m, const struct pm_file_options *options, struct pm_file **ret)
{
	uint64_t pages = pm_pages_of(options->size > options->capacity ? options->size : options->capacity);
	enum pm_status status = check_options(options);
	struct pm_file *file;

	if (status)
		return status;
	file = pm_pool_get(&m->back->files);
	if (!file)
		return PM_ERR_NOMEM;
	init_file(m, file, options, options->fs == PM_FS_RAM ? PM_FILE_PAGES_MAX : pages);
	if (options->fs != PM_FS_RAM)
		/* A file of no size has a block too: an extent is never empty. */
		status = pm_extent_find(m, options->device, pages ? pages : 1, &file->extent);
	if (status) {
		pm_pool_put(&m->back->files, file);
		return status;
	}
	/* Release: who finds the file alive finds it whole. */
	atomic_store(&file->refs, 1);
	*ret = file;
	return PM_OK;
}

enum pm_status pm_file_create(struct pm_machine *m, const struct pm_file_options *options, uint64_t *ret)
{
	struct pm_call call;
	struct pm_file *file;
	enum pm_status status = pm_back_begin(m, 0, &call);

	if (status)
		return status;
	status = make_file(m, options, &file);
	if (!status) {
		*ret = pm_pool_publish(&m->back->files, file);
		file->mapping.handle = *ret;
	}
	pm_call_end(&call);
	return status;
}

enum pm_status pm_file_close(struct pm_machine *m, uint32_t cpu, uint64_t handle)
{
	struct pm_call call;
	struct pm_file *file;
	enum pm_status status = pm_file_begin(m, cpu, handle, &call, &file);

	if (status)
		return status;
	/* Of several that close it, one gives up the handle's use. */
	if (pm_pool_unpublish(&m->back->files, file, handle))
		pm_file_put(&call, file);
	else
		status = PM_ERR_HANDLE;
	pm_file_end(&call, file);
	return status;
}

enum pm_status pm_file_shared_anon(struct pm_call *call, uint64_t pages, struct pm_mapping **ret)
{
	struct pm_file_options options = { .fs = PM_FS_RAM, .size = pages << PM_PAGE_SHIFT };
	struct pm_file *file;
	enum pm_status status = make_file(call->m, &options, &file);

	if (!status)
		*ret = &file->mapping;
	return status;
}

enum pm_status pm_file_find_mapping(struct pm_machine *m, uint64_t handle, struct pm_mapping **ret)
{
	struct pm_file *file;
	enum pm_status status = pm_file_find(m, handle, &file);

	if (!status)
		*ret = &file->mapping;
	return status;
}

void pm_file_end_all(struct pm_call *call)
{
	struct pm_pool *files = &call->m->back->files;
	struct pm_file *file;
	uint32_t after = 0;

	while ((file = pm_pool_next(files, after)) != NULL) {
		after = file->mapping.pooled.index;
		pm_pool_unpublish_any(files, file);
		pm_file_put(call, file);
	}
}
