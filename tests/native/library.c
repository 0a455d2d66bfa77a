/* Checks of what calls the library. The linker puts these between (--wrap), to see what it is given and to make it fail. */
#define _GNU_SOURCE
#include "driver.h"

#include <pthread.h>

#include <crypto_mb/ec_nistp256.h>
#include <crypto_mb/ed25519.h>

#include "bytes.h"
#include "ed25519.h"
#include "p256_ecdsa.h"
#include "sha256.h"
#include "sign.h"
#include "verify.h"

uint32_t status_of_sign, status_of_verify, lanes_of_another_point, lanes_at_infinity;
int calls_of_sign, repeated_nonces;
uint64_t last_nonce[4];

mbx_status __real_mbx_nistp256_ecpublic_key_mb8(int64u *x[8], int64u *y[8], int64u *z[8], const int64u *const nonce[8],
                                                int8u *buffer);
mbx_status __wrap_mbx_nistp256_ecpublic_key_mb8(int64u *x[8], int64u *y[8], int64u *z[8], const int64u *const nonce[8],
                                                int8u *buffer);
/* Signing alone asks for z. */
mbx_status __wrap_mbx_nistp256_ecpublic_key_mb8(int64u *x[8], int64u *y[8], int64u *z[8], const int64u *const nonce[8],
                                                int8u *buffer)
{
    if (!z) {
        return __real_mbx_nistp256_ecpublic_key_mb8(x, y, z, nonce, buffer);
    }
    calls_of_sign++;
    for (int lane = 0; lane < LANES; lane++) {
        CHECK(x[lane] && y[lane] && z[lane] && p256_is_scalar((const uint64_t *)nonce[lane]));
        for (int other = 0; other < lane; other++) {
            repeated_nonces += !memcmp(nonce[lane], nonce[other], 32);
        }
    }
    repeated_nonces += !memcmp(nonce[0], last_nonce, 32);
    memcpy(last_nonce, nonce[LANES - 1], sizeof last_nonce);
    mbx_status status = __real_mbx_nistp256_ecpublic_key_mb8(x, y, z, nonce, buffer) | status_of_sign;
    for (int lane = 0; lane < LANES; lane++) {
        if (lanes_at_infinity >> lane & 1) {
            memset(z[lane], 0, 32);
        }
    }
    return status;
}

mbx_status __real_mbx_nistp256_ecdsa_verify_mb8(const int8u *const r[8], const int8u *const s[8],
                                                const int8u *const digest[8], const int64u *const x[8],
                                                const int64u *const y[8], const int64u *const z[8], int8u *buffer);
mbx_status __wrap_mbx_nistp256_ecdsa_verify_mb8(const int8u *const r[8], const int8u *const s[8],
                                                const int8u *const digest[8], const int64u *const x[8],
                                                const int64u *const y[8], const int64u *const z[8], int8u *buffer);
mbx_status __wrap_mbx_nistp256_ecdsa_verify_mb8(const int8u *const r[8], const int8u *const s[8],
                                                const int8u *const digest[8], const int64u *const x[8],
                                                const int64u *const y[8], const int64u *const z[8], int8u *buffer)
{
    return __real_mbx_nistp256_ecdsa_verify_mb8(r, s, digest, x, y, z, buffer) | status_of_verify;
}

mbx_status __real_mbx_ed25519_sign_mb8(ed25519_sign_component *r[8], ed25519_sign_component *s[8],
                                       const int8u *const text[8], const int32u length[8],
                                       const ed25519_private_key *const key[8], const ed25519_public_key *const point[8]);
mbx_status __wrap_mbx_ed25519_sign_mb8(ed25519_sign_component *r[8], ed25519_sign_component *s[8],
                                       const int8u *const text[8], const int32u length[8],
                                       const ed25519_private_key *const key[8], const ed25519_public_key *const point[8]);
mbx_status __wrap_mbx_ed25519_sign_mb8(ed25519_sign_component *r[8], ed25519_sign_component *s[8],
                                       const int8u *const text[8], const int32u length[8],
                                       const ed25519_private_key *const key[8], const ed25519_public_key *const point[8])
{
    for (int lane = 0; lane < LANES; lane++) {
        CHECK(r[lane] && s[lane] && text[lane] && key[lane] && point[lane]);
    }
    return __real_mbx_ed25519_sign_mb8(r, s, text, length, key, point) | status_of_sign;
}

