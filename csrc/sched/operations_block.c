/// Blocks and ranges of frames as operations: what a kernel's other users do with pm_alloc() and pm_free(), compaction, capture, and ranges that are isolated, taken, offline and
/// online again. A frame is given to one at a time, nothing new comes from what is isolated or offline, and a user's block keeps its bytes.
#include <inttypes.h>

#include "phys/machine.h"
#include "phys/pcp.h"
#include "sched/doing.h"

#define KIND(name) ((uint32_t)1 << PM_OP_##name)

/// Operations by which frames move, beside migrations.
static const uint32_t moving = KIND(COMPACT) | KIND(OFFLINE) | KIND(TAKE);

enum { PM_WORLD_ORDER = 3, PM_WORLD_TRIES = 4 };

bool pm_world_moves_blocks(const struct pm_world *world)
{
	return (world->kinds & moving) != 0;
}

bool pm_world_short(const struct pm_world *world)
{
	return (world->kinds & (KIND(ALLOC) | KIND(ISOLATE) | moving)) != 0;
}

static uint32_t pageblock_at(uint32_t pfn)
{
	return pfn >= PM_WORLD_MIDDLE;
}

/* ---- users' blocks ---- */

/// A user has got a block. `before`: the isolations that were there when its call began.
static void note_given(struct pm_doing *d, uint64_t pfn, uint32_t order, const uint32_t *before)
{
	struct pm_world_state *state = d->state;
	uint32_t i, half = pageblock_at((uint32_t)pfn);

	if (pfn < PM_WORLD_START || pfn + (1u << order) > PM_WORLD_END)
		pm_sched_fail(&d->world->sched, PM_FAIL_INVARIANT, "operation %" PRIu32 " got frame %" PRIu64 ", which does not exist", d->index, pfn);
	if (before && before[half] && before[half] == state->closed[half])
		pm_sched_fail(&d->world->sched, PM_FAIL_INVARIANT, "operation %" PRIu32 " got frame %" PRIu64 " of a pageblock that was isolated or offline before it began", d->index, pfn);
	for (i = (uint32_t)pfn; i < pfn + (1u << order); i++) {
		struct pm_world_frame *frame = &state->frame[i - PM_WORLD_START];

		if (frame->user)
			pm_sched_fail(&d->world->sched, PM_FAIL_INVARIANT, "frame %" PRIu32 " was given twice: to operation %" PRIu32 ", which has it, and to operation %" PRIu32, i, frame->user - 1u, d->index);
		if (frame->owned)
			pm_sched_fail(&d->world->sched, PM_FAIL_INVARIANT, "operation %" PRIu32 " was given frame %" PRIu32 ", which has an owner", d->index, i);
		frame->user = (uint8_t)(d->index + 1);
		pm_world_poison(d->world, i);
	}
	if (state->nr_blocks == PM_WORLD_USERS)
		pm_sched_fail(&d->world->sched, PM_FAIL_INVARIANT, "more blocks than operations");
	state->blocks[state->nr_blocks++] = (struct pm_world_block){ (uint32_t)pfn, order };
}

/// Its user does not have it any more from now on: others may, before the call that frees it comes back.
static struct pm_world_block take_block(struct pm_doing *d)
{
	struct pm_world_block block = d->state->blocks[--d->state->nr_blocks];
	uint32_t i;

	for (i = block.pfn; i < block.pfn + (1u << block.order); i++) {
		pm_world_check_poison(d->world, i);
		d->state->frame[i - PM_WORLD_START].user = 0;
	}
	return block;
}

static enum pm_status do_alloc(struct pm_doing *d)
{
	uint32_t before[2] = { d->state->closed[0], d->state->closed[1] }, order = d->op->value;
	uint64_t pfn;
	enum pm_status status = pm_alloc(d->m, d->cpu, order, PM_GFP_HIGHUSER_MOVABLE, &pfn);

	if (!status)
		note_given(d, pfn, order, before);
	return status;
}

static enum pm_status do_free(struct pm_doing *d)
{
	struct pm_world_block block;

	if (!d->state->nr_blocks)
		return PM_OK;
	block = take_block(d);
	return pm_free(d->m, d->cpu, block.pfn, block.order);
}

static enum pm_status do_compact(struct pm_doing *d)
{
	uint32_t before[2] = { d->state->closed[0], d->state->closed[1] };
	struct pm_compact_request request;
	struct pm_compact_result result;
	enum pm_status status;

