/// What callers do with a file.
#include <string.h>

#include "back/file.h"
#include "virt/rmap.h"

/// A stretch of a file within one page.
struct piece {
	uint64_t index;
	size_t offset, n;
};

static struct piece first_piece(uint64_t at, uint64_t n)
{
	size_t offset = (size_t)(at & (PM_PAGE_SIZE - 1)), room = PM_PAGE_SIZE - offset;

	return (struct piece){ at >> PM_PAGE_SHIFT, offset, n < room ? (size_t)n : room };
}

void pm_file_mark_used(struct pm_machine *m, struct pm_pfn pfn)
{
	struct pm_page *page = pm_page_of(m, pfn);

	if (!(pm_page_set(page, PM_PG_REFERENCED) & PM_PG_REFERENCED))
		return;
	if (pm_page_test(page, PM_PG_ACTIVE | PM_PG_UNEVICTABLE))
		return;
	pm_lru_change(m, pfn, PM_PG_ACTIVE, PM_PG_REFERENCED);
}

enum pm_status pm_file_read(struct pm_machine *m, uint32_t cpu, uint64_t handle, uint64_t offset, void *bytes, size_t n, size_t *ret)
{
	struct pm_call call;
	struct pm_file *file;
	enum pm_status status = bytes && m->back && !pm_has_contents(m) ? PM_ERR_NO_CONTENTS : pm_file_begin(m, cpu, handle, &call, &file);
	size_t done = 0;

	*ret = 0;
	if (status)
		return status;
	while (done < n && !status) {
		uint64_t size = pm_file_size(file), left = n - done;
		struct piece piece;
		struct pm_pfn pfn;

		if (offset >= size)
			break;
		piece = first_piece(offset, left < size - offset ? left : size - offset);
		status = pm_file_page(&call, file, piece.index, PM_WANT_READ, &pfn);
		if (status)
			break;
		if (bytes) {
			pm_yield(PM_AT_TOUCH, pm_frame_bytes(m, pfn));
			memcpy((char *)bytes + done, pm_frame_bytes(m, pfn) + piece.offset, piece.n);
		}
		pm_file_mark_used(m, pfn);
		pm_page_unlock(&call, pfn);
		pm_page_put(&call, pfn);
		done += piece.n;
		offset += piece.n;
	}
	pm_file_end(&call, file);
	*ret = done;
	/* A truncate made the file shorter just now: its end is an end like any other. */
	return status == PM_ERR_BEYOND ? PM_OK : status;
}

/// Sets the size, seen whole by who inserts a page. `change` is held for writing.
static void set_size(struct pm_file *file, uint64_t size)
{
	pm_lock(&file->cache.lock);
	atomic_store(&file->size, size);
	pm_unlock(&file->cache.lock);
}

/// Changes part of a page, which becomes dirty. `bytes` NULL: zeros if `zero`, else nothing is changed in it.
static enum pm_status change_page(struct pm_call *call, struct pm_file *file, struct piece piece, const void *bytes, bool zero, uint32_t beyond)
{
	uint32_t want = beyond | (piece.n == PM_PAGE_SIZE ? PM_WANT_OVERWRITE : PM_WANT_READ);
	struct pm_machine *m = call->m;
	struct pm_pfn pfn;
	enum pm_status status = pm_file_page(call, file, piece.index, want, &pfn);

	if (status)
		return status;
	status = pm_file_prepare_write(call, file, piece.index, pfn);
	if (!status) {
		if (pm_has_contents(m) && (bytes || zero)) {
			char *to = pm_frame_bytes(m, pfn) + piece.offset;

			pm_yield(PM_AT_TOUCH, to);
			if (bytes)
				memcpy(to, bytes, piece.n);
			else
				memset(to, 0, piece.n);
		} else if (pm_has_contents(m) && !pm_page_test(pm_page_of(m, pfn), PM_PG_UPTODATE)) {
			/* Overwritten without a word of what with. */
			memset(pm_frame_bytes(m, pfn), 0, PM_PAGE_SIZE);
		}
		(void)pm_page_set(pm_page_of(m, pfn), PM_PG_UPTODATE);
		(void)pm_page_clear(pm_page_of(m, pfn), PM_PG_ERROR);
		pm_file_set_dirty(&file->mapping, pfn);
		pm_file_mark_used(m, pfn);
	}
	pm_page_unlock(call, pfn);
	pm_page_put(call, pfn);
	return status;
}

