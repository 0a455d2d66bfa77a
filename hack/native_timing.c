/* Measures whether the time that the native code takes depends on secrets, in the manner of dudect (Reparaz, Balasch, Verbauwhede, 2017).
 *
 * Each call has an input of one of two classes, in random order: always the same, or random. Welch's t compares the cycles of both, for
 * all calls and without the slowest of them, in which others used the processor; the largest |t| counts. Below 4.5 nothing was found.
 * One line for each subject: its name, t, calls. The last subject is known to depend on its input, which is public.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <x86intrin.h>

#include <crypto_mb/ec_nistp256.h>
#include <crypto_mb/ed25519.h>

#include "nonces.h"
#include "p256_ecdsa.h"
#include "sha256.h"
#include "sign.h"

struct input {
    _Alignas(64) uint8_t bytes[32];
};

static uint8_t digest[32];
static struct p256_secret secret;
static volatile uint64_t sink;

/* Signs in all lanes with a nonce and a key. */
static void sign_p256(const uint64_t *nonce, const uint64_t *key)
{
    static struct ecdsa_lane lanes[8];
    uint64_t y[8][4];
    int64u *at_x[8], *at_y[8], *at_z[8];
    const int64u *nonces[8];
    for (int i = 0; i < 8; i++) {
        memcpy(lanes[i].nonce, nonce, 32), memcpy(lanes[i].key, key, 32), memcpy(lanes[i].digest, digest, 32);
        at_x[i] = (int64u *)lanes[i].x, at_y[i] = (int64u *)y[i], at_z[i] = (int64u *)lanes[i].z;
        nonces[i] = (const int64u *)lanes[i].nonce;
    }
    sink += mbx_nistp256_ecpublic_key_mb8(at_x, at_y, at_z, nonces, NULL);
    sink += (uint64_t)p256_ecdsa(lanes, 1);
}

static void of_nonce(const struct input *input)
{
    sign_p256((const uint64_t *)input->bytes, secret.scalar);
}

static void of_key(const struct input *input)
{
    sign_p256(secret.scalar, (const uint64_t *)input->bytes);
}

static void of_draw(const struct input *input)
{
    p256_number nonce;
    uint8_t bits[32];
    memcpy(bits, input->bytes, 32);
    sink += (uint64_t)p256_nonce(nonce, bits, &secret, digest) + nonce[0];
}

static void of_opening(const struct input *input)
{
    struct p256_secret opened;
    sink += (uint64_t)p256_secret_open(&opened, input->bytes) + opened.hedge[0];
}

static void of_seed(const struct input *input)
{
    uint8_t r[8][32], s[8][32];
    static const uint8_t public_key[32];
    ed25519_sign_component *at_r[8], *at_s[8];
    const int8u *message[8];
    const int32u length[8] = {32, 32, 32, 32, 32, 32, 32, 32};
    const ed25519_private_key *key[8];
    const ed25519_public_key *point[8];
    for (int i = 0; i < 8; i++) {
        at_r[i] = &r[i], at_s[i] = &s[i], message[i] = digest;
        key[i] = &input->bytes, point[i] = &public_key;
    }
    sink += mbx_ed25519_sign_mb8(at_r, at_s, message, length, key, point);
}

