/// Access to contents by address: read, write, fill, checksum, touch.
#include <string.h>

#include "virt/fault.h"

#define PM_ACCESS_INLINE static inline __attribute__((always_inline))

/// A caller with signals gets his turn after so many pages, also if nothing had to be waited for.
enum { PM_ACCESS_PAGES = 4096 };

enum access_kind { ACCESS_READ, ACCESS_WRITE, ACCESS_FILL, ACCESS_CHECKSUM, ACCESS_TOUCH_READ, ACCESS_TOUCH_WRITE };

struct access {
	struct pm_call *call;
	struct pm_space *space;
	char *to;	  ///< READ
	const char *from; ///< WRITE
	uint8_t value;	  ///< FILL
	uint64_t sum;	  ///< CHECKSUM
};

static uint64_t fnv1a(uint64_t sum, const char *bytes, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		sum = (sum ^ (uint8_t)bytes[i]) * 0x100000001b3u;
	return sum;
}

/// Touches the part of a frame that an access is about.
PM_ACCESS_INLINE void touch(struct access *a, enum access_kind kind, char *bytes, size_t done, size_t n)
{
	pm_yield(PM_AT_TOUCH, bytes);
	switch (kind) {
	case ACCESS_READ:
		memcpy(a->to + done, bytes, n);
		break;
	case ACCESS_WRITE:
		memcpy(bytes, a->from + done, n);
		break;
	case ACCESS_FILL:
		memset(bytes, a->value, n);
		break;
	case ACCESS_CHECKSUM:
		a->sum = fnv1a(a->sum, bytes, n);
		break;
	default:
		break;
	}
}

PM_ACCESS_INLINE bool is_write(enum access_kind kind)
{
	return kind == ACCESS_WRITE || kind == ACCESS_FILL || kind == ACCESS_TOUCH_WRITE;
}

/// One try at one page, inside the CPU's epoch: walk, mark, touch. False: a fault is needed.
PM_ACCESS_INLINE bool try_page(struct access *a, enum access_kind kind, uint64_t addr, size_t done, size_t n)
{
	uint64_t need = pm_pte_need(is_write(kind)), pte;
	_Atomic uint64_t *entry;
	struct pm_table *leaf;
	bool allowed = false;

	pm_access_enter(a->call);
	leaf = pm_table_leaf_of(a->space->top, addr);
	if (PM_LIKELY(leaf)) {
		entry = pm_table_entry(leaf, addr);
		pte = pm_pte_load(entry);
		allowed = PM_LIKELY((pte & need) == need) && PM_LIKELY(pm_pte_mark_access(entry, pte, is_write(kind)));
		/* The frame of the entry as it was read: had it been replaced before the mark was set, the mark would have failed. */
		if (allowed && kind != ACCESS_TOUCH_READ && kind != ACCESS_TOUCH_WRITE)
			touch(a, kind, pm_frame_bytes(a->call->m, pm_pte_pfn(pte)) + (addr & (PM_PAGE_SIZE - 1)), done, n);
	}
	pm_access_leave(a->call);
	return allowed;
}

/// All pages of an access. `*ret` gets the bytes that were done.
PM_ACCESS_INLINE enum pm_status access_all(struct access *a, enum access_kind kind, uint64_t addr, uint64_t n, uint64_t *ret)
{
	enum pm_status status = PM_OK;
	uint64_t done = 0;
	uint32_t pages = 0;

	while (done < n && !status) {
		uint64_t at = addr + done, left = PM_PAGE_SIZE - (at & (PM_PAGE_SIZE - 1));
		size_t part = (size_t)(n - done < left ? n - done : left);

		if (PM_UNLIKELY(!try_page(a, kind, at, (size_t)done, part))) {
			status = pm_fault(a->call, a->space, at, is_write(kind) ? PM_FAULT_WRITE : 0);
			continue;
		}
		done += part;
		if (PM_UNLIKELY(++pages == PM_ACCESS_PAGES)) {
			pages = 0;
			status = a->call->limited && done < n ? PM_ERR_INTR : PM_OK;
		}
	}
	*ret = done;
	return status;
}