/// Is there anything at `index`, in memory or on the device?
static bool is_something(struct pm_file *file, uint64_t index)
{
	bool something;

	pm_lock(&file->cache.lock);
	something = pm_cache_test(&file->cache, index, PM_TAG_PAGE) || pm_cache_test(&file->cache, index, PM_TAG_BLOCK);
	pm_unlock(&file->cache.lock);
	return something;
}

/// Zeros what is behind `size` in its last page: it must read as zeros if the file grows over it.
static enum pm_status zero_tail(struct pm_call *call, struct pm_file *file, uint64_t size)
{
	struct piece piece = first_piece(size, PM_PAGE_SIZE);

	if (!piece.offset || !is_something(file, piece.index))
		return PM_OK;
	return change_page(call, file, piece, NULL, true, PM_WANT_BEYOND);
}

/// Takes one page away that is beyond the end. It may be mapped until now: by a fault that had it before the size was set.
static enum pm_status truncate_page(struct pm_call *call, struct pm_file *file, uint64_t index, struct pm_pfn pfn)
{
	bool unlocked = PM_PLANTED(TRUNCATE_NO_LOCK);
	enum pm_status status = unlocked ? PM_OK : pm_page_lock(call, pfn);

	if (status)
		return status;
	if (pm_file_has(file, index, pfn)) {
		status = pm_page_wait(call, pfn, PM_PG_WRITEBACK);
		if (!status) {
			if (!PM_PLANTED(TRUNCATE_ONE_UNMAP))
				pm_rmap_unmap_file(call, &file->mapping, index, 1, true);
			pm_file_remove(call, file, index, pfn, true);
			pm_back_count(call->m, PM_BE_TRUNCATED, 1);
		}
	}
	if (!unlocked)
		pm_page_unlock(call, pfn);
	return status;
}

/// Forgets what the device has from page `first` on. A few at a time, since others wait for the lock.
static void forget_blocks(struct pm_file *file, uint64_t first)
{
	unsigned int n;

	do {
		pm_lock(&file->cache.lock);
		for (n = 0; n < PM_CACHE_WAYS; n++) {
			first = pm_cache_next(&file->cache, first, PM_TAG_BLOCK);
			if (first == UINT64_MAX)
				break;
			(void)pm_cache_clear(&file->cache, first, PM_TAG_BLOCK);
		}
		pm_unlock(&file->cache.lock);
	} while (n == PM_CACHE_WAYS);
}

/// Takes everything away from page `first` on. `change` is held for writing, and the size says so already.
static enum pm_status truncate_from(struct pm_call *call, struct pm_file *file, uint64_t first)
{
	enum pm_status status = PM_OK;
	uint64_t index = first;
	struct pm_pfn pfn;

	status = pm_direct_wait_all(call, file);
	if (status)
		return status;
	pm_rmap_unmap_file(call, &file->mapping, first, UINT64_MAX / 2 - first, true);
	for (; !status && pm_file_next(file, PM_TAG_PAGE, &index, UINT64_MAX, &pfn); index++) {
		status = truncate_page(call, file, index, pfn);
		pm_page_put(call, pfn);
	}
	if (status || file->kind == PM_FS_RAM)
		return status;
	forget_blocks(file, first);
	pm_extent_discard(&file->extent, first);
	return PM_OK;
}

/// Before the file grows: what an interrupted truncate left behind its end goes, and the rest of its last page is zeros.
static enum pm_status clear_behind(struct pm_call *call, struct pm_file *file)
{
	uint64_t size = pm_file_size(file), first = pm_pages_of(size);
	enum pm_status status = PM_OK;
	bool left;

	pm_lock(&file->cache.lock);
	left = pm_cache_next(&file->cache, first, PM_TAG_PAGE) != UINT64_MAX || pm_cache_next(&file->cache, first, PM_TAG_BLOCK) != UINT64_MAX;
	pm_unlock(&file->cache.lock);
	if (left)
		status = truncate_from(call, file, first);
	return status ? status : zero_tail(call, file, size);
}

