/// Format files: how a kernel lays out its events, and what the numbers in them stand for.
#include "replay/decode.h"

#include <stdlib.h>

#include "replay/gfp.h"

struct field_spec {
	const char *name;
	const char *other_name; ///< in other versions; or NULL
	uint8_t target;
	uint8_t arg;
	bool optional;
};

#define RANGE_SPECS \
	{ { "start_pfn", NULL, PM_TARGET_PFN, 0, false }, { "end_pfn", NULL, PM_TARGET_END, 0, false }, \
	  { "nr_scanned", NULL, PM_TARGET_ARG, 1, false }, { "nr_taken", NULL, PM_TARGET_ARG, 2, false } }
#define BLOCK_SPECS { "pfn", NULL, PM_TARGET_PFN, 0, false }, { "order", NULL, PM_TARGET_ORDER, 0, false }
#define MT_SPEC { "migratetype", NULL, PM_TARGET_MT, 0, false }
#define COMPACT_SPECS \
	{ "zone_start", NULL, PM_TARGET_PFN_ARG, 1, false }, { "migrate_pfn", NULL, PM_TARGET_PFN, 0, false }, \
	{ "free_pfn", NULL, PM_TARGET_PFN_ARG, 0, false }
#define VERDICT_SPECS \
	{ { "idx", NULL, PM_TARGET_ZONE, 0, false }, { "order", NULL, PM_TARGET_ORDER_ANY, 0, false }, { "ret", NULL, PM_TARGET_RESULT, 1, false } }

/// The fields that are used, by kind. The text of an event may call them otherwise: these are the names of the format files.
static const struct field_spec specs[PM_NR_EVENT_KINDS][PM_DECODE_FIELDS_MAX] = {
	[PM_EV_ALLOC] = { BLOCK_SPECS, MT_SPEC, { "gfp_flags", NULL, PM_TARGET_GFP, 0, false } },
	[PM_EV_FREE] = { BLOCK_SPECS },
	[PM_EV_FREE_BATCHED] = { { "pfn", NULL, PM_TARGET_PFN, 0, false } },
	[PM_EV_ZONE_LOCKED] = { BLOCK_SPECS, MT_SPEC, { "percpu_refill", NULL, PM_TARGET_ARG, 0, true } },
	[PM_EV_PCPU_DRAIN] = { BLOCK_SPECS, MT_SPEC },
	[PM_EV_EXTFRAG] = { { "pfn", NULL, PM_TARGET_PFN, 0, false }, { "alloc_order", NULL, PM_TARGET_ORDER, 0, false },
			    { "fallback_order", NULL, PM_TARGET_ORDER_ARG, 0, false }, { "alloc_migratetype", NULL, PM_TARGET_MT, 0, false },
			    { "fallback_migratetype", NULL, PM_TARGET_MT_ARG, 1, false }, { "change_ownership", NULL, PM_TARGET_ARG, 2, false } },
	[PM_EV_ISOLATE_FREE] = RANGE_SPECS,
	[PM_EV_FAST_ISOLATE_FREE] = RANGE_SPECS,
	[PM_EV_ISOLATE_MIGRATE] = RANGE_SPECS,
	[PM_EV_SET_MIGRATION_PTE] = { { "addr", NULL, PM_TARGET_ADDRESS, 0, false }, { "pte", NULL, PM_TARGET_SET_PTE, 0, false },
				      { "order", NULL, PM_TARGET_ORDER, 0, false } },
	[PM_EV_REMOVE_MIGRATION_PTE] = { { "addr", NULL, PM_TARGET_ADDRESS, 0, false }, { "pte", NULL, PM_TARGET_REMOVE_PTE, 0, false },
					 { "order", NULL, PM_TARGET_ORDER, 0, false } },
	[PM_EV_MIGRATE_PAGES] = { { "succeeded", NULL, PM_TARGET_ARG, 0, false }, { "failed", NULL, PM_TARGET_ARG, 1, false },
				  { "large_folio_split", NULL, PM_TARGET_ARG, 2, true } },
	[PM_EV_COMPACT_BEGIN] = { COMPACT_SPECS, { "sync", NULL, PM_TARGET_ARG, 2, false } },
	[PM_EV_COMPACT_END] = { COMPACT_SPECS, { "status", NULL, PM_TARGET_RESULT, 2, false } },
	[PM_EV_COMPACT_FINISHED] = VERDICT_SPECS,
	[PM_EV_COMPACT_SUITABLE] = VERDICT_SPECS,
	[PM_EV_TRY_TO_COMPACT] = { { "order", NULL, PM_TARGET_ORDER_ANY, 0, false }, { "gfp_mask", NULL, PM_TARGET_GFP, 0, false },
				   { "prio", NULL, PM_TARGET_SIGNED_ARG, 0, true } },
	[PM_EV_KCOMPACTD_WAKE] = { { "order", NULL, PM_TARGET_ORDER_ANY, 0, false }, { "highest_zoneidx", "classzone_idx", PM_TARGET_ZONE, 0, true } },
	[PM_EV_KSWAPD_WAKE] = { { "order", NULL, PM_TARGET_ORDER_ANY, 0, false } },
	[PM_EV_WAKEUP_KSWAPD] = { { "order", NULL, PM_TARGET_ORDER_ANY, 0, false }, { "gfp_flags", NULL, PM_TARGET_GFP, 0, true } },
	[PM_EV_DIRECT_RECLAIM_BEGIN] = { { "order", NULL, PM_TARGET_ORDER_ANY, 0, false }, { "gfp_flags", NULL, PM_TARGET_GFP, 0, false } },
	[PM_EV_COMPACT_MIGRATEPAGES] = { { "nr_migrated", NULL, PM_TARGET_ARG, 0, false }, { "nr_failed", NULL, PM_TARGET_ARG, 1, false } },
};

