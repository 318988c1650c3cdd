/// The operations of programs, and what each says about the contents afterwards.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "sched/doing.h"

const char *pm_operation_name(uint32_t kind)
{
	static const char *const names[PM_NR_OPERATIONS] = { "read", "write", "fork", "exit", "unmap", "protect", "remap", "mlock", "munlock", "poke", "pin", "unpin", "page_out",
							     "truncate", "sync", "drop", "file_read", "file_write", "swap_off", "swap_on", "reclaim", "migrate", "migrate_all",
							     "alloc", "free", "compact", "isolate", "release", "offline", "online", "take" };

	return kind < PM_NR_OPERATIONS ? names[kind] : NULL;
}

/// Can the program bring this status about?
static bool explained(const struct pm_doing *d, enum pm_status status)
{
	const struct pm_world *w = d->world;

	switch (status) {
	case PM_OK:
		return true;
	case PM_ERR_HANDLE:
		return pm_world_has(w, PM_OP_EXIT);
	case PM_ERR_FAULT:
		return d->op->page >= 6 || pm_world_has(w, PM_OP_UNMAP) || pm_world_has(w, PM_OP_REMAP);
	case PM_ERR_ACCESS:
		return pm_world_has(w, PM_OP_PROTECT);
	case PM_ERR_BEYOND:
		return pm_world_has(w, PM_OP_TRUNCATE);
	case PM_ERR_NO_SWAP:
	case PM_ERR_BUSY:
		return d->op->kind == PM_OP_SWAP_OFF || d->op->kind == PM_OP_SWAP_ON || pm_block_explained(d, status);
	default:
		return pm_block_explained(d, status);
	}
}

void pm_doing_check_status(const struct pm_doing *d, enum pm_status status)
{
	if (!explained(d, status))
		pm_sched_fail(&d->world->sched, PM_FAIL_STATUS, "operation %" PRIu32 " (%s): %s", d->index, pm_operation_name(d->op->kind), pm_status_text(status));
}

void pm_doing_check_access(const struct pm_doing *d, bool write)
{
	const char *why = NULL;

	if (d->exited)
		why = "its space had ended";
	else if (d->changes == d->state->changes[d->op->space][d->op->page] && d->gone)
		why = "its page was unmapped";
	else if (d->changes == d->state->changes[d->op->space][d->op->page] && d->readonly && write)
		why = "its page was read-only";
	if (why)
		pm_sched_fail(&d->world->sched, PM_FAIL_STATUS, "operation %" PRIu32 " (%s) went through although %s before it began", d->index, pm_operation_name(d->op->kind), why);
}

bool pm_world_judge(struct pm_world *world, uint32_t place, uint32_t value, uint32_t start, uint32_t end)
{
	uint64_t allowed = pm_model_visible(&world->state.model, place, start, end);
	char text[200] = "";
	size_t at = 0;
	uint32_t i;

	if (value < PM_MODEL_GARBAGE && (allowed >> value & 1)) {
		pm_model_settle(&world->state.model, place, value, start, end);
		return true;
	}
	for (i = 0; i < PM_MODEL_GARBAGE && at + 24 < sizeof(text); i++)
		if (allowed >> i & 1)
			at += (size_t)snprintf(text + at, sizeof(text) - at, i ? "%swhat operation %" PRIu32 " wrote" : "%szeros", at ? ", " : "", i - 1);
	if (value < PM_MODEL_GARBAGE)
		(void)snprintf(world->verdict, sizeof(world->verdict), value ? ": found what operation %d wrote; allowed: %s" : ": found zeros (%d); allowed: %s", (int)value - 1, text);
	else
		(void)snprintf(world->verdict, sizeof(world->verdict), ": found bytes that nobody wrote, or a torn page; allowed: %s", text);
	return false;
}

/* ---- what changes spaces ---- */

