/// Pins: tokens for references that outlast a call. Each is visible as a reference of the frame and, by its kind, as a reason.
#ifndef PM_VIRT_PIN_H
#define PM_VIRT_PIN_H

#include "virt/area.h"

struct pm_pin_token {
	struct pm_pooled pooled;
	_Atomic uint32_t frame; ///< (A) constant while it is given out; pm_pin_count() may look at any time
	_Atomic uint32_t kind;	///< (A) likewise; enum pm_pin_kind
	bool write;	   ///< (C) the frame's contents may change while it is pinned
	_Atomic uint32_t busy; ///< (A) transfers under way to or from the frame: it cannot be given back meanwhile
};

/// How many references a pin of a kind is.
static inline uint32_t pm_pin_refs(uint32_t kind)
{
	/* A reference in passing is one like any other; the others can be told from the count. */
	return kind == PM_PIN_SHORT ? 1 : PM_PIN_BIAS;
}

/// Relaxed: see the fields.
static inline struct pm_pfn pm_pin_pfn(const struct pm_pin_token *pin)
{
	return pm_pfn(atomic_load_explicit(&pin->frame, memory_order_relaxed));
}

static inline uint32_t pm_pin_kind(const struct pm_pin_token *pin)
{
	return atomic_load_explicit(&pin->kind, memory_order_relaxed);
}

/// Pins a page of a space. The token is visible.
enum pm_status pm_pin_page(struct pm_call *call, struct pm_space *space, uint64_t addr, uint32_t kind, bool write, struct pm_pin_token **ret, uint64_t *ret_handle);

/// Begins to use a pin's frame, and ends it. PM_ERR_HANDLE.
enum pm_status pm_pin_begin_use(struct pm_machine *m, uint64_t handle, struct pm_pin_token **ret);
void pm_pin_end_use(struct pm_machine *m, struct pm_pin_token *pin);

/// Gives all pins back (the machine is going).
void pm_pin_end_all(struct pm_call *call);

/// Counts the pins of a frame by kind. Goes through all pins.
void pm_pin_count(struct pm_machine *m, struct pm_pfn pfn, uint32_t *counts);

#endif