/// A `field:` line.
struct field_line {
	struct pm_text_span name;
	uint32_t offset;
	uint32_t size;
	bool is_signed;
};

static bool next_line(struct pm_text_span *text, struct pm_text_span *ret)
{
	const char *newline;

	if (text->at == text->end)
		return false;
	newline = memchr(text->at, '\n', (size_t)(text->end - text->at));
	*ret = (struct pm_text_span){ text->at, newline == NULL ? text->end : newline };
	text->at = newline == NULL ? text->end : newline + 1;
	while (ret->at < ret->end && (*ret->at == ' ' || *ret->at == '\t'))
		ret->at++;
	return true;
}

/// Goes behind `key` where the line starts with it or holds it.
static bool after(struct pm_text_span line, const char *key, struct pm_text_span *ret)
{
	const char *at = memmem(line.at, (size_t)(line.end - line.at), key, strlen(key));

	if (at == NULL)
		return false;
	*ret = (struct pm_text_span){ at + strlen(key), line.end };
	while (ret->at < ret->end && *ret->at == ' ')
		ret->at++;
	return true;
}

static bool decimal(struct pm_text_span line, const char *key, uint32_t max, uint32_t *ret)
{
	struct pm_text_span span;
	uint64_t value = 0;
	const char *start;

	if (!after(line, key, &span))
		return false;
	for (start = span.at; span.at < span.end && *span.at >= '0' && *span.at <= '9'; span.at++) {
		value = value * 10 + (uint64_t)(*span.at - '0');
		if (value > max)
			return false;
	}
	*ret = (uint32_t)value;
	return span.at > start;
}

