/// Faults: what happens when an entry does not allow an access.
#ifndef PM_VIRT_FAULT_H
#define PM_VIRT_FAULT_H

#include "virt/area.h"

enum pm_fault_flags {
	PM_FAULT_WRITE = 1,
	PM_FAULT_UNSHARE = 2 ///< for reading, but in a private mapping the page has to be this space's own (pins)
};

/// Makes an access to `addr` possible, or takes a step towards it: the caller looks at the entry again. Takes the space's lock for reading.
/// PM_ERR_FAULT, PM_ERR_ACCESS, PM_ERR_BEYOND, PM_ERR_IO, PM_ERR_NOMEM, an allocation's status, a wait's status.
enum pm_status pm_fault(struct pm_call *call, struct pm_space *space, uint64_t addr, uint32_t flags);

/// The same with the space's lock held for reading.
enum pm_status pm_fault_locked(struct pm_call *call, struct pm_space *space, uint64_t addr, uint32_t flags);

/// A fresh frame becomes an anonymous page of the area, which has its anon_vma, at the page with this address. Nobody else knows it.
void pm_fault_make_anon(struct pm_machine *m, struct pm_vma *vma, uint64_t addr, struct pm_pfn pfn);

/// Faults in every page of [start, end) that its area lets be read. Takes the space's lock page by page.
enum pm_status pm_populate(struct pm_call *call, struct pm_space *space, uint64_t start, uint64_t end);

#endif
