/// The parser as a stream: bytes in, at most a batch of events in columns out.
///
/// Memory is the batch, one unfinished line and the memo of flags, whatever the length of the text. Lines are parsed where they lie
/// in the caller's bytes; only a line cut by the end of a feed is copied.
#include "replay/parse.h"
#include "replay/gfp.h"

#include <stdlib.h>

/// A parser belongs to one thread at a time: no locks.
struct pm_parser {
	struct pm_columns columns;
	size_t carried; ///< bytes of an unfinished line in `carry`
	size_t dropped; ///< bytes of an unfinished line that is too long, beyond those in `carry`
	uint64_t last_time_ns;
	enum pm_status failed; ///< what the first failure was
	bool lenient;	       ///< (C)
	uint32_t format;
	struct pm_parse_stats stats;
	struct pm_parse_other others[PM_PARSE_NR_OTHERS];
	struct pm_gfp_memo memo;
	struct pm_owner_record owner;
	char carry[PM_PARSE_LINE_BYTES_MAX];
};

enum pm_status pm_parser_create(enum pm_text_format format, bool lenient, size_t batch, struct pm_parser **ret)
{
	struct pm_parser *parser;

	if (ret == NULL)
		return PM_ERR_INVAL;
	*ret = NULL;
	if (batch == 0 || batch > PM_PARSE_BATCH_MAX || (unsigned int)format > PM_TEXT_PAGE_OWNER)
		return PM_ERR_INVAL;
	parser = calloc(1, sizeof(*parser));
	if (parser == NULL)
		return PM_ERR_NOMEM;
	if (!pm_columns_init(&parser->columns, batch)) {
		pm_parser_destroy(parser);
		return PM_ERR_NOMEM;
	}
	parser->lenient = lenient;
	parser->format = format;
	pm_gfp_bits_default(&parser->memo.bits);
	*ret = parser;
	return PM_OK;
}

enum pm_status pm_parser_set_gfp_bits(struct pm_parser *parser, const struct pm_gfp_bits *bits)
{
	if (parser->stats.lines != 0)
		return PM_ERR_BUSY;
	parser->memo.bits = *bits;
	return PM_OK;
}

void pm_parser_destroy(struct pm_parser *parser)
{
	if (parser == NULL)
		return;
	pm_columns_deinit(&parser->columns);
	free(parser);
}

static void push(struct pm_parser *parser, const struct pm_parsed *event)
{
	pm_columns_push(&parser->columns, event, &parser->stats);
	/* page_owner goes by frames, not by time. */
	parser->stats.unsorted += event->time_ns < parser->last_time_ns && parser->format != PM_TEXT_PAGE_OWNER;
	parser->last_time_ns = event->time_ns;
}

static void count_lost(struct pm_parser *parser, uint64_t lost)
{
	parser->stats.lost_lines++;
	parser->stats.lost_events += lost;
	if (parser->stats.first_lost_line == 0)
		parser->stats.first_lost_line = parser->stats.lines;
}

static void count_other(struct pm_parser *parser, const char *name, size_t bytes)
{
	struct pm_parse_stats *stats = &parser->stats;
	struct pm_parse_other *other = parser->others;

	stats->other_events++;
	if (bytes >= PM_PARSE_NAME_BYTES_MAX)
		bytes = PM_PARSE_NAME_BYTES_MAX - 1;
	for (uint32_t i = 0; i < stats->nr_others; i++, other++) {
		if (memcmp(other->name, name, bytes) == 0 && other->name[bytes] == '\0') {
			other->count++;
			return;
		}
	}
	if (stats->nr_others == PM_PARSE_NR_OTHERS)
		return;
	memcpy(other->name, name, bytes);
	other->count = 1;
	stats->nr_others++;
}

/// A damaged line: the end in strict mode, counted in lenient mode.
static enum pm_status damaged(struct pm_parser *parser, size_t column, const char *reason, enum pm_status status)
{
	struct pm_parse_stats *stats = &parser->stats;

	if (stats->nr_problems < PM_PARSE_NR_PROBLEMS) {
		stats->problems[stats->nr_problems++] =
			(struct pm_parse_problem){ .line = stats->lines, .column = column, .reason = reason };
	}
	stats->skipped++;
	if (parser->lenient)
		return PM_OK;
	parser->failed = status;
	return status;
}

static enum pm_line_kind parse_line(struct pm_parser *parser, struct pm_line *line, struct pm_parsed *ret)
{
	if (pm_is_owner_line(line))
		return pm_owner_parse(line, &parser->memo, &parser->owner, ret);
	return pm_line_parse(line, &parser->memo, ret);
}

static enum pm_status take_line(struct pm_parser *parser, const char *start, const char *end)
{
	struct pm_line line = { .start = start, .end = end, .format = parser->format };
	struct pm_parsed event;
	enum pm_line_kind kind;

