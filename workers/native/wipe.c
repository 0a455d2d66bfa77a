#include "wipe.h"

#include <string.h>

/* Twice what a call of the library takes. */
#define DEEP 32768

void wipe(void *memory, size_t length)
{
    explicit_bzero(memory, length);
}

__attribute__((noinline)) void wipe_plain_traces(void)
{
    char stack[DEEP];
    explicit_bzero(stack, sizeof stack);
    __asm__ volatile("pxor %%xmm0, %%xmm0\n\tpxor %%xmm1, %%xmm1\n\tpxor %%xmm2, %%xmm2\n\tpxor %%xmm3, %%xmm3\n\t"
                     "pxor %%xmm4, %%xmm4\n\tpxor %%xmm5, %%xmm5\n\tpxor %%xmm6, %%xmm6\n\tpxor %%xmm7, %%xmm7\n\t"
                     "pxor %%xmm8, %%xmm8\n\tpxor %%xmm9, %%xmm9\n\tpxor %%xmm10, %%xmm10\n\tpxor %%xmm11, %%xmm11\n\t"
                     "pxor %%xmm12, %%xmm12\n\tpxor %%xmm13, %%xmm13\n\tpxor %%xmm14, %%xmm14\n\tpxor %%xmm15, %%xmm15"
                     :
                     :
                     : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                       "xmm12", "xmm13", "xmm14", "xmm15");
}

#define CLEAR(n) "vpxorq %%zmm" #n ", %%zmm" #n ", %%zmm" #n "\n\t"
#define CLEAR_EIGHT(a, b, c, d, e, f, g, h) CLEAR(a) CLEAR(b) CLEAR(c) CLEAR(d) CLEAR(e) CLEAR(f) CLEAR(g) CLEAR(h)

__attribute__((noinline, target("avx512f"))) void wipe_traces(void)
{
    char stack[DEEP];
    explicit_bzero(stack, sizeof stack);
    __asm__ volatile(CLEAR_EIGHT(0, 1, 2, 3, 4, 5, 6, 7) CLEAR_EIGHT(8, 9, 10, 11, 12, 13, 14, 15)
                         CLEAR_EIGHT(16, 17, 18, 19, 20, 21, 22, 23) CLEAR_EIGHT(24, 25, 26, 27, 28, 29, 30, 31)
                     :
                     :
                     : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                       "xmm12", "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22",
                       "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31");
}