static void inherit(struct pm_doing *d, uint32_t child, uint32_t end)
{
	struct pm_world_state *state = d->state;
	uint32_t page;

	for (page = 0; page < PM_WORLD_PAGES; page++) {
		uint32_t from = pm_model_place_of(d->op->space, page), to = pm_model_place_of(child, page);
		bool still = state->changes[d->op->space][page] == state->changes[child][page];

		state->gone[child][page] = still && state->gone[d->op->space][page];
		state->readonly[child][page] = still && state->readonly[d->op->space][page];
		state->locked[child][page] = false;
		if (from == to)
			continue;
		state->model.place[to].nr = 0;
		(void)pm_model_add(&state->model, to, (struct pm_model_event){ d->start, end, pm_model_allowed(&state->model, from, d->start, end), true, true });
	}
}

static enum pm_status do_fork(struct pm_doing *d)
{
	uint32_t child = 1 + d->op->value % (PM_WORLD_SPACES - 1), page;
	enum pm_status status;
	uint64_t handle;

	if (d->state->claimed[child])
		return PM_OK;
	d->state->claimed[child] = true;
	for (page = 0; page < PM_WORLD_PAGES; page++)
		d->state->changes[child][page] = d->state->changes[d->op->space][page];
	status = pm_space_fork(d->m, d->cpu, d->space, &handle);
	if (!status) {
		inherit(d, child, pm_doing_now(d));
		d->state->space[child] = handle;
	}
	return status;
}

static enum pm_status do_exit(struct pm_doing *d)
{
	enum pm_status status;
	uint32_t page;

	for (page = 0; page < PM_WORLD_PAGES; page++)
		d->state->locked[d->op->space][page] = false;
	status = pm_space_exit(d->m, d->cpu, d->space);
	if (!status)
		d->state->exited[d->op->space] = true;
	return status;
}

static enum pm_status do_unmap(struct pm_doing *d)
{
	uint32_t s = d->op->space, page = d->op->page, changes = ++d->state->changes[s][page];
	enum pm_status status;

	d->state->locked[s][page] = false;
	status = pm_unmap(d->m, d->cpu, d->space, d->addr, PM_PAGE_SIZE);
	d->state->locked[s][page] = false;
	/* If something else was at it meanwhile, it may have come last. */
	if (!status && changes == d->state->changes[s][page])
		d->state->gone[s][page] = true;
	d->state->changes[s][page]++;
	return status;
}

static enum pm_status do_protect(struct pm_doing *d)
{
	uint32_t s = d->op->space, page = d->op->page, changes = ++d->state->changes[s][page];
	bool write = d->op->value & 1, alone;
	enum pm_status status;

	d->state->readonly[s][page] = false;
	status = pm_protect(d->m, d->cpu, d->space, d->addr, PM_PAGE_SIZE, PM_PROT_READ | (write ? PM_PROT_WRITE : 0));
	alone = changes == d->state->changes[s][page];
	/* Also of what came and went meanwhile. */
	d->state->readonly[s][page] = false;
	d->state->changes[s][page]++;
	if (!status && !write && alone) {
		d->state->readonly[s][page] = true;
		/* Others may still write through a pin, and to the file through another mapping. */
		if (!pm_world_has(d->world, PM_OP_POKE) && d->place < pm_model_file_place(0))
			pm_model_clamp(&d->state->model, d->place, pm_doing_now(d));
	}
	return status;
}

static enum pm_status do_remap(struct pm_doing *d)
{
	struct pm_world_state *state = d->state;
	uint32_t s = d->op->space, from = d->op->page, to = from >= 6 ? from - 6 : from + 6, end, event, other, changes;
	uint32_t from_place = pm_model_place_of(s, from), to_place = pm_model_place_of(s, to);
	enum pm_status status;
	uint64_t place;

