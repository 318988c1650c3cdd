/// @file parse.h
/// What the files of the parser share: cursors over one line, and the parsers of its parts.
#ifndef PM_REPLAY_PARSE_H
#define PM_REPLAY_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "pymigrate.h"
#include "replay/columns.h"

/// What a line turned out to be.
enum pm_line_kind {
	PM_LINE_EVENT,	 ///< the pm_parsed is filled
	PM_LINE_OTHER,	 ///< a well-formed event of another name: name, name_bytes
	PM_LINE_COMMENT, ///< a comment, a header, nothing
	PM_LINE_LOST,	 ///< events were lost: lost
	PM_LINE_DAMAGED	 ///< at, reason
};

/// One line and what is known of it. `start` and `end` hold the text without its newline.
struct pm_line {
	const char *start;
	const char *end;
	const char *at;	    ///< where the damage is
	const char *reason; ///< static text
	const char *name;   ///< the event's name, without the system
	size_t name_bytes;
	uint64_t lost;
	uint32_t format; ///< enum pm_text_format, in and out
};

/// The part of a line before the event's fields.
struct pm_head {
	const char *name;  ///< the event's name, with its system where the text has one
	const char *colon; ///< the colon that ends the name
	uint64_t time_ns;
	uint32_t tid;
	uint16_t cpu;
	uint32_t format; ///< what the line tells of the format
};

/// A direct-mapped memory of the flags seen last: a recording has a few dozen different texts, each up to 150 bytes.
struct pm_gfp_memo {
	struct pm_gfp_bits bits; ///< (C) what hexadecimal flags stand for
	struct {
		uint32_t bytes;
		uint32_t value;
		uint32_t unknown;
		char text[180];
	} slots[256];
};

/// What page_owner said of a block whose frame number comes in the next line.
struct pm_owner_record {
	struct pm_parsed event;
	bool pending;
};

uint32_t pm_gfp_memo_parse(struct pm_gfp_memo *memo, const char *text, size_t n, uint32_t *ret_unknown);

/// Finds thread, cpu, time and name. False: `line->at` and `line->reason` say what is missing.
bool pm_head_parse(struct pm_line *line, struct pm_head *ret);
/// Parses the fields from `at` on into `ret`, whose kind is set.
bool pm_fields_parse(struct pm_line *line, const char *at, struct pm_gfp_memo *memo, struct pm_parsed *ret);
/// Parses a whole line.
enum pm_line_kind pm_line_parse(struct pm_line *line, struct pm_gfp_memo *memo, struct pm_parsed *ret);

/// Whether a line is of page_owner, as far as the format so far and the line tell.
bool pm_is_owner_line(const struct pm_line *line);
/// Parses a line of page_owner. A block's first line is a comment; its second one gives the event.
enum pm_line_kind pm_owner_parse(struct pm_line *line, struct pm_gfp_memo *memo, struct pm_owner_record *owner, struct pm_parsed *ret);

static inline bool pm_is_digit(char c)
{
	return (unsigned char)(c - '0') < 10;
}

static inline bool pm_is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static inline const char *pm_skip_blanks(const char *at, const char *end)
{
	while (at < end && pm_is_blank(*at))
		at++;
	return at;
}

static inline bool pm_damage(struct pm_line *line, const char *at, const char *reason)
{
	line->at = at;
	line->reason = reason;
	return false;
}

/// Reads decimal digits; NULL where there is none or the number does not fit.
const char *pm_scan_decimal(const char *at, const char *end, uint64_t *ret);
/// Reads hexadecimal digits without a prefix; NULL where there is none or the number does not fit.
const char *pm_scan_hex(const char *at, const char *end, uint64_t *ret);
/// Reads decimal, or hexadecimal after 0x.
const char *pm_scan_number(const char *at, const char *end, uint64_t *ret);

#endif
