/// Constants of the build, in one place. pymigrate.h repeats what callers need; base/types.h asserts that both agree.
#ifndef PM_BASE_CONFIG_H
#define PM_BASE_CONFIG_H

#define PM_CFG_PAGE_SHIFT 12
#define PM_CFG_NR_ORDERS 11
#define PM_CFG_PAGEBLOCK_ORDER 9
#define PM_CFG_COSTLY_ORDER 3

/// A refill or a drain of a per-CPU list scales its batch by at most this many doublings.
#define PM_CFG_PCP_BATCH_SCALE_MAX 5

/// The batch of a per-CPU list is derived from at most this many bytes.
#define PM_CFG_PCP_BATCH_BYTES (256 * 1024)

/// Bytes that two CPUs must not share, or they slow each other down.
#define PM_CFG_CACHE_LINE 64

/// Frame numbers are 32 bits wide inside, so that links stay small: 16 TiB of 4 KiB frames.
#define PM_CFG_MAX_FRAMES 0xfffffff0u

#endif
