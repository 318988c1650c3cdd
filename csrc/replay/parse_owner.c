/// page_owner's text: every allocated block, with who allocated it and how. Each becomes an ALLOC event at its own time.
///
///     Page allocated via order 0, mask 0x140cca(GFP_HIGHUSER_MOVABLE|__GFP_COMP), pid 1, tgid 1 (init), ts 5000 ns, free_ts 0 ns
///     PFN 0x1234 type Movable Block 9 type Movable Flags 0x17fffc(...)
///      stack of callers
///
/// Kernels before 5.11 print no time (the event is at 0), those before 5.5 a decimal frame number. The mask's names count, or its
/// number where there are none.
#include "replay/parse.h"

#define FIRST "Page allocated via order "
#define SECOND "PFN "

static bool starts(const char *at, const char *end, const char *text, const char **ret_after)
{
	size_t n = strlen(text);

	if ((size_t)(end - at) < n || memcmp(at, text, n) != 0)
		return false;
	*ret_after = at + n;
	return true;
}

/// The number behind `key`; true without it, where nothing is read.
static bool number_after(const char *at, const char *end, const char *key, uint64_t *ret)
{
	const char *found = memmem(at, (size_t)(end - at), key, strlen(key));

	return found == NULL || pm_scan_number(found + strlen(key), end, ret) != NULL;
}

static uint32_t read_mask(const char *at, const char *end, struct pm_gfp_memo *memo, uint32_t *ret_unknown)
{
	const char *open = memchr(at, '(', (size_t)(end - at)), *stop;
	const char *comma = memchr(at, ',', (size_t)(end - at));

	if (open == NULL || (comma != NULL && comma < open))
		return pm_gfp_memo_parse(memo, at, (size_t)((comma == NULL ? end : comma) - at), ret_unknown);
	stop = memchr(open, ')', (size_t)(end - open));
	return pm_gfp_memo_parse(memo, open + 1, (size_t)((stop == NULL ? end : stop) - open - 1), ret_unknown);
}

static bool read_first(struct pm_line *line, const char *at, struct pm_gfp_memo *memo, struct pm_owner_record *owner)
{
	const char *mask = memmem(at, (size_t)(line->end - at), "mask ", 5);
	uint64_t order, pid = 0, time_ns = 0;
	uint32_t unknown = 0;

	pm_parsed_clear(&owner->event, PM_EV_ALLOC);
	if (pm_scan_decimal(at, line->end, &order) == NULL || order > PM_MAX_ORDER)
		return pm_damage(line, at, "the order is out of its range");
	if (mask == NULL)
		return pm_damage(line, at, "no mask");
	if (!number_after(at, line->end, ", pid ", &pid) || pid > UINT32_MAX)
		return pm_damage(line, at, "the pid is no number");
	if (!number_after(at, line->end, ", ts ", &time_ns) || time_ns >> 63 != 0)
		return pm_damage(line, at, "the time is no number");
	owner->event.order = (int8_t)order;
	owner->event.gfp = read_mask(mask + 5, line->end, memo, &unknown);
	owner->event.gfp_unknown = unknown != 0;
	owner->event.tid = (uint32_t)pid;
	owner->event.time_ns = time_ns;
	owner->pending = true;
	return true;
}

/// enum pm_migratetype's names as the kernel spells them; CMA comes before Isolate where it is built in.
static int type_of(const char *at, const char *end)
{
	static const char *const names[] = { "Unmovable", "Movable", "Reclaimable", "HighAtomic", "CMA", "Isolate" };
	const char *after;

	for (int i = 0; i < (int)(sizeof(names) / sizeof(names[0])); i++) {
		if (starts(at, end, names[i], &after))
			return i;
	}
	return -1;
}

static bool read_second(struct pm_line *line, const char *at, struct pm_owner_record *owner)
{
	const char *type = memmem(at, (size_t)(line->end - at), " type ", 6);
	uint64_t pfn;

	if (!owner->pending)
		return pm_damage(line, line->start, "a frame without the line that says how it was allocated");
	owner->pending = false;
	if (pm_scan_number(at, line->end, &pfn) == NULL || pfn == 0 || pfn >= PM_NO_PFN32)
		return pm_damage(line, at, "a frame number of 0, or of 2^32-1 or more");
	if (type == NULL || type_of(type + 6, line->end) < 0)
		return pm_damage(line, at, "no migrate type that is known");
	owner->event.pfn = (uint32_t)pfn;
	owner->event.migratetype = (int8_t)type_of(type + 6, line->end);
	return true;
}

bool pm_is_owner_line(const struct pm_line *line)
{
	const char *after;

	return line->format == PM_TEXT_PAGE_OWNER || (line->format == PM_TEXT_AUTO && starts(line->start, line->end, FIRST, &after));
}

enum pm_line_kind pm_owner_parse(struct pm_line *line, struct pm_gfp_memo *memo, struct pm_owner_record *owner, struct pm_parsed *ret)
{
	const char *after;

	line->format = PM_TEXT_PAGE_OWNER;
	if (starts(line->start, line->end, FIRST, &after)) {
		if (owner->pending) {
			owner->pending = false;
			pm_damage(line, line->start, "the block before has no frame number");
			return PM_LINE_DAMAGED;
		}
		return read_first(line, after, memo, owner) ? PM_LINE_COMMENT : PM_LINE_DAMAGED;
	}
	if (!starts(line->start, line->end, SECOND, &after))
		return PM_LINE_COMMENT;
	if (!read_second(line, after, owner))
		return PM_LINE_DAMAGED;
	*ret = owner->event;
	return PM_LINE_EVENT;
}