static enum pm_status resize(struct pm_call *call, struct pm_file *file, uint64_t size)
{
	enum pm_status status = pm_rwsem_write(call, &file->change);

	if (status)
		return status;
	if (size > pm_file_size(file)) {
		status = clear_behind(call, file);
		if (!status)
			set_size(file, size);
	} else {
		set_size(file, size);
		status = truncate_from(call, file, pm_pages_of(size));
		if (!status)
			status = zero_tail(call, file, size);
	}
	pm_rwsem_write_unlock(call->waits, &file->change);
	return status;
}

enum pm_status pm_file_truncate(struct pm_machine *m, uint32_t cpu, uint64_t handle, uint64_t size)
{
	struct pm_call call;
	struct pm_file *file;
	enum pm_status status = pm_file_begin(m, cpu, handle, &call, &file);

	if (status)
		return status;
	status = pm_pages_of(size) > file->capacity ? PM_ERR_LIMIT : resize(&call, file, size);
	pm_file_end(&call, file);
	return status;
}

/// One stretch after the other. With `grows` `change` is held for writing, and the size follows what is done.
static enum pm_status write_pieces(struct pm_call *call, struct pm_file *file, uint64_t offset, const char *bytes, size_t n, bool grows, size_t *ret)
{
	enum pm_status status = PM_OK;
	size_t done = 0;

	while (done < n && !status) {
		struct piece piece = first_piece(offset + done, n - done);

		status = change_page(call, file, piece, bytes ? bytes + done : NULL, false, grows ? PM_WANT_BEYOND : 0);
		if (status)
			break;
		done += piece.n;
		if (grows && offset + done > pm_file_size(file))
			set_size(file, offset + done);
	}
	*ret = done;
	return status;
}

static enum pm_status write_grow(struct pm_call *call, struct pm_file *file, uint64_t offset, const char *bytes, size_t n, size_t *ret)
{
	enum pm_status status = pm_rwsem_write(call, &file->change);

	if (status)
		return status;
	if (offset + n > pm_file_size(file))
		status = clear_behind(call, file);
	if (!status)
		status = write_pieces(call, file, offset, bytes, n, true, ret);
	/* A page that was made beyond the end for a write that failed is taken away before the file next grows. */
	pm_rwsem_write_unlock(call->waits, &file->change);
	return status;
}

static enum pm_status write_inside(struct pm_call *call, struct pm_file *file, uint64_t offset, const char *bytes, size_t n, size_t *ret)
{
	enum pm_status status = pm_rwsem_read(call, &file->change);

	if (status)
		return status;
	if (offset + n > pm_file_size(file))
		status = PM_ERR_AGAIN;
	else
		status = write_pieces(call, file, offset, bytes, n, false, ret);
	pm_rwsem_read_unlock(call->waits, &file->change);
	return status;
}

enum pm_status pm_file_write(struct pm_machine *m, uint32_t cpu, uint64_t handle, uint64_t offset, const void *bytes, size_t n, size_t *ret)
{
	struct pm_call call;
	struct pm_file *file;
	enum pm_status status = bytes && m->back && !pm_has_contents(m) ? PM_ERR_NO_CONTENTS : pm_file_begin(m, cpu, handle, &call, &file);
	bool grow;

	*ret = 0;
	if (status)
		return status;
	grow = offset >= pm_file_size(file) || n > pm_file_size(file) - offset;
	if (offset > file->capacity << PM_PAGE_SHIFT || n > (file->capacity << PM_PAGE_SHIFT) - offset)
		status = PM_ERR_LIMIT;
	else if (n && grow)
		status = write_grow(&call, file, offset, bytes, n, ret);
	else if (n)
		status = write_inside(&call, file, offset, bytes, n, ret);
	/* A truncate came between the look and the lock. */
	if (status == PM_ERR_AGAIN && !*ret)
		status = write_grow(&call, file, offset, bytes, n, ret);
	pm_file_end(&call, file);
	return status;
}
