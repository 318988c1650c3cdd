/// The part of a line before the event's fields: who, where, when, which event.
///
/// The forms, of which a line is recognised by its `[cpu]` followed by a time and a name:
///     perf script    COMM PID[/TID] [CPU] SECONDS: [PERIOD] SYSTEM:EVENT: FIELDS
///     trace-cmd      COMM-PID [CPU] [FLAGS] SECONDS: EVENT: FIELDS
///     ftrace         COMM-PID [(TGID)] [CPU] [FLAGS] SECONDS: EVENT: FIELDS
/// A command's name may hold blanks, brackets, colons and dashes, so the first `[digits]` need not be the cpu.
#include "replay/parse.h"

const char *pm_scan_decimal(const char *at, const char *end, uint64_t *ret)
{
	const char *start = at;
	uint64_t value = 0;

	while (at < end && pm_is_digit(*at)) {
		if (at - start >= 19)
			return NULL;
		value = value * 10 + (uint64_t)(*at++ - '0');
	}
	*ret = value;
	return at == start ? NULL : at;
}

static int hex_digit(char c)
{
	if (pm_is_digit(c))
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

const char *pm_scan_hex(const char *at, const char *end, uint64_t *ret)
{
	const char *start = at;
	uint64_t value = 0;
	int digit;

	while (at < end && (digit = hex_digit(*at)) >= 0) {
		if (at - start >= 16)
			return NULL;
		value = value << 4 | (uint64_t)digit;
		at++;
	}
	*ret = value;
	return at == start ? NULL : at;
}

const char *pm_scan_number(const char *at, const char *end, uint64_t *ret)
{
	if (end - at > 2 && at[0] == '0' && (at[1] == 'x' || at[1] == 'X'))
		return pm_scan_hex(at + 2, end, ret);
	return pm_scan_decimal(at, end, ret);
}

/// SECONDS.FRACTION: with 1 to 9 digits after the dot. The limit keeps the nanoseconds within 63 bits.
static const char *scan_time(const char *at, const char *end, uint64_t *ret)
{
	static const uint32_t scale[10] = { 1000000000, 100000000, 10000000, 1000000, 100000, 10000, 1000, 100, 10, 1 };
	uint64_t seconds, fraction;
	const char *dot = pm_scan_decimal(at, end, &seconds);
	const char *stop;

	if (dot == NULL || dot >= end || *dot != '.' || seconds > 9000000000u)
		return NULL;
	stop = pm_scan_decimal(dot + 1, end, &fraction);
	if (stop == NULL || stop - dot - 1 > 9 || stop >= end || *stop != ':')
		return NULL;
	*ret = seconds * 1000000000u + fraction * scale[stop - dot - 1];
	return stop + 1;
}

/// From after the `]`: up to two words of flags (latency flags, perf's misc), then the time.
static const char *scan_when(const char *at, const char *end, bool *ret_flags, uint64_t *ret_time)
{
	*ret_flags = false;
	for (int words = 0; words < 3; words++) {
		const char *start = pm_skip_blanks(at, end);
		const char *stop = scan_time(start, end, ret_time);

		if (stop != NULL)
			return stop;
		for (at = start; at < end && !pm_is_blank(*at); at++)
			;
		if (at == end || at - start > 10 || pm_is_digit(*start))
			return NULL;
		*ret_flags = true;
	}
	return NULL;
}

/// The name is the word that ends with a colon; perf may print a period (digits) before it.
static bool scan_name(const char *at, const char *end, struct pm_head *ret)
{
	for (int words = 0; words < 2; words++) {
		const char *start = pm_skip_blanks(at, end);

		for (at = start; at < end && !pm_is_blank(*at); at++)
			;
		if (at - start > 1 && at[-1] == ':') {
			ret->name = start;
			ret->colon = at - 1;
			return true;
		}
		for (const char *c = start; c < at; c++) {
			if (!pm_is_digit(*c))
				return false;
		}
	}
	return false;
}

/// The thread id ends just before the `[`. What stands before its digits tells perf's form from the kernel's.
static bool scan_tid(const char *start, const char *bracket, uint32_t known, struct pm_head *ret)
{
	const char *end = bracket, *at;
	uint64_t tid = 0;

	while (end > start && pm_is_blank(end[-1]))
		end--;
	if (end > start && end[-1] == ')') {
		while (end > start && end[-1] != '(')
			end--;
		if (end == start)
			return false;
		end--;
		while (end > start && pm_is_blank(end[-1]))
			end--;
	}
	for (at = end; at > start && pm_is_digit(at[-1]); at--)
		;
	if (pm_scan_decimal(at, end, &tid) != end || tid > UINT32_MAX)
		return false;
	ret->tid = (uint32_t)tid;
	if (at == start || pm_is_blank(at[-1]) || at[-1] == '/')
		return known <= PM_TEXT_PERF_SCRIPT;
	if (at[-1] != '-')
		return false;
	if (known != PM_TEXT_PERF_SCRIPT && at - 1 > start)
		return true;
	/* perf prints thread -1 for one that it lost sight of. */
	if (at - 1 > start && !pm_is_blank(at[-2]) && at[-2] != '/')
		return false;
	ret->tid = (uint32_t)-(int64_t)tid;
	return true;
}

/// One candidate for the cpu: its `[` is at `bracket`.
static bool try_head(struct pm_line *line, const char *bracket, struct pm_head *ret)
{
	uint64_t cpu;
	bool flags;
	const char *at = pm_scan_decimal(bracket + 1, line->end, &cpu);
	const char *first;

	if (at == NULL || at == line->end || *at != ']')
		return pm_damage(line, bracket, "no [cpu] before the time");
	if (cpu > UINT16_MAX)
		return pm_damage(line, bracket + 1, "the cpu number is too large");
	at = scan_when(at + 1, line->end, &flags, &ret->time_ns);
	if (at == NULL)
		return pm_damage(line, bracket + 1, "no time in seconds after the [cpu]");
	if (!scan_name(at, line->end, ret))
		return pm_damage(line, at, "no name of an event after the time");
	if (!scan_tid(line->start, bracket, line->format, ret))
		return pm_damage(line, line->start, "no thread id before the [cpu]");
	ret->cpu = (uint16_t)cpu;
	first = memchr(ret->name, ':', (size_t)(ret->colon - ret->name));
	ret->format = first != NULL ? PM_TEXT_PERF_SCRIPT : flags ? PM_TEXT_FTRACE : PM_TEXT_TRACE_CMD;
	return true;
}

bool pm_head_parse(struct pm_line *line, struct pm_head *ret)
{
	const char *at = line->start, *first_at = line->start;
	const char *first_reason = "no [cpu]";

	while ((at = memchr(at, '[', (size_t)(line->end - at))) != NULL) {
		if (try_head(line, at, ret))
			return true;
		/* The complaint about the first candidate stands, unless a later one got further. */
		if (line->at > first_at || first_at == line->start) {
			first_at = line->at;
			first_reason = line->reason;
		}
		at++;
	}
	return pm_damage(line, first_at, first_reason);
}
