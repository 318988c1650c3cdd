#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/types.h"
#include "base/yield.h"

void pm_assert_failed(const char *condition, const char *file, int line)
{
#ifdef PM_TEST_FLAVOUR
	if (pm_hooks)
		pm_hooks->failed(pm_hooks, condition, file, line);
#endif
	fprintf(stderr, "pymigrate: broken invariant %s at %s:%d\n", condition, file, line);
	abort();
}

uint32_t pm_abi_version(void)
{
	return PM_ABI_VERSION;
}

const char *pm_status_text(enum pm_status status)
{
	switch (status) {
	case PM_OK:
		return "success";
	case PM_ERR_NOMEM:
		return "the host has no memory left";
	case PM_ERR_INVAL:
		return "an argument is out of its range";
	case PM_ERR_RANGE:
		return "the frame is outside every zone, or in a hole";
	case PM_ERR_WATERMARK:
		return "every allowed zone is below the watermark of this request";
	case PM_ERR_NO_BLOCK:
		return "no free block of the order that this request may use";
	case PM_ERR_ZONE:
		return "no zone that the gfp flags allow has memory";
	case PM_ERR_FLAGS:
		return "the gfp flags contradict each other";
	case PM_ERR_DOUBLE_FREE:
		return "the frame is free already";
	case PM_ERR_ORDER:
		return "the block has another order, or the frame is inside a block";
	case PM_ERR_BUSY:
		return "the frame is not free";
	case PM_ERR_RESERVED:
		return "the frame is reserved";
	case PM_ERR_CORRUPT:
		return "the machine's state contradicts itself";
	case PM_ERR_SYNTAX:
		return "the text is damaged";
	case PM_ERR_TRUNCATED:
		return "the text ends inside a line";
	case PM_ERR_LIMIT:
		return "the input is larger than this build allows";
	case PM_ERR_OWNED:
		return "the frame belongs to an owner, which alone frees it";
	case PM_ERR_CLOSED:
		return "the machine is being closed";
	case PM_ERR_INTR:
		return "the call has waited as long as it may";
	case PM_ERR_AGAIN:
		return "somebody holds what is needed, for a moment";
	case PM_ERR_HANDLE:
		return "no such object: of another kind, gone already, or never made";
	case PM_ERR_STATE:
		return "the machine has no owners of frames yet, or has them already";
	case PM_ERR_FAULT:
		return "nothing is mapped at this address";
	case PM_ERR_ACCESS:
		return "the mapping does not allow this access";
	case PM_ERR_BEYOND:
		return "beyond the end of the file";
	case PM_ERR_IO:
		return "a transfer failed";
	case PM_ERR_NO_SWAP:
		return "no free swap slot";
	case PM_ERR_NO_CONTENTS:
		return "the machine keeps no contents of frames";
	case PM_ERR_PINNED:
		return "a pinned frame is in the way";
	}
	return "unknown status";
}
