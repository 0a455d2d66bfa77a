/* Checks of what is computed without the library. */
#include "driver.h"

#include "nonces.h"
#include "p256.h"
#include "sha256_lanes.h"
#include "tree.h"
#include "vault.h"
#include "verify.h"

static const char ORDER[] = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";

static void from_hex(uint8_t number[32], const char *text)
{
    for (int i = 0; i < 32; i++) {
        CHECK(sscanf(text + 2 * i, "%2hhx", number + i) == 1);
    }
}

void check_hashes(void)
{
    for (int round = 0; round < 300; round++) {
        size_t length = random_number(300), done = 0;
        uint8_t *data = random_block(length), whole[32], parts[32];
        struct sha256 hash;
        sha256_once(data, length, whole);
        sha256_begin(&hash);
        while (done < length) {
            size_t part = 1 + random_number(length - done);
            sha256_add(&hash, data + done, part);
            done += part;
        }
        sha256_end(&hash, parts);
        CHECK(!memcmp(whole, parts, sizeof whole));

        size_t blocks = length / SHA256_BLOCK;
        uint32_t plain[8] = {1, 2, 3, 4, 5, 6, 7, 8}, fast[8] = {1, 2, 3, 4, 5, 6, 7, 8};
        sha256_compress_plain(plain, data, blocks);
        if (sha256_accelerated()) {
            sha256_compress_ni(fast, data, blocks);
            CHECK(!memcmp(plain, fast, sizeof plain));
        }
        free(data);
    }
    for (size_t count = 0; count < 40; count++) { /* texts of all lengths, in blocks of just their size */
        struct text *texts = calloc(count + 1, sizeof *texts);
        uint8_t (*plain)[32] = malloc(32 * count + 1), (*fast)[32] = malloc(32 * count + 1);
        for (size_t i = 0; i < count; i++) {
            size_t length = random_number(random_number(8) ? 200 : 2000);
            texts[i] = (struct text){random_block(length), length};
        }
        sha256_many_plain(plain, texts, count);
        sha256_many(fast, texts, count);
        CHECK(!memcmp(plain, fast, 32 * count));
        for (size_t i = 0; i < count; i++) {
            free((void *)texts[i].data);
        }
        free(texts), free(plain), free(fast);
    }
    for (size_t count = 0; count < 40; count++) {
        struct leaf *leaf = calloc(count + 1, sizeof *leaf);
        uint8_t (*hashes)[32] = malloc(32 * count + 1), root[32];
        for (size_t i = 0; i < count; i++) {
            for (struct text *text = &leaf[i].id; text <= &leaf[i].signature; text++) {
                size_t length = random_number(random_number(8) ? 80 : 400);
                *text = (struct text){random_block(length), length};
            }
        }
        leaf_hashes(hashes, leaf, count);
        tree_root(root, hashes, count);
        for (size_t i = 0; i < count; i++) {
            for (struct text *text = &leaf[i].id; text <= &leaf[i].signature; text++) {
                free((void *)text->data);
            }
        }
        free(leaf), free(hashes);
    }
    for (size_t width = ROW_HEAD; width < ROW_HEAD + 80; width++) {
        uint8_t *row = random_block(width);
        size_t size = random_number(width - ROW_HEAD + 2);
        row[ROW_HEAD - 2] = 0, row[ROW_HEAD - 1] = (uint8_t)size;
        CHECK(signature_in(row, width) == (size <= width - ROW_HEAD ? (int)size : -1));
        free(row);
    }
}

void check_numbers(void)
{
    int accepted = 0;
    for (int round = 0; round < 20000; round++) {
        uint8_t r[32], s[32], der[P256_DER_MAX], again[P256_DER_MAX];
        uint8_t *number = random_block(64);
        memset(number, 0, random_number(4) == 0 ? random_number(65) : 0);
        size_t size = p256_to_der(der, number, number + 32), length = size;
        uint8_t *changed = random_block(P256_DER_MAX + 2);
        memcpy(changed, der, size);
        if (round % 4) {
            static const uint8_t values[] = {0, 1, 2, 0x20, 0x21, 0x22, 0x30, 0x7f, 0x80, 0x81, 0xff};
            changed[random_number(size)] = values[random_number(sizeof values)];
            length = random_number(3) ? size : random_number(P256_DER_MAX + 3);
        }
        uint8_t *exact = memcpy(malloc(length ? length : 1), changed, length);
        if (p256_from_der(r, s, exact, length)) {
            /* What is accepted has no other form, and is what would be written. */
            CHECK(p256_to_der(again, r, s) == length && !memcmp(again, exact, length));
            accepted++;
        }
        struct p256_point point;
        size_t of_point = random_number(POINT_BYTES + 3);
        uint8_t *bytes = random_block(of_point);
        CHECK(!p256_point_open(&point, bytes, of_point));
        free(bytes), free(exact), free(changed), free(number);
    }
    CHECK(accepted > 3000);
}

