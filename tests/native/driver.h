/* What the checks of the native code share. They are linked with the files of workers/native that know nothing of Python. */
#ifndef DRIVER_H
#define DRIVER_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                           \
    do {                                                                           \
        if (!(condition)) {                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);         \
            abort();                                                               \
        }                                                                          \
    } while (0)

/* The source of randomness, in place of libc's getrandom. */
enum source {
    REAL,
    FAILING,   /* as on a kernel that forbids it */
    ENDED,     /* returns nothing */
    SLOW,      /* a byte at a time, and interrupted between two of them */
    REPEATED,  /* the same bytes each time */
    SCRIPTED,  /* `scripted`, each entry once, then the last one again and again */
};
extern enum source source;
extern int draws;      /* calls of the source since it was set to 0 */
extern int draws_left; /* FAILING begins after this many */
extern uint8_t scripted[4][32];

/* What the library's sign is made to report or has been given, see library.c. */
extern uint32_t status_of_sign, status_of_verify, lanes_of_another_point, lanes_at_infinity;
extern int calls_of_sign;
extern int repeated_nonces;
extern uint64_t last_nonce[4];

/* Numbers that a seed makes. */
void seed(uint64_t value);
uint64_t random_number(uint64_t below);
/* A block of exactly that many random bytes, so that a sanitizer sees each access beyond it. */
uint8_t *random_block(size_t length);

void check_audit(void);
void check_hashes(void);
void check_numbers(void);
void check_nonces(void);
void check_vault(void);
void check_rows(void);
void check_signatures(void);
void check_faults(void);
void check_ed25519(void);
void check_traces(void);

#endif
