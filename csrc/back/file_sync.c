/// Writing out and dropping, at the caller's wish; and what a file says about itself.
#include "back/file.h"

/// Pages that meet [offset, offset + length).
struct span {
	uint64_t first, end;
};

static struct span span_of(uint64_t offset, uint64_t length)
{
	uint64_t last = length > UINT64_MAX - offset ? UINT64_MAX : offset + length;

	return (struct span){ offset >> PM_PAGE_SHIFT, pm_pages_of(last) };
}

/// Was one of the dirty pages in [first, end) not written out, without anybody having been told? Who asks is told.
static bool was_failed(struct pm_file *file, uint64_t first, uint64_t end)
{
	struct pm_cache *cache = &file->cache;
	bool failed = false;
	uint64_t index = first;

	pm_lock(&cache->lock);
	while ((index = pm_cache_next(cache, index, PM_TAG_FAILED)) < end) {
		(void)pm_cache_clear(cache, index, PM_TAG_FAILED);
		failed = true;
	}
	pm_unlock(&cache->lock);
	return failed;
}

static enum pm_status write_out_one(struct pm_call *call, struct pm_file *file, uint64_t index, struct pm_pfn pfn, bool *failed)
{
	enum pm_status status = pm_page_lock(call, pfn);

	if (status)
		return status;
	if (pm_file_has(file, index, pfn)) {
		/* One that has failed since somebody was last told: that comes first, or a call that is interrupted again and again would never hear of it. */
		if (was_failed(file, index, index + 1))
			*failed = true;
		else
			status = pm_file_write_out(call, file, index, pfn);
	}
	pm_page_unlock(call, pfn);
	return status;
}

/// Begins to write out what is dirty in the span. What becomes dirty behind the scan is for another time.
static enum pm_status write_out_span(struct pm_call *call, struct pm_file *file, struct span span, bool *failed)
{
	enum pm_status status = PM_OK;
	uint64_t index = span.first;
	struct pm_pfn pfn;

	for (; !status && pm_file_next(file, PM_TAG_DIRTY, &index, span.end, &pfn); index++) {
		status = write_out_one(call, file, index, pfn, failed);
		pm_page_put(call, pfn);
	}
	return status;
}

static enum pm_status wait_span(struct pm_call *call, struct pm_file *file, struct span span)
{
	enum pm_status status = PM_OK;
	uint64_t index = span.first;
	struct pm_pfn pfn;

	for (; !status && pm_file_next(file, PM_TAG_WRITEBACK, &index, span.end, &pfn); index++) {
		status = pm_page_wait(call, pfn, PM_PG_WRITEBACK);
		pm_page_put(call, pfn);
	}
	return status;
}

enum pm_status pm_file_sync(struct pm_machine *m, uint32_t cpu, uint64_t handle, uint64_t offset, uint64_t length, bool wait)
{
	struct span span = span_of(offset, length);
	bool failed = false;
	struct pm_call call;
	struct pm_file *file;
	enum pm_status status = pm_file_begin(m, cpu, handle, &call, &file);

	if (status)
		return status;
	status = write_out_span(&call, file, span, &failed);
	if (!status && wait)
		status = wait_span(&call, file, span);
	if (!status && (was_failed(file, span.first, span.end) || failed))
		status = PM_ERR_IO;
	pm_file_end(&call, file);
	return status;
}

static bool drop_one(struct pm_call *call, struct pm_file *file, uint64_t index, struct pm_pfn pfn)
{
	bool dropped;

	if (!pm_page_trylock(call->m, pfn))
		return false;
	dropped = pm_file_has(file, index, pfn) && pm_file_evict(call, file, index, pfn);
	pm_page_unlock(call, pfn);
	return dropped;
}

enum pm_status pm_file_drop(struct pm_machine *m, uint32_t cpu, uint64_t handle, uint64_t offset, uint64_t length, uint64_t *ret)
{
	struct span span = span_of(offset, length);
	uint64_t index = span.first, dropped = 0;
	struct pm_call call;
	struct pm_file *file;
	enum pm_status status = pm_file_begin(m, cpu, handle, &call, &file);
	struct pm_pfn pfn;

	if (status)
		return status;
	for (; pm_file_next(file, PM_TAG_PAGE, &index, span.end, &pfn); index++) {
		dropped += drop_one(&call, file, index, pfn);
		pm_page_put(&call, pfn);
	}
	pm_back_count(m, PM_BE_DROPPED, dropped);
	pm_file_end(&call, file);
	*ret = dropped;
	return PM_OK;
}

enum pm_status pm_file_frame(struct pm_machine *m, uint32_t cpu, uint64_t handle, uint64_t offset, uint64_t *ret)
{
	struct pm_call call;
	struct pm_file *file;
	enum pm_status status = pm_file_begin(m, cpu, handle, &call, &file);
	struct pm_pfn pfn;

	if (status)
		return status;
	if (pm_file_cached(file, offset >> PM_PAGE_SHIFT, &pfn)) {
		*ret = pfn.v;
		pm_page_put(&call, pfn);
	} else {
		status = PM_ERR_FAULT;
	}
	pm_file_end(&call, file);
	return status;
}

enum pm_status pm_file_info(struct pm_machine *m, uint32_t cpu, uint64_t handle, struct pm_file_info *ret)
{
	struct pm_call call;
	struct pm_file *file;
	enum pm_status status = pm_file_begin(m, cpu, handle, &call, &file);

	if (status)
		return status;
	*ret = (struct pm_file_info){ .fs = file->kind, .size = pm_file_size(file), .capacity = file->capacity << PM_PAGE_SHIFT };
	if (file->extent.device) {
		ret->device = file->extent.device->handle;
		ret->first_block = pm_extent_block(&file->extent, 0);
	}
	pm_lock(&file->cache.lock);
	ret->nr_pages = file->cache.nr[PM_TAG_PAGE];
	ret->nr_dirty = file->cache.nr[PM_TAG_DIRTY];
	ret->nr_writeback = file->cache.nr[PM_TAG_WRITEBACK];
	ret->nr_buffers = file->nr_buffers;
	ret->writeouts = file->writeouts;
	pm_unlock(&file->cache.lock);
	pm_rwsem_read_always(&call, &file->mapping.lock);
	ret->areas = file->mapping.areas.nr;
	pm_rwsem_read_unlock(call.waits, &file->mapping.lock);
	pm_file_end(&call, file);
	return PM_OK;
}