	pm_compact_request_default(&request);
	request.strategy = d->op->value & PM_VALUE_PLANNER ? PM_STRATEGY_PLANNER : PM_STRATEGY_LINUX;
	request.order = PM_WORLD_ORDER;
	request.blocks = 1;
	request.flags = d->op->value & PM_VALUE_CAPTURE ? PM_COMPACT_CAPTURE : 0;
	status = pm_compact(d->m, d->cpu, &request, &result);
	if (status)
		return status;
	d->world->compact_attempted++;
	d->world->compact_moved += result.moved != 0;
	if (result.captured != PM_NO_FRAME)
		note_given(d, result.captured, request.order, before);
	return PM_OK;
}

/* ---- ranges ---- */

/// Nothing that was there before is given from this pageblock until it is opened.
static void close_half(struct pm_doing *d, uint32_t half)
{
	d->state->closed[half] = ++d->state->closings;
}

/// Does a range to its end. `*ret` gets its handle, which pm_range_end() wants; 0: it was not begun.
static enum pm_status run_range(struct pm_doing *d, uint32_t kind, uint32_t half, uint64_t *ret)
{
	struct pm_range_request request;
	struct pm_range_info info;
	enum pm_status status;

	pm_range_request_default(kind, &request);
	request.start = half ? PM_WORLD_MIDDLE : PM_WORLD_START;
	request.end = kind == PM_RANGE_TAKE ? request.start + (1u << PM_WORLD_ORDER) : half ? PM_WORLD_END : PM_WORLD_MIDDLE;
	/* Without end it would wait for what another task does not give back. */
	request.tries = PM_WORLD_TRIES;
	*ret = 0;
	status = pm_range_begin(d->m, &request, ret);
	if (status)
		return status;
	do
		status = pm_range_run(d->m, d->cpu, *ret, &info);
	while (status == PM_ERR_INTR && !info.over);
	return status;
}

static enum pm_status end_range(struct pm_doing *d, uint64_t handle, enum pm_status status)
{
	enum pm_status ended = handle ? pm_range_end(d->m, d->cpu, handle) : PM_OK;

	return status ? status : ended;
}

static enum pm_status do_isolate(struct pm_doing *d)
{
	uint32_t half = d->op->value;
	uint64_t handle;
	enum pm_status status = run_range(d, PM_RANGE_ISOLATE, half, &handle);

	if (status)
		return end_range(d, handle, status);
	if (d->state->isolation[half])
		pm_sched_fail(&d->world->sched, PM_FAIL_INVARIANT, "operation %" PRIu32 " isolated a pageblock that another one had isolated", d->index);
	d->state->isolation[half] = handle;
	close_half(d, half);
	return PM_OK;
}

/// Nothing of an isolated pageblock may lie in a CPU's lists, from which it would be given. No locks: tasks switch at yield points only.
static void check_lists(const struct pm_doing *d, uint32_t half) PM_NO_TSA
{
	uint32_t cpu, order, type, pfn;

	for (cpu = 0; cpu < d->m->nr_cpus; cpu++)
		for (order = 0; order <= PM_WORLD_ORDER; order++)
			for (type = 0; type < PM_NR_PCP_TYPES; type++)
				for (pfn = d->m->cpu[cpu].pcp[0].list[pm_pcp_index(order, type)].first; pfn != PM_NIL_PFN; pfn = pm_link_of(&d->m->tables, pfn, order)->next)
					if (pageblock_at(pfn) == half)
						pm_sched_fail(&d->world->sched, PM_FAIL_INVARIANT, "frame %" PRIu32 " is isolated, and lies in a CPU's lists", pfn);
}

static enum pm_status do_release(struct pm_doing *d)
{
	uint64_t handle = d->state->isolation[d->op->value];

	if (!handle)
		return PM_OK;
	check_lists(d, d->op->value);
	d->state->isolation[d->op->value] = 0;
	d->state->closed[d->op->value] = 0;
	return pm_range_end(d->m, d->cpu, handle);
}

static enum pm_status do_offline(struct pm_doing *d)
{
	uint32_t half = d->op->value, i;
	uint64_t handle;
	enum pm_status status = run_range(d, PM_RANGE_OFFLINE, half, &handle);

	if (!status) {
		for (i = 0; i < PM_WORLD_FRAMES; i++)
			if (pageblock_at(PM_WORLD_START + i) == half && (d->state->frame[i].user || d->state->frame[i].owned))
				pm_sched_fail(&d->world->sched, PM_FAIL_INVARIANT, "operation %" PRIu32 " sent frame %" PRIu32 " offline, which somebody has", d->index, PM_WORLD_START + i);
		d->state->offline[half] = true;
		close_half(d, half);
	}
	return end_range(d, handle, status);
}