static bool is_name(char c)
{
	return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/// `field:unsigned long pfn; offset:8; size:8; signed:0;`: the name is the last word before the first semicolon.
static bool read_field(struct pm_text_span line, struct field_line *ret)
{
	struct pm_text_span declaration;
	uint32_t is_signed = 0;
	const char *end;

	if (!(after(line, "field:", &declaration) || after(line, "field special:", &declaration)))
		return false;
	end = memchr(declaration.at, ';', (size_t)(declaration.end - declaration.at));
	if (end == NULL || !decimal(line, "offset:", UINT16_MAX, &ret->offset) || !decimal(line, "size:", UINT16_MAX, &ret->size))
		return false;
	if (decimal(line, "signed:", 1, &is_signed))
		ret->is_signed = is_signed != 0;
	else
		ret->is_signed = false;
	ret->name.end = end;
	for (ret->name.at = end; ret->name.at > declaration.at && is_name(ret->name.at[-1]);)
		ret->name.at--;
	return true;
}

static bool span_is(struct pm_text_span span, const char *text)
{
	return text != NULL && (size_t)(span.end - span.at) == strlen(text) && memcmp(span.at, text, strlen(text)) == 0;
}

static bool find_field(struct pm_text_span text, const char *name, struct field_line *ret)
{
	struct pm_text_span line;

	while (next_line(&text, &line)) {
		if (read_field(line, ret) && span_is(ret->name, name))
			return true;
	}
	return false;
}

static bool refuse(struct pm_decoder *d, const char *problem)
{
	d->problem = problem;
	return false;
}

static bool usable(const struct field_line *field)
{
	uint32_t size = field->size;

	return (size == 1 || size == 2 || size == 4 || size == 8) && field->offset + size <= UINT16_MAX;
}

/// The names behind a field's numbers, as this kernel prints them.
static void read_symbols(struct pm_text_span print, const char *field, struct pm_field_op *op)
{
	bool (*value_of)(const char *, size_t, uint32_t *) = op->target == PM_TARGET_ZONE ? pm_zone_value : pm_result_value;
	struct pm_text_span list, name;
	uint64_t value;
	uint32_t ours;
	bool known;

	if (!pm_format_list(print, "__print_symbolic", field, &list))
		return;
	while (op->nr_symbols < PM_DECODE_SYMBOLS_MAX && pm_format_symbol(&list, &known, &value, &name)) {
		if (!known || value > UINT32_MAX || !value_of(name.at, (size_t)(name.end - name.at), &ours))
			continue;
		op->symbols[op->nr_symbols].from = (uint32_t)value;
		op->symbols[op->nr_symbols++].to = ours;
	}
}

/// The masks of single flags. Masks of several are sums of these, so that bits suffice. The first format that tells counts for all.
static void read_gfp_bits(struct pm_decoder *d, struct pm_text_span print, const char *field)
{
	struct pm_gfp_bits bits = { .known = 0 };
	struct pm_text_span list, name;
	uint64_t value;
	uint32_t ours;
	bool known;

	if (d->has_gfp || !pm_format_list(print, "__print_flags", field, &list))
		return;
	while (pm_format_symbol(&list, &known, &value, &name)) {
		if (!known || value == 0 || (value & (value - 1)) != 0 || !pm_gfp_name(name.at, (size_t)(name.end - name.at), &ours))
			continue;
		bits.known |= value;
		bits.flags[__builtin_ctzll(value)] |= ours;
	}
	if (bits.known == 0)
		return;
	d->gfp = bits;
	d->has_gfp = true;
}

static bool read_ops(struct pm_decoder *d, struct pm_text_span text, struct pm_text_span print, struct pm_event_format *format)
{
	const struct field_spec *spec = specs[format->kind];

	for (int i = 0; i < PM_DECODE_FIELDS_MAX && spec[i].name != NULL; i++) {
		struct pm_field_op *op = &format->ops[format->nr_ops];
		const char *name = spec[i].name;
		struct field_line field;

		if (!find_field(text, name, &field)) {
			name = spec[i].other_name;
			if (name == NULL || !find_field(text, name, &field)) {
				if (spec[i].optional)
					continue;
				return refuse(d, "the format of an event that is needed lacks a field");
			}
		}
		if (!usable(&field))
			return refuse(d, "the format of an event has a field of an odd size");
		*op = (struct pm_field_op){ .offset = (uint16_t)field.offset, .size = (uint8_t)field.size, .target = spec[i].target,
					    .arg = spec[i].arg, .is_signed = field.is_signed };
		if (op->target == PM_TARGET_ZONE || op->target == PM_TARGET_RESULT)
			read_symbols(print, name, op);
		if (op->target == PM_TARGET_GFP)
			read_gfp_bits(d, print, name);
		format->nr_ops++;
		if (field.offset + field.size > format->bytes)
			format->bytes = field.offset + field.size;
	}
	return true;
}

static bool read_common(struct pm_decoder *d, struct pm_text_span text, struct pm_event_format *format)
{
	struct field_line type, pid;

	if (!find_field(text, "common_type", &type) || !find_field(text, "common_pid", &pid) || type.size != 2 || pid.size != 4)
		return refuse(d, "the format of an event has no common_type of 2 bytes and common_pid of 4");
	d->common = (struct pm_common_fields){ .type_offset = (uint16_t)type.offset, .pid_offset = (uint16_t)pid.offset };
	format->bytes = type.offset + 2 > pid.offset + 4 ? type.offset + 2 : pid.offset + 4;
	return true;
}

static bool read_format(struct pm_decoder *d, struct pm_text_span text, struct pm_event_format *ret)
{
	struct pm_text_span rest = text, line, name = { NULL, NULL }, value, print = { text.end, text.end };
	bool has_id = false;

	*ret = (struct pm_event_format){ .kind = -1 };
	/* The name and the number come first; most events of a kernel are not used, and nothing more of them is read. */
	while ((name.at == NULL || !has_id) && next_line(&rest, &line)) {
		if (name.at == NULL && after(line, "name:", &value) && value.at <= line.at + 6)
			name = value;
		else if (!has_id && after(line, "ID:", &value) && value.at <= line.at + 4)
			has_id = decimal(line, "ID:", PM_DECODE_FORMATS_MAX - 1, &ret->id);
	}
	while (name.end > name.at && (name.end[-1] == '\r' || name.end[-1] == ' '))
		name.end--;
	if (name.at == NULL || name.at == name.end || name.end - name.at >= PM_PARSE_NAME_BYTES_MAX)
		return refuse(d, "a format without a name, or with one of more than 47 bytes");
	if (!has_id)
		return refuse(d, "a format without an ID below 65536");
	memcpy(ret->name, name.at, (size_t)(name.end - name.at));
	ret->kind = pm_event_kind_of(name.at, (size_t)(name.end - name.at));
	while (ret->kind >= 0 && next_line(&rest, &line)) {
		if (after(line, "print fmt:", &value))
			print = value;
	}
	return ret->kind < 0 || (read_common(d, text, ret) && read_ops(d, text, print, ret));
}

enum pm_status pm_decoder_add_format(struct pm_decoder *d, const char *text, size_t n)
{
	struct pm_event_format format;

	if (n == 0 || !read_format(d, (struct pm_text_span){ text, text + n }, &format)) {
		if (n == 0)
			d->problem = "an empty format";
		return PM_ERR_SYNTAX;
	}
	if (d->format_of_id[format.id] != 0)
		return PM_OK;
	if (d->nr_formats == d->formats_room) {
		size_t room = d->formats_room == 0 ? 64 : d->formats_room * 2;
		struct pm_event_format *grown = realloc(d->formats, room * sizeof(*grown));

		if (grown == NULL)
			return PM_ERR_NOMEM;
		d->formats = grown;
		d->formats_room = room;
	}
	d->formats[d->nr_formats++] = format;
	d->format_of_id[format.id] = (uint32_t)d->nr_formats;
	return PM_OK;
}

enum pm_status pm_decoder_set_header_page(struct pm_decoder *d, const char *text, size_t n)
{
	struct pm_text_span span = { text, text + n };
	struct field_line stamp, commit, data;

	if (!find_field(span, "timestamp", &stamp) || !find_field(span, "commit", &commit) || !find_field(span, "data", &data) ||
	    stamp.offset != 0 || stamp.size != 8 || (commit.size != 8 && commit.size != 4) || commit.offset < 8 ||
	    data.offset < commit.offset + commit.size || data.offset > 64) {
		d->problem = "header_page describes no page that is known: a timestamp of 8 bytes, commit, data";
		return PM_ERR_SYNTAX;
	}
	d->page = (struct pm_page_header){ .commit_offset = commit.offset, .commit_size = commit.size, .data_offset = data.offset };
	return PM_OK;
}

const char *pm_decoder_problem(const struct pm_decoder *d)
{
	return d->problem;
}

enum pm_status pm_decoder_gfp_bits(const struct pm_decoder *d, struct pm_gfp_bits *ret)
{
	if (!d->has_gfp)
		return PM_ERR_INVAL;
	*ret = d->gfp;
	return PM_OK;
}
