/// Operations that read and write contents.
#include <inttypes.h>

#include "sched/doing.h"

static void judge_read(const struct pm_doing *d, uint32_t place, const unsigned char *bytes)
{
	if (!pm_world_judge(d->world, place, pm_world_value_of(bytes), d->start, pm_doing_now(d)))
		pm_sched_fail(&d->world->sched, PM_FAIL_CONTENTS, "operation %" PRIu32 " (%s)%s", d->index, pm_operation_name(d->op->kind), d->world->verdict);
}

enum pm_status pm_do_read(struct pm_doing *d)
{
	unsigned char bytes[PM_PAGE_SIZE];
	size_t done;
	enum pm_status status = pm_read(d->m, d->cpu, d->space, d->addr, bytes, sizeof(bytes), &done);

	if (!status) {
		pm_doing_check_access(d, false);
		d->state->accessed[d->op->page] = true;
		judge_read(d, d->place, bytes);
	}
	return status;
}

enum pm_status pm_do_write(struct pm_doing *d)
{
	unsigned char bytes[PM_PAGE_SIZE];
	uint32_t event = pm_model_begin_write(&d->state->model, d->place, d->index + 1, d->start);
	enum pm_status status;
	size_t done;

	pm_world_bytes_of(d->index + 1, bytes);
	status = pm_write(d->m, d->cpu, d->space, d->addr, bytes, sizeof(bytes), &done);
	if (!status) {
		pm_doing_check_access(d, true);
		d->state->accessed[d->op->page] = true;
	}
	pm_model_end_write(&d->state->model, d->place, event, pm_doing_now(d), !status);
	return status;
}

enum pm_status pm_do_poke(struct pm_doing *d)
{
	uint32_t event = pm_model_begin_write(&d->state->model, d->place, d->index + 1, d->start);
	uint64_t window;
	void *bytes;
	enum pm_status status = pm_window(d->m, d->cpu, d->space, d->addr, true, &bytes, &window);

	if (!status) {
		pm_doing_check_access(d, true);
		pm_yield(PM_AT_TOUCH, bytes);
		pm_world_bytes_of(d->index + 1, bytes);
		pm_yield(PM_AT_TOUCH, bytes);
		pm_doing_check_status(d, pm_unpin(d->m, d->cpu, window));
	}
	pm_model_end_write(&d->state->model, d->place, event, pm_doing_now(d), !status);
	return status;
}

enum pm_status pm_do_file_read(struct pm_doing *d)
{
	unsigned char bytes[PM_PAGE_SIZE];
	uint32_t page = d->op->page % PM_WORLD_FILE_PAGES;
	size_t done;
	enum pm_status status = pm_file_read(d->m, d->cpu, d->state->file, (uint64_t)page << PM_PAGE_SHIFT, bytes, sizeof(bytes), &done);

	if (!status && done == sizeof(bytes))
		judge_read(d, pm_model_file_place(page), bytes);
	else if (!status && !pm_world_has(d->world, PM_OP_TRUNCATE))
		pm_sched_fail(&d->world->sched, PM_FAIL_STATUS, "operation %" PRIu32 " (file_read) ended early", d->index);
	return status;
}

enum pm_status pm_do_file_write(struct pm_doing *d)
{
	unsigned char bytes[PM_PAGE_SIZE];
	uint32_t page = d->op->page % PM_WORLD_FILE_PAGES, place = pm_model_file_place(page);
	uint32_t event = pm_model_begin_write(&d->state->model, place, d->index + 1, d->start);
	enum pm_status status;
	size_t done;

	pm_world_bytes_of(d->index + 1, bytes);
	status = pm_file_write(d->m, d->cpu, d->state->file, (uint64_t)page << PM_PAGE_SHIFT, bytes, sizeof(bytes), &done);
	pm_model_end_write(&d->state->model, place, event, pm_doing_now(d), !status);
	return status;
}
