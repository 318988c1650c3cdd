#include "move/copy.h"

#include <string.h>

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

#include "base/yield.h"

#if defined(__x86_64__)

enum { LINE = 64, AHEAD = PM_PAGE_SIZE / 2 };

/// Past the cache: whoever migrates does not read the page, and to fetch the destination only to overwrite it would cost half as much again. What is read is asked for
/// half a page ahead, at the end in the page that is next, where a processor does not fetch ahead by itself.
static void copy_past_cache(char *to, const char *from, const char *next, size_t bytes)
{
	size_t i;

	for (i = 0; i < bytes; i += LINE) {
		const __m128i *source = (const __m128i *)(from + i);
		__m128i *target = (__m128i *)(to + i);
		__m128i a, b, c, d;

		__builtin_prefetch(i + AHEAD < bytes ? from + i + AHEAD : next + (i + AHEAD - bytes));
		a = _mm_load_si128(source);
		b = _mm_load_si128(source + 1);
		c = _mm_load_si128(source + 2);
		d = _mm_load_si128(source + 3);
		_mm_stream_si128(target, a);
		_mm_stream_si128(target + 1, b);
		_mm_stream_si128(target + 2, c);
		_mm_stream_si128(target + 3, d);
	}
}

/// Stores past the cache are not ordered by a release.
static void copy_end(void)
{
	_mm_sfence();
}

#else

static void copy_past_cache(char *to, const char *from, const char *next, size_t bytes)
{
	(void)next;
	memcpy(to, from, bytes);
}

static void copy_end(void)
{
}

#endif

/// In two steps where a search looks on, so that it sees who gets at a page that is half there. A frame alone goes through the cache: what is done next would
/// wait until its stores are out.
static void copy_alone(char *to, const char *from)
{
	size_t first = pm_scheduled() ? PM_PAGE_SIZE / 2 : PM_PAGE_SIZE;

	pm_yield(PM_AT_COPY, from);
	memcpy(to, from, first);
	pm_yield(PM_AT_COPY, to);
	memcpy(to + first, from + first, PM_PAGE_SIZE - first);
}

void pm_move_copy(struct pm_machine *m, size_t n, struct pm_migration *const *migs)
{
	size_t i;

	if (!pm_has_contents(m))
		return;
	for (i = 0; i < n; i++) {
		char *to = pm_frame_bytes(m, migs[i]->to);
		const char *from = pm_frame_bytes(m, migs[i]->from);

		if (n == 1 || pm_scheduled())
			copy_alone(to, from);
		else
			copy_past_cache(to, from, i + 1 < n ? pm_frame_bytes(m, migs[i + 1]->from) : from, PM_PAGE_SIZE);
	}
	if (n > 1)
		copy_end();
}
