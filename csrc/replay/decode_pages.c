/// Ring-buffer pages: what trace_pipe_raw gives, and trace.dat keeps.
///
/// A page has a time, the length of its data, and records of one word and more: 5 bits of type, 27 bits of time since the record
/// before. A type of 1 to 28 is the length of the data in words; 0: the length follows; 29: padding; 30: a longer time; 31: an
/// absolute time (layout as in events/header_event; followed here is kernel/trace/ring_buffer.c of 6.18). A page that follows lost
/// events says so in the high bits of its length, and how many behind its data, where there was room.
#include "replay/decode.h"

enum { TYPE_PADDING = 29, TYPE_TIME_EXTEND = 30, TYPE_TIME_STAMP = 31 };

#define COMMIT_MASK 0x7ffffffu
#define MISSED_EVENTS (1u << 31)
#define MISSED_STORED (1u << 30)
/// An absolute time has 59 bits; those above come from the page's own time.
#define STAMP_BITS 59

/// Where the decoding of a page stands.
struct page_cursor {
	const uint8_t *at;
	const uint8_t *end;
	const uint8_t *start; ///< of the caller's bytes
	uint64_t bytes_before; ///< of earlier calls
	uint64_t time_ns;
	uint32_t cpu;
};

static uint64_t offset_of(const struct page_cursor *c, const uint8_t *at)
{
	return c->bytes_before + (uint64_t)(at - c->start);
}

/// One event whose data are [data, data + bytes).
static enum pm_status take_event(struct pm_decoder *d, struct page_cursor *c, const uint8_t *data, size_t bytes)
{
	size_t before = d->columns.n;
	enum pm_status status = pm_decode_record(d, data, bytes, c->time_ns, c->cpu, NULL, offset_of(c, data));

	if (d->columns.n > before) {
		d->stats.unsorted += c->time_ns < d->last_time_ns;
		d->last_time_ns = c->time_ns;
	}
	return status;
}

/// A record without an event. `*ret_bytes` gets its length; false: it does not fit.
static bool skip_mark(struct page_cursor *c, uint32_t type, uint64_t delta, size_t *ret_bytes)
{
	size_t left = (size_t)(c->end - c->at);
	uint64_t word;

	if (type == TYPE_PADDING && delta == 0) {
		*ret_bytes = left;
		return true;
	}
	if (left < 8)
		return false;
	word = pm_get32(c->at + 4);
	*ret_bytes = 8;
	if (type == TYPE_TIME_EXTEND) {
		c->time_ns += (word << 27) + delta;
	} else if (type == TYPE_TIME_STAMP) {
		uint64_t stamp = (word << 27) + delta, high = c->time_ns >> STAMP_BITS << STAMP_BITS;

		c->time_ns = high | stamp;
	} else {
		/* An event that was taken back: its length follows, and its time counts. */
		c->time_ns += delta;
		if (word > left - 4)
			return false;
		*ret_bytes = 4 + (size_t)word;
	}
	return true;
}

static enum pm_status decode_data(struct pm_decoder *d, struct page_cursor *c)
{
	while (c->at < c->end) {
		size_t left = (size_t)(c->end - c->at), bytes, head = 4;
		uint32_t word = left < 4 ? 0 : pm_get32(c->at), type = word & 31;
		uint64_t delta = word >> 5;
		enum pm_status status;

		if (left < 4)
			return pm_decode_damage(d, offset_of(c, c->at), "the data of a page end inside a record", PM_ERR_SYNTAX);
		if (type >= TYPE_PADDING) {
			if (!skip_mark(c, type, delta, &bytes))
				return pm_decode_damage(d, offset_of(c, c->at), "padding or a time beyond its page", PM_ERR_SYNTAX);
			d->stats.lines++;
			d->stats.comments++;
			c->at += bytes;
			continue;
		}
		bytes = (size_t)type * 4;
		if (type == 0) {
			uint32_t length = left < 8 ? 0 : pm_get32(c->at + 4);

			if (length < 4)
				return pm_decode_damage(d, offset_of(c, c->at), "a record without a length", PM_ERR_SYNTAX);
			bytes = (size_t)length - 4;
			head = 8;
		}
		if (bytes > left - head)
			return pm_decode_damage(d, offset_of(c, c->at), "a record beyond its page", PM_ERR_SYNTAX);
		c->time_ns += delta;
		status = take_event(d, c, c->at + head, bytes);
		if (status != PM_OK)
			return status;
		c->at += head + ((bytes + 3) & ~(size_t)3);
		if (c->at > c->end)
			c->at = c->end;
	}
	return PM_OK;
}

static void count_lost(struct pm_decoder *d, uint64_t lost)
{
	d->stats.lines++;
	d->stats.lost_lines++;
	d->stats.lost_events += lost == 0 ? 1 : lost;
	if (d->stats.first_lost_line == 0)
		d->stats.first_lost_line = d->stats.lines;
}

static enum pm_status decode_page(struct pm_decoder *d, struct page_cursor *c, const uint8_t *page, uint32_t page_bytes)
{
	uint32_t room = page_bytes - d->page.data_offset;
	/* On a little-endian kernel the low half comes first, whatever the size of a long. */
	uint32_t commit = pm_get32(page + d->page.commit_offset), bytes = commit & COMMIT_MASK;
	const uint8_t *data = page + d->page.data_offset;

	if (bytes > room)
		return pm_decode_damage(d, offset_of(c, page), "a page that says it holds more than a page", PM_ERR_SYNTAX);
	if (commit & MISSED_EVENTS) {
		/* A long of the kernel's. */
		uint32_t long_bytes = d->page.commit_size;
		bool stored = (commit & MISSED_STORED) && room - bytes >= long_bytes;

		count_lost(d, !stored ? 1 : long_bytes == 4 ? pm_get32(data + bytes) : pm_get64(data + bytes));
	}
	c->at = data;
	c->end = data + bytes;
	c->time_ns = pm_get64(page);
	return decode_data(d, c);
}

enum pm_status pm_decoder_pages(struct pm_decoder *d, uint32_t cpu, uint32_t page_bytes, const void *bytes, size_t n, size_t *ret_used)
{
	struct page_cursor c = { .start = bytes, .bytes_before = d->stats.bytes, .cpu = cpu };
	const uint8_t *page = bytes;
	enum pm_status status = d->failed;
	/* The shortest event is two words: a header, and a type in the data. */
	size_t events_max;

	*ret_used = 0;
	if (cpu > UINT16_MAX || page_bytes < 64 || page_bytes > PM_DECODE_PAGE_MAX || page_bytes <= d->page.data_offset)
		return PM_ERR_INVAL;
	events_max = page_bytes / 8;
	if (cpu != d->last_cpu)
		d->last_time_ns = 0;
	d->last_cpu = cpu;
	while (status == PM_OK && n >= page_bytes && d->columns.batch - d->columns.n >= events_max) {
		status = decode_page(d, &c, page, page_bytes);
		page += page_bytes;
		n -= page_bytes;
	}
	if (status == PM_OK && n > 0 && n < page_bytes) {
		d->stats.truncated = 1;
		status = pm_decode_damage(d, offset_of(&c, page), "the pages end inside a page", PM_ERR_TRUNCATED);
		page += n;
	}
	*ret_used = (size_t)(page - (const uint8_t *)bytes);
	d->stats.bytes += *ret_used;
	return status;
}
