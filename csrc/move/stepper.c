/// Migrations with a handle, taken step by step; and what a machine keeps for migration.
#include "move/compact_linux.h"
#include "move/move.h"
#include "move/protocol.h"
#include "move/range.h"

enum pm_status pm_move_init(struct pm_machine *m)
{
	struct pm_move *move = atomic_load(&m->move), *expected = NULL;
	enum pm_status status;

	if (move)
		return PM_OK;
	move = pm_host_zalloc(&m->host, sizeof(*move));
	if (!move)
		return PM_ERR_NOMEM;
	status = pm_pool_init(&move->steppers, &m->host, sizeof(struct pm_stepper), PM_OBJECT_MIGRATION);
	if (!status) {
		status = pm_pool_init(&move->ranges, &m->host, sizeof(struct pm_range_op), PM_OBJECT_RANGE);
		if (status)
			pm_pool_deinit(&move->steppers);
	}
	if (status) {
		pm_host_free(&m->host, move);
		return status;
	}
	atomic_store(&m->move_destroy, pm_move_destroy);
	/* Of two first calls, one makes it. */
	if (!atomic_compare_exchange_strong(&m->move, &expected, move)) {
		pm_pool_deinit(&move->ranges);
		pm_pool_deinit(&move->steppers);
		pm_host_free(&m->host, move);
	}
	return PM_OK;
}

/// Undoes the migrations that are not over. No call is inside.
static void end_steppers(struct pm_machine *m, struct pm_move *move)
{
	struct pm_call call = { .m = m, .waits = &m->virt->waits, .owner = true };
	struct pm_stepper *stepper;
	uint32_t after = 0;

	while ((stepper = pm_pool_next(&move->steppers, after)) != NULL) {
		after = stepper->pooled.index;
		pm_migration_cancel(&call, &stepper->migration, PM_ERR_CLOSED, PM_WHY_CANCELLED);
		pm_pool_unpublish_any(&move->steppers, stepper);
		pm_pool_put(&move->steppers, stepper);
	}
}

void pm_move_destroy(struct pm_machine *m)
{
	struct pm_move *move = atomic_load(&m->move);

	if (!move)
		return;
	pm_range_end_all(m);
	end_steppers(m, move);
	pm_pool_deinit(&move->ranges);
	pm_pool_deinit(&move->steppers);
	pm_compact_state_free(m, atomic_load(&move->compact));
	pm_host_free(&m->host, move);
	atomic_store(&m->move, NULL);
}

enum pm_status pm_migration_begin(struct pm_machine *m, uint64_t pfn, const struct pm_destination *destination, uint32_t mode, uint32_t protocol, uint32_t flags, uint64_t *ret)
{
	struct pm_call call;
	enum pm_status status = pm_call_begin(m, 0, &call);
	struct pm_stepper *stepper;

	if (status)
		return status;
	if (!pm_protocol_of(protocol) || mode > PM_MIGRATE_SYNC || (flags & ~(uint32_t)PM_MIGRATE_TOUCH) || destination->kind > PM_DEST_GIVEN ||
	    (destination->kind == PM_DEST_GIVEN && !destination->frames) || (destination->kind == PM_DEST_ZONE && destination->value >= m->nr_zones))
		status = PM_ERR_INVAL;
	else if (!pm_zone_of(m, pfn) || pm_in_ranges(m->holes, m->nr_holes, pfn))
		status = PM_ERR_RANGE;
	if (!status)
		status = pm_move_init(m);
	if (!status) {
		stepper = pm_pool_get(&atomic_load(&m->move)->steppers);
		status = stepper ? PM_OK : PM_ERR_NOMEM;
	}
	if (!status) {
		atomic_store_explicit(&stepper->busy, 0, memory_order_relaxed);
		pm_migration_init(&stepper->migration, pm_protocol_of(protocol), pm_pfn(pfn), destination, mode, flags);
		if (destination->kind == PM_DEST_GIVEN) {
			/* The caller's array need not live on. */
			stepper->given = destination->frames[0];
			stepper->migration.destination.frames = &stepper->given;
		}
		stepper->migration.stepped = true;
		stepper->protocol = protocol;
		*ret = pm_pool_publish(&atomic_load(&m->move)->steppers, stepper);
	}
	pm_call_end(&call);
	return status;
}

