/// The table of states, and how a migration goes through it.
#include "move/move.h"

#include <string.h>

#include "move/destination.h"
#include "move/file.h"
#include "move/protocol.h"

static enum pm_status fail(struct pm_migration *mig, enum pm_status status, enum pm_migrate_reason reason)
{
	mig->reason = reason;
	return status;
}

static struct pm_page *source(const struct pm_migration *mig)
{
	return pm_page_of(mig->call->m, mig->from);
}

static bool may_sleep(const struct pm_migration *mig)
{
	return mig->mode != PM_MIGRATE_ASYNC && !mig->call->nowait;
}

/// A step that would have to wait: a stepped migration takes it later, another fails for now.
static enum pm_status later(struct pm_migration *mig, enum pm_status status, enum pm_migrate_reason reason)
{
	if (mig->stepped && mig->mode != PM_MIGRATE_ASYNC)
		return PM_ERR_INTR;
	return fail(mig, status, reason);
}

/* ---- the steps ---- */

static enum pm_status isolate(struct pm_migration *mig)
{
	struct pm_machine *m = mig->call->m;
	struct pm_page *page = source(mig);

	if (!pm_zone_of(m, mig->from.v) || pm_word_kind(pm_frame_word(pm_frame_of(m, mig->from))) != PM_FRAME_OWNED)
		return fail(mig, PM_ERR_BUSY, PM_WHY_NOT_MOVABLE);
	if (pm_page_test(page, PM_PG_OWNER | PM_PG_TABLE))
		return fail(mig, PM_ERR_BUSY, PM_WHY_NOT_MOVABLE);
	if (!pm_lru_isolate(m, mig->from))
		return fail(mig, PM_ERR_AGAIN, PM_WHY_NOT_ON_LIST);
	mig->isolated = true;
	return PM_OK;
}

static void putback(struct pm_migration *mig)
{
	if (mig->isolated && !PM_PLANTED(MOVE_NOT_PUT_BACK))
		pm_lru_putback(mig->call, mig->from);
	mig->isolated = false;
}

enum pm_status pm_migration_destination(struct pm_migration *mig, unsigned int order)
{
	enum pm_status status;

	if (!mig->supply)
		return pm_destination_alloc(mig->call, &mig->destination, mig->from, order, &mig->to);
	status = pm_host_fails(&mig->call->m->host) ? PM_ERR_NOMEM : mig->supply->get(mig->supply, mig->call, mig->from, order, &mig->to);
	if (!status)
		pm_page_own(mig->call->m, mig->to);
	return status;
}

static enum pm_status allocate(struct pm_migration *mig)
{
	enum pm_status status;

	/* Freed meanwhile: isolation's is the last reference, and there is nothing to move. */
	if (pm_page_counts(source(mig)) == PM_ONE_REF && !pm_page_test(source(mig), PM_PG_CACHE | PM_PG_SWAPCACHE))
		return fail(mig, PM_OK, PM_WHY_FREED);
	if (mig->batch && mig->batch->nr_fresh && !pm_host_fails(&mig->call->m->host)) {
		mig->to = pm_pfn(mig->batch->fresh[--mig->batch->nr_fresh]);
		pm_page_own(mig->call->m, mig->to);
		return PM_OK;
	}
	status = pm_migration_destination(mig, 0);
	if (status == PM_ERR_INTR || status == PM_ERR_CLOSED)
		return status;
	return status ? fail(mig, PM_ERR_NOMEM, PM_WHY_NO_MEMORY) : PM_OK;
}

static void free_destination(struct pm_migration *mig)
{
	if (!pm_pfn_is_nil(mig->to))
		pm_page_put(mig->call, mig->to);
	mig->to = pm_pfn_nil();
}

static enum pm_status lock_source(struct pm_migration *mig)
{
	enum pm_status status;

