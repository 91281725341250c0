/* The replay window: one word, one compare-and-swap.
 *
 * Sequence s lives in word (s / 32) mod W. A word holds a block number in its high half and, in its low half, one
 * bit for each of that block's 32 sequences. Words move independently: there is no shared top to fight over, a
 * thread that dies in between leaves nothing half done, and no sequence is accepted twice, ever, because the only
 * step that accepts is the one exchange that sets its bit.
 *
 *   1  word's block is newer than ours     refuse: below the window
 *   2  word's block is older               take the word over: our block, our bit alone
 *   3  same block, our bit is set          refuse: seen
 *   4  same block, our bit is clear        set it
 */
#ifndef ZTS_REPLAY_H
#define ZTS_REPLAY_H

#include <stdatomic.h>

#include "zts_bytes.h"
#include "zts_limits.h"

#define ZTS_REPLAY_SEQUENCES_PER_WORD 32

typedef _Atomic uint64_t zts_replay_word;

_Static_assert(ZTS_SEQUENCE_MAX / ZTS_REPLAY_SEQUENCES_PER_WORD <= UINT32_MAX, "a block number must fit its half");

ZTS_INLINE uint32_t zts_replay_index(uint64_t sequence, uint32_t words) {
    return (uint32_t)(sequence / ZTS_REPLAY_SEQUENCES_PER_WORD) & (words - 1);
}

/* 1 exactly once per sequence, else 0. `words` is a power of two; 1 <= sequence <= ZTS_SEQUENCE_MAX. */
ZTS_MUST_USE ZTS_INLINE int zts_replay_accept(zts_replay_word *window, uint32_t words, uint64_t sequence) {
    zts_replay_word *word = &window[zts_replay_index(sequence, words)];
    const uint64_t block = sequence / ZTS_REPLAY_SEQUENCES_PER_WORD;
    const uint64_t bit = UINT64_C(1) << (sequence % ZTS_REPLAY_SEQUENCES_PER_WORD);
    uint64_t seen = atomic_load_explicit(word, memory_order_relaxed), next;
    do {
        const uint64_t seen_block = seen >> 32;
        if (seen_block > block) return 0;
        if (seen_block == block && (seen & bit)) return 0;
        next = (seen_block == block ? seen : block << 32) | bit;
    } while (!atomic_compare_exchange_weak_explicit(word, &seen, next, memory_order_acq_rel,
                                                    memory_order_relaxed));
    return 1;
}

/* "Ordered" operations accept only what is later than everything before. */
ZTS_MUST_USE ZTS_INLINE int zts_replay_accept_ordered(_Atomic uint64_t *last, uint64_t sequence) {
    uint64_t seen = atomic_load_explicit(last, memory_order_relaxed);
    do {
        if (sequence <= seen) return 0;
    } while (!atomic_compare_exchange_weak_explicit(last, &seen, sequence, memory_order_acq_rel,
                                                    memory_order_relaxed));
    return 1;
}

#endif
