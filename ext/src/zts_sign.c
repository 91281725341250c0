/* Signing, in whichever direction this table sends. */
#include "zts_passage.h"

/* A signer's own clock moves its epoch: nobody else's word is involved. */
static zts_status bring_up_to_date(const zts_table *t, zts_slot *slot, uint64_t revision, uint64_t now_us) {
    const zts_profile *profile = &t->profiles[ZTS_GET(slot->profile)];
    const uint64_t steps = zts_slot_epochs_behind(slot, profile, now_us);
    zts_keyring ring;
    if (steps > ZTS_EPOCH_STEPS_MAX) return ZTS_SESSION_ENDED;
    const uint32_t epoch = ZTS_GET(slot->epoch);
    if (steps && zts_slot_copy_keys(slot, revision, &ring)) {
        zts_keyring_advance(t->backend, &ring, epoch, (uint32_t)steps);
        (void)zts_slot_commit_epoch(slot, profile, revision, &ring, (uint32_t)steps);
    }
    zts_wipe(&ring, sizeof ring);
    return ZTS_DONE;
}

typedef struct {
    zts_slot *slot;
    uint64_t revision, now_us;
    zts_header header;
} signing;

/* A live slot in the right epoch, and a header without its sequence. */
static inline zts_status signing_begin(const zts_table *t, uint64_t handle, uint32_t operation, signing *s) {
    s->slot = zts_table_slot_of(t, handle);
    if (!s->slot || operation >= ZTS_OPERATIONS_MAX) return ZTS_NO_SUCH_SESSION;
    for (int tries = 0; tries < ZTS_SPINS_MAX; tries++) {
        s->revision = atomic_load_explicit(&s->slot->revision, memory_order_acquire);
        if (ZTS_UNLIKELY(s->revision % 2)) s->revision = wait_for_writer(s->slot);
        if (ZTS_GET(s->slot->handle) != handle) return ZTS_NO_SUCH_SESSION;
        const uint8_t mode = ZTS_GET(s->slot->mode);
        if (mode == ZTS_MODE_FREE || mode >= ZTS_MODE_REVOKED || s->revision % 2) return ZTS_SESSION_ENDED;
        const int fine = (int)(ZTS_GET(t->profiles[ZTS_GET(s->slot->profile)].fine) >> operation & 1);
        s->now_us = zts_clock_now_us(&t->header->clock, fine);
        if (ZTS_UNLIKELY(s->now_us >= ZTS_GET(s->slot->expires_at_us))) return ZTS_SESSION_ENDED;
        if (ZTS_LIKELY(s->now_us < ZTS_GET(s->slot->epoch_ends_us))) {
            s->header = (zts_header){
                .version = ZTS_PROTOCOL_VERSION,
                .flags = (uint8_t)(1 - t->header->shape.receives),
                .operation = (uint16_t)operation,
                .epoch = ZTS_GET(s->slot->epoch),
                .handle = handle,
                .issued_at_us = s->now_us,
            };
            return ZTS_DONE;
        }
        const zts_status status = bring_up_to_date(t, s->slot, s->revision, s->now_us);
        if (status != ZTS_DONE) return status;
    }
    return ZTS_SESSION_ENDED;
}

/* `count` sequences in a row; the first of them, or 0 when they are used up. */
static inline uint64_t take_sequences(zts_slot *slot, uint64_t count) {
    const uint64_t used = atomic_fetch_add_explicit(&slot->sent, count, memory_order_relaxed);
    if (ZTS_LIKELY(used <= ZTS_SEQUENCE_MAX - count)) return used + 1;
    atomic_store_explicit(&slot->sent, ZTS_SEQUENCE_MAX, memory_order_relaxed); /* never wraps round */
    return 0;
}

ZTS_INLINE zts_mac_job signing_job(const signing *s, const zts_header *header, const uint8_t *body, size_t bytes) {
    return (zts_mac_job){&s->slot->keys.send, (const uint8_t *)header, body, bytes};
}

ZTS_INLINE int signed_undisturbed(const signing *s) {
    atomic_thread_fence(memory_order_acquire);
    return ZTS_GET(s->slot->revision) == s->revision;
}

