/* One pass over the counters that the call path leaves in the slots, for whoever watches sessions.
 *
 * The pass only reads the table: nothing is written there, no lock is taken, and a verify that runs meanwhile does not
 * notice. What a later pass compares with is kept here, beside the table, one row of memory for each slot.
 *
 * A slot is read between two looks at its revision, so its counters belong to the handle that was read with them. They
 * begin at zero with each session; a slot that another session has taken meanwhile is charged to that one alone. */
#ifndef ZTS_SCAN_H
#define ZTS_SCAN_H

#include "zts_table.h"

/* Verdicts that a session can be charged with, EXPIRED first. */
#define ZTS_SCAN_VERDICTS (ZTS_VERDICT_COUNT - ZTS_SLOT_FIRST_VERDICT)

/* Why a row is on the short list. */
#define ZTS_SCAN_RATE 1u
#define ZTS_SCAN_DENIED 2u
#define ZTS_SCAN_REPLAYED 4u

typedef struct {
    double rate_factor;         /* calls per second, over what the session's own are on average */
    double rate_min_per_s;      /* below this no rate is a jump */
    double denials, replays;    /* so many, older ones counting for less and less */
    double kept;                /* how much of those of before the last pass still counts: 0 to 1 */
    uint64_t rate_window_us;    /* calls are counted for so long before they make a rate */
    uint64_t rate_memory_us;    /* how long the average remembers */
    uint64_t rate_warm_up_us;   /* a session is known for so long before its rate is judged */
} zts_scan_rules;

/* What is remembered of one slot. All zero: nothing yet. */
typedef struct {
    uint64_t handle, accepted, since_us;
    uint64_t rated_us, rated_accepted;
    double rate, expected; /* calls per second: in the last window, and on average */
    double denied, replayed;
    uint32_t refused[ZTS_SCAN_VERDICTS];
} zts_scan_memory;

/* Where a pass writes, one row for each live session; room for the table's capacity in each. */
typedef struct {
    uint64_t *handle, *accepted, *last_accepted_us, *known_us;
    double *rate, *expected;
    uint32_t *refused; /* ZTS_SCAN_VERDICTS in a row */
    uint32_t *crossed; /* the short list: numbers of rows, in order */
    uint8_t *mode, *why; /* `why` of each row: ZTS_SCAN_RATE | ... */
} zts_scan_columns;

/* `memory`: one for each slot of the table. How many rows were written; `crossed` is the length of the short list. */
size_t zts_scan(const zts_table *table, uint64_t now_us, const zts_scan_rules *rules, zts_scan_memory *memory,
                const zts_scan_columns *out, size_t *crossed);

#endif
