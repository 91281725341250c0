#include "zts_passage.h"

/* ---- One token -------------------------------------------------------------------------------------------------- */

/* The slot is some epochs behind, or is being changed under us. Catches up on a private copy, and publishes it only
 * when the token turned out to be authentic: a stranger can cost bounded work here, and can move nothing. */
static __attribute__((noinline)) zts_verdict verify_slowly(const zts_table *t, const uint8_t *token,
                                                           const uint8_t *body, size_t body_bytes,
                                                           uint32_t operation, zts_call *call) {
    zts_keyring ring;
    zts_verdict verdict = ZTS_UNKNOWN_SESSION;
    for (int tries = 0; tries < ZTS_SPINS_MAX; tries++) {
        passage p;
        uint8_t tag[ZTS_TOKEN_TAGBYTES];
        verdict = begin(t, token, body, body_bytes, coarse_now(t), &p);
        if (verdict != ZTS_OK && refused_in_passing(&p)) continue;
        if (verdict != ZTS_OK) break;
        const uint32_t epoch = ZTS_GET(p.slot->epoch);
        if (!zts_slot_copy_keys(p.slot, p.revision, &ring)) continue;
        if (p.behind) zts_keyring_advance(t->backend, &ring, epoch, (uint32_t)p.behind);
        p.job.key = &ring.receive[p.header.epoch % ZTS_KEYS_HELD];
        t->backend->mac(&p.job, tag);
        verdict = ZTS_BAD_TAG;
        if (!zts_tag_equal(tag, token + ZTS_TOKEN_HEADERBYTES)) break;
        if (p.behind && !zts_slot_commit_epoch(p.slot, p.profile, p.revision, &ring, (uint32_t)p.behind)) continue;
        zts_wipe(&ring, sizeof ring);
        return finish(t, &p, operation, call);
    }
    zts_wipe(&ring, sizeof ring);
    return refuse_stranger(t, verdict);
}

zts_verdict zts_token_verify(const zts_table *t, const uint8_t token[ZTS_TOKEN_BYTES], const uint8_t *body,
                             size_t body_bytes, uint32_t operation, zts_call *call) {
    passage p;
    uint8_t tag[ZTS_TOKEN_TAGBYTES];
    const zts_verdict verdict = begin(t, token, body, body_bytes, coarse_now(t), &p);
    if (ZTS_UNLIKELY(verdict != ZTS_OK))
        return refused_in_passing(&p) ? verify_slowly(t, token, body, body_bytes, operation, call)
                                      : refuse_stranger(t, verdict);
    if (ZTS_UNLIKELY(p.behind || ZTS_READ_KEYS_THROUGH_ATOMICS))
        return verify_slowly(t, token, body, body_bytes, operation, call);
    t->backend->mac(&p.job, tag);
    if (ZTS_UNLIKELY(!undisturbed(&p))) return verify_slowly(t, token, body, body_bytes, operation, call);
    if (ZTS_UNLIKELY(!zts_tag_equal(tag, token + ZTS_TOKEN_HEADERBYTES))) return refuse_stranger(t, ZTS_BAD_TAG);
    return finish(t, &p, operation, call);
}

zts_verdict zts_token_refuse_malformed(const zts_table *t) { return refuse_stranger(t, ZTS_MALFORMED); }

/* ---- Many tokens -------------------------------------------------------------------------------------------------- */

/* Unauthenticated bytes choose what to prefetch and nothing else; an index out of range is let be. */
ZTS_INLINE void look_ahead(const zts_table *t, const uint8_t *token) {
    zts_slot *slot = zts_table_slot_of(t, zts_load64(token + 8));
    if (!slot) return;
    __builtin_prefetch(slot, 1);
    prefetch(t, slot, zts_load32(token + 4), zts_load64(token + 16));
}

/* Waiting tokens: MACs are computed for several at a time, and settled in the order in which the tokens came. */
typedef struct {
    passage passages[ZTS_MAC_LANES];
    zts_mac_job jobs[ZTS_MAC_LANES];
    size_t index[ZTS_MAC_LANES];
    int count;
} lanes;

ZTS_INLINE zts_verdict settle(const zts_table *t, passage *p, const uint8_t *token, const uint8_t *tag,
                              uint32_t operation) {
    if (ZTS_UNLIKELY(!undisturbed(p)))
        return verify_slowly(t, token, p->job.body, p->job.body_bytes, operation, NULL);
    if (ZTS_UNLIKELY(!zts_tag_equal(tag, token + ZTS_TOKEN_HEADERBYTES))) return refuse_stranger(t, ZTS_BAD_TAG);
    return finish(t, p, operation, NULL);
}

static void flush(const zts_table *t, lanes *l, const uint8_t *tokens, uint32_t operation, uint8_t *verdicts) {
    uint8_t tags[ZTS_MAC_LANES][ZTS_TOKEN_TAGBYTES];
    t->backend->mac_many(l->jobs, l->count, tags);
    for (int i = 0; i < l->count; i++)
        verdicts[l->index[i]] = (uint8_t)settle(t, &l->passages[i], tokens + l->index[i] * ZTS_TOKEN_BYTES,
                                                tags[i], operation);
    l->count = 0;
}

size_t zts_token_verify_batch(const zts_table *t, const uint8_t *tokens, const zts_bodies *bodies, size_t count,
                              uint32_t operation, uint8_t *verdicts) {
    lanes l = {.count = 0};
    uint64_t now_us = 0;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *token = tokens + i * ZTS_TOKEN_BYTES;
        if (i + ZTS_BATCH_PREFETCH < count) look_ahead(t, token + ZTS_BATCH_PREFETCH * ZTS_TOKEN_BYTES);
        size_t bytes;
        const uint8_t *body = zts_body_at(bodies, i, &bytes);
        /* Large bodies take long: a lease or a session that runs out inside a batch must be seen inside it. */
        if (i % ZTS_BATCH_CLOCK == 0 || bytes > ZTS_BATCH_CLOCK_BODYBYTES) now_us = coarse_now(t);
        passage *p = &l.passages[l.count];
        const zts_verdict verdict = begin(t, token, body, bytes, now_us, p);
        if (ZTS_UNLIKELY(verdict != ZTS_OK && !refused_in_passing(p))) {
            verdicts[i] = (uint8_t)refuse_stranger(t, verdict);
        } else if (ZTS_UNLIKELY(verdict != ZTS_OK || p->behind || ZTS_READ_KEYS_THROUGH_ATOMICS)) {
            flush(t, &l, tokens, operation, verdicts);
            verdicts[i] = (uint8_t)verify_slowly(t, token, body, bytes, operation, NULL);
        } else {
            l.jobs[l.count] = p->job;
            l.index[l.count++] = i;
            if (l.count == ZTS_MAC_LANES) flush(t, &l, tokens, operation, verdicts);
        }
    }
    flush(t, &l, tokens, operation, verdicts);
    size_t accepted = 0;
    for (size_t i = 0; i < count; i++) accepted += verdicts[i] == ZTS_OK;
    return accepted;
}
