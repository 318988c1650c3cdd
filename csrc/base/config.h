/// Constants of the build that no caller needs. Page size, orders and the like are in pymigrate.h, in one place.
#ifndef PM_BASE_CONFIG_H
#define PM_BASE_CONFIG_H

/// The batch of a per-CPU list is derived from at most this many bytes.
#define PM_CFG_PCP_BATCH_BYTES (256 * 1024)

/// Bytes that two CPUs must not share, or they slow each other down.
#define PM_CFG_CACHE_LINE 64

/// The lists of a CPU and zone: a power of two, and at least two cache lines, since some processors fetch lines in pairs.
#define PM_CFG_PCP_BYTES 256

/// Frame numbers are 32 bits wide inside, so that links stay small: 16 TiB of 4 KiB frames.
#define PM_CFG_MAX_FRAMES 0xfffffff0u

/// Chunks of 64 objects that a table of handles can have: at most 2^20 objects of a kind. The schedule search makes do with few, since it copies
/// all that a machine has at the beginning of every schedule.
#ifndef PM_CFG_POOL_CHUNKS
#define PM_CFG_POOL_CHUNKS 16384
#endif

#endif