mbx_status __real_mbx_ed25519_public_key_mb8(ed25519_public_key *point[8], const ed25519_private_key *const key[8]);
mbx_status __wrap_mbx_ed25519_public_key_mb8(ed25519_public_key *point[8], const ed25519_private_key *const key[8]);
mbx_status __wrap_mbx_ed25519_public_key_mb8(ed25519_public_key *point[8], const ed25519_private_key *const key[8])
{
    mbx_status status = __real_mbx_ed25519_public_key_mb8(point, key);
    for (int lane = 0; lane < LANES; lane++) {
        if (lanes_of_another_point >> lane & 1) {
            (*point[lane])[lane] ^= 1;
        }
    }
    return status;
}

/* A key and its point. */
static void new_key(struct p256_secret *secret, struct p256_point *point)
{
    uint8_t *scalar = random_block(32);
    scalar[0] &= 0x7f;
    CHECK(p256_secret_open(secret, scalar));
    int64u x[8][4], y[8][4], *px[8], *py[8];
    const int64u *key[8];
    for (int i = 0; i < 8; i++) {
        px[i] = x[i], py[i] = y[i], key[i] = (const int64u *)secret->scalar;
    }
    CHECK(mbx_nistp256_ecpublic_key_mb8(px, py, NULL, key, NULL) == MBX_STATUS_OK);
    memcpy(point->x, x[0], 32), memcpy(point->y, y[0], 32);
    free(scalar);
}

void check_rows(void)
{
    struct p256_secret keys[3];
    struct p256_point points[3];
    for (int i = 0; i < 3; i++) {
        new_key(keys + i, points + i);
        uint8_t encoded[POINT_BYTES] = {4};
        struct p256_point read;
        p256_store(encoded + 1, points[i].x), p256_store(encoded + 33, points[i].y);
        CHECK(p256_point_open(&read, encoded, POINT_BYTES) && !memcmp(&read, points + i, sizeof read));
    }
    for (size_t count = 0; count <= 3 * (TABLE_LEAST + 5); count++) {
        size_t width = ROW_LEAST + random_number(30);
        struct to_sign *items = malloc(count ? count * sizeof *items : 1);
        struct to_verify *signatures = malloc(count ? count * sizeof *signatures : 1);
        uint8_t *rows = malloc(count ? count * width : 1), *answers = malloc(count ? count : 1);
        for (size_t i = 0; i < count; i++) {
            /* With an even number, each key has so many in succession that it is verified with a table. */
            size_t key = count % 2 ? random_number(3) : i / (TABLE_LEAST + 5), length = random_number(200);
            items[i] = (struct to_sign){{random_block(length), length}, {NULL, 0}, keys + key};
            signatures[i].key = points + key;
        }
        source = count % 8 ? REAL : SLOW;
        calls_of_sign = 0;
        CHECK(sign_rows(rows, width, items, count) == DONE);
        CHECK(calls_of_sign == (int)(count + LANES - 1) / LANES);
        for (size_t i = 0; i < count; i++) {
            uint8_t *row = rows + i * width;
            size_t size = row[ROW_HEAD - 1];
            signatures[i].digest = (struct text){row, 32};
            signatures[i].signature = (struct text){row + ROW_HEAD, size};
            for (size_t j = ROW_HEAD + size; j < width; j++) {
                CHECK(row[j] == 0);
            }
        }
        CHECK(verify_all(answers, signatures, count) == DONE);
        for (size_t i = 0; i < count; i++) {
            CHECK(answers[i] == 1);
            rows[i * width + ROW_HEAD + random_number(signatures[i].signature.length)] ^= (uint8_t)(1 + random_number(255));
        }
        CHECK(verify_all(answers, signatures, count) == DONE);
        for (size_t i = 0; i < count; i++) {
            CHECK(answers[i] == 0);
            free((void *)items[i].payload.data);
        }
        free(items), free(signatures), free(rows), free(answers);
    }
    source = REAL;
    CHECK(repeated_nonces == 0);
}

static int all_zero(const uint8_t *bytes, size_t length)
{
    uint8_t any = 0;
    for (size_t i = 0; i < length; i++) {
        any |= bytes[i];
    }
    return any == 0;
}

/* Makes lanes of small numbers, which are no signature's, but as good for sums. */
static void fill(struct ecdsa_lane *lanes, size_t count)
{
    memset(lanes, 0, count * sizeof *lanes);
    for (size_t i = 0; i < count; i++) {
        lanes[i].x[0] = 2 + i, lanes[i].z[0] = 1, lanes[i].nonce[0] = 1, lanes[i].digest[0] = 3, lanes[i].key[0] = 5;
    }
}

