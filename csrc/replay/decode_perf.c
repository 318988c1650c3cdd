/// The records of a perf.data file's data section.
///
/// A record is a head of 8 bytes (type, misc, size) and a body. Samples are laid out by the sample_type of their event, in the order of
/// perf_event_open(2); the tracer's own record is in PERF_SAMPLE_RAW.
#include "replay/decode.h"

#include <stdlib.h>

enum {
	RECORD_LOST = 2,
	RECORD_SAMPLE = 9,
	RECORD_LOST_SAMPLES = 13,
	RECORD_HEADER_TRACING_DATA = 66,
	RECORD_AUXTRACE = 71,
	RECORD_COMPRESSED = 81,
	RECORD_COMPRESSED2 = 83
};

enum {
	SAMPLE_IP = 1 << 0,
	SAMPLE_TID = 1 << 1,
	SAMPLE_TIME = 1 << 2,
	SAMPLE_ADDR = 1 << 3,
	SAMPLE_READ = 1 << 4,
	SAMPLE_CALLCHAIN = 1 << 5,
	SAMPLE_ID = 1 << 6,
	SAMPLE_CPU = 1 << 7,
	SAMPLE_PERIOD = 1 << 8,
	SAMPLE_STREAM_ID = 1 << 9,
	SAMPLE_RAW = 1 << 10,
	SAMPLE_IDENTIFIER = 1 << 16
};

enum { READ_ENABLED = 1, READ_RUNNING = 2, READ_ID = 4, READ_GROUP = 8, READ_LOST = 16 };

/// What a sample of a tracepoint holds.
struct sample {
	uint64_t time_ns;
	uint32_t cpu;
	uint32_t tid;
	const uint8_t *raw;
	uint32_t raw_bytes;
};

/// A cursor over the words of a sample; `ok` turns false beyond its end.
struct words {
	const uint8_t *at;
	const uint8_t *end;
	bool ok;
};

static uint64_t next_word(struct words *w)
{
	uint64_t value;

	if (!w->ok || (size_t)(w->end - w->at) < 8) {
		w->ok = false;
		return 0;
	}
	value = pm_get64(w->at);
	w->at += 8;
	return value;
}

static void skip_words(struct words *w, uint64_t n)
{
	if (!w->ok || n > (size_t)(w->end - w->at) / 8) {
		w->ok = false;
		return;
	}
	w->at += n * 8;
}

/// How many of the fields in `mask` a layout has, of a word each.
static uint64_t count_fields(uint64_t layout, uint64_t mask)
{
	return (uint64_t)__builtin_popcountll(layout & mask);
}

static void skip_read(struct words *w, uint64_t format)
{
	uint64_t times = count_fields(format, READ_ENABLED | READ_RUNNING);
	uint64_t each = 1 + count_fields(format, READ_ID | READ_LOST);
	uint64_t n;

	if (!(format & READ_GROUP)) {
		skip_words(w, times + each);
		return;
	}
	n = next_word(w);
	if (n > UINT16_MAX)
		w->ok = false;
	skip_words(w, times + each * n);
}

static bool read_sample(const struct pm_perf_layout *layout, struct words *w, struct sample *ret)
{
	uint64_t type = layout->sample_type, word, n;
	size_t left;

	skip_words(w, count_fields(type, SAMPLE_IDENTIFIER | SAMPLE_IP));
	ret->tid = (type & SAMPLE_TID) ? (uint32_t)(next_word(w) >> 32) : 0;
	ret->time_ns = next_word(w);
	skip_words(w, count_fields(type, SAMPLE_ADDR | SAMPLE_ID | SAMPLE_STREAM_ID));
	word = next_word(w);
	ret->cpu = (uint32_t)word;
	skip_words(w, count_fields(type, SAMPLE_PERIOD));
	if (type & SAMPLE_READ)
		skip_read(w, layout->read_format);
	if (type & SAMPLE_CALLCHAIN) {
		n = next_word(w);
		skip_words(w, n);
	}
	left = w->ok ? (size_t)(w->end - w->at) : 0;
	if (left < 4)
		return false;
	ret->raw_bytes = pm_get32(w->at);
	ret->raw = w->at + 4;
	return ret->raw_bytes <= left - 4;
}

