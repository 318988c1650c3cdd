/// Fuzz target: any bytes as ring-buffer pages, or as the records of a perf.data file.
///
///     make -C csrc fuzz FUZZ_SECONDS=60
///
/// The first byte chooses between the two, strict or lenient, and how the bytes are cut. Held besides the sanitizers' rules: every
/// record is counted once, columns keep their ranges, and where the cut is does not matter.
#include <stdlib.h>
#include <string.h>

#include "tests/formats.h"
#include "pymigrate.h"

#define HOLD(condition) ((condition) ? (void)0 : abort())

enum { PAGE = 512, MODE_PERF = 1, MODE_LENIENT = 2, MODE_LAYOUTS = 4 };

static struct pm_decoder *decoder_of(unsigned int mode)
{
	static const char *const formats[] = { FORMAT_ALLOC, FORMAT_FREE, FORMAT_RANGE, FORMAT_FINISHED, FORMAT_OTHER };
	/* As perf record writes them; and one with everything that stands before the raw data. */
	const uint64_t types[2] = { 0x10587, 0x107ff }, reads[2] = { 20, 31 }, ids[3] = { 1, 2, 3 };
	const uint32_t owners[3] = { 0, 1, 0 };
	struct pm_decoder *d;

	HOLD(pm_decoder_create((mode & MODE_LENIENT) != 0, PM_DECODE_BATCH_MIN, &d) == PM_OK);
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
		HOLD(pm_decoder_add_format(d, formats[i], strlen(formats[i])) == PM_OK);
	HOLD(pm_decoder_set_perf(d, mode & MODE_LAYOUTS ? 2 : 1, types, reads, mode & MODE_LAYOUTS ? 3 : 0, ids, owners) == PM_OK);
	return d;
}

static uint64_t hash_of(const struct pm_decoder *d)
{
	struct pm_events ev;
	uint64_t hash = 0;

	pm_decoder_columns(d, &ev);
	for (size_t i = 0; i < ev.n; i++) {
		HOLD(ev.kind[i] < PM_NR_EVENT_KINDS);
		HOLD(ev.order[i] >= -1 && ev.order[i] <= PM_MAX_ORDER);
		HOLD(ev.migratetype[i] >= -1 && ev.migratetype[i] <= 7);
		HOLD((ev.gfp[i] & ~(uint32_t)PM_GFP_ALL) == 0);
		HOLD(ev.time_ns[i] >> 63 == 0);
		hash = (hash ^ ev.pfn[i] ^ ev.time_ns[i] ^ ev.arg0[i] ^ ev.kind[i]) * 0x100000001b3u;
	}
	return hash;
}

static enum pm_status feed_pages(struct pm_decoder *d, const uint8_t *bytes, size_t n, size_t piece)
{
	enum pm_status status = PM_OK;

	piece = (piece / PAGE + 1) * PAGE;
	for (size_t at = 0, used; at < n && status == PM_OK; at += used) {
		status = pm_decoder_pages(d, 1, PAGE, bytes + at, n - at < piece ? n - at : piece, &used);
		if (used == 0)
			break;
	}
	return status;
}

/// What is not a whole record at the end of a piece comes again with the next one.
static enum pm_status feed_perf(struct pm_decoder *d, const uint8_t *bytes, size_t n, size_t piece)
{
	enum pm_status status = PM_OK;
	struct pm_perf_span span;
	size_t at = 0, end = piece < n ? piece : n;

	for (;;) {
		size_t used;

		status = pm_decoder_perf(d, bytes + at, end - at, &used, &span);
		HOLD(used <= end - at);
		if (span.stop == PM_PERF_COMPRESSED)
			HOLD(span.pos + span.size <= used);
		at += used;
		if (status != PM_OK || span.stop == PM_PERF_FULL)
			return status;
		if (span.stop == PM_PERF_COMPRESSED)
			continue;
		if (end == n)
			return status;
		end = n - end < piece ? n : end + piece;
	}
}

static enum pm_status run(unsigned int mode, const uint8_t *bytes, size_t n, size_t piece, uint64_t *ret_hash, struct pm_parse_stats *ret)
{
	struct pm_decoder *d = decoder_of(mode);
	enum pm_status status = (mode & MODE_PERF ? feed_perf : feed_pages)(d, bytes, n, piece);

	*ret_hash = hash_of(d);
	pm_decoder_stats(d, ret);
	pm_decoder_destroy(d);
	return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pm_parse_stats whole, pieces;
	uint64_t hash_whole, hash_pieces;
	enum pm_status status;

	if (size < 2)
		return 0;
	status = run(data[0], data + 2, size - 2, size, &hash_whole, &whole);
	HOLD(whole.lines == whole.events + whole.other_events + whole.comments + whole.lost_lines + whole.skipped);
	HOLD(status == PM_OK || whole.nr_problems > 0);
	HOLD(status == run(data[0], data + 2, size - 2, 1 + (size_t)data[1] * 8, &hash_pieces, &pieces));
	HOLD(hash_whole == hash_pieces && whole.events == pieces.events && whole.skipped == pieces.skipped);
	return 0;
}
