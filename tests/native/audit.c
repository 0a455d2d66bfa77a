/* Checks of what reads rows of COPY: rows of all lengths, cut short and altered, in blocks of just their size. */
#include "driver.h"

#include "audit.h"
#include "bytes.h"

#define FEW 12
#define HEAD 19

struct stream {
    uint8_t bytes[HEAD + FEW * 400 + 2];
    size_t length;
};

static void add(struct stream *stream, const void *bytes, size_t length)
{
    CHECK(stream->length + length <= sizeof stream->bytes);
    memcpy(stream->bytes + stream->length, bytes, length);
    stream->length += length;
}

static void add_field(struct stream *stream, size_t length)
{
    uint8_t size[4], *field = random_block(length);
    store_be32(size, random_number(20) ? (uint32_t)length : UINT32_MAX);
    add(stream, size, 4);
    if (load_be32(size) != UINT32_MAX) {
        add(stream, field, length);
    }
    free(field);
}

static void begin(struct stream *stream)
{
    stream->length = 0;
    add(stream, "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0", HEAD);
}

static void add_row(struct stream *stream, int64_t id, int fields)
{
    static const size_t lengths[] = {0, 4, 4, 8, 32, 71};
    uint8_t head[2] = {0, (uint8_t)fields}, number[12];
    add(stream, head, 2);
    store_be32(number, 8);
    store_be64(number + 4, (uint64_t)id);
    add(stream, number, sizeof number);
    for (int i = 1; i < fields; i++) {
        add_field(stream, fields == 6 && random_number(30) ? lengths[i] : random_number(70));
    }
}

/* Ends a stream, as it is or altered somewhere, in a block of just its size. */
static uint8_t *end(struct stream *stream, size_t *length)
{
    add(stream, "\377\377", 2);
    if (random_number(2)) {
        stream->bytes[random_number(stream->length)] = (uint8_t)random_number(256);
    }
    *length = random_number(3) ? stream->length : random_number(stream->length + 1);
    return memcpy(malloc(*length ? *length : 1), stream->bytes, *length);
}

static void check_one(const int64_t *numbers, size_t count)
{
    struct p256_point generator;
    static const uint8_t point[] =
        "\4\x6b\x17\xd1\xf2\xe1\x2c\x42\x47\xf8\xbc\xe6\xe5\x63\xa4\x40\xf2\x77\x03\x7d\x81\x2d\xeb\x33\xa0\xf4\xa1\x39\x45"
        "\xd8\x98\xc2\x96\x4f\xe3\x42\xe2\xfe\x1a\x7f\x9b\x8e\xe7\xeb\x4a\x7c\x0f\x9e\x16\x2b\xce\x33\x57\x6b\x31\x5e\xce"
        "\xcb\xb6\x40\x68\x37\xbf\x51\xf5";
    CHECK(p256_point_open(&generator, point, POINT_BYTES));
    uint8_t (*digests)[SHA256_BYTES] = malloc(count * SHA256_BYTES + 1), *flags = calloc(count + 1, 1);
    for (int fields = 1; fields <= 6; fields++) {
        struct ids ids = {(const uint8_t *)numbers, count, 0};
        struct stream stream;
        size_t length;
        begin(&stream);
        for (size_t i = 0; i < count; i++) {
            add_row(&stream, numbers[random_number(5) ? i : random_number(count)], fields);
        }
        uint8_t *copied = end(&stream, &length);
        CHECK(audit_payloads(digests, flags, &ids, copied, length) == DONE);
        (void)audit_known(&ids, copied, length);
        size_t first = random_number(count + 1);
        struct stated_batch batches[2] = {{.count = first}, {.first = first, .count = count - first}};
        struct audit audit = {ids, (const uint8_t (*)[SHA256_BYTES])digests, batches, 2, &generator, 1};
        uint8_t plain[2];
        CHECK(audit_batches(plain, &audit, copied, length) == DONE);
        CHECK(!plain[0] && !plain[1]); /* nobody knows the roots */
        free(copied);
    }
    free(digests), free(flags);
}

void check_audit(void)
{
    int64_t numbers[FEW];
    for (int round = 0; round < 400; round++) {
        size_t count = random_number(FEW + 1);
        for (size_t i = 0; i < count; i++) {
            numbers[i] = (i ? numbers[i - 1] : -20) + 1 + (int64_t)random_number(round % 2 ? 1 : 9);
        }
        int64_t *exact = memcpy(malloc(count * sizeof *exact + 1), numbers, count * sizeof *exact);
        check_one(exact, count);
        free(exact);
    }
}
