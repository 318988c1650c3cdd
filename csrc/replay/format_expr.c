/// The parts of a `print fmt` that say what numbers mean: constant expressions, and lists of values with their names.
///
/// Kernels print masks as the preprocessor left them: `( unsigned long)((( gfp_t)((((1UL))) << (10))) | ...)`. Depth is limited, so
/// that a hostile text costs no stack.
#include "replay/decode.h"

enum { DEPTH_MAX = 64 };

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static void skip_blanks(struct pm_text_span *span)
{
	while (span->at < span->end && is_blank(*span->at))
		span->at++;
}

static bool take(struct pm_text_span *span, const char *token)
{
	size_t n = strlen(token);

	skip_blanks(span);
	if ((size_t)(span->end - span->at) < n || memcmp(span->at, token, n) != 0)
		return false;
	span->at += n;
	return true;
}

static int digit_of(char c, int base)
{
	int value = c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : 16;

	return value < base ? value : -1;
}

static bool number(struct pm_text_span *span, uint64_t *ret)
{
	int base = 10, digit;
	uint64_t value = 0;
	const char *start;

	if (span->end - span->at > 2 && span->at[0] == '0' && (span->at[1] | 0x20) == 'x') {
		base = 16;
		span->at += 2;
	}
	for (start = span->at; span->at < span->end && (digit = digit_of(*span->at, base)) >= 0; span->at++) {
		if (value > (UINT64_MAX - 15) / 16)
			return false;
		value = value * (uint64_t)base + (uint64_t)digit;
	}
	if (span->at == start)
		return false;
	while (span->at < span->end && ((*span->at | 0x20) == 'u' || (*span->at | 0x20) == 'l'))
		span->at++;
	*ret = value;
	return span->at == span->end || !is_word(*span->at);
}

/// `( unsigned long)`, `((void *)0)`: parentheses that hold words alone are a cast.
static bool skip_cast(struct pm_text_span *span)
{
	const char *at = span->at + 1;

	while (at < span->end && is_blank(*at))
		at++;
	if (at == span->end || digit_of(*at, 10) >= 0 || !is_word(*at))
		return false;
	while (at < span->end && (is_word(*at) || is_blank(*at) || *at == '*'))
		at++;
	if (at == span->end || *at != ')')
		return false;
	span->at = at + 1;
	return true;
}

static bool expression(struct pm_text_span *span, int depth, int level, uint64_t *ret);

static bool primary(struct pm_text_span *span, int depth, uint64_t *ret)
{
	if (depth > DEPTH_MAX)
		return false;
	skip_blanks(span);
	if (span->at == span->end)
		return false;
	if (*span->at == '~' || *span->at == '-') {
		bool invert = *span->at++ == '~';

		if (!primary(span, depth + 1, ret))
			return false;
		*ret = invert ? ~*ret : 0 - *ret;
		return true;
	}
	if (*span->at != '(')
		return number(span, ret);
	if (skip_cast(span))
		return primary(span, depth + 1, ret);
	span->at++;
	return expression(span, depth + 1, 0, ret) && take(span, ")");
}

/// Operators by how loosely they bind. Longer ones come first where one begins with another.
static const char *const operators[4][2] = { { "|", NULL }, { "&", NULL }, { "<<", ">>" }, { "+", "-" } };

static bool apply(const char *operator, uint64_t right, uint64_t *left)
{
	switch (operator[0]) {
	case '|':
		*left |= right;
		return true;
	case '&':
		*left &= right;
		return true;
	case '+':
		*left += right;
		return true;
	case '-':
		*left -= right;
		return true;
	default:
		if (right > 63)
			return false;
		*left = operator[0] == '<' ? *left << right : *left >> right;
		return true;
	}
}

static bool expression(struct pm_text_span *span, int depth, int level, uint64_t *ret)
{
	uint64_t right;

	if (level == 4)
		return primary(span, depth, ret);
	if (!expression(span, depth, level + 1, ret))
		return false;
	for (;;) {
		const char *operator = NULL;

		for (int i = 0; i < 2 && operator == NULL; i++) {
			if (operators[level][i] != NULL && take(span, operators[level][i]))
				operator = operators[level][i];
		}
		if (operator == NULL)
			return true;
		if (!expression(span, depth, level + 1, &right) || !apply(operator, right, ret))
			return false;
	}
}

bool pm_format_constant(struct pm_text_span *span, uint64_t *ret)
{
	return expression(span, 0, 0, ret);
}

/// Goes behind the comma at the end of a value that is no constant; parentheses are skipped as wholes.
static bool skip_value(struct pm_text_span *span)
{
	int depth = 0;

	for (; span->at < span->end; span->at++) {
		depth += (*span->at == '(') - (*span->at == ')');
		if (*span->at == '{' || *span->at == '}' || *span->at == '"')
			return false;
		if (*span->at == ',' && depth <= 0) {
			span->at++;
			return true;
		}
	}
	return false;
}

bool pm_format_symbol(struct pm_text_span *span, bool *ret_known, uint64_t *ret_value, struct pm_text_span *ret_name)
{
	struct pm_text_span start;
	const char *quote;

	take(span, ",");
	if (!take(span, "{"))
		return false;
	start = *span;
	*ret_known = pm_format_constant(span, ret_value) && take(span, ",");
	if (!*ret_known) {
		*span = start;
		if (!skip_value(span))
			return false;
	}
	/* The closing entry of a list of flags has no name. */
	if (!take(span, "\""))
		return false;
	quote = memchr(span->at, '"', (size_t)(span->end - span->at));
	if (quote == NULL)
		return false;
	*ret_name = (struct pm_text_span){ span->at, quote };
	span->at = quote + 1;
	return take(span, "}");
}

static const char *find(struct pm_text_span text, const char *word)
{
	return memmem(text.at, (size_t)(text.end - text.at), word, strlen(word));
}

bool pm_format_list(struct pm_text_span text, const char *function, const char *field, struct pm_text_span *ret)
{
	const char *at;

	while ((at = find(text, function)) != NULL) {
		struct pm_text_span span = { at + strlen(function), text.end };

		text.at = span.at;
		if (!take(&span, "(") || !take(&span, "REC->") || !take(&span, field) || !take(&span, ","))
			continue;
		/* Between flags: the delimiter. */
		if (take(&span, "\"") && (!take(&span, "|") || !take(&span, "\"") || !take(&span, ",")))
			continue;
		*ret = span;
		return true;
	}
	return false;
}