/* Under a race checker the key is copied through atomics, else read where it lies. */
ZTS_INLINE int stable_send_key(const signing *s, zts_keyring *copy, zts_mac_job *job) {
    if (!ZTS_READ_KEYS_THROUGH_ATOMICS) return 1;
    job->key = &copy->send;
    return zts_slot_copy_keys(s->slot, s->revision, copy);
}

zts_status zts_token_sign(const zts_table *t, uint64_t handle, uint32_t operation, const uint8_t *body,
                          size_t body_bytes, uint8_t token[ZTS_TOKEN_BYTES]) {
    if (ZTS_UNLIKELY(body_bytes > ZTS_BODY_MAXBYTES)) return ZTS_BODY_TOO_LONG;
    uint64_t sequence = 0;
    for (int tries = 0; tries < ZTS_SPINS_MAX; tries++) {
        signing s;
        zts_keyring copy;
        const zts_status status = signing_begin(t, handle, operation, &s);
        if (ZTS_UNLIKELY(status != ZTS_DONE)) return status;
        if (sequence == 0) sequence = take_sequences(s.slot, 1);
        if (ZTS_UNLIKELY(sequence == 0)) return ZTS_SEQUENCES_USED_UP;
        s.header.sequence = sequence;
        zts_mac_job job = signing_job(&s, &s.header, body, body_bytes);
        if (!stable_send_key(&s, &copy, &job)) continue;
        t->backend->mac(&job, token + ZTS_TOKEN_HEADERBYTES);
        memcpy(token, &s.header, ZTS_TOKEN_HEADERBYTES);
        if (signed_undisturbed(&s)) return ZTS_DONE;
    }
    zts_wipe(token, ZTS_TOKEN_BYTES);
    return ZTS_SESSION_ENDED;
}

/* One run of a batch inside one epoch; how many were signed before the slot changed. */
static size_t sign_run(const zts_table *t, signing *s, uint64_t sequence, const zts_bodies *bodies, size_t from,
                       size_t count, uint8_t *tokens) {
    zts_keyring copy;
    size_t i = from;
    while (i < count) {
        const size_t lanes = count - i < ZTS_MAC_LANES ? count - i : ZTS_MAC_LANES;
        zts_header headers[ZTS_MAC_LANES];
        zts_mac_job jobs[ZTS_MAC_LANES];
        uint8_t tags[ZTS_MAC_LANES][ZTS_TOKEN_TAGBYTES];
        for (size_t k = 0; k < lanes; k++) {
            size_t bytes;
            const uint8_t *body = zts_body_at(bodies, i + k, &bytes);
            headers[k] = s->header;
            headers[k].sequence = sequence + i + k;
            jobs[k] = signing_job(s, &headers[k], body, bytes);
            if (!stable_send_key(s, &copy, &jobs[k])) return i;
        }
        t->backend->mac_many(jobs, (int)lanes, tags);
        if (!signed_undisturbed(s)) return i;
        for (size_t k = 0; k < lanes; k++) {
            uint8_t *token = tokens + (i + k) * ZTS_TOKEN_BYTES;
            memcpy(token, &headers[k], ZTS_TOKEN_HEADERBYTES);
            memcpy(token + ZTS_TOKEN_HEADERBYTES, tags[k], ZTS_TOKEN_TAGBYTES);
        }
        i += lanes;
    }
    return i;
}

zts_status zts_token_sign_batch(const zts_table *t, uint64_t handle, uint32_t operation, const zts_bodies *bodies,
                                size_t count, uint8_t *tokens) {
    signing s;
    for (size_t i = 0; i < count; i++) {
        size_t bytes;
        (void)zts_body_at(bodies, i, &bytes);
        if (bytes > ZTS_BODY_MAXBYTES) return ZTS_BODY_TOO_LONG;
    }
    zts_status status = signing_begin(t, handle, operation, &s);
    if (status != ZTS_DONE || count == 0) return status;
    const uint64_t sequence = count <= ZTS_SEQUENCE_MAX ? take_sequences(s.slot, count) : 0;
    if (sequence == 0) return ZTS_SEQUENCES_USED_UP;
    size_t done = 0;
    for (int tries = 0; tries < ZTS_SPINS_MAX; tries++) {
        done = sign_run(t, &s, sequence, bodies, done, count, tokens);
        if (done == count) return ZTS_DONE;
        status = signing_begin(t, handle, operation, &s);
        if (status != ZTS_DONE) return status;
    }
    return ZTS_SESSION_ENDED;
}
