/// One line of a trace: what it is, and its event.
#include "replay/parse.h"

static bool starts_with(const char *at, const char *end, const char *text)
{
	size_t n = strlen(text);

	return (size_t)(end - at) >= n && memcmp(at, text, n) == 0;
}

static const char *find(const char *at, const char *end, const char *text)
{
	size_t n = strlen(text);

	for (; (size_t)(end - at) >= n; at++) {
		at = memchr(at, text[0], (size_t)(end - at) - n + 1);
		if (at == NULL)
			return NULL;
		if (memcmp(at, text, n) == 0)
			return at;
	}
	return NULL;
}

/// The number next to the word LOST or DROPPED: 1 where the tracer does not know.
static uint64_t lost_count(const char *at, const char *end)
{
	uint64_t count;

	for (; at < end; at++) {
		if (pm_is_digit(*at)) {
			if (pm_scan_decimal(at, end, &count) != NULL && count > 0)
				return count;
			return 1;
		}
	}
	return 1;
}

/// ftrace and trace-cmd: `CPU:1 [LOST 12 EVENTS]`, `CPU:1 [12 EVENTS DROPPED]`; perf: `LOST 12 events!`.
static bool is_lost_line(struct pm_line *line)
{
	const char *at = pm_skip_blanks(line->start, line->end), *bracket;

	if (starts_with(at, line->end, "LOST ")) {
		line->lost = lost_count(at, line->end);
		return true;
	}
	if (!starts_with(at, line->end, "CPU"))
		return false;
	bracket = memchr(at, '[', (size_t)(line->end - at));
	if (bracket == NULL || (find(bracket, line->end, "LOST") == NULL && find(bracket, line->end, "DROPPED") == NULL))
		return false;
	line->lost = lost_count(bracket, line->end);
	return true;
}

/// Headers that are not behind a `#`: what trace-cmd says of its file.
static bool is_header(const struct pm_line *line)
{
	static const char *const headers[] = { "cpus=", "version = ", "trace.dat", "CPU " };
	const char *at = pm_skip_blanks(line->start, line->end);

	if (starts_with(at, line->end, "CPU ") && find(at, line->end, " is empty") == NULL)
		return false;
	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
		if (starts_with(at, line->end, headers[i]))
			return true;
	}
	return false;
}

static bool is_comment(struct pm_line *line)
{
	const char *at = line->start;

	if (starts_with(at, line->end, "# tracer:") && line->format == PM_TEXT_AUTO)
		line->format = PM_TEXT_FTRACE;
	if (starts_with(at, line->end, "cpus=") && line->format == PM_TEXT_AUTO)
		line->format = PM_TEXT_TRACE_CMD;
	return pm_skip_blanks(at, line->end) == line->end || *at == '#' || is_header(line);
}

enum pm_line_kind pm_line_parse(struct pm_line *line, struct pm_gfp_memo *memo, struct pm_parsed *ret)
{
	struct pm_head head;
	const char *system;
	int kind;

	/* A comment is told before anything else; an event's line cannot start with '#' unless a command's name does. */
	if (!pm_head_parse(line, &head)) {
		const char *at = line->at, *reason = line->reason;
		const char *record = find(line->start, line->end, "PERF_RECORD_LOST");

		if (record != NULL) {
			line->lost = lost_count(record, line->end);
			return PM_LINE_LOST;
		}
		if (is_lost_line(line))
			return PM_LINE_LOST;
		if (is_comment(line))
			return PM_LINE_COMMENT;
		pm_damage(line, at, reason);
		return PM_LINE_DAMAGED;
	}
	system = memchr(head.name, ':', (size_t)(head.colon - head.name));
	line->name = system == NULL ? head.name : system + 1;
	line->name_bytes = (size_t)(head.colon - line->name);
	if (line->format == PM_TEXT_AUTO)
		line->format = head.format;
	if (starts_with(line->name, head.colon, "PERF_RECORD_LOST")) {
		line->lost = lost_count(head.colon, line->end);
		return PM_LINE_LOST;
	}
	kind = pm_event_kind_of(line->name, line->name_bytes);
	if (kind < 0)
		return PM_LINE_OTHER;
	pm_parsed_clear(ret, kind);
	ret->time_ns = head.time_ns;
	ret->tid = head.tid;
	ret->cpu = head.cpu;
	return pm_fields_parse(line, head.colon + 1, memo, ret) ? PM_LINE_EVENT : PM_LINE_DAMAGED;
}
