/// The decoder of binary traces: its life, and one record of a tracer to one event.
#include "replay/decode.h"

#include <stdlib.h>

#include "replay/gfp.h"

enum pm_status pm_decoder_create(bool lenient, size_t batch, struct pm_decoder **ret)
{
	struct pm_decoder *d;

	if (ret == NULL)
		return PM_ERR_INVAL;
	*ret = NULL;
	if (batch < PM_DECODE_BATCH_MIN || batch > PM_PARSE_BATCH_MAX)
		return PM_ERR_INVAL;
	d = calloc(1, sizeof(*d));
	if (d == NULL)
		return PM_ERR_NOMEM;
	if (!pm_columns_init(&d->columns, batch)) {
		pm_decoder_destroy(d);
		return PM_ERR_NOMEM;
	}
	d->lenient = lenient;
	d->common = (struct pm_common_fields){ .type_offset = 0, .pid_offset = 4 };
	d->page = (struct pm_page_header){ .commit_offset = 8, .commit_size = 8, .data_offset = 16 };
	d->problem = "nothing was refused";
	pm_gfp_bits_default(&d->gfp);
	*ret = d;
	return PM_OK;
}

void pm_decoder_destroy(struct pm_decoder *d)
{
	if (d == NULL)
		return;
	pm_columns_deinit(&d->columns);
	free(d->formats);
	free(d->layouts);
	free(d->ids);
	free(d->id_layouts);
	free(d);
}

enum pm_status pm_decode_damage(struct pm_decoder *d, uint64_t offset, const char *reason, enum pm_status status)
{
	struct pm_parse_stats *stats = &d->stats;

	stats->lines++;
	if (stats->nr_problems < PM_PARSE_NR_PROBLEMS) {
		stats->problems[stats->nr_problems++] =
			(struct pm_parse_problem){ .line = stats->lines, .column = offset + 1, .reason = reason };
	}
	stats->skipped++;
	if (d->lenient)
		return PM_OK;
	d->failed = status;
	return status;
}

static uint64_t read_value(const uint8_t *at, const struct pm_field_op *op)
{
	switch (op->size) {
	case 1:
		return op->is_signed ? (uint64_t)(int64_t)(int8_t)at[0] : at[0];
	case 2:
		return op->is_signed ? (uint64_t)(int64_t)(int16_t)pm_get16(at) : pm_get16(at);
	case 4:
		return op->is_signed ? (uint64_t)(int64_t)(int32_t)pm_get32(at) : pm_get32(at);
	default:
		return pm_get64(at);
	}
}

static bool bad(const char **ret_reason, const char *reason)
{
	*ret_reason = reason;
	return false;
}

/// A word of a kernel of 32 bits that stands for no frame becomes that of 64.
static uint64_t widen(uint64_t value, const struct pm_field_op *op)
{
	return op->size == 4 && value == UINT32_MAX ? UINT64_MAX : value;
}

/// -1 says that a kernel has no frame; frame 0 holds firmware data on every machine and is never handed out.
static bool take_pfn(uint64_t pfn, struct pm_parsed *ret, const char **ret_reason)
{
	if (pfn == UINT64_MAX)
		pfn = 0;
	if (ret->kind >= PM_EV_ISOLATE_FREE && ret->kind <= PM_EV_ISOLATE_MIGRATE) {
		/* The start of a range: its end comes next, and tells whether this is one. */
		ret->pfn = pfn > PM_NO_PFN32 ? PM_NO_PFN32 : (uint32_t)pfn;
		return true;
	}
	if (pfn >= PM_NO_PFN32)
		return bad(ret_reason, "a frame number of 2^32-1 or more");
	if (pfn == 0 && ret->kind == PM_EV_ALLOC)
		pfn = PM_NO_PFN32;
	else if (pfn == 0 && ret->kind != PM_EV_COMPACT_BEGIN && ret->kind != PM_EV_COMPACT_END)
		return bad(ret_reason, "frame 0 in an event that cannot fail");
	ret->pfn = (uint32_t)pfn;
	return true;
}

