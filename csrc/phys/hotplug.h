/// Frames that leave their zone, and come back. A pageblock at a time; what is worked out from a zone's size follows once for many.
#ifndef PM_PHYS_HOTPLUG_H
#define PM_PHYS_HOTPLUG_H

#include "phys/machine.h"

/// Takes an isolated pageblock whose frames are all free off the lists and out of the zone's counts. False, and nothing done, if it is not so.
bool pm_pageblock_go_offline(struct pm_machine *m, struct pm_zone *zone, uint32_t pageblock) PM_REQUIRES(zone->lock);

/// Gives the frames of an offline pageblock back to its zone, free and of the type that it had. False if it is not offline.
bool pm_pageblock_come_online(struct pm_machine *m, struct pm_zone *zone, uint32_t pageblock) PM_REQUIRES(zone->lock);

/// Works out anew what follows from the zones' sizes: marks, reserves, the lengths of the per-CPU lists. No lock is held.
void pm_zones_resized(struct pm_machine *m);

#endif
