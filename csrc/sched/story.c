#include "sched/story.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "phys/arena.h"
#include "phys/machine.h"
#include "phys/page.h"
#include "virt/virt.h"

struct text {
	char *bytes;
	size_t used, room;
};

static __attribute__((format(printf, 2, 3))) void add(struct text *text, const char *format, ...)
{
	char line[512];
	va_list args;
	size_t n;

	va_start(args, format);
	(void)vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	n = strlen(line);
	if (text->used + n + 1 > text->room) {
		size_t room = 2 * (text->room + n + 512);
		char *more = realloc(text->bytes, room);

		if (!more)
			return;
		text->bytes = more;
		text->room = room;
	}
	memcpy(text->bytes + text->used, line, n + 1);
	text->used += n;
}

static void tell_migration(const struct pm_operation *op, char *text, size_t size)
{
	static const char *const modes[] = { " async", " light", "", "" };
	char page[8] = "";

	if (op->kind == PM_OP_MIGRATE)
		(void)snprintf(page, sizeof(page), "%d", op->page);
	(void)snprintf(text, size, "%s %c%s %s%s%s%s", pm_operation_name(op->kind), (char)('A' + op->space), page, pm_migrate_protocol_name(op->value & 7), modes[op->value >> 3 & 3],
		       op->value & PM_VALUE_TOUCH ? " touch" : "", op->value & PM_VALUE_STEPPED ? " stepped" : "");
}

void pm_story_operation(const struct pm_world *world, uint32_t index, char *text, size_t size)
{
	const struct pm_operation *op = &world->program.operations[index];
	char space = (char)('A' + op->space);
	const char *name = pm_operation_name(op->kind);

	switch (op->kind) {
	case PM_OP_FORK:
		(void)snprintf(text, size, "%s %c to %c", name, space, (char)('B' + op->value % (PM_WORLD_SPACES - 1)));
		break;
	case PM_OP_EXIT:
		(void)snprintf(text, size, "%s %c", name, space);
		break;
	case PM_OP_PROTECT:
		(void)snprintf(text, size, "%s %c%d %s", name, space, op->page, op->value & 1 ? "rw" : "r");
		break;
	case PM_OP_MIGRATE:
	case PM_OP_MIGRATE_ALL:
		tell_migration(op, text, size);
		break;
	case PM_OP_TRUNCATE:
		(void)snprintf(text, size, "%s to %d pages", name, op->value % (PM_WORLD_FILE_PAGES + 1));
		break;
	case PM_OP_FILE_READ:
	case PM_OP_FILE_WRITE:
		(void)snprintf(text, size, "%s %d", name, op->page % PM_WORLD_FILE_PAGES);
		break;
	case PM_OP_ALLOC:
		(void)snprintf(text, size, "%s a block of order %d", name, op->value);
		break;
	case PM_OP_COMPACT:
		(void)snprintf(text, size, "%s %s%s", name, op->value & PM_VALUE_PLANNER ? "planner" : "linux", op->value & PM_VALUE_CAPTURE ? " capture" : "");
		break;
	case PM_OP_ISOLATE:
	case PM_OP_RELEASE:
	case PM_OP_OFFLINE:
	case PM_OP_ONLINE:
	case PM_OP_TAKE:
		(void)snprintf(text, size, "%s pageblock %d", name, op->value);
		break;
	case PM_OP_FREE:
	case PM_OP_UNPIN:
	case PM_OP_SYNC:
	case PM_OP_DROP:
	case PM_OP_SWAP_OFF:
	case PM_OP_SWAP_ON:
	case PM_OP_RECLAIM:
		(void)snprintf(text, size, "%s", name);
		break;
	default:
		(void)snprintf(text, size, "%s %c%d", name, space, op->page);
		break;
	}
}

/// Names an object where its address says what it is.
static void name_object(const struct pm_world *world, const struct pm_trace *step, char *text, size_t size)
{
	const struct pm_machine *m = world->m;
	const char *at = step->object;
	const char *pages = (const char *)m->pages, *slots = (const char *)m->virt->slots;

	text[0] = '\0';
	if (at >= pages && at < pages + m->nr_frames * sizeof(*m->pages))
		(void)snprintf(text, size, " of frame %zu", (size_t)(at - pages) / sizeof(*m->pages));
	else if (m->arena && at >= m->arena && at < m->arena + ((size_t)m->nr_frames << PM_PAGE_SHIFT))
		(void)snprintf(text, size, " of frame %zu", (size_t)(at - m->arena) >> PM_PAGE_SHIFT);
	else if (at >= slots && at < slots + m->nr_cpus * sizeof(*m->virt->slots))
		(void)snprintf(text, size, " (CPU %zu)", (size_t)(at - slots) / sizeof(*m->virt->slots));
	else if (step->point == PM_AT_ENTRY || step->point == PM_AT_ENTRY_SET)
		(void)snprintf(text, size, " (entry %zu of a table)", ((size_t)at / sizeof(uint64_t)) % 512);
}

static void operation_of(const struct pm_world *world, const struct pm_trace *step, char *text, size_t size)
{
	if (step->operation >= 0)
		pm_story_operation(world, (uint32_t)step->operation, text, size);
	else
		(void)snprintf(text, size, "(between operations)");
}

/// One stretch of a task: steps [from, to) of the trace.
static void tell_stretch(struct text *text, const struct pm_world *world, uint32_t from, uint32_t to)
{
	const struct pm_trace *trace = world->sched.trace, *last = &trace[to - 1];
	char operation[96], object[64];
	uint32_t i;

	operation_of(world, &trace[from], operation, sizeof(operation));
	add(text, "task %d: %s", trace[from].task, operation);
	for (i = from; i < to; i++) {
		if (!trace[i].note)
			continue;
		if (strcmp(trace[i].note, "begins") == 0 && i > from) {
			operation_of(world, &trace[i], operation, sizeof(operation));
			add(text, "; %s", operation);
		} else if (strcmp(trace[i].note, "begins") != 0) {
			add(text, ": %s", trace[i].note);
		}
	}
	if (to < world->sched.nr_trace && !last->note) {
		name_object(world, last, object, sizeof(object));
		add(text, " ... stops at step %" PRIu32 ", about to %s%s", last->step - 1, pm_point_name((enum pm_point)last->point), object);
	}
	add(text, "\n");
}

char *pm_story_tell(const struct pm_world *world)
{
	const struct pm_sched *sched = &world->sched;
	struct text text = { 0 };
	char operation[96];
	uint32_t i, from = 0;

	for (i = 0; i < world->program.nr; i++) {
		const struct pm_operation *op = &world->program.operations[i];

		if (op->task != PM_SETUP)
			continue;
		pm_story_operation(world, i, operation, sizeof(operation));
		add(&text, "before:  %s (operation %" PRIu32 ")\n", operation, i);
	}
	for (i = 1; i <= sched->nr_trace; i++)
		if (i == sched->nr_trace || sched->trace[i].task != sched->trace[from].task) {
			tell_stretch(&text, world, from, i);
			from = i;
		}
	add(&text, sched->failure ? "%s: %s\n" : "%s%s\n", sched->failure ? pm_failure_name(sched->failure) : "all is well", sched->failure ? sched->message : "");
	return text.bytes;
}