/// Finds a migration and makes it this thread's. PM_ERR_AGAIN: another thread is at it.
static enum pm_status seize(struct pm_machine *m, uint64_t handle, struct pm_stepper **ret)
{
	struct pm_move *move = atomic_load(&m->move);
	struct pm_stepper *stepper = move ? pm_pool_find(&move->steppers, handle) : NULL;
	uint32_t expected = 0;

	if (!stepper)
		return PM_ERR_HANDLE;
	if (!atomic_compare_exchange_strong(&stepper->busy, &expected, 1))
		return PM_ERR_AGAIN;
	if (!pm_pool_is(&move->steppers, stepper, handle)) {
		atomic_store(&stepper->busy, 0);
		return PM_ERR_HANDLE;
	}
	*ret = stepper;
	return PM_OK;
}

static void count_end(struct pm_machine *m, const struct pm_stepper *stepper)
{
	struct pm_move *move = atomic_load(&m->move);
	const struct pm_migration *mig = &stepper->migration;

	if (mig->state == PM_MS_DONE && mig->reason == PM_WHY_NONE)
		pm_move_count(&move->moved[stepper->protocol], 1);
	else
		pm_move_count(&move->failed[mig->reason], 1);
}

static void describe(const struct pm_migration *mig, struct pm_migration_info *ret)
{
	*ret = (struct pm_migration_info){ .state = mig->state,
					   .over = pm_migration_over(mig),
					   .status = mig->status,
					   .reason = mig->reason,
					   .from = mig->from.v,
					   .to = pm_pfn_is_nil(mig->to) ? UINT64_MAX : mig->to.v };
}

enum pm_status pm_migration_step(struct pm_machine *m, uint32_t cpu, uint64_t handle, struct pm_migration_info *ret)
{
	struct pm_call call;
	struct pm_stepper *stepper;
	enum pm_status status = pm_call_begin(m, cpu, &call);

	if (status)
		return status;
	call.nowait = true;
	status = seize(m, handle, &stepper);
	if (!status) {
		if (pm_migration_over(&stepper->migration)) {
			status = PM_ERR_STATE;
		} else {
			status = pm_migration_advance(&call, &stepper->migration);
			/* What it waits for may be a transfer: time goes on. */
			if (status == PM_ERR_INTR && call.waits->idle)
				(void)call.waits->idle(call.waits->context);
			if (!status && pm_migration_over(&stepper->migration))
				count_end(m, stepper);
		}
		describe(&stepper->migration, ret);
		atomic_store(&stepper->busy, 0);
	}
	pm_call_end(&call);
	return status == PM_ERR_INTR ? PM_ERR_AGAIN : status;
}

enum pm_status pm_migration_end(struct pm_machine *m, uint32_t cpu, uint64_t handle)
{
	struct pm_call call;
	struct pm_stepper *stepper;
	enum pm_status status = pm_call_begin(m, cpu, &call);

	if (status)
		return status;
	status = seize(m, handle, &stepper);
	if (!status) {
		struct pm_pool *steppers = &atomic_load(&m->move)->steppers;

		if (!pm_migration_over(&stepper->migration)) {
			pm_migration_cancel(&call, &stepper->migration, PM_ERR_INTR, PM_WHY_CANCELLED);
			count_end(m, stepper);
		}
		pm_pool_unpublish_any(steppers, stepper);
		atomic_store(&stepper->busy, 0);
		pm_pool_put(steppers, stepper);
	}
	pm_call_end(&call);
	return status;
}

void pm_migrate_counters(struct pm_machine *m, struct pm_migrate_counters *ret)
{
	struct pm_move *move = m->virt ? atomic_load(&m->move) : NULL;
	unsigned int i;

	*ret = (struct pm_migrate_counters){ 0 };
	if (!move)
		return;
	/* Relaxed: statistics. */
	for (i = 0; i < PM_NR_PROTOCOLS; i++)
		ret->moved[i] = atomic_load_explicit(&move->moved[i], memory_order_relaxed);
	for (i = 0; i < PM_NR_WHY; i++)
		ret->failed[i] = atomic_load_explicit(&move->failed[i], memory_order_relaxed);
	ret->batches = atomic_load_explicit(&move->batches, memory_order_relaxed);
	ret->flushes = atomic_load_explicit(&move->flushes, memory_order_relaxed);
	ret->swap_slots = atomic_load_explicit(&move->swap_slots, memory_order_relaxed);
	ret->writeouts = atomic_load_explicit(&move->writeouts, memory_order_relaxed);
}