/// The layout of a sample: by the id that it begins with, where layouts differ. NULL: the id is unknown.
static const struct pm_perf_layout *layout_of(const struct pm_decoder *d, const uint8_t *body, size_t bytes)
{
	size_t low = 0, high = d->nr_ids;
	uint64_t id;

	if (!d->layouts_differ)
		return d->nr_layouts == 0 ? NULL : &d->layouts[0];
	if (bytes < 8)
		return NULL;
	id = pm_get64(body);
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (d->ids[middle] < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < d->nr_ids && d->ids[low] == id ? &d->layouts[d->id_layouts[low]] : NULL;
}

static enum pm_status take_sample(struct pm_decoder *d, const uint8_t *body, size_t bytes, uint64_t offset)
{
	const uint64_t needed = SAMPLE_TIME | SAMPLE_CPU | SAMPLE_RAW;
	const struct pm_perf_layout *layout = layout_of(d, body, bytes);
	struct words w = { body, body + bytes, true };
	struct sample sample;

	if (layout == NULL || (layout->sample_type & needed) != needed) {
		d->stats.lines++;
		d->stats.other_events++;
		d->nr_unknown++;
		return PM_OK;
	}
	if (!read_sample(layout, &w, &sample) || sample.cpu > UINT16_MAX)
		return pm_decode_damage(d, offset, "a sample that is shorter than its layout", PM_ERR_SYNTAX);
	return pm_decode_record(d, sample.raw, sample.raw_bytes, sample.time_ns, sample.cpu,
				(layout->sample_type & SAMPLE_TID) ? &sample.tid : NULL, offset);
}

static void take_lost(struct pm_decoder *d, uint64_t lost)
{
	d->stats.lines++;
	d->stats.lost_lines++;
	d->stats.lost_events += lost;
	if (d->stats.first_lost_line == 0)
		d->stats.first_lost_line = d->stats.lines;
}

static void take_bookkeeping(struct pm_decoder *d)
{
	d->stats.lines++;
	d->stats.comments++;
}

/// Where the data of a compressed record lie; false: nowhere.
static bool compressed_span(uint32_t type, const uint8_t *record, size_t size, struct pm_perf_span *ret)
{
	size_t head = type == RECORD_COMPRESSED ? 8 : 16;
	uint64_t bytes;

	if (size < head)
		return false;
	bytes = type == RECORD_COMPRESSED ? size - head : pm_get64(record + 8);
	if (bytes > size - head)
		return false;
	*ret = (struct pm_perf_span){ .stop = PM_PERF_COMPRESSED, .pos = head, .size = bytes };
	return true;
}

/// One record that is whole. `ret->stop` is set where it is compressed.
static enum pm_status take_record(struct pm_decoder *d, const uint8_t *record, size_t size, uint64_t offset, struct pm_perf_span *ret)
{
	uint32_t type = pm_get32(record);

	switch (type) {
	case RECORD_SAMPLE:
		return take_sample(d, record + 8, size - 8, offset);
	case RECORD_LOST:
		if (size < 24)
			break;
		take_lost(d, pm_get64(record + 16));
		return PM_OK;
	case RECORD_LOST_SAMPLES:
		if (size < 16)
			break;
		take_lost(d, pm_get64(record + 8));
		return PM_OK;
	case RECORD_COMPRESSED:
	case RECORD_COMPRESSED2:
		if (compressed_span(type, record, size, ret)) {
			take_bookkeeping(d);
			return PM_OK;
		}
		return pm_decode_damage(d, offset, "a compressed record that is too short", PM_ERR_SYNTAX);
	default:
		take_bookkeeping(d);
		return PM_OK;
	}
	return pm_decode_damage(d, offset, "a record that is too short", PM_ERR_SYNTAX);
}

/// Data that follow a record and are not in its size.
static uint64_t trailing_bytes(const uint8_t *record, size_t size)
{
	uint32_t type = pm_get32(record);

	if (type == RECORD_HEADER_TRACING_DATA && size >= 12)
		return ((uint64_t)pm_get32(record + 8) + 7) & ~(uint64_t)7;
	return type == RECORD_AUXTRACE && size >= 16 ? pm_get64(record + 8) : 0;
}

enum pm_status pm_decoder_perf(struct pm_decoder *d, const void *bytes, size_t n, size_t *ret_used, struct pm_perf_span *ret)
{
	const uint8_t *start = bytes, *at = bytes, *end = at + n;
	uint64_t before = d->stats.bytes;
	enum pm_status status = d->failed;

	*ret_used = 0;
	*ret = (struct pm_perf_span){ .stop = PM_PERF_END };
	while (status == PM_OK && end - at >= 8) {
		size_t left = (size_t)(end - at), size = pm_get16(at + 6);
		uint64_t trailing;

		if (d->columns.n == d->columns.batch) {
			ret->stop = PM_PERF_FULL;
			break;
		}
		if (size < 8) {
			/* Nothing says where the next record begins. */
			(void)pm_decode_damage(d, before + (uint64_t)(at - start), "a record of less than 8 bytes", PM_ERR_SYNTAX);
			d->failed = status = PM_ERR_SYNTAX;
			break;
		}
		if (size > left)
			break;
		trailing = trailing_bytes(at, size);
		if (trailing > left - size)
			break;
		status = take_record(d, at, size, before + (uint64_t)(at - start), ret);
		if (ret->stop == PM_PERF_COMPRESSED)
			ret->pos += (uint64_t)(at - start);
		at += size + trailing;
		if (ret->stop == PM_PERF_COMPRESSED)
			break;
	}
	*ret_used = (size_t)(at - start);
	d->stats.bytes += *ret_used;
	return status;
}

struct id_pair {
	uint64_t id;
	uint32_t layout;
};

static int compare_ids(const void *a, const void *b)
{
	const struct id_pair *left = a, *right = b;

	return (left->id > right->id) - (left->id < right->id);
}

static enum pm_status set_ids(struct pm_decoder *d, size_t n, const uint64_t *ids, const uint32_t *attr_of_id)
{
	struct id_pair *pairs = calloc(n + 1, sizeof(*pairs));

	d->ids = calloc(n + 1, sizeof(*d->ids));
	d->id_layouts = calloc(n + 1, sizeof(*d->id_layouts));
	if (pairs == NULL || d->ids == NULL || d->id_layouts == NULL) {
		free(pairs);
		return PM_ERR_NOMEM;
	}
	for (size_t i = 0; i < n; i++)
		pairs[i] = (struct id_pair){ ids[i], attr_of_id[i] };
	qsort(pairs, n, sizeof(*pairs), compare_ids);
	for (size_t i = 0; i < n; i++) {
		d->ids[i] = pairs[i].id;
		d->id_layouts[i] = pairs[i].layout;
	}
	d->nr_ids = n;
	free(pairs);
	return PM_OK;
}

enum pm_status pm_decoder_set_perf(struct pm_decoder *d, size_t n, const uint64_t *sample_types, const uint64_t *read_formats, size_t n_ids,
				   const uint64_t *ids, const uint32_t *attr_of_id)
{
	bool differ = false, identified = true;

	if (d->layouts != NULL || n == 0 || n > UINT16_MAX || n_ids > UINT32_MAX)
		return PM_ERR_INVAL;
	for (size_t i = 0; i < n; i++) {
		differ = differ || sample_types[i] != sample_types[0] || read_formats[i] != read_formats[0];
		identified = identified && (sample_types[i] & SAMPLE_IDENTIFIER) != 0;
	}
	for (size_t i = 0; i < n_ids; i++) {
		if (attr_of_id[i] >= n)
			return PM_ERR_INVAL;
	}
	if (differ && !identified)
		return PM_ERR_INVAL;
	d->layouts = calloc(n, sizeof(*d->layouts));
	if (d->layouts == NULL)
		return PM_ERR_NOMEM;
	for (size_t i = 0; i < n; i++)
		d->layouts[i] = (struct pm_perf_layout){ sample_types[i], read_formats[i] };
	d->nr_layouts = n;
	d->layouts_differ = differ;
	return set_ids(d, n_ids, ids, attr_of_id);
}