	if (pm_page_trylock(mig->call->m, mig->from)) {
		mig->locked_from = true;
		return PM_OK;
	}
	if (!may_sleep(mig))
		return later(mig, PM_ERR_AGAIN, PM_WHY_LOCKED);
	status = pm_page_lock(mig->call, mig->from);
	mig->locked_from = !status;
	return status;
}

static void unlock_source(struct pm_migration *mig)
{
	if (mig->locked_from)
		pm_page_unlock(mig->call, mig->from);
	mig->locked_from = false;
}

static enum pm_status wait_writeback(struct pm_migration *mig)
{
	if (!pm_page_test(source(mig), PM_PG_WRITEBACK) || PM_PLANTED(MOVE_IN_WRITEBACK))
		return PM_OK;
	if (mig->mode != PM_MIGRATE_SYNC)
		return fail(mig, PM_ERR_BUSY, PM_WHY_WRITEBACK);
	/* A batch does not wait. The frame has its turn when they come one by one. */
	if (mig->call->nowait)
		return later(mig, PM_ERR_AGAIN, PM_WHY_WRITEBACK);
	return pm_page_wait(mig->call, mig->from, PM_PG_WRITEBACK);
}

/// Does the frame belong to the batch's anon_vma, which is kept already?
static bool is_batchs(struct pm_migration *mig)
{
	struct pm_batch *batch = mig->batch;
	struct pm_page *page = source(mig);

	if (!batch || !batch->anon || pm_page_mapping(page) != batch->anon->pooled.index)
		return false;
	pm_batch_lock(mig->call, batch);
	/* Mapped, so its anon_vma is alive, and cannot be another one that has this index. */
	return pm_page_mapcount(page) != 0 && pm_page_mapping(page) == batch->anon->pooled.index;
}

static void keep_anon(struct pm_migration *mig)
{
	struct pm_anon *anon;

	if (is_batchs(mig)) {
		mig->anon = mig->batch->anon;
		return;
	}
	pm_batch_unlock(mig->call, mig->batch);
	anon = pm_anon_lock_read(mig->call, mig->from);
	if (!anon)
		return;
	if (!PM_PLANTED(MOVE_ANON_NOT_KEPT))
		pm_anon_get(anon);
	mig->anon_kept = true;
	if (mig->batch && !mig->batch->anon && !PM_PLANTED(MOVE_ANON_NOT_KEPT)) {
		/* The first of the batch: the reference is the batch's. */
		mig->batch->anon = anon;
		mig->anon_kept = false;
	}
	pm_anon_unlock_read(mig->call, anon);
	mig->anon = anon;
}

/// What the frame belongs to, kept from going: while no entry maps it, nothing else does that for an anon_vma.
static void keep_owner(struct pm_migration *mig)
{
	struct pm_machine *m = mig->call->m;
	struct pm_page *page = source(mig);

	mig->index = (uint32_t)pm_page_index(m, mig->from);
	if (pm_page_test(page, PM_PG_ANON)) {
		keep_anon(mig);
	} else if (pm_page_test(page, PM_PG_CACHE)) {
		/* Locked, so it is its file's until we unlock it. */
		mig->mapping = pm_pool_at(m->virt->files, pm_page_mapping(page));
	}
}

static enum pm_status prepare(struct pm_migration *mig)
{
	struct pm_page *page = source(mig);
	enum pm_status status;

	if (!pm_page_test(page, PM_PG_ANON | PM_PG_CACHE))
		return fail(mig, PM_ERR_AGAIN, PM_WHY_TRUNCATED);
	if (pm_page_maybe_pinned(page) && !PM_PLANTED(MOVE_IGNORES_PINS))
		return fail(mig, PM_ERR_AGAIN, PM_WHY_PINNED);
	/* A step that was not taken to its end is begun anew. */
	if (!mig->locked_to) {
		/* A plain store: nobody else knows the frame yet. */
		atomic_store_explicit(&pm_page_of(mig->call->m, mig->to)->flags, PM_PG_LOCKED, memory_order_relaxed);
		pm_note_held(pm_page_key(mig->to), 0, true);
		mig->locked_to = true;
		keep_owner(mig);
	}
	if (mig->mapping) {
		pm_batch_unlock(mig->call, mig->batch);
		status = pm_move_prepare_file(mig);
		if (status)
			return status;
	}
	return mig->protocol->prepare ? mig->protocol->prepare(mig) : PM_OK;
}