static enum pm_status do_online(struct pm_doing *d)
{
	uint32_t half = d->op->value;

	/* From now on others may get its frames. */
	d->state->closed[half] = 0;
	d->state->offline[half] = false;
	return pm_range_online(d->m, half ? PM_WORLD_MIDDLE : PM_WORLD_START, half ? PM_WORLD_END : PM_WORLD_MIDDLE);
}

static enum pm_status do_take(struct pm_doing *d)
{
	uint32_t half = d->op->value;
	uint64_t handle;
	enum pm_status status = run_range(d, PM_RANGE_TAKE, half, &handle);

	if (!status)
		note_given(d, half ? PM_WORLD_MIDDLE : PM_WORLD_START, PM_WORLD_ORDER, NULL);
	return end_range(d, handle, status);
}

enum pm_status pm_do_block(struct pm_doing *d)
{
	switch (d->op->kind) {
	case PM_OP_ALLOC:
		return do_alloc(d);
	case PM_OP_FREE:
		return do_free(d);
	case PM_OP_COMPACT:
		return do_compact(d);
	case PM_OP_ISOLATE:
		return do_isolate(d);
	case PM_OP_RELEASE:
		return do_release(d);
	case PM_OP_OFFLINE:
		return do_offline(d);
	case PM_OP_ONLINE:
		return do_online(d);
	default:
		return do_take(d);
	}
}

/// Of ranges one pageblock's worth can be in the way of another, or hold what another task has.
bool pm_block_explained(const struct pm_doing *d, enum pm_status status)
{
	const struct pm_world *w = d->world;
	uint32_t range = KIND(ISOLATE) | KIND(OFFLINE) | KIND(TAKE), own = (uint32_t)1 << d->op->kind;

	switch (status) {
	case PM_ERR_BUSY:
		/* With nobody but readers and writers about, what stands there can move, or does not have to. */
		return (own & range) && ((w->kinds & ~(KIND(READ) | KIND(WRITE) | KIND(FREE) | KIND(ONLINE) | own)) || pm_world_count(w, range) > 1);
	case PM_ERR_RANGE:
		return (own & range) && pm_world_has(w, PM_OP_OFFLINE);
	case PM_ERR_STATE:
		return d->op->kind == PM_OP_ONLINE;
	case PM_ERR_WATERMARK:
	case PM_ERR_NO_BLOCK:
		/* 88 frames: whoever wants one may find the rest isolated, offline or taken. */
		return pm_world_short(w);
	default:
		return false;
	}
}

/* ---- the beginning and the end ---- */

static void require(struct pm_world *world, const char *what, enum pm_status status)
{
	if (status)
		pm_sched_fail(&world->sched, PM_FAIL_STATUS, "%s: %s", what, pm_status_text(status));
}

void pm_world_scatter(struct pm_world *world, bool begin)
{
	struct pm_doing d = { .world = world, .state = &world->state, .m = world->m, .cpu = pm_world_cpu(world, 0), .index = PM_PROGRAM_OPERATIONS };
	uint32_t order;

	if (!pm_world_has(world, PM_OP_COMPACT))
		return;
	/* The rest of the first block, as its halves. */
	for (order = 0; order < PM_WORLD_ORDER; order++)
		require(world, "scattering", begin ? pm_take(d.m, PM_WORLD_START + (1u << order), order, PM_MT_MOVABLE) : pm_free(d.m, d.cpu, PM_WORLD_START + (1u << order), order));
	if (begin) {
		require(world, "scattering", pm_take(d.m, PM_WORLD_MIDDLE, PM_WORLD_ORDER, PM_MT_MOVABLE));
		note_given(&d, PM_WORLD_MIDDLE, PM_WORLD_ORDER, NULL);
	}
}

void pm_world_end_blocks(struct pm_world *world)
{
	struct pm_world_state *state = &world->state;
	struct pm_doing d = { .world = world, .state = state, .m = world->m, .cpu = pm_world_cpu(world, 0) };
	uint32_t half;

	for (half = 0; half < 2; half++) {
		struct pm_operation op = { .value = (uint8_t)half };

		d.op = &op;
		require(world, "ending an isolation", do_release(&d));
		if (state->offline[half])
			require(world, "bringing a pageblock online", do_online(&d));
	}
	for (half = 0; half < 2; half++)
		if (world->m->tables.pageblocks[half].isolated)
			pm_sched_fail(&world->sched, PM_FAIL_LEAK, "pageblock %" PRIu32 " was left isolated", half);
	while (state->nr_blocks)
		require(world, "freeing a user's block", do_free(&d));
}
