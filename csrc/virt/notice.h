/// What a machine tells its host (struct pm_notice). Notices are delivered from the thread that did what they tell, at a place where it holds no lock, and
/// before the old frame of a move can be used anew.
#ifndef PM_VIRT_NOTICE_H
#define PM_VIRT_NOTICE_H

#include "virt/virt.h"

/// Does anybody want notices of this kind?
static inline bool pm_notices_wanted(const struct pm_machine *m)
{
	return m->virt->notify.notify != NULL;
}

/// Delivers one. The caller holds no lock.
void pm_notice_send(struct pm_call *call, const struct pm_notice *notice);

/// A place where a moving page was mapped.
struct pm_notice_place {
	uint64_t space; ///< handle
	uint64_t addr;
};

/// Places that are remembered without a request for memory: most pages are mapped once, and a fork or two share the rest.
enum { PM_NOTICE_PLACES = 3 };

/// The places where a page was mapped until it moved.
struct pm_notice_places {
	uint32_t n;
	bool lost; ///< there were more
	struct pm_notice_place place[PM_NOTICE_PLACES];
};

/// Remembers a place. Under the table's lock.
void pm_notice_remember(struct pm_notice_places *places, uint64_t space, uint64_t addr);
/// A page has moved: one notice a place, or, where they are not known or none is, one of the frame. The flush that was made for it may be for others as well.
void pm_notice_moved(struct pm_call *call, const struct pm_notice_places *places, struct pm_pfn from, struct pm_pfn to, unsigned int order, bool flushed);

#endif
