/* What may be said about one call. The order is the protocol's and never changes: numbers go into batches,
 * counters and logs. */
#ifndef ZTS_VERDICT_H
#define ZTS_VERDICT_H

#define ZTS_VERDICTS(X)  \
    X(OK)                \
    X(MALFORMED)         \
    X(UNKNOWN_SESSION)   \
    X(BAD_EPOCH)         \
    X(BAD_TAG)           \
    X(EXPIRED)           \
    X(STALE)             \
    X(TOO_OLD)           \
    X(FROM_FUTURE)       \
    X(REPLAYED)          \
    X(WRONG_OPERATION)   \
    X(NOT_PERMITTED)     \
    X(STEP_UP_REQUIRED)  \
    X(REAUTH_REQUIRED)   \
    X(REVOKED)

#define ZTS_VERDICT_ENUM(name) ZTS_##name,
typedef enum { ZTS_VERDICTS(ZTS_VERDICT_ENUM) ZTS_VERDICT_COUNT } zts_verdict;
#undef ZTS_VERDICT_ENUM

/* "OK", "MALFORMED", ...; NULL outside the list. */
const char *zts_verdict_name(int verdict);

/* How control operations end; the call path speaks in verdicts. */
typedef enum {
    ZTS_DONE,
    ZTS_TABLE_FULL,
    ZTS_PROFILES_FULL,
    ZTS_BAD_SHAPE,
    ZTS_BAD_REGION,
    ZTS_NO_SUCH_SESSION,
    ZTS_SESSION_ENDED,
    ZTS_SEQUENCES_USED_UP,
    ZTS_BODY_TOO_LONG,
} zts_status;

#endif