static void of_signature(const struct input *input)
{
    uint8_t der[P256_DER_MAX];
    sink += p256_to_der(der, input->bytes, input->bytes);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static double root(double x)
{
    double r = x;
    for (int i = 0; i < 200 && r > 0; i++) {
        r = (r + x / r) / 2;
    }
    return r;
}

/* Welch's t of the calls that took at most `most` cycles. */
static double welch(const uint64_t *cycles, const uint8_t *class, size_t calls, uint64_t most)
{
    double mean[2] = {0}, square[2] = {0}, count[2] = {0};
    for (size_t i = 0; i < calls; i++) {
        if (cycles[i] <= most) {
            int c = class[i];
            double off = (double)cycles[i] - mean[c];
            count[c]++;
            mean[c] += off / count[c];
            square[c] += off * ((double)cycles[i] - mean[c]);
        }
    }
    double error = 0;
    for (int c = 0; c < 2; c++) {
        if (count[c] < 1000) {
            return 0;
        }
        error += square[c] / (count[c] - 1) / count[c];
    }
    return error > 0 ? (mean[0] - mean[1]) / root(error) : 0;
}

static double measure(void (*subject)(const struct input *), size_t calls, const uint8_t fixed[32])
{
    enum { PREPARED = 4096 };
    static struct input inputs[PREPARED];
    static uint8_t class[PREPARED];
    uint64_t *cycles = calloc(calls, sizeof *cycles), *sorted = calloc(calls, sizeof *sorted);
    uint8_t *classes = calloc(calls, 1);
    if (!cycles || !sorted || !classes) {
        exit(1);
    }
    for (size_t done = 0; done < calls; done += PREPARED) {
        if (!entropy(class, PREPARED)) {
            exit(1);
        }
        for (int i = 0; i < PREPARED; i++) {
            class[i] &= 1;
            if (!entropy(inputs[i].bytes, 32)) { /* drawn for both, so that both leave the same in the caches */
                exit(1);
            }
            inputs[i].bytes[0] &= 0x7f, inputs[i].bytes[31] &= 0x7f; /* below n, in either order of bytes */
            if (class[i] == 0) {
                memcpy(inputs[i].bytes, fixed, 32);
            }
        }
        for (size_t i = 0; i < PREPARED && done + i < calls; i++) {
            unsigned core;
            _mm_lfence();
            uint64_t start = __rdtsc();
            _mm_lfence();
            subject(inputs + i);
            uint64_t end = __rdtscp(&core);
            _mm_lfence();
            cycles[done + i] = end - start;
            classes[done + i] = class[i];
        }
    }
    memcpy(sorted, cycles, calls * sizeof *cycles);
    qsort(sorted, calls, sizeof *sorted, compare);
    double largest = 0;
    static const double kept[] = {1, 0.99, 0.95, 0.9, 0.75, 0.5, 0.25};
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        double t = welch(cycles, classes, calls, sorted[(size_t)((double)(calls - 1) * kept[i])]);
        t = t < 0 ? -t : t;
        largest = t > largest ? t : largest;
    }
    free(cycles), free(sorted), free(classes);
    return largest;
}

int main(int count, char **arguments)
{
    size_t calls = count > 1 ? strtoull(arguments[1], NULL, 10) : 100000;
    static const uint8_t sparse[32] = {1}, small[32] = {[31] = 1};
    uint8_t dense[32], scalar[32];
    memset(dense, 0x7f, sizeof dense);
    sha256_setup();
    if (!entropy(digest, 32) || !entropy(scalar, 32) || (scalar[0] &= 0x7f, !p256_secret_open(&secret, scalar))) {
        return 1;
    }
    const struct {
        const char *name;
        void (*subject)(const struct input *);
        const uint8_t *fixed;
        size_t factor;
    } subjects[] = {
        {"ECDSA sign, nonce 1 or random", of_nonce, sparse, 1},
        {"ECDSA sign, dense nonce or random", of_nonce, dense, 1},
        {"ECDSA sign, key 1 or random", of_key, sparse, 1},
        {"Ed25519 sign, seed 1 or random", of_seed, sparse, 1},
        {"draw of a nonce, fixed or random entropy", of_draw, dense, 10},
        {"opening of a key, scalar 1 or random", of_opening, small, 10},
        {"control: DER of short or random numbers", of_signature, small, 10},
    };
    for (size_t i = 0; i < sizeof subjects / sizeof subjects[0]; i++) {
        size_t all = calls * subjects[i].factor;
        (void)measure(subjects[i].subject, all / 20 + 1000, subjects[i].fixed); /* warm up */
        printf("%s\t%.2f\t%zu\n", subjects[i].name, measure(subjects[i].subject, all, subjects[i].fixed), all);
        fflush(stdout);
    }
    return 0;
}