/// Linux 6.18 gives a start with its highest bit set where a fast search found nothing: an empty range.
static bool take_end(uint64_t last, struct pm_parsed *ret, const char **ret_reason)
{
	if (last >= PM_NO_PFN32)
		return bad(ret_reason, "a frame number of 2^32-1 or more");
	ret->odd_range = ret->pfn > last;
	if (ret->odd_range)
		ret->pfn = (uint32_t)last;
	ret->arg[0] = (uint32_t)last;
	return true;
}

static bool take_order(uint64_t value, const struct pm_field_op *op, struct pm_parsed *ret, const char **ret_reason)
{
	int64_t order = (int64_t)value;

	if (op->size == 4 && !op->is_signed)
		order = (int32_t)(uint32_t)value;
	if (order > PM_MAX_ORDER || order < (op->target == PM_TARGET_ORDER_ANY ? -1 : 0))
		return bad(ret_reason, "the order is out of its range");
	if (op->target == PM_TARGET_ORDER_ARG)
		ret->arg[op->arg] = (uint32_t)order;
	else
		ret->order = (int8_t)order;
	return true;
}

static bool take_number(uint64_t value, const struct pm_field_op *op, struct pm_parsed *ret, const char **ret_reason)
{
	int64_t number = (int64_t)value;

	if (op->target == PM_TARGET_SIGNED_ARG) {
		if (number > INT32_MAX || number < -INT32_MAX)
			return bad(ret_reason, "the number is out of its range");
	} else if (value >= PM_PARSE_ABSENT) {
		return bad(ret_reason, op->is_signed && number < 0 ? "a negative number" : "the number is out of its range");
	}
	ret->arg[op->arg] = (uint32_t)value;
	return true;
}

static bool take_symbol(uint64_t value, const struct pm_field_op *op, struct pm_parsed *ret, const char **ret_reason)
{
	for (uint32_t i = 0; i < op->nr_symbols; i++) {
		if (op->symbols[i].from == value) {
			ret->arg[op->arg] = op->symbols[i].to;
			return true;
		}
	}
	return take_number(value, op, ret, ret_reason);
}

static bool take_type(uint64_t value, const struct pm_field_op *op, struct pm_parsed *ret, const char **ret_reason)
{
	if (value > 7)
		return bad(ret_reason, "the migrate type is out of its range");
	if (op->target == PM_TARGET_MT_ARG)
		ret->arg[op->arg] = (uint32_t)value;
	else
		ret->migratetype = (int8_t)value;
	return true;
}

static bool take_pte(uint64_t value, const struct pm_field_op *op, struct pm_parsed *ret)
{
	/* Page tables of 32 bits are laid out otherwise, and in more ways than one. */
	if (op->size < 8)
		ret->pfn = PM_NO_PFN32;
	else
		ret->pfn = op->target == PM_TARGET_SET_PTE ? pm_pfn_of_set_pte(value) : pm_pfn_of_remove_pte(value);
	ret->pte_undecoded = ret->pfn == PM_NO_PFN32;
	return true;
}

static bool take_value(const struct pm_decoder *d, const struct pm_field_op *op, uint64_t value, struct pm_parsed *ret, const char **ret_reason)
{
	uint32_t unknown = 0;

	switch (op->target) {
	case PM_TARGET_PFN:
		return take_pfn(widen(value, op), ret, ret_reason);
	case PM_TARGET_END:
		return take_end(value, ret, ret_reason);
	case PM_TARGET_PFN_ARG:
		return take_number(widen(value, op) == UINT64_MAX ? 0 : value, op, ret, ret_reason);
	case PM_TARGET_ORDER:
	case PM_TARGET_ORDER_ANY:
	case PM_TARGET_ORDER_ARG:
		return take_order(value, op, ret, ret_reason);
	case PM_TARGET_MT:
	case PM_TARGET_MT_ARG:
		return take_type(value, op, ret, ret_reason);
	case PM_TARGET_GFP:
		ret->gfp = pm_gfp_translate(&d->gfp, value, &unknown);
		ret->gfp_unknown = unknown != 0;
		return true;
	case PM_TARGET_ZONE:
	case PM_TARGET_RESULT:
		return take_symbol(value, op, ret, ret_reason);
	case PM_TARGET_ADDRESS:
		ret->arg[0] = (uint32_t)(value >> 12);
		ret->arg[1] = (uint32_t)(value >> 44);
		return true;
	case PM_TARGET_SET_PTE:
	case PM_TARGET_REMOVE_PTE:
		return take_pte(value, op, ret);
	default:
		return take_number(value, op, ret, ret_reason);
	}
}

