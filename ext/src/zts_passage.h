/* The way of one token through its checks, shared by single and batch verification. Internal to the core.
 *
 * begin() runs everything before the MAC, finish() everything after it; the caller computes the MAC in between, alone or
 * together with another token's, and asks undisturbed() whether the key it used stayed whole. */
#ifndef ZTS_PASSAGE_H
#define ZTS_PASSAGE_H

#include <sched.h>

#include "zts_token.h"
#include "zts_wire.h"

/* One token on its way: what was read, from where, at which revision of the slot. */
typedef struct {
    zts_header header; /* a private copy: what is checked is what was authenticated, whatever others write meanwhile */
    zts_slot *slot; /* NULL: the token names none that could be read */
    const zts_profile *profile;
    uint64_t revision, now_us;
    uint64_t behind; /* epochs that the slot must catch up first; 0 nearly always */
    zts_mac_job job;
} passage;

/* A race checker cannot know that the revision makes plain reads of a key harmless. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define ZTS_READ_KEYS_THROUGH_ATOMICS 1
#else
#define ZTS_READ_KEYS_THROUGH_ATOMICS 0
#endif

/* ---- Refusing ---------------------------------------------------------------------------------------------- */

/* Before the MAC nobody is known: the table is charged, never a session. */
static inline zts_verdict refuse_stranger(const zts_table *t, zts_verdict verdict) {
    atomic_fetch_add_explicit(&t->header->refused[verdict], 1, memory_order_relaxed);
    return verdict;
}

static inline zts_verdict refuse_session(const zts_table *t, zts_slot *slot, zts_verdict verdict) {
    atomic_fetch_add_explicit(&slot->refused[verdict - ZTS_SLOT_FIRST_VERDICT], 1, memory_order_relaxed);
    return refuse_stranger(t, verdict);
}

/* ---- Before the MAC ------------------------------------------------------------------------------------------ */

/* The epoch that time says, if the token's is it or a neighbour that still, or already, counts. */
static inline int epoch_near(const passage *p, uint64_t skew_us) {
    const zts_slot *slot = p->slot;
    const uint64_t length = ZTS_GET(p->profile->epoch_length_us);
    const uint32_t now = ZTS_GET(slot->epoch) + (uint32_t)p->behind, epoch = p->header.epoch;
    const uint64_t ends = ZTS_GET(slot->epoch_ends_us) + p->behind * length;
    if (epoch < ZTS_GET(slot->first_epoch)) return 0;
    if (epoch == now) return 1;
    if (epoch == now + 1) return p->now_us + skew_us >= ends;
    if (epoch == now - 1) return p->now_us <= ends - length + ZTS_GET(p->profile->grace_us);
    return 0;
}

/* Finds the session, or says why not. The caller has spun past a writer already. */
ZTS_INLINE zts_verdict find(const zts_table *t, passage *p) {
    zts_slot *slot = p->slot;
    if (ZTS_UNLIKELY(ZTS_GET(slot->handle) != p->header.handle)) return ZTS_UNKNOWN_SESSION;
    const uint8_t mode = ZTS_GET(slot->mode);
    if (ZTS_UNLIKELY(mode == ZTS_MODE_FREE)) return ZTS_UNKNOWN_SESSION;
    if (ZTS_UNLIKELY(mode >= ZTS_MODE_REVOKED)) return ZTS_REVOKED;
    p->profile = &t->profiles[ZTS_GET(slot->profile)];
    p->behind = 0;
    if (ZTS_LIKELY(p->now_us < ZTS_GET(slot->epoch_ends_us) && p->header.epoch == ZTS_GET(slot->epoch))) return ZTS_OK;
    p->behind = zts_slot_epochs_behind(slot, p->profile, p->now_us);
    if (p->behind > ZTS_EPOCH_STEPS_MAX) return ZTS_EXPIRED;
    return epoch_near(p, t->header->skew_us) ? ZTS_OK : ZTS_BAD_EPOCH;
}

ZTS_INLINE void prefetch(const zts_table *t, zts_slot *slot, uint32_t epoch, uint64_t sequence) {
    __builtin_prefetch(&slot->keys.receive[epoch % ZTS_KEYS_HELD]);
    __builtin_prefetch(&slot->window[zts_replay_index(sequence, t->window_mask + 1)], 1);
}

ZTS_INLINE uint64_t coarse_now(const zts_table *t) { return zts_clock_now_us(&t->header->clock, 0); }

