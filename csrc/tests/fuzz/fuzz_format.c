/// Fuzz target: any text as a format file, and then as the description of a page.
///
///     make -C csrc fuzz FUZZ_SECONDS=60
///
/// Held besides the sanitizers' rules: what is accepted decodes a record of zeros and one of ones without reading beyond it.
#include <stdlib.h>
#include <string.h>

#include "pymigrate.h"

#define HOLD(condition) ((condition) ? (void)0 : abort())

enum { PAGE = 4096 };

/// One record of `bytes` bytes, each `fill`, of the event `id`, in a page whose end is the end of the memory.
static void decode(struct pm_decoder *d, uint16_t id, size_t bytes, int fill)
{
	uint8_t *page = malloc(PAGE);
	uint32_t head = 0, length = (uint32_t)bytes + 4;
	uint64_t commit = 8 + bytes;
	struct pm_parse_stats stats;
	size_t used;

	memset(page, 0, PAGE);
	memcpy(page + 8, &commit, 8);
	memcpy(page + 16, &head, 4);
	memcpy(page + 20, &length, 4);
	memset(page + 24, fill, bytes);
	memcpy(page + 24, &id, 2);
	HOLD(pm_decoder_pages(d, 0, PAGE, page, PAGE, &used) == PM_OK);
	pm_decoder_stats(d, &stats);
	HOLD(stats.lines == stats.events + stats.other_events + stats.comments + stats.lost_lines + stats.skipped);
	free(page);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data, *number = size < 4 ? NULL : memmem(data, size, "ID: ", 4);
	struct pm_decoder *d;
	struct pm_gfp_bits bits;
	char digits[8] = "";

	HOLD(pm_decoder_create(true, PM_DECODE_BATCH_MIN, &d) == PM_OK);
	if (pm_decoder_add_format(d, text, size) == PM_OK) {
		size_t left = number == NULL ? 0 : size - (size_t)(number + 4 - text);

		if (number != NULL)
			memcpy(digits, number + 4, left < 5 ? left : 5);
		for (size_t bytes = 2; bytes <= PAGE - 24; bytes = bytes * 4 + 2) {
			decode(d, (uint16_t)atoi(digits), bytes, 0);
			decode(d, (uint16_t)atoi(digits), bytes, 0xff);
		}
		if (pm_decoder_gfp_bits(d, &bits) == PM_OK) {
			for (int i = 0; i < 64; i++)
				HOLD((bits.flags[i] & ~(uint32_t)PM_GFP_ALL) == 0);
		}
	}
	HOLD(strlen(pm_decoder_problem(d)) > 0);
	(void)!pm_decoder_set_header_page(d, text, size);
	pm_decoder_destroy(d);
	return 0;
}