bool pm_decode_event(const struct pm_decoder *d, const struct pm_event_format *format, const uint8_t *record, struct pm_parsed *ret,
		     const char **ret_reason)
{
	pm_parsed_clear(ret, format->kind);
	for (uint32_t i = 0; i < format->nr_ops; i++) {
		const struct pm_field_op *op = &format->ops[i];

		if (!take_value(d, op, read_value(record + op->offset, op), ret, ret_reason))
			return false;
	}
	return true;
}

enum pm_status pm_decode_record(struct pm_decoder *d, const uint8_t *record, size_t bytes, uint64_t time_ns, uint32_t cpu, const uint32_t *tid,
				uint64_t offset)
{
	struct pm_event_format *format;
	struct pm_parsed event;
	const char *reason;
	uint32_t index;

	if (bytes < d->common.type_offset + 2u)
		return pm_decode_damage(d, offset, "an event without a type", PM_ERR_SYNTAX);
	index = d->format_of_id[pm_get16(record + d->common.type_offset)];
	if (index == 0) {
		d->stats.lines++;
		d->stats.other_events++;
		d->nr_unknown++;
		return PM_OK;
	}
	format = &d->formats[index - 1];
	if (format->kind < 0) {
		d->stats.lines++;
		d->stats.other_events++;
		format->count++;
		return PM_OK;
	}
	if (bytes < format->bytes)
		return pm_decode_damage(d, offset, "an event that is shorter than its format says", PM_ERR_SYNTAX);
	if (time_ns >> 63 != 0)
		return pm_decode_damage(d, offset, "a time of 2^63 ns or more", PM_ERR_SYNTAX);
	if (!pm_decode_event(d, format, record, &event, &reason))
		return pm_decode_damage(d, offset, reason, PM_ERR_SYNTAX);
	event.time_ns = time_ns;
	event.cpu = (uint16_t)cpu;
	event.tid = tid != NULL ? *tid : pm_get32(record + d->common.pid_offset);
	pm_columns_push(&d->columns, &event, &d->stats);
	d->stats.lines++;
	return PM_OK;
}

void pm_decoder_columns(const struct pm_decoder *d, struct pm_events *ret)
{
	pm_columns_view(&d->columns, ret);
}

void pm_decoder_drain(struct pm_decoder *d)
{
	d->columns.n = 0;
}

static uint32_t count_others(const struct pm_decoder *d)
{
	uint32_t n = d->nr_unknown != 0;

	for (size_t i = 0; i < d->nr_formats && n < PM_PARSE_NR_OTHERS; i++)
		n += d->formats[i].count != 0;
	return n;
}

void pm_decoder_stats(const struct pm_decoder *d, struct pm_parse_stats *ret)
{
	*ret = d->stats;
	ret->nr_others = count_others(d);
}

enum pm_status pm_decoder_other(const struct pm_decoder *d, size_t i, struct pm_parse_other *ret)
{
	if (i >= count_others(d))
		return PM_ERR_INVAL;
	if (d->nr_unknown != 0 && i-- == 0) {
		*ret = (struct pm_parse_other){ .name = "(without a format)", .count = d->nr_unknown };
		return PM_OK;
	}
	for (size_t f = 0; f < d->nr_formats; f++) {
		if (d->formats[f].count == 0)
			continue;
		if (i-- == 0) {
			*ret = (struct pm_parse_other){ .count = d->formats[f].count };
			memcpy(ret->name, d->formats[f].name, sizeof(ret->name));
			return PM_OK;
		}
	}
	return PM_ERR_INVAL;
}