static inline uint64_t wait_for_writer(const zts_slot *slot) {
    for (int looks = 0; looks < ZTS_SPINS_MAX + ZTS_YIELDS_MAX; looks++) {
        const uint64_t revision = atomic_load_explicit(&slot->revision, memory_order_acquire);
        if (revision % 2 == 0) return revision;
        if (looks < ZTS_SPINS_MAX)
            zts_pause();
        else
            (void)sched_yield();
    }
    return 1;
}

/* A refusal counts only if what it rests on stayed whole: half of an epoch's turn must not refuse anybody. */
ZTS_INLINE int refused_in_passing(const passage *p) {
    if (!p->slot) return 0;
    atomic_thread_fence(memory_order_acquire);
    return ZTS_GET(p->slot->revision) != p->revision;
}

/* `now_us` is read by the caller, once per call or once per stretch of a batch. */
ZTS_INLINE zts_verdict begin(const zts_table *t, const uint8_t *token, const uint8_t *body, size_t body_bytes,
                             uint64_t now_us, passage *p) {
    p->slot = NULL;
    p->now_us = now_us;
    if (ZTS_UNLIKELY(!zts_header_parse(token, t->header->shape.receives, &p->header) ||
                     body_bytes > ZTS_BODY_MAXBYTES))
        return ZTS_MALFORMED;
    p->slot = zts_table_slot_of(t, p->header.handle);
    if (ZTS_UNLIKELY(!p->slot)) return ZTS_UNKNOWN_SESSION;
    prefetch(t, p->slot, p->header.epoch, p->header.sequence);
    p->revision = atomic_load_explicit(&p->slot->revision, memory_order_acquire);
    if (ZTS_UNLIKELY(p->revision % 2)) p->revision = wait_for_writer(p->slot);
    if (ZTS_UNLIKELY(p->revision % 2)) {
        p->slot = NULL;
        return ZTS_UNKNOWN_SESSION;
    }
    p->job = (zts_mac_job){
        .key = &p->slot->keys.receive[p->header.epoch % ZTS_KEYS_HELD],
        .header = (const uint8_t *)&p->header,
        .body = body,
        .body_bytes = body_bytes,
    };
    return find(t, p);
}

/* ---- After the MAC -------------------------------------------------------------------------------------------- */

/* Nothing that the MAC was computed with changed while it was computed. */
ZTS_INLINE int undisturbed(const passage *p) {
    atomic_thread_fence(memory_order_acquire);
    return ZTS_GET(p->slot->revision) == p->revision;
}

static inline int has_ended(const passage *p) {
    return ZTS_GET(p->slot->handle) != p->header.handle || ZTS_GET(p->slot->mode) >= ZTS_MODE_REVOKED ||
           ZTS_GET(p->slot->mode) == ZTS_MODE_FREE;
}

/* A mode that does not allow an operation says what would: that is for the client's eyes, and it proved itself. */
static inline zts_verdict mode_refusal(const zts_profile *profile, uint8_t mode, uint64_t bit) {
    if (!(ZTS_GET(profile->allowed[ZTS_MODE_NORMAL]) & bit)) return ZTS_NOT_PERMITTED;
    if (mode == ZTS_MODE_RESTRICTED) return ZTS_STEP_UP_REQUIRED;
    return mode == ZTS_MODE_SUSPENDED ? ZTS_REAUTH_REQUIRED : ZTS_NOT_PERMITTED;
}

static inline int lease_is_over(const zts_table *t, const passage *p, const zts_operation_limits *limits) {
    const uint64_t deadline = ZTS_GET(t->header->lease_deadline_us);
    if (ZTS_LIKELY(p->now_us <= deadline) || ZTS_GET(limits->stale_ms) == ZTS_STALE_ALWAYS_MS)
        return 0;
    return p->now_us - deadline > (uint64_t)ZTS_GET(limits->stale_ms) * 1000u;
}

static inline int expired(const passage *p) {
    const uint64_t last = ZTS_GET(p->slot->last_accepted_us);
    return p->now_us >= ZTS_GET(p->slot->expires_at_us) ||
           (p->now_us > last && p->now_us - last > (uint64_t)ZTS_GET(p->slot->idle_limit_s) * 1000000u);
}

/* No verdict: the slot was written to, and has to be looked at again. */
#define DECIDE_AGAIN ZTS_VERDICT_COUNT