/* With z and nonce of 1: r = x modulo n, s = digest + r key. */
void check_signatures(void)
{
    static const p256_number N = {0xf3b9cac2fc632551, 0xbce6faada7179e84, 0xffffffffffffffff, 0xffffffff00000000};
    static const p256_number LARGEST_X = {0xfffffffffffffffe, 0x00000000ffffffff, 0, 0xffffffff00000001}; /* p - 1 */
    static struct ecdsa_lane lanes[ECDSA_MOST];
    CHECK(p256_ecdsa(lanes, 0));
    for (size_t groups = 1; groups <= ECDSA_MOST / LANES; groups++) {
        size_t count = groups * LANES, last = count - 1;
        fill(lanes, count);
        CHECK(p256_ecdsa(lanes, groups));
        for (size_t i = 0; i < count; i++) {
            const p256_number r = {2 + i}, s = {3 + 5 * (2 + i)};
            CHECK(!memcmp(lanes[i].x, r, sizeof r) && !memcmp(lanes[i].z, s, sizeof s));
        }
        for (size_t lane = 0; lane < count; lane += 3) {
            fill(lanes, count);
            memcpy(lanes[lane].x, N, sizeof N); /* r is 0 */
            CHECK(!p256_ecdsa(lanes, groups));
            fill(lanes, count);
            memcpy(lanes[lane].digest, N, sizeof N); /* s is 0 */
            lanes[lane].digest[0] -= 5 * (2 + lane);
            CHECK(!p256_ecdsa(lanes, groups));
            fill(lanes, count);
            lanes[lane].z[0] = 0;
            CHECK(!p256_ecdsa(lanes, groups));
            fill(lanes, count);
            lanes[lane].nonce[0] = 0;
            CHECK(!p256_ecdsa(lanes, groups));
        }
        fill(lanes, count);
        memcpy(lanes[last].x, LARGEST_X, sizeof LARGEST_X); /* above n: r is p - 1 - n */
        CHECK(p256_ecdsa(lanes, groups));
        p256_number r = {0x0c46353d039cdaad, 0x4319055358e8617b, 0, 0}, s;
        CHECK(!memcmp(lanes[last].x, r, sizeof r));
        unsigned __int128 carried = 3;
        for (int i = 0; i < 4; i++, carried >>= 64) {
            carried += (unsigned __int128)r[i] * 5;
            s[i] = (uint64_t)carried;
        }
        CHECK(!memcmp(lanes[last].z, s, sizeof s));
    }
}

