#include "zts_table.h"

static const char MAGIC[8] = "zts-tbl";

const char *zts_verdict_name(int verdict) {
#define NAME(name) #name,
    static const char *const names[] = {ZTS_VERDICTS(NAME)};
#undef NAME
    return verdict >= 0 && verdict < ZTS_VERDICT_COUNT ? names[verdict] : NULL;
}

static uint64_t aligned(uint64_t n) { return (n + 63) & ~UINT64_C(63); }

static int shape_possible(const zts_table_shape *s) {
    const int power_of_two = s->window_words && (s->window_words & (s->window_words - 1)) == 0;
    return s->capacity >= 1 && s->capacity <= ZTS_TABLE_CAPACITY_MAX && s->profiles >= 1 &&
           s->profiles <= UINT16_MAX && power_of_two && s->window_words <= ZTS_REPLAY_WORDS_MAX &&
           s->receives <= ZTS_DIRECTION_REPLY && s->clock_kind <= ZTS_CLOCK_MANUAL &&
           (s->receives == ZTS_DIRECTION_REQUEST || s->capacity == 1);
}

static void lay_out(const zts_table_shape *s, zts_table_header *h) {
    h->slot_bytes = (uint32_t)aligned(sizeof(zts_slot) + s->window_words * sizeof(zts_replay_word));
    h->profiles_at = aligned(sizeof *h);
    h->occupied_at = h->profiles_at + (uint64_t)s->profiles * sizeof(zts_profile);
    h->slots_at = h->occupied_at + aligned(((uint64_t)s->capacity + 63) / 64 * 8);
    h->region_bytes = h->slots_at + (uint64_t)s->capacity * h->slot_bytes;
}

size_t zts_table_bytes(const zts_table_shape *shape) {
    zts_table_header h;
    if (!shape_possible(shape)) return 0;
    lay_out(shape, &h);
    return h.region_bytes;
}

zts_status zts_table_format(void *region, size_t bytes, const zts_table_shape *shape) {
    if (!shape_possible(shape) || bytes < zts_table_bytes(shape)) return ZTS_BAD_SHAPE;
    zts_table_header *h = region;
    lay_out(shape, h);
    h->shape = *shape;
    h->index_mask = shape->receives == ZTS_DIRECTION_REQUEST ? ZTS_TABLE_CAPACITY_MAX - 1 : 0;
    h->layout_version = ZTS_TABLE_LAYOUT_VERSION;
    h->skew_us = ZTS_SKEW_US;
    zts_clock_init(&h->clock, (zts_clock_kind)shape->clock_kind);
    ZTS_SET(h->lease_deadline_us, UINT64_MAX);
    memcpy(h->magic, MAGIC, sizeof h->magic); /* last: a region without it was never finished */
    return ZTS_DONE;
}

zts_status zts_table_attach(zts_table *table, void *region, size_t bytes, const zts_sha256_backend *backend) {
    const zts_table_header *h = region;
    zts_table_header expected;
    if (bytes < sizeof *h || ((uintptr_t)region & 63)) return ZTS_BAD_REGION;
    if (memcmp(h->magic, MAGIC, sizeof h->magic) != 0 || h->layout_version != ZTS_TABLE_LAYOUT_VERSION)
        return ZTS_BAD_REGION;
    if (!shape_possible(&h->shape)) return ZTS_BAD_REGION;
    lay_out(&h->shape, &expected);
    if (expected.slot_bytes != h->slot_bytes || expected.profiles_at != h->profiles_at ||
        expected.occupied_at != h->occupied_at || expected.slots_at != h->slots_at ||
        expected.region_bytes != h->region_bytes || bytes < h->region_bytes)
        return ZTS_BAD_REGION;
    uint8_t *base = region;
    *table = (zts_table){
        .header = region,
        .profiles = (zts_profile *)(void *)(base + h->profiles_at),
        .occupied = (_Atomic uint64_t *)(void *)(base + h->occupied_at),
        .slots = base + h->slots_at,
        .backend = backend,
        .capacity = h->shape.capacity,
        .index_mask = h->index_mask,
        .slot_bytes = h->slot_bytes,
        .window_mask = h->shape.window_words - 1,
    };
    return ZTS_DONE;
}
