/// The reverse map of anonymous memory. Each area that has anonymous pages has an anon_vma, which the frames name; a fork gives the child's area
/// links to all the anon_vmas of its parent's, and one of its own for the pages that it will get itself. So from a frame one comes to
/// every area that can map it, and a page that was born in a child leads only to that child and its children.
///
/// All anon_vmas of a family share the lock of their root. Objects stay in memory as long as the machine (base/pool.h), so a frame's index can be
/// followed without a lock; what is found counts once the root's lock is held and the frame is still mapped.
#ifndef PM_VIRT_ANON_H
#define PM_VIRT_ANON_H

#include "virt/virt.h"

struct pm_vma;

struct pm_anon {
	struct pm_pooled pooled;
	struct pm_rwsem lock; ///< rank ANON; that of the root counts, for the whole family: (N)
	_Atomic(struct pm_anon *) root; ///< (A) itself, or the first of the family; written before anyone knows it
	struct pm_anon *parent;	      ///< (C) NULL for the root
	struct pm_interval_tree links; ///< (N) struct pm_anon_link, by page offset
	_Atomic uint32_t refs;	      ///< (A) links, children, whoever keeps it from going
	uint32_t nr_children;	      ///< (N) anon_vmas whose parent it is
	uint32_t nr_areas;	      ///< (N) areas whose new pages go here
};

/// One area on the map of one anon_vma.
struct pm_anon_link {
	struct pm_interval node; ///< (N) in anon->links
	struct pm_vma *vma;	 ///< (C)
	struct pm_anon *anon;	 ///< (C)
	struct pm_anon_link *next; ///< (S) the area's other links, its own anon_vma last
};

/// Gives an area an anon_vma, if it has none. The space is held, at least for reading.
enum pm_status pm_anon_prepare(struct pm_call *call, struct pm_vma *vma);

/// Makes links for `to`, one for each of `from`, on no map yet. PM_ERR_NOMEM: none was made.
enum pm_status pm_anon_make_links(struct pm_call *call, struct pm_vma *to, const struct pm_vma *from);
/// Puts the links made for `to` on the maps: the halves of a split, a moved area, a fork.
void pm_anon_clone(struct pm_call *call, struct pm_vma *to, const struct pm_vma *from);

/// What fork does for a child's area: the parent's links, then an anon_vma of its own (or an ancestor's that nobody else uses).
enum pm_status pm_anon_fork(struct pm_call *call, struct pm_vma *child, const struct pm_vma *parent);

/// Takes away all links of an area.
void pm_anon_unlink(struct pm_call *call, struct pm_vma *vma);

/// To change the ranges of one or two areas of a family at once, so that a walk sees every entry through exactly one area: lock (NULL: the
/// area has no anonymous pages, and nothing is locked), take them off the maps, change them, put them back, unlock.
struct pm_anon *pm_anon_lock_write(struct pm_call *call, const struct pm_vma *vma);
void pm_anon_unlock_write(struct pm_call *call, struct pm_anon *root);
void pm_anon_detach_locked(struct pm_vma *vma);
void pm_anon_attach_locked(struct pm_vma *vma);
/// `vma`, which has links made but no anon_vma yet, or which is to lose both: its area is counted with its anon_vma, or no longer.
void pm_anon_adopt_locked(struct pm_vma *vma, const struct pm_vma *from);
void pm_anon_abandon_locked(struct pm_vma *vma);
/// Frees links that are on no map.
void pm_anon_free_links(struct pm_call *call, struct pm_vma *vma);

/// Finds the anon_vma of a frame and takes its root's lock for reading; NULL: the frame is not mapped (any more). The frame may not change its
/// owner meanwhile: its lock is held, or it is mapped under a lock. pm_anon_unlock_read() ends it.
struct pm_anon *pm_anon_lock_read(struct pm_call *call, struct pm_pfn pfn);
/// The family of an anon_vma that is kept from going.
void pm_anon_relock_read(struct pm_call *call, struct pm_anon *anon);
void pm_anon_unlock_read(struct pm_call *call, struct pm_anon *anon);

/// Keeps an anon_vma although nothing may map its pages for a while; and lets it go.
void pm_anon_get(struct pm_anon *anon);
void pm_anon_put(struct pm_call *call, struct pm_anon *anon);

#endif
