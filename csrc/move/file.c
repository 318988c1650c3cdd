#include "move/file.h"

#include "back/file.h"
#include "move/move.h"

static enum pm_status fail(struct pm_migration *mig, enum pm_status status, enum pm_migrate_reason reason)
{
	mig->reason = reason;
	return status;
}

static bool has(const struct pm_migration *mig, uint32_t flag)
{
	return pm_page_test(pm_page_of(mig->call->m, mig->from), flag);
}

/// Waits for the end of a writeback. A stepped migration takes the step later instead.
static enum pm_status wait_written(struct pm_migration *mig)
{
	enum pm_status status = pm_page_wait(mig->call, mig->from, PM_PG_WRITEBACK);

	return status == PM_ERR_AGAIN && mig->stepped ? PM_ERR_INTR : status;
}

/// Writes the source out and waits for the end. It stays locked, so nothing makes it dirty again but a write through a mapping, which waits.
static enum pm_status write_out(struct pm_migration *mig, struct pm_file *file)
{
	enum pm_status status;

	/* Once is enough for one that cannot be written: a stepped migration comes here again and again. */
	if (mig->written)
		return fail(mig, PM_ERR_AGAIN, PM_WHY_DIRTY);
	status = pm_file_write_out(mig->call, file, mig->index, mig->from);
	mig->written = true;
	if (!status) {
		pm_move_count(&mig->call->m->move->writeouts, 1);
		status = wait_written(mig);
	}
	if (status == PM_ERR_INTR || status == PM_ERR_CLOSED)
		return status;
	/* It could not be written: dirty as before. */
	return status || has(mig, PM_PG_DIRTY) ? fail(mig, PM_ERR_AGAIN, PM_WHY_DIRTY) : PM_OK;
}

/// May this migration write a page out and wait for it?
static bool may_write(const struct pm_migration *mig)
{
	return mig->mode == PM_MIGRATE_SYNC && (!mig->call->nowait || mig->stepped);
}

/// Gives the private data up. `dirty_first`: they cannot go while the page is dirty, so it is written out; SYNC only.
static enum pm_status give_up_private(struct pm_migration *mig, struct pm_file *file, bool dirty_first)
{
	enum pm_status status = wait_written(mig);

	if (status)
		return status;
	if (!has(mig, PM_PG_PRIVATE))
		return PM_OK;
	if (dirty_first && has(mig, PM_PG_DIRTY)) {
		if (!may_write(mig))
			return fail(mig, PM_ERR_AGAIN, PM_WHY_DIRTY);
		status = write_out(mig, file);
		if (status)
			return status;
	}
	if (file->fs->release_page(mig->call, file, mig->index, mig->from) && !has(mig, PM_PG_PRIVATE))
		return PM_OK;
	return fail(mig, mig->mode == PM_MIGRATE_SYNC ? PM_ERR_AGAIN : PM_ERR_BUSY, PM_WHY_PRIVATE);
}

enum pm_status pm_move_prepare_file(struct pm_migration *mig)
{
	struct pm_file *file = pm_file_of(mig->mapping);

	switch (file->fs->migrate) {
	case PM_FS_MIGRATE_WHOLE:
		return PM_OK;
	case PM_FS_MIGRATE_RELEASED:
		return give_up_private(mig, file, true);
	default:
		if (has(mig, PM_PG_DIRTY))
			return fail(mig, PM_ERR_BUSY, PM_WHY_DIRTY);
		return give_up_private(mig, file, false);
	}
}