	if (end > start && end[-1] == '\r')
		line.end--;
	parser->stats.lines++;
	kind = parse_line(parser, &line, &event);
	if (kind != PM_LINE_DAMAGED)
		parser->format = line.format;
	switch (kind) {
	case PM_LINE_EVENT:
		push(parser, &event);
		return PM_OK;
	case PM_LINE_OTHER:
		count_other(parser, line.name, line.name_bytes);
		return PM_OK;
	case PM_LINE_COMMENT:
		parser->stats.comments++;
		return PM_OK;
	case PM_LINE_LOST:
		count_lost(parser, line.lost);
		return PM_OK;
	case PM_LINE_DAMAGED:
		break;
	}
	return damaged(parser, (size_t)(line.at - start) + 1, line.reason, PM_ERR_SYNTAX);
}

/// Keeps the start of a line whose end has not come yet. What is beyond the limit is dropped, and the line is damaged at its end.
static void carry(struct pm_parser *parser, const char *bytes, size_t n)
{
	size_t room = sizeof(parser->carry) - parser->carried;
	size_t kept = n < room ? n : room;

	memcpy(parser->carry + parser->carried, bytes, kept);
	parser->carried += kept;
	parser->dropped += n - kept;
}

/// The carried line is whole now.
static enum pm_status take_carried(struct pm_parser *parser)
{
	size_t carried = parser->carried, dropped = parser->dropped;

	parser->carried = 0;
	parser->dropped = 0;
	if (dropped == 0)
		return take_line(parser, parser->carry, parser->carry + carried);
	parser->stats.lines++;
	return damaged(parser, carried + 1, "a line of more than 65536 bytes", PM_ERR_LIMIT);
}

enum pm_status pm_parser_feed(struct pm_parser *parser, const char *bytes, size_t n, size_t *ret_used)
{
	const char *at = bytes, *end = bytes + n;
	enum pm_status status = parser->failed;

	*ret_used = 0;
	while (status == PM_OK && at < end && parser->columns.n < parser->columns.batch) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));
		const char *stop = newline == NULL ? end : newline;

		if (newline == NULL || parser->carried != 0) {
			carry(parser, at, (size_t)(stop - at));
			if (newline != NULL)
				status = take_carried(parser);
		} else if (stop - at > PM_PARSE_LINE_BYTES_MAX) {
			parser->stats.lines++;
			status = damaged(parser, PM_PARSE_LINE_BYTES_MAX + 1, "a line of more than 65536 bytes", PM_ERR_LIMIT);
		} else {
			status = take_line(parser, at, stop);
		}
		at = newline == NULL ? end : newline + 1;
	}
	*ret_used = (size_t)(at - bytes);
	parser->stats.bytes += *ret_used;
	return status;
}

/// A last line without its newline: tracers end every line with one, so it was probably cut. It is taken where all of it is there:
/// every field, and no flag that only the cut could explain.
enum pm_status pm_parser_finish(struct pm_parser *parser)
{
	struct pm_line line = { .start = parser->carry, .end = parser->carry + parser->carried, .format = parser->format };
	struct pm_parsed event = { .gfp_unknown = false };
	struct pm_owner_record owner;
	enum pm_line_kind kind;

	if (parser->failed != PM_OK)
		return parser->failed;
	if (parser->carried == 0)
		return PM_OK;
	if (parser->columns.n == parser->columns.batch)
		return PM_ERR_BUSY;
	parser->stats.no_final_newline = 1;
	/* What is looked at here is parsed again where it is taken. */
	owner = parser->owner;
	kind = parse_line(parser, &line, &event);
	parser->owner = owner;
	/* `kmem:` is how a name starts, and looks like one. */
	if (kind == PM_LINE_OTHER && line.end[-1] == ':')
		kind = PM_LINE_DAMAGED;
	if (parser->dropped == 0 && kind != PM_LINE_DAMAGED && !event.gfp_unknown)
		return take_carried(parser);
	parser->stats.lines++;
	parser->stats.truncated = 1;
	(void)damaged(parser, parser->carried + 1, "the text ends inside this line", PM_ERR_TRUNCATED);
	parser->carried = 0;
	return parser->failed;
}

void pm_parser_columns(const struct pm_parser *parser, struct pm_events *ret)
{
	pm_columns_view(&parser->columns, ret);
}

void pm_parser_drain(struct pm_parser *parser)
{
	parser->columns.n = 0;
}

void pm_parser_stats(const struct pm_parser *parser, struct pm_parse_stats *ret)
{
	*ret = parser->stats;
	ret->format = parser->format;
}

enum pm_status pm_parser_other(const struct pm_parser *parser, size_t i, struct pm_parse_other *ret)
{
	if (i >= parser->stats.nr_others)
		return PM_ERR_INVAL;
	*ret = parser->others[i];
	return PM_OK;
}