ZTS_INLINE zts_verdict decide(const zts_table *t, const passage *p, uint32_t operation, uint8_t mode) {
    const zts_profile *profile = p->profile;
    const uint32_t op = p->header.operation;
    if (ZTS_UNLIKELY(mode >= ZTS_MODE_REVOKED || mode == ZTS_MODE_FREE)) return ZTS_REVOKED;
    if (ZTS_UNLIKELY(op >= ZTS_OPERATIONS_MAX)) return ZTS_NOT_PERMITTED;
    const uint64_t bit = UINT64_C(1) << op;
    const zts_operation_limits *limits = &profile->limits[op];
    if (ZTS_UNLIKELY(lease_is_over(t, p, limits))) return ZTS_STALE;
    if (ZTS_UNLIKELY(expired(p))) return ZTS_EXPIRED;
    if (ZTS_UNLIKELY(!(ZTS_GET(profile->allowed[mode]) & bit))) return mode_refusal(profile, mode, bit);
    if (ZTS_UNLIKELY(op != operation && operation != ZTS_ANY_OPERATION)) return ZTS_WRONG_OPERATION;
    const int fine = (ZTS_GET(profile->fine) & bit) != 0;
    const uint64_t now_us = ZTS_UNLIKELY(fine) ? zts_clock_now_us(&t->header->clock, 1) : p->now_us;
    const uint64_t issued_at_us = p->header.issued_at_us;
    if (ZTS_UNLIKELY(issued_at_us > now_us + t->header->skew_us)) return ZTS_FROM_FUTURE;
    if (ZTS_UNLIKELY(issued_at_us < now_us && now_us - issued_at_us > ZTS_GET(limits->max_age_us)))
        return ZTS_TOO_OLD;
    if (ZTS_UNLIKELY(ZTS_GET(profile->step_up) & bit)) return ZTS_STEP_UP_REQUIRED;
    /* Written to while we decided: the profile may be another's by now, so what was just read counts for nothing. */
    if (ZTS_UNLIKELY(!undisturbed(p))) return has_ended(p) ? ZTS_REVOKED : DECIDE_AGAIN;
    if (ZTS_UNLIKELY(ZTS_GET(profile->ordered) & bit))
        return zts_replay_accept_ordered(&p->slot->last_ordered, p->header.sequence) ? ZTS_OK : ZTS_REPLAYED;
    return zts_replay_accept(p->slot->window, t->window_mask + 1, p->header.sequence) ? ZTS_OK : ZTS_REPLAYED;
}

/* The slot as it is now. A profile is nobody else's for as long as the revision stays what it is here. */
static inline void look_again(const zts_table *t, passage *p) {
    p->revision = atomic_load_explicit(&p->slot->revision, memory_order_acquire);
    p->profile = &t->profiles[atomic_load_explicit(&p->slot->profile, memory_order_acquire)];
}

/* The token is authentic. Decides, counts, and tells. */
ZTS_INLINE zts_verdict finish(const zts_table *t, passage *p, uint32_t operation, zts_call *call) {
    zts_slot *slot = p->slot;
    uint8_t mode = atomic_load_explicit(&slot->mode, memory_order_acquire);
    zts_verdict verdict = decide(t, p, operation, mode);
    /* Only a whole look may refuse, too. Each turn means that some writer has got on. */
    while (ZTS_UNLIKELY(verdict != ZTS_OK) && verdict != ZTS_REVOKED && !undisturbed(p)) {
        look_again(t, p);
        mode = atomic_load_explicit(&slot->mode, memory_order_acquire);
        verdict = has_ended(p) ? ZTS_REVOKED : decide(t, p, operation, mode);
    }
    if (ZTS_UNLIKELY(verdict == ZTS_REVOKED)) return refuse_stranger(t, verdict); /* the slot may be another's by now */
    if (ZTS_UNLIKELY(verdict != ZTS_OK)) return refuse_session(t, slot, verdict);
    atomic_fetch_add_explicit(&slot->accepted, 1, memory_order_relaxed);
    atomic_store_explicit(&slot->last_accepted_us, p->now_us, memory_order_relaxed);
    if (call)
        *call = (zts_call){p->header.handle, p->header.sequence,  p->header.issued_at_us,
                           p->header.epoch,  p->header.operation, mode};
    return ZTS_OK;
}

#endif