	if (from >= 2 && from < 6)
		return PM_OK;
	changes = ++state->changes[s][from];
	state->changes[s][to]++;
	state->gone[s][to] = state->readonly[s][to] = state->locked[s][to] = state->locked[s][from] = false;
	/* Meanwhile anything may be seen at either place. */
	other = pm_model_add(&state->model, from_place, (struct pm_model_event){ d->start, PM_MODEL_NOW, ((uint64_t)1 << PM_MODEL_GARBAGE) - 1, false, true });
	event = pm_model_add(&state->model, to_place, (struct pm_model_event){ d->start, PM_MODEL_NOW, ((uint64_t)1 << PM_MODEL_GARBAGE) - 1, false, true });
	status = pm_remap(d->m, d->cpu, d->space, d->addr, PM_PAGE_SIZE, PM_PAGE_SIZE, PM_MAP_FIXED | PM_MAP_MAYMOVE, pm_world_addr(to), &place);
	end = pm_doing_now(d);
	if (!status && changes == state->changes[s][from])
		state->gone[s][from] = true;
	state->changes[s][from]++;
	state->changes[s][to]++;
	state->gone[s][to] = state->readonly[s][to] = state->locked[s][to] = state->locked[s][from] = false;
	state->model.place[from_place].event[other].end = end;
	state->model.place[from_place].event[other].values = 0;
	state->model.place[to_place].event[event] = (struct pm_model_event){ d->start, end, status ? 0 : pm_model_allowed(&state->model, from_place, d->start, end), !status, true };
	return status;
}

/// A fault for writing, which takes a copy of a private page of the file.
static void note_copy(struct pm_doing *d)
{
	uint32_t end = pm_doing_now(d);

	if (pm_model_behind(d->place) >= 0)
		(void)pm_model_add(&d->state->model, d->place, (struct pm_model_event){ d->start, end, pm_model_visible(&d->state->model, d->place, d->start, end), false, true });
}

static enum pm_status do_mlock(struct pm_doing *d, bool lock)
{
	uint32_t s = d->op->space, page = d->op->page, changes;
	enum pm_status status;

	d->state->locked[s][page] = false;
	changes = ++d->state->changes[s][page];
	status = pm_mlock(d->m, d->cpu, d->space, d->addr, PM_PAGE_SIZE, lock);
	if (lock)
		note_copy(d);
	/* If something else was at it meanwhile, it may have come last; and what it has noted may be undone by this. */
	d->state->locked[s][page] = !status && lock && changes == d->state->changes[s][page] && !pm_world_has(d->world, PM_OP_TRUNCATE);
	d->state->changes[s][page]++;
	return status;
}

static enum pm_status do_pin(struct pm_doing *d)
{
	uint64_t pfn;
	enum pm_status status;

	if (d->state->pin[d->task])
		return PM_OK;
	status = pm_pin(d->m, d->cpu, d->space, d->addr, PM_PIN_LONG, true, &pfn, &d->state->pin[d->task]);
	if (status)
		d->state->pin[d->task] = 0;
	else
		pm_doing_check_access(d, true);
	note_copy(d);
	return status;
}

static enum pm_status do_unpin(struct pm_doing *d)
{
	uint64_t pin = d->state->pin[d->task];

	d->state->pin[d->task] = 0;
	return pin ? pm_unpin(d->m, d->cpu, pin) : PM_OK;
}

/* ---- what is behind them ---- */

static enum pm_status do_truncate(struct pm_doing *d)
{
	uint32_t keep = d->op->value % (PM_WORLD_FILE_PAGES + 1), place, nr = 0;
	struct { uint32_t place, event; } begun[PM_MODEL_PLACES];
	enum pm_status status;

	for (place = 0; place < PM_MODEL_PLACES; place++) {
		int32_t behind = pm_model_behind(place);
		uint32_t file = behind >= 0 ? (uint32_t)behind : place;

		if (file < pm_model_file_place(0) || file - pm_model_file_place(0) < keep)
			continue;
		begun[nr].place = place;
		begun[nr++].event = pm_model_add(&d->state->model, place, (struct pm_model_event){ d->start, PM_MODEL_NOW, behind >= 0 ? PM_MODEL_FILE : 1, false, true });
	}
	status = pm_file_truncate(d->m, d->cpu, d->state->file, (uint64_t)keep << PM_PAGE_SHIFT);
	place = pm_doing_now(d);
	while (nr-- > 0) {
		struct pm_model_event *event = &d->state->model.place[begun[nr].place].event[begun[nr].event];

		event->end = place;
		event->sure = !status;
	}
	return status;
}

