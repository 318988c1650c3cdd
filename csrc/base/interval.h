/// A set of intervals [start, last] of 64-bit numbers: which of them meet a given one? A treap by (start, order of insertion) in which
/// every node knows the largest `last` below it. Nodes live in their owners. Not locked: the owner of the tree says what guards it.
///
/// Intervals with the same start come in the order in which they were inserted. The reverse map relies on it: while a fork copies
/// entries, the child's area is behind its parent's, so a walk visits it later.
#ifndef PM_BASE_INTERVAL_H
#define PM_BASE_INTERVAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pm_interval {
	struct pm_interval *left, *right;
	uint64_t start, last;
	uint64_t max_last; ///< of the subtree
	uint64_t seq;	   ///< order of insertion
	uint32_t priority;
};

struct pm_interval_tree {
	struct pm_interval *root;
	uint64_t next_seq;
	uint64_t nr;
};

/// Adds a node with `start` and `last` set. It must not be in a tree.
void pm_interval_insert(struct pm_interval_tree *tree, struct pm_interval *node);
/// Takes a node out. It must be in this tree.
void pm_interval_remove(struct pm_interval_tree *tree, struct pm_interval *node);
/// The first node in order that meets [start, last]; NULL if none does.
struct pm_interval *pm_interval_first(const struct pm_interval_tree *tree, uint64_t start, uint64_t last);
/// The next one after `node` that meets [start, last].
struct pm_interval *pm_interval_next(const struct pm_interval_tree *tree, const struct pm_interval *node, uint64_t start, uint64_t last);
/// The first node with a start of at least `start`; NULL if there is none.
struct pm_interval *pm_interval_at_or_after(const struct pm_interval_tree *tree, uint64_t start);
/// The last node with a start below `start`; NULL if there is none.
struct pm_interval *pm_interval_before(const struct pm_interval_tree *tree, uint64_t start);

#define PM_CONTAINER_OF(pointer, type, member) ((type *)(void *)((char *)(pointer) - offsetof(type, member)))

#endif