void check_faults(void)
{
    enum { COUNT = 70, WIDTH = ROW_LEAST };
    struct p256_secret key;
    struct p256_point point[2];
    struct to_sign items[COUNT];
    struct to_verify signatures[COUNT];
    uint8_t payload[COUNT][4] = {0}, rows[COUNT * WIDTH], answers[COUNT];
    new_key(&key, point);
    point[1] = point[0];
    for (int i = 0; i < COUNT; i++) {
        payload[i][0] = (uint8_t)i;
        items[i] = (struct to_sign){{payload[i], 4}, {NULL, 0}, &key};
    }
    /* A lane's fault is seen, whether its signature is wanted or not. */
    for (int lane = 0; lane < LANES; lane++) {
        for (size_t count = 1; count <= COUNT; count += 23) {
            for (uint32_t fault = 1; fault < 16; fault++) {
                status_of_sign = fault << 4 * lane;
                memset(rows, 0xee, sizeof rows);
                CHECK(sign_rows(rows, WIDTH, items, count) == LANE_FAILED);
                CHECK(all_zero(rows, count * WIDTH));
                uint8_t der[P256_DER_MAX];
                size_t length;
                p256_number nonce = {5};
                repeated_nonces = 0;
                CHECK(sign_with_nonce(der, &length, &key, nonce, rows) == LANE_FAILED);
            }
        }
    }
    status_of_sign = 0;
    /* No inversion is taken for right because others of its call are. */
    for (int lane = 0; lane < LANES; lane++) {
        lanes_at_infinity = 1u << lane;
        memset(rows, 0xee, sizeof rows);
        CHECK(sign_rows(rows, WIDTH, items, COUNT) == LANE_FAILED);
        CHECK(all_zero(rows, sizeof rows));
    }
    lanes_at_infinity = 0;
    /* Without randomness there is no signature, however late it ends. */
    for (int draws_before = 0; draws_before < 2; draws_before++) {
        source = FAILING, draws = 0, draws_left = draws_before;
        memset(rows, 0xee, sizeof rows);
        CHECK(sign_rows(rows, WIDTH, items, COUNT) == NO_ENTROPY);
        CHECK(all_zero(rows, sizeof rows));
    }
    source = ENDED;
    CHECK(sign_rows(rows, WIDTH, items, COUNT) == NO_ENTROPY);
    /* Of a source that repeats itself, no two digests get the same nonce. */
    source = REPEATED, repeated_nonces = 0;
    memset(last_nonce, 0, sizeof last_nonce);
    CHECK(sign_rows(rows, WIDTH, items, 64) == DONE);
    CHECK(repeated_nonces == 0);
    source = REAL;

    CHECK(sign_rows(rows, WIDTH, items, COUNT) == DONE);
    for (int i = 0; i < COUNT; i++) {
        uint8_t *row = rows + i * WIDTH;
        signatures[i] = (struct to_verify){{row, 32}, {row + ROW_HEAD, row[ROW_HEAD - 1]}, point + i % 2}; /* as by two keys: no tables */
    }
    for (int lane = 0; lane < LANES; lane++) {
        status_of_verify = (uint32_t)MBX_STATUS_SIGNATURE_ERR << 4 * lane;
        CHECK(verify_all(answers, signatures, COUNT) == DONE);
        for (int i = 0; i < COUNT; i++) {
            CHECK(answers[i] == (i % LANES != lane));
        }
        status_of_verify = (uint32_t)MBX_STATUS_MISMATCH_PARAM_ERR << 4 * lane;
        CHECK(verify_all(answers, signatures, COUNT) == LANE_FAILED);
        CHECK(all_zero(answers, sizeof answers));
    }
    /* With a table, no answer is the library's: it does not even hear of the signatures. */
    status_of_verify = (uint32_t)MBX_STATUS_MISMATCH_PARAM_ERR;
    for (int i = 0; i < COUNT; i++) {
        signatures[i].key = point;
        if (i % 3 == 0) { /* over another digest */
            rows[i * WIDTH] ^= 1;
        }
    }
    CHECK(verify_all(answers, signatures, COUNT) == DONE);
    for (int i = 0; i < COUNT; i++) {
        CHECK(answers[i] == (i % 3 != 0));
    }
    status_of_verify = 0;
}

static void public_key_of(uint8_t public_key[ED25519_BYTES], const uint8_t seed[ED25519_BYTES])
{
    ed25519_public_key found[LANES], *at[LANES];
    const ed25519_private_key *key[LANES];
    for (int lane = 0; lane < LANES; lane++) {
        at[lane] = found + lane, key[lane] = (const ed25519_private_key *)seed;
    }
    CHECK(mbx_ed25519_public_key_mb8(at, key) == MBX_STATUS_OK);
    memcpy(public_key, found[0], ED25519_BYTES);
}

void check_ed25519(void)
{
    struct ed25519_secret keys[3];
    for (int i = 0; i < 3; i++) {
        uint8_t *seed = random_block(ED25519_BYTES);
        uint8_t public_key[ED25519_BYTES];
        public_key_of(public_key, seed);
        CHECK(ed25519_secret_open(keys + i, seed, public_key));
        CHECK(!memcmp(keys[i].public_key, public_key, ED25519_BYTES));
        /* In one lane or in all, the library can't have its way with another one. */
        for (lanes_of_another_point = 1; lanes_of_another_point < 256; lanes_of_another_point++) {
            struct ed25519_secret none;
            CHECK(!ed25519_secret_open(&none, seed, public_key));
            CHECK(all_zero((const uint8_t *)&none, sizeof none));
        }
        lanes_of_another_point = 0;
        free(seed);
    }
    for (size_t count = 0; count <= 20; count++) {
        size_t width = ED25519_ROW_LEAST + random_number(30);
        struct to_sign items[20];
        struct ed25519_to_verify signatures[20];
        uint8_t *rows = malloc(count ? count * width : 1), answers[20];
        for (size_t i = 0; i < count; i++) {
            size_t key = random_number(3), length = random_number(300);
            items[i] = (struct to_sign){{random_block(length), length}, {NULL, 0}, keys + key};
            uint8_t *at = rows + i * width + ROW_HEAD;
            signatures[i] = (struct ed25519_to_verify){items[i].payload, {at, 64}, keys[key].public_key};
        }
        for (int lane = 0; lane < LANES && count > 0; lane++) {
            status_of_sign = (uint32_t)(1 + random_number(15)) << 4 * lane;
            memset(rows, 0xee, count * width);
            CHECK(ed25519_sign_rows(rows, width, items, count) == LANE_FAILED);
            CHECK(all_zero(rows, count * width));
        }
        status_of_sign = 0;
        CHECK(ed25519_sign_rows(rows, width, items, count) == DONE);
        CHECK(ed25519_verify_all(answers, signatures, count) == DONE);
        for (size_t i = 0; i < count; i++) {
            CHECK(answers[i] == 1);
            rows[i * width + ROW_HEAD + random_number(64)] ^= (uint8_t)(1 + random_number(255));
        }
        CHECK(ed25519_verify_all(answers, signatures, count) == DONE);
        for (size_t i = 0; i < count; i++) {
            CHECK(answers[i] == 0);
            free((void *)items[i].payload.data);
        }
        free(rows);
    }
}

