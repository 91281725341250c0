/* A writer is taken off the processor inside a slot, for a while or for good (D9). Nobody may be accepted meanwhile, and
 * a decision made meanwhile must hold when the writer comes back. The writer is this program, by way of the slot's lock. */
#define _GNU_SOURCE
#include <pthread.h>
#include <time.h>

#include "bench_table.h"

static void nap_ms(long ms) { nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL); }

typedef struct {
    zts_slot *slot;
    uint64_t locked;
} held;

static void *leave_later(void *argument) {
    const held *h = argument;
    nap_ms(30);
    zts_slot_unlock(h->slot, h->locked);
    return NULL;
}

static held enter(zts_table *point, const session *s) {
    held h = {zts_table_slot_of(point, s->handle), 0};
    h.locked = zts_slot_lock(h.slot);
    CHECK(h.locked);
    return h;
}

static int ring_is_wiped(const zts_slot *slot) {
    static const zts_keyring nothing;
    return memcmp(&slot->keys, &nothing, sizeof nothing) == 0;
}

/* 1 The writer is away for long by the processor's clock and short by the wall's: an end waits, and is whole. */
static void an_end_waits(zts_table *point) {
    session s = session_new(point, 1, 11);
    held h = enter(point, &s);
    pthread_t writer;
    pthread_create(&writer, NULL, leave_later, &h);
    CHECK(zts_table_end(point, s.handle, ZTS_MODE_REVOKED) == ZTS_DONE);
    pthread_join(writer, NULL);
    CHECK(call(point, &s, "body") == ZTS_REVOKED);
    CHECK(ring_is_wiped(h.slot) && atomic_load(&point->header->live) == 0);
    table_free(&s.client);
}

/* 2 The same for a mode. */
static void a_mode_waits(zts_table *point) {
    session s = session_new(point, 1, 12);
    held h = enter(point, &s);
    pthread_t writer;
    pthread_create(&writer, NULL, leave_later, &h);
    CHECK(zts_table_set_mode(point, s.handle, ZTS_MODE_SUSPENDED) == ZTS_DONE);
    pthread_join(writer, NULL);
    CHECK(call(point, &s, "body") == ZTS_REAUTH_REQUIRED);
    CHECK(zts_table_end(point, s.handle, ZTS_MODE_FREE) == ZTS_DONE);
    table_free(&s.client);
}

/* 3 The writer does not come back in time: the session is dead all the same, also after it did, and a sweep cleans up. */
static void nobody_rises_again(zts_table *point, int by_mode) {
    session s = session_new(point, 1, 13);
    held h = enter(point, &s);
    CHECK(call(point, &s, "while the writer is inside") == ZTS_UNKNOWN_SESSION);
    if (by_mode)
        CHECK(zts_table_set_mode(point, s.handle, ZTS_MODE_RESTRICTED) == ZTS_SESSION_ENDED);
    else
        CHECK(zts_table_end(point, s.handle, ZTS_MODE_REVOKED) == ZTS_DONE);
    CHECK(zts_table_sweep(point, 0, UINT32_MAX) == 0);
    zts_slot_unlock(h.slot, h.locked);
    CHECK(call(point, &s, "after it left") == ZTS_REVOKED);
    CHECK(zts_table_set_mode(point, s.handle, ZTS_MODE_NORMAL) == ZTS_NO_SUCH_SESSION);
    CHECK(call(point, &s, "after a change of mode") == ZTS_REVOKED);
    CHECK(atomic_load(&point->header->live) == 1 && !ring_is_wiped(h.slot));
    CHECK(zts_table_sweep(point, 0, UINT32_MAX) == 1);
    CHECK(atomic_load(&point->header->live) == 0 && ring_is_wiped(h.slot));
    CHECK(call(point, &s, "after the sweep") == ZTS_REVOKED);
    table_free(&s.client);
}

/* 4 Other sessions, and the slot itself, live on. */
static void the_rest_goes_on(zts_table *point, const session *other) {
    CHECK(call(point, other, "body") == ZTS_OK);
    session again[3];
    for (int i = 0; i < 3; i++) {
        again[i] = session_new(point, 2, 20 + (uint64_t)i);
        CHECK(call(point, &again[i], "body") == ZTS_OK);
    }
    for (int i = 0; i < 3; i++) {
        CHECK(zts_table_end(point, again[i].handle, ZTS_MODE_FREE) == ZTS_DONE);
        table_free(&again[i].client);
    }
}

/* 5 While a decision is being filled in, another installer makes it once more: what is taken is taken from every copy. */
static void every_copy_is_narrowed(zts_table *point) {
    static const uint64_t nothing[3];
    uint8_t digest[ZTS_SHA256_BYTES];
    memset(digest, 7, sizeof digest);
    session first = session_new(point, 7, 21);
    zts_slot *slot = zts_table_slot_of(point, first.handle);
    zts_profile *profile = &point->profiles[ZTS_GET(slot->profile)];
    const uint32_t held = atomic_exchange(&profile->references, UINT32_MAX);
    session second = session_new(point, 7, 22);
    atomic_store(&profile->references, held);
    CHECK(ZTS_GET(zts_table_slot_of(point, second.handle)->profile) != ZTS_GET(slot->profile));
    CHECK(call(point, &first, "before") == ZTS_OK && call(point, &second, "before") == ZTS_OK);
    CHECK(zts_table_narrow(point, digest, nothing, 0) == ZTS_DONE);
    CHECK(call(point, &first, "after") == ZTS_NOT_PERMITTED && call(point, &second, "after") == ZTS_NOT_PERMITTED);
    table_free(&first.client);
    table_free(&second.client);
}

int main(void) {
    zts_table point = table_new(1, 32, ZTS_DIRECTION_REQUEST, ZTS_CLOCK_MANUAL);
    an_end_waits(&point);
    a_mode_waits(&point);
    nobody_rises_again(&point, 0);
    nobody_rises_again(&point, 1);
    table_free(&point);
    zts_table wide = table_new(4, 32, ZTS_DIRECTION_REQUEST, ZTS_CLOCK_MANUAL);
    session other = session_new(&wide, 1, 5);
    the_rest_goes_on(&wide, &other);
    table_free(&wide);
    table_free(&other.client);
    zts_table two = table_new(4, 32, ZTS_DIRECTION_REQUEST, ZTS_CLOCK_MANUAL);
    every_copy_is_narrowed(&two);
    table_free(&two);
    return 0;
}
