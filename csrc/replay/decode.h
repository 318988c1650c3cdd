/// @file decode.h
/// What the decoders of binary traces share: descriptions of events, and the decoder itself.
#ifndef PM_REPLAY_DECODE_H
#define PM_REPLAY_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "pymigrate.h"
#include "replay/columns.h"

enum {
	PM_DECODE_FIELDS_MAX = 6,
	PM_DECODE_SYMBOLS_MAX = 16,
	PM_DECODE_FORMATS_MAX = 1 << 16, ///< numbers of events have 16 bits
	PM_DECODE_PAGE_MAX = 1 << 16
};

/// Where a value goes.
enum pm_field_target {
	PM_TARGET_PFN,	    ///< -1: none
	PM_TARGET_PFN_ARG,  ///< a frame number that goes to an argument
	PM_TARGET_END,	    ///< the end of a range, after its start in pfn
	PM_TARGET_ORDER,
	PM_TARGET_ORDER_ANY, ///< also -1
	PM_TARGET_ORDER_ARG,
	PM_TARGET_MT,
	PM_TARGET_MT_ARG,
	PM_TARGET_GFP,
	PM_TARGET_ARG,	    ///< not negative
	PM_TARGET_SIGNED_ARG,
	PM_TARGET_ZONE,	    ///< a number that stands for a name, by the format's own table where it has one
	PM_TARGET_RESULT,   ///< the same
	PM_TARGET_ADDRESS,
	PM_TARGET_SET_PTE,
	PM_TARGET_REMOVE_PTE
};

/// A field of an event as its kernel lays it out.
struct pm_field_op {
	uint16_t offset;
	uint8_t size; ///< 1, 2, 4 or 8
	uint8_t target;
	uint8_t arg;
	bool is_signed;
	uint8_t nr_symbols; ///< 0: values are taken as they are
	struct {
		uint32_t from;
		uint32_t to;
	} symbols[PM_DECODE_SYMBOLS_MAX];
};

/// An event as its format file describes it.
struct pm_event_format {
	uint32_t id;
	int32_t kind; ///< enum pm_event_kind; -1: not used
	uint32_t bytes; ///< at least so long is an event of it
	uint32_t nr_ops;
	uint64_t count; ///< of those not used
	struct pm_field_op ops[PM_DECODE_FIELDS_MAX];
	char name[PM_PARSE_NAME_BYTES_MAX];
};

/// What every event begins with. The kernel uses one layout for all.
struct pm_common_fields {
	uint16_t type_offset;
	uint16_t pid_offset;
};

/// A ring-buffer page by its description.
struct pm_page_header {
	uint32_t commit_offset;
	uint32_t commit_size;
	uint32_t data_offset;
};

/// How a sample of one perf event is laid out, in words of 8 bytes.
struct pm_perf_layout {
	uint64_t sample_type;
	uint64_t read_format;
};

struct pm_decoder {
	struct pm_columns columns;
	struct pm_parse_stats stats;
	struct pm_common_fields common;
	struct pm_page_header page;
	struct pm_gfp_bits gfp;
	bool has_gfp;
	bool lenient; ///< (C)
	enum pm_status failed;
	const char *problem;
	struct pm_event_format *formats;
	size_t nr_formats;
	size_t formats_room;
	uint64_t nr_unknown; ///< events of a number that no format describes
	uint64_t last_time_ns; ///< of the CPU whose pages came last
	uint32_t last_cpu;
	struct pm_perf_layout *layouts;
	size_t nr_layouts;
	bool layouts_differ;
	uint64_t *ids; ///< sorted; the layout of ids[i] is id_layouts[i]
	uint32_t *id_layouts;
	size_t nr_ids;
	uint32_t format_of_id[PM_DECODE_FORMATS_MAX]; ///< index + 1; 0: none
};

/// A cursor over text that need not end in a zero.
struct pm_text_span {
	const char *at;
	const char *end;
};

/// Reads a constant expression of C as print formats hold them: numbers, casts, | & ~ << >> + - and parentheses. False: it is
/// none, or needs a name.
bool pm_format_constant(struct pm_text_span *span, uint64_t *ret);
/// Goes to the next `{ VALUE, "NAME" }`. False: the list is over.
bool pm_format_symbol(struct pm_text_span *span, bool *ret_known, uint64_t *ret_value, struct pm_text_span *ret_name);
/// The list behind __print_symbolic(REC->FIELD or __print_flags(REC->FIELD. False: the print format has none.
bool pm_format_list(struct pm_text_span text, const char *function, const char *field, struct pm_text_span *ret);
/// Ours for the name of a zone or of a result of compaction; false: not known.
bool pm_zone_value(const char *name, size_t n, uint32_t *ret);
bool pm_result_value(const char *name, size_t n, uint32_t *ret);

/// Fills an event from a record of the tracer. False: `*ret_reason` says what is wrong.
bool pm_decode_event(const struct pm_decoder *d, const struct pm_event_format *format, const uint8_t *record, struct pm_parsed *ret,
		     const char **ret_reason);
/// Decodes one record of a tracer, at `record`, and counts it. The batch must have room.
enum pm_status pm_decode_record(struct pm_decoder *d, const uint8_t *record, size_t bytes, uint64_t time_ns, uint32_t cpu, const uint32_t *tid,
				uint64_t offset);
/// Damage at a byte since the decoder was made: the end in strict mode. Counts the record.
enum pm_status pm_decode_damage(struct pm_decoder *d, uint64_t offset, const char *reason, enum pm_status status);

/// Frame numbers in PTEs of x86-64: see parse_fields.c.
uint32_t pm_pfn_of_set_pte(uint64_t pte);
uint32_t pm_pfn_of_remove_pte(uint64_t pte);

static inline uint16_t pm_get16(const uint8_t *at)
{
	uint16_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static inline uint32_t pm_get32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static inline uint64_t pm_get64(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

#endif
