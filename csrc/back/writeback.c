/// Between the page cache and the device: reading, writing out, private data, and the filesystems that differ in these.
#include <string.h>

#include "back/file.h"
#include "virt/rmap.h"

enum pm_status pm_buffers_add(struct pm_call *call, struct pm_file *file, uint64_t index, struct pm_pfn pfn)
{
	struct pm_page *page = pm_page_of(call->m, pfn);
	struct pm_buffers *buffers;

	if (pm_page_test(page, PM_PG_PRIVATE))
		return PM_OK;
	buffers = pm_host_zalloc(&call->m->host, sizeof(*buffers));
	if (!buffers)
		return PM_ERR_NOMEM;
	buffers->block = pm_extent_block(&file->extent, index);
	pm_lock(&file->cache.lock);
	pm_cache_find(&file->cache, index)->buffers = buffers;
	file->nr_buffers++;
	pm_page_get(page);
	(void)pm_page_set(page, PM_PG_PRIVATE);
	pm_unlock(&file->cache.lock);
	return PM_OK;
}

void pm_buffers_drop(struct pm_call *call, struct pm_file *file, uint64_t index, struct pm_pfn pfn)
{
	struct pm_page *page = pm_page_of(call->m, pfn);
	struct pm_cache_slot *slot;

	if (!pm_page_test(page, PM_PG_PRIVATE))
		return;
	pm_lock(&file->cache.lock);
	slot = pm_cache_find(&file->cache, index);
	pm_host_free(&call->m->host, slot->buffers);
	slot->buffers = NULL;
	file->nr_buffers--;
	(void)pm_page_clear(page, PM_PG_PRIVATE);
	pm_unlock(&file->cache.lock);
	pm_page_put(call, pfn);
}

/// Says whether the private data's write is still to come. The page is locked, or under writeback, so it has not lost its data meanwhile.
static void set_pending(struct pm_file *file, uint64_t index, bool pending)
{
	struct pm_buffers *buffers;

	pm_lock(&file->cache.lock);
	buffers = pm_cache_find(&file->cache, index)->buffers;
	if (buffers)
		buffers->pending = pending;
	pm_unlock(&file->cache.lock);
}

/* ---- transfers ---- */

static void read_done(struct pm_machine *m, struct pm_transfer *transfer, enum pm_status status)
{
	struct pm_call call = pm_back_call(m);

	(void)pm_page_set(pm_page_of(m, transfer->pfn), status ? PM_PG_ERROR : PM_PG_UPTODATE);
	pm_page_clear_and_wake(m, transfer->pfn, PM_PG_LOCKED);
	pm_file_put(&call, transfer->owner);
}

/// The end of a writeback, of which no transfer is left: the page is clean, or dirty and marked as failed.
static void end_writeback(struct pm_machine *m, struct pm_file *file, uint64_t index, struct pm_pfn pfn, enum pm_status status, bool failed)
{
	struct pm_cache *cache = &file->cache;

	if (!status)
		set_pending(file, index, false);
	pm_lock(&cache->lock);
	(void)pm_cache_clear(cache, index, PM_TAG_WRITEBACK);
	if (!status) {
		pm_cache_set(cache, index, PM_TAG_BLOCK);
		if (PM_PLANTED(WRITEBACK_CLEARS_LATE)) {
			(void)pm_page_clear(pm_page_of(m, pfn), PM_PG_DIRTY | PM_PG_ERROR);
			(void)pm_cache_clear(cache, index, PM_TAG_DIRTY);
		}
	} else {
		(void)pm_page_set(pm_page_of(m, pfn), PM_PG_DIRTY | (failed ? PM_PG_ERROR : 0));
		pm_cache_set(cache, index, PM_TAG_DIRTY);
		if (failed)
			pm_cache_set(cache, index, PM_TAG_FAILED);
	}
	pm_unlock(&cache->lock);
	pm_page_clear_and_wake(m, pfn, PM_PG_WRITEBACK);
}

static void write_done(struct pm_machine *m, struct pm_transfer *transfer, enum pm_status status)
{
	struct pm_call call = pm_back_call(m);

	end_writeback(m, transfer->owner, transfer->arg, transfer->pfn, status, status != PM_OK);
	pm_file_put(&call, transfer->owner);
}

static enum pm_status submit(struct pm_call *call, struct pm_file *file, uint64_t index, struct pm_pfn pfn, uint32_t io)
{
	struct pm_transfer *transfer = pm_transfer_make(call->m, io, pfn);

	if (!transfer)
		return PM_ERR_NOMEM;
	pm_transfer_aim(transfer, &file->extent, index);
	transfer->done = io == PM_IO_READ ? read_done : write_done;
	transfer->locks = io == PM_IO_READ;
	transfer->owner = file;
	transfer->arg = index;
	/* The file stays as long as the transfer. */
	pm_file_get(file);
	pm_back_count(call->m, io == PM_IO_READ ? PM_BE_FILE_READ : PM_BE_FILE_WRITE, 1);
	pm_transfer_submit(call->m, transfer);
	return PM_OK;
}

