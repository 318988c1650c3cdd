#include "base/yield.h"

#ifdef PM_TEST_FLAVOUR
_Thread_local struct pm_hooks *pm_hooks __attribute__((tls_model("initial-exec")));
#endif

const char *pm_point_name(enum pm_point point)
{
	static const char *const names[PM_NR_POINTS] = {
		[PM_AT_START] = "begin",
		[PM_AT_LOCK] = "take a lock",
		[PM_AT_TRYLOCK] = "try a lock",
		[PM_AT_UNLOCK] = "give a lock back",
		[PM_AT_RWSEM] = "enter or leave a sleeping lock",
		[PM_AT_SLEEP] = "sleep",
		[PM_AT_PAUSE] = "sleep for a while",
		[PM_AT_WAKE] = "wake sleepers",
		[PM_AT_FLAGS] = "read flags",
		[PM_AT_FLAGS_SET] = "change flags",
		[PM_AT_COUNTS] = "read counts",
		[PM_AT_COUNTS_SET] = "change counts",
		[PM_AT_ENTRY] = "read an entry",
		[PM_AT_ENTRY_SET] = "change an entry",
		[PM_AT_ENTER] = "enter an access",
		[PM_AT_LEAVE] = "leave an access",
		[PM_AT_FLUSH] = "flush",
		[PM_AT_TOUCH] = "touch bytes",
		[PM_AT_COPY] = "copy a frame",
		[PM_AT_HANDLE] = "check a handle",
		[PM_AT_HANDLE_SET] = "publish or withdraw a handle",
		[PM_AT_WORD] = "read a frame's state",
		[PM_AT_WORD_SET] = "begin to free a frame",
		[PM_AT_USE] = "look at who uses it",
	};

	return (unsigned int)point < PM_NR_POINTS ? names[point] : "do something unknown";
}
