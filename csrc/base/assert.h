/// Graded checks: PM_ASSERT stays on in release where it costs nothing measurable, PM_ASSERT_SLOW only in the test flavour.
#ifndef PM_BASE_ASSERT_H
#define PM_BASE_ASSERT_H

/// Prints the broken condition and aborts: a broken invariant is our bug, and going on would spread it.
_Noreturn void pm_assert_failed(const char *condition, const char *file, int line);

#define PM_ASSERT(condition) ((condition) ? (void)0 : pm_assert_failed(#condition, __FILE__, __LINE__))

#ifdef PM_TEST_FLAVOUR
#define PM_ASSERT_SLOW(condition) PM_ASSERT(condition)
#else
#define PM_ASSERT_SLOW(condition) ((void)sizeof(condition))
#endif

#endif