/// Begins an access. Its range has to lie in the address space.
static enum pm_status begin(struct pm_machine *m, uint32_t cpu, uint64_t handle, uint64_t addr, uint64_t n, bool contents, struct pm_call *call, struct access *a)
{
	uint64_t limit = (uint64_t)1 << PM_VA_BITS;
	enum pm_status status = pm_space_call(m, cpu, handle, call, &a->space);

	if (PM_UNLIKELY(status))
		return status;
	a->call = call;
	if (PM_UNLIKELY(addr > limit || n > limit - addr))
		status = PM_ERR_FAULT;
	else if (PM_UNLIKELY(contents && !pm_has_contents(m)))
		status = PM_ERR_NO_CONTENTS;
	if (PM_UNLIKELY(status))
		pm_space_done(call, a->space);
	return status;
}

enum pm_status pm_read(struct pm_machine *m, uint32_t cpu, uint64_t space, uint64_t addr, void *bytes, size_t n, size_t *ret)
{
	struct access a = { .to = bytes };
	struct pm_call call;
	uint64_t done = 0;
	enum pm_status status = begin(m, cpu, space, addr, n, true, &call, &a);

	if (PM_LIKELY(!status)) {
		status = access_all(&a, ACCESS_READ, addr, n, &done);
		pm_space_done(&call, a.space);
	}
	*ret = done;
	return status;
}

enum pm_status pm_write(struct pm_machine *m, uint32_t cpu, uint64_t space, uint64_t addr, const void *bytes, size_t n, size_t *ret)
{
	struct access a = { .from = bytes };
	struct pm_call call;
	uint64_t done = 0;
	enum pm_status status = begin(m, cpu, space, addr, n, true, &call, &a);

	if (PM_LIKELY(!status)) {
		status = access_all(&a, ACCESS_WRITE, addr, n, &done);
		pm_space_done(&call, a.space);
	}
	*ret = done;
	return status;
}

enum pm_status pm_fill(struct pm_machine *m, uint32_t cpu, uint64_t space, uint64_t addr, uint8_t value, size_t n, size_t *ret)
{
	struct access a = { .value = value };
	struct pm_call call;
	uint64_t done = 0;
	enum pm_status status = begin(m, cpu, space, addr, n, true, &call, &a);

	if (!status) {
		status = access_all(&a, ACCESS_FILL, addr, n, &done);
		pm_space_done(&call, a.space);
	}
	*ret = done;
	return status;
}

enum pm_status pm_checksum(struct pm_machine *m, uint32_t cpu, uint64_t space, uint64_t addr, size_t n, uint64_t *sum, size_t *ret)
{
	struct access a = { .sum = *sum };
	struct pm_call call;
	uint64_t done = 0;
	enum pm_status status = begin(m, cpu, space, addr, n, true, &call, &a);

	if (!status) {
		status = access_all(&a, ACCESS_CHECKSUM, addr, n, &done);
		pm_space_done(&call, a.space);
	}
	*sum = a.sum;
	*ret = done;
	return status;
}

enum pm_status pm_touch(struct pm_machine *m, uint32_t cpu, uint64_t space, uint64_t addr, uint64_t length, bool write, uint64_t *ret)
{
	struct access a = { 0 };
	struct pm_call call;
	uint64_t done = 0;
	enum pm_status status = begin(m, cpu, space, addr, length, false, &call, &a);

	if (!status) {
		status = write ? access_all(&a, ACCESS_TOUCH_WRITE, addr, length, &done) : access_all(&a, ACCESS_TOUCH_READ, addr, length, &done);
		pm_space_done(&call, a.space);
	}
	*ret = done;
	return status;
}