static void unlock_destination(struct pm_migration *mig)
{
	if (mig->locked_to)
		pm_page_unlock(mig->call, mig->to);
	mig->locked_to = false;
	if (mig->anon_kept) {
		/* The last one's end takes the lock of its family. */
		pm_batch_unlock(mig->call, mig->batch);
		if (!PM_PLANTED(MOVE_ANON_NOT_KEPT))
			pm_anon_put(mig->call, mig->anon);
	}
	mig->anon_kept = false;
	mig->anon = NULL;
	mig->mapping = NULL;
}

static void unprepare(struct pm_migration *mig)
{
	if (mig->locked_to && mig->protocol->undo)
		mig->protocol->undo(mig);
	unlock_destination(mig);
}

static enum pm_status unmap(struct pm_migration *mig)
{
	mig->unmapped = true;
	return mig->protocol->unmap(mig);
}

/// The entries map the source again.
static void map_back(struct pm_migration *mig)
{
	if (mig->unmapped)
		mig->protocol->remap(mig, mig->from);
	mig->unmapped = false;
}

static enum pm_status flush(struct pm_migration *mig)
{
	if (mig->nr_maps && !PM_PLANTED(MOVE_NO_FLUSH)) {
		pm_move_count(&mig->call->m->move->flushes, 1);
		pm_tlb_flush(mig->call, &mig->cpus);
	}
	/* The last write through an old entry is done now. */
	if (mig->dirty && !PM_PLANTED(MOVE_ENTRY_DIRTY_LOST))
		pm_page_set_dirty(mig->call->m, mig->from);
	return PM_OK;
}

static enum pm_status settle(struct pm_migration *mig)
{
	enum pm_status status = mig->protocol->settle(mig);

	if (!status && PM_PLANTED(MOVE_UNLOCKS_EARLY)) {
		(void)pm_page_set(pm_page_of(mig->call->m, mig->to), PM_PG_UPTODATE);
		pm_page_unlock(mig->call, mig->to);
		mig->locked_to = false;
	}
	return status;
}

/// The bytes. In two steps in the test flavour, so that a search sees who gets at a page that is half there.
static void copy_bytes(struct pm_migration *mig)
{
	struct pm_machine *m = mig->call->m;
	char *to = pm_frame_bytes(m, mig->to);
	const char *from = pm_frame_bytes(m, mig->from);
	size_t first = pm_scheduled() ? PM_PAGE_SIZE / 2 : PM_PAGE_SIZE;

	pm_yield(PM_AT_COPY, from);
	memcpy(to, from, first);
	pm_yield(PM_AT_COPY, to);
	memcpy(to + first, from + first, PM_PAGE_SIZE - first);
}

/// Contents and flags. The destination is locked, so who finds it in a cache waits; nobody finds the source any more. Whether it is mlocked is told by the areas
/// that map it, when they do.
static enum pm_status copy(struct pm_migration *mig)
{
	struct pm_machine *m = mig->call->m;
	uint32_t flags = pm_page_flags(source(mig)) & ~(PM_PLANTED(MOVE_DIRTY_LOST) ? (uint32_t)PM_PG_DIRTY : 0);
	uint32_t kept = PM_PG_ERROR | (mig->mapping ? 0u : (uint32_t)PM_PG_DIRTY) | PM_PG_ACTIVE | PM_PG_REFERENCED;

