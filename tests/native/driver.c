/* driver plain|all|traces SEED: checks of the native code, under a sanitizer or valgrind. `plain` calls no AVX-512. */
#define _GNU_SOURCE
#include "driver.h"

#include <errno.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sha256_lanes.h"

enum source source = REAL;
int draws, draws_left;
uint8_t scripted[4][32];
static uint64_t state;

void seed(uint64_t value)
{
    state = value * 2 + 1;
}

uint64_t random_number(uint64_t below)
{
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state * 0x2545f4914f6cdd1d % below;
}

uint8_t *random_block(size_t length)
{
    uint8_t *block = malloc(length ? length : 1);
    CHECK(block);
    for (size_t i = 0; i < length; i++) {
        block[i] = (uint8_t)random_number(256);
    }
    return block;
}

ssize_t getrandom(void *to, size_t length, unsigned flags)
{
    int draw = draws++;
    switch (source) {
    case FAILING:
        if (draw >= draws_left) {
            errno = EPERM;
            return -1;
        }
        break;
    case ENDED:
        return 0;
    case SLOW:
        if (draw % 2) {
            errno = EINTR;
            return -1;
        }
        length = 1;
        break;
    case REPEATED:
        memset(to, 0x5a, length);
        return (ssize_t)length;
    case SCRIPTED:
        CHECK(length == 32);
        memcpy(to, scripted[draw < 4 ? draw : 3], length);
        return (ssize_t)length;
    case REAL:
        break;
    }
    return syscall(SYS_getrandom, to, length, flags);
}

int main(int count, char **arguments)
{
    CHECK(count == 3);
    seed(strtoull(arguments[2], NULL, 10));
    if (!strcmp(arguments[1], "traces")) {
        check_traces();
        return 0;
    }
    sha256_setup(), sha256_lanes_setup();
    check_hashes();
    check_numbers();
    check_nonces();
    check_vault();
    if (!strcmp(arguments[1], "all")) {
        check_audit();
        check_rows();
        check_signatures();
        check_faults();
        check_ed25519();
    }
    return 0;
}
