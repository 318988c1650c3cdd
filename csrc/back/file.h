/// Files: a page cache, a part of a device behind it, and a filesystem that says how the two are kept together.
#ifndef PM_BACK_FILE_H
#define PM_BACK_FILE_H

#include "back/back.h"
#include "back/cache.h"

struct pm_file;

/// What a kind of file lets migration do with its pages (csrc/move/file.c).
enum pm_fs_migrate {
	PM_FS_MIGRATE_NONE = 0,	 ///< no operation to migrate: a dirty page does not move, private data have to be given up
	PM_FS_MIGRATE_RELEASED,	 ///< a page moves once its private data are given up; a dirty page that has some is written out first
	PM_FS_MIGRATE_WHOLE	 ///< a page moves with its dirty mark and its private data, without a transfer
};

/// What a kind of file does with its pages. All are called with the page locked and in the file's cache. Files on a device only.
struct pm_fs_ops {
	/// Fills a page that is not up to date. Either at once (PM_OK with `*ret_started` false: up to date), or by a transfer, which unlocks the page when it
	/// ends; the caller's lock is the transfer's then. PM_ERR_NOMEM: nothing is under way.
	enum pm_status (*read_page)(struct pm_call *call, struct pm_file *file, uint64_t index, struct pm_pfn pfn, bool *ret_started);
	/// Writes a page out, which is marked as under writeback already; the end of the transfer ends that. PM_ERR_NOMEM: nothing is under way.
	enum pm_status (*write_page)(struct pm_call *call, struct pm_file *file, uint64_t index, struct pm_pfn pfn);
	/// Before a page is written to. PM_ERR_NOMEM.
	enum pm_status (*prepare_write)(struct pm_call *call, struct pm_file *file, uint64_t index, struct pm_pfn pfn);
	/// Gives up the page's private data, so that it can be dropped. False: not now.
	bool (*release_page)(struct pm_call *call, struct pm_file *file, uint64_t index, struct pm_pfn pfn);
	enum pm_fs_migrate migrate;
	/// Does a page get private data when it is read, already?
	bool buffers_on_read;
};

struct pm_file {
	struct pm_mapping mapping; ///< first: virt knows a file as this
	bool made;		   ///< (U) of whoever gives birth to it: its locks are made once, and late comers find them
	/// Rank SPACE: held for writing while the size changes, for reading by writers inside it. No space is held with it.
	struct pm_rwsem change;
	struct pm_cache cache;
	_Atomic uint64_t size;	   ///< (A) bytes; written with `change` and the cache's lock held
	uint64_t capacity;	   ///< (C) pages
	uint32_t kind;		   ///< (C) enum pm_fs
	const struct pm_fs_ops *fs; ///< (C)
	struct pm_extent extent;   ///< (C) page i is its block i; no device for PM_FS_RAM
	/// (A) the handle, areas, calls, transfers under way. 0: dead, or dying.
	_Atomic uint32_t refs;
	_Atomic uint32_t nr_direct; ///< (A) direct transfers under way; who waits for their end sleeps on its address
	uint64_t nr_buffers;	   ///< (T)
	uint64_t writeouts;	   ///< (T)
};

/// Limit on the size of a file: the frame table has 32 bits for an offset.
#define PM_FILE_PAGES_MAX ((uint64_t)PM_NIL_PFN - 1)

extern const struct pm_mapping_ops pm_file_mapping_ops;
/// By enum pm_fs.
extern const struct pm_fs_ops pm_filesystems[PM_NR_FS];

static inline struct pm_file *pm_file_of(struct pm_mapping *mapping)
{
	return PM_CONTAINER_OF(mapping, struct pm_file, mapping);
}

static inline uint64_t pm_pages_of(uint64_t bytes)
{
	return (bytes >> PM_PAGE_SHIFT) + ((bytes & (PM_PAGE_SIZE - 1)) != 0);
}

static inline uint64_t pm_file_size(const struct pm_file *file)
{
	return atomic_load(&file->size);
}

/// The file of a handle, with a use that pm_file_put() ends; and both halves of a public call on one.
enum pm_status pm_file_find(struct pm_machine *m, uint64_t handle, struct pm_file **ret);
enum pm_status pm_file_begin(struct pm_machine *m, uint32_t cpu, uint64_t handle, struct pm_call *call, struct pm_file **ret);
void pm_file_end(struct pm_call *call, struct pm_file *file);