	if (PM_PLANTED(MOVE_MAPS_EARLY))
		mig->protocol->remap(mig, mig->to);
	if (pm_has_contents(m))
		copy_bytes(mig);
	/* The file's tag as well, or writeback would miss the page. */
	if ((flags & PM_PG_DIRTY) && mig->mapping)
		pm_page_set_dirty(m, mig->to);
	/* Up to date comes last: the contents are there. A page that could not be read is no better for having moved. */
	(void)pm_page_set(pm_page_of(m, mig->to), (flags & (kept | PM_PG_UPTODATE)) | (mig->mlocked && mig->protocol->lazy ? PM_PG_MLOCKED | PM_PG_UNEVICTABLE : 0u));
	return PM_OK;
}

static enum pm_status remap(struct pm_migration *mig)
{
	mig->protocol->remap(mig, mig->to);
	mig->unmapped = false;
	return PM_OK;
}

static void release(struct pm_migration *mig)
{
	if (mig->protocol->release)
		mig->protocol->release(mig);
}

/// The source, which nobody refers to any more: wakes who waits for it. It is freed once the host has been told: by who calls this, or by the batch.
static void free_frozen(struct pm_migration *mig)
{
	struct pm_page *page = source(mig);
	uint32_t before;

	pm_yield(PM_AT_FLAGS_SET, &page->flags);
	pm_note_held(pm_page_key(mig->from), 0, false);
	before = atomic_exchange(&page->flags, 0);
	if ((before & PM_PG_WAITERS) && !PM_PLANTED(MOVE_NO_WAKE) && pm_wake_all(mig->call->waits, pm_page_key(mig->from)) && mig->batch)
		mig->batch->waited_for = true;
	pm_page_set_mapping(page, 0);
	mig->locked_from = false;
	if (mig->batch)
		mig->batch->empty[mig->batch->nr_empty++] = mig->from.v;
}

/// The source of a migration that is no batch's goes back to where frames come from.
static void give_back(struct pm_migration *mig)
{
	struct pm_machine *m = mig->call->m;

	if (!mig->supply) {
		pm_page_disown(m, mig->call->cpu, mig->from);
		return;
	}
	pm_page_unown(m, mig->from);
	mig->supply->emptied(mig->supply, mig->call, 1, &(uint64_t){ mig->from.v });
}

void pm_migration_tell(struct pm_call *call, struct pm_migration *migs, size_t n)
{
	bool flushed = false;
	size_t i;

	if (!pm_notices_wanted(call->m))
		return;
	for (i = 0; i < n; i++) {
		struct pm_migration *mig = &migs[i];

		if (mig->told || mig->state < PM_MS_FINISH || mig->state > PM_MS_DONE || mig->reason != PM_WHY_NONE)
			continue;
		mig->told = true;
		/* One flush for all of them. */
		pm_notice_moved(call, &mig->places, mig->from, mig->to, mig->order, mig->nr_maps && !flushed);
		flushed |= mig->nr_maps != 0;
	}
}

static enum pm_status finish(struct pm_migration *mig)
{
	struct pm_machine *m = mig->call->m;

	/* The destination first on its list, then unlocked: it can move on at once. */
	pm_lru_add(m, mig->to);
	/* It is nothing any more: what it was is the destination's. */
	if (mig->frozen) {
		free_frozen(mig);
	} else {
		(void)pm_page_clear(source(mig), PM_PG_ISOLATED | PM_PG_DIRTY | PM_PG_ANON);
		unlock_source(mig);
	}
	unlock_destination(mig);
	/* Before `release`, which may wait for somebody who moves the destination on: he waits until nobody refers to it. */
	pm_page_put(mig->call, mig->to);
	release(mig);
	/* Of a batch other frames are still locked: it tells at its end. */
	if (!mig->batch)
		pm_migration_tell(mig->call, mig, 1);
	if (!mig->frozen)
		pm_page_put(mig->call, mig->from);
	else if (!mig->batch)
		give_back(mig);
	mig->isolated = false;
	return PM_OK;
}