/* A stack of our own, so that what a thread leaves there can be read. */
enum { STACK = 256 * 1024, DEEPEST = 32 * 1024, MARK = 0xa5 };
static uint8_t stack[STACK] __attribute__((aligned(4096)));
static struct p256_secret traced;
static struct ed25519_secret traced_too;
static uint8_t opened[P256_BYTES];

static void *open_on_the_stack(void *unused)
{
    (void)unused;
    CHECK(p256_secret_open(&traced, opened));
    return NULL;
}

static void *sign_on_the_stack(void *rows)
{
    static uint8_t payload[64];
    static struct to_sign items[64];
    for (int i = 0; i < 64; i++) {
        items[i] = (struct to_sign){{payload, sizeof payload}, {NULL, 0}, &traced};
    }
    CHECK(sign_rows(rows, ROW_LEAST, items, 61) == DONE);
    return NULL;
}

static void *sign_ed25519_on_the_stack(void *rows)
{
    static struct to_sign item = {{(const uint8_t *)"text", 4}, {NULL, 0}, &traced_too};
    CHECK(ed25519_sign_rows(rows, ROW_LEAST, &item, 1) == DONE);
    return NULL;
}

static int found(const void *secret)
{
    return memmem(stack, sizeof stack, secret, 8) != NULL;
}

/* Signs on the stack; what the library left there must be gone. Returns the depth. */
static size_t depth_of(void *(*sign)(void *))
{
    static uint8_t rows[64 * ROW_LEAST];
    pthread_attr_t attributes;
    pthread_t thread;
    memset(stack, MARK, sizeof stack);
    CHECK(!pthread_attr_init(&attributes) && !pthread_attr_setstack(&attributes, stack, sizeof stack));
    CHECK(!pthread_create(&thread, &attributes, sign, rows) && !pthread_join(thread, NULL));
    size_t untouched = 0, left = 0;
    while (stack[untouched] == MARK) {
        untouched++;
    }
    for (size_t i = untouched; i < untouched + DEEPEST && i < sizeof stack; i++) {
        left += stack[i] != 0;
    }
    CHECK(left < 512); /* the frames of the wiping itself */
    return sizeof stack - untouched;
}

/* Of a scalar, SHA-256 makes words of its own. */
static void check_traces_of_opening(void)
{
    uint8_t *scalar = random_block(P256_BYTES);
    scalar[0] &= 0x7f;
    memcpy(opened, scalar, P256_BYTES);
    free(scalar);
    printf("%zu ", depth_of(open_on_the_stack));
    for (int i = 0; i < P256_BYTES; i += 8) {
        uint32_t words[2] = {load_be32(opened + i), load_be32(opened + i + 4)};
        CHECK(!found(opened + i) && !found(words) && !found(traced.scalar + i / 8) && !found(traced.hedge + i / 4));
    }
}

/* Prints the depths of the stack. No nonce, no key and nothing made of it may be found there. */
void check_traces(void)
{
    check_traces_of_opening(); /* with SHA-256 in plain C */
    sha256_setup();
    check_traces_of_opening();
    struct p256_point point;
    new_key(&traced, &point);
    printf("%zu ", depth_of(sign_on_the_stack));
    CHECK(last_nonce[0] && last_nonce[3]);
    for (int i = 0; i < 4; i++) {
        CHECK(!found(last_nonce + i) && !found(traced.scalar + i) && !found(traced.hedge + 2 * i));
    }
    uint8_t *seed = random_block(ED25519_BYTES);
    uint8_t public_key[ED25519_BYTES];
    public_key_of(public_key, seed);
    CHECK(ed25519_secret_open(&traced_too, seed, public_key));
    printf("%zu\n", depth_of(sign_ed25519_on_the_stack));
    for (int i = 0; i < 4; i++) {
        CHECK(!found(seed + 8 * i));
    }
    free(seed);
}