/* Adds a small number to a large one. */
static void offset(uint8_t number[32], int by)
{
    for (int i = 31; i >= 0; i--) {
        by += number[i];
        number[i] = (uint8_t)by;
        by >>= 8;
    }
}

/* Makes a nonce whose first candidate is a given number. */
static int with_candidate(p256_number nonce, const struct p256_secret *secret, const uint8_t digest[32],
                          const uint8_t candidate[32])
{
    uint8_t bits[32] = {0}, hedge[32];
    CHECK(p256_nonce(nonce, bits, secret, digest)); /* of bits that are zero: the hash alone */
    p256_store(hedge, nonce);
    for (int i = 0; i < 32; i++) {
        bits[i] = hedge[i] ^ candidate[i];
        for (int draw = 0; draw < 4; draw++) {
            scripted[draw][i] ^= hedge[i];
        }
    }
    draws = 0;
    int found = p256_nonce(nonce, bits, secret, digest);
    for (int i = 0; i < 32; i++) {
        CHECK(bits[i] == 0); /* they are used once */
    }
    return found;
}

void check_nonces(void)
{
    struct p256_secret secret;
    uint8_t scalar[32], order[32], out[32], *digest = random_block(32);
    p256_number nonce;
    from_hex(order, ORDER);
    CHECK(!p256_secret_open(&secret, order));
    CHECK(!p256_secret_open(&secret, memset(out, 0, 32)));
    CHECK(!p256_secret_open(&secret, memset(out, 0xff, 32)));
    memcpy(scalar, order, 32), offset(scalar, -1);
    CHECK(p256_secret_open(&secret, scalar));

    source = SCRIPTED;
    for (int case_ = 0; case_ < 6; case_++) {
        uint8_t candidate[32] = {0};
        int rejected = case_ < 4;
        if (case_ == 1) memcpy(candidate, order, 32);
        if (case_ == 2) memcpy(candidate, order, 32), offset(candidate, 1);
        if (case_ == 3) memset(candidate, 0xff, 32);
        if (case_ == 4) candidate[31] = 1;
        if (case_ == 5) memcpy(candidate, order, 32), offset(candidate, -1);
        memset(scripted, 0, sizeof scripted); /* rejected */
        memcpy(scripted[1], order, 32);       /* rejected */
        memset(scripted[2], 0x77, 32);
        CHECK(with_candidate(nonce, &secret, digest, candidate));
        p256_store(out, nonce);
        CHECK(draws == (rejected ? 3 : 0));
        CHECK(!memcmp(out, rejected ? memset(candidate, 0x77, 32) : candidate, 32));
    }
    uint8_t candidate[32] = {0};
    memset(scripted, 0xff, sizeof scripted); /* for ever */
    CHECK(!with_candidate(nonce, &secret, digest, candidate));
    CHECK(!nonce[0] && !nonce[1] && !nonce[2] && !nonce[3]);

    source = FAILING, draws_left = 0;
    CHECK(!with_candidate(nonce, &secret, digest, memset(candidate, 0, 32)));
    CHECK(!nonce[0] && !nonce[1] && !nonce[2] && !nonce[3]);
    source = ENDED;
    CHECK(!with_candidate(nonce, &secret, digest, candidate));
    CHECK(!entropy(out, 32));
    source = SLOW, draws = 0;
    CHECK(entropy(out, 32) && draws == 63);
    source = REAL;
    free(digest);
}

void check_vault(void)
{
    struct vault vault = {0};
    uint8_t *slots[1000] = {0};
    for (int round = 0; round < 20000; round++) {
        size_t place = random_number(1000);
        if (slots[place]) {
            CHECK(slots[place][0] == place % 251 && slots[place][VAULT_SLOT - 1] == place % 251);
            vault_give(&vault, slots[place]);
            slots[place] = NULL;
        } else {
            slots[place] = vault_take(&vault);
            CHECK(slots[place]);
            for (int i = 0; i < VAULT_SLOT; i++) {
                CHECK(slots[place][i] == 0);
            }
            memset(slots[place], (int)(place % 251), VAULT_SLOT);
        }
    }
    for (int place = 0; place < 1000; place++) {
        if (slots[place]) {
            vault_give(&vault, slots[place]);
        }
    }
    CHECK(vault.pages); /* one page is kept */
    vault_close(&vault);
    CHECK(!vault.pages);
}