const struct pm_migration_rule pm_migration_table[PM_MS_DONE] = {
	[PM_MS_ISOLATE] = { "isolate", "the frame is on a list by age", "takes it off, with a reference", isolate, putback },
	[PM_MS_ALLOCATE] = { "allocate", "somebody still uses the frame", "gets a destination frame", allocate, free_destination },
	[PM_MS_LOCK] = { "lock", "", "locks the source; ASYNC does not wait for it", lock_source, unlock_source },
	[PM_MS_WRITEBACK] = { "writeback", "the source is locked, so no writeback begins", "SYNC waits for the end of one under way", wait_writeback, NULL },
	[PM_MS_PREPARE] = { "prepare", "the source belongs to a file or to anonymous memory, and is not pinned",
			    "locks the destination, keeps the anon_vma; the filesystem and the protocol get what they need", prepare, unprepare },
	[PM_MS_UNMAP] = { "unmap", "both frames are locked", "entries block from now on", unmap, map_back },
	[PM_MS_FLUSH] = { "flush", "no entry maps the source", "waits until no access is inside; dirty marks go to the source", flush, NULL },
	[PM_MS_SETTLE] = { "settle", "no access is inside", "no reference is left but isolation's, the caches' and the private data's; the destination takes their place", settle, NULL },
	[PM_MS_COPY] = { "copy", "nobody can reach the source", "copies contents and flags; up to date comes last", copy, NULL },
	[PM_MS_REMAP] = { "remap", "the destination is up to date", "entries map the destination", remap, NULL },
	[PM_MS_FINISH] = { "finish", "", "unlocks both, which wakes who waits; gives the source back", finish, NULL },
};

/* ---- going through it ---- */

void pm_migration_init(struct pm_migration *mig, const struct pm_protocol *protocol, struct pm_pfn from, const struct pm_destination *destination, uint32_t mode, uint32_t flags)
{
	*mig = (struct pm_migration){ .protocol = protocol, .destination = *destination, .mode = mode, .flags = flags, .from = from, .to = pm_pfn_nil() };
}

/// Undoes the states from the one that failed back to the first. What PREPARE's protocol got is let go once both frames are unlocked.
static void rewind_all(struct pm_migration *mig)
{
	int state;

	PM_ASSERT(mig->state <= PM_MS_SETTLE);
	for (state = (int)mig->state; state >= 0; state--)
		if (pm_migration_table[state].undo)
			pm_migration_table[state].undo(mig);
	release(mig);
	mig->state = PM_MS_FAILED;
}

void pm_migration_cancel(struct pm_call *call, struct pm_migration *mig, enum pm_status status, enum pm_migrate_reason reason)
{
	if (pm_migration_over(mig))
		return;
	mig->call = call;
	if (mig->state <= PM_MS_SETTLE) {
		mig->status = status;
		mig->reason = reason;
		rewind_all(mig);
		return;
	}
	/* Past the point of no return: what is left cannot fail. */
	while (!pm_migration_over(mig))
		(void)pm_migration_advance(call, mig);
}

enum pm_status pm_migration_advance(struct pm_call *call, struct pm_migration *mig)
{
	enum pm_status status;

	mig->call = call;
	status = pm_migration_table[mig->state].step(mig);
	if (status == PM_ERR_INTR || status == PM_ERR_CLOSED)
		return status;
	if (status || mig->reason == PM_WHY_FREED) {
		mig->status = status;
		rewind_all(mig);
		if (mig->reason == PM_WHY_FREED)
			mig->state = PM_MS_DONE;
		return PM_OK;
	}
	mig->state++;
	/* A protocol that holds a spin lock from UNMAP to REMAP goes through all of it at once. */
	if (mig->protocol->unbroken && mig->state > PM_MS_UNMAP && mig->state <= PM_MS_REMAP)
		return pm_migration_advance(call, mig);
	return PM_OK;
}
