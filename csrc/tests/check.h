/// @file check.h
/// What the C unit tests share: a test is a plain program whose main returns nonzero when it failed.
///
///     static void merges_buddies(void) { CHECK(1 + 1 == 2); CHECK_EQ(pm_free(...), PM_OK); }
///     int main(void) { RUN(merges_buddies); return check_result(); }
///
/// A failed check is printed with its place and the test goes on, so that one run shows all of them. REQUIRE ends the
/// program instead: for what the rest of the test cannot do without.
#ifndef PM_TESTS_CHECK_H
#define PM_TESTS_CHECK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/// Checks may fail in several threads at once.
static atomic_int check_failures;

static inline bool check_report(bool ok, const char *text, const char *file, int line)
{
	if (!ok) {
		atomic_fetch_add_explicit(&check_failures, 1, memory_order_relaxed);
		fprintf(stderr, "%s:%d: failed: %s\n", file, line, text);
	}
	return ok;
}

static inline bool check_report_eq(long long got, long long want, const char *text, const char *file, int line)
{
	if (got != want) {
		atomic_fetch_add_explicit(&check_failures, 1, memory_order_relaxed);
		fprintf(stderr, "%s:%d: failed: %s: %lld, expected %lld\n", file, line, text, got, want);
	}
	return got == want;
}

#define CHECK(cond) check_report((cond), #cond, __FILE__, __LINE__)
/// For integers of any kind that fit in a long long.
#define CHECK_EQ(got, want) check_report_eq((long long)(got), (long long)(want), #got " == " #want, __FILE__, __LINE__)
#define REQUIRE(cond)                   \
	do {                            \
		if (!CHECK(cond))       \
			exit(EXIT_FAILURE); \
	} while (0)
/// Runs one `void name(void)` and says which one it was if it failed.
#define RUN(name) check_run((name), #name)

static inline void check_run(void (*test)(void), const char *name)
{
	int before = atomic_load_explicit(&check_failures, memory_order_relaxed);

	test();
	if (atomic_load_explicit(&check_failures, memory_order_relaxed) != before)
		fprintf(stderr, "  in %s\n", name);
}

static inline int check_result(void)
{
	int failures = atomic_load_explicit(&check_failures, memory_order_relaxed);

	if (failures != 0)
		fprintf(stderr, "%d checks failed\n", failures);
	return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
