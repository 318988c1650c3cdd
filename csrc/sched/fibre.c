#include "sched/fibre.h"

#include <pthread.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PM_FIBRE_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define PM_FIBRE_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) && !defined(PM_FIBRE_ASAN)
#define PM_FIBRE_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__) && !defined(PM_FIBRE_TSAN)
#define PM_FIBRE_TSAN 1
#endif

#ifdef PM_FIBRE_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef PM_FIBRE_TSAN
#include <sanitizer/tsan_interface.h>
#endif

/// The deepest call chain of the core takes a few ten KiB; sanitizers make frames larger.
#define PM_FIBRE_STACK ((size_t)256 * 1024)

/// The fibre that a switch goes to, for the first steps on its stack.
static _Thread_local struct pm_fibre *arriving;

#ifndef PM_FIBRE_UCONTEXT
/// Saves what the called function must keep, and the stack pointer; loads those of the other side.
void pm_fibre_swap(void **save, void *load) __attribute__((visibility("hidden")));
#endif

#if defined(__x86_64__)
__asm__(".text\n"
	".globl pm_fibre_swap\n"
	".hidden pm_fibre_swap\n"
	".type pm_fibre_swap, @function\n"
	"pm_fibre_swap:\n"
	"	endbr64\n"
	"	pushq %rbp\n"
	"	pushq %rbx\n"
	"	pushq %r12\n"
	"	pushq %r13\n"
	"	pushq %r14\n"
	"	pushq %r15\n"
	"	movq %rsp, (%rdi)\n"
	"	movq %rsi, %rsp\n"
	"	popq %r15\n"
	"	popq %r14\n"
	"	popq %r13\n"
	"	popq %r12\n"
	"	popq %rbx\n"
	"	popq %rbp\n"
	"	ret\n"
	".size pm_fibre_swap, . - pm_fibre_swap\n");
enum { PM_FIBRE_WORDS = 8, PM_FIBRE_RETURN = 6 };
#elif defined(__aarch64__)
__asm__(".text\n"
	".globl pm_fibre_swap\n"
	".hidden pm_fibre_swap\n"
	".type pm_fibre_swap, %function\n"
	"pm_fibre_swap:\n"
	"	sub sp, sp, #160\n"
	"	stp x19, x20, [sp, #0]\n"
	"	stp x21, x22, [sp, #16]\n"
	"	stp x23, x24, [sp, #32]\n"
	"	stp x25, x26, [sp, #48]\n"
	"	stp x27, x28, [sp, #64]\n"
	"	stp x29, x30, [sp, #80]\n"
	"	stp d8, d9, [sp, #96]\n"
	"	stp d10, d11, [sp, #112]\n"
	"	stp d12, d13, [sp, #128]\n"
	"	stp d14, d15, [sp, #144]\n"
	"	mov x9, sp\n"
	"	str x9, [x0]\n"
	"	mov sp, x1\n"
	"	ldp x19, x20, [sp, #0]\n"
	"	ldp x21, x22, [sp, #16]\n"
	"	ldp x23, x24, [sp, #32]\n"
	"	ldp x25, x26, [sp, #48]\n"
	"	ldp x27, x28, [sp, #64]\n"
	"	ldp x29, x30, [sp, #80]\n"
	"	ldp d8, d9, [sp, #96]\n"
	"	ldp d10, d11, [sp, #112]\n"
	"	ldp d12, d13, [sp, #128]\n"
	"	ldp d14, d15, [sp, #144]\n"
	"	add sp, sp, #160\n"
	"	ret\n"
	".size pm_fibre_swap, . - pm_fibre_swap\n");
enum { PM_FIBRE_WORDS = 20, PM_FIBRE_RETURN = 11 };
#endif

/// Where the stack of a fibre begins.
static void begin(void)
{
	struct pm_fibre *fibre = arriving;

#ifdef PM_FIBRE_ASAN
	__sanitizer_finish_switch_fiber(NULL, NULL, NULL);
#endif
	fibre->run(fibre->context);
	__builtin_trap();
}

bool pm_fibre_init(struct pm_fibre *fibre)
{
	size_t guard = (size_t)sysconf(_SC_PAGESIZE);
	char *memory = mmap(NULL, PM_FIBRE_STACK + guard, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	*fibre = (struct pm_fibre){ 0 };
	if (memory == MAP_FAILED)
		return false;
	(void)mprotect(memory, guard, PROT_NONE);
	fibre->stack = memory + guard;
	fibre->bottom = fibre->stack;
	fibre->bytes = PM_FIBRE_STACK;
#ifdef PM_FIBRE_TSAN
	fibre->sanitizer = __tsan_create_fiber(0);
#endif
	return true;
}

void pm_fibre_deinit(struct pm_fibre *fibre)
{
	size_t guard = (size_t)sysconf(_SC_PAGESIZE);

	if (!fibre->stack)
		return;
#ifdef PM_FIBRE_TSAN
	__tsan_destroy_fiber(fibre->sanitizer);
#endif
	munmap(fibre->stack - guard, fibre->bytes + guard);
	fibre->stack = NULL;
}

void pm_fibre_init_thread(struct pm_fibre *fibre)
{
	*fibre = (struct pm_fibre){ 0 };
#ifdef PM_FIBRE_ASAN
	{
		pthread_attr_t attributes;

		if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
			(void)pthread_attr_getstack(&attributes, &fibre->bottom, &fibre->bytes);
			(void)pthread_attr_destroy(&attributes);
		}
	}
#endif
#ifdef PM_FIBRE_TSAN
	fibre->sanitizer = __tsan_get_current_fiber();
#endif
}

void pm_fibre_start(struct pm_fibre *fibre, void (*run)(void *context), void *context)
{
	fibre->run = run;
	fibre->context = context;
#ifdef PM_FIBRE_ASAN
	/* A fibre that was left in the middle of something has marks of its frames on the stack. */
	__asan_unpoison_memory_region(fibre->stack, fibre->bytes);
#endif
#ifdef PM_FIBRE_TSAN
	__tsan_destroy_fiber(fibre->sanitizer);
	fibre->sanitizer = __tsan_create_fiber(0);
#endif
#ifdef PM_FIBRE_UCONTEXT
	getcontext(&fibre->saved);
	fibre->saved.uc_stack.ss_sp = fibre->stack;
	fibre->saved.uc_stack.ss_size = fibre->bytes;
	fibre->saved.uc_link = NULL;
	makecontext(&fibre->saved, begin, 0);
#else
	{
		uintptr_t *words = (uintptr_t *)(void *)(fibre->stack + fibre->bytes) - PM_FIBRE_WORDS;
		unsigned int i;

		for (i = 0; i < PM_FIBRE_WORDS; i++)
			words[i] = 0;
		words[PM_FIBRE_RETURN] = (uintptr_t)begin;
		fibre->sp = words;
	}
#endif
}

void pm_fibre_switch(struct pm_fibre *from, struct pm_fibre *to)
{
	arriving = to;
#ifdef PM_FIBRE_ASAN
	__sanitizer_start_switch_fiber(&from->sanitizer, to->bottom, to->bytes);
#endif
#ifdef PM_FIBRE_TSAN
	__tsan_switch_to_fiber(to->sanitizer, 0);
#endif
#ifdef PM_FIBRE_UCONTEXT
	swapcontext(&from->saved, &to->saved);
#else
	pm_fibre_swap(&from->sp, to->sp);
#endif
#ifdef PM_FIBRE_ASAN
	__sanitizer_finish_switch_fiber(from->sanitizer, NULL, NULL);
#endif
}