/// One use more of a file that is known to live; one less, the last of which ends it and everything in it. Does not wait for transfers: each
/// of them is a use.
void pm_file_get(struct pm_file *file);
bool pm_file_try_get(struct pm_file *file);
void pm_file_put(struct pm_call *call, struct pm_file *file);

/// The file whose cache a locked frame is in, with a use; NULL: it is in none, or the file is ending.
struct pm_file *pm_file_of_page(struct pm_machine *m, struct pm_pfn pfn);

/// hooks: shared anonymous memory, files by handle.
enum pm_status pm_file_shared_anon(struct pm_call *call, uint64_t pages, struct pm_mapping **ret);
enum pm_status pm_file_find_mapping(struct pm_machine *m, uint64_t handle, struct pm_mapping **ret);

/// Ends the files whose handles are still open. No space is left, and no transfer is under way.
void pm_file_end_all(struct pm_call *call);

/* ---- page_cache.c: pages by offset ---- */

enum pm_file_want {
	PM_WANT_READ,	   ///< up to date
	PM_WANT_OVERWRITE, ///< all of it will be overwritten: need not be up to date
	PM_WANT_BEYOND = 4 ///< or-ed: beyond the end of the file, too. The caller holds `change` for writing
};

/// The page at `index`, locked and with a reference, read or made if need be. PM_ERR_BEYOND, PM_ERR_IO, out of memory, a wait's status.
enum pm_status pm_file_page(struct pm_call *call, struct pm_file *file, uint64_t index, uint32_t want, struct pm_pfn *ret);

/// Puts a fresh frame, which has the caller's reference, into its place, locked; the cache has another one. PM_ERR_AGAIN: a page is there already; PM_ERR_BEYOND, PM_ERR_NOMEM.
enum pm_status pm_file_insert(struct pm_file *file, uint64_t index, uint32_t want, struct pm_pfn pfn);

/// The page that is cached at `index`, with a reference; false: none is.
bool pm_file_cached(struct pm_file *file, uint64_t index, struct pm_pfn *ret);
/// The next one from `*index` on, below `end`, that has a tag.
bool pm_file_next(struct pm_file *file, enum pm_cache_tag tag, uint64_t *index, uint64_t end, struct pm_pfn *ret);
/// Is the frame, which is locked, this file's page at `index`?
bool pm_file_has(const struct pm_file *file, uint64_t index, struct pm_pfn pfn);

/// Takes a locked page, which is not mapped nor under writeback, out of the cache, whatever it holds: truncated. With `forget_block` the device's
/// contents are gone too. Drops the cache's reference.
void pm_file_remove(struct pm_call *call, struct pm_file *file, uint64_t index, struct pm_pfn pfn, bool forget_block);
/// Takes a locked page out of the cache if it is clean and only the caller and the cache have references. The caller's is then the last.
bool pm_file_evict(struct pm_call *call, struct pm_file *file, uint64_t index, struct pm_pfn pfn);

/// The device has, or will have, contents for the page at `index`. PM_ERR_NOMEM.
enum pm_status pm_file_note_block(struct pm_file *file, uint64_t index);

/// Marks a page as dirty; see struct pm_mapping_ops.
void pm_file_set_dirty(struct pm_mapping *mapping, struct pm_pfn pfn);
/// Before a page, which is locked, is written to: what is being written out must not change meanwhile.
enum pm_status pm_file_prepare_write(struct pm_call *call, struct pm_file *file, uint64_t index, struct pm_pfn pfn);

/// Marks a page as used: the second use within an age makes it active.
void pm_file_mark_used(struct pm_machine *m, struct pm_pfn pfn);

/* ---- direct.c ---- */

/// Waits for the direct transfers of a file. `change` is held for writing, so that none begins.
enum pm_status pm_direct_wait_all(struct pm_call *call, struct pm_file *file);
/// Size of the objects in back->transfers, and the end of those that nobody came back for.
size_t pm_ticket_bytes(void);
void pm_direct_end_all(struct pm_call *call);

/* ---- writeback.c ---- */

/// Writes a locked page out if it is dirty: write-protects it, and begins the transfer (or has done it). Waits for an earlier writeback.
/// PM_ERR_NOMEM, a wait's status: it is dirty as before.
enum pm_status pm_file_write_out(struct pm_call *call, struct pm_file *file, uint64_t index, struct pm_pfn pfn);

/// Puts private data on a page that has none; takes it off.
enum pm_status pm_buffers_add(struct pm_call *call, struct pm_file *file, uint64_t index, struct pm_pfn pfn);
void pm_buffers_drop(struct pm_call *call, struct pm_file *file, uint64_t index, struct pm_pfn pfn);

#endif