enum pm_status pm_file_write_out(struct pm_call *call, struct pm_file *file, uint64_t index, struct pm_pfn pfn)
{
	struct pm_cache *cache = &file->cache;
	struct pm_page *page = pm_page_of(call->m, pfn);
	enum pm_status status = pm_page_wait(call, pfn, PM_PG_WRITEBACK);

	if (status || file->kind == PM_FS_RAM)
		return status;
	/* From here on the next write through a mapping comes by make_writable(), which waits for us. */
	if (pm_page_mapcount(page) && pm_rmap_clean(call, pfn))
		pm_file_set_dirty(&file->mapping, pfn);
	pm_lock(&cache->lock);
	if (!pm_page_test(page, PM_PG_DIRTY)) {
		pm_unlock(&cache->lock);
		return PM_OK;
	}
	/* WRITEBACK first: a page that is neither dirty nor being written could be dropped. */
	(void)pm_page_set(page, PM_PG_WRITEBACK);
	if (!PM_PLANTED(WRITEBACK_CLEARS_LATE)) {
		(void)pm_page_clear(page, PM_PG_DIRTY | PM_PG_ERROR);
		(void)pm_cache_clear(cache, index, PM_TAG_DIRTY);
	}
	pm_cache_set(cache, index, PM_TAG_WRITEBACK);
	(void)pm_cache_clear(cache, index, PM_TAG_FAILED);
	file->writeouts++;
	pm_unlock(&cache->lock);
	status = file->fs->write_page(call, file, index, pfn);
	if (status)
		end_writeback(call->m, file, index, pfn, status, false);
	return status;
}

/* ---- filesystems ---- */

static enum pm_status read_page(struct pm_call *call, struct pm_file *file, uint64_t index, struct pm_pfn pfn, bool *ret_started)
{
	enum pm_status status = file->fs->buffers_on_read ? pm_buffers_add(call, file, index, pfn) : PM_OK;
	bool on_device;

	*ret_started = false;
	if (status)
		return status;
	pm_lock(&file->cache.lock);
	on_device = pm_cache_test(&file->cache, index, PM_TAG_BLOCK);
	pm_unlock(&file->cache.lock);
	if (!on_device) {
		/* Never written out: zeros, for which no transfer is needed. */
		if (pm_has_contents(call->m))
			memset(pm_frame_bytes(call->m, pfn), 0, PM_PAGE_SIZE);
		(void)pm_page_set(pm_page_of(call->m, pfn), PM_PG_UPTODATE);
		return PM_OK;
	}
	status = submit(call, file, index, pfn, PM_IO_READ);
	*ret_started = status == PM_OK;
	return status;
}

static enum pm_status write_page(struct pm_call *call, struct pm_file *file, uint64_t index, struct pm_pfn pfn)
{
	return submit(call, file, index, pfn, PM_IO_WRITE);
}

static enum pm_status prepare_write(struct pm_call *call, struct pm_file *file, uint64_t index, struct pm_pfn pfn)
{
	return pm_buffers_add(call, file, index, pfn);
}

/// Buffers of a clean page hold nothing that is not on the device.
static bool release_page(struct pm_call *call, struct pm_file *file, uint64_t index, struct pm_pfn pfn)
{
	if (pm_page_test(pm_page_of(call->m, pfn), PM_PG_DIRTY | PM_PG_WRITEBACK))
		return false;
	pm_buffers_drop(call, file, index, pfn);
	return true;
}

/// PM_FS_RELEASE keeps an account of the writes to a page, and closes it when one of them has reached the device.
static enum pm_status prepare_write_pending(struct pm_call *call, struct pm_file *file, uint64_t index, struct pm_pfn pfn)
{
	enum pm_status status = pm_buffers_add(call, file, index, pfn);

	if (!status)
		set_pending(file, index, true);
	return status;
}

static bool release_page_pending(struct pm_call *call, struct pm_file *file, uint64_t index, struct pm_pfn pfn)
{
	const struct pm_buffers *buffers;
	bool pending;

	pm_lock(&file->cache.lock);
	buffers = pm_cache_find(&file->cache, index)->buffers;
	pending = buffers && buffers->pending;
	pm_unlock(&file->cache.lock);
	return !pending && release_page(call, file, index, pfn);
}

const struct pm_fs_ops pm_filesystems[PM_NR_FS] = {
	/* Memory alone has no transfers, and no private data. */
	[PM_FS_RAM] = { NULL, NULL, NULL, NULL, PM_FS_MIGRATE_WHOLE, false },
	[PM_FS_COMMON] = { read_page, write_page, prepare_write, release_page, PM_FS_MIGRATE_RELEASED, false },
	[PM_FS_BUFFERS] = { read_page, write_page, prepare_write, release_page, PM_FS_MIGRATE_WHOLE, true },
	[PM_FS_FALLBACK] = { read_page, write_page, prepare_write, release_page, PM_FS_MIGRATE_NONE, false },
	[PM_FS_RELEASE] = { read_page, write_page, prepare_write_pending, release_page_pending, PM_FS_MIGRATE_RELEASED, false },
};