static enum pm_status do_swap(struct pm_doing *d, bool on)
{
	struct pm_swap_options options = { PM_WORLD_SLOTS, d->world->swap_device };

	return on ? pm_swap_on(d->m, &options) : pm_swap_off(d->m, d->cpu);
}

static enum pm_status dispatch(struct pm_doing *d)
{
	uint64_t bytes = (uint64_t)PM_WORLD_FILE_PAGES << PM_PAGE_SHIFT, nr;

	switch (d->op->kind) {
	case PM_OP_READ:
		return pm_do_read(d);
	case PM_OP_WRITE:
		return pm_do_write(d);
	case PM_OP_FORK:
		return do_fork(d);
	case PM_OP_EXIT:
		return do_exit(d);
	case PM_OP_UNMAP:
		return do_unmap(d);
	case PM_OP_PROTECT:
		return do_protect(d);
	case PM_OP_REMAP:
		return do_remap(d);
	case PM_OP_MLOCK:
		return do_mlock(d, true);
	case PM_OP_MUNLOCK:
		return do_mlock(d, false);
	case PM_OP_POKE:
		return pm_do_poke(d);
	case PM_OP_PIN:
		return do_pin(d);
	case PM_OP_UNPIN:
		return do_unpin(d);
	case PM_OP_PAGE_OUT:
		return pm_page_out(d->m, d->cpu, d->space, d->addr, PM_PAGE_SIZE, &nr);
	case PM_OP_TRUNCATE:
		return do_truncate(d);
	case PM_OP_SYNC:
		return pm_file_sync(d->m, d->cpu, d->state->file, 0, bytes, true);
	case PM_OP_DROP:
		return pm_file_drop(d->m, d->cpu, d->state->file, 0, bytes, &nr);
	case PM_OP_FILE_READ:
		return pm_do_file_read(d);
	case PM_OP_FILE_WRITE:
		return pm_do_file_write(d);
	case PM_OP_SWAP_OFF:
		return do_swap(d, false);
	case PM_OP_SWAP_ON:
		return do_swap(d, true);
	case PM_OP_MIGRATE:
	case PM_OP_MIGRATE_ALL:
		return pm_do_migrate(d);
	case PM_OP_ALLOC:
	case PM_OP_FREE:
	case PM_OP_COMPACT:
	case PM_OP_ISOLATE:
	case PM_OP_RELEASE:
	case PM_OP_OFFLINE:
	case PM_OP_ONLINE:
	case PM_OP_TAKE:
		return pm_do_block(d);
	default:
		return pm_reclaim(d->m, d->cpu, 0, 16, &nr);
	}
}

/// It needs no space.
static bool of_no_space(uint32_t kind)
{
	return kind == PM_OP_UNPIN || kind >= PM_OP_ALLOC || (kind >= PM_OP_TRUNCATE && kind <= PM_OP_RECLAIM);
}

void pm_world_operation(struct pm_world *world, uint32_t task, uint32_t index)
{
	const struct pm_operation *op = &world->program.operations[index];
	struct pm_world_state *state = &world->state;
	struct pm_doing d = { .world = world, .state = state, .m = world->m, .op = op, .task = task, .index = index, .cpu = pm_world_cpu(world, task) };
	enum pm_status status;

	/* A space that no fork has made yet. */
	if (!state->space[op->space] && !of_no_space(op->kind))
		return;
	world->sched.task[task].operation = (int32_t)index;
	pm_yield(PM_AT_START, op);
	pm_sched_note(&world->sched, "begins");
	d.space = state->space[op->space];
	d.addr = pm_world_addr(op->page);
	d.place = pm_model_place_of(op->space, op->page);
	d.changes = state->changes[op->space][op->page];
	d.gone = state->gone[op->space][op->page];
	d.readonly = state->readonly[op->space][op->page];
	d.exited = state->exited[op->space];
	d.start = pm_model_tick(&state->model);
	status = dispatch(&d);
	pm_sched_note(&world->sched, status ? pm_status_text(status) : "done");
	pm_doing_check_status(&d, status);
	world->sched.task[task].operation = -1;
}
