#include "base/interval.h"

#include "base/assert.h"

static bool less(const struct pm_interval *a, const struct pm_interval *b)
{
	return a->start != b->start ? a->start < b->start : a->seq < b->seq;
}

static void update(struct pm_interval *node)
{
	node->max_last = node->last;
	if (node->left && node->left->max_last > node->max_last)
		node->max_last = node->left->max_last;
	if (node->right && node->right->max_last > node->max_last)
		node->max_last = node->right->max_last;
}

/// Splits a subtree into the nodes before `key` and the others.
static void split(struct pm_interval *node, const struct pm_interval *key, struct pm_interval **before, struct pm_interval **after)
{
	if (!node) {
		*before = *after = NULL;
	} else if (less(node, key)) {
		split(node->right, key, &node->right, after);
		*before = node;
		update(node);
	} else {
		split(node->left, key, before, &node->left);
		*after = node;
		update(node);
	}
}

static struct pm_interval *merge(struct pm_interval *a, struct pm_interval *b)
{
	if (!a || !b)
		return a ? a : b;
	if (a->priority >= b->priority) {
		a->right = merge(a->right, b);
		update(a);
		return a;
	}
	b->left = merge(a, b->left);
	update(b);
	return b;
}

static void insert(struct pm_interval **link, struct pm_interval *node)
{
	if (*link && (*link)->priority >= node->priority) {
		insert(less(node, *link) ? &(*link)->left : &(*link)->right, node);
	} else {
		split(*link, node, &node->left, &node->right);
		*link = node;
	}
	update(*link);
}

static bool erase(struct pm_interval **link, const struct pm_interval *node)
{
	bool found;

	if (!*link)
		return false;
	if (*link == node) {
		*link = merge(node->left, node->right);
		return true;
	}
	found = erase(less(node, *link) ? &(*link)->left : &(*link)->right, node);
	update(*link);
	return found;
}

void pm_interval_insert(struct pm_interval_tree *tree, struct pm_interval *node)
{
	/* splitmix64 of the order of insertion: balanced, and the same in every run. */
	uint64_t mix = (tree->next_seq + 1) * 0x9e3779b97f4a7c15u;

	mix = (mix ^ mix >> 30) * 0xbf58476d1ce4e5b9u;
	mix = (mix ^ mix >> 27) * 0x94d049bb133111ebu;
	PM_ASSERT_SLOW(node->start <= node->last);
	node->seq = tree->next_seq++;
	node->priority = (uint32_t)(mix >> 32);
	node->left = node->right = NULL;
	node->max_last = node->last;
	insert(&tree->root, node);
	tree->nr++;
}

void pm_interval_remove(struct pm_interval_tree *tree, struct pm_interval *node)
{
	bool found = erase(&tree->root, node);

	PM_ASSERT(found);
	tree->nr--;
}

/// The first node of the subtree that comes after `after` (NULL: any) and meets [start, last].
static struct pm_interval *first_after(struct pm_interval *node, const struct pm_interval *after, uint64_t start, uint64_t last)
{
	struct pm_interval *found;

	if (!node || node->max_last < start)
		return NULL;
	if (after && !less(after, node))
		return first_after(node->right, after, start, last);
	found = first_after(node->left, after, start, last);
	if (found)
		return found;
	if (node->start > last)
		return NULL;
	if (node->last >= start)
		return node;
	/* All to the right come after `after` as well. */
	return first_after(node->right, NULL, start, last);
}

struct pm_interval *pm_interval_first(const struct pm_interval_tree *tree, uint64_t start, uint64_t last)
{
	return first_after(tree->root, NULL, start, last);
}

struct pm_interval *pm_interval_next(const struct pm_interval_tree *tree, const struct pm_interval *node, uint64_t start, uint64_t last)
{
	return first_after(tree->root, node, start, last);
}

struct pm_interval *pm_interval_at_or_after(const struct pm_interval_tree *tree, uint64_t start)
{
	struct pm_interval *node = tree->root, *best = NULL;

	while (node) {
		if (node->start >= start) {
			best = node;
			node = node->left;
		} else {
			node = node->right;
		}
	}
	return best;
}

struct pm_interval *pm_interval_before(const struct pm_interval_tree *tree, uint64_t start)
{
	struct pm_interval *node = tree->root, *best = NULL;

	while (node) {
		if (node->start < start) {
			best = node;
			node = node->right;
		} else {
			node = node->left;
		}
	}
	return best;
}
